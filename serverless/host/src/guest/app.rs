//! A component, and a request to it.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use quaver_componentize::lendable;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use wasmtime::component::Component;
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::engine::Guests;
use super::nn::Named;
use super::state::{Lent, State};
use crate::{Limits, ServeError};

/// A component that is served.
pub struct App {
    name: String,
    pre: ProxyPre<State>,
    guests: Arc<Guests>,
    limits: Limits,
    /// Whether it uses what the host lends.
    borrows: bool,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("name", &self.name).field("borrows", &self.borrows).finish_non_exhaustive()
    }
}

/// Why a guest gave no answer.
#[derive(Debug, Error)]
pub enum Fault {
    /// It took too long.
    #[error("the component took longer than it may")]
    Time,
    /// It trapped.
    #[error("the component broke down")]
    Trap(wasmtime::Error),
    /// It ended without an answer.
    #[error("the component gave no answer")]
    Silent,
    /// Its answer is longer than it may be.
    #[error("the component's answer is too long")]
    Long,
    /// Its answer is none.
    #[error("the component's answer can't be sent")]
    Answer(String),
    /// It can't be started.
    #[error("the component can't be started")]
    Start(wasmtime::Error),
}

impl Fault {
    /// In a word, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Trap(_) => "trap",
            Self::Silent => "silent",
            Self::Long => "long",
            Self::Answer(_) => "answer",
            Self::Start(_) => "start",
        }
    }

    /// The status of HTTP that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Time => 504,
            Self::Start(_) => 503,
            Self::Trap(_) | Self::Silent | Self::Long | Self::Answer(_) => 502,
        }
    }

    /// What is known of the cause, for the log; guests' clients needn't know.
    pub fn cause(&self) -> String {
        match self {
            Self::Trap(error) | Self::Start(error) => format!("{error:?}"),
            Self::Answer(what) => what.clone(),
            other => other.to_string(),
        }
    }
}

impl App {
    /// Compiles a component, or takes what was compiled before, and links it.
    pub fn new(name: &str, path: &Path, bytes: &[u8], guests: &Arc<Guests>, limits: &Limits) -> Result<Self, ServeError> {
        let failed = |error: wasmtime::Error| ServeError::Component { path: path.to_owned(), why: format!("{error:#}") };
        let inner = guests.lending.as_ref().and_then(|(linker, _)| Some((linker, bytes.get(lendable(bytes)?)?)));
        let borrows = inner.is_some();
        let (linker, bytes) = inner.unwrap_or((&guests.linker, bytes));
        let component = match &guests.cache {
            Some(cache) => cache.component(&guests.engine, bytes),
            None => Component::from_binary(&guests.engine, bytes),
        };
        let pre = linker.instantiate_pre(&component.map_err(failed)?).and_then(ProxyPre::new).map_err(failed)?;
        Ok(Self { name: name.to_owned(), pre, guests: Arc::clone(guests), limits: limits.clone(), borrows })
    }

    /// Whether it uses what the host lends.
    pub fn borrows(&self) -> bool {
        self.borrows
    }

    /// Answers a request by an instance of its own. `named`: models that it can load by wasi-nn.
    pub async fn answer(&self, request: Request<Full<Bytes>>, named: &Arc<Named>) -> Result<Response<Bytes>, Fault> {
        // Never closed.
        let place = Arc::clone(&self.guests.instances).acquire_owned().await.map_err(|_| Fault::Time)?;
        let deadline = Instant::now() + self.limits.guest_time;
        let mut store = self.store(named, deadline);
        let answered = timeout_at(deadline.into(), self.exchange(&mut store, request)).await.unwrap_or(Err(Fault::Time));
        // Its memory is made ready for others once the answer is on its way.
        tokio::spawn(async move { drop((store, place)) });
        answered
    }

    /// An instance that answers nothing, to measure what it costs.
    pub async fn idle(&self, named: &Arc<Named>) -> Result<Store<State>, Fault> {
        let mut store = self.store(named, Instant::now() + self.limits.guest_time);
        self.pre.instantiate_async(&mut store).await.map_err(started)?;
        Ok(store)
    }

    /// The state of an instance, with its limits.
    fn store(&self, named: &Arc<Named>, deadline: Instant) -> Store<State> {
        let guests = &self.guests;
        let lent = guests.lending.as_ref().filter(|_| self.borrows);
        let lent = lent.map(|(_, lender)| Lent { lender: Arc::clone(lender), pool: Arc::clone(&guests.pool), models: Vec::new() });
        let mut store = Store::new(&guests.engine, State::new(&self.limits, lent, &guests.pool, named));
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            Ok(if Instant::now() < deadline { UpdateDeadline::Yield(1) } else { UpdateDeadline::Interrupt })
        });
        store
    }

    async fn exchange(&self, store: &mut Store<State>, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Fault> {
        let (sender, mut receiver) = oneshot::channel();
        let start = Instant::now();
        let proxy = self.pre.instantiate_async(&mut *store).await.map_err(started)?;
        self.guests.metrics.instantiated(start.elapsed());
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request).map_err(Fault::Start)?;
        let out = store.data_mut().http().new_response_outparam(sender).map_err(Fault::Start)?;
        let mut running = pin!(proxy.wasi_http_incoming_handler().call_handle(store, request, out));
        // The head first, as nothing of the body is taken before it.
        let (head, ended) = tokio::select! {
            biased;
            head = &mut receiver => (head.ok(), false),
            ended = &mut running => {
                ended.map_err(trapped)?;
                (receiver.try_recv().ok(), true)
            }
        };
        let head = head.ok_or(Fault::Silent);
        // Where the channel is closed without a head, the guest ends by itself, which may be a trap.
        if head.is_err() && !ended {
            running.await.map_err(trapped)?;
            return Err(Fault::Silent);
        }
        let (parts, body) = head?.map_err(|code| Fault::Answer(format!("{code:?}")))?.into_parts();
        let body = pin!(whole(body, self.limits.answer));
        let body = match ended {
            true => body.await?,
            false => {
                let ended = async { running.await.map_err(trapped) };
                tokio::try_join!(body, ended)?.0
            }
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// Starting it can take too long, too.
fn started(error: wasmtime::Error) -> Fault {
    match trapped(error) {
        Fault::Trap(error) => Fault::Start(error),
        fault => fault,
    }
}

fn trapped(error: wasmtime::Error) -> Fault {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => Fault::Time,
        _ => Fault::Trap(error),
    }
}

/// All of a guest's answer.
async fn whole(body: HyperOutgoingBody, most: usize) -> Result<Bytes, Fault> {
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Fault::Long),
        Err(error) => Err(Fault::Answer(error.to_string())),
    }
}
