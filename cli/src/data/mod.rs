//! What the commands read: files, arrays, samples; and values of a quantized run as real numbers.

pub mod fashion;
pub mod images;
pub mod wasm;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use quaver::{DType, Model, Session, Tensor};
use quaver_convert::calibrate::data::{Array, Samples, read_array};
use quaver_convert::calibrate::{HostTensor, Sample};
use quaver_convert::import::ImportOptions;
use quaver_convert::report::NamedValues;
use quaver_core::exec::Executor;
use quaver_core::graph::{Constants, Dim, Graph, Network, Sizes, ValueId};
use quaver_core::plan::Plan;
use quaver_core::plan::arrange::samples_are_apart;
use quaver_core::reference::Reference;
use quaver_core::tensor::TensorView;

pub use images::ImageArgs;

/// What a file holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A quantized model.
    Qvr,
    /// A float model.
    Onnx,
    /// Neither.
    Other,
}

/// What a file holds.
pub fn kind(path: &Path) -> Kind {
    match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("qvr") => Kind::Qvr,
        Some("onnx") => Kind::Onnx,
        _ => Kind::Other,
    }
}

/// Bytes of a file.
pub fn file_size(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| format!("cannot read '{}'", path.display()))?.len())
}

/// Fails early where a file could not be written at the end of long work.
pub fn check_writable(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(!path.is_dir(), "'{}' is a folder; give the name of a file", path.display());
    tempfile::Builder::new()
        .prefix(".quaver-")
        .tempfile_in(folder)
        .with_context(|| format!("cannot write '{}'; choose a folder that exists and that you may write to", path.display()))?;
    Ok(())
}

/// What a network leaves open, and its user says.
#[derive(Debug, clap::Args)]
pub struct InputArgs {
    /// Shape of an input whose extents the network leaves open, e.g. x=N,3,48,192 (may be repeated)
    #[arg(long, value_name = "NAME=DIMS")]
    input_shape: Vec<String>,
    /// Make an input a constant: each of its elements is this number, e.g. sr=16000 (may be repeated)
    #[arg(long, value_name = "NAME=NUMBER")]
    input_value: Vec<String>,
}

impl InputArgs {
    /// As the importer takes them.
    pub fn options(&self) -> Result<ImportOptions> {
        let mut options = ImportOptions { input_shapes: input_shapes(&self.input_shape)?, ..ImportOptions::default() };
        for option in &self.input_value {
            let parsed = option.rsplit_once('=').and_then(|(name, number)| Some((name, number.trim().parse::<f64>().ok()?)));
            let (name, number) = parsed.with_context(|| format!("--input-value '{option}' should be NAME=NUMBER, e.g. sr=16000"))?;
            options.input_values.insert(name.to_owned(), number);
        }
        Ok(options)
    }
}

/// `NAME=DIMS` options, e.g. `x=N,3,48,192`.
fn input_shapes(options: &[String]) -> Result<BTreeMap<String, Vec<Dim>>> {
    let mut shapes = BTreeMap::new();
    for option in options {
        let (name, dims) =
            option.rsplit_once('=').with_context(|| format!("--input-shape '{option}' should be NAME=DIMS, e.g. x=N,3,48,192"))?;
        let dim = |text: &str| match text.trim() {
            "n" => Ok(Dim::BATCH),
            name if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                Ok(Dim::symbol(name))
            }
            number => number
                .parse()
                .map(Dim::Fixed)
                .map_err(|_| anyhow::anyhow!("--input-shape '{option}': '{number}' is neither a number nor the name of an open extent")),
        };
        shapes.insert(name.to_owned(), dims.split(',').map(dim).collect::<Result<Vec<_>>>()?);
    }
    Ok(shapes)
}

/// Calibration samples, or samples to compare on.
pub fn samples(
    graph: &Graph,
    npz: Option<&Path>,
    folder: Option<&Path>,
    random: Option<usize>,
    images: &ImageArgs,
    limit: usize,
) -> Result<Samples> {
    let samples = match (npz, folder, random) {
        (Some(path), ..) if path.is_dir() => Samples::from_archives(path, graph)?,
        (Some(path), ..) => Samples::from_npz(path, graph)?,
        (_, Some(folder), _) => Samples::from_images(folder, graph, &images.options()?)?,
        (.., Some(count)) => Samples::random(count, graph),
        _ => bail!("no samples are given"),
    };
    ensure!(!samples.is_empty(), "there are no samples; give at least one");
    Ok(samples.limit(limit))
}

/// Reads a `.npy` file.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    let hint = || format!("cannot read '{}' as a .npy array", path.display());
    let file = std::fs::File::open(path).with_context(hint)?;
    let npy = npyz::NpyFile::new(std::io::BufReader::new(file)).with_context(hint)?;
    let (shape, array) = read_array(npy, &path.display().to_string())?;
    Ok(match array {
        Array::F32(data) => Tensor::from_vec(shape, data)?,
        Array::U8(data) => Tensor::from_vec(shape, data)?,
        Array::I64(data) => Tensor::from_vec(shape, data)?,
    })
}

/// The bytes of a `.npy` file.
pub fn npy_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    use npyz::WriterBuilder;
    let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
    let mut bytes = Vec::new();
    if let Some(data) = tensor.as_slice::<f32>() {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
        writer.extend(data.iter().copied())?;
        writer.finish()?;
    } else if let Some(data) = tensor.as_slice::<i64>() {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
        writer.extend(data.iter().copied())?;
        writer.finish()?;
    } else {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
        writer.extend(tensor.bytes().iter().copied())?;
        writer.finish()?;
    }
    Ok(bytes)
}

/// A file name for a tensor's name.
pub fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// Cuts inputs along the first axis into batches of at most `batch`, where the model leaves it open and its samples don't meet.
pub fn chunks(model: &Model, inputs: &[(String, Tensor)], batch: usize) -> Result<Vec<Vec<(String, Tensor)>>> {
    let open = |name: &str| model.inputs().iter().any(|p| p.name == name && p.shape.first() == Some(&Dim::BATCH));
    let rows: Vec<usize> = inputs.iter().filter(|(n, _)| open(n)).filter_map(|(_, t)| t.shape().first().copied()).collect();
    let Some(&total) = rows.first() else { return Ok(vec![inputs.to_vec()]) };
    if rows.iter().any(|&r| r != total) || total <= batch.max(1) || !samples_are_apart(model.graph()) {
        return Ok(vec![inputs.to_vec()]);
    }
    let mut chunks = Vec::new();
    for start in (0..total).step_by(batch.max(1)) {
        let range = start..(start + batch.max(1)).min(total);
        let part = |(name, t): &(String, Tensor)| Ok((name.clone(), if open(name) { rows_of(t, range.clone())? } else { t.clone() }));
        chunks.push(inputs.iter().map(part).collect::<Result<Vec<_>>>()?);
    }
    Ok(chunks)
}

fn rows_of(tensor: &Tensor, range: std::ops::Range<usize>) -> Result<Tensor> {
    let mut shape = tensor.shape().to_vec();
    let size = tensor.len() / shape[0].max(1);
    shape[0] = range.len();
    let range = range.start * size..range.end * size;
    Ok(match (tensor.as_slice::<f32>(), tensor.as_slice::<i64>()) {
        (Some(data), _) => Tensor::from_vec(shape, data[range].to_vec())?,
        (_, Some(data)) => Tensor::from_vec(shape, data[range].to_vec())?,
        _ => Tensor::from_vec(shape, tensor.bytes()[range].to_vec())?,
    })
}

/// Joins results along the first axis.
pub fn join(parts: &[Tensor]) -> Result<Tensor> {
    let [first, rest @ ..] = parts else { bail!("there are no results") };
    if rest.is_empty() {
        return Ok(first.clone());
    }
    let mut shape = first.shape().to_vec();
    shape[0] = parts.iter().map(|t| t.shape()[0]).sum();
    Ok(match first.dtype() {
        DType::F32 => {
            Tensor::from_vec(shape, parts.iter().flat_map(|t| t.as_slice::<f32>().unwrap_or_default()).copied().collect::<Vec<f32>>())?
        }
        DType::I64 => {
            Tensor::from_vec(shape, parts.iter().flat_map(|t| t.as_slice::<i64>().unwrap_or_default()).copied().collect::<Vec<i64>>())?
        }
        _ => Tensor::from_vec(shape, parts.iter().flat_map(|t| t.bytes()).copied().collect::<Vec<u8>>())?,
    })
}

/// Borrowed forms of named tensors.
pub fn views(inputs: &[(String, Tensor)]) -> Vec<(&str, TensorView<'_>)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.view())).collect()
}

/// Sizes of an inference's inputs.
#[derive(Debug, clap::Args)]
pub struct SizeArgs {
    /// Samples in one inference
    #[arg(long, value_name = "B", default_value_t = 1)]
    pub batch: usize,
    /// An extent that the model leaves open, e.g. H=320 (may be repeated)
    #[arg(long = "size", value_name = "NAME=NUMBER")]
    sizes: Vec<String>,
}

impl SizeArgs {
    /// A number for each extent that the model leaves open.
    pub fn sizes(&self, model: &Model) -> Result<Sizes> {
        let open = model.inputs().iter().any(|port| port.shape.iter().any(Dim::is_batch));
        if self.batch != 1 && !open {
            bail!("--batch {}: the model's inputs have fixed extents, as the network's reshapes ask for; leave --batch out", self.batch);
        }
        let mut sizes = Sizes::from(self.batch);
        for option in &self.sizes {
            let size = option.split_once('=').and_then(|(name, size)| Some((name, size.parse::<usize>().ok().filter(|&n| n > 0)?)));
            let (name, size) = size.with_context(|| format!("--size '{option}' should be NAME=NUMBER, e.g. H=320"))?;
            if !sizes.set(name, size) {
                bail!("--size gives {name} two numbers");
            }
        }
        let mut open: Vec<String> = Vec::new();
        for extent in model.inputs().iter().flat_map(|port| &port.shape) {
            if let Dim::Open(_) = extent
                && sizes.get(&extent.to_string()).is_none()
                && !open.contains(&extent.to_string())
            {
                open.push(extent.to_string());
            }
        }
        if !open.is_empty() {
            let example = open.iter().map(|name| format!("--size {name}=320")).collect::<Vec<_>>().join(" ");
            bail!("the model leaves {} open; give a number for each, e.g. {example}", open.join(", "));
        }
        Ok(sizes)
    }
}

/// Seeded random inputs of those sizes.
pub fn random_inputs(model: &Model, sizes: &Sizes) -> Result<Vec<(String, Tensor)>> {
    let mut inputs = Vec::new();
    for (i, port) in model.inputs().iter().enumerate() {
        let extent = |dim: &Dim| match dim {
            Dim::Open(open) => open.name().and_then(|name| sizes.get(name)),
            dim => dim.at(sizes.batch()),
        };
        let too_large = || format!("{sizes} is too large for input '{}'", port.name);
        let shape: Vec<usize> = port.shape.iter().map(extent).collect::<Option<_>>().with_context(too_large)?;
        let count = quaver_core::tensor::element_count(&shape).with_context(too_large)?;
        let mut state = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(i as u64 + 1);
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u32
        };
        let tensor = match port.dtype {
            DType::F32 => Tensor::from_vec(shape, (0..count).map(|_| next() as f32 / (1 << 23) as f32 - 1.0).collect::<Vec<f32>>())?,
            DType::U8 => Tensor::from_vec(shape, (0..count).map(|_| next() as u8).collect::<Vec<u8>>())?,
            DType::I64 => Tensor::from_vec(shape, vec![0i64; count])?,
            other => bail!("input '{}' is {other}, which no random data is made for", port.name),
        };
        inputs.push((port.name.clone(), tensor));
    }
    Ok(inputs)
}

/// Runs one sample of a quantized network on the reference and collects every named value as real numbers.
pub fn reference_values(network: &Network) -> impl FnMut(&[HostTensor]) -> Result<NamedValues> + '_ {
    move |sample| {
        let mut sizes = Sizes::default();
        for (&id, tensor) in network.graph.inputs.iter().zip(sample) {
            sizes.learn(&network.graph.value(id).shape, &tensor.shape);
        }
        let graph = &*network.graph.sized(&sizes)?;
        let plan = Plan::new(graph, sizes.batch(), isize::MAX as usize)?;
        let mut executor = Executor::new(plan, 0)?;
        let tensors = network.graph.inputs.iter().zip(sample).map(|(&id, t)| tensor(t, network.graph.value(id).dtype));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let views: Vec<TensorView<'_>> = tensors.iter().map(Tensor::view).collect();
        let mut values = NamedValues::new();
        let mut collect = |_: usize, id: ValueId, view: TensorView<'_>| keep(&mut values, graph, id, view);
        executor.run(graph, network as &dyn Constants, &Reference, &views, Some(&mut collect))?;
        Ok(values)
    }
}

/// Runs one sample natively and collects its outputs, or every named value, as real numbers.
pub fn native_values(model: &Model, session: &mut Session, sample: &Sample, all: bool) -> Result<NamedValues> {
    let graph = model.graph();
    let mut inputs = Vec::new();
    for (port, t) in model.inputs().iter().zip(sample) {
        inputs.push((port.name.as_str(), tensor(t, port.dtype)?));
    }
    let mut values = NamedValues::new();
    let outputs =
        if all { session.run_observed(&inputs, &mut |_, id, view| keep(&mut values, graph, id, view))? } else { session.run(&inputs)? };
    for (name, tensor) in outputs.iter() {
        if let Some(data) = tensor.as_slice::<f32>() {
            values.insert(name.to_owned(), data.to_vec());
        }
    }
    Ok(values)
}

/// A sample's tensor as an input of that type takes it.
fn tensor(t: &HostTensor, dtype: DType) -> Result<Tensor> {
    Ok(match dtype {
        DType::I64 => Tensor::from_vec(t.shape.clone(), t.whole())?,
        _ => Tensor::from_vec(t.shape.clone(), t.data.clone())?,
    })
}

/// Keeps a value as real numbers under the float network's name.
fn keep(values: &mut NamedValues, graph: &Graph, id: ValueId, view: TensorView<'_>) {
    let value = graph.value(id);
    let name = value.name.strip_suffix(":u8").unwrap_or(&value.name);
    if name.is_empty() {
        return;
    }
    match (view.as_slice::<f32>(), value.quant) {
        (Some(data), _) => {
            values.insert(name.to_owned(), data.to_vec());
        }
        (None, Some(affine)) => {
            values.entry(name.to_owned()).or_insert_with(|| view.bytes().iter().map(|&q| affine.dequantize(q)).collect());
        }
        (None, None) => {}
    }
}

/// Fills in the extents that an `.npz` archive's arrays tell and the network leaves open.
pub fn shapes_from_npz(options: ImportOptions, npz: Option<&Path>, network: &Path) -> Result<ImportOptions> {
    use quaver_convert::calibrate::data::npz::Npz;
    use quaver_convert::import::ImportError;
    let Some(path) = npz.filter(|path| !path.is_dir()) else { return Ok(options) };
    // Only a network that says so needs it; its other errors are reported where it is loaded.
    let Err(ImportError::OpenShape { .. }) = quaver_convert::import::onnx::open(network, &options) else { return Ok(options) };
    let hint = || format!("cannot read '{}'", path.display());
    let mut archive = Npz::open(path).with_context(hint)?;
    let mut options = options;
    for name in archive.names() {
        let shape = archive.array(&name).with_context(hint)?.shape().to_vec();
        let dims = shape.into_iter().enumerate().map(|(i, d)| if i == 0 { Dim::BATCH } else { Dim::Fixed(d as usize) });
        options.input_shapes.entry(name).or_insert_with(|| dims.collect());
    }
    Ok(options)
}
