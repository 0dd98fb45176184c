//! Col2Im against loops.

use crate::import::onnx::ops::compose::ints;
use crate::import::onnx::proto::tensor_proto::DataType;
use crate::import::onnx::testing::{assert_close, import, node, open, ramp, run, with};
use crate::simplify::simplify;

use super::{constant, long};

/// Of blocks: rows and columns, strides, dilations, and pads at the beginning and the end.
struct Blocks {
    block: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
}

/// What they add up to.
fn expected(x: &[f32], [batch, channels]: [usize; 2], image: [usize; 2], b: &Blocks) -> Vec<f32> {
    let counts = [0, 1].map(|d| (image[d] + b.pads[d] + b.pads[d + 2] - b.dilations[d] * (b.block[d] - 1) - 1) / b.strides[d] + 1);
    let mut y = vec![0.0; batch * channels * image[0] * image[1]];
    let mut next = x.iter();
    for plane in y.chunks_exact_mut(image[0] * image[1]) {
        for (i, j) in (0..b.block[0]).flat_map(|i| (0..b.block[1]).map(move |j| (i, j))) {
            for (row, column) in (0..counts[0]).flat_map(|r| (0..counts[1]).map(move |c| (r, c))) {
                let x = next.next().expect("as many elements as blocks have");
                let at = [row * b.strides[0] + i * b.dilations[0], column * b.strides[1] + j * b.dilations[1]];
                let at = [0, 1].map(|d| at[d].wrapping_sub(b.pads[d]));
                if at[0] < image[0] && at[1] < image[1] {
                    plane[at[0] * image[1] + at[1]] += x;
                }
            }
        }
    }
    assert!(next.next().is_none());
    y
}

#[test]
fn blocks_add_up_to_an_image() {
    let plain = |block, strides| Blocks { block, strides, dilations: [1, 1], pads: [0; 4] };
    let cases = [
        (plain([2, 3], [2, 3]), [4, 9], 6),
        (plain([2, 2], [1, 1]), [5, 4], 12),
        (plain([3, 2], [2, 1]), [6, 5], 8),
        (Blocks { dilations: [2, 1], pads: [1, 0, 2, 1], ..plain([2, 3], [1, 2]) }, [4, 6], 15),
    ];
    for (blocks, image, count) in cases {
        let (channels, elements) = (3, blocks.block[0] * blocks.block[1]);
        let numbers = |of: &[usize]| of.iter().map(|&n| n as i64).collect::<Vec<_>>();
        let mut col2im = node("Col2Im", &["x", "image", "block"], "y");
        for (name, of) in [("strides", &blocks.strides[..]), ("dilations", &blocks.dilations), ("pads", &blocks.pads)] {
            col2im = with(col2im, ints(name, numbers(of)));
        }
        let constants = [("image", image), ("block", blocks.block)]
            .map(|(name, of)| long(constant(name, DataType::Int64, &[2], &of.map(|n| n as i32))));
        let x = open("x", &["N", &(channels * elements).to_string(), &count.to_string()]);
        let network = simplify(import(x, vec![col2im], constants.to_vec()).expect("valid")).expect("valid");
        for batch in [1, 2] {
            let x = ramp(batch * channels * elements * count);
            let y = run(&network, &[(&[batch, channels * elements, count], &x)]);
            assert_eq!(y.shape, [batch, channels, image[0], image[1]]);
            assert_close(&y.data, &expected(&x, [batch, channels], image, &blocks));
        }
    }
}

#[test]
fn other_operands_are_refused() {
    let refused = |columns: &str, count: &str, image: &[i32]| {
        let constants =
            [("image", image), ("block", &[2, 2][..])].map(|(name, of)| long(constant(name, DataType::Int64, &[of.len() as i64], of)));
        let col2im = node("Col2Im", &["x", "image", "block"], "y");
        import(open("x", &["N", columns, count]), vec![col2im], constants.to_vec()).expect_err("refused").to_string()
    };
    assert!(refused("8", "5", &[3, 3]).contains("8 channels and 5 blocks"));
    assert!(refused("7", "4", &[3, 3]).contains("7 channels"));
    assert!(refused("8", "4", &[1, 3]).contains("larger than the image"));
    assert!(refused("8", "4", &[0, 3]).contains("not positive"));
    assert!(refused("8", "4", &[3, 3, 3]).contains("differ in length"));
}
