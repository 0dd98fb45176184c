//! The innermost loop of 3×3 depthwise convolutions without a check in it: what is read and written is checked before.

use quaver_core::kernel::depthwise::lines::{Lines, Ready, Way};
use quaver_core::kernel::simd::{Kernel, Simd};

/// Carries out `lines`.
#[inline(always)]
pub(super) fn run<S: Simd, const P: usize, const ST: usize>(isa: S, lines: &mut Lines<'_>) {
    match lines.scale.way {
        Way::LiftedByte => isa.vectorize(Slide::<P, ST, { Way::LiftedByte as u8 }>(lines)),
        Way::Lifted => isa.vectorize(Slide::<P, ST, { Way::Lifted as u8 }>(lines)),
        Way::Bounded => isa.vectorize(Slide::<P, ST, { Way::Bounded as u8 }>(lines)),
    }
}

/// Bytes in which `count` vectors of `P` columns lie at such distances.
#[inline(always)]
fn extent<const P: usize>(count: usize, [column, vector]: [usize; 2]) -> usize {
    let Some(before) = count.checked_sub(1) else { return 0 };
    let last = before.checked_mul(vector).zip(column.checked_mul(P - 1)).and_then(|(v, c)| v.checked_add(c));
    last.and_then(|last| last.checked_add(64 / P)).expect("a distance within a tensor")
}

/// `P` columns a vector, stride `ST`, a [`Way`].
struct Slide<'a, 'b, const P: usize, const ST: usize, const WAY: u8>(&'a mut Lines<'b>);

impl<const P: usize, const ST: usize, const WAY: u8> Kernel for Slide<'_, '_, P, ST, WAY> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let order = self.0;
        let vectors = order.vectors::<P, ST>();
        let (steps, lines, pads) = (order.steps, order.lines, order.pads);
        if steps == 0 || lines == 0 {
            return;
        }
        assert!(P == 1 || lines <= 2, "what rows don't hold is known for two lines");
        // Vectors that rows hold.
        let held = if P > 1 { vectors - 2 } else { vectors - usize::from(pads[0]) - usize::from(pads[1]) };
        let needed = extent::<P>(held, order.pitch);
        let needed_between = if ST == 2 { extent::<P>(steps - usize::from(P > 1), order.pitch) } else { 0 };
        // The last row of all that is read.
        let last = (0..3 + ST).rev().find_map(|k| order.row_at::<ST>((lines - 1) / 2 * 2, k)).or_else(|| order.height.checked_sub(1));
        let is_within = |bytes: &[u8], row: usize, needed: usize| {
            order.row.checked_mul(row).and_then(|at| at.checked_add(needed)).is_some_and(|end| end <= bytes.len())
        };
        let mut covered =
            last.is_none_or(|y| is_within(order.input, y, needed) && (ST == 1 || is_within(order.between, y, needed_between)));
        let [column_pitch, vector_pitch, line_pitch] = order.to_pitch;
        let needed = extent::<P>(steps, [column_pitch, vector_pitch]);
        covered &= line_pitch.checked_mul(lines - 1).and_then(|at| at.checked_add(needed)).is_some_and(|end| end <= order.to.len());
        assert!(covered, "rows or lines are too short");
        let padding = [order.padding; 64];
        for line in (0..lines).step_by(2) {
            let (mut from, mut between, mut by) = ([padding.as_ptr(); 5], [padding.as_ptr(); 5], [0; 5]);
            for k in 0..3 + ST {
                if let Some(y) = order.row_at::<ST>(line, k) {
                    let at = y * order.row;
                    (from[k], between[k]) = (order.input.as_ptr().wrapping_add(at), order.between.as_ptr().wrapping_add(at));
                    by[k] = order.pitch[1];
                }
            }
            let first = order.to.as_mut_ptr().wrapping_add(line * line_pitch);
            Pair::<P, ST, WAY> { order, from, between, by, to: [first, first.wrapping_add(line_pitch)], lines: (lines - line).min(2) }
                .run(s);
        }
    }
}

/// Two lines, or the last one alone.
struct Pair<'a, 'b, const P: usize, const ST: usize, const WAY: u8> {
    order: &'a Lines<'b>,
    /// Where rows are, and the columns between, and their distance of vectors, or 0 for 64 bytes of padding.
    from: [*const u8; 5],
    between: [*const u8; 5],
    by: [usize; 5],
    to: [*mut u8; 2],
    lines: usize,
}

impl<const P: usize, const ST: usize, const WAY: u8> Pair<'_, '_, P, ST, WAY> {
    /// Computes them. `Slide` has made sure that all is there.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { order, mut from, mut between, by, to: [mut first, mut second], lines } = self;
        let &Lines { pitch, pads, steps, scale, ends, to_pitch, .. } = order;
        let weights = order.weights.as_ptr().cast::<[i8; 64]>();
        let ready = Ready::new(s, scale);
        let mut start = [s.splat_i32(0); 4];
        for (to, from) in start.iter_mut().zip(&scale.start) {
            *to = s.load_i32(from);
        }
        let padding = [s.splat_b(order.padding); 5];
        // The next vector of each row.
        macro_rules! load {
            ($from:ident) => {{
                let mut rows = padding;
                for k in 0..3 + ST {
                    // SAFETY: the row holds this vector, or repeats one of 64 bytes.
                    rows[k] = unsafe { load::<S, P>(s, $from[k], if by[k] == 0 { 0 } else { pitch[0] }) };
                    $from[k] = $from[k].wrapping_add(by[k]);
                }
                rows
            }};
        }
        // A vector of each row that rows don't hold.
        macro_rules! end {
            ($which:literal) => {{
                let mut rows = padding;
                if P > 1 {
                    for k in 0..3 + ST {
                        rows[k] = s.load_b(&ends[$which][k]);
                    }
                }
                rows
            }};
        }
        let at_end = if P > 1 || pads[1] { steps - 1 } else { steps };
        // Adds the products of a column. Weights are read anew for each: there are not registers for all.
        macro_rules! add {
            ($acc:ident, $line:literal, $column:literal, $quads:expr) => {
                let quads = $quads;
                for v in 0..4 {
                    // SAFETY: there are weights of three columns of two lines.
                    let w = s.weights(unsafe { &*weights.add(($line * 3 + $column) * 4 + v) });
                    $acc[v] = s.dot4_lanes($acc[v], quads[v], w);
                }
            };
        }
        macro_rules! finish {
            ($acc:ident, $to:ident) => {
                // SAFETY: there are `steps` places of 64 bytes, and this is one.
                unsafe { store::<S, P>(s, ready.bytes::<WAY>(s, $acc), $to, to_pitch[0]) };
                $to = $to.wrapping_add(to_pitch[1]);
            };
        }
        if ST == 2 {
            let mut kept = two_lines(s, if P > 1 || pads[0] { end!(0) } else { load!(from) });
            for step in 0..steps {
                let (mut a, mut b) = (start, start);
                add!(a, 0, 0, kept[0]);
                add!(b, 1, 0, kept[1]);
                let middle = two_lines(s, if P > 1 && step == at_end { end!(2) } else { load!(between) });
                let new = two_lines(s, if step == at_end { end!(1) } else { load!(from) });
                add!(a, 0, 1, middle[0]);
                add!(b, 1, 1, middle[1]);
                add!(a, 0, 2, shift::<S, P>(s, kept[0], new[0]));
                add!(b, 1, 2, shift::<S, P>(s, kept[1], new[1]));
                kept = new;
                finish!(a, first);
                if lines > 1 {
                    finish!(b, second);
                }
            }
            return;
        }
        macro_rules! next {
            ($rows:expr) => {{
                let [a, b, c, d, _] = $rows;
                s.interleave([a, b, c, d])
            }};
        }
        let mut kept = [next!(if P > 1 || pads[0] { end!(0) } else { load!(from) }); 2];
        if P == 1 {
            kept[1] = next!(load!(from));
        }
        for step in 0..steps {
            let new = next!(if step == at_end { end!(1) } else { load!(from) });
            let mut window = [kept[0], kept[1], new];
            if P == 1 {
                kept = [kept[1], new];
            } else {
                window[1] = shift::<S, P>(s, kept[0], new);
                if P == 4 {
                    window[2] = shift::<S, 2>(s, kept[0], new);
                }
                kept[0] = new;
            }
            let mut a = start;
            add!(a, 0, 0, window[0]);
            add!(a, 0, 1, window[1]);
            add!(a, 0, 2, window[2]);
            finish!(a, first);
            if lines > 1 {
                let mut b = start;
                add!(b, 1, 0, window[0]);
                add!(b, 1, 1, window[1]);
                add!(b, 1, 2, window[2]);
                finish!(b, second);
            }
        }
    }
}

/// A vector of `P` columns.
///
/// # Safety
/// There are 64 / `P` bytes at `from`, and at each of `P` places at distances of `pitch`.
#[inline(always)]
unsafe fn load<S: Simd, const P: usize>(s: S, from: *const u8, pitch: usize) -> S::B {
    // SAFETY: the caller says so.
    unsafe {
        match P {
            1 => s.load_b(&*from.cast()),
            2 => s.join_halves([&*from.cast(), &*from.add(pitch).cast()]),
            _ => s.join_quarters([&*from.cast(), &*from.add(pitch).cast(), &*from.add(2 * pitch).cast(), &*from.add(3 * pitch).cast()]),
        }
    }
}

/// Stores the columns of a vector.
///
/// # Safety
/// As for [`load`], and nothing else refers to these places.
#[inline(always)]
unsafe fn store<S: Simd, const P: usize>(s: S, v: S::B, to: *mut u8, pitch: usize) {
    // SAFETY: the caller says so.
    unsafe {
        match P {
            1 => s.store_b(v, &mut *to.cast()),
            2 => {
                s.store_half(v, 0, &mut *to.cast());
                s.store_half(v, 1, &mut *to.add(pitch).cast());
            }
            _ => {
                s.store_quarter(v, 0, &mut *to.cast());
                s.store_quarter(v, 1, &mut *to.add(pitch).cast());
                s.store_quarter(v, 2, &mut *to.add(2 * pitch).cast());
                s.store_quarter(v, 3, &mut *to.add(3 * pitch).cast());
            }
        }
    }
}

/// Quads of five rows for two lines two rows apart: their middle rows are interleaved once. The fourth weight is 0.
#[inline(always)]
fn two_lines<S: Simd>(s: S, [a, b, c, d, e]: [S::B; 5]) -> [[S::B; 4]; 2] {
    [s.interleave([a, b, c, d]), s.interleave([c, d, e, e])]
}

/// Vectors of `P` columns that begin a column behind those of `a`, which `b` follow.
#[inline(always)]
fn shift<S: Simd, const P: usize>(s: S, a: [S::B; 4], b: [S::B; 4]) -> [S::B; 4] {
    let mut of = b;
    if P > 1 {
        for v in 0..4 {
            of[v] = s.shift_in(a[v], b[v], 4 / P);
        }
    }
    of
}
