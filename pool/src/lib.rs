//! A fork-join pool: [`Pool::run`] spreads the parts of one job over the caller and a fixed set of workers.
//!
//! It is made for jobs of some microseconds that follow each other closely: idle workers watch for work for a moment before
//! they sleep, and the caller makes no system call unless one sleeps. It is no scheduler: one job at a time, no queue, no
//! futures. A second caller, or a job that starts a job, runs its parts by itself instead of waiting.
//!
//! # How it works
//!
//! Each thread has a slot with a range of unclaimed parts, packed into one word, and the job they belong to. The caller fills
//! the slots; every thread claims parts one by one, from the front of its own slot, then from the back of others'. So part i
//! of as many parts as there are threads is thread i's, whose caches may know its data, and yet nobody waits for a thread that
//! isn't there: parts that nobody has begun are the caller's. `pending` counts the parts that are not finished.
//!
//! Everything hangs on one fact: **a claim that succeeded belongs to the run that is going on.** A range holds parts only
//! between its opening and their claims, and [`Pool::run`] returns only when every part is finished. A thread that was
//! stopped between reading a range and claiming from it, even for many runs, claims a part of the present run or fails; and
//! it reads the job after the claim. So no generation counter is needed.
//!
//! On the web, Rust can't start threads. There a pool is made without ([`Pool::unmanned`]), and threads that the host starts come to
//! [`Pool::serve`]. As nobody waits for a thread that isn't there, it works before they come.
//!
//! | module | what it holds |
//! |---|---|
//! | [`rectangles`] | an output cut along rows and columns |
//! | [`split`] | a range cut into pieces |
//! | [`packed`], [`matmul`], [`depthwise`], [`work`] | how kinds of operations are cut, for every backend |
//! | [`strips`] | a convolution and the pool behind it at once |

pub mod depthwise;
pub mod matmul;
mod options;
pub mod packed;
mod rows;
mod spin;
mod split;
pub mod strips;
pub mod work;

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};

pub use options::PoolOptions;
pub use rows::{Rectangle, rectangles};
use spin::Spin;
pub use split::{Split, split};

/// Part `i` of a job is the call with `i`.
type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// Threads that wait for jobs. Dropping it ends them.
pub struct Pool {
    shared: Arc<Shared>,
    /// Of slots 1, 2, …; slot 0 is the caller's.
    workers: Vec<JoinHandle<()>>,
    /// Whether a run is going on: its caller owns the slots.
    busy: AtomicBool,
}

impl Pool {
    /// A pool of `threads` threads, the caller's included.
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::with_options(&PoolOptions { threads, ..PoolOptions::default() })
    }

    /// A pool made to order. Its threads are named `quaver-1`, `quaver-2`, ….
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub fn with_options(options: &PoolOptions) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // If a thread can't be had, dropping the pool ends those before it.
        let mut pool = Self::with_slots(options.threads, options.threads > cores);
        for index in 1..pool.threads() {
            let (shared, on_start) = (Arc::clone(&pool.shared), options.on_start.clone());
            let body = move || {
                if let Some(hook) = on_start {
                    hook(index);
                }
                shared.serve(index);
            };
            pool.workers.push(thread::Builder::new().name(format!("quaver-{index}")).spawn(body)?);
        }
        Ok(pool)
    }

    /// A pool for `threads` threads, the caller's included, of which it starts none: see [`Pool::serve`].
    pub fn unmanned(threads: usize) -> Self {
        Self::with_slots(threads, false)
    }

    fn with_slots(threads: usize, crowded: bool) -> Self {
        let shared = Shared {
            slots: (0..threads.max(1)).map(|_| Slot::default()).collect(),
            pending: Pending(AtomicUsize::new(0)),
            lost: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            crowded,
        };
        Self { shared: Arc::new(shared), workers: Vec::new(), busy: AtomicBool::new(false) }
    }

    /// Makes the calling thread worker `index` of a pool that starts none itself: 1 to `threads` − 1. It doesn't return, as nobody
    /// can drop the pool meanwhile: whoever started the thread has to end it, between runs.
    ///
    /// # Panics
    /// If there are not so many threads, or with the panic of a part that was not caught.
    pub fn serve(&self, index: usize) {
        self.shared.serve(index);
    }

    /// Says that a thread that served has ended in the middle of a part, which will not be finished: a run that waits for it ends
    /// the process, which on the web is the instance.
    pub fn lose(&self) {
        self.shared.lost.store(true, Release);
    }

    /// Parts to cut an operation into, by its bytes, or by 64 multiply-accumulates.
    pub fn parts(&self, work: usize) -> usize {
        if work < SMALL { 1 } else { self.threads() }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.shared.slots.len()
    }

    /// Calls `job(0)` to `job(parts - 1)`, each once, and returns when all have returned; what they wrote is visible then.
    ///
    /// Part i of as many parts as threads is begun by thread i, unless it comes late. More parts than threads are dealt out
    /// in contiguous runs of indices; who is done helps the others. Nothing is allocated.
    ///
    /// With one thread or one part, during another run of this pool, and inside of a job, the parts are called one after
    /// another by the caller.
    ///
    /// # Panics
    /// With the panic of a part, once all parts that were begun have ended; it is unspecified which others were.
    pub fn run(&self, parts: usize, job: &Job<'_>) {
        // Acquire: what the run before did to the slots, from another thread perhaps, is done. It pairs with the Release below.
        if self.threads() == 1 || parts <= 1 || parts >= MOST_PARTS || self.busy.swap(true, Acquire) {
            return (0..parts).for_each(job);
        }
        // From here to the end of the wait nothing may unwind, or `job` would be gone before its parts are. Nothing does:
        // parts are called under `catch_unwind`.
        self.shared.open(parts, job);
        // Acquire: pairs with the fence of `serve`, so that who sleeps is known.
        for slot in self.shared.slots[1..].iter().take(parts - 1).filter(|slot| slot.asleep.load(Acquire)) {
            slot.wake();
        }
        self.shared.work(0);
        let mut spin = Spin::new(self.shared.crowded);
        // Acquire: pairs with the Release of each thread's last subtraction, and so with everything its parts did.
        while self.shared.pending.0.load(Acquire) != 0 {
            spin.pause();
            if self.shared.lost.load(Relaxed) {
                // Nothing may unwind here.
                std::process::abort();
            }
        }
        let panic = self.shared.take_panic();
        self.busy.store(false, Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Cuts `data` as [`split`] does, into at most `parts` slices, and calls `job` with each slice and its range, as parts of
    /// one [`Pool::run`].
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn run_slices<T: Send>(&self, data: &mut [T], parts: usize, granule: usize, job: &(dyn Fn(Range<usize>, &mut [T]) + Sync)) {
        let ranges = split(data.len(), parts, granule);
        let data = Disjoint::new(data);
        self.run(ranges.len(), &|part| {
            let range = ranges.get(part);
            // SAFETY: ranges of different parts of a split don't overlap, and each part is called once.
            job(range.clone(), unsafe { data.slice(range) });
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for slot in &self.shared.slots[1..] {
            slot.range.store(CLOSED, Relaxed);
            // Pairs with the one in `serve`: a worker that isn't seen to have come sees the store when it comes.
            fence(SeqCst);
            // Its token makes a worker that is about to park return at once, after which it sees the store.
            slot.wake();
        }
        for worker in self.workers.drain(..) {
            // A worker ends by panic only in `on_start`, whose message has been printed.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

/// What all threads know.
struct Shared {
    slots: Box<[Slot]>,
    pending: Pending,
    /// Whether a thread has ended in the middle of a part.
    lost: AtomicBool,
    panicked: AtomicBool,
    /// The first panic of a run.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Whether there are more threads than cores: who spins, keeps another from working.
    crowded: bool,
}

/// Parts that are not finished. Alone on its pair of cache lines, as the caller watches it while workers write it.
#[repr(align(128))]
struct Pending(AtomicUsize);

impl Shared {
    /// Deals the parts out and, by a fence, makes sure that a worker that goes to sleep is seen asleep or sees its parts.
    fn open(&self, parts: usize, job: &Job<'_>) {
        // Relaxed: who subtracts has claimed a part first, and the claim's Acquire pairs with the Release of `range`.
        self.pending.0.store(parts, Relaxed);
        // SAFETY: it only changes the lifetime, and is stored as a raw pointer; `Shared::work` says why no call outlives it.
        let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        let (each, more) = (parts / self.slots.len(), parts % self.slots.len());
        let mut start = 0;
        for (index, slot) in self.slots.iter().enumerate().take(parts) {
            let end = start + each + usize::from(index < more);
            // SAFETY: nobody reads it now: all parts of the run before were claimed and finished, which `pending` told
            // its caller by Acquire, who told us by `busy`; and reads follow a claim, which the store below allows.
            unsafe { *slot.job.0.get() = job };
            // Release: who claims from it sees the job, `pending`, and what the caller did before.
            slot.range.store(pack(start, end), Release);
            start = end;
        }
        // Pairs with the one in `wait_for_parts`: whichever is second, its thread's loads see the other's stores before it.
        fence(SeqCst);
    }

    /// What a worker does.
    fn serve(&self, index: usize) {
        // Another that came before, which no caller of ours lets happen, would be woken instead.
        let _ = self.slots[index].worker.set(thread::current());
        fence(SeqCst);
        while self.wait_for_parts(index) {
            self.work(index);
        }
    }

    /// Waits until the worker's slot holds parts; false when the pool is being dropped.
    fn wait_for_parts(&self, me: usize) -> bool {
        let slot = &self.slots[me];
        let mut spin = Spin::new(self.crowded);
        loop {
            // Relaxed: it is only a hint to try a claim, which acquires.
            match slot.range.load(Relaxed) {
                CLOSED => return false,
                range if !is_empty(range) => return true,
                _ if spin.pause() => {}
                _ => {
                    slot.asleep.store(true, Relaxed);
                    // Either the caller's load of `asleep`, behind its fence, sees the store, or this load sees its parts.
                    fence(SeqCst);
                    if is_empty(slot.range.load(Relaxed)) {
                        thread::park();
                    }
                    slot.asleep.store(false, Relaxed);
                    // Parts may be gone already; more are likely to follow.
                    spin = Spin::new(self.crowded);
                }
            }
        }
    }

    /// Claims parts and calls them until there is nothing left to claim: the thread's own, then others'.
    fn work(&self, me: usize) {
        let own = self.slots[me..].iter().chain(&self.slots[..me]).enumerate();
        for (distance, slot) in own {
            let mut finished = 0;
            while let Some(part) = slot.claim(distance == 0) {
                // SAFETY: the part is claimed and not yet subtracted from `pending`, so its run is waiting for it: the job
                // was stored before the claim could succeed, isn't changed before the run ends, and is borrowed until then.
                let job = unsafe { &**slot.job.0.get() };
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| job(part))) {
                    self.keep_panic(payload);
                }
                finished += 1;
            }
            if finished > 0 {
                // Release: the caller's Acquire sees what the parts did, also across other threads' subtractions, which
                // continue this one's release sequence. Behind it, nothing of this run is touched without a new claim.
                self.pending.0.fetch_sub(finished, Release);
            }
        }
    }

    #[cold]
    fn keep_panic(&self, payload: Box<dyn Any + Send>) {
        let mut kept = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        match *kept {
            None => *kept = Some(payload),
            // Dropping it could panic again, and end this thread.
            Some(_) => std::mem::forget(payload),
        }
        // Relaxed, as the subtraction from `pending` follows.
        self.panicked.store(true, Relaxed);
    }

    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        if !self.panicked.load(Relaxed) {
            return None;
        }
        self.panicked.store(false, Relaxed);
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A thread's parts. Alone on its pair of cache lines (processors fetch them in pairs): one transfer brings parts and job.
#[repr(align(128))]
struct Slot {
    /// [`pack`]ed; empty between runs; [`CLOSED`] at the end.
    range: AtomicU64,
    /// Whether the worker may be parked.
    asleep: AtomicBool,
    job: JobCell,
    /// Who it is, once it has come.
    worker: OnceLock<Thread>,
}

impl Default for Slot {
    fn default() -> Self {
        let job = JobCell(UnsafeCell::new(&|_: usize| {}));
        Self { range: AtomicU64::new(0), asleep: AtomicBool::new(false), job, worker: OnceLock::new() }
    }
}

impl Slot {
    /// Wakes the worker, if it sleeps.
    fn wake(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Takes the first part, or the last.
    fn claim(&self, first: bool) -> Option<usize> {
        // Relaxed: what matters comes with the exchange.
        let mut range = self.range.load(Relaxed);
        while !is_empty(range) {
            let rest = if first { range + 1 } else { range - (1 << 32) };
            // Acquire: pairs with the Release of `open`, also across others' claims, which continue its release sequence.
            match self.range.compare_exchange_weak(range, rest, Acquire, Relaxed) {
                Ok(_) => return Some(if first { range & LOW } else { rest >> 32 } as usize),
                Err(now) => range = now,
            }
        }
        None
    }
}

/// The job, written by the caller of a run and read by threads that claimed a part of it.
struct JobCell(UnsafeCell<*const Job<'static>>);

// SAFETY: `Shared::open` and `Shared::work` say why reads and writes don't meet; the job it points to is `Sync`.
unsafe impl Sync for JobCell {}
// SAFETY: the pointer is followed only under the conditions of `Shared::work`, in whichever thread; the job is `Sync`.
unsafe impl Send for JobCell {}

/// The start of a range; its end is in the upper half.
const LOW: u64 = u32::MAX as u64;
/// An empty range that tells a worker to end.
const CLOSED: u64 = u64::MAX;
/// Bytes, or 64 multiply-accumulates, below which a job is not worth a second thread.
const SMALL: usize = 1 << 12;
/// One more than can be packed without coming by [`CLOSED`].
const MOST_PARTS: usize = u32::MAX as usize;

fn pack(start: usize, end: usize) -> u64 {
    (end as u64) << 32 | start as u64
}

fn is_empty(range: u64) -> bool {
    range & LOW >= range >> 32
}

/// A slice that the parts of a job write at disjoint places.
///
/// Where contiguous pieces will do, [`Pool::run_slices`] needs no promise.
#[derive(Debug)]
pub struct Disjoint<'a, T> {
    data: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: through a shared `Disjoint` threads get `&mut T` to different elements, which is to send them: `T: Send`.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: it stands for the `&mut [T]` it was made from.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Of all of `data`, which stays borrowed.
    pub fn new(data: &'a mut [T]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), borrow: PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the first element is. Writing there obeys the rules of [`Disjoint::slice`].
    fn as_mut_ptr(&self) -> *mut T {
        self.data
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// While the slice lives, no other slice of an overlapping range may, in this thread or another.
    ///
    /// # Panics
    /// If the range is not within the data.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that the slices are disjoint")]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} is not within 0..{}", self.len);
        // SAFETY: it is within the slice that was borrowed exclusively for `'a`, which outlives `self`; the caller promises
        // that no other reference to its elements is in use.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disjoint_slices_are_bounds_checked() {
        let mut data = [1, 2, 3, 4];
        let disjoint = Disjoint::new(&mut data);
        assert_eq!((disjoint.len(), disjoint.is_empty()), (4, false));
        // SAFETY: the two don't overlap.
        let (front, back) = unsafe { (disjoint.slice(0..2), disjoint.slice(2..4)) };
        front.swap_with_slice(back);
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        for range in [0..5, 5..5, 3..2, usize::MAX..usize::MAX] {
            // SAFETY: no other slice is in use.
            let refused = catch_unwind(AssertUnwindSafe(|| unsafe { disjoint.slice(range).len() }));
            assert!(refused.is_err());
        }
        // SAFETY: no other slice is in use.
        assert!(unsafe { disjoint.slice(4..4) }.is_empty());
        assert_eq!(data, [3, 4, 1, 2]);
    }

    #[test]
    fn ranges_pack() {
        let most = MOST_PARTS - 1;
        assert!(is_empty(0) && is_empty(CLOSED) && is_empty(pack(most, most)) && !is_empty(pack(most - 1, most)));
        let slot = Slot { range: AtomicU64::new(pack(3, 6)), ..Slot::default() };
        assert_eq!([slot.claim(false), slot.claim(true), slot.claim(false), slot.claim(true)], [Some(5), Some(3), Some(4), None]);
    }
}
