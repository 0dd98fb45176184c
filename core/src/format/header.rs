//! The header: its length, its limits, its JSON, in the order in which the file has it.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::FormatError;
use crate::json::{self, Json, Place, Read};
use crate::tensor::{ALIGNMENT, DType};

/// Bytes of the header's length.
pub(super) const LENGTH_BYTES: usize = 8;
/// Key of the metadata in the header.
pub(super) const METADATA: &str = "__metadata__";

/// The header as it stands in the file.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) metadata: Option<Strings>,
    pub(super) tensors: Vec<(String, TensorInfo)>,
    /// Whether `__metadata__` stands twice.
    twice: bool,
}

/// A JSON object of strings, in order.
#[derive(Debug, Default)]
pub(super) struct Strings(pub(super) Vec<(String, String)>);

/// What a safetensors header says about one tensor.
#[derive(Debug, Serialize)]
pub(super) struct TensorInfo {
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) data_offsets: [usize; 2],
}

impl Header {
    /// Reads the header of `file`; also returns where the data starts.
    pub(super) fn read(file: &[u8]) -> Result<(Self, usize), FormatError> {
        let length = file.first_chunk::<LENGTH_BYTES>().ok_or(FormatError::TooShort { len: file.len() })?;
        let length = u64::from_le_bytes(*length);
        let too_large = FormatError::HeaderTooLarge { len: length, limit: super::MAX_HEADER };
        let len = usize::try_from(length).ok().filter(|&n| n <= super::MAX_HEADER).ok_or(too_large)?;
        let start = LENGTH_BYTES + len;
        let text = file.get(LENGTH_BYTES..start).ok_or(FormatError::HeaderOutside { len, file: file.len() })?;
        if !start.is_multiple_of(ALIGNMENT) {
            return Err(FormatError::HeaderAlignment { start });
        }
        let end = text.iter().rposition(|&b| b != b' ').unwrap_or(0);
        if text.first() != Some(&b'{') || text.get(end) != Some(&b'}') {
            return Err(FormatError::HeaderPadding);
        }
        let header: Header = json::from_slice(text).map_err(|e| FormatError::HeaderJson { message: e.to_string() })?;
        header.check_keys()?;
        Ok((header, start))
    }

    /// The header's bytes: length, JSON, and the spaces that align the data.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        let mut bytes = vec![0; LENGTH_BYTES];
        serde_json::to_writer(&mut bytes, self).map_err(|e| FormatError::HeaderJson { message: e.to_string() })?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), b' ');
        let len = bytes.len() - LENGTH_BYTES;
        if len > super::MAX_HEADER {
            return Err(FormatError::HeaderTooLarge { len: len as u64, limit: super::MAX_HEADER });
        }
        bytes[..LENGTH_BYTES].copy_from_slice(&(len as u64).to_le_bytes());
        Ok(bytes)
    }

    /// A header to be written.
    pub(super) fn new(metadata: Strings, tensors: Vec<(String, TensorInfo)>) -> Self {
        Self { metadata: Some(metadata), tensors, twice: false }
    }

    fn check_keys(&self) -> Result<(), FormatError> {
        if self.twice {
            return Err(FormatError::DuplicateKey { key: METADATA.to_owned() });
        }
        let metadata = self.metadata.iter().flat_map(|m| m.0.iter().map(|(k, _)| k.as_str()));
        unique(metadata)?;
        unique(self.tensors.iter().map(|(k, _)| k.as_str()))
    }
}

fn unique<'a>(keys: impl Iterator<Item = &'a str>) -> Result<(), FormatError> {
    match repeated(keys.collect()) {
        Some(key) => Err(FormatError::DuplicateKey { key: key.to_owned() }),
        None => Ok(()),
    }
}

/// A name that stands twice. Sorting them is less code than a table of hashes.
pub(super) fn repeated(mut names: Vec<&str>) -> Option<&str> {
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// The element type that safetensors calls `name`.
pub(super) fn dtype_named(name: &str) -> Option<DType> {
    [DType::F32, DType::U8, DType::I8, DType::I32, DType::I64].into_iter().find(|&d| dtype_name(d) == name)
}

/// What safetensors calls an element type.
pub(super) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::U8 => "U8",
        DType::I8 => "I8",
        DType::I32 => "I32",
        DType::I64 => "I64",
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(metadata) = &self.metadata {
            map.serialize_entry(METADATA, metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

impl Serialize for Strings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(k, v)| (k, v)))
    }
}

json::structures! {
    TensorInfo { dtype, shape, data_offsets }
}

// Maps would keep the last of two equal keys and lose the order; both matter here.
impl Read for Header {
    fn read(value: Json<'_>) -> Self {
        let mut header = Header::default();
        for (key, value) in value.object().entries() {
            if key == METADATA {
                header.twice |= header.metadata.is_some();
                header.metadata = Some(value.at(Place::Field(&key)));
            } else {
                let info = value.at(Place::Field(&key));
                header.tensors.push((key, info));
            }
        }
        header
    }
}

impl Read for Strings {
    fn read(value: Json<'_>) -> Self {
        let mut strings = Vec::new();
        for (key, value) in value.object().entries() {
            let string = value.at(Place::Field(&key));
            strings.push((key, string));
        }
        Strings(strings)
    }
}
