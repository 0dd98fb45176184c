//! Activations: one operation for what exporters spell out.
//!
//! First numbers are brought into one form (Sub and Div by a constant become Add and Mul, constants stand second, limits
//! become Relu and Clip), then products `k · x · f(x)` and clipped lines are compared with the known functions.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{BinaryFn, UnaryFn};
use quaver_core::graph::{Network, Node, Op, ValueId};

use super::rewrite::{PassResult, Rewriter, fixed_shape, rewrite, uniform};
use super::spelling::{Polynomial, close, peel, polynomial, products, with_number};

/// Recognises what this file knows, in one walk: operands are in their final form when a node is reached.
pub(super) fn recognise(network: Network) -> PassResult {
    rewrite(network, |r, node| {
        if let Some((function, x)) = product(r, node).or_else(|| line(r, node)).or_else(|| softplus(r, node)) {
            return Ok(Some(r.push(Op::Unary { function }, &[x], node)?));
        }
        if let Some((lo, hi, x)) = limits(r, node) {
            return match interval(lo, hi) {
                Some(function) => Ok(Some(r.push(Op::Unary { function }, &[x], node)?)),
                None => Ok(Some(x)),
            };
        }
        normalise(r, node)
    })
}

/// `k · x · f(x)`.
fn product(r: &Rewriter, node: &Node) -> Option<(UnaryFn, ValueId)> {
    let shape = r.shape(node.outputs[0]);
    products(r, node).into_iter().filter(|&(_, x, _)| r.shape(x) == shape).find_map(|(k, x, y)| Some((gated(r, k, x, y)?, x)))
}

/// The function that is k · x · y, where y = scale · f(line of x) + shift.
fn gated(r: &Rewriter, k: f64, x: ValueId, y: ValueId) -> Option<UnaryFn> {
    let y = peel(r, y);
    let Node { op: Op::Unary { function }, inputs, .. } = r.producer(y.core)? else { return None };
    let (scale, shift) = (k * y.scale, k * y.shift);
    let argument = inputs[0];
    if let UnaryFn::Tanh = function
        && let Some(Node { op: Op::Unary { function: UnaryFn::Softplus }, inputs, .. }) = r.producer(argument)
    {
        return (inputs[0] == x && close(scale, 1.0) && close(shift, 0.0)).then_some(UnaryFn::Mish);
    }
    let inner = polynomial(r, argument, x)?;
    let is_line = |p: f64, q: f64| same(inner, [q, p, 0.0, 0.0]);
    let gelu = close(scale, 0.5) && close(shift, 0.5);
    let plain = close(shift, 0.0);
    match *function {
        UnaryFn::Sigmoid if plain && close(scale, 1.0) && is_line(1.0, 0.0) => Some(UnaryFn::Silu),
        UnaryFn::Erf if gelu && is_line(FRAC_1_SQRT_2, 0.0) => Some(UnaryFn::Gelu),
        UnaryFn::Tanh if gelu => {
            let c = (2.0 / PI).sqrt();
            same(inner, [0.0, c, 0.0, 0.044715 * c]).then_some(UnaryFn::GeluTanh)
        }
        UnaryFn::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (f64::from(alpha), f64::from(beta));
            let line = [alpha * inner[0] + beta, alpha * inner[1], inner[2], inner[3]];
            (plain && close(scale, 1.0) && same(line, [0.5, 1.0 / 6.0, 0.0, 0.0])).then_some(UnaryFn::HardSwish)
        }
        UnaryFn::Clip { lo: 0.0, hi } => {
            let line = inner.map(|c| scale * c);
            (plain && close(scale * f64::from(hi), 1.0) && same(line, [0.5, 1.0 / 6.0, 0.0, 0.0])).then_some(UnaryFn::HardSwish)
        }
        _ => None,
    }
}

fn same(a: Polynomial, b: Polynomial) -> bool {
    std::iter::zip(a, b).all(|(a, b)| close(a, b))
}

/// A line clipped to 0 … 1, possibly as a line clipped to 0 … h and divided by h.
fn line(r: &Rewriter, node: &Node) -> Option<(UnaryFn, ValueId)> {
    let (k, clip) = match node.op {
        Op::Unary { .. } => (1.0, node),
        Op::Binary { .. } => match with_number(r, node)? {
            (BinaryFn::Mul, value, c, _) => (f64::from(c), r.producer(value)?),
            (BinaryFn::Div, value, c, false) if c != 0.0 => (1.0 / f64::from(c), r.producer(value)?),
            _ => return None,
        },
        _ => return None,
    };
    let Op::Unary { function: UnaryFn::Clip { lo: 0.0, hi } } = clip.op else { return None };
    let inner = peel(r, clip.inputs[0]);
    // A clip alone is a clip; a shift alone in front of it may be a convolution's bias.
    if !close(k * f64::from(hi), 1.0) || (k == 1.0 && inner.scale == 1.0) {
        return None;
    }
    let function = UnaryFn::HardSigmoid { alpha: (k * inner.scale) as f32, beta: (k * inner.shift) as f32 };
    Some((function, inner.core))
}

/// ln(eˣ + 1).
fn softplus(r: &Rewriter, node: &Node) -> Option<(UnaryFn, ValueId)> {
    let Op::Unary { function: UnaryFn::Log } = node.op else { return None };
    let sum = peel(r, node.inputs[0]);
    let Node { op: Op::Unary { function: UnaryFn::Exp }, inputs, .. } = r.producer(sum.core)? else { return None };
    (sum.scale == 1.0 && sum.shift == 1.0).then_some((UnaryFn::Softplus, inputs[0]))
}

/// The interval that `node` clamps to, spelled as Min or Max with a number, or as a clamp of a clamp.
fn limits(r: &Rewriter, node: &Node) -> Option<(f32, f32, ValueId)> {
    let (own, x) = match node.op {
        Op::Unary { function } => (clamp_of(function)?, node.inputs[0]),
        Op::Binary { .. } => match with_number(r, node)? {
            (BinaryFn::Max, x, c, _) if c.is_finite() => ((c, f32::MAX), x),
            (BinaryFn::Min, x, c, _) if c.is_finite() => ((f32::MIN, c), x),
            _ => return None,
        },
        _ => return None,
    };
    let inner = r.producer(x).and_then(|n| match n.op {
        Op::Unary { function } => Some((clamp_of(function)?, n.inputs[0])),
        _ => None,
    });
    match (inner, &node.op) {
        (Some(((lo, hi), x)), _) => Some((lo.max(own.0).min(own.1), hi.max(own.0).min(own.1), x)),
        (None, Op::Unary { function }) if interval(own.0, own.1) == Some(*function) => None,
        (None, _) => Some((own.0, own.1, x)),
    }
}

fn clamp_of(function: UnaryFn) -> Option<(f32, f32)> {
    match function {
        UnaryFn::Relu => Some((0.0, f32::MAX)),
        // Numbers instead of infinities: the file's JSON has none.
        UnaryFn::Clip { lo, hi } if !lo.is_nan() && !hi.is_nan() => Some((lo.clamp(f32::MIN, f32::MAX), hi.clamp(f32::MIN, f32::MAX))),
        _ => None,
    }
}

/// The operation that clamps to an interval; `None` if that does nothing.
fn interval(lo: f32, hi: f32) -> Option<UnaryFn> {
    match (lo, hi) {
        (f32::MIN, f32::MAX) => None,
        (0.0, f32::MAX) => Some(UnaryFn::Relu),
        (lo, hi) => Some(UnaryFn::Clip { lo, hi }),
    }
}

/// Sub and Div by a constant as Add and Mul, a constant operand second, constants of a chain together.
fn normalise(r: &mut Rewriter, node: &Node) -> Result<Option<ValueId>, GraphError> {
    let Op::Binary { function } = node.op else { return Ok(None) };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let is_constant = |id: ValueId| r.value(id).constant.is_some();
    match function {
        BinaryFn::Add | BinaryFn::Mul if is_constant(a) && !is_constant(b) => Ok(Some(r.push(node.op.clone(), &[b, a], node)?)),
        BinaryFn::Sub | BinaryFn::Div if is_constant(b) && !is_constant(a) => {
            let (Some(data), Some(shape)) = (r.net().elements::<f32>(b), fixed_shape(r.shape(b))) else { return Ok(None) };
            let (inverse, function): (Vec<f32>, _) = match function {
                BinaryFn::Sub => (data.iter().map(|c| -c).collect(), BinaryFn::Add),
                _ => (data.iter().map(|c| 1.0 / c).collect(), BinaryFn::Mul),
            };
            if !inverse.iter().all(|c| c.is_finite() && (function == BinaryFn::Add || c.is_normal())) {
                return Ok(None);
            }
            let name = r.value(b).name.clone();
            let c = r.constant(&name, &shape, &inverse);
            Ok(Some(r.push(Op::Binary { function }, &[a, c], node)?))
        }
        BinaryFn::Pow if r.shape(a) == r.shape(node.outputs[0]) => match uniform(r.net(), b) {
            Some(exponent) => power(r, node, a, exponent),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// x to the power of a number by functions of x alone, which vectors compute and tables hold. Of a number below 0 both are no number,
/// since whole exponents stay as they are.
fn power(r: &mut Rewriter, node: &Node, x: ValueId, exponent: f32) -> Result<Option<ValueId>, GraphError> {
    let unary = |function| Op::Unary { function };
    match exponent {
        1.0 => Ok(Some(x)),
        0.5 => Ok(Some(r.push(unary(UnaryFn::Sqrt), &[x], node)?)),
        // Of normalizations, which are recognised by it.
        -0.5 => Ok(None),
        exponent if exponent.fract() == 0.0 || !exponent.is_finite() => Ok(None),
        _ => {
            let log = r.push_between(unary(UnaryFn::Log), &[x], &format!("{}/log", node.name))?;
            let exponent = r.constant("", &[], &[exponent]);
            let times = Op::Binary { function: BinaryFn::Mul };
            let times = r.push_between(times, &[log, exponent], &format!("{}/times", node.name))?;
            Ok(Some(r.push(unary(UnaryFn::Exp), &[times], node)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::Dim;
    use quaver_core::tensor::DType;

    use super::super::testing::assert_same;
    use super::*;

    struct Build {
        net: Network,
        x: ValueId,
    }

    impl Build {
        fn u(&mut self, function: UnaryFn, x: ValueId) -> ValueId {
            self.net.push(Op::Unary { function }, &[x], "", "").expect("valid")
        }
        fn b(&mut self, function: BinaryFn, a: ValueId, b: ValueId) -> ValueId {
            self.net.push(Op::Binary { function }, &[a, b], "", "").expect("valid")
        }
        fn c(&mut self, value: f32) -> ValueId {
            self.net.constant("", &[], &[value])
        }
        fn mul(&mut self, a: ValueId, c: f32) -> ValueId {
            let c = self.c(c);
            self.b(BinaryFn::Mul, a, c)
        }
        fn add(&mut self, a: ValueId, c: f32) -> ValueId {
            let c = self.c(c);
            self.b(BinaryFn::Add, c, a)
        }
        fn div(&mut self, a: ValueId, c: f32) -> ValueId {
            let c = self.c(c);
            self.b(BinaryFn::Div, a, c)
        }
    }

    /// Builds a spelling; the result must be one operation, and equal.
    #[track_caller]
    fn expect(function: UnaryFn, spell: impl Fn(&mut Build, ValueId) -> ValueId) {
        let mut build = Build { net: Network::new("n"), x: ValueId(0) };
        build.x = build.net.input("x", DType::F32, vec![Dim::BATCH, 40.into()]);
        let x = build.x;
        let y = spell(&mut build, x);
        build.net.graph.values[y.index()].name = "y".into();
        build.net.output(y);
        let short = recognise(build.net.clone()).expect("valid");
        let ops: Vec<&Op> = short.graph.nodes.iter().map(|n| &n.op).collect();
        assert_eq!(ops, [&Op::Unary { function }]);
        assert_same(&build.net, &short);
    }

    const SIX: UnaryFn = UnaryFn::Clip { lo: 0.0, hi: 6.0 };

    #[test]
    fn powers_are_functions_of_one_operand() {
        for (exponent, ops) in [(0.75, &["Abs", "Log", "Mul", "Exp"][..]), (0.5, &["Abs", "Sqrt"]), (1.0, &["Abs"]), (3.0, &["Abs", "Pow"])]
        {
            let mut build = Build { net: Network::new("n"), x: ValueId(0) };
            let x = build.net.input("x", DType::F32, vec![Dim::BATCH, 40.into()]);
            let (size, exponent) = (build.u(UnaryFn::Abs, x), build.c(exponent));
            let y = build.b(BinaryFn::Pow, size, exponent);
            build.net.output(y);
            let short = recognise(build.net.clone()).expect("valid");
            assert_eq!(short.graph.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>(), ops);
            assert_same(&build.net, &short);
        }
    }

    #[test]
    fn hard_swish_in_its_spellings() {
        let hard = UnaryFn::HardSwish;
        expect(hard, |n, x| {
            let s = n.u(UnaryFn::HardSigmoid { alpha: 0.166_666_67, beta: 0.5 }, x);
            n.b(BinaryFn::Mul, s, x)
        });
        expect(hard, |n, x| {
            let (a, i) = (n.add(x, 3.0), n.c(6.0));
            let s = n.u(SIX, a);
            let p = n.b(BinaryFn::Mul, x, s);
            n.b(BinaryFn::Div, p, i)
        });
        expect(hard, |n, x| {
            let a = n.add(x, 3.0);
            let s = n.u(SIX, a);
            let d = n.div(s, 6.0);
            n.b(BinaryFn::Mul, d, x)
        });
        expect(hard, |n, x| {
            let a = n.add(x, 3.0);
            let (s, sixth) = (n.u(SIX, a), n.mul(x, 1.0 / 6.0));
            n.b(BinaryFn::Mul, sixth, s)
        });
        expect(hard, |n, x| {
            let m = n.mul(x, 1.0 / 6.0);
            let a = n.add(m, 0.5);
            let s = n.u(UnaryFn::Clip { lo: 0.0, hi: 1.0 }, a);
            n.b(BinaryFn::Mul, x, s)
        });
        expect(hard, |n, x| {
            let (a, zero, six) = (n.add(x, 3.0), n.c(0.0), n.c(6.0));
            let m = n.b(BinaryFn::Max, a, zero);
            let s = n.b(BinaryFn::Min, m, six);
            let p = n.b(BinaryFn::Mul, s, x);
            n.mul(p, 1.0 / 6.0)
        });
    }

    #[test]
    fn hard_sigmoid_silu_mish_softplus() {
        expect(UnaryFn::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, |n, x| {
            let a = n.add(x, 3.0);
            let s = n.u(SIX, a);
            n.div(s, 6.0)
        });
        expect(UnaryFn::HardSigmoid { alpha: 0.25, beta: 0.5 }, |n, x| {
            let m = n.mul(x, 0.25);
            let a = n.add(m, 0.5);
            n.u(UnaryFn::Clip { lo: 0.0, hi: 1.0 }, a)
        });
        expect(UnaryFn::Silu, |n, x| {
            let s = n.u(UnaryFn::Sigmoid, x);
            n.b(BinaryFn::Mul, s, x)
        });
        expect(UnaryFn::Mish, |n, x| {
            let e = n.u(UnaryFn::Exp, x);
            let a = n.add(e, 1.0);
            let l = n.u(UnaryFn::Log, a);
            let t = n.u(UnaryFn::Tanh, l);
            n.b(BinaryFn::Mul, x, t)
        });
    }

    #[test]
    fn gelu_in_its_spellings() {
        let root = std::f32::consts::SQRT_2;
        expect(UnaryFn::Gelu, |n, x| {
            let d = n.div(x, root);
            let e = n.u(UnaryFn::Erf, d);
            let a = n.add(e, 1.0);
            let p = n.b(BinaryFn::Mul, x, a);
            n.mul(p, 0.5)
        });
        expect(UnaryFn::Gelu, |n, x| {
            let d = n.mul(x, 1.0 / root);
            let e = n.u(UnaryFn::Erf, d);
            let m = n.mul(e, 0.5);
            let a = n.add(m, 0.5);
            n.b(BinaryFn::Mul, x, a)
        });
        expect(UnaryFn::GeluTanh, |n, x| {
            let three = n.c(3.0);
            let cube = n.b(BinaryFn::Pow, x, three);
            let m = n.mul(cube, 0.044715);
            let s = n.b(BinaryFn::Add, x, m);
            let k = n.mul(s, 0.797_884_6);
            let t = n.u(UnaryFn::Tanh, k);
            let a = n.add(t, 1.0);
            let h = n.mul(x, 0.5);
            n.b(BinaryFn::Mul, h, a)
        });
        expect(UnaryFn::GeluTanh, |n, x| {
            let square = n.b(BinaryFn::Mul, x, x);
            let m = n.mul(square, 0.044715);
            let a = n.add(m, 1.0);
            let k = n.mul(x, 0.797_884_6);
            let p = n.b(BinaryFn::Mul, k, a);
            let t = n.u(UnaryFn::Tanh, p);
            let a = n.add(t, 1.0);
            let h = n.mul(a, 0.5);
            n.b(BinaryFn::Mul, h, x)
        });
    }

    #[test]
    fn clamps_merge() {
        expect(SIX, |n, x| {
            let six = n.c(6.0);
            let r = n.u(UnaryFn::Relu, x);
            n.b(BinaryFn::Min, r, six)
        });
        expect(UnaryFn::Relu, |n, x| {
            let c = n.u(UnaryFn::Clip { lo: -1.0, hi: f32::INFINITY }, x);
            n.u(UnaryFn::Relu, c)
        });
        expect(UnaryFn::Clip { lo: -1.0, hi: 2.0 }, |n, x| {
            let c = n.u(UnaryFn::Clip { lo: -1.0, hi: 3.0 }, x);
            n.u(UnaryFn::Clip { lo: -2.0, hi: 2.0 }, c)
        });
    }

    #[test]
    fn near_misses_stay() {
        let mut build = Build { net: Network::new("n"), x: ValueId(0) };
        let x = build.net.input("x", DType::F32, vec![Dim::BATCH, 4.into()]);
        let other = build.net.input("other", DType::F32, vec![Dim::BATCH, 4.into()]);
        let s = build.u(UnaryFn::Sigmoid, other);
        let not_silu = build.b(BinaryFn::Mul, x, s);
        let m = build.mul(x, 1.702);
        let s = build.u(UnaryFn::Sigmoid, m);
        let quick_gelu = build.b(BinaryFn::Mul, x, s);
        let a = build.add(x, 2.5);
        let s = build.u(SIX, a);
        let p = build.b(BinaryFn::Mul, x, s);
        let not_hard_swish = build.mul(p, 1.0 / 6.0);
        for y in [not_silu, quick_gelu, not_hard_swish] {
            build.net.output(y);
        }
        let after = recognise(build.net.clone()).expect("valid");
        assert_eq!(after.graph.nodes.len(), build.net.graph.nodes.len());
        assert_same(&build.net, &after);
    }
}
