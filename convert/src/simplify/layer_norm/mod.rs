//! Layer normalization: one operation for what exporters spell out as means, a root and a quotient.
//!
//! What is compared is what a value means, not how it is written: the variance may be the mean of squared distances or the mean
//! of squares less the square of the mean, a mean may be a sum times 1/n, the root may divide or be multiplied with, the mean may be
//! taken off before or afterwards, and
//! Reshapes that only bring back an extent of 1 are looked through. Without a mean it is RMSNormalization. Factors and summands of
//! the rows' elements that follow are folded into the operation. Rows that are not along the last dimension are transposed.

use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{BinaryFn, ReduceFn, UnaryFn};
use quaver_core::graph::{Dim, Network, Node, Op, ValueId};

use super::rewrite::{PassResult, Rewriter, fixed_shape, rewrite, uniform};

/// Recognises the normalization, then what scales and moves it.
pub(super) fn recognise(network: Network) -> PassResult {
    rewrite(network, |r, node| match node.op {
        Op::Binary { .. } => {
            if let Some(found) = normalization(r, node) {
                return build(r, node, &found).map(Some);
            }
            folded(r, node)
        }
        _ => Ok(None),
    })
}

/// What a node computes: the normalized rows of `x` along `axis`, times `scale` if there is one.
struct Found {
    x: ValueId,
    axis: usize,
    epsilon: f32,
    rms: bool,
    scale: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
}

/// A statistic of the rows of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mean {
    of: ValueId,
    axis: usize,
}

/// 1 / √(variance + ε), times numbers of the rows' elements.
struct Inverse {
    /// What the variance is that of.
    variance: Variance,
    epsilon: f32,
    scale: Option<ValueId>,
}

/// Of `x`, about its mean, or about 0.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Variance {
    x: ValueId,
    axis: usize,
    centered: bool,
}

fn normalization(r: &Rewriter, node: &Node) -> Option<Found> {
    let Op::Binary { function } = node.op else { return None };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    if function == BinaryFn::Add {
        return moved_afterwards(r, node, a, b).or_else(|| moved_afterwards(r, node, b, a));
    }
    let ways: &[(ValueId, Inverse)] = &match function {
        BinaryFn::Div => {
            let (variance, epsilon) = root(r, b)?;
            vec![(a, Inverse { variance, epsilon, scale: None })]
        }
        BinaryFn::Mul => [(a, b), (b, a)].into_iter().filter_map(|(x, i)| Some((x, inverse(r, i)?))).collect(),
        _ => return None,
    };
    ways.iter().find_map(|(rows, inverse)| {
        let Variance { x, axis, centered } = inverse.variance;
        let fits = if centered { center(r, *rows)? == Mean { of: x, axis } } else { *rows == x };
        if !fits || r.shape(node.outputs[0]) != r.shape(x) || !same(r, x, *rows) {
            return None;
        }
        let len = r.shape(x)[axis].fixed().filter(|&len| len > 0)?;
        let scale = match inverse.scale {
            Some(scale) => Some(row(r, scale, r.shape(x).len(), axis, len)?),
            None => None,
        };
        Some(Found { x, axis, epsilon: inverse.epsilon, rms: !centered, scale, bias: None })
    })
}

/// x·k + (bias − mean·k), where k is the inverse root times a scale: batch normalization's form, which Keras has for layers too.
fn moved_afterwards(r: &Rewriter, node: &Node, scaled: ValueId, rest: ValueId) -> Option<Found> {
    let of = |id: ValueId, wanted: BinaryFn| match r.producer(id) {
        Some(Node { op: Op::Binary { function }, inputs, .. }) if *function == wanted => Some((inputs[0], inputs[1])),
        _ => None,
    };
    let (a, b) = of(scaled, BinaryFn::Mul)?;
    let (bias, product) = of(rest, BinaryFn::Sub)?;
    let (c, d) = of(product, BinaryFn::Mul)?;
    for (x, k) in [(a, b), (b, a)] {
        let Some(Inverse { variance: Variance { x: of, axis, centered: true }, epsilon, scale }) = inverse(r, k) else { continue };
        let center = if c == k { d } else { c };
        let fits = of == x && (c == k || d == k) && mean(r, through(r, center)) == Some(Mean { of: x, axis });
        if !fits || !is_kept(r, center, x, axis) || !same(r, x, node.outputs[0]) {
            continue;
        }
        let (rank, len) = (r.shape(x).len(), r.shape(x)[axis].fixed().filter(|&len| len > 0)?);
        let scale = match scale {
            Some(scale) => Some(row(r, scale, rank, axis, len)?),
            None => None,
        };
        let bias = Some(row(r, bias, rank, axis, len)?);
        return Some(Found { x, axis, epsilon, rms: false, scale, bias });
    }
    None
}

/// Whether both have one shape.
fn same(r: &Rewriter, a: ValueId, b: ValueId) -> bool {
    r.shape(a) == r.shape(b)
}

/// 1 / √v, Reciprocal(√v) or v^−½, perhaps times a constant.
fn inverse(r: &Rewriter, value: ValueId) -> Option<Inverse> {
    let node = r.producer(value)?;
    let operand = |i: usize| node.inputs[i];
    let plain = |(variance, epsilon)| Inverse { variance, epsilon, scale: None };
    match node.op {
        Op::Unary { function: UnaryFn::Reciprocal } => root(r, operand(0)).map(plain),
        Op::Binary { function: BinaryFn::Div } if uniform(r.net(), operand(0)) == Some(1.0) => root(r, operand(1)).map(plain),
        Op::Binary { function: BinaryFn::Pow } if uniform(r.net(), operand(1)) == Some(-0.5) => moved(r, operand(0)).map(plain),
        Op::Binary { function: BinaryFn::Mul } => {
            let constant = |i: usize| r.value(operand(i)).constant.is_some();
            let (of, scale) = if constant(1) { (operand(0), operand(1)) } else { (operand(1), operand(0)) };
            let inner = inverse(r, of).filter(|inner| inner.scale.is_none() && r.value(scale).constant.is_some())?;
            Some(Inverse { scale: Some(scale), ..inner })
        }
        _ => None,
    }
}

/// √(variance + ε)
fn root(r: &Rewriter, value: ValueId) -> Option<(Variance, f32)> {
    let node = r.producer(value)?;
    match node.op {
        Op::Unary { function: UnaryFn::Sqrt } => moved(r, node.inputs[0]),
        Op::Binary { function: BinaryFn::Pow } if uniform(r.net(), node.inputs[1]) == Some(0.5) => moved(r, node.inputs[0]),
        _ => None,
    }
}

/// variance + ε
fn moved(r: &Rewriter, value: ValueId) -> Option<(Variance, f32)> {
    let node = r.producer(value)?;
    let Op::Binary { function: BinaryFn::Add } = node.op else { return None };
    let (v, epsilon) = match (uniform(r.net(), node.inputs[0]), uniform(r.net(), node.inputs[1])) {
        (_, Some(epsilon)) => (node.inputs[0], epsilon),
        (Some(epsilon), _) => (node.inputs[1], epsilon),
        _ => return None,
    };
    let variance = variance(r, v)?;
    // What it is divided by is spread over the rows.
    (epsilon >= 0.0 && epsilon.is_finite() && is_kept(r, v, variance.x, variance.axis)).then_some((variance, epsilon))
}

/// mean((x − mean(x))²), mean(x²) − mean(x)², or mean(x²).
fn variance(r: &Rewriter, value: ValueId) -> Option<Variance> {
    let value = through(r, value);
    if let Some(mean) = mean(r, value) {
        let of = square(r, mean.of)?;
        return Some(match center(r, of) {
            Some(center) if center.axis == mean.axis && same(r, of, center.of) => {
                Variance { x: center.of, axis: mean.axis, centered: true }
            }
            _ => Variance { x: of, axis: mean.axis, centered: false },
        });
    }
    let node = r.producer(value)?;
    let Op::Binary { function: BinaryFn::Sub } = node.op else { return None };
    let of_squares = mean(r, through(r, node.inputs[0]))?;
    let x = square(r, of_squares.of)?;
    let center = mean(r, through(r, square(r, through(r, node.inputs[1]))?))?;
    (center == Mean { of: x, axis: of_squares.axis }).then_some(Variance { x, axis: center.axis, centered: true })
}

/// x − mean(x): the mean.
fn center(r: &Rewriter, value: ValueId) -> Option<Mean> {
    let node = r.producer(value)?;
    let Op::Binary { function: BinaryFn::Sub } = node.op else { return None };
    let mean = mean(r, through(r, node.inputs[1]))?;
    (mean.of == node.inputs[0] && is_kept(r, node.inputs[1], mean.of, mean.axis)).then_some(mean)
}

/// The mean of a value along one dimension, be it that dimension stays.
fn mean(r: &Rewriter, value: ValueId) -> Option<Mean> {
    let node = r.producer(value)?;
    let of = node.inputs[0];
    match &node.op {
        Op::Reduce { function: ReduceFn::Mean, axes, .. } if axes.len() == 1 => Some(Mean { of, axis: axes[0] }),
        Op::Binary { function: BinaryFn::Mul } => {
            let factor = f64::from(uniform(r.net(), node.inputs[1])?);
            let sum = r.producer(of)?;
            let Op::Reduce { function: ReduceFn::Sum, axes, .. } = &sum.op else { return None };
            let [axis] = axes[..] else { return None };
            let len = r.shape(sum.inputs[0])[axis].fixed()? as f64;
            ((factor * len - 1.0).abs() < 1e-6).then_some(Mean { of: sum.inputs[0], axis })
        }
        _ => None,
    }
}

/// y, where the value is y².
fn square(r: &Rewriter, value: ValueId) -> Option<ValueId> {
    let node = r.producer(value)?;
    let (a, b) = (node.inputs[0], *node.inputs.get(1)?);
    match node.op {
        Op::Binary { function: BinaryFn::Mul } if a == b => Some(a),
        Op::Binary { function: BinaryFn::Pow } if uniform(r.net(), b) == Some(2.0) && same(r, a, value) => Some(a),
        _ => None,
    }
}

/// What a variance is without what only keeps it from being negative, and without Reshapes that bring back an extent of 1.
fn through(r: &Rewriter, mut value: ValueId) -> ValueId {
    while let Some(node) = r.producer(value) {
        let x = node.inputs[0];
        let ones = |id: ValueId| r.shape(id).iter().filter(|d| **d != Dim::Fixed(1)).cloned().collect::<Vec<_>>();
        let passes = match node.op {
            Op::Unary { function: UnaryFn::Relu } => true,
            Op::Reshape { .. } => ones(x) == ones(value),
            _ => false,
        };
        if !passes {
            break;
        }
        value = x;
    }
    value
}

/// Whether `value` has the shape of `x` but for an extent of 1 along the axis, so that it is spread over the rows.
fn is_kept(r: &Rewriter, value: ValueId, x: ValueId, axis: usize) -> bool {
    let (shape, from) = (r.shape(value), r.shape(x));
    shape.len() == from.len() && (0..from.len()).all(|i| if i == axis { shape[i] == Dim::Fixed(1) } else { shape[i] == from[i] })
}

/// The numbers of a constant that differ along the axis alone; one number is repeated.
fn row(r: &Rewriter, constant: ValueId, rank: usize, axis: usize, len: usize) -> Option<Vec<f32>> {
    if let Some(one) = uniform(r.net(), constant) {
        return Some(vec![one; len]);
    }
    let shape = fixed_shape(r.shape(constant))?;
    let along = (axis + shape.len()).checked_sub(rank)?;
    let others = shape.iter().enumerate().all(|(i, &d)| if i == along { d == len } else { d == 1 });
    if others { r.net().elements::<f32>(constant).map(<[f32]>::to_vec) } else { None }
}

fn build(r: &mut Rewriter, node: &Node, found: &Found) -> Result<ValueId, GraphError> {
    let shape = r.shape(found.x).to_vec();
    let len = shape[found.axis].fixed().unwrap_or(1);
    let scale = r.constant("", &[len], found.scale.as_deref().unwrap_or(&vec![1.0; len]));
    let bias = r.constant("", &[len], found.bias.as_deref().unwrap_or(&vec![0.0; len]));
    let op = Op::LayerNorm { epsilon: found.epsilon, rms: found.rms };
    let last = shape.len() - 1;
    if found.axis == last {
        return r.push(op, &[found.x, scale, bias], node);
    }
    let mut perm: Vec<usize> = (0..=last).collect();
    perm.swap(found.axis, last);
    let x = r.push(Op::Transpose { perm: perm.clone() }, &[found.x], node)?;
    let y = r.push(op, &[x, scale, bias], node)?;
    r.unname(&[x, y]);
    r.push(Op::Transpose { perm }, &[y], node)
}

/// A factor or summand of each of the rows' elements, as the normalization's own.
fn folded(r: &mut Rewriter, node: &Node) -> Result<Option<ValueId>, GraphError> {
    let Some(Scaled { x, op, scale, bias, perm }) = scaled(r, node) else { return Ok(None) };
    let scale = r.constant("", &[scale.len()], &scale);
    let bias = r.constant("", &[bias.len()], &bias);
    let y = r.push(op, &[x, scale, bias], node)?;
    let Some(perm) = perm else { return Ok(Some(y)) };
    r.unname(&[y]);
    r.push(Op::Transpose { perm }, &[y], node).map(Some)
}

/// A normalization with other factors and summands, and what moves its result.
struct Scaled {
    x: ValueId,
    op: Op,
    scale: Vec<f32>,
    bias: Vec<f32>,
    perm: Option<Vec<usize>>,
}

fn scaled(r: &Rewriter, node: &Node) -> Option<Scaled> {
    let Op::Binary { function } = node.op else { return None };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let (mut rows, constant) = if r.value(b).constant.is_some() { (a, b) } else { (b, a) };
    let shape = r.shape(rows).to_vec();
    if r.value(constant).constant.is_none() || r.shape(node.outputs[0]) != shape {
        return None;
    }
    let mut perm = None;
    if let Some(Node { op: Op::Transpose { perm: moved }, inputs, .. }) = r.producer(rows).filter(|_| r.used_once(rows)) {
        (rows, perm) = (inputs[0], Some(moved.clone()));
    }
    let norm = r.producer(rows).filter(|norm| r.used_once(rows) && matches!(norm.op, Op::LayerNorm { .. }))?;
    let last = shape.len() - 1;
    let axis = perm.as_ref().map_or(Some(last), |perm| perm.iter().position(|&p| p == last))?;
    let by = row(r, constant, shape.len(), axis, shape[axis].fixed()?)?;
    let mut scale = r.net().elements::<f32>(norm.inputs[1])?.to_vec();
    let mut bias = r.net().elements::<f32>(norm.inputs[2])?.to_vec();
    match function {
        BinaryFn::Mul => {
            scale.iter_mut().zip(&by).for_each(|(s, b)| *s *= b);
            bias.iter_mut().zip(&by).for_each(|(s, b)| *s *= b);
        }
        BinaryFn::Add => bias.iter_mut().zip(&by).for_each(|(s, b)| *s += b),
        _ => return None,
    }
    Some(Scaled { x: norm.inputs[0], op: norm.op.clone(), scale, bias, perm })
}

#[cfg(test)]
mod tests;
