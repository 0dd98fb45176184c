//! What `quaver componentize` calls to put a model in, before the memory becomes that of every instance: [`quaver_reserve`], whose
//! memory it fills with the file, the digest and the name, then [`quaver_embed`]. Nothing else calls these, as hosts of components
//! can't.

use std::cell::RefCell;

use quaver_core::tensor::AlignedBytes;

use crate::app;
use crate::native::Digest;

/// The file, the digest, and the name.
type Parts = [Option<AlignedBytes>; 3];

thread_local! {
    static PARTS: RefCell<Parts> = const { RefCell::new([const { None }; 3]) };
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// `len` bytes for part `part`: 0 the file, 1 its digest, 2 the name. Their address; 0 where there is no memory, or no such part.
#[unsafe(no_mangle)]
pub extern "C" fn quaver_reserve(part: usize, len: usize) -> usize {
    PARTS.with_borrow_mut(|parts| {
        let (Some(slot), Some(mut bytes)) = (parts.get_mut(part), AlignedBytes::zeroed(len)) else { return 0 };
        // The host will write there, so the address is taken from a mutable borrow.
        let address = bytes.as_mut_ptr().expose_provenance();
        *slot = Some(bytes);
        address
    })
}

/// Opens the file that was put in, and makes it what requests run. 1; or 0 on an error, which [`quaver_message`] tells.
#[unsafe(no_mangle)]
pub extern "C" fn quaver_embed() -> u32 {
    let opened = match PARTS.take() {
        [Some(file), Some(digest), Some(name)] => {
            let digest = Digest::try_from(&digest[..]).map_err(|_| "the digest has another length".to_owned());
            digest.and_then(|digest| app::open(file, &String::from_utf8_lossy(&name), digest).map_err(|error| error.to_string()))
        }
        _ => Err("a part is missing".to_owned()),
    };
    let Err(message) = opened else { return 1 };
    MESSAGE.set(message);
    0
}

/// The address of the last error's message, in UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn quaver_message() -> usize {
    MESSAGE.with_borrow(|message| message.as_ptr().expose_provenance())
}

/// The length of the last error's message.
#[unsafe(no_mangle)]
pub extern "C" fn quaver_message_len() -> usize {
    MESSAGE.with_borrow(String::len)
}
