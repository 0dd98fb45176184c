//! What a model takes and gives, and its metadata as the protocol has it.

use quaver_core::format::{METADATA_LABELS, METADATA_PREPROCESSING, Metadata};
use quaver_core::graph::dim::display;
use quaver_core::graph::{Dim, Graph, ValueId};
use quaver_core::tensor::DType;
use serde::Serialize;

use crate::photo::Preprocessing;
use crate::{Answer, ProtocolError};

/// A model, as far as requests are about it.
#[derive(Debug, Clone)]
pub struct Description {
    /// The name that requests call it by.
    pub name: String,
    /// What a run takes, in the model's order.
    pub inputs: Vec<Port>,
    /// What a run gives.
    pub outputs: Vec<Port>,
    /// Names of classes; empty where the file has none.
    pub labels: Vec<String>,
    /// How a photo becomes an input; what is usual, where the file doesn't say.
    pub preprocessing: Preprocessing,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its elements' type.
    pub dtype: DType,
    /// Its extents.
    pub shape: Vec<Dim>,
}

/// The protocol's name of a type.
pub fn datatype(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "FP32",
        DType::U8 => "UINT8",
        DType::I8 => "INT8",
        DType::I32 => "INT32",
        DType::I64 => "INT64",
    }
}

impl Description {
    /// That of a model under the name that it is served by. Labels and preprocessing that can't be read count as none.
    pub fn new(name: &str, graph: &Graph, metadata: &Metadata) -> Self {
        let ports = |ids: &[ValueId]| {
            let port =
                |value: &quaver_core::graph::Value| Port { name: value.name.clone(), dtype: value.dtype, shape: value.shape.clone() };
            ids.iter().map(|&id| port(graph.value(id))).collect()
        };
        let labels = metadata.get(METADATA_LABELS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let preprocessing = metadata.get(METADATA_PREPROCESSING).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        Self { name: name.to_owned(), inputs: ports(&graph.inputs), outputs: ports(&graph.outputs), labels, preprocessing }
    }

    /// What `GET /v2/models/NAME` says.
    pub fn metadata(&self) -> Answer {
        #[derive(Serialize)]
        struct Metadata<'a> {
            name: &'a str,
            versions: [&'a str; 1],
            platform: &'a str,
            inputs: Vec<Listed<'a>>,
            outputs: Vec<Listed<'a>>,
        }
        #[derive(Serialize)]
        struct Listed<'a> {
            name: &'a str,
            datatype: &'a str,
            shape: Vec<i64>,
        }
        fn listed(ports: &[Port]) -> Vec<Listed<'_>> {
            let extent = |dim: &Dim| dim.fixed().and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
            let shape = |port: &Port| port.shape.iter().map(extent).collect();
            ports.iter().map(|port| Listed { name: &port.name, datatype: datatype(port.dtype), shape: shape(port) }).collect()
        }
        let (inputs, outputs) = (listed(&self.inputs), listed(&self.outputs));
        Answer::json(200, &Metadata { name: &self.name, versions: ["1"], platform: "quaver_qvr", inputs, outputs })
    }

    /// What `GET /v2` says.
    pub fn server() -> Answer {
        #[derive(Serialize)]
        struct Server<'a> {
            name: &'a str,
            version: &'a str,
            extensions: [&'a str; 2],
        }
        Answer::json(
            200,
            &Server { name: "quaver", version: env!("CARGO_PKG_VERSION"), extensions: ["binary_tensor_data", "classify_photo"] },
        )
    }

    /// What `GET /v2/models` says.
    pub fn models<'a>(names: impl IntoIterator<Item = &'a str>) -> Answer {
        #[derive(Serialize)]
        struct Models<'a> {
            models: Vec<&'a str>,
        }
        Answer::json(200, &Models { models: names.into_iter().collect() })
    }

    /// Makes sure that a request means this model.
    ///
    /// # Errors
    /// [`ProtocolError::Model`].
    pub fn is_called(&self, name: &str) -> Result<(), ProtocolError> {
        if name == self.name {
            return Ok(());
        }
        Err(ProtocolError::Model { name: name.to_owned(), known: format!("'{}'", self.name) })
    }
}

impl Port {
    /// Type and shape, in words.
    pub fn expected(&self) -> String {
        format!("{}{}", datatype(self.dtype), display(&self.shape))
    }
}

/// Names of ports, in words.
pub(crate) fn names(ports: &[Port]) -> String {
    match ports {
        [] => "none".to_owned(),
        ports => ports.iter().map(|port| format!("'{}'", port.name)).collect::<Vec<_>>().join(", "),
    }
}
