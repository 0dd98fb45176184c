//! Fashion-MNIST: idx files, augmentation, and the mosaics of images that come along with the demo.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Rows and columns of an image.
pub const EDGE: usize = 28;
const AREA: usize = EDGE * EDGE;

/// Labelled grey images.
pub struct Images {
    /// Row by row, image by image.
    pub pixels: Vec<u8>,
    /// 0 to 9.
    pub labels: Vec<u8>,
}

impl Images {
    /// Reads `NAME-images-idx3-ubyte.gz` and `NAME-labels-idx1-ubyte.gz`.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        let pixels = idx(&folder.join(format!("{name}-images-idx3-ubyte.gz")), 16)?;
        let labels = idx(&folder.join(format!("{name}-labels-idx1-ubyte.gz")), 8)?;
        ensure!(pixels.len() == labels.len() * AREA, "images and labels of '{name}' differ in number");
        Ok(Self { pixels, labels })
    }

    /// Image `i` in 0..1.
    pub fn plain(&self, i: usize) -> impl Iterator<Item = f32> + '_ {
        self.pixels[i * AREA..(i + 1) * AREA].iter().map(|&p| f32::from(p) / 255.0)
    }

    /// Image `i`, mirrored at random and shifted by up to one pixel.
    pub fn augmented(&self, i: usize, rng: &mut fastrand::Rng) -> impl Iterator<Item = f32> + '_ {
        let (dx, dy, mirror) = (rng.i32(-1..=1), rng.i32(-1..=1), rng.bool());
        let image = &self.pixels[i * AREA..(i + 1) * AREA];
        (0..AREA as i32).map(move |p| {
            let (y, x) = (p / EDGE as i32 + dy, p % EDGE as i32 + dx);
            let x = if mirror { EDGE as i32 - 1 - x } else { x };
            let inside = (0..EDGE as i32).contains(&x) && (0..EDGE as i32).contains(&y);
            if inside { f32::from(image[(y * EDGE as i32 + x) as usize]) / 255.0 } else { 0.0 }
        })
    }

    /// Writes the images `indices`, `columns` in a row, as one picture.
    pub fn mosaic(&self, indices: &[usize], columns: usize, path: &Path) -> Result<()> {
        let rows = indices.len() / columns;
        let mut picture = image::GrayImage::new((columns * EDGE) as u32, (rows * EDGE) as u32);
        for (tile, &i) in indices.iter().enumerate() {
            for p in 0..AREA {
                let (x, y) = (tile % columns * EDGE + p % EDGE, tile / columns * EDGE + p / EDGE);
                picture.put_pixel(x as u32, y as u32, image::Luma([self.pixels[i * AREA + p]]));
            }
        }
        picture.save(path).with_context(|| path.display().to_string())
    }
}

fn idx(path: &Path, header: usize) -> Result<Vec<u8>> {
    let hint = || format!("cannot read '{}'; Debian's package dataset-fashion-mnist has it", path.display());
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).with_context(hint)?).read_to_end(&mut bytes).with_context(hint)?;
    ensure!(bytes.len() >= header, "'{}' is too short for an idx file", path.display());
    Ok(bytes.split_off(header))
}
