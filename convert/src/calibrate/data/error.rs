//! What is wrong with samples.

use thiserror::Error;

/// Why samples cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder.
    #[error("cannot read '{path}': {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// An array of a type that stands for no number here.
    #[error("'{name}' holds elements of type {dtype}; f32, f64, u8, i8, i32 and i64 can be read")]
    ElementType {
        /// The array.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// An array in Fortran order.
    #[error("'{name}' is in Fortran order; save it with numpy.ascontiguousarray")]
    Order {
        /// The array.
        name: String,
    },
    /// An archive without an array for an input.
    #[error("'{path}' has no array '{input}'; it has {found}. Name each array as the network's input")]
    Missing {
        /// The archive.
        path: String,
        /// The input.
        input: String,
        /// What there is.
        found: String,
    },
    /// An array of the wrong shape.
    #[error("array '{name}' has shape {got:?}, but input '{input}' takes samples of shape {expected} along the first axis")]
    Shape {
        /// The array.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The input.
        input: String,
        /// The input's shape.
        expected: String,
    },
    /// An array of the wrong shape in an archive that is a sample.
    #[error("array '{name}' of '{path}' has shape {got:?}, but the input has shape {expected}")]
    Feed {
        /// The archive.
        path: String,
        /// The array.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The input's shape.
        expected: String,
    },
    /// A folder without archives.
    #[error("'{path}' holds no .npz file")]
    NoArchives {
        /// The folder.
        path: String,
    },
    /// Inputs with different numbers of samples.
    #[error("the arrays hold different numbers of samples: {counts:?}")]
    Counts {
        /// Samples of each.
        counts: Vec<usize>,
    },
    /// A file that is no image.
    #[error("'{path}' is not an image that can be read: {source}")]
    NotAnImage {
        /// The file.
        path: String,
        /// Why.
        source: image::ImageError,
    },
    /// A folder without images.
    #[error("'{path}' holds no .jpg, .jpeg, .png, .webp, .bmp or .gif file")]
    NoImages {
        /// The folder.
        path: String,
    },
    /// An input that no image fits.
    #[error(
        "input '{input}' has shape {shape}, which is no image; it should be [N,3,H,W], [N,1,H,W] or [N,H,W,3] (give samples as .npz instead)"
    )]
    NotAnImageInput {
        /// The input.
        input: String,
        /// Its shape.
        shape: String,
    },
}
