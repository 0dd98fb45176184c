//! The interface for JavaScript, through wasm-bindgen: what the npm package calls.
//!
//! The glue that wasm-bindgen writes is one instance. `cargo xtask wasm` wraps it into a function, so that the package can have an
//! instance for each session: its memory goes with it, and what a hostile model does to it, it does to no other.
//!
//! Bytes come and go as typed arrays of the host, each copied once, to or from where it stays. An error is an `Error` whose `name`
//! is [`Failure::kind`] and whose `cause` is [`Failure::about`] as JSON; whatever else is thrown is a bug, after which the instance
//! is in no state to go on.

use js_sys::{Error, Uint8Array};
use quaver_core::tensor::AlignedBytes;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::class::Class;
use crate::error::Failure;
use crate::image;
use crate::session::{Session, SessionError};

/// A model and its runs.
#[wasm_bindgen(js_name = Session)]
#[derive(Debug)]
pub struct JsSession {
    inner: Session,
}

#[wasm_bindgen(js_class = Session)]
impl JsSession {
    /// Opens a `.qvr` file, given in parts that follow each other.
    ///
    /// # Errors
    /// See [`Session::open`]; where there is no memory.
    #[wasm_bindgen(constructor)]
    pub fn new(parts: Vec<Uint8Array>) -> Result<JsSession, Error> {
        let file = taken(&parts).map_err(thrown)?;
        Ok(Self { inner: Session::open(file).map_err(thrown)? })
    }

    /// The model's description, see [`Session::describe`].
    pub fn describe(&self) -> String {
        self.inner.describe()
    }

    /// Sets an input to little-endian elements in row-major order.
    ///
    /// # Errors
    /// See [`Session::fill_input`].
    #[wasm_bindgen(js_name = setInput)]
    pub fn set_input(&mut self, index: usize, bytes: &Uint8Array, dims: &[u32]) -> Result<(), Error> {
        let shape = dims.iter().map(|&extent| extent as usize).collect();
        self.inner.fill_input(index, bytes.length() as usize, shape, |to| bytes.copy_to(to)).map_err(thrown)
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
        Ok(Uint8Array::new_from_slice(self.inner.output(index).map_err(thrown)?.bytes()))
    }

    /// An output's extents.
    ///
    /// # Errors
    /// See [`Session::output_dims`].
    #[wasm_bindgen(js_name = outputDims)]
    pub fn output_dims(&self, index: usize) -> Result<Vec<u32>, Error> {
        self.inner.output_dims(index).map_err(thrown)
    }
}

/// The version of this interface, for code that may meet a module of another release.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The name of the class of instructions that sessions opened now use.
///
/// # Errors
/// See [`Class::current`].
#[wasm_bindgen(js_name = currentClass)]
pub fn current_class() -> Result<String, Error> {
    Ok(Class::current().map_err(thrown)?.name().to_owned())
}

/// Makes sessions that are opened from now on use the class of that name; of an empty name, the best. All classes give the same
/// bytes.
///
/// # Errors
/// See [`Class::force`].
#[wasm_bindgen(js_name = forceClass)]
pub fn force_class(name: &str) -> Result<(), Error> {
    Class::force(name).map_err(thrown)
}

/// Makes a picture an input: `width` times `height` pixels of red, green, blue and alpha, a byte each. The options are JSON, see
/// [`image::ImageOptions`].
///
/// # Errors
/// See [`image::tensor`] and [`image::ImageOptions::parse`]; where there is no memory.
#[wasm_bindgen(js_name = image)]
pub fn image_tensor(rgba: Uint8Array, width: u32, height: u32, options: &str) -> Result<Uint8Array, Error> {
    let options = image::ImageOptions::parse(options.as_bytes()).map_err(thrown)?;
    let pixels = taken(&[rgba]).map_err(thrown)?;
    Ok(Uint8Array::new_from_slice(&image::tensor(&pixels, (width, height), &options).map_err(thrown)?))
}

/// See [`threads::expect`](crate::threads::expect).
#[cfg(feature = "threads")]
#[wasm_bindgen(js_name = expectThreads)]
pub fn expect_threads(threads: usize) -> bool {
    crate::threads::expect(threads)
}

/// See [`threads::serve`](crate::threads::serve).
#[cfg(feature = "threads")]
#[wasm_bindgen]
pub fn serve(index: usize) {
    crate::threads::serve(index);
}

/// See [`threads::lose`](crate::threads::lose).
#[cfg(feature = "threads")]
#[wasm_bindgen]
pub fn lose() {
    crate::threads::lose();
}

/// The host's bytes, straight to where they stay.
fn taken(parts: &[Uint8Array]) -> Result<AlignedBytes, SessionError> {
    let sum = |sum: usize, part: &Uint8Array| sum.checked_add(part.length() as usize);
    let bytes = parts.iter().try_fold(0, sum).ok_or(SessionError::Memory { bytes: usize::MAX })?;
    let mut all = AlignedBytes::zeroed(bytes).ok_or(SessionError::Memory { bytes })?;
    let mut rest = &mut all[..];
    for part in parts {
        let (place, behind) = rest.split_at_mut(part.length() as usize);
        part.copy_to(place);
        rest = behind;
    }
    Ok(all)
}

fn thrown(failure: impl Into<Failure>) -> Error {
    let failure = failure.into();
    let thrown = Error::new(&failure.to_string());
    thrown.set_name(failure.kind());
    // Writing strings into memory can't fail.
    thrown.set_cause(&JsValue::from_str(&serde_json::to_string(&failure.about()).unwrap_or_default()));
    thrown
}
