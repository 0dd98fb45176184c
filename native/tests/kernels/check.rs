//! One call of an operation by the reference and by a kernel, whole and in parts, on every instruction set.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::shape::infer;
use quaver_core::graph::{Dim, Op};
use quaver_core::kernel::simd::Simd;
use quaver_core::kernel::split::{Part, Split};
use quaver_core::quant::Affine;
use quaver_core::tensor::{AlignedBytes, DType, TensorViewMut, byte_count};

use crate::common::isas::{self, Test};
use crate::common::{GUARD, difference, reference};
use crate::tensor::Tensor;

/// Bytes of a guard: outputs stay aligned.
const GUARDED: usize = 64;

/// A kernel's constructor, made of an operation.
pub trait Make {
    /// What it makes.
    type Work<'a>: Split;
    /// The kernel, where it applies.
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Self::Work<'a>>;
}

/// Compares; gives whether the kernel applies.
pub fn check<M: Make>(op: &Op, make: &M, inputs: &[&Tensor], dtype: DType, quant: Option<Affine>) -> bool {
    let dims: Vec<Vec<Dim>> = inputs.iter().map(|t| t.shape.iter().map(|&d| Dim::Fixed(d)).collect()).collect();
    let shape = infer(op, &dims.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("the operands fit");
    let shape: Vec<usize> = shape.iter().map(|d| d.fixed().expect("a number")).collect();
    let operands: Vec<Operand<'_>> = inputs.iter().map(|t| t.operand()).collect();
    let mut place = AlignedBytes::zeroed(byte_count(dtype, &shape).expect("small")).expect("memory");
    let output = OutputMut { view: TensorViewMut::new(dtype, &shape, &mut place).expect("sized"), quant };
    let Some(work) = make.make(&operands, &output) else { return false };
    let expected = reference(op, &operands, &shape, dtype, quant);
    let describe = || format!("{op:?} of {:?}", inputs.iter().map(|t| (&t.shape, t.quant)).collect::<Vec<_>>());
    everywhere(&work, |isa, bytes| {
        if let Some(at) = difference(dtype, bytes, &expected) {
            panic!("{}: {isa} differs at element {at} of {shape:?}, {quant:?}", describe());
        }
    });
    true
}

/// Runs the work whole and in parts, on arrays and on each instruction set, and hands over the results.
pub fn everywhere<W: Split>(work: &W, compare: impl FnMut(&str, &[u8])) {
    struct All<'a, W, C> {
        work: &'a W,
        compare: C,
    }

    impl<W: Split, C: FnMut(&str, &[u8])> Test for All<'_, W, C> {
        fn on<S: Simd>(&mut self, name: &str, isa: S) {
            for parts in [false, true] {
                let len = self.work.units() * self.work.unit_bytes();
                let mut bytes = AlignedBytes::zeroed(len + 2 * GUARDED).expect("memory");
                bytes.fill(GUARD);
                run(isa, self.work, &mut bytes[GUARDED..][..len], parts);
                let guards = bytes[..GUARDED].iter().chain(&bytes[GUARDED + len..]);
                assert!(guards.into_iter().all(|&byte| byte == GUARD), "{name} writes outside of its output");
                (self.compare)(name, &bytes[GUARDED..][..len]);
            }
        }
    }

    isas::everywhere(&mut All { work, compare });
}

fn run<S: Simd, W: Split>(s: S, work: &W, to: &mut [u8], parts: bool) {
    if !parts {
        return s.vectorize(Part::whole(*work, to));
    }
    let (mut from, mut rest) = (0, to);
    for i in 0.. {
        let len = (1 + i * 37 % 101).min(work.units() - from);
        if len == 0 {
            break;
        }
        let (part, behind) = rest.split_at_mut(len * work.unit_bytes());
        s.vectorize(Part::new(*work, from..from + len, part));
        (from, rest) = (from + len, behind);
    }
}
