//! Taps of a convolution that see nothing but padding, wherever the window is: those of a large dilation on a small image, as
//! segmentation networks have.

use quaver_core::graph::op::{Conv, Window};
use quaver_core::graph::{Dim, Network, Op};

use super::rewrite::{PassResult, fixed_shape, rewrite};

/// Cuts them off.
pub(super) fn trim(network: Network) -> PassResult {
    rewrite(network, |r, node| {
        let Op::Conv(conv) = &node.op else { return Ok(None) };
        let &[_, Dim::Fixed(h), Dim::Fixed(w), _] = r.shape(node.inputs[0]) else { return Ok(None) };
        let window = conv.window;
        let (Some([top, bottom]), Some([left, right])) = (kept(&window, 0, h), kept(&window, 1, w)) else { return Ok(None) };
        let [height, width] = window.kernel;
        if (bottom - top, right - left) == (height, width) {
            return Ok(None);
        }
        let (Some(shape), Some(weights)) = (fixed_shape(r.shape(node.inputs[1])), r.net().elements::<f32>(node.inputs[1])) else {
            return Ok(None);
        };
        // [rows][columns][channels]
        let tap = weights.len() / (height * width).max(1);
        let mut trimmed = Vec::with_capacity((bottom - top) * (right - left) * tap);
        for row in top..bottom {
            trimmed.extend_from_slice(&weights[(row * width + left) * tap..(row * width + right) * tap]);
        }
        let [dy, dx] = window.dilations;
        let trimmed_window = Window {
            kernel: [bottom - top, right - left],
            pads_begin: [window.pads_begin[0] - top * dy, window.pads_begin[1] - left * dx],
            pads_end: [window.pads_end[0] - (height - bottom) * dy, window.pads_end[1] - (width - right) * dx],
            ..window
        };
        let name = r.value(node.inputs[1]).name.clone();
        let mut inputs = node.inputs.clone();
        inputs[1] = r.constant(&name, &[&[bottom - top, right - left], &shape[2..]].concat(), &trimmed);
        Ok(Some(r.push(Op::Conv(Conv { window: trimmed_window, ..*conv }), &inputs, node)?))
    })
}

/// The taps along a dimension from the first to behind the last that see an image of that extent, and those beside them that padding
/// has to make room for. `None` where none sees it.
fn kept(window: &Window, d: usize, extent: usize) -> Option<[usize; 2]> {
    let (kernel, stride, dilation) = (window.kernel[d], window.strides[d], window.dilations[d]);
    let (before, after) = (window.pads_begin[d], window.pads_end[d]);
    let count = (extent + before + after).checked_sub(window.reach(d))? / stride + 1;
    let sees = |tap: usize| {
        let at = tap * dilation;
        let first = before.saturating_sub(at).div_ceil(stride);
        first < count && first * stride + at - before < extent
    };
    let (first, last) = ((0..kernel).find(|&tap| sees(tap))?, (0..kernel).rfind(|&tap| sees(tap))?);
    Some([first.min(before / dilation), (last + 1).max(kernel - (after / dilation).min(kernel))])
}

#[cfg(test)]
mod tests {
    use quaver_core::tensor::DType;

    use super::super::testing::{assert_same, ramp};
    use super::*;

    /// The kernel that is left of a convolution on 5×6 pixels, whose results stay.
    fn left(window: Window, groups: usize) -> [usize; 2] {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 5.into(), 6.into(), 4.into()]);
        let [h, w] = window.kernel;
        let weights = net.constant("w", &[h, w, 4 / groups, 4], &ramp(h * w * 16 / groups));
        let bias = net.constant("b", &[4], &[0.5f32, -0.25, 1.0, 0.0]);
        let y = net.push(Op::Conv(Conv { window, groups }), &[x, weights, bias], "conv", "y").expect("valid");
        net.output(y);
        let trimmed = trim(net.clone()).expect("valid");
        assert_same(&net, &trimmed);
        match trimmed.graph.nodes[0].op {
            Op::Conv(conv) => conv.window.kernel,
            ref other => panic!("{other:?}"),
        }
    }

    #[test]
    fn taps_that_only_see_padding_are_cut_off() {
        let window = |kernel: [usize; 2], dilations: [usize; 2], pads: [usize; 4], strides| Window {
            kernel,
            dilations,
            strides,
            pads_begin: [pads[0], pads[1]],
            pads_end: [pads[2], pads[3]],
        };
        let same = |dilation: usize| window([3, 3], [dilation; 2], [dilation; 4], [1, 1]);
        for groups in [1, 4] {
            assert_eq!(left(same(1), groups), [3, 3]);
            assert_eq!(left(same(4), groups), [3, 3], "one row of the image is seen");
            assert_eq!(left(same(5), groups), [1, 3]);
            assert_eq!(left(same(6), groups), [1, 1]);
            assert_eq!(left(same(9), groups), [1, 1]);
            assert_eq!(
                left(window([3, 3], [7, 7], [7, 9, 8, 7], [1, 2]), groups),
                [1, 2],
                "the last column sees one pixel, from the first place alone"
            );
            assert_eq!(left(window([5, 2], [6, 6], [12, 0, 12, 6], [1, 1]), groups), [1, 1]);
            assert_eq!(left(window([3, 1], [6, 1], [5, 0, 12, 0], [1, 1]), groups), [2, 1], "padding doesn't make room for another tap");
        }
    }
}
