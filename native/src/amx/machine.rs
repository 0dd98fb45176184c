//! What AMX can do, as a trait: tiles of up to 16 rows × 64 bytes, and products of two of them added to a third.
//!
//! [`super::hardware`] does it by instructions, [`super::soft`] by loops that also find misuse; so the driver's blocking and
//! gathering are tested where no AMX exists. What goes in and out is covered by slices, and every implementation checks that they
//! are long enough: no method is `unsafe`.
//!
//! There are two tiles of sums, one of activations and one of weights: half of what the processor has. It renames tiles, out of few
//! more than it shows, and while a program runs on the other thread of its core, out of half of those: where all eight hold
//! something, each load and each product waits for one before it to end, which takes twice the time. Tiles that were never
//! written take no place.

/// Tiles of sums.
pub const SUMS: usize = 2;
/// Most rows of a tile.
pub const ROWS: usize = 16;
/// Most bytes of a tile's row.
pub const BYTES: usize = 64;

/// Extents of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    rows: u8,
    bytes: u8,
}

impl Shape {
    /// Rows and bytes of a row, neither zero and not above 16 and 64: the processor takes no others.
    pub fn new(rows: usize, bytes: usize) -> Self {
        assert!((1..=ROWS).contains(&rows) && (1..=BYTES).contains(&bytes), "no tile is {rows} × {bytes} bytes");
        Self { rows: rows as u8, bytes: bytes as u8 }
    }

    /// Rows.
    #[inline(always)]
    pub fn rows(self) -> usize {
        usize::from(self.rows)
    }

    /// Bytes of a row.
    #[inline(always)]
    pub fn bytes(self) -> usize {
        usize::from(self.bytes)
    }

    /// Elements of `size` bytes that a tile spans in memory, where its rows are `pitch` elements apart.
    #[inline(always)]
    pub(super) fn span(self, pitch: usize, size: usize) -> usize {
        (self.rows() - 1).saturating_mul(pitch).saturating_add(self.bytes() / size)
    }
}

/// Extents of the tiles, which make them fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extents {
    /// Rows of activations and of sums.
    pub rows: usize,
    /// Rows of weights; of activations, quads of a row.
    pub quads: usize,
}

impl Extents {
    /// Those of a tile of sums.
    pub fn sums(self) -> Shape {
        Shape::new(self.rows, BYTES)
    }

    /// Those of a tile of activations.
    pub fn activations(self) -> Shape {
        Shape::new(self.rows, self.quads * 4)
    }

    /// Those of a tile of weights.
    pub fn weights(self) -> Shape {
        Shape::new(self.quads, BYTES)
    }
}

/// Activations of a tile's rows, a pitch apart, from the first row's first one on.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// From one row to the next.
    pub pitch: usize,
}

/// Tiles in a configuration. Dropping it gives them back.
///
/// C += A·B takes A as rows of u8, B as the file has weights: a row of it is four values of K for each of 16 channels.
/// So A's rows have four bytes for each row of B, C has A's rows, and B's row is as long as C's.
pub trait TileMachine: Sized {
    /// What shows that there is such a machine.
    type Proof: Copy;

    /// The tiles of this thread, with these extents.
    fn configure(proof: Self::Proof, extents: Extents) -> Self;

    /// Zeroes the sums.
    fn zero(&mut self);

    /// Adds the products of `MT` tiles of activations by `NB` of weights, which are at most two, over `steps` steps: the first
    /// tile of sums is the first one's. A step takes 64 bytes of each row of activations, and 16 rows of weights.
    ///
    /// Of two, the side of which there is one is the one that passes by; the other one is needed again soon.
    fn multiply<const MT: usize, const NB: usize>(&mut self, a: [Lines<'_>; MT], b: [&[[i8; BYTES]]; NB], steps: usize);

    /// Tile `T` of sums to rows `pitch` integers apart.
    fn store<const T: u8>(&mut self, to: &mut [i32], pitch: usize);
}
