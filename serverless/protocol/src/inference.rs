//! From a request's body to inputs, and from outputs to an answer.
//!
//! A body is JSON; or JSON of as many bytes as the header `Inference-Header-Content-Length` says, followed by the elements of every
//! input that has a `binary_data_size`, little-endian, in the request's order; or a photo. Outputs are all of the model's, or those
//! that the request names; they are binary where it asks for that, each or all (`binary_data_output`).

use std::borrow::Cow;

use quaver_core::tensor::{DType, TensorView};
use serde::Serialize;

pub use asked::Asked;

use crate::classes::{self, Class, TOP};
use crate::data::Elements;
use crate::description::{Description, datatype};
use crate::{Answer, ProtocolError, photo};

mod asked;

/// What of a request's head says how its body is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head<'a> {
    /// The path, with what follows its `?`.
    pub path: &'a str,
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The header `Inference-Header-Content-Length`.
    pub header_length: Option<&'a str>,
}

impl Head<'_> {
    /// Bytes of a body's JSON, where elements follow it.
    pub fn json_bytes(&self) -> Option<usize> {
        let is_json = !self.content_type.is_some_and(is_photo);
        self.header_length.filter(|_| is_json)?.trim().parse().ok()
    }
}

/// A request that fits its model.
#[derive(Debug)]
pub struct Inference<'a> {
    /// A run's inputs, in the model's order.
    pub inputs: Vec<Input<'a>>,
    /// What is to be answered.
    pub reply: Reply,
}

/// An input.
#[derive(Debug)]
pub struct Input<'a> {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements, little-endian, as many as the extents say; at any address.
    pub bytes: Cow<'a, [u8]>,
}

/// What is to be answered, once the model has run.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Tensors.
    Tensors {
        /// The request's own name.
        id: Option<String>,
        /// Places of outputs, and whether each is binary.
        outputs: Vec<(usize, bool)>,
    },
    /// The most probable classes.
    Classes {
        /// How many.
        top: usize,
    },
}

impl<'a> Inference<'a> {
    /// Reads a body for `POST …/infer`.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn read(description: &Description, head: &Head<'_>, body: &'a [u8]) -> Result<Self, ProtocolError> {
        if head.content_type.is_some_and(is_photo) {
            return Self::photo(description, head, body);
        }
        let (text, binary) = match head.header_length {
            None => (body, Default::default()),
            Some(value) => {
                let cut = head.json_bytes().and_then(|length| body.split_at_checked(length));
                cut.ok_or_else(|| ProtocolError::HeaderLength { value: value.to_owned(), body: body.len() })?
            }
        };
        Asked::read(description, text, binary.len())?.with(binary)
    }

    /// Reads a body for `POST …/classify`: a photo's file.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn photo(description: &Description, head: &Head<'_>, body: &[u8]) -> Result<Self, ProtocolError> {
        if let Some(got) = head.content_type.filter(|got| !is_photo(got) && *got != "application/octet-stream") {
            return Err(ProtocolError::ContentType { got: got.to_owned(), expected: "image/jpeg or image/png" });
        }
        let query = head.path.split_once('?').map_or("", |(_, query)| query);
        let top = match query.split('&').find_map(|pair| pair.strip_prefix("top=")) {
            None => TOP,
            Some(value) => value.parse().ok().filter(|&top| top > 0).ok_or_else(|| ProtocolError::Top { value: value.to_owned() })?,
        };
        if description.outputs.first().is_none_or(|port| port.dtype != DType::F32) {
            return Err(ProtocolError::NoPhoto { why: "its first output is no FP32, so it holds no scores".to_owned() });
        }
        let (shape, bytes) = photo::input(description, body)?;
        Ok(Self { inputs: vec![Input { shape, bytes: Cow::Owned(bytes.to_vec()) }], reply: Reply::Classes { top } })
    }
}

fn is_photo(content_type: &str) -> bool {
    matches!(content_type.split(';').next().unwrap_or_default().trim(), "image/jpeg" | "image/png")
}

impl Reply {
    /// The answer, from the model's outputs in its order.
    ///
    /// # Errors
    /// [`ProtocolError::Outputs`], where they are not those that it describes.
    pub fn answer(&self, description: &Description, results: &[TensorView<'_>]) -> Result<Answer, ProtocolError> {
        match self {
            Self::Tensors { id, outputs } => tensors(description, results, id.as_deref(), outputs),
            Self::Classes { top } => scores(description, results, *top),
        }
    }
}

fn tensors(
    description: &Description,
    results: &[TensorView<'_>],
    id: Option<&str>,
    outputs: &[(usize, bool)],
) -> Result<Answer, ProtocolError> {
    #[derive(Serialize)]
    struct Response<'a> {
        model_name: &'a str,
        model_version: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        outputs: Vec<Output<'a>>,
    }
    #[derive(Serialize)]
    struct Output<'a> {
        name: &'a str,
        datatype: &'a str,
        shape: &'a [usize],
        #[serde(skip_serializing_if = "Option::is_none")]
        parameters: Option<Binary>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Elements<'a>>,
    }
    #[derive(Serialize)]
    struct Binary {
        binary_data_size: usize,
    }
    let (mut listed, mut binary) = (Vec::new(), Vec::new());
    for &(at, is_binary) in outputs {
        let (Some(port), Some(&result)) = (description.outputs.get(at), results.get(at)) else {
            return Err(ProtocolError::Outputs { what: format!("there is no output {at}") });
        };
        if is_binary {
            binary.push(result.bytes());
        }
        listed.push(Output {
            name: &port.name,
            datatype: datatype(result.dtype()),
            shape: result.shape(),
            parameters: is_binary.then(|| Binary { binary_data_size: result.bytes().len() }),
            data: (!is_binary).then_some(Elements(result)),
        });
    }
    let mut answer = Answer::json(200, &Response { model_name: &description.name, model_version: "1", id, outputs: listed });
    if !binary.is_empty() {
        answer.header_length = Some(answer.body.len());
        answer.content_type = "application/octet-stream";
        answer.body.reserve_exact(binary.iter().map(|bytes| bytes.len()).sum());
        binary.iter().for_each(|bytes| answer.body.extend_from_slice(bytes));
    }
    Ok(answer)
}

fn scores(description: &Description, results: &[TensorView<'_>], top: usize) -> Result<Answer, ProtocolError> {
    #[derive(Serialize)]
    struct Response<'a> {
        model_name: &'a str,
        classes: Vec<Class>,
    }
    let first = results.first().filter(|result| result.dtype() == DType::F32);
    let Some(first) = first else { return Err(ProtocolError::Outputs { what: "the first is no FP32".to_owned() }) };
    let scores: Vec<f32> = first.bytes().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let classes = classes::top(&scores, &description.labels, top);
    Ok(Answer::json(200, &Response { model_name: &description.name, classes }))
}

#[cfg(test)]
mod tests;
