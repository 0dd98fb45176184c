//! Helpers of this folder's tests: run a network by the reference backend, and compare two.

use quaver_core::exec::Executor;
use quaver_core::graph::check::check;
use quaver_core::graph::{Network, Op};
use quaver_core::plan::Plan;
use quaver_core::reference::Reference;
use quaver_core::tensor::TensorView;

/// `len` numbers between −1 and 1 without a pattern that a permutation would keep.
pub(super) fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Outputs at batch 2, of inputs between −4 and 4.
pub(super) fn run(net: &Network) -> Vec<Vec<f32>> {
    check(&net.graph).expect("valid");
    let plan = Plan::new(&net.graph, 2, 1 << 30).expect("fits");
    let shapes: Vec<Vec<usize>> = net.graph.inputs.iter().map(|id| plan.shapes[id.index()].clone()).collect();
    let data: Vec<Vec<f32>> = shapes.iter().map(|s| ramp(s.iter().product::<usize>()).into_iter().map(|x| 4.0 * x).collect()).collect();
    let inputs: Vec<TensorView<'_>> = std::iter::zip(&shapes, &data).map(|(s, d)| TensorView::from_slice(s, d).expect("sized")).collect();
    let mut executor = Executor::new(plan, 0).expect("memory");
    executor.run(&net.graph, net, &Reference, &inputs, None).expect("runs");
    let output = |i| executor.output(&net.graph, i).and_then(|v| v.as_slice::<f32>().map(<[f32]>::to_vec)).expect("f32");
    (0..net.graph.outputs.len()).map(output).collect()
}

/// Fails unless both networks have the same ends and give the same results up to rounding.
pub(super) fn assert_same(before: &Network, after: &Network) {
    for (a, b) in [(&before.graph.inputs, &after.graph.inputs), (&before.graph.outputs, &after.graph.outputs)] {
        assert_eq!(a.len(), b.len());
        for (&a, &b) in std::iter::zip(a, b) {
            let (a, b) = (before.graph.value(a), after.graph.value(b));
            assert_eq!((&a.name, &a.shape, a.dtype), (&b.name, &b.shape, b.dtype));
        }
    }
    for (a, b) in std::iter::zip(run(before), run(after)) {
        let scale = a.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        for (i, (x, y)) in std::iter::zip(&a, &b).enumerate() {
            assert!((x - y).abs() <= 1e-4 * scale, "element {i}: {x} before, {y} after");
        }
    }
}

/// The number of nodes for which `is` holds.
pub(super) fn count(net: &Network, is: impl Fn(&Op) -> bool) -> usize {
    net.graph.nodes.iter().filter(|n| is(&n.op)).count()
}
