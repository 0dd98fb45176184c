//! One graph for every batch size, from graphs at several sizes.
//!
//! Nodes have to be the same in each. Whole numbers among their operands (shapes, bounds of slices) that differ have to be
//! a·N + b, where two sizes give a and b and a third one proves them. Constants that are made to the size of the batch have to be
//! the same for every sample. A network that does something else at some size that is not tried is not noticed.

use super::BurnError;
use super::graph::{int, plain};
use crate::import::onnx::proto::{
    AttributeProto, GraphProto, TensorProto, tensor_proto::DataType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
    type_proto,
};

/// The batch sizes that are captured: none is 1, which broadcasts.
pub(super) const SIZES: [usize; 3] = [2, 3, 5];
/// What the batch size is called in the graph.
const SYMBOL: &str = "N";

/// The graph whose inputs have an open batch size where `chosen` says so. The first graph has the elements of all constants; the
/// others may lack those of parameters.
///
/// # Errors
/// [`BurnError::NoFormula`].
pub(super) fn open(graphs: [GraphProto; 3], chosen: &[bool]) -> Result<GraphProto, BurnError> {
    let [graph, second, third] = graphs;
    let lengths = |g: &GraphProto| [g.node.len(), g.initializer.len()];
    for other in [&second, &third] {
        let differs = graph.node.iter().zip(&other.node).find(|(a, b)| a != b).map(|(a, _)| a.name.clone());
        if differs.is_some() || lengths(&graph) != lengths(other) {
            let node = differs.unwrap_or_else(|| "the forward pass".to_owned());
            return Err(BurnError::NoFormula { node, what: "its operations or their attributes depend on the batch size".to_owned() });
        }
    }
    let batch = graph.input.iter().zip(chosen).find(|(_, chosen)| **chosen).map(|(input, _)| input.name.clone());
    let mut open = Open { graph: GraphProto { initializer: Vec::new(), ..graph }, batch: batch.unwrap_or_default() };
    for ((a, b), c) in graph.initializer.into_iter().zip(second.initializer).zip(third.initializer) {
        open.constant(a, [b, c])?;
    }
    for (input, _) in open.graph.input.iter_mut().zip(chosen).filter(|(_, chosen)| **chosen) {
        if let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().and_then(|t| t.value.as_mut())
            && let Some(first) = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut())
        {
            *first = Dimension { value: Some(dimension::Value::DimParam(SYMBOL.to_owned())), ..Dimension::default() };
        }
    }
    Ok(open.graph)
}

/// The graph under construction.
struct Open {
    graph: GraphProto,
    /// An input whose first extent is the batch size.
    batch: String,
}

impl Open {
    fn constant(&mut self, first: TensorProto, others: [TensorProto; 2]) -> Result<(), BurnError> {
        let same = |other: &TensorProto| other.raw_data.is_empty() || other.raw_data == first.raw_data;
        if others.iter().all(|other| other.dims == first.dims && same(other)) {
            self.graph.initializer.push(first);
            return Ok(());
        }
        let fail = |what: &str| BurnError::NoFormula { node: first.name.clone(), what: what.to_owned() };
        let whole = first.data_type == DataType::Int64 as i32;
        if others.iter().all(|other| other.dims == first.dims) && whole && first.dims.len() <= 1 {
            let lines = lines([&first, &others[0], &others[1]].map(|t| numbers(&t.raw_data)));
            let Some(lines) = lines else { return Err(fail("it holds numbers that are no multiple of the batch size plus a constant")) };
            return self.formula(&first.name, &first.dims, lines);
        }
        if others.iter().any(|other| other.dims.len() != first.dims.len()) || others.iter().any(|other| other.dims == first.dims) {
            return Err(fail("it is a constant whose elements depend on the batch size"));
        }
        let Some(extents) = lines([&first.dims, &others[0].dims, &others[1].dims].map(Clone::clone)) else {
            return Err(fail("it is a constant whose extents are no multiples of the batch size plus a constant"));
        };
        let Some(one) = (0..first.dims.len()).filter(|&axis| extents[axis].0 != 0).try_fold(first.clone(), without) else {
            return Err(fail("it is a constant that differs from sample to sample; make it an input"));
        };
        let all = others.iter().all(|other| {
            let shrunk = (0..first.dims.len()).filter(|&axis| extents[axis].0 != 0).try_fold(other.clone(), without);
            shrunk.is_some_and(|other| other.raw_data == one.raw_data)
        });
        if !all {
            return Err(fail("it is a constant whose elements depend on the batch size"));
        }
        let [shape, single] = ["shape", "single"].map(|what| format!("{}/{what}", first.name));
        self.formula(&shape, &[extents.len() as i64], extents)?;
        self.graph.initializer.push(TensorProto { name: single.clone(), ..one });
        self.node("Expand", &first.name, &[single, shape], Vec::new());
        Ok(())
    }

    /// a·N + b for each pair, as `name`.
    fn formula(&mut self, name: &str, dims: &[i64], lines: Vec<(i64, i64)>) -> Result<(), BurnError> {
        let [n, a, b, product] = ["batch", "factors", "summands", "product"].map(|what| format!("{name}/{what}"));
        let batch = self.batch.clone();
        self.node("Shape", &n, &[batch], vec![int("start", 0), int("end", 1)]);
        for (name, numbers) in [(&a, lines.iter().map(|line| line.0).collect::<Vec<_>>()), (&b, lines.iter().map(|line| line.1).collect())]
        {
            let raw_data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let dims = vec![numbers.len() as i64];
            let tensor = TensorProto { name: name.clone(), dims, data_type: DataType::Int64 as i32, raw_data, ..TensorProto::default() };
            self.graph.initializer.push(tensor);
        }
        self.node("Mul", &product, &[n, a], Vec::new());
        if !dims.is_empty() {
            self.node("Add", name, &[product, b], Vec::new());
            return Ok(());
        }
        let sum = format!("{name}/sum");
        self.node("Add", &sum, &[product, b], Vec::new());
        self.node("Squeeze", name, &[sum], Vec::new());
        Ok(())
    }

    fn node(&mut self, op: &str, name: &str, inputs: &[String], attribute: Vec<AttributeProto>) {
        let mut node = plain(op, inputs);
        (node.name, node.output, node.attribute) = (format!("{name}/{}", op.to_lowercase()), vec![name.to_owned()], attribute);
        self.graph.node.push(node);
    }
}

fn numbers(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
}

/// a and b of each number, which is a·N + b at all sizes.
fn lines([first, second, third]: [Vec<i64>; 3]) -> Option<Vec<(i64, i64)>> {
    let [n, m, k] = SIZES.map(|size| size as i64);
    let line = |((x, y), z): ((i64, i64), i64)| {
        let a = y.checked_sub(x)?.checked_div(m - n)?;
        let b = x.checked_sub(a.checked_mul(n)?)?;
        let at = |size: i64| a.checked_mul(size)?.checked_add(b);
        (at(m) == Some(y) && at(k) == Some(z)).then_some((a, b))
    };
    first.into_iter().zip(second).zip(third).map(line).collect()
}

/// The tensor with a single element along an axis, if all along it are the same.
fn without(tensor: TensorProto, axis: usize) -> Option<TensorProto> {
    let extent = usize::try_from(tensor.dims[axis]).ok()?;
    let count = tensor.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))?;
    let width = tensor.raw_data.len().checked_div(count)?;
    let inner: usize = width * tensor.dims[axis + 1..].iter().map(|&d| d as usize).product::<usize>();
    let mut raw_data = Vec::with_capacity(tensor.raw_data.len() / extent.max(1));
    for block in tensor.raw_data.chunks(inner * extent) {
        let first = block.get(..inner)?;
        if block.chunks(inner).any(|other| other != first) {
            return None;
        }
        raw_data.extend_from_slice(first);
    }
    let mut dims = tensor.dims;
    dims[axis] = 1;
    Some(TensorProto { name: tensor.name, data_type: tensor.data_type, dims, raw_data, ..TensorProto::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_sizes_prove_a_line() {
        assert_eq!(lines([vec![2, 14, 7], vec![3, 21, 7], vec![5, 35, 7]]), Some(vec![(1, 0), (7, 0), (0, 7)]));
        assert_eq!(lines([vec![4], vec![9], vec![25]]), None, "a square is none");
        assert_eq!(lines([vec![1], vec![1], vec![2]]), None, "nor is a rounded half");
    }

    #[test]
    fn a_constant_shrinks_only_where_it_repeats() {
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let tensor =
            |dims: &[i64], numbers: &[f32]| TensorProto { dims: dims.to_vec(), raw_data: bytes(numbers), ..TensorProto::default() };
        let shrunk = without(tensor(&[2, 3], &[1.0, 2.0, 3.0, 1.0, 2.0, 3.0]), 0).expect("rows are alike");
        assert_eq!((shrunk.dims, shrunk.raw_data), (vec![1, 3], bytes(&[1.0, 2.0, 3.0])));
        assert!(without(tensor(&[2, 3], &[1.0, 2.0, 3.0, 1.0, 2.0, 4.0]), 0).is_none());
        let shrunk = without(tensor(&[2, 2], &[1.0, 1.0, 2.0, 2.0]), 1).expect("columns are alike");
        assert_eq!((shrunk.dims, shrunk.raw_data), (vec![2, 1], bytes(&[1.0, 2.0])));
    }
}
