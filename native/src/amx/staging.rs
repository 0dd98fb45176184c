//! Windows of one group of channels among many, whose pixels lie badly for tiles: each is a run by itself, and they are not whole
//! lines of a cache apart. So what a call reads is copied once, every pixel to lines of its own, and tiles are loaded from there:
//! gathering rows instead would copy a pixel once for every place of the window.

use std::ops::Range;

use quaver_core::kernel::gemm::{Bases, Source};

use super::driver::gather::copy_over;
use super::machine::BYTES;
use super::plan::{GATHERED_LINE, ROWS_OF_A_PAIR, Runs, fills_tiles};

/// Most places of a window.
pub(super) const MOST_PLACES: usize = 64;

/// Pixels, and where windows lie on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grid {
    /// Rows and columns of a window.
    window: [usize; 2],
    /// Rows and columns from one window to the next.
    strides: [usize; 2],
    /// Bytes from one row of pixels to the next, and from one pixel.
    steps: [usize; 2],
}

impl Grid {
    /// That of a convolution whose windows have a segment for each place, if there is one.
    fn of(source: &Source<'_>) -> Option<Self> {
        let Source { segments, bases: Bases { steps: [_, down, right], .. }, .. } = *source;
        let (&first, &second) = (segments.first()?, segments.get(1)?);
        let pixel = second.checked_sub(first).filter(|&pixel| first == 0 && pixel > 0)?;
        let columns = segments.iter().zip(0..).take_while(|&(&at, i)| pixel.checked_mul(i) == Some(at)).count();
        let line = segments.get(columns).copied().unwrap_or(down);
        let grid =
            Self { window: [segments.len() / columns, columns], strides: [down.checked_div(line)?, right / pixel], steps: [line, pixel] };
        let place = |i: usize| (i / columns).checked_mul(line)?.checked_add(i % columns * pixel);
        let whole = segments.len() <= MOST_PLACES && segments.len().is_multiple_of(columns);
        let regular = whole && segments.iter().enumerate().all(|(i, &at)| place(i) == Some(at));
        (regular && grid.strides[0] * line == down && grid.strides[1] * pixel == right && grid.strides[1] > 0).then_some(grid)
    }

    /// Rows of pixels under so many rows of windows, or columns of them.
    fn under(&self, axis: usize, windows: usize) -> usize {
        (windows.max(1) - 1).saturating_mul(self.strides[axis]).saturating_add(self.window[axis])
    }
}

/// The pixels that a call reads, in memory of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staging {
    grid: Grid,
    /// The image, and the first row of its windows.
    image: usize,
    top: usize,
    /// Rows and columns of pixels.
    extents: [usize; 2],
    /// Bytes of a pixel's place.
    pitch: usize,
}

impl Staging {
    /// For rows of a source that meet so many blocks of channels, if that is less work than what is done otherwise.
    pub fn of(source: &Source<'_>, rows: &Range<usize>, blocks: usize) -> Option<Self> {
        let grid = Grid::of(source)?;
        let [height, width] = source.bases.extents;
        let (top, bottom) = (rows.start / width, rows.end.checked_sub(1)? / width);
        let image = top / height;
        if bottom / height != image || !fills_tiles(width) {
            return None;
        }
        let pitch = (source.quads * 4).next_multiple_of(BYTES);
        let extents = [grid.under(0, bottom - top + 1), grid.under(1, width)];
        let copied = (extents[0] * extents[1] * (pitch / BYTES)) as u64 * GATHERED_LINE;
        let (runs, pairs) = (Runs::of(source), rows.len().div_ceil(ROWS_OF_A_PAIR) as u64);
        let (in_place, there) = runs.aligned().in_place(blocks);
        let pays = in_place && pairs.saturating_mul(there).saturating_add(copied) < pairs.saturating_mul(runs.in_place(blocks).1);
        pays.then_some(Self { grid, image, top: top % height, extents, pitch })
    }

    /// Bytes of the pixels.
    pub fn bytes(&self) -> usize {
        self.extents[0] * self.extents[1] * self.pitch
    }

    /// Copies the pixels to the beginning of `to`, and returns where rows are then. `segments` are of the same number.
    pub fn stage<'a>(&self, source: &Source<'_>, to: &'a mut [u8], segments: &'a mut [usize; MOST_PLACES]) -> Source<'a> {
        let Self { grid: Grid { window, strides, steps }, extents: [_, columns], pitch, .. } = *self;
        let (to, len, [image, down, _]) = (&mut to[..self.bytes()], source.quads * 4, source.bases.steps);
        let start = source.bases.start + self.image * image + self.top * down;
        for (y, line) in to.chunks_exact_mut(columns * pitch).enumerate() {
            for (x, pixel) in line.chunks_exact_mut(pitch).enumerate() {
                // Behind the last row there may be less than a whole line of pixels.
                match source.bytes.get(start + y * steps[0] + x * steps[1]..).filter(|from| from.len() >= len) {
                    Some(from) => copy_over(from, len, pixel),
                    None => break,
                }
            }
        }
        let line = columns * pitch;
        let segments = &mut segments[..window[0] * window[1]];
        for (i, segment) in segments.iter_mut().enumerate() {
            *segment = i / window[1] * line + i % window[1] * pitch;
        }
        let bases = Bases { start: 0, extents: source.bases.extents, steps: [0, strides[0] * line, strides[1] * pitch] };
        Source { bytes: to, segments, bases, ..*source }
    }

    /// What row `row` is among those that are staged.
    pub fn row(&self, row: usize, bases: &Bases) -> usize {
        let [height, width] = bases.extents;
        row - (self.image * height + self.top) * width
    }
}

/// Bytes that any part of such rows may need.
pub(super) fn scratch(source: &Source<'_>, rows: &Range<usize>) -> usize {
    let Some(grid) = Grid::of(source) else { return 0 };
    let [height, width] = source.bases.extents;
    if !fills_tiles(width) {
        return 0;
    }
    // A part may begin and end within lines.
    let lines = (rows.len().div_ceil(width) + 1).min(height);
    grid.under(0, lines) * grid.under(1, width) * (source.quads * 4).next_multiple_of(BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source<'a>(segments: &'a [usize], [down, right]: [usize; 2]) -> Source<'a> {
        Source { bytes: &[], segments, quads: 30, bases: Bases { start: 0, extents: [14, 14], steps: [14 * down, down, right] } }
    }

    #[test]
    fn grids_are_found() {
        let places = |rows: usize, columns: usize, line: usize, pixel: usize| -> Vec<usize> {
            (0..rows * columns).map(|i| i / columns * line + i % columns * pixel).collect()
        };
        let window = |segments: &[usize], steps| Grid::of(&source(segments, steps)).map(|grid| (grid.window, grid.strides));
        assert_eq!(window(&places(3, 3, 16 * 720, 720), [16 * 720, 720]), Some(([3, 3], [1, 1])));
        assert_eq!(window(&places(5, 3, 30 * 720, 720), [60 * 720, 1440]), Some(([5, 3], [2, 2])));
        assert_eq!(window(&places(1, 3, 0, 240), [14 * 240, 240]), Some(([1, 3], [1, 1])));
        assert_eq!(window(&places(3, 3, 32 * 720, 1440), [16 * 720, 720]), None, "dilated");
        assert_eq!(window(&[0, 720, 1440, 5000, 5720], [5000, 720]), None, "a place is missing");
        assert_eq!(window(&[0], [720, 720]), None);
        assert_eq!(window(&[0, 0], [720, 720]), None);
        assert_eq!(window(&places(9, 9, 30 * 720, 720), [30 * 720, 720]), None, "many places");
    }

    #[test]
    fn pixels_are_staged_where_that_is_less_work() {
        let segments: Vec<usize> = (0..9).map(|i| i / 3 * 16 * 720 + i % 3 * 720).collect();
        let source = source(&segments, [16 * 720, 720]);
        let staging = Staging::of(&source, &(0..196), 8).expect("pays");
        assert_eq!(staging.bytes(), 16 * 16 * 128);
        assert_eq!(Staging::of(&source, &(14..42), 8).expect("pays").bytes(), 4 * 16 * 128);
        assert!(Staging::of(&source, &(190..200), 8).is_none(), "of two images");
        assert!(Staging::of(&source, &(0..14), 1).is_none(), "few rows by few channels");
        for (from, to) in [(0, 196), (3, 190), (13, 15), (0, 1), (182, 196)] {
            let part = Staging::of(&source, &(from..to), 8).map_or(0, |staging| staging.bytes());
            assert!(part <= scratch(&source, &(0..to - from)), "{from}..{to}");
        }
    }
}
