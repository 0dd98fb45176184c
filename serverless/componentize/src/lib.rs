//! Puts a `.qvr` file into Quaver's component, for `quaver componentize`.
//!
//! | module | what it holds |
//! |---|---|
//! | `embed` | runs the core module until the model is open, and keeps its memory |
//! | `compose` | makes a component of it that runs on every host, and on those that lend kernels, by these |
//! | [`lendable`] | finds in such a component the one that borrows |
//!
//! The template is the core module that `cargo xtask wasm` makes of `serverless/component`. An instance of the result has nothing to
//! read, check or plan: its memory begins as it was once the model was open, with the weights at addresses that kernels take. So
//! hosts that map memory copy-on-write share these pages among all instances.
//!
//! A component has no optional imports. So the one that asks its host for kernels (`quaver:inference`) is within another, beside a
//! stand-in that says that there are none. Hosts that know of it take the inner one out, as it is, and link their own.

#![forbid(unsafe_code)]

mod compose;
mod embed;
mod lendable;

use std::fmt::Display;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use lendable::{INTERFACE, lendable};

/// Why a component can't be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ComponentizeError {
    /// The model.
    #[error("the model can't be put in: {0}")]
    Model(String),
    /// The template is not what this program expects.
    #[error("the template is no core module of `serverless/component` ({step}: {why}); `cargo xtask wasm` builds it")]
    Template {
        /// What was tried.
        step: &'static str,
        /// What went wrong.
        why: String,
    },
    /// The name.
    #[error(
        "a model can't be served under the name '{name}': it takes letters, digits, '-', '_' and '.', and starts with none of these last three"
    )]
    Name {
        /// The name.
        name: String,
    },
}

impl ComponentizeError {
    fn template(step: &'static str) -> impl Fn(&dyn Display) -> Self {
        move |why| Self::Template { step, why: why.to_string() }
    }
}

/// Makes a component that serves `model` under `name`, from the template's core module.
///
/// # Errors
/// [`ComponentizeError`].
pub fn componentize(template: &[u8], model: &[u8], name: &str) -> Result<Vec<u8>, ComponentizeError> {
    if !is_name(name) {
        return Err(ComponentizeError::Name { name: name.to_owned() });
    }
    let digest = Sha256::digest(model);
    let module = embed::embed(template, [model, &digest, name.as_bytes()])?;
    compose::compose(&module)
}

/// A component of a core module that says by itself which world it is for, as bindings write it into modules.
///
/// # Errors
/// [`ComponentizeError::Template`], where it says nothing, or doesn't do what it says.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    compose::encode(module).map_err(|error| ComponentizeError::template("making it a component")(&format_args!("{error:#}")))
}

/// Whether a path of HTTP can name it without further ado.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
