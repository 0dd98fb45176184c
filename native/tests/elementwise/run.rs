//! One call of an operation by the reference and by a kernel, in parts, on every instruction set.

use std::sync::Mutex;

use quaver::isa::peak::Peak;
use quaver::isa::{Visitor, each};
use quaver_core::backend::{Backend, Operand, OutputMut};
use quaver_core::graph::shape::infer;
use quaver_core::graph::{Dim, Op};
use quaver_core::kernel::simd::Simd;
use quaver_core::kernel::soft::Soft;
use quaver_core::kernel::split::{Part, Split};
use quaver_core::quant::Affine;
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, DType, Element, TensorView, TensorViewMut, byte_count};

/// What an unwritten byte holds.
const DIRTY: u8 = 0xA5;

/// A tensor with its affine parameters.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: AlignedBytes,
    quant: Option<Affine>,
}

impl Tensor {
    pub fn new<T: Element>(shape: &[usize], data: &[T]) -> Self {
        let bytes = AlignedBytes::copy_of(bytemuck::cast_slice(data)).expect("memory");
        Self { dtype: T::DTYPE, shape: shape.to_vec(), bytes, quant: None }
    }

    /// Random bytes up to the largest in use.
    pub fn bytes(shape: &[usize], quant: Affine, rng: &mut Rng) -> Self {
        let data: Vec<u8> = (0..shape.iter().product()).map(|_| rng.below(usize::from(quant.q_max) + 1) as u8).collect();
        Self { quant: Some(quant), ..Self::new(shape, &data) }
    }

    /// Random numbers of many magnitudes, NaN, infinities and zeros among them.
    pub fn floats(shape: &[usize], rng: &mut Rng) -> Self {
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| rng.float()).collect();
        Self::new(shape, &data)
    }

    pub fn operand(&self) -> Operand<'_> {
        Operand { view: TensorView::new(self.dtype, &self.shape, &self.bytes).expect("sized"), quant: self.quant, constant: None }
    }
}

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In `from ..= to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    fn float(&mut self) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match self.below(24) {
            0 => f32::NAN,
            1 => [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40, f32::MAX, f32::MIN][self.below(7)],
            2 => f32::from_bits(self.next() as u32),
            // Ties of the rounding that follows a division by a power of 2.
            3..8 => self.below(1024) as f32 / 64.0 - 8.0,
            _ => unit * 8.0,
        }
    }

    /// Affine parameters of any zero point and limit.
    pub fn affine(&mut self) -> Affine {
        let q_max = [255, 127, self.between(1, 255) as u8][self.below(3)];
        let scale = [1.0 / 32.0, (1.0 + self.below(1000) as f32) / 9000.0][self.below(2)];
        Affine { scale, zero_point: self.below(usize::from(q_max) + 1) as u8, q_max }
    }
}

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
    let mut expected = AlignedBytes::zeroed(byte_count(dtype, &shape).expect("small")).expect("memory");
    let mut got = expected.clone();
    let operands: Vec<Operand<'_>> = inputs.iter().map(|t| t.operand()).collect();
    let output = OutputMut { view: TensorViewMut::new(dtype, &shape, &mut got).expect("sized"), quant };
    let Some(work) = make.make(&operands, &output) else { return false };
    Reference.run(op, &operands, &mut OutputMut { view: TensorViewMut::new(dtype, &shape, &mut expected).expect("sized"), quant });
    let describe = || format!("{op:?} of {:?}", inputs.iter().map(|t| (&t.shape, t.quant)).collect::<Vec<_>>());
    everywhere(&work, |isa, bytes| {
        if let Some(at) = difference(dtype, bytes, &expected) {
            panic!("{}: {isa} differs at element {at} of {shape:?}, {quant:?}", describe());
        }
    });
    true
}

/// Runs the work whole and in parts on arrays and on each instruction set, and hands over the results.
pub fn everywhere<W: Split>(work: &W, compare: impl FnMut(&str, &[u8])) {
    struct All<'a, W, C> {
        work: &'a W,
        compare: C,
    }

    impl<W: Split, C: FnMut(&str, &[u8])> All<'_, W, C> {
        fn on(&mut self, name: &str, isa: impl Simd) {
            for parts in [false, true] {
                let mut bytes = AlignedBytes::zeroed(self.work.units() * self.work.unit_bytes()).expect("memory");
                bytes.fill(DIRTY);
                run(isa, self.work, &mut bytes, parts);
                (self.compare)(name, &bytes);
            }
        }
    }

    impl<W: Split, C: FnMut(&str, &[u8])> Visitor for All<'_, W, C> {
        fn visit<S: Simd + Peak>(&mut self, name: &'static str, isa: Option<S>) {
            match isa {
                Some(isa) => self.on(name, isa),
                None => skipped(name),
            }
        }
    }

    let mut all = All { work, compare };
    all.on("soft", Soft::<0>);
    each(&mut all);
}

/// Says that an instruction set is missing; once, not for every case.
fn skipped(isa: &'static str) {
    static SAID: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().expect("no test panics here");
    if !said.contains(&isa) {
        said.push(isa);
        let required = std::env::var("QUAVER_REQUIRE_ISA").unwrap_or_default();
        assert!(!required.split(',').any(|required| required == isa), "{isa} is required, and the processor lacks it");
        eprintln!("skipped: the processor lacks {isa}");
    }
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

/// The first element that differs; every NaN is as good as another.
fn difference(dtype: DType, got: &[u8], expected: &[u8]) -> Option<usize> {
    if dtype != DType::F32 {
        return (0..expected.len()).find(|&i| got[i] != expected[i]);
    }
    let at = |bytes: &[u8], i: usize| f32::from_bits(u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().expect("four bytes")));
    (0..expected.len() / 4).find(|&i| {
        let (a, b) = (at(got, i), at(expected, i));
        a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan())
    })
}
