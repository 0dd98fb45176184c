//! The core modules that `quaver componentize` puts a model into, for hosts with relaxed SIMD and for those without, and the guests that
//! tests of the host run.
//!
//! They are not optimized further: what compiles them to machine code does that, and nobody downloads them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{PLAIN, check_relaxed, compile_package};
use crate::toolchain::Toolchain;

/// Packages, features, and the file's name.
const MODULES: [(&str, &[&str], &str); 3] = [
    ("quaver-component", &["sat"], "quaver_component.wasm"),
    ("quaver-component", &[], "quaver_component_base.wasm"),
    ("quaver-test-guest", &[], "quaver_test_guest.wasm"),
];

/// Builds them into `folder`.
pub fn build(toolchain: &Toolchain, folder: &Path) -> Result<Vec<PathBuf>> {
    let build = |(package, features, name): (&str, &[&str], &str)| {
        let (from, to) = (compile_package(toolchain, package, features, PLAIN)?, folder.join(name));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        check_relaxed(&to)?;
        Ok(to)
    };
    MODULES.into_iter().map(build).collect()
}
