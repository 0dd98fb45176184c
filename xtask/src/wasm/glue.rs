//! What wasm-bindgen makes of a module: the module as JavaScript calls it, and the glue between the two, which becomes an ES module
//! of one function.
//!
//! The glue is a script with one set of variables: one instance. Within a function, each call has a set of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use wasm_bindgen_cli_support::Bindgen;

/// What wasm-bindgen calls its files, and the modules that they import from each other.
const STEM: &str = "quaver";

/// A module's glue.
#[derive(Clone)]
pub struct Glue {
    module: PathBuf,
    script: String,
    types: String,
}

impl Glue {
    /// Binds a module. What it becomes is in `folder`, where the next one overwrites it.
    pub fn bind(module: &Path, folder: &Path) -> Result<Self> {
        let mut bindgen = Bindgen::new();
        bindgen.input_path(module).out_name(STEM).typescript(true).no_modules(true)?;
        bindgen.generate(folder).with_context(|| format!("wasm-bindgen fails with {}", module.display()))?;
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("wasm-bindgen made no {}", path.display()))
        };
        let glue = Self { module: folder.join(format!("{STEM}_bg.wasm")), script: read("quaver.js")?, types: read("quaver.d.ts")? };
        // Pages whose policy forbids it would refuse the package; bundlers would look for files.
        for word in ["eval(", "new Function", "import(", "import.meta", "require("] {
            ensure!(!glue.script.contains(word), "wasm-bindgen's glue has `{word}`, which not every page and bundler takes");
        }
        Ok(glue)
    }

    /// The module.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// Whether another module's glue is the same.
    pub fn fits(&self, other: &Self) -> bool {
        self.script == other.script
    }

    /// Writes it as an ES module of that name, with types, and returns the path of the code.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let (script, types) = (folder.join(format!("{name}.js")), folder.join(format!("{name}.d.ts")));
        let Self { script: glue, types: declared, .. } = self;
        let head = "// wasm-bindgen's glue, in a function by `cargo xtask wasm`: each call binds an instance of its own.\n";
        fs::write(&script, format!("{head}export function bind() {{\n{glue}\nreturn wasm_bindgen;\n}}\n"))?;
        fs::write(&types, format!("{declared}\nexport declare function bind(): typeof wasm_bindgen;\n"))?;
        Ok(script)
    }
}
