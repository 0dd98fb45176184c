//! Every method of the vocabulary, on every instruction set, gives what [`Soft`] gives.

use proptest::array::{uniform4, uniform16};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quaver_core::kernel::addend::Addend;
use quaver_core::kernel::epilogue::Residual;
use quaver_core::kernel::gemm::{Bases, Source, Weights};
use quaver_core::kernel::pairing::{self, Pairing, Staged};
use quaver_core::kernel::simd::{Kernel, Simd};
use quaver_core::kernel::soft::Soft;
use quaver_core::kernel::tile::{Panel, TileRows};

use crate::common::isas::{Test, on_isas};

/// Operands of all methods.
#[derive(Debug, Clone)]
struct Operands {
    i: [[i32; 16]; 4],
    f: [[f32; 16]; 2],
    hi: f32,
    rows: [[u8; 64]; 4],
    weights: [i8; 64],
    quad: [u8; 4],
    limits: [u8; 3],
    table: [u8; 256],
    looked_up: Vec<u8>,
}

/// Calls every method, and collects what it gave by the method's name.
struct Every<'a> {
    operands: &'a Operands,
    max_activation: u8,
}

type Answers = Vec<(&'static str, Vec<u8>)>;

impl Kernel for Every<'_> {
    type Output = Answers;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Answers {
        let Operands { i, f, hi, rows, weights, quad, limits: [zero_point, a, b], table, looked_up } = self.operands;
        let mut answers = Answers::new();
        let [v0, v1, v2, v3] = [s.load_i32(&i[0]), s.load_i32(&i[1]), s.load_i32(&i[2]), s.load_i32(&i[3])];
        let (x, y) = (s.load_f32(&f[0]), s.load_f32(&f[1]));
        let [r0, r1, r2, r3] = [s.load_b(&rows[0]), s.load_b(&rows[1]), s.load_b(&rows[2]), s.load_b(&rows[3])];

        let mut quarter = [0; 16];
        quarter.copy_from_slice(&rows[0][16..32]);
        let splat = i[0][0];
        for (name, v) in [("load_i32", v0), ("splat_i32", s.splat_i32(splat)), ("add_i32", s.add_i32(v0, v1)), ("widen", s.widen(&quarter))]
        {
            answers.push((name, integers(s, v)));
        }

        answers.push(("load_f32", numbers(s, x)));
        for (name, v) in [
            ("splat_f32", s.splat_f32(*hi)),
            ("add", s.add(x, y)),
            ("mul", s.mul(x, y)),
            ("mul, add", s.add(s.mul(x, y), x)),
            ("div", s.div(x, y)),
            ("lesser", s.lesser(x, y)),
            ("greater", s.greater(x, y)),
            ("to_f32", s.to_f32(v0)),
        ] {
            answers.push((name, one_nan(numbers(s, v))));
        }

        let mut rounded = [0; 16];
        s.store_i32(s.round_below(x, s.splat_f32(*hi)), &mut rounded);
        for (to, t) in rounded.iter_mut().zip(f[0]) {
            // Here any low integer will do.
            if (t.is_nan() || t < i32::MIN as f32) && *to < -(1 << 16) {
                *to = i32::MIN;
            }
        }
        answers.push(("round_below", rounded.iter().flat_map(|v| v.to_le_bytes()).collect()));

        for (name, v) in [("load_b", r0), ("splat_b", s.splat_b(quad[0])), ("max_b", s.max_b(r0, r1))] {
            answers.push((name, bytes(s, v)));
        }
        let mut parts = Vec::new();
        for j in 0..4 {
            let mut to = [0; 16];
            s.store_quarter(r0, j, &mut to);
            parts.extend(to);
        }
        for j in 0..2 {
            let mut to = [0; 32];
            s.store_half(r0, j, &mut to);
            parts.extend(to);
        }
        answers.push(("store_quarter, store_half", parts));
        for quads in s.interleave([r0, r1, r2, r3]) {
            answers.push(("interleave", bytes(s, quads)));
        }
        for columns in s.interleave_words([r0, r1, r2, r3]) {
            answers.push(("interleave_words", bytes(s, columns)));
        }
        answers.push(("quads", bytes(s, s.quads([0, 1, 2, 3].map(|j| &rows[j].as_chunks::<16>().0[j])))));

        let [halves, quarters] = [0, 2].map(|j| (rows[j].as_chunks::<32>().0, rows[j + 1].as_chunks::<16>().0));
        answers.push(("join_halves", bytes(s, s.join_halves([&halves.0[1], &quarters.0[0]]))));
        answers.push(("join_quarters", bytes(s, s.join_quarters([&halves.1[1], &quarters.1[0], &halves.1[3], &quarters.1[2]]))));
        for quarters in 1..=2 {
            answers.push(("shift_in", bytes(s, s.shift_in(r0, r1, quarters))));
        }
        answers.push(("triples", bytes(s, s.triples(r0))[..48].to_vec()));
        let mut first = [0; 64];
        s.store_first(r0, &mut first[..usize::from(*a) % 65]);
        answers.push(("store_first", first.to_vec()));

        for (j, most) in [(0, 32), (1, 16), (2, 32), (3, 16)] {
            let mut some = [0; 32];
            s.store_some(r1, j, &mut some[..usize::from(*b) % (most + 1)]);
            answers.push(("store_some", some.to_vec()));
        }

        let z = s.zero(*zero_point);
        answers.push(("widen_from", numbers(s, s.widen_from(&quarter, z))));
        let residual = Residual { bytes: rows.as_flattened(), zero_point: *zero_point, multiplier: 1.0 };
        let addend = Addend::<32, 3>::new(&residual, usize::from(*a) % 100, 61);
        for (m, n) in [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)] {
            answers.push(("widen_row", numbers(s, s.widen_row(&addend, m, n, z))));
            // Numbers whose products with 2²³ are exact.
            let f = 0.001 * (1.0 + f32::from(*b));
            let scaled = s.scale_row(&addend, [m, n], s.splat_f32(f), s.splat_f32(f * 8_388_608.0));
            answers.push(("scale_row", numbers(s, scaled)));
        }
        // Behind the bytes that there are is anything.
        let count = usize::from(*a) % 16;
        answers.push(("widen_some_from", numbers(s, s.widen_some_from(&quarter[..count], z))[..4 * count].to_vec()));

        let limits = s.limits(*zero_point, 0, 255);
        answers.push(("narrow_unlimited", bytes(s, s.narrow_unlimited([v0, v1, v2, v3], limits))));
        let limits = s.limits(*zero_point, *a.min(b).max(zero_point), *a.max(b).max(zero_point));
        answers.push(("narrow_above_interleaved", bytes(s, s.narrow_above_interleaved([v0, v1, v2, v3], limits))));
        let limits = s.limits(*zero_point, *a.min(b), *a.max(b));
        answers.push(("narrow", bytes(s, s.narrow([v0, v1, v2, v3], limits))));
        answers.push(("narrow_interleaved", bytes(s, s.narrow_interleaved([v0, v1, v2, v3], limits))));
        answers.push(("saturate", bytes(s, s.saturate([v0, v1, v2, v3]))));
        answers.push(("saturate_interleaved", bytes(s, s.saturate_interleaved([v0, v1, v2, v3]))));

        let most = |x: u8| x.min(self.max_activation);
        let w = s.weights(weights);
        let quad = quad.map(most);
        answers.push(("dot4", integers(s, s.dot4(v0, s.quad(quad), w))));
        let lanes = rows[1].map(most);
        answers.push(("dot4_lanes", integers(s, s.dot4_lanes(v1, s.load_b(&lanes), w))));
        // Two segments of two quads, from three bases that are not equally far apart.
        let source = Source { bytes: &lanes, segments: &[0, 16], quads: 2, bases: Bases::matrix(1, lanes.len()) };
        let packed = [*weights, lanes.map(|x| x as i8), *weights, [-128; 64], [127; 64], *weights, *weights, [1; 64]];
        let constants = Weights { packed: &packed, bias: &[], multiplier: &[], orders: None, quads: 4, channels: 32 };
        let mut acc = [[v0, v1], [v1, v2], [v2, v3]];
        s.products(&mut acc, &TileRows::new(&source, [0, 5, 40]), &Panel::new(&constants, 0, 4, &packed[..3]));
        for sums in acc.as_flattened() {
            answers.push(("products", integers(s, *sums)));
        }
        let (mut even, mut odd) = ([0; 16], [0; 16]);
        s.stage(s.load_b(&lanes), &mut even, &mut odd);
        for k in 0..16 {
            answers.push(("staged", integers(s, s.dot4(v2, s.staged(even[k], odd[k]), w))));
        }

        for (order, at) in [3, pairing::ORDER + 7, 2 * pairing::ORDER].into_iter().enumerate() {
            s.stage_order(s.load_b(&rows[2]), order, &mut even);
            answers.push(("stage_order", even.iter().flat_map(|v| v.to_le_bytes()).collect()));
            answers.push(("ordered", s.ordered(weights, at as u8).map(|w| w as u8).to_vec()));
        }
        let mut wide = [[0; 64]; 2];
        s.widen_weights(weights, &mut wide);
        answers.push(("widen_weights", wide.as_flattened().iter().map(|w| *w as u8).collect()));
        // Some of these have orders, others are wide. Their sums of two products saturate where weights are not those of the orders.
        let packed = [*weights, lanes.map(|x| x as i8), [-128; 64], [127; 64], [1; 64]];
        let found = Pairing::of(s, &packed, packed.len());
        let run = found.orders(0..1).run(0, 0);
        let mut filled = pairing::Weights::NONE;
        for packed in [packed, [[127; 64]; 5]] {
            filled.fill(s, &packed, &run);
            let x: [Staged; 2] = [0, 1].map(|m| std::array::from_fn(|i| i32::from_le_bytes(rows[(i + m) % 4].as_chunks().0[i / 4 % 16])));
            let mut sums = [v0, v1];
            s.paired_products(&mut sums, &x, &run, &filled);
            for sums in sums {
                answers.push(("paired_products", integers(s, sums)));
            }
        }

        let mut looked_up = looked_up.clone();
        s.lookup(table, &mut looked_up);
        answers.push(("lookup", looked_up));
        answers
    }
}

#[inline(always)]
fn integers<S: Simd>(s: S, v: S::I) -> Vec<u8> {
    let mut to = [0; 16];
    s.store_i32(v, &mut to);
    to.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[inline(always)]
fn numbers<S: Simd>(s: S, v: S::F) -> Vec<u8> {
    let mut to = [0; 64];
    s.store_f32(v, &mut to);
    to.to_vec()
}

#[inline(always)]
fn bytes<S: Simd>(s: S, v: S::B) -> Vec<u8> {
    let mut to = [0; 64];
    s.store_b(v, &mut to);
    to.to_vec()
}

/// Numbers with one NaN for all: which one arithmetic gives is nobody's promise.
fn one_nan(mut bytes: Vec<u8>) -> Vec<u8> {
    for bytes in bytes.as_chunks_mut::<4>().0 {
        if f32::from_le_bytes(*bytes).is_nan() {
            *bytes = f32::NAN.to_le_bytes();
        }
    }
    bytes
}

/// Integers up to the most that narrowing takes.
fn integer() -> impl Strategy<Value = i32> {
    const MOST: i32 = 1 << 22;
    prop_oneof![
        4 => any::<i32>().prop_map(|v| v.min(MOST)),
        4 => -70_000..70_000,
        4 => -300..600,
        1 => prop::sample::select(vec![i32::MIN, i32::MIN + 1, -32_769, -32_768, -1, 0, 255, 256, 32_767, 32_768, MOST]),
    ]
}

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        2 => any::<u32>().prop_map(f32::from_bits),
        4 => -300.0..300.0f32,
        // Ties, as far as there are any.
        4 => (-600..600).prop_map(|v| v as f32 / 2.0),
        2 => (-20_000_000..20_000_000).prop_map(|v| v as f32 / 2.0),
        1 => prop::sample::select(vec![
            0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45,
            -2_147_483_648.0, -2_147_483_904.0, 2_147_483_648.0, 4_194_304.0, 8_388_607.5, 0.499_999_97, -0.499_999_97,
        ]),
    ]
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => prop::sample::select(vec![0, 1, 127, 128, 254, 255])]
}

fn array<const N: usize>(of: impl Strategy<Value = u8>) -> impl Strategy<Value = [u8; N]> {
    vec(of, N).prop_map(|v| v.try_into().unwrap_or([0; N]))
}

fn operands() -> impl Strategy<Value = Operands> {
    let vectors =
        (uniform4(uniform16(integer())), [uniform16(number()), uniform16(number())], (-4_194_304..=4_194_304).prop_map(|v| v as f32));
    let small = ([array(byte()), array(byte()), array(byte()), array(byte())], array(byte()), array(byte()), array(byte()));
    (vectors, small, array(any::<u8>()), vec(any::<u8>(), 0..700)).prop_map(
        |((i, f, hi), (rows, weights, quad, limits), table, looked_up)| {
            // Every other time a limit as requantization has it.
            let hi = if quad[0] % 2 == 0 { f32::from(quad[1]) - f32::from(quad[2]) } else { hi };
            Operands { i, f, hi, rows, weights: weights.map(|w: u8| w as i8), quad, limits, table, looked_up }
        },
    )
}

struct Conformance;

impl Test for Conformance {
    fn on<S: Simd>(&mut self, name: &str, isa: S) {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(2000) });
        let outcome = runner.run(&operands(), |operands| {
            let every = || Every { operands: &operands, max_activation: S::MAX_ACTIVATION };
            for (expected, actual) in Soft::<0>.vectorize(every()).into_iter().zip(isa.vectorize(every())) {
                prop_assert_eq!(expected, actual, "{}", name);
            }
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{name}: {failure}");
        }
    }
}

#[test]
fn every_method_gives_what_its_definition_gives() {
    on_isas(&mut Conformance);
}

/// All bytes, of all lengths, at all places.
struct Lookups;

impl Test for Lookups {
    fn on<S: Simd>(&mut self, name: &str, isa: S) {
        let mut table = [0; 256];
        for (i, to) in table.iter_mut().enumerate() {
            *to = (i * 167 + 13) as u8;
        }
        for len in (0..200).chain([255, 256, 257, 511, 1000]) {
            for from in [0, 1, 77, 250] {
                let before: Vec<u8> = (0..len + 32).map(|i| (i + from) as u8).collect();
                let mut after = before.clone();
                isa.lookup(&table, &mut after[16..16 + len]);
                for (i, (&before, &after)) in before.iter().zip(&after).enumerate() {
                    let expected = if (16..16 + len).contains(&i) { table[usize::from(before)] } else { before };
                    assert_eq!(after, expected, "{name}: byte {i} of {len} from {from}");
                }
            }
        }
    }
}

#[test]
fn tables_are_looked_up_at_all_lengths() {
    on_isas(&mut Lookups);
}
