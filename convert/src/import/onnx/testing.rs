//! Helpers of this folder's tests: small models, and what they compute.

use prost::Message;
use quaver_core::graph::Network;

use super::parse;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use crate::calibrate::HostTensor;
use crate::calibrate::burn_exec::FloatRunner;
use crate::import::{ImportError, ImportOptions};

pub(super) fn value(name: &str, kind: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(dimension::Value::DimValue(d)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
    }
}

pub(super) fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    let name = name.into();
    TensorProto { name, dims: dims.to_vec(), data_type: DataType::Float as i32, float_data: data.to_vec(), ..TensorProto::default() }
}

pub(super) fn ints(name: &str, kind: DataType, dims: &[i64], data: &[i32]) -> TensorProto {
    let name = name.into();
    TensorProto { name, dims: dims.to_vec(), data_type: kind as i32, int32_data: data.to_vec(), ..TensorProto::default() }
}

pub(super) fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(|&i| i.to_owned()).collect();
    NodeProto { op_type: op.into(), name: format!("the_{op}"), input, output: vec![output.into()], ..NodeProto::default() }
}

/// A model of one input, whose last node's first result is the output.
pub(super) fn import(input: ValueInfoProto, nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Result<Network, ImportError> {
    import_all(vec![input], nodes, initializer)
}

/// As [`import`], of any number of inputs.
pub(super) fn import_all(input: Vec<ValueInfoProto>, nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Result<Network, ImportError> {
    parsed(input, nodes, initializer, ImportOptions { fixed_batch: true, ..ImportOptions::default() })
}

/// As [`import`], where a batch of 1 may become any.
pub(super) fn import_any_batch(
    input: ValueInfoProto,
    nodes: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
) -> Result<Network, ImportError> {
    parsed(vec![input], nodes, initializer, ImportOptions::default())
}

/// As [`import_all`], by options.
pub(super) fn parsed(
    input: Vec<ValueInfoProto>,
    nodes: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    options: ImportOptions,
) -> Result<Network, ImportError> {
    let output = nodes.last().map(|n| ValueInfoProto { name: n.output[0].clone(), r#type: None }).into_iter().collect();
    let graph = GraphProto { node: nodes, name: "g".into(), initializer, input, output, value_info: Vec::new() };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    let model = ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() };
    parse(&model.encode_to_vec(), None, &options)
}

/// The node with an attribute more.
pub(super) fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(attribute);
    node
}

/// An input of real numbers whose extents may be names.
pub(super) fn open(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| {
        let value = d.parse().map_or_else(|_| dimension::Value::DimParam((*d).to_owned()), dimension::Value::DimValue);
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let tensor =
        type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim: dims.iter().map(dim).collect() }) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value, ..TypeProto::default() }) }
}

/// The first output.
pub(super) fn run(network: &Network, inputs: &[(&[usize], &[f32])]) -> HostTensor {
    let inputs: Vec<HostTensor> = inputs.iter().map(|(shape, data)| HostTensor { shape: shape.to_vec(), data: data.to_vec() }).collect();
    FloatRunner::new(network).and_then(|runner| runner.run(&inputs, &mut |_, _, _| {})).expect("runs").swap_remove(0)
}

/// Numbers between −1 and 1 without a pattern.
pub(super) fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Fails where numbers differ by more than rounding.
#[track_caller]
pub(super) fn assert_close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= 1e-4 * (1.0 + e.abs()), "element {i} is {g} instead of {e}");
    }
}
