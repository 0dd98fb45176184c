//! Classes through wasm-bindgen, for web programs in Rust that bind this crate into a module of their own. The npm package takes
//! [`crate::abi`] instead: a module that wasm-bindgen binds is one instance, and the package has one for each session.

use js_sys::{Error, Uint8Array};
use quaver_core::tensor::AlignedBytes;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::class::Class;
use crate::session::{Session, SessionError};

/// A model and its runs.
#[wasm_bindgen(js_name = Session)]
#[derive(Debug)]
pub struct JsSession {
    inner: Session,
}

#[wasm_bindgen(js_class = Session)]
impl JsSession {
    /// Opens the bytes of a `.qvr` file.
    ///
    /// # Errors
    /// An `Error` whose `name` is [`SessionError::kind`], as of all methods here.
    #[wasm_bindgen(constructor)]
    pub fn new(file: &Uint8Array) -> Result<JsSession, Error> {
        Ok(Self { inner: Session::open(take(file)?).map_err(thrown)? })
    }

    /// The model's description, see [`Session::describe`].
    pub fn describe(&self) -> String {
        self.inner.describe()
    }

    /// Sets an input to little-endian elements.
    ///
    /// # Errors
    /// See [`Session::set_input`].
    #[wasm_bindgen(js_name = setInput)]
    pub fn set_input(&mut self, index: usize, bytes: &Uint8Array, dims: &[u32]) -> Result<(), Error> {
        let shape = dims.iter().map(|&extent| extent as usize).collect();
        self.inner.set_input(index, &bytes.to_vec(), shape).map_err(thrown)
    }

    /// Runs the model.
    ///
    /// # Errors
    /// See [`Session::run`].
    pub fn run(&mut self) -> Result<(), Error> {
        self.inner.run().map_err(thrown)
    }

    /// A copy of an output's elements.
    ///
    /// # Errors
    /// See [`Session::output`].
    pub fn output(&self, index: usize) -> Result<Uint8Array, Error> {
        Ok(Uint8Array::from(self.inner.output(index).map_err(thrown)?.bytes()))
    }

    /// An output's extents.
    ///
    /// # Errors
    /// See [`Session::output`].
    #[wasm_bindgen(js_name = outputDims)]
    pub fn output_dims(&self, index: usize) -> Result<Vec<u32>, Error> {
        // An extent above 32 bits would need an arena above the session's limit.
        Ok(self.inner.output(index).map_err(thrown)?.shape().iter().map(|&extent| extent as u32).collect())
    }
}

/// The names of the classes of instructions that this build and engine have, ascending: the last one is what sessions use if
/// none is forced.
#[wasm_bindgen]
pub fn classes() -> Vec<String> {
    Class::ALL.into_iter().filter(|class| class.is_available()).map(|class| class.name().to_owned()).collect()
}

/// The name of the class that sessions opened now use.
#[wasm_bindgen(js_name = currentClass)]
pub fn current_class() -> String {
    Class::current().name().to_owned()
}

/// Makes sessions that are opened from now on use the class of that name; of an empty name, the last of [`classes`]. All
/// classes give the same bytes.
///
/// # Errors
/// An `Error` whose `name` is `input`, where there is no such class here.
#[wasm_bindgen(js_name = forceClass)]
pub fn force_class(name: &str) -> Result<(), Error> {
    Class::force(name).map_err(|error| {
        let thrown = Error::new(&error.to_string());
        thrown.set_name("input");
        thrown
    })
}

/// The host's bytes, copied once, straight to where they stay.
fn take(bytes: &Uint8Array) -> Result<AlignedBytes, Error> {
    let len = bytes.length() as usize;
    let mut copy = AlignedBytes::zeroed(len).ok_or_else(|| thrown(SessionError::Memory { bytes: len }))?;
    bytes.copy_to(&mut copy);
    Ok(copy)
}

fn thrown(error: SessionError) -> Error {
    let thrown = Error::new(&error.to_string());
    thrown.set_name(error.kind());
    thrown
}
