//! From a JPEG or PNG file to an input, by the steps of `quaver classify`.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};
use quaver_core::tensor::{AlignedBytes, DType};
use quaver_wasm::image::{Channels, Element, Filter, Fit, ImageOptions, Layout, of_picture};
use serde::Deserialize;

use crate::{Description, ProtocolError};

/// Most pixels of a photo.
pub const MAX_PIXELS: u64 = 1 << 24;

/// How a photo becomes an input, as a file records it: value = (pixel · scale − mean) / std.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Preprocessing {
    /// Subtracted, for each channel as the network sees it.
    pub mean: [f32; 3],
    /// What the difference is divided by.
    pub std: [f32; 3],
    /// What a pixel of 0 to 255 is multiplied by.
    pub scale: f32,
    /// Blue, green, red.
    pub bgr: bool,
    /// Squeezed instead of cropped.
    pub stretch: bool,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self { mean: [0.0; 3], std: [1.0; 3], scale: 1.0 / 255.0, bgr: false, stretch: false }
    }
}

/// A photo's file as the one input of a model: extents and elements.
///
/// # Errors
/// [`ProtocolError`], where the file is no photo, is too large, or the model takes none.
pub fn input(description: &Description, file: &[u8]) -> Result<(Vec<usize>, AlignedBytes), ProtocolError> {
    let (options, shape) = options(description)?;
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(image::ImageError::IoError)?;
    let format = reader.format().filter(|format| matches!(format, ImageFormat::Jpeg | ImageFormat::Png));
    let Some(format) = format else {
        return Err(ProtocolError::ContentType { got: "of another kind".to_owned(), expected: "a JPEG or PNG file" });
    };
    // Asked before anything is decoded, so that a small file can't ask for much memory.
    let (width, height) = ImageReader::with_format(Cursor::new(file), format).into_dimensions()?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ProtocolError::Pixels { width, height, limit: MAX_PIXELS });
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    Ok((shape, of_picture(reader.decode()?.into_rgb8(), &options)?))
}

/// How a photo becomes the model's input, and that input's extents.
fn options(description: &Description) -> Result<(ImageOptions, Vec<usize>), ProtocolError> {
    let refused = |why: &str| ProtocolError::NoPhoto { why: why.to_owned() };
    let [input] = &description.inputs[..] else { return Err(refused("it has several inputs, or none")) };
    let fixed: Vec<usize> = input.shape.iter().skip(1).filter_map(|dim| dim.fixed()).collect();
    let ([a, b, c], 4) = (&fixed[..], input.shape.len()) else {
        return Err(refused("its input has no rows, columns and channels of fixed extents"));
    };
    let (channels, layout, height, width) = match (*a, *c) {
        (1 | 3, _) => (*a, Layout::Nchw, *b, *c),
        (_, 1 | 3) => (*c, Layout::Nhwc, *a, *b),
        _ => return Err(refused("its input has neither one channel nor three")),
    };
    let element = match input.dtype {
        DType::F32 => Element::Float32,
        DType::U8 => Element::Uint8,
        _ => return Err(refused("its input is neither FP32 nor UINT8")),
    };
    let Preprocessing { mean, std, scale, bgr, stretch } = description.preprocessing;
    if !std.iter().all(|std| std.is_normal()) {
        return Err(refused("what its file says of preprocessing can't be computed"));
    }
    let [width, height] = [width, height].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let options = ImageOptions {
        width,
        height,
        mean,
        std,
        scale,
        fit: if stretch { Fit::Stretch } else { Fit::Crop },
        filter: Filter::Bilinear,
        background: [0; 3],
        channels: match (channels, bgr) {
            (1, _) => Channels::Gray,
            (_, true) => Channels::Bgr,
            (_, false) => Channels::Rgb,
        },
        layout,
        element,
    };
    let shape = [1].into_iter().chain(fixed).collect();
    Ok((options, shape))
}
