//! Wasmtime with memory for instances set aside, and the clock by which guests are stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::Cache;
use super::lend::{self, Lender};
use super::nn;
use super::read;
use super::state::State;
use crate::metrics::Metrics;
use crate::native::Pool;
use crate::{Options, ServeError};

/// How often guests are looked at: they let others go first, and are stopped at their deadline.
const TICK: Duration = Duration::from_millis(5);
/// Core instances, memories and tables of a component: its module, the stand-in for a host that lends nothing, and what ties them.
const CORE_INSTANCES: u32 = 24;
const MEMORIES: u32 = 4;
const TABLES: u32 = 8;
/// Bytes of an instance's memory that stay in place between requests, as it is quicker to write them over than to ask the system for
/// new ones.
const KEPT: usize = 16 << 20;
/// A page of WebAssembly.
const PAGE: usize = 1 << 16;

/// What runs components.
pub struct Guests {
    pub(super) engine: Engine,
    /// What all components find.
    pub(super) linker: Linker<State>,
    /// The same, and `quaver:inference`.
    pub(super) lending: Option<(Linker<State>, Arc<Lender>)>,
    pub(super) cache: Option<Cache>,
    pub(super) instances: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pool: Arc<Pool>,
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guests").field("lends", &self.lending.is_some()).field("instances", &self.instances).finish_non_exhaustive()
    }
}

impl Guests {
    /// Sets memory aside and starts the clock, which ends with the engine.
    pub fn new(options: &Options, pool: &Arc<Pool>, metrics: &Arc<Metrics>) -> Result<Self, ServeError> {
        let failed = |error: wasmtime::Error| ServeError::Engine(format!("{error:#}"));
        let engine = Engine::new(&config(options)).map_err(failed)?;
        let weak = engine.weak();
        let tick = move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        };
        std::thread::Builder::new().name("quaver-clock".to_owned()).spawn(tick).map_err(ServeError::Thread)?;

        let mut linker = Linker::new(&engine);
        wasmtime_wasi_http::p2::add_to_linker_async(&mut linker).map_err(failed)?;
        read::link(&mut linker).map_err(failed)?;
        let lending = match options.lend {
            false => None,
            true => {
                nn::link(&mut linker).map_err(failed)?;
                let mut lending = linker.clone();
                lend::link(&mut lending).map_err(failed)?;
                Some((lending, Arc::new(Lender::new(options.lend_bytes))))
            }
        };
        let cache = options.cache.as_deref().map(Cache::open).transpose()?;
        let instances = Arc::new(Semaphore::new(options.limits.instances as usize));
        Ok(Self { engine, linker, lending, cache, instances, metrics: Arc::clone(metrics), pool: Arc::clone(pool) })
    }
}

fn config(options: &Options) -> Config {
    let limits = &options.limits;
    let mut pool = PoolingAllocationConfig::new();
    let most = limits.instances;
    pool.total_component_instances(most);
    pool.max_core_instances_per_component(CORE_INSTANCES).total_core_instances(most * CORE_INSTANCES);
    pool.max_memories_per_component(MEMORIES).total_memories(most * 2);
    pool.max_tables_per_component(TABLES).total_tables(most * TABLES);
    pool.total_stacks(most);
    pool.max_memory_size(limits.guest_memory.next_multiple_of(PAGE));
    pool.table_elements(limits.guest_table);
    pool.linear_memory_keep_resident(KEPT).table_keep_resident(limits.guest_table * size_of::<usize>());
    pool.async_stack_keep_resident(1 << 16);
    // Only what a guest wrote to is written over, where the system can say what that is.
    pool.pagemap_scan(Enabled::Auto);
    pool.max_unused_warm_slots(most);

    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    // A model is memory that is all there from the start.
    config.memory_guaranteed_dense_image_size(limits.guest_memory as u64);
    config
}
