//! `.npz`: a zip archive of `.npy` files, as `numpy.savez` and `savez_compressed` write it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use npyz::NpyFile;
use zip::ZipArchive;

/// What the names of arrays have more in an archive.
const SUFFIX: &str = ".npy";

/// An open archive.
#[derive(Debug)]
pub struct Npz(ZipArchive<BufReader<File>>);

impl Npz {
    /// Opens an archive.
    ///
    /// # Errors
    /// Where the file can't be read or is no archive.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(ZipArchive::new(BufReader::new(File::open(path)?))?))
    }

    /// Names of arrays, in the archive's order.
    pub fn names(&self) -> Vec<String> {
        self.0.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(SUFFIX)?.to_owned())).collect()
    }

    /// The array of that name, which [`Npz::names`] has.
    ///
    /// # Errors
    /// Where there is none, or it is no array.
    pub fn array(&mut self, name: &str) -> io::Result<NpyFile<impl Read>> {
        NpyFile::new(self.0.by_name(&format!("{name}{SUFFIX}"))?)
    }
}
