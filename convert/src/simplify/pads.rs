//! Pads: a Pad in front of a window becomes the window's own padding.

use quaver_core::graph::op::{PadMode, Pool, PoolFn, UnaryFn, Window};
use quaver_core::graph::{Network, Node, Op, ValueId};

use super::rewrite::{PassResult, Rewriter, rewrite};

/// Merges zeros into convolutions and averages, and what cannot be the largest into MaxPool.
pub(super) fn merge(network: Network) -> PassResult {
    rewrite(network, |r, node| {
        let Some((x, pad)) = padded(r, node.inputs[0]) else { return Ok(None) };
        let op = match &node.op {
            Op::Conv(conv) if pad.value == 0.0 => {
                let mut conv = *conv;
                conv.window = pad.around(&conv.window);
                Op::Conv(conv)
            }
            Op::Pool(pool) => match pad.around_pool(r, x, pool) {
                Some(pool) => Op::Pool(pool),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let mut inputs = node.inputs.clone();
        inputs[0] = x;
        Ok(Some(r.push(op, &inputs, node)?))
    })
}

struct Padding {
    begin: [usize; 2],
    end: [usize; 2],
    value: f32,
}

impl Padding {
    fn around(&self, window: &Window) -> Window {
        let sum = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
        Window { pads_begin: sum(window.pads_begin, self.begin), pads_end: sum(window.pads_end, self.end), ..*window }
    }

    fn around_pool(&self, r: &Rewriter, x: ValueId, pool: &Pool) -> Option<Pool> {
        let unpadded = pool.window.pads_begin == [0; 2] && pool.window.pads_end == [0; 2];
        let window = self.around(&pool.window);
        let sees_the_image = (0..2).all(|d| window.pads_begin[d] < window.reach(d) && window.pads_end[d] < window.reach(d));
        if pool.ceil_mode || !sees_the_image {
            return None;
        }
        match pool.function {
            // The zeros were elements of the image, so they count.
            PoolFn::Average if self.value == 0.0 && (unpadded || pool.count_include_pad) => {
                Some(Pool { window, count_include_pad: true, ..*pool })
            }
            PoolFn::Max if self.value <= lower_bound(r, x) => Some(Pool { window, ..*pool }),
            _ => None,
        }
    }
}

/// A number that no element of the value is below.
fn lower_bound(r: &Rewriter, id: ValueId) -> f32 {
    match r.producer(id) {
        Some(Node { op: Op::Unary { function }, .. }) => match *function {
            UnaryFn::Relu | UnaryFn::Sigmoid | UnaryFn::HardSigmoid { .. } => 0.0,
            UnaryFn::Clip { lo, hi } => lo.min(hi),
            _ => f32::MIN,
        },
        _ => f32::MIN,
    }
}

fn padded(r: &Rewriter, id: ValueId) -> Option<(ValueId, Padding)> {
    let node = r.producer(id)?;
    let Op::Pad { before, after, mode: PadMode::Constant(value) } = &node.op else { return None };
    let [0, top, left, 0] = before[..] else { return None };
    let [0, bottom, right, 0] = after[..] else { return None };
    Some((node.inputs[0], Padding { begin: [top, left], end: [bottom, right], value: *value }))
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::Dim;
    use quaver_core::graph::op::Conv;
    use quaver_core::tensor::DType;

    use super::super::testing::{assert_same, ramp};
    use super::*;

    fn behind_pad(value: f32, relu: bool, op: impl Fn(Window) -> Op) -> Network {
        let mut net = Network::new("n");
        let mut x = net.input("x", DType::F32, vec![Dim::BATCH, 5.into(), 6.into(), 2.into()]);
        if relu {
            x = net.push(Op::Unary { function: UnaryFn::Relu }, &[x], "", "").expect("valid");
        }
        let pad = Op::Pad { before: vec![0, 1, 2, 0], after: vec![0, 2, 1, 0], mode: PadMode::Constant(value) };
        let p = net.push(pad, &[x], "", "").expect("valid");
        let op = op(Window { kernel: [3, 3], strides: [2, 1], ..Window::unit() });
        let mut inputs = vec![p];
        if matches!(op, Op::Conv(_)) {
            inputs.push(net.constant("w", &[3, 3, 2, 4], &ramp(72)));
        }
        let y = net.push(op, &inputs, "", "y").expect("valid");
        net.output(y);
        net
    }

    fn count(net: &Network) -> usize {
        merge(net.clone())
            .map(|merged| {
                assert_same(net, &merged);
                merged.graph.nodes.iter().filter(|n| matches!(n.op, Op::Pad { .. })).count()
            })
            .expect("valid")
    }

    #[test]
    fn merges_only_where_the_result_is_the_same() {
        let conv = |window| Op::Conv(Conv { window, groups: 1 });
        let pool = |function| move |window| Op::Pool(Pool { function, window, ceil_mode: false, count_include_pad: false });
        assert_eq!(count(&behind_pad(0.0, false, conv)), 0);
        assert_eq!(count(&behind_pad(1.0, false, conv)), 1);
        assert_eq!(count(&behind_pad(0.0, false, pool(PoolFn::Average))), 0);
        assert_eq!(count(&behind_pad(0.5, false, pool(PoolFn::Average))), 1);
        assert_eq!(count(&behind_pad(f32::NEG_INFINITY, false, pool(PoolFn::Max))), 0);
        assert_eq!(count(&behind_pad(0.0, false, pool(PoolFn::Max))), 1);
        assert_eq!(count(&behind_pad(0.0, true, pool(PoolFn::Max))), 0);
    }
}
