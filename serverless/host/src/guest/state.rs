//! What belongs to one instance: its limits, and what it may do. It has no files, no arguments, no environment, and no network: a guest
//! answers one request.

use std::sync::Arc;

use http_body_util::combinators::UnsyncBoxBody;
use wasmtime::component::ResourceTable;
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};
use wasmtime_wasi_nn::wit::{WasiNnCtx, WasiNnView};

use super::lend::Lender;
use super::nn::{self, Named};
use crate::Limits;
use crate::native::{Model, Pool};

/// The state of an instance.
pub struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    nn: WasiNnCtx,
    pub(super) limits: StoreLimits,
    /// What the host lends.
    pub(super) lent: Option<Lent>,
}

/// What a guest has borrowed.
pub struct Lent {
    /// Models of all guests.
    pub lender: Arc<Lender>,
    /// What runs them.
    pub pool: Arc<Pool>,
    /// Those that this one has handles of.
    pub models: Vec<Arc<Model>>,
}

impl State {
    /// Of a new instance.
    pub fn new(limits: &Limits, lent: Option<Lent>, pool: &Arc<Pool>, named: &Arc<Named>) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(limits.guest_memory)
            .table_elements(limits.guest_table)
            // Asking for more fails as it does on a machine without more; most guests trap then, by themselves.
            .trap_on_grow_failure(false)
            .build();
        let nn = nn::context(pool, named);
        let (table, wasi, http) = (ResourceTable::new(), WasiCtx::builder().build(), WasiHttpCtx::new());
        Self { table, wasi, http, hooks: Hooks, nn, limits, lent }
    }

    /// For wasi-nn.
    pub fn nn(&mut self) -> WasiNnView<'_> {
        WasiNnView::new(&mut self.table, &mut self.nn)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// What guests may do by HTTP: answer.
struct Hooks;

type Sent = (http::Response<Body>, Box<dyn Future<Output = Result<(), Error>> + Send>);
type Body = UnsyncBoxBody<bytes::Bytes, Error>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        _: http::Request<Body>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}
