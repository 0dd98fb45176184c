//! A convolution and the max pool behind it, a strip of lines at a time: what lies between them stays in a core's cache, and is
//! never there as a whole.

use std::ops::Range;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::graph::op::{Pool as Window, PoolFn};
use quaver_core::kernel::bind::finish_of;
use quaver_core::kernel::epilogue::Rows;
use quaver_core::kernel::pool::PoolU8;
use quaver_core::kernel::split::Part;

use crate::packed::{Compute, Products};
use crate::{Pool, Rectangle, rectangles, split};

/// Bytes between convolution and pool that a strip adds, about: few enough to stay in a core's own cache, of half a megabyte at
/// least. Shorter strips, which would stay in the first level, took a tenth longer, since calls have a beginning and an end.
const STRIP: usize = 256 << 10;
/// Bytes of a line that is too long to keep a window of them near.
const LONG: usize = 64 << 10;
/// Boundaries of the lines that a strip keeps, for whole vectors to end at lines of a cache.
const ALIGNED: usize = 64;

/// What computes lines of a pool.
pub type Largest<'a> = dyn Fn(Part<'_, PoolU8<'_>>) + Sync + 'a;

/// How a pool follows a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Strips {
    window: Window,
    /// Rows and columns of an image in front of the pool, and behind it.
    extents: [[usize; 2]; 2],
    channels: usize,
    /// Lines of the output of a strip.
    strip: usize,
}

impl Strips {
    /// Of a max pool over images `[H, W, C]` of u8 to `[H', W', C]`, where its windows move on as its lines do and what they see is
    /// not too much to keep.
    pub fn new(window: &Window, [height, width, channels]: [usize; 3], to: [usize; 2]) -> Option<Self> {
        let line = width.checked_mul(channels).filter(|&bytes| bytes > 0 && bytes <= LONG)?;
        let ([kernel, _], [stride, _]) = (window.window.kernel, window.window.strides);
        let follows = window.function == PoolFn::Max && window.window.dilations[0] == 1 && stride <= kernel && to[0] > 0 && to[1] > 0;
        let strip = (STRIP / stride.checked_mul(line)?.max(1)).clamp(1, to[0].max(1));
        (follows && kernel <= 2 * stride + 1).then_some(Self { window: *window, extents: [[height, width], to], channels, strip })
    }

    /// Lines of the output of an image.
    fn lines(&self) -> usize {
        self.extents[1][0]
    }

    /// Bytes of scratch for a thread, beside those that compute the convolution.
    pub fn scratch(&self) -> usize {
        self.kept() + ALIGNED - 1
    }

    /// Bytes of the rows that a strip sees.
    fn kept(&self) -> usize {
        ((self.strip - 1) * self.window.window.strides[0] + self.window.window.kernel[0]) * self.row()
    }

    /// Bytes of a row in front of the pool.
    fn row(&self) -> usize {
        self.extents[0][1] * self.channels
    }

    /// Bytes of a line behind it.
    fn line(&self) -> usize {
        self.extents[1][1] * self.channels
    }
}

impl Products<'_> {
    /// Runs the node, which has no residual, and the pool behind it, whose result is `output`. `scratch` begins with the copy of the
    /// images; each thread needs [`Strips::scratch`] beside what `compute` needs.
    pub fn run_pooled(
        &self,
        strips: &Strips,
        pool: &Pool,
        (op, inputs): (&Op, &[Operand<'_>]),
        output: &mut OutputMut<'_>,
        scratch: &mut [u8],
        (compute, largest): (&Compute<'_>, &Largest<'_>),
    ) {
        let (finish, line, shape) = (finish_of(op, inputs), strips.line(), self.node.shape);
        let to = output.view.bytes_mut();
        self.images(pool, inputs, scratch, |images, source, scratch| {
            let lines = images.len() * strips.lines();
            let to = &mut to[images.start * strips.lines() * line..][..lines * line];
            let cut = split(lines, pool.parts(self.work(images.len() * self.node.rows)), 1);
            rectangles(pool, to, line, cut, (split(1, 1, 1), line), scratch, &|part, _, to, scratch| {
                let at = scratch.as_ptr().align_offset(ALIGNED).min(scratch.len());
                let (kept, scratch) = scratch[at..].split_at_mut(strips.kept());
                let mut kept = Kept { strips, bytes: kept, image: 0, rows: 0..0 };
                let mut left = cut.get(part);
                while !left.is_empty() {
                    let (image, start) = (left.start / strips.lines(), left.start % strips.lines());
                    let lines = start..strips.lines().min(start + strips.strip.min(left.len()));
                    let first = image * strips.extents[0][0];
                    let seen = kept.advance(image, lines.clone(), |rows, bytes| {
                        let rows = (first + rows.start) * strips.extents[0][1]..(first + rows.end) * strips.extents[0][1];
                        let mut to = Rectangle::new(bytes, strips.channels, rows.clone());
                        for group in 0..shape.groups {
                            let part = (rows.clone(), 0..shape.n_blocks());
                            compute(self.gemm(source, inputs, finish, group, part).onto(&mut to), scratch);
                        }
                    });
                    let to = to.piece(left.start, lines.len(), 0..line).expect("lines of the output are whole");
                    left.start += lines.len();
                    largest(Part::new(seen, lines, to));
                }
            });
        });
    }
}

/// Rows of an image in front of a pool.
struct Kept<'a> {
    strips: &'a Strips,
    bytes: &'a mut [u8],
    image: usize,
    rows: Range<usize>,
}

impl Kept<'_> {
    /// Keeps the rows that these lines see, of which it has `compute` add those that aren't there.
    fn advance(&mut self, image: usize, lines: Range<usize>, compute: impl FnOnce(Range<usize>, &mut [u8])) -> PoolU8<'_> {
        let Strips { window, extents, channels, .. } = *self.strips;
        let row = self.strips.row();
        let rows = PoolU8::sees(&window, extents[0][0], lines);
        let again = self.image == image && self.rows.contains(&rows.start);
        let (from, there) = if again { (rows.start - self.rows.start, self.rows.end - rows.start) } else { (0, 0) };
        self.bytes.copy_within(from * row..(from + there) * row, 0);
        let missing = rows.start + there..rows.end;
        if !missing.is_empty() {
            let len = missing.len() * row;
            compute(missing, &mut self.bytes[there * row..][..len]);
        }
        (self.image, self.rows) = (image, rows.clone());
        PoolU8::of_rows(&window, &self.bytes[..rows.len() * row], rows, extents, channels)
    }
}
