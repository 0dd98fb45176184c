//! Bodies to guests from where they lie: what `wasi:io` reads is copied into a guest's memory at once. Wasmtime's own goes by a vector,
//! which for a body of some hundred kilobytes takes as long as the copy. And what the host itself takes of them, without a copy where
//! it is in one piece.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::{DynInputStream, StreamError};
use wasmtime_wasi_io::bindings::wasi::io::streams::{Host, StreamError as Told};

use super::state::State;
use crate::body::{Buffers, Unread};

/// The interface as wasmtime's crate names it.
const STREAMS: &str = "wasi:io/streams@0.2.12";

/// What a guest asks for: the stream, and most bytes.
type Asked = (Resource<DynInputStream>, u64);
type Answered = (Result<Bytes, Told>,);

/// Bytes for which memory is taken before they are there.
const LIKELY: usize = 4 << 20;

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

/// The next so many bytes: where they lie if they are in one piece, else gathered.
pub async fn next(stream: &mut DynInputStream, bytes: usize, buffers: &Arc<Buffers>) -> Result<Bytes, Unread> {
    let mut read = async |most| stream.blocking_read(most).await.map_err(|_| Unread::Early);
    let mut piece = if bytes == 0 { Bytes::new() } else { read(bytes).await? };
    if piece.len() == bytes {
        return Ok(piece);
    }
    // What is said to come is no reason to take memory for it.
    let mut whole = buffers.take(bytes.min(LIKELY), 0).ok_or(Unread::Memory)?;
    let mut left = bytes;
    loop {
        whole.extend(&piece).ok_or(Unread::Memory)?;
        left -= piece.len();
        if left == 0 {
            return Ok(whole.freeze());
        }
        piece = read(left).await?;
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::async_trait;
    use wasmtime_wasi::p2::{InputStream, Pollable};

    use super::*;

    /// Gives pieces that are there already, each with a wait before it.
    struct Pieces(Vec<Bytes>, bool);

    #[async_trait]
    impl Pollable for Pieces {
        async fn ready(&mut self) {
            self.1 = true;
        }
    }

    impl InputStream for Pieces {
        fn read(&mut self, most: usize) -> Result<Bytes, StreamError> {
            if !std::mem::take(&mut self.1) {
                return Ok(Bytes::new());
            }
            let first = self.0.first_mut().ok_or(StreamError::Closed)?;
            let piece = first.split_to(most.min(first.len()));
            if first.is_empty() {
                self.0.remove(0);
            }
            Ok(piece)
        }
    }

    #[tokio::test]
    async fn pieces_become_one() {
        let buffers = Arc::default();
        let bytes = Bytes::from_iter(0..100u8);
        let mut stream: DynInputStream = Box::new(Pieces(vec![bytes.slice(..40), bytes.slice(40..41), bytes.slice(41..)], false));
        let whole = next(&mut stream, 30, &buffers).await.expect("there");
        assert_eq!((whole.as_ptr(), &whole), (bytes.as_ptr(), &bytes.slice(..30)), "it stays where it lies");
        assert_eq!(next(&mut stream, 0, &buffers).await.expect("there"), "");
        assert_eq!(next(&mut stream, 50, &buffers).await.expect("there"), bytes.slice(30..80));
        // What a guest says is no reason to take all memory.
        assert!(matches!(next(&mut stream, usize::MAX, &buffers).await, Err(Unread::Early)));
    }
}
