//! Where samples come from: `.npz` archives, images, random numbers. What is wrong with them is in [`error`].

pub mod error;
pub mod npz;

use std::io::Read;
use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use quaver_core::graph::{Dim, Graph, Sizes};
use quaver_core::tensor::{DType, element_count};
use serde::{Deserialize, Serialize};

use super::{CalibrateError, HostTensor, Sample};
pub use error::DataError;
use npz::Npz;

/// An array as a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Real numbers; f64 is rounded to f32.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
    /// Integers of 8 (signed), 32 and 64 bits.
    I64(Vec<i64>),
}

impl Array {
    /// The elements as f32.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Array::F32(v) => v,
            Array::U8(v) => v.into_iter().map(f32::from).collect(),
            Array::I64(v) => v.into_iter().map(|x| x as f32).collect(),
        }
    }
}

/// Reads one `.npy` array with its shape.
///
/// # Errors
/// [`DataError`] for element types and orders that are not supported, and truncated data.
pub fn read_array<R: Read>(file: npyz::NpyFile<R>, name: &str) -> Result<(Vec<usize>, Array), DataError> {
    let shape: Vec<usize> = file.shape().iter().map(|&d| d as usize).collect();
    if file.order() != npyz::Order::C && shape.len() > 1 {
        return Err(DataError::Order { name: name.to_owned() });
    }
    let dtype = file.dtype().descr();
    let io = |source| DataError::Io { path: name.to_owned(), source };
    // What a header claims isn't allocated before it is read: the elements come one by one.
    let array = match dtype.trim_matches(['\'', '"']).trim_start_matches(['<', '|', '=']) {
        "f4" => Array::F32(file.into_vec().map_err(io)?),
        "f8" => Array::F32(file.into_vec::<f64>().map_err(io)?.into_iter().map(|x| x as f32).collect()),
        "u1" => Array::U8(file.into_vec().map_err(io)?),
        "b1" => Array::U8(file.into_vec::<bool>().map_err(io)?.into_iter().map(u8::from).collect()),
        "i1" => Array::I64(file.into_vec::<i8>().map_err(io)?.into_iter().map(i64::from).collect()),
        "i4" => Array::I64(file.into_vec::<i32>().map_err(io)?.into_iter().map(i64::from).collect()),
        "i8" => Array::I64(file.into_vec().map_err(io)?),
        _ => return Err(DataError::ElementType { name: name.to_owned(), dtype }),
    };
    Ok((shape, array))
}

/// How an image becomes a network's input: value = (pixel · scale − mean) / std, for each channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageOptions {
    /// Columns and rows; the input's own where it says.
    pub size: Option<(u32, u32)>,
    /// Subtracted, in units of the scaled pixel, in the order of the channels as the network sees them.
    pub mean: [f32; 3],
    /// What the difference is divided by.
    pub std: [f32; 3],
    /// What a pixel of 0 to 255 is multiplied by.
    pub scale: f32,
    /// Channels in the order blue, green, red.
    pub bgr: bool,
    /// Squeezed to size instead of cropped: without it, the shorter side is brought to 256/224 of the size, and the
    /// middle is cut out.
    pub stretch: bool,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self { size: None, mean: [0.0; 3], std: [1.0; 3], scale: 1.0 / 255.0, bgr: false, stretch: false }
    }
}

/// Where an image's extents stand in an input's shape.
#[derive(Debug, Clone, Copy)]
struct ImageLayout {
    channels: usize,
    channels_last: bool,
    size: (u32, u32),
}

/// Samples that are read one at a time.
#[derive(Debug)]
pub struct Samples {
    source: Source,
    len: usize,
}

#[derive(Debug)]
enum Source {
    /// Arrays, each with how many of its rows are a sample.
    Arrays(Vec<(HostTensor, usize)>),
    /// A feed each.
    Archives {
        files: Vec<PathBuf>,
        graph: Box<Graph>,
    },
    Images {
        files: Vec<PathBuf>,
        layout: ImageLayout,
        options: ImageOptions,
    },
    Random {
        inputs: Vec<(Vec<usize>, DType)>,
    },
    Given(Vec<Sample>),
}

impl Samples {
    /// Samples of an `.npz` archive: one array for each input, samples along the first axis. A single array may have any
    /// name where there is a single input. Of a network whose first extent is a number, as many rows are run together; rows that
    /// are left over are not used.
    ///
    /// # Errors
    /// [`DataError`] where arrays are missing or don't fit the inputs.
    pub fn from_npz(path: &Path, graph: &Graph) -> Result<Self, DataError> {
        let mut tensors = Vec::new();
        for (input, (name, shape, array)) in graph.inputs.iter().zip(read_npz(path, graph)?) {
            let value = graph.value(*input);
            let sample = &value.shape[1.min(value.shape.len())..];
            let fits = shape.len() == value.shape.len() && shape[1..].iter().zip(sample).all(|(&n, d)| d.fixed().is_none_or(|d| d == n));
            if !fits || element_count(&shape).is_none() {
                let expected = quaver_core::graph::dim::display(sample);
                return Err(DataError::Shape { name, got: shape, input: value.name.clone(), expected });
            }
            let rows = value.shape.first().and_then(Dim::fixed).unwrap_or(1).max(1);
            tensors.push((HostTensor { shape, data: array.into_f32() }, rows));
        }
        let counts: Vec<usize> = tensors.iter().map(|(t, rows)| t.shape[0] / rows).collect();
        if counts.windows(2).any(|w| w[0] != w[1]) {
            return Err(DataError::Counts { counts });
        }
        Ok(Self { len: counts.first().copied().unwrap_or(0), source: Source::Arrays(tensors) })
    }

    /// Every `.npz` archive of a folder, in the order of the names: a feed each, whose arrays are the inputs as they are, with
    /// their first axis. So samples may differ in size, and states and sequences in length.
    ///
    /// # Errors
    /// [`DataError`] where the folder can't be read or has none. An archive that doesn't fit is told when it is read.
    pub fn from_archives(folder: &Path, graph: &Graph) -> Result<Self, DataError> {
        let files = files_of(folder, &["npz"])?;
        if files.is_empty() {
            return Err(DataError::NoArchives { path: folder.display().to_string() });
        }
        Ok(Self { len: files.len(), source: Source::Archives { files, graph: Box::new(graph.clone()) } })
    }

    /// Every image of a folder, in the order of the names, as the network's only input.
    ///
    /// # Errors
    /// [`DataError`] where the folder can't be read or the input is no image.
    pub fn from_images(folder: &Path, graph: &Graph, options: &ImageOptions) -> Result<Self, DataError> {
        let files = files_of(folder, &["jpg", "jpeg", "png", "webp", "bmp", "gif"])?;
        if files.is_empty() {
            return Err(DataError::NoImages { path: folder.display().to_string() });
        }
        let layout = image_layout(graph, options)?;
        Ok(Self { len: files.len(), source: Source::Images { files, layout, options: options.clone() } })
    }

    /// Standard normal numbers, the same on every machine. What the graph leaves open is as small as it can be, of some sizes: 64, and
    /// more where no run can have so few, as of a waveform.
    pub fn random(count: usize, graph: &Graph) -> Self {
        const OPEN: [usize; 5] = [64, 256, 1024, 4096, 16384];
        let shapes = |open: usize| {
            let extent = |dim: &Dim| if dim.is_open() { open } else { dim.about() };
            graph.inputs.iter().map(|&id| graph.value(id).shape.iter().map(extent).collect()).collect::<Vec<Vec<usize>>>()
        };
        let runs = |shapes: &Vec<Vec<usize>>| {
            let mut sizes = Sizes::default();
            let fits = graph.inputs.iter().zip(shapes).all(|(&id, shape)| sizes.learn(&graph.value(id).shape, shape));
            fits && graph.fixed(&sizes).is_ok()
        };
        let chosen = if graph.is_open() { OPEN.into_iter().map(shapes).find(runs) } else { None };
        let dtypes = graph.inputs.iter().map(|&id| graph.value(id).dtype);
        let inputs = chosen.unwrap_or_else(|| shapes(OPEN[0])).into_iter().zip(dtypes).collect();
        Self { len: count, source: Source::Random { inputs } }
    }

    /// Samples that are in memory already.
    pub fn given(samples: Vec<Sample>) -> Self {
        Self { len: samples.len(), source: Source::Given(samples) }
    }

    /// At most `count` of them, evenly spread, in memory.
    ///
    /// # Errors
    /// [`DataError`] where an image can't be read.
    pub fn spread(&self, count: usize) -> Result<Vec<Sample>, DataError> {
        let count = count.min(self.len);
        (0..count).map(|i| self.get(i * self.len / count)).collect()
    }

    /// At most the first `count`.
    pub fn limit(mut self, count: usize) -> Self {
        self.len = self.len.min(count);
        self
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sample `i`: a batch of one, or of as many as the network always has.
    ///
    /// # Errors
    /// [`DataError`] where an image can't be read.
    pub fn get(&self, i: usize) -> Result<Sample, DataError> {
        match &self.source {
            Source::Arrays(tensors) => Ok(tensors.iter().map(|(t, rows)| part(t, i, *rows)).collect()),
            Source::Archives { files, graph } => feed(&files[i], graph),
            Source::Images { files, layout, options } => Ok(vec![image_tensor(&files[i], *layout, options)?]),
            Source::Given(samples) => Ok(samples[i].clone()),
            Source::Random { inputs } => {
                let mut rng = Normal(0x5EED ^ ((i as u64 + 1) << 20));
                let tensor = |(shape, dtype): &(Vec<usize>, DType)| {
                    // Of whole numbers, those that are valid as almost any index or mask.
                    let mut next = || if *dtype == DType::I64 { f32::from(u8::from(rng.next() > -1.0)) } else { rng.next() };
                    let data = (0..element_count(shape).unwrap_or(0)).map(|_| next()).collect();
                    HostTensor { shape: shape.clone(), data }
                };
                Ok(inputs.iter().map(tensor).collect())
            }
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Sample, CalibrateError>> + '_ {
        (0..self.len).map(|i| self.get(i).map_err(CalibrateError::from))
    }
}

/// The files of a folder that end so, in the order of their names.
fn files_of(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if extensions.contains(&extension.as_str()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The arrays of an archive as one sample.
fn feed(path: &Path, graph: &Graph) -> Result<Sample, DataError> {
    let mut tensors = Vec::new();
    for (&input, (name, shape, array)) in graph.inputs.iter().zip(read_npz(path, graph)?) {
        let value = graph.value(input);
        let fits = shape.len() == value.shape.len() && shape.iter().zip(&value.shape).all(|(&n, d)| d.fixed().is_none_or(|d| d == n));
        if !fits || element_count(&shape).is_none_or(|n| n == 0) {
            let expected = quaver_core::graph::dim::display(&value.shape);
            return Err(DataError::Feed { path: path.display().to_string(), name, got: shape, expected });
        }
        tensors.push(HostTensor { shape, data: array.into_f32() });
    }
    Ok(tensors)
}

/// The arrays of an archive in the order of the graph's inputs, with their names and shapes.
///
/// # Errors
/// [`DataError`] where one is missing or cannot be read.
pub fn read_npz(path: &Path, graph: &Graph) -> Result<Vec<(String, Vec<usize>, Array)>, DataError> {
    let io = |source| DataError::Io { path: path.display().to_string(), source };
    let mut archive = Npz::open(path).map_err(io)?;
    let names = archive.names();
    let mut arrays = Vec::new();
    for &input in &graph.inputs {
        let wanted = &graph.value(input).name;
        let name = match &names[..] {
            [only] if graph.inputs.len() == 1 => only,
            _ => wanted,
        };
        if !names.contains(name) {
            return Err(DataError::Missing { path: path.display().to_string(), input: wanted.clone(), found: names.join(", ") });
        }
        let (shape, array) = read_array(archive.array(name).map_err(io)?, name)?;
        arrays.push((name.clone(), shape, array));
    }
    Ok(arrays)
}

/// The elements of one array of an archive.
///
/// # Errors
/// [`DataError`] where it is missing or cannot be read.
pub fn read_npz_array(path: &Path, name: &str) -> Result<Vec<f32>, DataError> {
    let io = |source| DataError::Io { path: path.display().to_string(), source };
    let mut archive = Npz::open(path).map_err(io)?;
    let names = archive.names();
    if !names.iter().any(|found| found == name) {
        return Err(DataError::Missing { path: path.display().to_string(), input: name.to_owned(), found: names.join(", ") });
    }
    Ok(read_array(archive.array(name).map_err(io)?, name)?.1.into_f32())
}

/// One image as the input of `graph`, batch 1.
///
/// # Errors
/// [`DataError`] where the file is no image, or the graph takes none.
pub fn image_sample(path: &Path, graph: &Graph, options: &ImageOptions) -> Result<HostTensor, DataError> {
    image_tensor(path, image_layout(graph, options)?, options)
}

/// So many rows of a tensor, behind `i` times as many.
fn part(tensor: &HostTensor, i: usize, rows: usize) -> HostTensor {
    let size = tensor.data.len() / tensor.shape[0].max(1) * rows;
    let mut shape = tensor.shape.clone();
    shape[0] = rows;
    HostTensor { shape, data: tensor.data[i * size..(i + 1) * size].to_vec() }
}

fn image_layout(graph: &Graph, options: &ImageOptions) -> Result<ImageLayout, DataError> {
    let value = graph.inputs.first().map(|&id| graph.value(id));
    let refuse = || DataError::NotAnImageInput {
        input: value.map(|v| v.name.clone()).unwrap_or_default(),
        shape: value.map(|v| quaver_core::graph::dim::display(&v.shape)).unwrap_or_default(),
    };
    let fixed: Vec<usize> = value.map(|v| v.shape.iter().skip(1).filter_map(|d| d.fixed()).collect()).unwrap_or_default();
    let [a, b, c] = fixed[..] else { return Err(refuse()) };
    if graph.inputs.len() != 1 {
        return Err(refuse());
    }
    let (channels, channels_last, h, w) = match (a, c) {
        (1 | 3, _) => (a, false, b, c),
        (_, 1 | 3) => (c, true, a, b),
        _ => return Err(refuse()),
    };
    let size = (u32::try_from(w).map_err(|_| refuse())?, u32::try_from(h).map_err(|_| refuse())?);
    if options.size.is_some_and(|s| s != size) {
        return Err(refuse());
    }
    Ok(ImageLayout { channels, channels_last, size })
}

fn image_tensor(path: &Path, layout: ImageLayout, options: &ImageOptions) -> Result<HostTensor, DataError> {
    let broken = |source| DataError::NotAnImage { path: path.display().to_string(), source };
    let io = |source| DataError::Io { path: path.display().to_string(), source };
    let reader = image::ImageReader::open(path).map_err(io)?.with_guessed_format().map_err(io)?;
    let picture = reader.decode().map_err(broken)?;
    let (w, h) = layout.size;
    let picture = if options.stretch {
        picture.resize_exact(w, h, FilterType::Triangle)
    } else {
        // The shorter side to 256/224 of the size, then the middle.
        let scale = (f64::from(w) / f64::from(picture.width())).max(f64::from(h) / f64::from(picture.height())) * 256.0 / 224.0;
        let grown = |n: u32, least: u32| ((f64::from(n) * scale).round() as u32).max(least);
        let picture = picture.resize_exact(grown(picture.width(), w), grown(picture.height(), h), FilterType::Triangle);
        picture.crop_imm((picture.width() - w) / 2, (picture.height() - h) / 2, w, h)
    };
    let picture = picture.into_rgb8();
    // In integers, which every machine rounds alike.
    let bytes = if layout.channels == 1 { imageops::grayscale(&picture).into_raw() } else { picture.into_raw() };
    let area = (w * h) as usize;
    let mut data = vec![0f32; bytes.len()];
    for (i, &byte) in bytes.iter().enumerate() {
        let (pixel, channel) = (i / layout.channels, i % layout.channels);
        let channel = if options.bgr { layout.channels - 1 - channel } else { channel };
        let at = if layout.channels_last { pixel * layout.channels + channel } else { channel * area + pixel };
        data[at] = (f32::from(byte) * options.scale - options.mean[channel]) / options.std[channel];
    }
    let (w, h) = (w as usize, h as usize);
    let shape = if layout.channels_last { vec![1, h, w, layout.channels] } else { vec![1, layout.channels, h, w] };
    Ok(HostTensor { shape, data })
}

/// Standard normal numbers: the sum of twelve uniform ones from SplitMix64, less six.
struct Normal(u64);

impl Normal {
    fn next(&mut self) -> f32 {
        let mut uniform = || {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..12).map(|_| uniform()).sum::<f32>() - 6.0
    }
}

#[cfg(test)]
mod tests;
