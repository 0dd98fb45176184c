//! The innermost loop of 3×3 depthwise convolutions without a check in it: what is read and written is checked before.

use quaver_core::kernel::depthwise::lines::{Lines, Ready, Way, rows};
use quaver_core::kernel::simd::{Kernel, Simd};

/// Carries out `lines`.
#[inline(always)]
pub(super) fn run<S: Simd, const P: usize, const ST: usize>(isa: S, lines: &mut Lines<'_>) {
    match lines.scale.way {
        Way::LiftedByte => isa.vectorize(Slide::<P, ST, { Way::LiftedByte as u8 }>(lines)),
        Way::Lifted => isa.vectorize(Slide::<P, ST, { Way::Lifted as u8 }>(lines)),
        Way::Bounded => isa.vectorize(Slide::<P, ST, { Way::Bounded as u8 }>(lines)),
        Way::Swished => isa.vectorize(Slide::<P, ST, { Way::Swished as u8 }>(lines)),
    }
}

/// Rows that a group of at most four pairs of lines sees.
const MOST_ROWS: usize = rows::<4, 2>();

/// Pieces of `P` pairs of lines a vector, stride `ST`, a [`Way`].
struct Slide<'a, 'b, const P: usize, const ST: usize, const WAY: u8>(&'a mut Lines<'b>);

impl<const P: usize, const ST: usize, const WAY: u8> Kernel for Slide<'_, '_, P, ST, WAY> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.0.steps == 0 || self.0.lines == 0 {
            return;
        }
        assert!(self.0.is_covered::<P, ST>(), "rows or lines are too short");
        let order = self.0;
        let padding = [order.padding; 64];
        let to = order.to.as_mut_ptr();
        for line in (0..order.lines).step_by(2 * P) {
            let mut group = Group::<P, ST, WAY, false> {
                order,
                from: [padding.as_ptr(); MOST_ROWS],
                between: [padding.as_ptr(); MOST_ROWS],
                by: [0; MOST_ROWS],
                to: to.wrapping_add(line * order.to_pitch[1]),
                lines: (order.lines - line).min(2 * P),
            };
            let mut inside = true;
            for k in 0..rows::<P, ST>() {
                let Some(y) = order.row_at::<ST>(line, k) else {
                    inside = false;
                    continue;
                };
                group.from[k] = order.input.as_ptr().wrapping_add(y * order.row);
                group.between[k] = order.between.as_ptr().wrapping_add(y * order.row);
                group.by[k] = order.pitch;
            }
            if inside {
                group.run(s);
            } else {
                let Group { order, from, between, by, to, lines } = group;
                Group::<P, ST, WAY, true> { order, from, between, by, to, lines }.run(s);
            }
        }
    }
}

/// `P` pairs of lines, of which the last may not all be there. Rows are all inside of the image, or at its `EDGE`.
struct Group<'a, 'b, const P: usize, const ST: usize, const WAY: u8, const EDGE: bool> {
    order: &'a Lines<'b>,
    /// Where rows are, and the columns between, and their distance of columns, or 0 for 64 bytes of padding.
    from: [*const u8; MOST_ROWS],
    between: [*const u8; MOST_ROWS],
    by: [usize; MOST_ROWS],
    to: *mut u8,
    lines: usize,
}

impl<const P: usize, const ST: usize, const WAY: u8, const EDGE: bool> Group<'_, '_, P, ST, WAY, EDGE> {
    /// Computes them. `Slide` has made sure that all is there.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { order, mut from, mut between, by, mut to, lines } = self;
        let &Lines { pitch, pads, steps, scale, to_pitch: [to_pitch, line_pitch], .. } = order;
        let weights = order.weights.as_ptr().cast::<[i8; 64]>();
        let ready = Ready::new(s, scale);
        let mut start = [s.splat_i32(0); 4];
        for (to, from) in start.iter_mut().zip(&scale.start) {
            *to = s.load_i32(from);
        }
        let padding = [s.splat_b(order.padding); 5];
        // The next column of each row.
        macro_rules! load {
            ($from:ident) => {{
                let mut of = padding;
                for k in 0..3 + ST {
                    // SAFETY: each row holds this column, or repeats one of 64 bytes.
                    of[k] = unsafe { load::<S, P, ST>(s, &$from, k) };
                }
                for k in 0..rows::<P, ST>() {
                    $from[k] = $from[k].wrapping_add(if EDGE { by[k] } else { pitch });
                }
                of
            }};
        }
        let at_end = if pads[1] { steps - 1 } else { steps };
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
            ($acc:ident, $line:literal) => {
                // SAFETY: there are `steps` places in each line that there is, and this is one.
                unsafe { store::<S, P>(s, ready.bytes::<WAY>(s, $acc), to, line_pitch, $line, lines) };
            };
        }
        if ST == 2 {
            let mut kept = two_lines(s, if pads[0] { padding } else { load!(from) });
            for step in 0..steps {
                let (mut a, mut b) = (start, start);
                add!(a, 0, 0, kept[0]);
                add!(b, 1, 0, kept[1]);
                let middle = two_lines(s, load!(between));
                kept = two_lines(s, if step == at_end { padding } else { load!(from) });
                add!(a, 0, 1, middle[0]);
                add!(b, 1, 1, middle[1]);
                add!(a, 0, 2, kept[0]);
                add!(b, 1, 2, kept[1]);
                finish!(a, 0);
                if P > 1 || lines > 1 {
                    finish!(b, 1);
                }
                to = to.wrapping_add(to_pitch);
            }
            return;
        }
        macro_rules! next {
            ($rows:expr) => {{
                let [a, b, c, d, _] = $rows;
                s.interleave([a, b, c, d])
            }};
        }
        let mut kept = [next!(if pads[0] { padding } else { load!(from) }), next!(load!(from))];
        for step in 0..steps {
            let new = next!(if step == at_end { padding } else { load!(from) });
            let window = [kept[0], kept[1], new];
            kept = [kept[1], new];
            let mut a = start;
            add!(a, 0, 0, window[0]);
            add!(a, 0, 1, window[1]);
            add!(a, 0, 2, window[2]);
            finish!(a, 0);
            if P > 1 || lines > 1 {
                let mut b = start;
                add!(b, 1, 0, window[0]);
                add!(b, 1, 1, window[1]);
                add!(b, 1, 2, window[2]);
                finish!(b, 1);
            }
            to = to.wrapping_add(to_pitch);
        }
    }
}

/// Row `k` of each pair of lines.
///
/// # Safety
/// There are 64 / `P` bytes at each of these places.
#[inline(always)]
unsafe fn load<S: Simd, const P: usize, const ST: usize>(s: S, from: &[*const u8; MOST_ROWS], k: usize) -> S::B {
    // SAFETY: the caller says so.
    unsafe {
        match P {
            1 => s.load_b(&*from[k].cast()),
            2 => s.join_halves([&*from[k].cast(), &*from[k + 2 * ST].cast()]),
            _ => s.join_quarters([0, 2, 4, 6].map(|line| &*from[k + line * ST].cast())),
        }
    }
}

/// Stores the first or second lines of all pairs, as far as there are so many lines.
///
/// # Safety
/// Each line that there is has 64 / `P` bytes at `to` + its number · `pitch`, and nothing else refers to them.
#[inline(always)]
unsafe fn store<S: Simd, const P: usize>(s: S, v: S::B, to: *mut u8, pitch: usize, line: usize, lines: usize) {
    let to = to.wrapping_add(line * pitch);
    if P == 1 {
        // SAFETY: the caller calls only for a line that there is, and says so.
        return unsafe { s.store_b(v, &mut *to.cast()) };
    }
    for p in 0..P {
        if lines == 2 * P || line + 2 * p < lines {
            let to = to.wrapping_add(2 * p * pitch);
            // SAFETY: there is this line, and the caller says so.
            unsafe {
                if P == 2 {
                    s.store_half(v, p, &mut *to.cast());
                } else {
                    s.store_quarter(v, p, &mut *to.cast());
                }
            }
        }
    }
}

/// Quads of five rows for two lines two rows apart: their middle rows are interleaved once. The fourth weight is 0.
#[inline(always)]
fn two_lines<S: Simd>(s: S, [a, b, c, d, e]: [S::B; 5]) -> [[S::B; 4]; 2] {
    [s.interleave([a, b, c, d]), s.interleave([c, d, e, e])]
}
