//! Where a convolution finds its activations: the segments and bases that [`super::gemm`] walks, and the padded copy.
//!
//! Where no window leaves the image, the image is read where it lies. Elsewhere, and where pixels are no whole quads in a
//! window of several taps, it is copied once into a frame of padding with pixels of whole quads, so that a kernel row is one
//! segment and the kernel knows no edges. A transposed convolution is a convolution of a frame with holes.

use std::ops::Range;

use super::gemm::{Bases, Source};
use super::narrow::Narrow;
use crate::format::weights::K_BLOCK;
use crate::graph::op::Window;

/// Most bytes of images that are copied and multiplied at once.
const CHUNK: usize = 1 << 20;

/// The geometry of one convolution at one input shape.
#[derive(Debug, Clone)]
pub struct Geometry {
    frame: Option<Frame>,
    segments: Vec<usize>,
    quads: usize,
    bases: Bases,
    /// Distance of two groups' activations.
    group: usize,
    /// Images that are multiplied at once.
    chunk: usize,
}

/// A copy of images with padding around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Rows, columns, channels of an image.
    from: [usize; 3],
    groups: usize,
    /// Rows and columns of the copy.
    to: [usize; 2],
    /// Bytes of a pixel of the copy.
    pixel: usize,
    /// Where the image's first row and column are.
    origin: [isize; 2],
    /// Distance of two rows and columns of the image in the copy.
    steps: [usize; 2],
    pad: u8,
}

impl Geometry {
    /// A matrix product of rows of `k` bytes.
    pub fn matrix(rows: usize, k: usize) -> Self {
        let quads = k.div_ceil(K_BLOCK);
        Self { frame: None, segments: vec![0], quads, bases: Bases::matrix(rows, k), group: 0, chunk: 1 }
    }

    /// A convolution of images of rows, columns and channels `from` to rows and columns `to`; padding holds `pad`. `images` is
    /// how many there are. Where `slack` is false, no byte behind the input may be read. `None` where the copy would be out
    /// of proportion.
    pub fn conv(window: &Window, groups: usize, images: usize, from: [usize; 3], to: [usize; 2], pad: u8, slack: bool) -> Option<Self> {
        let [height, width, channels] = from;
        let ic = channels / groups;
        let quads = ic.div_ceil(K_BLOCK);
        let taps = window.kernel[0] * window.kernel[1];
        let extents = extents(window, to)?;
        let inside = is_inside(window, extents, from);
        let whole = ic.is_multiple_of(K_BLOCK);
        if inside && (whole || (taps == 1 && slack)) {
            let pitch = [height * width * channels, width * channels, channels];
            return Some(Self::windows(window, None, groups, images, to, pitch, quads, ic));
        }
        let frame = Frame::around(window, from, extents, (groups, groups * quads * K_BLOCK), pad)?;
        frame.is_in_proportion(to).then_some(())?;
        let pitch = frame.pitch();
        Some(Self::windows(window, Some(frame), groups, images, to, pitch, quads, quads * K_BLOCK))
    }

    /// As [`Geometry::conv`], for weights in the order of `narrow`.
    pub fn narrow(window: &Window, narrow: &Narrow, images: usize, from: [usize; 3], to: [usize; 2], pad: u8, slack: bool) -> Option<Self> {
        let [height, width, channels] = from;
        let mut extents = extents(window, to)?;
        let frame = if is_inside(window, extents, from) && slack {
            None
        } else {
            // The last quad of a row may end behind the last column that it needs.
            extents[1] = extents[1].checked_add((K_BLOCK - 1).div_ceil(channels))?;
            Some(Frame::around(window, from, extents, (1, channels), pad)?)
        };
        frame.is_none_or(|frame| frame.is_in_proportion(to)).then_some(())?;
        let pitch = frame.map_or([height * width * channels, width * channels, channels], |frame| frame.pitch());
        let segments = (0..window.kernel[0]).map(|y| y * window.dilations[0] * pitch[1]).collect();
        Some(Self { segments, quads: narrow.run(), ..Self::windows(window, frame, 1, images, to, pitch, 1, 0) })
    }

    /// A transposed convolution: output o sees input i through tap k where i·stride = o + pad − k·dilation. `None` where the
    /// copy would be out of proportion.
    pub fn transposed(window: &Window, groups: usize, images: usize, from: [usize; 3], to: [usize; 2], pad: u8) -> Option<Self> {
        let quads = (from[2] / groups).div_ceil(K_BLOCK);
        // The frame's row 0 is what output 0 sees through its last tap.
        let origin = |d: usize| isize::try_from(window.reach(d)).ok()?.checked_sub(1 + isize::try_from(window.pads_begin[d]).ok()?);
        let extent = |d: usize| (to[d].max(1) - 1).checked_add(window.reach(d));
        let pixel = groups * quads * K_BLOCK;
        let extents = [extent(0)?, extent(1)?];
        let frame = Frame { from, groups, to: extents, pixel, origin: [origin(0)?, origin(1)?], steps: window.strides, pad };
        frame.is_in_proportion(to).then_some(())?;
        let pitch = [frame.image(), frame.to[1] * pixel, pixel];
        let backwards = |d: usize, k: usize| (window.kernel[d] - 1 - k) * window.dilations[d];
        let taps = (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x)));
        let segments = taps.map(|(y, x)| backwards(0, y) * pitch[1] + backwards(1, x) * pitch[2]).collect();
        let bases = Bases { start: 0, extents: to, steps: pitch };
        let chunk = chunk(images, pitch[0]);
        Some(Self { frame: Some(frame), segments, quads, bases, group: quads * K_BLOCK, chunk })
    }

    #[expect(clippy::too_many_arguments, reason = "the two callers differ in each of them")]
    fn windows(
        window: &Window,
        frame: Option<Frame>,
        groups: usize,
        images: usize,
        to: [usize; 2],
        pitch: [usize; 3],
        quads: usize,
        group: usize,
    ) -> Self {
        let row = |y: usize| y * window.dilations[0] * pitch[1];
        // The taps of a row are one run where they and their pixels leave no gap.
        let run = groups == 1 && window.dilations[1] == 1 && pitch[2] == quads * K_BLOCK;
        let (segments, quads) = if run {
            ((0..window.kernel[0]).map(row).collect(), quads * window.kernel[1])
        } else {
            let columns = |y: usize| (0..window.kernel[1]).map(move |x| row(y) + x * window.dilations[1] * pitch[2]);
            ((0..window.kernel[0]).flat_map(columns).collect(), quads)
        };
        // A stride that is not taken, since there is one position only, may be any number.
        let steps = [pitch[0], window.strides[0].saturating_mul(pitch[1]), window.strides[1].saturating_mul(pitch[2])];
        let chunk = if frame.is_some() { chunk(images, pitch[0]) } else { images.max(1) };
        Self { frame, segments, quads, bases: Bases { start: 0, extents: to, steps }, group, chunk }
    }

    /// The frame that the images are copied into, where there is one that could as well be their place: without holes, its
    /// pixels those of the image filled up at their end.
    pub fn frame(&self) -> Option<Frame> {
        self.frame.filter(|frame| frame.steps == [1, 1] && (frame.groups == 1 || frame.pixel == frame.from[2]))
    }

    /// The same for `images` images that lie in their frames already.
    pub fn framed(self, images: usize) -> Self {
        Self { frame: None, chunk: images.max(1), ..self }
    }

    /// Bytes that the copy takes; 0 where there is none.
    pub fn scratch(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.image() * self.chunk)
    }

    /// Images that are multiplied at once; more are a matter of more calls.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Lines of the copy of `images` images, for [`Geometry::copy`]; 0 where there is no copy.
    pub fn lines(&self, images: usize) -> usize {
        self.frame.as_ref().map_or(0, |frame| images * frame.to[0])
    }

    /// Bytes of a line of the copy.
    pub fn line(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.to[1] * frame.pixel)
    }

    /// Writes the lines `lines` of the copy of `from`; `to` is these lines.
    pub fn copy(&self, from: &[u8], lines: Range<usize>, to: &mut [u8]) {
        let Some(frame) = &self.frame else { return };
        for (line, to) in lines.zip(to.chunks_exact_mut(self.line().max(1))) {
            frame.copy(from, line, to);
        }
    }

    /// Activations of group `group`, given the images or, where there is one, their copy.
    pub fn source<'a>(&'a self, bytes: &'a [u8], group: usize) -> Source<'a> {
        let bases = Bases { start: group * self.group, ..self.bases };
        Source { bytes, segments: &self.segments, quads: self.quads, bases }
    }
}

/// Rows and columns that windows at `to` positions cover; `None` where they overflow.
fn extents(window: &Window, to: [usize; 2]) -> Option<[usize; 2]> {
    let extent = |d: usize| (to[d].max(1) - 1).checked_mul(window.strides[d])?.checked_add(window.reach(d));
    Some([extent(0)?, extent(1)?])
}

/// Whether no window leaves the image.
fn is_inside(window: &Window, extents: [usize; 2], from: [usize; 3]) -> bool {
    window.pads_begin == [0, 0] && extents[0] <= from[0] && extents[1] <= from[1]
}

fn chunk(images: usize, bytes: usize) -> usize {
    (CHUNK / bytes.max(1)).clamp(1, images.max(1))
}

impl Frame {
    /// A copy of the rows and columns that windows cover, its pixels groups of so many bytes together.
    fn around(window: &Window, from: [usize; 3], to: [usize; 2], (groups, pixel): (usize, usize), pad: u8) -> Option<Self> {
        let origin = [isize::try_from(window.pads_begin[0]).ok()?, isize::try_from(window.pads_begin[1]).ok()?];
        Some(Self { from, groups, to, pixel, origin, steps: [1, 1], pad })
    }

    /// Distance of two images, two rows, two columns.
    fn pitch(&self) -> [usize; 3] {
        [self.image(), self.to[1] * self.pixel, self.pixel]
    }

    /// Bytes of an image's copy.
    fn image(&self) -> usize {
        self.to[0] * self.to[1] * self.pixel
    }

    /// Whether the copy is about as large as what it is a copy of, or as its output: a file's window may be of any size. A large
    /// dilation on a small image takes many times that, which is nothing beside computing it by the definition.
    fn is_in_proportion(&self, output: [usize; 2]) -> bool {
        const SMALL: usize = 1 << 20;
        const LARGE: usize = 1 << 26;
        let image = self.to[0].checked_mul(self.to[1]).and_then(|n| n.checked_mul(self.pixel));
        let own = self.from.iter().product::<usize>().max(output[0] * output[1] * self.pixel);
        let most = own.saturating_mul(8).saturating_add(SMALL).max(own.saturating_mul(64).min(LARGE));
        image.is_some_and(|image| image <= most)
    }

    /// Rows and columns, and bytes of a pixel.
    pub fn extents(&self) -> [usize; 3] {
        [self.to[0], self.to[1], self.pixel]
    }

    /// Rows, columns and channels of the image.
    pub fn image_extents(&self) -> [usize; 3] {
        self.from
    }

    /// What padding holds.
    pub fn pad(&self) -> u8 {
        self.pad
    }

    /// What is in a row of a frame without holes: the row of the image and the range of its columns, and how many columns of
    /// padding lie before them; the rest is padding too. `None` where all is padding.
    pub fn row(&self, row: usize) -> Option<(usize, Range<usize>, usize)> {
        let y = place(row, self.origin[0], self.steps[0], self.from[0])?;
        let width = self.from[1];
        let skipped = usize::try_from(-self.origin[1]).unwrap_or(0).min(width);
        let left = usize::try_from(self.origin[1]).unwrap_or(0).min(self.to[1]);
        let count = (width - skipped).min(self.to[1] - left);
        Some((y, skipped..skipped + count, left))
    }

    /// Cuts a line of the frame into padding, `columns` pixels and padding again, which it writes; gives the pixels.
    pub fn surround<'a>(&self, to: &'a mut [u8], left: usize, columns: usize) -> &'a mut [u8] {
        let (head, rest) = to.split_at_mut(left * self.pixel);
        let (middle, tail) = rest.split_at_mut(columns * self.pixel);
        head.fill(self.pad);
        tail.fill(self.pad);
        middle
    }

    /// One line of the copy.
    fn copy(&self, from: &[u8], line: usize, to: &mut [u8]) {
        let [height, width, channels] = self.from;
        let (image, row) = (line / self.to[0], line % self.to[0]);
        let Some((y, columns, left)) = self.row(row) else {
            return to.fill(self.pad);
        };
        let from = &from[(image * height + y) * width * channels..][..width * channels];
        if self.steps[1] != 1 {
            to.fill(self.pad);
            for (column, to) in to.chunks_exact_mut(self.pixel).enumerate() {
                if let Some(x) = place(column, self.origin[1], self.steps[1], width) {
                    self.pixel(&from[x * channels..][..channels], to);
                }
            }
            return;
        }
        let middle = self.surround(to, left, columns.len());
        let from = &from[columns.start * channels..columns.end * channels];
        match (channels, self.pixel) {
            (c, pixel) if c == pixel => middle.copy_from_slice(from),
            (3, 4) => three_to_four(from, middle),
            _ => from.chunks_exact(channels).zip(middle.chunks_exact_mut(self.pixel)).for_each(|(from, to)| self.pixel(from, to)),
        }
    }

    /// One pixel, each group's channels filled up to whole quads.
    fn pixel(&self, from: &[u8], to: &mut [u8]) {
        let (ic, padded) = (from.len() / self.groups, to.len() / self.groups);
        for (from, to) in from.chunks_exact(ic).zip(to.chunks_exact_mut(padded)) {
            to[..ic].copy_from_slice(from);
            to[ic..].fill(self.pad);
        }
    }
}

/// Pixels of three bytes become four, the last of any content: one load and store each.
fn three_to_four(from: &[u8], to: &mut [u8]) {
    let (to, _) = to.as_chunks_mut::<4>();
    for (i, to) in to.iter_mut().enumerate() {
        match from.get(3 * i..3 * i + 4) {
            Some(pixel) => to.copy_from_slice(pixel),
            None => to[..3].copy_from_slice(&from[3 * i..]),
        }
    }
}

/// The index in 0 .. extent that lies at `at`, where index i lies at `origin` + i·`step`.
fn place(at: usize, origin: isize, step: usize, extent: usize) -> Option<usize> {
    let distance = usize::try_from(at as isize - origin).ok()?;
    (distance % step == 0).then_some(distance / step).filter(|&i| i < extent)
}
