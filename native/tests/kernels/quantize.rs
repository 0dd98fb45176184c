//! Between f32 and u8.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::quantize::{Dequantize, Quantize, QuantizeTransposed};
use quaver_core::tensor::{DType, TensorViewMut};

use crate::check::{Make, check, everywhere};
use crate::common::{Rng, reference};
use crate::tensor::Tensor;

struct ToBytes;

impl Make for ToBytes {
    type Work<'a> = Quantize<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Quantize<'a>> {
        Quantize::new(inputs, output)
    }
}

struct ToFloats;

impl Make for ToFloats {
    type Work<'a> = Dequantize<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Dequantize<'a>> {
        Dequantize::new(inputs, output)
    }
}

#[test]
fn quantize_and_dequantize() {
    let mut rng = Rng(5);
    for n in (0..200).chain([5000]) {
        let q = rng.affine();
        assert!(check(&Op::Quantize { channels_last: false }, &ToBytes, &[&Tensor::floats(&[n], &mut rng)], DType::U8, Some(q)));
        assert!(check(&Op::Dequantize, &ToFloats, &[&Tensor::bytes(&[n], q, &mut rng)], DType::F32, None));
    }
}

#[test]
fn transposed() {
    let mut rng = Rng(6);
    for round in 0..400 {
        let (n, c) = (rng.between(1, 3), if round < 200 { [1, 3, 4][round % 3] } else { rng.between(1, 19) });
        let (h, w, q) = (rng.between(1, 12), rng.between(1, 30), rng.affine());
        let x = Tensor::floats(&[n, c, h, w], &mut rng);
        let operand = x.operand();
        let perm = vec![0, 2, 3, 1];
        let transpose = Op::Transpose { perm };
        let shape = [n, h, w, c];
        let moved = reference(&transpose, &[operand], &shape, DType::F32, None);
        let moved = Tensor::new::<f32>(&shape, bytemuck::cast_slice(&moved));
        let mut expected = reference(&Op::Quantize { channels_last: false }, &[moved.operand()], &shape, DType::U8, Some(q));
        let output = OutputMut { view: TensorViewMut::new(DType::U8, &shape, &mut expected).expect("sized"), quant: Some(q) };
        let kernel = QuantizeTransposed::new(std::slice::from_ref(&operand), &output).expect("it applies");
        everywhere(&kernel, |isa, got| assert_eq!(got, &expected[..], "{isa} {shape:?} {q:?}"));

        let (pitch, pad) = (c.next_multiple_of(4) + 4 * (round % 2), rng.below(256) as u8);
        let kernel = QuantizeTransposed::with_pitch(&operand, q, Some(pitch), pad).expect("it applies");
        everywhere(&kernel, |isa, got| {
            for (got, expected) in got.chunks_exact(pitch).zip(expected.chunks_exact(c)) {
                assert_eq!(&got[..c], expected, "{isa} {shape:?} {q:?}");
                assert!(got[c..].iter().all(|&b| b == pad), "{isa} {shape:?} {got:?}");
            }
        });
    }
}
