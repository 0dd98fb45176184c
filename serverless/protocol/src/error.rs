//! What can be wrong with a request.

use quaver_core::tensor::DType;
use thiserror::Error;

/// Why a request is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Nothing is at that path.
    #[error("there is nothing at '{path}'; see GET /v2 for what there is")]
    Path {
        /// The path.
        path: String,
    },
    /// The path is for another method.
    #[error("'{path}' takes {expected}")]
    Method {
        /// The path.
        path: String,
        /// The method that it takes.
        expected: &'static str,
    },
    /// No model has that name.
    #[error("there is no model '{name}'; there are {known}")]
    Model {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The body is no JSON of a request.
    #[error("the request is not valid JSON of an inference: {0}")]
    Json(#[from] serde_json::Error),
    /// The length of the JSON before binary tensors.
    #[error("the header Inference-Header-Content-Length says '{value}', but should be a number up to {body}, the bytes of the body")]
    HeaderLength {
        /// What it says.
        value: String,
        /// Bytes of the body.
        body: usize,
    },
    /// An input that the model doesn't take.
    #[error("the model has no input '{name}'; its inputs are {known}")]
    UnknownInput {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// An input that is given twice.
    #[error("input '{name}' is given twice")]
    TwiceInput {
        /// The name.
        name: String,
    },
    /// An input that is not given.
    #[error("input '{name}' ({expected}) is missing")]
    MissingInput {
        /// The name.
        name: String,
        /// Its type and shape.
        expected: String,
    },
    /// An output that the model doesn't give.
    #[error("the model has no output '{name}'; its outputs are {known}")]
    UnknownOutput {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// An input's type.
    #[error("input '{name}' should be of type {expected}, but is {got}")]
    Type {
        /// The input.
        name: String,
        /// The model's type.
        expected: &'static str,
        /// The request's.
        got: String,
    },
    /// An input's shape.
    #[error("input '{name}' should have shape {expected} (N is the batch size; names are numbers from 1 on), but has {got:?}")]
    Shape {
        /// The input.
        name: String,
        /// The model's.
        expected: String,
        /// The request's.
        got: Vec<usize>,
    },
    /// Inputs that disagree about an extent.
    #[error("input '{name}' has {symbol}={got}, but an input before it has {expected}; in one request they are the same")]
    Extent {
        /// The input.
        name: String,
        /// The extent's name.
        symbol: String,
        /// Its number.
        got: usize,
        /// That of an input before it.
        expected: usize,
    },
    /// The number of an input's bytes.
    #[error("input '{name}' of shape {shape:?} should have {expected} bytes, but its binary_data_size is {got}")]
    Bytes {
        /// The input.
        name: String,
        /// The request's shape.
        shape: Vec<usize>,
        /// Bytes of that shape.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// The body ends within an input.
    #[error("the body ends {missing} bytes before the end of input '{name}'")]
    Cut {
        /// The input.
        name: String,
        /// Bytes that are missing.
        missing: usize,
    },
    /// The body goes on behind its last tensor.
    #[error("{bytes} bytes follow the last binary tensor")]
    Rest {
        /// How many.
        bytes: usize,
    },
    /// Elements in JSON.
    #[error("the data of input '{name}', an array of {expected} elements of {dtype}, can't be read: {source}")]
    Data {
        /// The input.
        name: String,
        /// Elements of its shape.
        expected: usize,
        /// Their type.
        dtype: DType,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An input without elements.
    #[error("input '{name}' has neither data nor a binary_data_size")]
    NoData {
        /// The input.
        name: String,
    },
    /// The file is no photo.
    #[error("the body is not a JPEG or PNG file that can be read: {0}")]
    Photo(#[from] image::ImageError),
    /// The photo has too many pixels or can't be brought to size.
    #[error("the photo can't become the model's input: {0}")]
    Picture(#[from] quaver_wasm::image::ImageError),
    /// The photo's size.
    #[error("the photo has {width} x {height} pixels; it should have at most {limit}")]
    Pixels {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Most pixels.
        limit: u64,
    },
    /// The model takes no photo.
    #[error("the model takes no photo: {why}")]
    NoPhoto {
        /// What is in the way.
        why: String,
    },
    /// The number of classes.
    #[error("'top={value}' should be a number from 1 on")]
    Top {
        /// What is asked for.
        value: String,
    },
    /// The body's type.
    #[error("the body is '{got}', but should be {expected}")]
    ContentType {
        /// What it is.
        got: String,
        /// What it should be.
        expected: &'static str,
    },
    /// What the model gave is not what it said it would.
    #[error("the model's outputs are not those that it describes: {what}")]
    Outputs {
        /// What differs.
        what: String,
    },
}

impl ProtocolError {
    /// The status of HTTP that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Path { .. } | Self::Model { .. } => 404,
            Self::Method { .. } => 405,
            Self::ContentType { .. } => 415,
            Self::Pixels { .. } => 413,
            Self::Outputs { .. } => 500,
            _ => 400,
        }
    }
}
