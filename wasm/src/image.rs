//! From the pixels of a picture to a network's input: resized, laid out, normalised.
//!
//! The steps are those of `quaver_convert::calibrate::data`, in the same order and by the same library, so that a picture gives
//! here the bytes that it was calibrated with. Decoding files is the host's affair.

use ::image::imageops::{self, FilterType};
use ::image::{Rgb, RgbImage};
use quaver_core::json::{self, Json, Object, Read, Structure};
use quaver_core::tensor::AlignedBytes;
use thiserror::Error;

/// Most pixels of a picture, before and after resizing, and between its two steps.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Why a picture can't become an input.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The options are no JSON of [`ImageOptions`].
    #[error("the options of an image are not valid: {0}")]
    Options(#[from] json::Error),
    /// A number that no pixel can be computed with.
    #[error("an image's {name} should be {expected}")]
    Number {
        /// `std`.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The number of bytes.
    #[error("{width} x {height} pixels of 4 bytes are {expected} bytes, but {got} were given")]
    Bytes {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes of such a picture.
        expected: u64,
        /// Bytes given.
        got: usize,
    },
    /// No pixels, or too many.
    #[error("an image of {width} x {height} pixels can't be used: it should have between 1 and {MAX_PIXELS}")]
    Size {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The result doesn't fit into memory.
    #[error("{bytes} bytes for an image cannot be allocated; use a smaller one")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
}

/// How a picture becomes an input: value = (pixel · scale − mean) / std, for each channel as the network sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageOptions {
    /// Columns of the input.
    pub width: u32,
    /// Rows of the input.
    pub height: u32,
    /// Subtracted, in units of the scaled pixel.
    pub mean: [f32; 3],
    /// What the difference is divided by.
    pub std: [f32; 3],
    /// What a pixel of 0 to 255 is multiplied by.
    pub scale: f32,
    /// How the picture is brought to the input's extents.
    pub fit: Fit,
    /// Between which pixels a resized one lies.
    pub filter: Filter,
    /// Red, green and blue of what [`Fit::Contain`] leaves open.
    pub background: [u8; 3],
    /// The channels.
    pub channels: Channels,
    /// Their place.
    pub layout: Layout,
    /// The type of an element.
    pub element: Element,
}

/// How a picture is brought to the input's extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The shorter side to 256/224 of the input's, then the middle: how classifiers of photos are mostly evaluated.
    Crop,
    /// The shorter side to the input's, then the middle.
    Cover,
    /// All of it, in its proportions, in the middle of a background.
    Contain,
    /// Squeezed.
    Stretch,
}

/// How pixels are interpolated. Where a picture shrinks, all that lies under a pixel counts, except for the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linearly.
    Bilinear,
    /// By Catmull and Rom's cubic.
    Bicubic,
}

/// The channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Brightness alone.
    Gray,
}

/// Where channels lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One image a channel.
    Nchw,
    /// The channels of a pixel side by side.
    Nhwc,
}

/// The type of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Normalised.
    Float32,
    /// The pixel itself: `mean`, `std` and `scale` don't count.
    Uint8,
}

impl Structure for ImageOptions {
    fn take(object: &mut Object<'_>) -> Self {
        Self {
            width: object.take("width"),
            height: object.take("height"),
            mean: object.take("mean"),
            std: object.take("std"),
            scale: object.take("scale"),
            fit: object.take("fit"),
            filter: object.take("filter"),
            background: object.take("background"),
            channels: object.take("channels"),
            layout: object.take("layout"),
            element: object.take("type"),
        }
    }
}

/// Names of variants in JSON.
macro_rules! names {
    ($($of:ident { $($variant:ident = $name:literal),* })*) => {
        $(impl Read for $of {
            fn read(value: Json<'_>) -> Self {
                value.one_of(&[$(($name, Self::$variant)),*])
            }
        })*
    };
}

names! {
    Fit { Crop = "crop", Cover = "cover", Contain = "contain", Stretch = "stretch" }
    Filter { Nearest = "nearest", Bilinear = "bilinear", Bicubic = "bicubic" }
    Channels { Rgb = "RGB", Bgr = "BGR", Gray = "GRAY" }
    Layout { Nchw = "NCHW", Nhwc = "NHWC" }
    Element { Float32 = "float32", Uint8 = "uint8" }
}

impl ImageOptions {
    /// Reads and checks JSON, in which every field stands.
    ///
    /// # Errors
    /// [`ImageError::Options`]; [`ImageError::Number`]; [`ImageError::Size`].
    pub fn parse(text: &[u8]) -> Result<Self, ImageError> {
        let options: Self = json::from_slice(text)?;
        if !options.std.iter().all(|std| std.is_normal()) {
            return Err(ImageError::Number { name: "std", expected: "numbers other than 0" });
        }
        limit(options.width, options.height)?;
        Ok(options)
    }
}

/// The input's elements, little-endian, from rows of red, green, blue and alpha, which doesn't count.
///
/// # Errors
/// [`ImageError`], where the bytes are not as many as the extents say, or too many.
pub fn tensor(rgba: &[u8], (width, height): (u32, u32), options: &ImageOptions) -> Result<AlignedBytes, ImageError> {
    limit(width, height)?;
    let expected = u64::from(width) * u64::from(height) * 4;
    if rgba.len() as u64 != expected {
        return Err(ImageError::Bytes { width, height, expected, got: rgba.len() });
    }
    let rgb = rgba.as_chunks().0.iter().flat_map(|&[r, g, b, _]: &[u8; 4]| [r, g, b]).collect();
    let Some(picture) = RgbImage::from_raw(width, height, rgb) else { return Err(ImageError::Size { width, height }) };
    of_picture(picture, options)
}

/// The input's elements, little-endian, from a picture.
///
/// # Errors
/// [`ImageError`], where the picture has no pixels, or too many, also between the steps of resizing.
pub fn of_picture(picture: RgbImage, options: &ImageOptions) -> Result<AlignedBytes, ImageError> {
    limit(picture.width(), picture.height())?;
    limit(options.width, options.height)?;
    elements(&fitted(picture, options)?, options)
}

fn limit(width: u32, height: u32) -> Result<(), ImageError> {
    match u64::from(width) * u64::from(height) {
        1..=MAX_PIXELS => Ok(()),
        _ => Err(ImageError::Size { width, height }),
    }
}

/// The picture at the input's extents.
fn fitted(picture: RgbImage, options: &ImageOptions) -> Result<RgbImage, ImageError> {
    let (w, h) = (options.width, options.height);
    let (x, y) = (f64::from(w) / f64::from(picture.width()), f64::from(h) / f64::from(picture.height()));
    let scaled = |scale: f64, least: (u32, u32)| {
        let side = |n: u32, least: u32| ((f64::from(n) * scale).round() as u32).max(least);
        resize(&picture, (side(picture.width(), least.0), side(picture.height(), least.1)), options.filter)
    };
    let middle = |picture: RgbImage| {
        let (left, top) = ((picture.width() - w) / 2, (picture.height() - h) / 2);
        imageops::crop_imm(&picture, left, top, w, h).to_image()
    };
    match options.fit {
        Fit::Stretch => resize(&picture, (w, h), options.filter),
        Fit::Crop => scaled(x.max(y) * 256.0 / 224.0, (w, h)).map(middle),
        Fit::Cover => scaled(x.max(y), (w, h)).map(middle),
        Fit::Contain => {
            let inside = scaled(x.min(y), (1, 1))?;
            let mut whole = RgbImage::from_pixel(w, h, Rgb(options.background));
            let (left, top) = ((i64::from(w) - i64::from(inside.width())) / 2, (i64::from(h) - i64::from(inside.height())) / 2);
            imageops::replace(&mut whole, &inside, left, top);
            Ok(whole)
        }
    }
}

fn resize(picture: &RgbImage, (width, height): (u32, u32), filter: Filter) -> Result<RgbImage, ImageError> {
    limit(width, height)?;
    // The library resizes columns first.
    limit(picture.width(), height)?;
    let filter = match filter {
        Filter::Nearest => FilterType::Nearest,
        Filter::Bilinear => FilterType::Triangle,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    Ok(imageops::resize(picture, width, height, filter))
}

fn elements(picture: &RgbImage, options: &ImageOptions) -> Result<AlignedBytes, ImageError> {
    let gray;
    let (pixels, count) = match options.channels {
        Channels::Rgb | Channels::Bgr => (picture.as_raw(), 3),
        Channels::Gray => {
            gray = imageops::grayscale(picture);
            (gray.as_raw(), 1)
        }
    };
    let size = match options.element {
        Element::Float32 => size_of::<f32>(),
        Element::Uint8 => 1,
    };
    let bytes = pixels.len() * size;
    let mut out = AlignedBytes::zeroed(bytes).ok_or(ImageError::Memory { bytes })?;
    let area = pixels.len() / count;
    for channel in 0..count {
        let from = if options.channels == Channels::Bgr { count - 1 - channel } else { channel };
        let (first, step) = if options.layout == Layout::Nhwc { (channel, count) } else { (channel * area, 1) };
        let source = pixels.iter().skip(from).step_by(count);
        match options.element {
            Element::Uint8 => out.iter_mut().skip(first).step_by(step).zip(source).for_each(|(to, &pixel)| *to = pixel),
            Element::Float32 => {
                let (mean, std) = (options.mean[channel], options.std[channel]);
                // A pixel has 256 values, and a division costs more than reading one of them.
                let values: [[u8; 4]; 256] = std::array::from_fn(|pixel| ((pixel as f32 * options.scale - mean) / std).to_le_bytes());
                let (targets, _) = out.as_chunks_mut::<4>();
                targets.iter_mut().skip(first).step_by(step).zip(source).for_each(|(to, &pixel)| *to = values[usize::from(pixel)]);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut ImageOptions)) -> ImageOptions {
        let json = br#"{"width":2,"height":1,"mean":[0,0,0],"std":[1,1,1],"scale":1,"fit":"stretch","filter":"nearest",
            "background":[9,8,7],"channels":"RGB","layout":"NHWC","type":"uint8"}"#;
        let mut options = ImageOptions::parse(json).expect("valid");
        change(&mut options);
        options
    }

    /// Two pixels, in a row.
    const PAIR: [u8; 8] = [1, 2, 3, 255, 4, 5, 6, 0];

    #[test]
    fn channels_lie_as_asked() {
        let of = |change: fn(&mut ImageOptions)| tensor(&PAIR, (2, 1), &options(change)).expect("fits").to_vec();
        assert_eq!(of(|_| {}), [1, 2, 3, 4, 5, 6]);
        assert_eq!(of(|o| o.layout = Layout::Nchw), [1, 4, 2, 5, 3, 6]);
        assert_eq!(of(|o| o.channels = Channels::Bgr), [3, 2, 1, 6, 5, 4]);
        // (2126·4 + 7152·5 + 722·6) / 10000 = 4.86
        assert_eq!(of(|o| o.channels = Channels::Gray), [1, 4]);
    }

    #[test]
    fn values_are_scaled_by_channel() {
        let change = |o: &mut ImageOptions| {
            (o.element, o.channels, o.scale) = (Element::Float32, Channels::Bgr, 0.5);
            (o.mean, o.std) = ([1.0, 2.0, 3.0], [2.0, 4.0, 8.0]);
        };
        let out = tensor(&PAIR, (2, 1), &options(change)).expect("fits");
        let values: Vec<f32> = out.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        assert_eq!(values, [0.25, -0.25, -0.3125, 1.0, 0.125, -0.125]);
    }

    #[test]
    fn a_picture_is_fitted() {
        let wide: Vec<u8> = (0..4).flat_map(|x| [x * 10, 0, 0, 255]).collect();
        let red = |fit: Fit, (w, h): (u32, u32)| {
            let change = |o: &mut ImageOptions| (o.fit, o.width, o.height) = (fit, w, h);
            let out = tensor(&wide, (4, 1), &options(change)).expect("fits");
            out.iter().step_by(3).copied().collect::<Vec<u8>>()
        };
        assert_eq!(red(Fit::Cover, (2, 1)), [10, 20], "the middle");
        assert_eq!(red(Fit::Stretch, (2, 1)), [10, 30], "every second");
        assert_eq!(red(Fit::Contain, (4, 3)), [9, 9, 9, 9, 0, 10, 20, 30, 9, 9, 9, 9], "within the background");
        assert_eq!(red(Fit::Crop, (2, 2)).len(), 4);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |size, bytes: &[u8]| tensor(bytes, size, &options(|_| {})).expect_err("wrong");
        assert!(matches!(refused((2, 1), &PAIR[1..]), ImageError::Bytes { expected: 8, got: 7, .. }));
        assert!(matches!(refused((0, 1), &[]), ImageError::Size { .. }));
        assert!(matches!(refused((u32::MAX, u32::MAX), &PAIR), ImageError::Size { .. }));
        // The middle step would be too large, though both ends are small.
        let tall = options(|o| (o.width, o.height) = (1, 1 << 20));
        assert!(matches!(tensor(&[0; 4 << 10], (1 << 10, 1), &tall), Err(ImageError::Size { .. })));
        let json = |text: &str| ImageOptions::parse(text.as_bytes());
        assert!(matches!(json("{}"), Err(ImageError::Options(_))));
        let zero = r#"{"width":2,"height":1,"mean":[0,0,0],"std":[1,0,1],"scale":1,"fit":"stretch","filter":"nearest",
            "background":[0,0,0],"channels":"RGB","layout":"NHWC","type":"uint8"}"#;
        assert!(matches!(json(zero), Err(ImageError::Number { name: "std", .. })));
    }
}
