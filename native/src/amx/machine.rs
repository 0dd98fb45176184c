//! What AMX can do, as a trait: eight tiles of up to 16 rows × 64 bytes, and the product of two added to a third.
//!
//! [`super::hardware`] does it by instructions, [`super::soft`] by loops that also find misuse; so the driver's blocking and
//! gathering are tested where no AMX exists. Tiles are numbered at compile time, as in the instructions. What goes in and out
//! is covered by slices, and every implementation checks that they are long enough: no method is `unsafe`.

/// Tiles of a machine.
pub const TILES: usize = 8;
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

/// Rows of activations, checked once for all tiles that are loaded from them.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    bytes: &'a [u8],
    pitch: usize,
    shape: Shape,
    /// The largest distance from the start at which a tile of the shape ends within the bytes.
    reach: usize,
}

impl<'a> Activations<'a> {
    /// Rows that are `pitch` bytes apart, for tiles of this shape.
    ///
    /// # Panics
    /// If the bytes end before the rows of a tile at the start do.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], pitch: usize, shape: Shape) -> Self {
        let span = shape.span(pitch, 1);
        assert!(span <= bytes.len(), "a tile reads behind its rows");
        Self { bytes, pitch, shape, reach: bytes.len() - span }
    }

    /// The bytes from a distance on, and the pitch of a tile of this shape there.
    #[inline(always)]
    pub(super) fn at(&self, distance: usize, shape: Shape) -> (&'a [u8], usize) {
        assert!(distance <= self.reach && shape == self.shape, "a tile reads behind its rows");
        (&self.bytes[distance..], self.pitch)
    }
}

/// Eight tiles in a configuration. Dropping it gives them back.
///
/// C += A·B takes A as rows of u8, B as the file has weights: a row of it is four values of K for each of 16 channels.
/// So A's rows have four bytes for each row of B, C has A's rows, and B's row is as long as C's.
pub trait TileMachine: Sized {
    /// What shows that there is such a machine.
    type Proof: Copy;

    /// The tiles of this thread, with these extents and all zero.
    fn configure(proof: Self::Proof, shapes: [Shape; TILES]) -> Self;

    /// Tile `T` from a distance on of its rows.
    fn load_a<const T: u8>(&mut self, rows: &Activations<'_>, distance: usize);

    /// Tile `T` from consecutive rows of packed weights, of which it begins with row `first`.
    fn load_b<const T: u8>(&mut self, rows: &[[i8; BYTES]], first: usize);

    /// Every row of tile `T`, whose rows have 64 bytes.
    fn fill<const T: u8>(&mut self, row: &[i32; BYTES / 4]);

    /// Tile `C` += tile `A` · tile `B`, wrapping: products of u8 and i8 are added in i32.
    fn dot<const C: u8, const A: u8, const B: u8>(&mut self);

    /// Tile `T` to rows `pitch` integers apart.
    fn store<const T: u8>(&mut self, to: &mut [i32], pitch: usize);
}
