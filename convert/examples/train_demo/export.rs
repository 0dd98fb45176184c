//! The trained network as an ONNX file, as an exporter would write it: batch normalisation not folded.

use burn::nn::Linear;
use burn::tensor::Tensor;
use prost::Message;

use super::model::{ConvBn, Inverted, Network, Residual};
use quaver_convert::import::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto, tensor_proto, tensor_shape_proto, type_proto,
};

const OPSET: i64 = 13;
const IR_VERSION: i64 = 8;

/// The file's bytes.
pub fn onnx(network: &Network) -> Vec<u8> {
    let mut graph = Builder::default();
    let x = graph.conv("stem", &network.stem, "image");
    let x = graph.node("Relu", "stem/relu", &[&x], vec![]);
    let x = graph.residual("residual1", &network.residual1, &x);
    let x = graph.inverted("inverted1", &network.inverted1, &x);
    let x = graph.inverted("inverted2", &network.inverted2, &x);
    let x = graph.residual("residual2", &network.residual2, &x);
    let x = graph.inverted("inverted3", &network.inverted3, &x);
    let x = graph.conv("head", &network.head, &x);
    let x = graph.node("Relu", "head/relu", &[&x], vec![]);
    let x = graph.node("GlobalAveragePool", "pool", &[&x], vec![]);
    let x = graph.node("Flatten", "flatten", &[&x], vec![int("axis", 1)]);
    graph.classifier(&network.classifier, &x);
    let graph = GraphProto {
        name: "fashion".into(),
        node: graph.nodes,
        initializer: graph.initializers,
        input: vec![port("image", &[1, 28, 28])],
        output: vec![port("logits", &[10])],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "quaver train_demo".into(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

#[derive(Default)]
struct Builder {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Builder {
    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{name}:0");
        self.push(op, name, inputs, &output, attributes);
        output
    }

    fn push(&mut self, op: &str, name: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: name.into(),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.into()],
            attribute,
            ..NodeProto::default()
        });
    }

    fn tensor<const D: usize>(&mut self, name: String, tensor: Tensor<D>) -> String {
        let dims = tensor.dims().iter().map(|&d| d as i64).collect();
        let values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializers.push(TensorProto {
            dims,
            data_type: tensor_proto::DataType::Float as i32,
            name: name.clone(),
            raw_data,
            ..TensorProto::default()
        });
        name
    }

    fn conv(&mut self, name: &str, layer: &ConvBn, x: &str) -> String {
        let conv = &layer.conv;
        let weight = self.tensor(format!("{name}.weight"), conv.weight.val());
        let pad = (conv.kernel_size[0] / 2) as i64;
        let pair = |v: [usize; 2]| v.map(|v| v as i64).to_vec();
        let attributes = vec![
            ints("kernel_shape", pair(conv.kernel_size)),
            ints("strides", pair(conv.stride)),
            ints("pads", vec![pad; 4]),
            int("group", conv.groups as i64),
        ];
        let y = self.node("Conv", &format!("{name}/conv"), &[x, &weight], attributes);
        let norm = &layer.norm;
        let gamma = self.tensor(format!("{name}.gamma"), norm.gamma.val());
        let beta = self.tensor(format!("{name}.beta"), norm.beta.val());
        let mean = self.tensor(format!("{name}.mean"), norm.running_mean.value());
        let var = self.tensor(format!("{name}.var"), norm.running_var.value());
        let epsilon = AttributeProto {
            name: "epsilon".into(),
            r#type: attribute_proto::AttributeType::Float as i32,
            f: norm.epsilon as f32,
            ..AttributeProto::default()
        };
        self.node("BatchNormalization", &format!("{name}/norm"), &[&y, &gamma, &beta, &mean, &var], vec![epsilon])
    }

    fn residual(&mut self, name: &str, block: &Residual, x: &str) -> String {
        let y = self.conv(&format!("{name}/first"), &block.first, x);
        let y = self.node("Relu", &format!("{name}/first/relu"), &[&y], vec![]);
        let y = self.conv(&format!("{name}/second"), &block.second, &y);
        let y = self.node("Add", &format!("{name}/add"), &[&y, x], vec![]);
        self.node("Relu", &format!("{name}/relu"), &[&y], vec![])
    }

    fn inverted(&mut self, name: &str, block: &Inverted, x: &str) -> String {
        let y = self.conv(&format!("{name}/expand"), &block.expand, x);
        let y = self.node("Relu", &format!("{name}/expand/relu"), &[&y], vec![]);
        let y = self.conv(&format!("{name}/depthwise"), &block.depthwise, &y);
        let y = self.node("Relu", &format!("{name}/depthwise/relu"), &[&y], vec![]);
        let y = self.conv(&format!("{name}/project"), &block.project, &y);
        if block.skip { self.node("Add", &format!("{name}/add"), &[x, &y], vec![]) } else { y }
    }

    fn classifier(&mut self, layer: &Linear, x: &str) {
        let weight = self.tensor("classifier.weight".into(), layer.weight.val());
        let mut inputs = vec![x.to_owned(), weight];
        inputs.extend(layer.bias.as_ref().map(|b| self.tensor("classifier.bias".into(), b.val())));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.push("Gemm", "classifier", &inputs, "logits", vec![]);
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_proto::AttributeType::Int as i32, i, ..AttributeProto::default() }
}

fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_proto::AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

/// A float tensor of shape `[N, …]`.
fn port(name: &str, extents: &[i64]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let fixed = extents.iter().map(|&d| Value::DimValue(d));
    let dim =
        std::iter::once(Value::DimParam("N".into())).chain(fixed).map(|v| Dimension { value: Some(v), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: tensor_proto::DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type }
}
