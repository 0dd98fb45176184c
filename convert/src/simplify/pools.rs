//! Pools that cover the whole image: one exact mean over rows and columns.

use quaver_core::graph::op::{Pool, PoolFn, ReduceFn};
use quaver_core::graph::{Dim, Network, Op};

use super::rewrite::{PassResult, rewrite};

/// Turns an AveragePool without padding whose window is the image into ReduceMean.
pub(super) fn globalise(network: Network) -> PassResult {
    rewrite(network, |r, node| {
        let Op::Pool(pool @ Pool { function: PoolFn::Average, window, .. }) = &node.op else { return Ok(None) };
        let shape = r.shape(node.inputs[0]);
        let whole = (0..2).all(|d| {
            let plain = window.pads_begin[d] == 0 && window.pads_end[d] == 0 && window.dilations[d] == 1;
            plain && shape[d + 1] == Dim::Fixed(window.kernel[d])
        });
        if !whole || (pool.ceil_mode && r.shape(node.outputs[0])[1..3] != [Dim::Fixed(1), Dim::Fixed(1)]) {
            return Ok(None);
        }
        let op = Op::Reduce { function: ReduceFn::Mean, axes: vec![1, 2], keep_dims: true };
        Ok(Some(r.push(op, &[node.inputs[0]], node)?))
    })
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::op::Window;
    use quaver_core::tensor::DType;

    use super::super::testing::assert_same;
    use super::*;

    fn pooled(window: Window) -> Network {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 3.into(), 4.into(), 2.into()]);
        let pool = Pool { function: PoolFn::Average, window, ceil_mode: false, count_include_pad: false };
        let y = net.push(Op::Pool(pool), &[x], "", "y").expect("valid");
        net.output(y);
        net
    }

    #[test]
    fn the_whole_image_and_nothing_less() {
        let net = pooled(Window { kernel: [3, 4], strides: [3, 4], ..Window::unit() });
        let global = globalise(net.clone()).expect("valid");
        assert!(matches!(global.graph.nodes[0].op, Op::Reduce { .. }));
        assert_same(&net, &global);
        let net = pooled(Window { kernel: [3, 3], ..Window::unit() });
        assert!(matches!(globalise(net).expect("valid").graph.nodes[0].op, Op::Pool(_)));
        let net = pooled(Window { kernel: [3, 4], pads_begin: [1, 0], ..Window::unit() });
        assert!(matches!(globalise(net).expect("valid").graph.nodes[0].op, Op::Pool(_)));
    }
}
