//! Reading spelled-out arithmetic: which polynomial of x, or which multiple of a product, a value is.
//!
//! Exporters write the same formula in many orders. Instead of one pattern per exporter, these functions follow additions
//! and multiplications by numbers, so that the recogniser compares coefficients.

use quaver_core::graph::op::{BinaryFn, UnaryFn};
use quaver_core::graph::{Node, Op, ValueId};

use super::rewrite::{Rewriter, uniform};

/// Deepest expression that is followed.
const DEPTH: usize = 12;

/// Coefficients of 1, x, x², x³.
pub(super) type Polynomial = [f64; 4];

/// `value` as a polynomial of `x`, of degree 3 at most.
pub(super) fn polynomial(r: &Rewriter, value: ValueId, x: ValueId) -> Option<Polynomial> {
    expand(r, value, x, DEPTH)
}

fn expand(r: &Rewriter, value: ValueId, x: ValueId, depth: usize) -> Option<Polynomial> {
    if value == x {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    if let Some(c) = uniform(r.net(), value) {
        return Some([f64::from(c), 0.0, 0.0, 0.0]);
    }
    let depth = depth.checked_sub(1)?;
    let node = r.producer(value)?;
    let operand = |i: usize| expand(r, node.inputs[i], x, depth);
    match node.op {
        Op::Unary { function: UnaryFn::Neg } => Some(operand(0)?.map(|c| -c)),
        Op::Binary { function } => {
            let (a, b) = (operand(0)?, operand(1)?);
            match function {
                BinaryFn::Add => Some(std::array::from_fn(|i| a[i] + b[i])),
                BinaryFn::Sub => Some(std::array::from_fn(|i| a[i] - b[i])),
                BinaryFn::Mul => multiply(a, b),
                BinaryFn::Div if b[1..] == [0.0; 3] && b[0] != 0.0 => Some(a.map(|c| c / b[0])),
                BinaryFn::Pow if b == [2.0, 0.0, 0.0, 0.0] => multiply(a, a),
                BinaryFn::Pow if b == [3.0, 0.0, 0.0, 0.0] => multiply(multiply(a, a)?, a),
                _ => None,
            }
        }
        _ => None,
    }
}

fn multiply(a: Polynomial, b: Polynomial) -> Option<Polynomial> {
    let mut product = [0.0; 4];
    for (i, &p) in a.iter().enumerate() {
        for (j, &q) in b.iter().enumerate() {
            match product.get_mut(i + j) {
                Some(slot) => *slot += p * q,
                None if p * q != 0.0 => return None,
                None => {}
            }
        }
    }
    Some(product)
}

/// `value` = `scale` · `core` + `shift`, with numbers for scale and shift, and `core` as deep as possible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peeled {
    /// Factor.
    pub(super) scale: f64,
    /// Summand.
    pub(super) shift: f64,
    /// What is neither.
    pub(super) core: ValueId,
}

/// Follows additions and multiplications by numbers down to something else.
pub(super) fn peel(r: &Rewriter, value: ValueId) -> Peeled {
    let mut peeled = Peeled { scale: 1.0, shift: 0.0, core: value };
    for _ in 0..DEPTH {
        let Some((scale, shift, core)) = r.producer(peeled.core).and_then(|node| step(r, node)) else { break };
        peeled = Peeled { scale: peeled.scale * scale, shift: peeled.shift + peeled.scale * shift, core };
    }
    peeled
}

fn step(r: &Rewriter, node: &Node) -> Option<(f64, f64, ValueId)> {
    if let Op::Unary { function: UnaryFn::Neg } = node.op {
        return Some((-1.0, 0.0, node.inputs[0]));
    }
    let (function, x, c, flipped) = with_number(r, node)?;
    let c = f64::from(c);
    match function {
        BinaryFn::Add => Some((1.0, c, x)),
        BinaryFn::Sub if flipped => Some((-1.0, c, x)),
        BinaryFn::Sub => Some((1.0, -c, x)),
        BinaryFn::Mul => Some((c, 0.0, x)),
        BinaryFn::Div if !flipped && c != 0.0 => Some((1.0 / c, 0.0, x)),
        _ => None,
    }
}

/// A Binary node of a value and a number that leaves the value's shape: function, value, number, and whether the number
/// comes first.
pub(super) fn with_number(r: &Rewriter, node: &Node) -> Option<(BinaryFn, ValueId, f32, bool)> {
    let Op::Binary { function } = node.op else { return None };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let shape = r.shape(node.outputs[0]);
    if let Some(c) = uniform(r.net(), b) {
        (r.shape(a) == shape).then_some((function, a, c, false))
    } else {
        let c = uniform(r.net(), a)?;
        (r.shape(b) == shape).then_some((function, b, c, true))
    }
}

/// Every way to read `node` as `k · x · y`: up to one number in front of each factor, any number of them around both.
pub(super) fn products(r: &Rewriter, node: &Node) -> Vec<(f64, ValueId, ValueId)> {
    let factor = |node: &Node| match with_number(r, node)? {
        (BinaryFn::Mul, value, c, _) => Some((f64::from(c), value)),
        (BinaryFn::Div, value, c, false) if c != 0.0 => Some((1.0 / f64::from(c), value)),
        _ => None,
    };
    let mut k = 1.0;
    let mut node = node;
    while let Some((c, value)) = factor(node) {
        k *= c;
        match r.producer(value) {
            Some(inner) => node = inner,
            None => return Vec::new(),
        }
    }
    let Op::Binary { function: BinaryFn::Mul } = node.op else { return Vec::new() };
    let variants = |v: ValueId| std::iter::once((1.0, v)).chain(r.producer(v).and_then(factor));
    let mut found = Vec::new();
    for (p, a) in variants(node.inputs[0]) {
        for (q, b) in variants(node.inputs[1]) {
            found.push((k * p * q, a, b));
            found.push((k * p * q, b, a));
        }
    }
    found
}

/// Whether two coefficients are the same number, written with at least five digits.
pub(super) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 5e-5 * b.abs().max(1e-2)
}
