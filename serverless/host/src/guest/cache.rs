//! Compiled components in files.
//!
//! A file's name is the digest of the component and of all that the machine code depends on. Beside it stands the digest of the file
//! itself, without which, or with another, it is not used: so one that was cut short or damaged is made anew. Machine code is run as
//! it is; so the folder has to be this user's own, and closed to others.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::ServeError;

/// A folder of compiled components.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// What the standard library's way to hash feeds the digest with.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        u64::from_le_bytes(self.0.clone().finalize().as_chunks().0.first().copied().unwrap_or_default())
    }
}

impl Cache {
    /// Opens a folder, making it where there is none.
    pub fn open(folder: &Path) -> Result<Self, ServeError> {
        let failed = |why: String| ServeError::Cache { path: folder.to_owned(), why };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(error.to_string()))?;
        let about = std::fs::metadata(folder).map_err(|error| failed(error.to_string()))?;
        // A folder that was made now has this process's owner.
        let own = tempfile::tempfile().and_then(|file| file.metadata()).map_err(|error| failed(error.to_string()))?;
        if about.uid() != own.uid() || about.permissions().mode() & 0o022 != 0 {
            return Err(failed("others can write to it, so they could put code there; `chmod go-w` it, or use another folder".to_owned()));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The component, compiled before or now.
    pub fn component(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        let mut key = Sha(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut key);
        key.write(bytes);
        let name = hex(&key.0.finalize());
        let (code, digest) = (self.folder.join(format!("{name}.cwasm")), self.folder.join(format!("{name}.sha256")));
        if let Some(component) = checked(engine, &code, &digest) {
            return Ok(component);
        }
        tracing::info!(file = %code.display(), "compiling a component");
        let compiled = engine.precompile_component(bytes)?;
        // The digest last: without it the other isn't used.
        self.write(&code, &compiled)?;
        self.write(&digest, hex(&Sha256::digest(&compiled)).as_bytes())?;
        checked(engine, &code, &digest).ok_or_else(|| wasmtime::format_err!("'{}' changed while it was written", code.display()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> wasmtime::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    }
}

/// The component in a file, if it is the one that was written there.
fn checked(engine: &Engine, code: &Path, digest: &Path) -> Option<Component> {
    let bytes = std::fs::read(code).ok()?;
    if std::fs::read(digest).ok()? != hex(&Sha256::digest(&bytes)).as_bytes() {
        return None;
    }
    // SAFETY: `deserialize_file` demands what `Engine::precompile_component` made, and that nobody changes the file while it is mapped.
    // The digest says that it is what `component` wrote, and wasmtime checks that it was made by this version with this
    // configuration. The folder is closed to others by `Cache::open`, and this program replaces files instead of changing them.
    let loaded = unsafe { Component::deserialize_file(engine, code) };
    loaded.inspect_err(|error| tracing::warn!(file = %code.display(), "a compiled component can't be used: {error:#}")).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into memory can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_is_damaged_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cache");
        let cache = Cache::open(&path).expect("its own");
        let engine = Engine::default();
        let names = || {
            let mut names: Vec<PathBuf> = std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("there").path()).collect();
            names.sort();
            names
        };
        cache.component(&engine, EMPTY).expect("compiles");
        let [code, digest] = &names()[..] else { panic!("two files, not {:?}", names()) };
        let good = std::fs::read(code).expect("readable");
        for damage in [good[..good.len() / 2].to_vec(), vec![0; good.len()], Vec::new()] {
            std::fs::write(code, &damage).expect("writable");
            assert!(checked(&engine, code, digest).is_none());
            cache.component(&engine, EMPTY).expect("compiles again");
            assert_eq!(std::fs::read(code).expect("readable"), good);
        }
        std::fs::remove_file(digest).expect("there");
        assert!(checked(&engine, code, digest).is_none(), "without its digest it could be anything");
        assert!(cache.component(&engine, b"no component").is_err());
    }

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("its owner may");
        assert!(matches!(Cache::open(folder.path()), Err(ServeError::Cache { .. })));
    }
}
