//! The flat C interface: functions of 32-bit integers over the module's memory.
//!
//! A host copies a file to [`quaver_alloc`]'s memory, calls [`quaver_open`], and for each run [`quaver_set_input`] for
//! every input, [`quaver_run`], and [`quaver_output`]. What has a variable length comes back in the *result*, which lies
//! at [`quaver_result_ptr`] and has [`quaver_result_len`] bytes until the next call that fills it. A function that fails
//! returns 0; [`quaver_last_error`] tells why, and [`quaver_last_error_details`] tells it to programs.
//!
//! A host that can write to the module's memory saves a copy of every input and output by [`quaver_input`],
//! [`quaver_output_ptr`] and [`quaver_output_len`], which say where they are.
//!
//! Memory is named by its address, and addresses are looked up among the blocks that [`quaver_alloc`] gave and that are
//! not freed yet. So this module dereferences no pointer: `unsafe` stands only where a function's name is exported, which it isn't
//! in a module of another crate (feature `embedded`).

use std::cell::RefCell;

use quaver_core::tensor::AlignedBytes;
use serde::Serialize;
use thiserror::Error;

use crate::class::Class;
use crate::error::Failure;
use crate::image;
use crate::map::Map;
use crate::session::{About, Session, SessionError};

#[derive(Debug, Error)]
enum AbiError {
    #[error(transparent)]
    Work(Failure),
    #[error("there is no session {0}; it was never opened, or is closed")]
    Handle(u32),
    #[error("no block from quaver_alloc holds the {len} bytes at {address:#x}")]
    Block { address: usize, len: usize },
    #[error("the {0} bytes of dims are no array of 32-bit numbers")]
    Dims(usize),
    #[error("all handles are used up; load the module anew")]
    Exhausted,
}

impl<E> From<E> for AbiError
where
    Failure: From<E>,
{
    fn from(error: E) -> Self {
        Self::Work(error.into())
    }
}

impl AbiError {
    /// As JSON; the kind is that of [`Failure::kind`], or `host` where the host misuses this interface.
    fn details(&self) -> String {
        #[derive(Serialize)]
        struct Details {
            kind: &'static str,
            message: String,
            about: About,
        }
        let (kind, about) = match self {
            Self::Work(failure) => (failure.kind(), failure.about()),
            Self::Handle(_) | Self::Block { .. } | Self::Dims(_) | Self::Exhausted => ("host", About::default()),
        };
        // Writing strings into memory can't fail.
        serde_json::to_string(&Details { kind, message: self.to_string(), about }).unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    blocks: Map<usize, AlignedBytes>,
    sessions: Map<u32, Session>,
    /// The handle given last. None is given twice, so one that is closed stays an error.
    last: u32,
    result: Option<AlignedBytes>,
    error: Option<AbiError>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// The version of this interface: 2, since there are [`quaver_input`] and [`quaver_image`].
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_abi_version() -> u32 {
    2
}

/// `len` bytes of zeros at an address that is a multiple of 64; 0 where there is no memory.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_alloc(len: usize) -> usize {
    with(|state| {
        let mut block = AlignedBytes::zeroed(len).ok_or(SessionError::Memory { bytes: len })?;
        // The host will write there, so the address is taken from a mutable borrow.
        let address = block.as_mut_ptr().expose_provenance();
        state.blocks.insert(address, block);
        Ok(address)
    })
}

/// Frees what [`quaver_alloc`] gave for `len`; anything else is left alone.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_free(address: usize, len: usize) {
    with(|state| {
        if state.blocks.get(&address).is_some_and(|block| block.len() == len) {
            state.blocks.remove(&address);
        }
        Ok(1)
    });
}

/// Makes the names of the classes of instructions that this build and engine have the result, ascending, separated by commas:
/// the last one is what sessions use if none is forced. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_classes() -> u32 {
    with(|state| {
        let names: Vec<&str> = Class::available().map(Class::name).collect();
        state.give(names.join(",").as_bytes())
    })
}

/// Makes the name of the class that sessions opened now use the result. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_class() -> u32 {
    with(|state| state.give(Class::current()?.name().as_bytes()))
}

/// Makes sessions that are opened from now on use the class whose name is the `len` bytes at `address`; where `len` is 0, the
/// last one of [`quaver_classes`]. All classes give the same bytes. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_force_class(address: usize, len: usize) -> u32 {
    with(|state| {
        Class::force(&String::from_utf8_lossy(block(&state.blocks, address, len)?))?;
        Ok(1)
    })
}

/// Opens the `.qvr` file in the block at `address`, which must be exactly as long as the file, and returns the session's
/// handle; 0 on an error. The session takes the block over: it need not be freed, and freeing it does nothing.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_open(address: usize, len: usize) -> u32 {
    with(|state| {
        if state.blocks.get(&address).is_none_or(|block| block.len() != len) {
            return Err(AbiError::Block { address, len });
        }
        let file = state.blocks.remove(&address).ok_or(AbiError::Block { address, len })?;
        let handle = state.last.checked_add(1).ok_or(AbiError::Exhausted)?;
        state.sessions.insert(handle, Session::open(file)?);
        state.last = handle;
        Ok(handle)
    })
}

/// Ends a session and frees its memory; does nothing for a handle that is closed.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_close(handle: u32) {
    with(|state| {
        state.sessions.remove(&handle);
        Ok(1)
    });
}

/// Makes the model's description the result: JSON as [`Session::describe`] says. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_describe(handle: u32) -> u32 {
    with(|state| {
        let text = state.session(handle)?.describe();
        state.give(text.as_bytes())
    })
}

/// Sets an input to the `len` bytes at `address`, little-endian elements in row-major order, whose `rank` extents lie at
/// `dims` as 32-bit numbers. The bytes are copied. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_set_input(handle: u32, index: u32, address: usize, len: usize, dims: usize, rank: usize) -> u32 {
    with(|state| {
        let shape = state.dims(dims, rank)?;
        let bytes = block(&state.blocks, address, len)?;
        session(&mut state.sessions, handle)?.set_input(index as usize, bytes, shape)?;
        Ok(1)
    })
}

/// Where to write the elements of an input whose `rank` extents lie at `dims`: as many bytes as they say, at an address that
/// holds until that input is set to other extents. What was there before is there still, else zeros. 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_input(handle: u32, index: u32, dims: usize, rank: usize) -> usize {
    with(|state| {
        let shape = state.dims(dims, rank)?;
        Ok(state.session(handle)?.input_mut(index as usize, shape)?.as_mut_ptr().expose_provenance())
    })
}

/// Runs the model on the inputs that are set. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_run(handle: u32) -> u32 {
    with(|state| {
        state.session(handle)?.run()?;
        Ok(1)
    })
}

/// Makes the elements of an output the result. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_output(handle: u32, index: u32) -> u32 {
    with(|state| {
        let bytes = state.session(handle)?.output(index as usize)?.bytes();
        let copy = AlignedBytes::copy_of(bytes).ok_or(SessionError::Memory { bytes: bytes.len() })?;
        state.result = Some(copy);
        Ok(1)
    })
}

/// Where the elements of an output lie until the next run; 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_output_ptr(handle: u32, index: u32) -> usize {
    with(|state| Ok(state.session(handle)?.output(index as usize)?.bytes().as_ptr().expose_provenance()))
}

/// Bytes of an output; also 0 on an error, which [`quaver_output_ptr`] tells from an empty one.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_output_len(handle: u32, index: u32) -> usize {
    with(|state| Ok(state.session(handle)?.output(index as usize)?.bytes().len()))
}

/// Makes the extents of an output the result, as 32-bit numbers. 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_output_dims(handle: u32, index: u32) -> u32 {
    with(|state| {
        let dims = state.session(handle)?.output_dims(index as usize)?;
        let bytes: Vec<u8> = dims.into_iter().flat_map(u32::to_le_bytes).collect();
        state.give(&bytes)
    })
}

/// Makes the picture in the `len` bytes at `address` an input, which becomes the result: `width` times `height` pixels of red,
/// green, blue and alpha, a byte each. The options are JSON, the `options_len` bytes at `options`; see
/// [`ImageOptions`](image::ImageOptions). 1, or 0 on an error.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_image(address: usize, len: usize, width: u32, height: u32, options: usize, options_len: usize) -> u32 {
    with(|state| {
        let options = image::ImageOptions::parse(block(&state.blocks, options, options_len)?)?;
        state.result = Some(image::tensor(block(&state.blocks, address, len)?, (width, height), &options)?);
        Ok(1)
    })
}

/// Where the result lies; a multiple of 64, or 0 where there is none.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_result_ptr() -> usize {
    with(|state| Ok(state.result.as_ref().map_or(0, |bytes| bytes.as_ptr().expose_provenance())))
}

/// Bytes of the result.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_result_len() -> usize {
    with(|state| Ok(state.result.as_ref().map_or(0, |bytes| bytes.len())))
}

/// Makes the message of the last error the result, in UTF-8. 1, or 0 if no call has failed yet.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_last_error() -> u32 {
    with(|state| match state.error.as_ref().map(ToString::to_string) {
        Some(message) => state.give(message.as_bytes()),
        None => Ok(0),
    })
}

/// Makes the last error the result, as JSON: `{"kind":"input","message":…,"about":{"name":"x","expected":…,"got":…}}`. The kind is
/// that of [`Failure::kind`], or `host`; `about` has what is known. 1, or 0 if no call has failed yet.
#[cfg_attr(not(feature = "embedded"), unsafe(no_mangle))]
pub extern "C" fn quaver_last_error_details() -> u32 {
    with(|state| match state.error.as_ref().map(AbiError::details) {
        Some(details) => state.give(details.as_bytes()),
        None => Ok(0),
    })
}

impl State {
    fn session(&mut self, handle: u32) -> Result<&mut Session, AbiError> {
        session(&mut self.sessions, handle)
    }

    /// The `rank` extents at `dims`.
    fn dims(&self, dims: usize, rank: usize) -> Result<Vec<usize>, AbiError> {
        let size = rank.checked_mul(size_of::<u32>()).ok_or(AbiError::Dims(usize::MAX))?;
        let (extents, rest) = block(&self.blocks, dims, size)?.as_chunks();
        if !rest.is_empty() {
            return Err(AbiError::Dims(size));
        }
        Ok(extents.iter().map(|&extent| u32::from_le_bytes(extent) as usize).collect())
    }

    fn give(&mut self, bytes: &[u8]) -> Result<u32, AbiError> {
        self.result = Some(AlignedBytes::copy_of(bytes).ok_or(SessionError::Memory { bytes: bytes.len() })?);
        Ok(1)
    }
}

fn session(sessions: &mut Map<u32, Session>, handle: u32) -> Result<&mut Session, AbiError> {
    sessions.get_mut(&handle).ok_or(AbiError::Handle(handle))
}

/// The `len` bytes at `address`, if they lie in one block.
fn block(blocks: &Map<usize, AlignedBytes>, address: usize, len: usize) -> Result<&[u8], AbiError> {
    let found = blocks.last_up_to(&address).and_then(|(start, block)| {
        let from = address - start;
        block.get(from..from.checked_add(len)?)
    });
    // Nothing lies anywhere: a scalar has no extents, and needs no block for them.
    if len == 0 { Ok(&[]) } else { found.ok_or(AbiError::Block { address, len }) }
}

/// Calls `work`; on an error keeps it and returns 0.
fn with<T: Default>(work: impl FnOnce(&mut State) -> Result<T, AbiError>) -> T {
    STATE.with_borrow_mut(|state| match work(state) {
        Ok(result) => result,
        Err(error) => {
            keep(state, error);
            T::default()
        }
    })
}

/// Not in each function of the interface.
#[cold]
#[inline(never)]
fn keep(state: &mut State, error: AbiError) {
    state.error = Some(error);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::tests::{bytes, file};

    /// As a host does it: a block with these bytes.
    fn put(content: &[u8]) -> usize {
        let address = quaver_alloc(content.len());
        STATE.with_borrow_mut(|state| state.blocks.get_mut(&address).expect("given").copy_from_slice(content));
        address
    }

    fn result() -> Vec<u8> {
        STATE.with_borrow(|state| state.result.as_ref().map(|bytes| bytes.to_vec()).unwrap_or_default())
    }

    fn error() -> String {
        assert_eq!(quaver_last_error(), 1);
        String::from_utf8(result()).expect("UTF-8")
    }

    fn open() -> u32 {
        let file = file();
        quaver_open(put(&file), file.len())
    }

    #[test]
    fn runs_a_model() {
        let handle = open();
        assert_ne!(handle, 0);
        assert_eq!(quaver_describe(handle), 1);
        assert!(String::from_utf8(result()).expect("UTF-8").contains("\"dims\":[\"N\",2]"));
        let (x, dims) = (put(&bytes(&[1.0, 2.0])), put(&[1, 0, 0, 0, 2, 0, 0, 0]));
        assert_eq!(quaver_set_input(handle, 0, x, 8, dims, 2), 1);
        assert_eq!(quaver_run(handle), 1);
        assert_eq!(quaver_output(handle, 0), 1);
        assert_eq!((quaver_result_len(), quaver_result_ptr() % 64), (8, 0));
        assert_eq!(result(), bytes(&[11.0, 22.0]).to_vec());
        assert_eq!(quaver_output_dims(handle, 0), 1);
        assert_eq!(result(), [1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn inputs_and_outputs_are_used_where_they_lie() {
        let handle = open();
        let dims = put(&[1, 0, 0, 0, 2, 0, 0, 0]);
        let address = quaver_input(handle, 0, dims, 2);
        assert_ne!(address, 0);
        STATE.with_borrow_mut(|state| {
            let input = state.session(handle).and_then(|s| Ok(s.input_mut(0, vec![1, 2])?)).expect("set");
            assert_eq!(input.as_ptr().addr(), address, "the same extents keep their place");
            input.copy_from_slice(&bytes(&[1.0, 2.0]));
        });
        assert_eq!(quaver_run(handle), 1);
        assert_ne!(quaver_output_ptr(handle, 0), 0);
        assert_eq!(quaver_output_len(handle, 0), 8);
        assert_eq!((quaver_input(handle, 1, dims, 2), quaver_output_ptr(handle, 9), quaver_output_len(handle, 9)), (0, 0, 0));
    }

    #[test]
    fn errors_have_details() {
        let handle = open();
        assert_eq!(quaver_input(handle, 0, put(&[3, 0, 0, 0]), 1), 0);
        assert_eq!(quaver_last_error_details(), 1);
        let details: serde_json::Value = serde_json::from_slice(&result()).expect("JSON");
        assert_eq!((&details["kind"], &details["about"]), (&json!("input"), &json!({ "name": "x", "expected": "[N,2]", "got": "[3]" })));
        assert_eq!(details["message"], error());
    }

    #[test]
    fn handles_are_checked_and_never_come_back() {
        let first = open();
        quaver_close(first);
        assert_ne!(open(), first);
        for handle in [first, 0, u32::MAX] {
            assert_eq!(quaver_run(handle), 0);
            assert_eq!(error(), format!("there is no session {handle}; it was never opened, or is closed"));
        }
    }

    #[test]
    fn addresses_are_checked() {
        let handle = open();
        let (x, dims) = (put(&bytes(&[1.0, 2.0])), put(&[1, 0, 0, 0, 2, 0, 0, 0]));
        for (address, len, dims, rank) in [(x, 9, dims, 2), (x + 1, 8, dims, 2), (x, 8, dims, 3), (x, 8, 8, 2), (x, usize::MAX, dims, 2)] {
            assert_eq!(quaver_set_input(handle, 0, address, len, dims, rank), 0);
            assert!(error().starts_with("no block from quaver_alloc holds"), "{}", error());
        }
        assert_eq!(quaver_set_input(handle, 0, x, 8, dims, usize::MAX), 0);
        quaver_free(x, 7);
        assert_eq!(quaver_set_input(handle, 0, x, 8, dims, 2), 1);
        quaver_free(x, 8);
        assert_eq!(quaver_set_input(handle, 0, x, 8, dims, 2), 0);
        assert_eq!(quaver_open(dims, 7), 0);
        assert_eq!(quaver_open(dims, 8), 0);
        assert!(error().contains("not a valid .qvr file"), "{}", error());
        quaver_free(dims, 8);
    }

    #[test]
    fn every_class_gives_the_same_bytes() {
        assert_eq!(quaver_classes(), 1);
        let names = String::from_utf8(result()).expect("UTF-8");
        assert_eq!(names, "scalar,simd128");
        let (x, dims) = (put(&bytes(&[1.0, 2.0])), put(&[1, 0, 0, 0, 2, 0, 0, 0]));
        for name in names.split(',') {
            assert_eq!(quaver_force_class(put(name.as_bytes()), name.len()), 1);
            assert_eq!((quaver_class(), result()), (1, name.as_bytes().to_vec()));
            let handle = open();
            assert_eq!(quaver_set_input(handle, 0, x, 8, dims, 2), 1);
            assert_eq!((quaver_run(handle), quaver_output(handle, 0)), (1, 1));
            assert_eq!(result(), bytes(&[11.0, 22.0]).to_vec());
        }
        assert_eq!(quaver_force_class(put(b"avx2"), 4), 0);
        assert_eq!(error(), "there is no class 'avx2'; there are scalar, simd128, sat, sdot, usdot");
        assert_eq!((quaver_force_class(0, 0), quaver_class(), result()), (1, 1, b"simd128".to_vec()));
    }
}
