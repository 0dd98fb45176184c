//! Fashion-MNIST: the images that come along, and the data set's own files.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Rows and columns of an image.
pub const EDGE: usize = 28;

const TEST: &[u8] = include_bytes!("../../assets/fashion-test.png");
const TEST_LABELS: &str = include_str!("../../assets/fashion-test-labels.txt");
const CALIBRATION: &[u8] = include_bytes!("../../assets/fashion-calibration.png");

/// Grey images and their classes.
#[derive(Debug)]
pub struct Images {
    bytes: Vec<u8>,
    /// The classes, 0 to 9; empty for calibration images.
    pub labels: Vec<u8>,
}

impl Images {
    /// The test images that come along: the first of the data set's.
    pub fn test() -> Result<Self> {
        let labels = TEST_LABELS.split_whitespace().map(str::parse).collect::<Result<Vec<u8>, _>>()?;
        let bytes = mosaic(TEST)?;
        ensure!(bytes.len() == labels.len() * EDGE * EDGE, "the test images and their labels differ in number");
        Ok(Self { bytes, labels })
    }

    /// Training images for calibration.
    pub fn calibration() -> Result<Self> {
        Ok(Self { bytes: mosaic(CALIBRATION)?, labels: Vec::new() })
    }

    /// The data set's own test files, gzipped or not, in `folder`.
    pub fn from_idx(folder: &Path) -> Result<Self> {
        let bytes = idx(folder, "t10k-images-idx3-ubyte", 16)?;
        let labels = idx(folder, "t10k-labels-idx1-ubyte", 8)?;
        ensure!(
            !labels.is_empty() && bytes.len() == labels.len() * EDGE * EDGE,
            "the idx files in '{}' don't fit together",
            folder.display()
        );
        Ok(Self { bytes, labels })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.bytes.len() / (EDGE * EDGE)
    }

    /// Pixels of a range of images, 0 to 1.
    pub fn pixels(&self, range: Range<usize>) -> Vec<f32> {
        self.bytes[range.start * EDGE * EDGE..range.end * EDGE * EDGE].iter().map(|&b| f32::from(b) / 255.0).collect()
    }
}

/// The tiles of a picture, row by row.
fn mosaic(png: &[u8]) -> Result<Vec<u8>> {
    let picture = image::load_from_memory(png)?.into_luma8();
    let (columns, rows) = (picture.width() as usize / EDGE, picture.height() as usize / EDGE);
    let mut bytes = Vec::with_capacity(columns * rows * EDGE * EDGE);
    for tile in 0..columns * rows {
        for y in 0..EDGE {
            let start = ((tile / columns * EDGE + y) * columns + tile % columns) * EDGE;
            bytes.extend_from_slice(&picture.as_raw()[start..start + EDGE]);
        }
    }
    Ok(bytes)
}

fn idx(folder: &Path, name: &str, header: usize) -> Result<Vec<u8>> {
    let plain = folder.join(name);
    let zipped = folder.join(format!("{name}.gz"));
    let mut bytes = Vec::new();
    if plain.exists() {
        bytes = std::fs::read(&plain).with_context(|| format!("cannot read '{}'", plain.display()))?;
    } else {
        let hint = || format!("'{}' is needed; Debian's package dataset-fashion-mnist has it", zipped.display());
        let file = std::fs::File::open(&zipped).with_context(hint)?;
        flate2::read::GzDecoder::new(file).take(1 << 26).read_to_end(&mut bytes).with_context(hint)?;
    }
    ensure!(bytes.len() >= header, "'{name}' is too short for an idx file");
    Ok(bytes.split_off(header))
}
