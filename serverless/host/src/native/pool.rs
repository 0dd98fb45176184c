//! The threads that run all models, and the requests that wait for them.
//!
//! One list of requests, in the order they came. A thread that is free takes the first, and those behind it that may share its run, as
//! many as make a power of two of samples: so that a session, which keeps the memory of a few sizes, meets few. Where a delay is
//! allowed, it waits for more as long as the first may; else requests share a run where that pays. Every run has one thread, which costs
//! less than to share one.
//!
//! Where nothing waits and a thread is free, a caller runs its request itself, in that thread's place: to wake another one takes about
//! as long as a small network. So never more runs go on at once than there are threads.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quaver_core::tensor::{DType, TensorView};
use thiserror::Error;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use super::batch::{self, samples};
use super::model::{Model, Tensor, lies_well};
use crate::body::Buffers;
use crate::metrics::Metrics;

/// Why a request has no results.
#[derive(Debug, Error)]
pub enum RunError {
    /// The model can't run on such inputs.
    #[error(transparent)]
    Model(#[from] Arc<quaver::Error>),
    /// Elements that don't fit their extents.
    #[error("an input's elements don't fit its shape")]
    Shapes,
    /// There is no memory for inputs or results.
    #[error("there is no memory for the inputs and results of the run")]
    Memory,
    /// A bug.
    #[error("the run broke down")]
    Broken,
    /// The server ends.
    #[error("the server is ending")]
    Ending,
}

impl From<quaver::Error> for RunError {
    fn from(error: quaver::Error) -> Self {
        Self::Model(Arc::new(error))
    }
}

impl RunError {
    /// The same for another request of the batch.
    fn again(&self) -> Self {
        match self {
            Self::Model(error) => Self::Model(Arc::clone(error)),
            Self::Shapes => Self::Shapes,
            Self::Memory => Self::Memory,
            Self::Broken => Self::Broken,
            Self::Ending => Self::Ending,
        }
    }

    /// The status of HTTP that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Model(_) | Self::Shapes => 400,
            Self::Memory | Self::Ending => 503,
            Self::Broken => 500,
        }
    }
}

/// The threads.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Most runs at once.
    threads: usize,
    max_batch: usize,
    delay: Duration,
    buffers: Arc<Buffers>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Runs that go on.
    running: usize,
    ending: bool,
}

#[derive(Debug)]
struct Job {
    model: Arc<Model>,
    inputs: Vec<Tensor>,
    since: Instant,
    reply: oneshot::Sender<Result<Vec<Tensor>, RunError>>,
}

impl Job {
    fn samples(&self) -> usize {
        samples(self.inputs.first().map(|input| input.shape.as_slice()))
    }
}

impl Pool {
    /// Starts threads. Batches have at most so many samples, and their first request waits for others as long.
    pub fn new(threads: usize, batches: (usize, Duration), buffers: Arc<Buffers>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (threads, (max_batch, delay)) = (threads.max(1), batches);
        let max_batch = max_batch.max(1);
        let shared = Shared { state: Mutex::default(), changed: Condvar::new(), threads, max_batch, delay, buffers, metrics };
        let shared = Arc::new(shared);
        let start = |index: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("quaver-run-{index}")).spawn(move || shared.work())
        };
        let threads = (0..threads).map(start).collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Runs a model on inputs in its order, in this thread where there is nothing to wait for. A request whose caller is gone is not
    /// run.
    pub async fn infer(&self, model: &Arc<Model>, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, RunError> {
        match self.begin_here(model) {
            // The thread's other tasks move to another one.
            Some(place) => tokio::task::block_in_place(|| place.run_one(model, views(&inputs)?)),
            None => self.submit(model, inputs).await.unwrap_or(Err(RunError::Ending)),
        }
    }

    /// As [`Pool::infer`], on elements at any address that others own: they are read where they lie if that is a good one and the run
    /// need not wait.
    pub async fn infer_borrowed(&self, model: &Arc<Model>, inputs: &[TensorView<'_>]) -> Result<Vec<Tensor>, RunError> {
        if inputs.iter().all(|input| lies_well(input.bytes()))
            && let Some(place) = self.begin_here(model)
        {
            return tokio::task::block_in_place(|| place.run_one(model, inputs.to_vec()));
        }
        let copy = |input: &TensorView<'_>| Tensor::pooled(*input, &self.shared.buffers);
        let inputs = inputs.iter().map(copy).collect::<Option<Vec<_>>>().ok_or(RunError::Memory)?;
        self.infer(model, inputs).await
    }

    /// As [`Pool::infer`], for callers that are in `block_in_place` already, or in a thread of their own.
    pub fn infer_here(&self, model: &Arc<Model>, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, RunError> {
        match self.shared.begin(model) {
            Some(place) => place.run_one(model, views(&inputs)?),
            None => self.submit(model, inputs).blocking_recv().unwrap_or(Err(RunError::Ending)),
        }
    }

    /// Memory for inputs.
    pub fn buffers(&self) -> &Arc<Buffers> {
        &self.shared.buffers
    }

    /// The place of a run in this thread, whose other tasks move to another one: where there is none, they would wait for the run.
    fn begin_here(&self, model: &Model) -> Option<Place<'_>> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread { None } else { self.shared.begin(model) }
    }

    /// Leaves a request to the threads.
    fn submit(&self, model: &Arc<Model>, inputs: Vec<Tensor>) -> oneshot::Receiver<Result<Vec<Tensor>, RunError>> {
        let (reply, receiver) = oneshot::channel();
        let mut state = self.shared.lock();
        if !state.ending {
            state.jobs.push_back(Job { model: Arc::clone(model), inputs, since: Instant::now(), reply });
            drop(state);
            self.shared.changed.notify_one();
        }
        receiver
    }
}

impl Drop for Pool {
    /// Ends once every request that waits has run.
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that broke down has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((jobs, place)) = self.next() {
            place.run(jobs);
        }
    }

    /// The place of a run that need not wait: neither for others before it, nor for others to share its batch.
    fn begin(&self, model: &Model) -> Option<Place<'_>> {
        let mut state = self.lock();
        let waits = !state.jobs.is_empty() || state.ending || model.shares && !self.delay.is_zero();
        (!waits && state.running < self.threads).then(|| Place::take(self, &mut state))
    }

    /// The requests of the next run, and its place; `None` at the end.
    fn next(&self) -> Option<(Vec<Job>, Place<'_>)> {
        let mut state = self.lock();
        loop {
            state.jobs.retain(|job| !job.reply.is_closed());
            if state.jobs.is_empty() && state.ending {
                return None;
            }
            let Some(first) = state.jobs.front().filter(|_| state.running < self.threads) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = first.since.elapsed();
            // Who allows a delay wants batches; else they are for what they gain.
            let most = if self.delay.is_zero() && !first.model.pace().batches() { 1 } else { self.max_batch };
            let places = sharing(&state.jobs, most);
            let wait = self.delay.saturating_sub(waited);
            let full = places.iter().map(|&at| state.jobs[at].samples()).sum::<usize>() >= most;
            if full || !first.model.shares || wait.is_zero() || state.ending {
                // From the last on, so that places stay what they are.
                let mut jobs: Vec<Job> = places.into_iter().rev().filter_map(|at| state.jobs.remove(at)).collect();
                jobs.reverse();
                return Some((jobs, Place::take(self, &mut state)));
            }
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A run that goes on, until this is dropped.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared, state: &mut State) -> Self {
        state.running += 1;
        Self(shared)
    }

    /// Runs a request that nobody waited for.
    fn run_one(self, model: &Model, inputs: Vec<TensorView<'_>>) -> Result<Vec<Tensor>, RunError> {
        self.0.metrics.waited(Duration::ZERO);
        let results = self.results(model, &[inputs])?;
        results.into_iter().next().ok_or(RunError::Broken)
    }

    /// Runs requests, and replies to each.
    fn run(self, jobs: Vec<Job>) {
        let (mut replies, mut requests, mut model) = (Vec::new(), Vec::new(), None);
        for Job { model: its, inputs, since, reply } in jobs {
            self.0.metrics.waited(since.elapsed());
            replies.push(reply);
            requests.push(inputs);
            model = Some(its);
        }
        let Some(model) = model else { return };
        // Those that are gone by now get nothing.
        let views = requests.iter().map(|inputs| views(inputs)).collect::<Result<Vec<_>, _>>();
        match views.and_then(|requests| self.results(&model, &requests)) {
            Ok(results) => replies.into_iter().zip(results).for_each(|(reply, result)| drop(reply.send(Ok(result)))),
            Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.again())))),
        }
    }

    fn results(&self, model: &Model, requests: &[Vec<TensorView<'_>>]) -> Result<Vec<Vec<Tensor>>, RunError> {
        let samples = requests.iter().map(|inputs| samples(inputs.first().map(TensorView::shape))).sum();
        self.0.metrics.batch(samples);
        let mut session = model.session()?;
        // A session that broke down is not used again.
        let start = Instant::now();
        let run = || batch::run(model, &mut session, requests, &self.0.buffers);
        let ran = catch_unwind(AssertUnwindSafe(run)).map_err(|_| RunError::Broken)?;
        model.pace().ran(requests.len(), samples, start.elapsed());
        model.give_back(session);
        ran
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        let waiting = !state.jobs.is_empty();
        drop(state);
        if waiting {
            self.0.changed.notify_one();
        }
    }
}

/// The elements of a request.
fn views(inputs: &[Tensor]) -> Result<Vec<TensorView<'_>>, RunError> {
    inputs.iter().map(Tensor::view).collect::<Option<_>>().ok_or(RunError::Shapes)
}

/// Places of the requests that may run together, beginning with the first: of its model, of its shape but for the number of samples.
/// As many as make a power of two of samples that is at most `most`; one, however many samples it has.
fn sharing(jobs: &VecDeque<Job>, most: usize) -> Vec<usize> {
    let Some(first) = jobs.front() else { return Vec::new() };
    if !first.model.shares {
        return vec![0];
    }
    let kind = |job: &Job| -> Vec<(DType, Vec<usize>)> {
        job.inputs.iter().map(|input| (input.dtype, input.shape.iter().skip(1).copied().collect())).collect()
    };
    let own = kind(first);
    let (mut places, mut total) = (vec![0], first.samples());
    let mut whole = places.len();
    for (at, job) in jobs.iter().enumerate().skip(1) {
        let rows = job.samples();
        if total + rows > most || !Arc::ptr_eq(&job.model, &first.model) || kind(job) != own {
            continue;
        }
        places.push(at);
        total += rows;
        if total.is_power_of_two() {
            whole = places.len();
        }
    }
    places.truncate(whole);
    places
}
