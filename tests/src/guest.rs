//! The module with the flat C interface in wasmtime: one instance, whose sessions are of one class of instructions.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wasmtime::{Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc, WasmParams};

/// How a module is built and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Without relaxed SIMD.
    Base,
    /// With it, for engines whose dot product saturates.
    Sat,
    /// With it, for the others, in one whose relaxed instructions are what the deterministic profile says: there, activations are
    /// signed.
    Deterministic,
    /// The same in an engine that it isn't for.
    Relaxed,
    /// As `Sat`, in an engine that looks at a clock in every loop, as one does that stops what takes too long.
    Interruptible,
}

impl Build {
    /// Every class of instructions in every build that has it here.
    pub const CLASSES: [(Build, &'static str); 5] =
        [(Build::Base, "scalar"), (Build::Base, "simd128"), (Build::Sat, "simd128"), (Build::Sat, "sat"), (Build::Deterministic, "sdot")];

    /// The module's file.
    pub fn path(self) -> PathBuf {
        let name = match self {
            Self::Base => "quaver_abi.wasm",
            Self::Sat | Self::Interruptible => "quaver_abi_sat.wasm",
            Self::Deterministic | Self::Relaxed => "quaver_abi_relaxed.wasm",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/wasm").join(name)
    }

    /// The module, compiled once.
    fn module(self) -> Result<&'static Module, String> {
        static MODULES: [OnceLock<Result<Module, String>>; 5] = [const { OnceLock::new() }; 5];
        let compile = || {
            let mut config = Config::new();
            config.relaxed_simd_deterministic(self == Self::Deterministic);
            config.epoch_interruption(self == Self::Interruptible);
            let engine = Engine::new(&config).map_err(|e| format!("{e:#}"))?;
            Module::from_file(&engine, self.path()).map_err(|e| format!("{e:#}"))
        };
        MODULES[self as usize].get_or_init(compile).as_ref().map_err(Clone::clone)
    }
}

/// An instance.
pub struct Guest {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
}

/// What the guest says of an error.
pub type Answer<T> = Result<T, String>;

/// An input: elements as bytes, and extents.
pub type Bytes<'a> = (&'a [u8], &'a [usize]);

impl Guest {
    /// An instance whose sessions are of that class.
    pub fn new(build: Build, class: &str) -> Answer<Self> {
        let module = build.module()?;
        let mut store = Store::new(module.engine(), ());
        // The clock stands, so this is never over.
        store.set_epoch_deadline(1);
        let instance = Linker::new(module.engine()).instantiate(&mut store, module).map_err(|e| format!("{e:#}"))?;
        let memory = instance.get_memory(&mut store, "memory").ok_or("the module exports no memory")?;
        let mut guest = Self { store, instance, memory };
        let name = guest.copy(class.as_bytes())?;
        guest.call("quaver_force_class", name)?;
        Ok(guest)
    }

    /// The classes that build and engine have.
    pub fn classes(&mut self) -> Answer<String> {
        self.call("quaver_classes", ())?;
        Ok(String::from_utf8_lossy(&self.result()?).into_owned())
    }

    /// Opens a model.
    pub fn open(&mut self, model: &[u8]) -> Answer<u32> {
        let file = self.copy(model)?;
        self.call("quaver_open", file)
    }

    /// Ends a session.
    pub fn close(&mut self, handle: u32) -> Answer<()> {
        let close = self.instance.get_typed_func::<u32, ()>(&mut self.store, "quaver_close").map_err(|e| format!("{e:#}"))?;
        close.call(&mut self.store, handle).map_err(|e| format!("{e:#}"))
    }

    /// Sets a session's inputs.
    pub fn set(&mut self, handle: u32, inputs: &[Bytes<'_>]) -> Answer<()> {
        for (index, (bytes, shape)) in inputs.iter().enumerate() {
            let dims: Vec<u8> = shape.iter().flat_map(|&d| (d as u32).to_le_bytes()).collect();
            let (bytes, dims) = (self.copy(bytes)?, self.copy(&dims)?);
            self.call("quaver_set_input", (handle, index as u32, bytes.0, bytes.1, dims.0, shape.len() as u32))?;
            self.free(bytes)?;
            self.free(dims)?;
        }
        Ok(())
    }

    /// Runs a session.
    pub fn run(&mut self, handle: u32) -> Answer<()> {
        self.call("quaver_run", handle).map(|_| ())
    }

    /// The elements of an output.
    pub fn output(&mut self, handle: u32, index: usize) -> Answer<Vec<u8>> {
        self.call("quaver_output", (handle, index as u32))?;
        self.result()
    }

    fn call<P: WasmParams>(&mut self, name: &str, params: P) -> Answer<u32> {
        let f: TypedFunc<P, u32> = self.instance.get_typed_func(&mut self.store, name).map_err(|e| format!("{e:#}"))?;
        let result = f.call(&mut self.store, params).map_err(|e| format!("{name}: {e:#}"))?;
        if result != 0 || name == "quaver_last_error" || name.starts_with("quaver_result") {
            return Ok(result);
        }
        self.call("quaver_last_error", ())?;
        Err(format!("{name}: {}", String::from_utf8_lossy(&self.result()?)))
    }

    fn copy(&mut self, bytes: &[u8]) -> Answer<(u32, u32)> {
        let address = self.call("quaver_alloc", bytes.len() as u32)?;
        self.memory.write(&mut self.store, address as usize, bytes).map_err(|e| e.to_string())?;
        Ok((address, bytes.len() as u32))
    }

    fn free(&mut self, block: (u32, u32)) -> Answer<()> {
        let free = self.instance.get_typed_func::<(u32, u32), ()>(&mut self.store, "quaver_free").map_err(|e| format!("{e:#}"))?;
        free.call(&mut self.store, block).map_err(|e| format!("{e:#}"))
    }

    fn result(&mut self) -> Answer<Vec<u8>> {
        let (start, len) = (self.call("quaver_result_ptr", ())?, self.call("quaver_result_len", ())?);
        let mut bytes = vec![0; len as usize];
        self.memory.read(&self.store, start as usize, &mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}
