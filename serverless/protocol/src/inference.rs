//! From a request's body to inputs, and from outputs to an answer.
//!
//! A body is JSON; or JSON of as many bytes as the header `Inference-Header-Content-Length` says, followed by the elements of every
//! input that has a `binary_data_size`, little-endian, in the request's order; or a photo. Outputs are all of the model's, or those
//! that the request names; they are binary where it asks for that, each or all (`binary_data_output`).

use std::borrow::Cow;

use quaver_core::graph::Sizes;
use quaver_core::graph::dim::display;
use quaver_core::tensor::{DType, TensorView, byte_count};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::classes::{self, Class, TOP};
use crate::data::{self, Elements};
use crate::description::{Description, Port, datatype, names};
use crate::{Answer, ProtocolError, photo};

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

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<InputBody<'a>>,
    #[serde(default)]
    outputs: Vec<OutputBody>,
}

#[derive(Deserialize)]
struct InputBody<'a> {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputBody {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Those that are known; servers ignore others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
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
        let Some(value) = head.header_length else { return Self::parts(description, body, &[]) };
        let cut = head.json_bytes().and_then(|length| body.split_at_checked(length));
        let (text, binary) = cut.ok_or_else(|| ProtocolError::HeaderLength { value: value.to_owned(), body: body.len() })?;
        Self::parts(description, text, binary)
    }

    /// The same of a body that is no photo, cut where its JSON ends, which is after [`Head::json_bytes`] or at its own end.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn parts(description: &Description, text: &'a [u8], mut binary: &'a [u8]) -> Result<Self, ProtocolError> {
        let request: Body<'a> = serde_json::from_slice(text)?;
        let mut inputs: Vec<Option<Input<'a>>> = description.inputs.iter().map(|_| None).collect();
        for input in request.inputs {
            let Some(at) = description.inputs.iter().position(|port| port.name == input.name) else {
                return Err(ProtocolError::UnknownInput { name: input.name, known: names(&description.inputs) });
            };
            if inputs[at].is_some() {
                return Err(ProtocolError::TwiceInput { name: input.name });
            }
            inputs[at] = Some(input.read(&description.inputs[at], &mut binary)?);
        }
        if !binary.is_empty() {
            return Err(ProtocolError::Rest { bytes: binary.len() });
        }
        let given = |(input, port): (Option<Input<'a>>, &Port)| {
            input.ok_or_else(|| ProtocolError::MissingInput { name: port.name.clone(), expected: port.expected() })
        };
        let inputs = inputs.into_iter().zip(&description.inputs).map(given).collect::<Result<Vec<_>, _>>()?;
        agree(&description.inputs, &inputs)?;
        let all_binary = request.parameters.binary_data_output.unwrap_or(false);
        let outputs = match request.outputs.is_empty() {
            true => (0..description.outputs.len()).map(|at| (at, all_binary)).collect(),
            false => request.outputs.into_iter().map(|output| output.place(description, all_binary)).collect::<Result<_, _>>()?,
        };
        Ok(Self { inputs, reply: Reply::Tensors { id: request.id, outputs } })
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

impl<'a> InputBody<'a> {
    /// The input for `port`; binary elements are taken off the front of `binary`.
    fn read(self, port: &Port, binary: &mut &'a [u8]) -> Result<Input<'a>, ProtocolError> {
        let Self { name, shape, datatype: got, parameters, data } = self;
        if got != datatype(port.dtype) {
            return Err(ProtocolError::Type { name, expected: datatype(port.dtype), got });
        }
        let mut sizes = Sizes::default();
        let bytes = byte_count(port.dtype, &shape).filter(|_| sizes.learn(&port.shape, &shape));
        let Some(expected) = bytes else {
            return Err(ProtocolError::Shape { name, expected: display(&port.shape), got: shape });
        };
        let bytes = match (parameters.binary_data_size, data) {
            (Some(got), _) if got != expected => return Err(ProtocolError::Bytes { name, shape, expected, got }),
            (Some(got), _) => {
                let Some((bytes, rest)) = binary.split_at_checked(got) else {
                    return Err(ProtocolError::Cut { name, missing: got - binary.len() });
                };
                *binary = rest;
                Cow::Borrowed(bytes)
            }
            (None, Some(data)) => {
                let count = expected / port.dtype.size();
                let failed = |source| ProtocolError::Data { name, expected: count, dtype: port.dtype, source };
                Cow::Owned(data::read(data.get(), port.dtype, count).map_err(failed)?)
            }
            (None, None) => return Err(ProtocolError::NoData { name }),
        };
        Ok(Input { shape, bytes })
    }
}

impl OutputBody {
    fn place(self, description: &Description, all_binary: bool) -> Result<(usize, bool), ProtocolError> {
        let Some(at) = description.outputs.iter().position(|port| port.name == self.name) else {
            return Err(ProtocolError::UnknownOutput { name: self.name, known: names(&description.outputs) });
        };
        Ok((at, self.parameters.binary_data.unwrap_or(all_binary)))
    }
}

/// Makes sure that inputs agree about what the model leaves open.
fn agree(ports: &[Port], inputs: &[Input<'_>]) -> Result<(), ProtocolError> {
    let mut all = Sizes::default();
    for (port, input) in ports.iter().zip(inputs) {
        let mut own = Sizes::default();
        own.learn(&port.shape, &input.shape);
        for (symbol, got) in own.iter() {
            if let Some(expected) = all.get(symbol).filter(|&known| known != got) {
                return Err(ProtocolError::Extent { name: port.name.clone(), symbol: symbol.to_owned(), got, expected });
            }
            all.set(symbol, got);
        }
    }
    Ok(())
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
