//! Bodies to guests from where they lie: what `wasi:io` reads is copied into a guest's memory at once. Wasmtime's own goes by a vector,
//! which for a body of some hundred kilobytes takes as long as the copy.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::{DynInputStream, StreamError};
use wasmtime_wasi_io::bindings::wasi::io::streams::{Host, StreamError as Told};

use super::state::State;

/// The interface as wasmtime's crate names it.
const STREAMS: &str = "wasi:io/streams@0.2.12";

/// What a guest asks for: the stream, and most bytes.
type Asked = (Resource<DynInputStream>, u64);
type Answered = (Result<Bytes, Told>,);

/// Takes the place of what is linked already.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut streams = linker.instance(STREAMS)?;
    streams.func_wrap("[method]input-stream.read", |mut store: StoreContextMut<'_, State>, (stream, most): Asked| {
        let table = store.data_mut().ctx().table;
        let read = table.get_mut(&stream)?.read(usize::try_from(most).unwrap_or(usize::MAX));
        answer(table, read)
    })?;
    streams.func_wrap_async("[method]input-stream.blocking-read", |mut store: StoreContextMut<'_, State>, (stream, most): Asked| {
        Box::new(async move {
            let table = store.data_mut().ctx().table;
            let read = table.get_mut(&stream)?.blocking_read(usize::try_from(most).unwrap_or(usize::MAX)).await;
            answer(table, read)
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn answer(table: &mut ResourceTable, read: Result<Bytes, StreamError>) -> wasmtime::Result<Answered> {
    Ok((match read {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(table.convert_stream_error(error)?),
    },))
}
