//! The JSON of a request, which says what elements are behind it and where: enough to check all of a request before any of them is read.

use std::borrow::Cow;
use std::ops::Range;

use quaver_core::graph::Sizes;
use quaver_core::graph::dim::display;
use quaver_core::tensor::byte_count;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Inference, Input, Reply};
use crate::description::{Description, Port, datatype, names};
use crate::{ProtocolError, data};

/// A request that fits its model, but for elements that are behind its JSON.
#[derive(Debug)]
pub struct Asked {
    /// In the model's order.
    inputs: Vec<Layout>,
    reply: Reply,
}

/// An input.
#[derive(Debug)]
struct Layout {
    name: String,
    shape: Vec<usize>,
    elements: Elements,
}

#[derive(Debug)]
enum Elements {
    /// The JSON has them.
    Told(Vec<u8>),
    /// Where they are behind it.
    Behind(Range<usize>),
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

impl Asked {
    /// Reads the JSON of a request, behind which so many bytes follow.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn read(description: &Description, text: &[u8], behind: usize) -> Result<Self, ProtocolError> {
        let request: Body<'_> = serde_json::from_slice(text)?;
        let mut inputs: Vec<Option<Layout>> = description.inputs.iter().map(|_| None).collect();
        let mut left = 0..behind;
        for input in request.inputs {
            let Some(at) = description.inputs.iter().position(|port| port.name == input.name) else {
                return Err(ProtocolError::UnknownInput { name: input.name, known: names(&description.inputs) });
            };
            if inputs[at].is_some() {
                return Err(ProtocolError::TwiceInput { name: input.name });
            }
            inputs[at] = Some(input.read(&description.inputs[at], &mut left)?);
        }
        if !left.is_empty() {
            return Err(ProtocolError::Rest { bytes: left.len() });
        }
        let given = |(input, port): (Option<Layout>, &Port)| {
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

    /// Extents of all inputs, in the model's order, if all their elements are behind the JSON and in that order, too; else `None`.
    pub fn follow(&self) -> Option<Vec<&[usize]>> {
        let mut end = 0;
        let next = |input: &Layout| match &input.elements {
            Elements::Behind(place) if place.start == end => {
                end = place.end;
                true
            }
            _ => false,
        };
        self.inputs.iter().all(next).then(|| self.inputs.iter().map(|input| input.shape.as_slice()).collect())
    }

    /// What is to be answered.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// With what is behind the JSON.
    ///
    /// # Errors
    /// [`ProtocolError::Cut`], where that is less than [`Asked::read`] was told.
    pub fn with(self, binary: &[u8]) -> Result<Inference<'_>, ProtocolError> {
        let input = |Layout { name, shape, elements }| {
            let bytes = match elements {
                Elements::Told(bytes) => Cow::Owned(bytes),
                Elements::Behind(place) => {
                    let missing = place.end.saturating_sub(binary.len());
                    Cow::Borrowed(binary.get(place).ok_or(ProtocolError::Cut { name, missing })?)
                }
            };
            Ok::<_, ProtocolError>(Input { shape, bytes })
        };
        Ok(Inference { inputs: self.inputs.into_iter().map(input).collect::<Result<_, ProtocolError>>()?, reply: self.reply })
    }
}

impl InputBody<'_> {
    /// The input for `port`; binary elements are taken off the front of what is left behind the JSON.
    fn read(self, port: &Port, left: &mut Range<usize>) -> Result<Layout, ProtocolError> {
        let Self { name, shape, datatype: got, parameters, data } = self;
        if got != datatype(port.dtype) {
            return Err(ProtocolError::Type { name, expected: datatype(port.dtype), got });
        }
        let mut sizes = Sizes::default();
        let bytes = byte_count(port.dtype, &shape).filter(|_| sizes.learn(&port.shape, &shape));
        let Some(expected) = bytes else {
            return Err(ProtocolError::Shape { name, expected: display(&port.shape), got: shape });
        };
        let elements = match (parameters.binary_data_size, data) {
            (Some(got), _) if got != expected => return Err(ProtocolError::Bytes { name, shape, expected, got }),
            (Some(got), _) if got > left.len() => return Err(ProtocolError::Cut { name, missing: got - left.len() }),
            (Some(got), _) => {
                let start = left.start;
                left.start += got;
                Elements::Behind(start..left.start)
            }
            (None, Some(data)) => {
                let count = expected / port.dtype.size();
                let read = data::read(data.get(), port.dtype, count);
                Elements::Told(read.map_err(|source| ProtocolError::Data {
                    name: name.clone(),
                    expected: count,
                    dtype: port.dtype,
                    source,
                })?)
            }
            (None, None) => return Err(ProtocolError::NoData { name }),
        };
        Ok(Layout { name, shape, elements })
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
fn agree(ports: &[Port], inputs: &[Layout]) -> Result<(), ProtocolError> {
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
