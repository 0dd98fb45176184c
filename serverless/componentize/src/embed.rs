//! Runs the core module until the model is open, and makes a module whose memory begins so.

use wasmtime::{Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc, Val, WasmParams};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

use crate::ComponentizeError;

/// A module that has the parts: file, digest, name.
pub fn embed(template: &[u8], parts: [&[u8]; 3]) -> Result<Vec<u8>, ComponentizeError> {
    let failed = |step| move |error: wasmtime::Error| ComponentizeError::template(step)(&format_args!("{error:#}"));
    let wizer = Wizer::new();
    let (context, instrumented) = wizer.instrument(template).map_err(failed("reading it"))?;
    let mut config = Config::new();
    // Nothing computes here, and what is planned must not depend on this machine.
    config.relaxed_simd_deterministic(true);
    let engine = Engine::new(&config).map_err(failed("an engine"))?;
    let module = Module::new(&engine, &instrumented).map_err(failed("compiling it"))?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    // Opening a model asks the host for nothing.
    linker.define_unknown_imports_as_traps(&module).map_err(failed("its imports"))?;
    let instance = linker.instantiate(&mut store, &module).map_err(failed("starting it"))?;
    let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| ComponentizeError::template("its exports")(&"no memory"))?;
    let mut running = Running { store, instance, memory };

    for (part, bytes) in parts.into_iter().enumerate() {
        let len = u32::try_from(bytes.len()).map_err(|_| ComponentizeError::Model("it has 4 GiB or more".to_owned()))?;
        let address = running.call("quaver_reserve", (part as u32, len)).map_err(failed("reserving memory"))?;
        if address == 0 {
            return Err(ComponentizeError::Model(format!("there is no memory for its {len} bytes")));
        }
        memory.write(&mut running.store, address as usize, bytes).map_err(|error| ComponentizeError::template("writing")(&error))?;
    }
    if running.call("quaver_embed", ()).map_err(failed("opening the model"))? == 0 {
        let mut ask = |name| running.call(name, ()).map_err(failed("asking what is wrong"));
        let (at, len) = (ask("quaver_message")? as usize, ask("quaver_message_len")? as usize);
        let message = memory.data(&running.store).get(at..).and_then(|rest| rest.get(..len)).unwrap_or_default();
        return Err(ComponentizeError::Model(String::from_utf8_lossy(message).into_owned()));
    }
    pollster::block_on(wizer.snapshot(&context, &mut running)).map_err(failed("keeping its memory"))
}

struct Running {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
}

impl Running {
    fn call<P: WasmParams>(&mut self, name: &str, params: P) -> wasmtime::Result<u32> {
        let function: TypedFunc<P, u32> = self.instance.get_typed_func(&mut self.store, name)?;
        function.call(&mut self.store, params)
    }
}

impl InstanceState for Running {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        // The contract of the trait: only names of globals that the instrumented module exports, of these types.
        let global = self.instance.get_global(&mut self.store, name).expect("an exported global");
        match global.get(&mut self.store) {
            Val::I32(x) => SnapshotVal::I32(x),
            Val::I64(x) => SnapshotVal::I64(x),
            Val::F32(x) => SnapshotVal::F32(x),
            Val::F64(x) => SnapshotVal::F64(x),
            Val::V128(x) => SnapshotVal::V128(x.as_u128()),
            other => unreachable!("a global of {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name).unwrap_or(self.memory);
        contents(memory.data(&self.store));
    }
}
