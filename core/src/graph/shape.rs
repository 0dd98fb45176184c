//! Shape inference: the extents of an operation's output from its operands.
//!
//! It also checks ranks, attributes and operand shapes, so that whatever passes here can be executed: import, the file's
//! validator and the memory plan all call [`infer`]. Element types are [`super::check`]'s.

mod products;

use thiserror::Error;

use super::Dim;
use super::dim::display;
use super::extent::Extent;
use super::op::{Op, PadMode, Pool, Resize, Window};
use crate::tensor::MAX_RANK;
use products::{
    check_qparams, choose_qparams, conv, conv_transpose, dynamic_gemm, embedding, gemm, mat_mul, q_conv, q_conv_transpose, q_gemm,
    weight_only_gemm,
};

/// Why an operation cannot take these operands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// Too few or too many operands.
    #[error("takes {expected} operands, not {got}")]
    Arity {
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        got: usize,
    },
    /// An operand's rank.
    #[error("operand {operand} has shape {shape}, but rank {expected} is needed")]
    Rank {
        /// Which operand, from 0.
        operand: usize,
        /// Its shape.
        shape: String,
        /// What it should be.
        expected: usize,
    },
    /// An extent that must be a number, but depends on the inputs' extents.
    #[error("dimension {axis} of {shape} depends on the extents of the inputs, which {what} doesn't allow")]
    Symbolic {
        /// Which dimension.
        axis: usize,
        /// The shape.
        shape: String,
        /// What needs a number.
        what: &'static str,
    },
    /// Operands whose shapes don't fit together.
    #[error("shapes {a} and {b} don't fit together")]
    Mismatch {
        /// The one.
        a: String,
        /// The other.
        b: String,
    },
    /// An attribute out of its range.
    #[error("{what} is {value}, which is out of range for shape {shape}")]
    Attribute {
        /// Which attribute.
        what: &'static str,
        /// Its value.
        value: String,
        /// The operand's shape.
        shape: String,
    },
    /// An output that no machine of this one's addresses can hold; one with larger addresses may.
    #[error("the output, of shape {shape}, has more elements than this machine's addresses allow")]
    TooLarge {
        /// The output's shape.
        shape: String,
    },
    /// An output without a single position, or a number that overflows.
    #[error("the output of {shape} would be empty or too large")]
    Extent {
        /// The operand's shape.
        shape: String,
    },
}

type Shape = Vec<Dim>;
// Boxed, as each call that may fail has room for its error.
type Result<T> = std::result::Result<T, Box<ShapeError>>;

/// The output's shape.
///
/// # Errors
/// [`ShapeError`] where the operands' number, ranks or extents, or an attribute, are not as the operation needs.
pub fn infer(op: &Op, inputs: &[&[Dim]]) -> Result<Shape> {
    let shape = match op {
        Op::Reshape { shape } => reshape(one(inputs)?, shape),
        Op::Transpose { perm } => transpose(one(inputs)?, perm),
        Op::Concat { axis } => concat(inputs, *axis),
        Op::Slice { cuts } => slice(one(inputs)?, cuts),
        Op::Pad { before, after, mode } => pad(one(inputs)?, before, after, *mode),
        Op::DepthToSpace { block, .. } => depth_to_space(one(inputs)?, *block),
        Op::SpaceToDepth { block } => space_to_depth(one(inputs)?, *block),
        Op::ChannelShuffle { axis, groups } => channel_shuffle(one(inputs)?, *axis, *groups),
        Op::Expand { shape } => broadcast(one(inputs)?, shape),
        Op::Gather { axis } => gather(inputs, *axis),
        Op::TopK { axis, k, .. } => top_k(one(inputs)?, *axis, k),
        Op::NonMaxSuppression { most, .. } => suppression(inputs, *most),
        Op::Cast { .. } => Ok(one(inputs)?.to_vec()),
        Op::Where => {
            arity(inputs, 3..=3, "3")?;
            broadcast(inputs[0], &broadcast(inputs[1], inputs[2])?)
        }
        Op::LayerNorm { epsilon, .. } => layer_norm(inputs, *epsilon),
        Op::Binary { .. } | Op::Compare { .. } => {
            arity(inputs, 2..=2, "2")?;
            broadcast(inputs[0], inputs[1])
        }
        Op::Pool(p) => pool(one(inputs)?, p),
        Op::Reduce { axes, keep_dims, .. } => reduce(one(inputs)?, axes, *keep_dims),
        Op::Softmax { axis } => {
            arity(inputs, 1..=2, "1 or 2")?;
            if let Some(table) = inputs.get(1) {
                expect(table, &[Dim::Fixed(256)])?;
            }
            axis_kept(inputs[0], *axis)
        }
        Op::Recurrent(r) => super::recurrent::infer(r, inputs).map_err(Box::new),
        Op::LogSoftmax { axis } => axis_kept(one(inputs)?, *axis),
        Op::Resize(r) => resize(one(inputs)?, r),
        Op::Conv(c) => conv(inputs, c),
        Op::ConvTranspose(c) => conv_transpose(inputs, c),
        Op::Gemm => gemm(inputs),
        Op::MatMul => mat_mul(inputs),
        Op::Unary { .. } | Op::Quantize { channels_last: false } | Op::Dequantize => Ok(one(inputs)?.to_vec()),
        Op::Quantize { channels_last: true } => match one(inputs)? {
            [n, c, h, w] => Ok([n, h, w, c].map(Dim::clone).to_vec()),
            _ => Err(rank(0, inputs[0], 4)),
        },
        Op::Table => {
            arity(inputs, 2..=2, "2")?;
            expect(inputs[1], &[Dim::Fixed(256)])?;
            Ok(inputs[0].to_vec())
        }
        Op::QConv(c) => q_conv(inputs, c),
        Op::QConvTranspose(c) => q_conv_transpose(inputs, c),
        Op::QGemm(g) => q_gemm(inputs, g.channels, g.epilogue.as_ref()),
        Op::ChooseQparams { kept } => choose_qparams(one(inputs)?, *kept),
        Op::DynamicQuantize => {
            arity(inputs, 2..=2, "2")?;
            check_qparams(inputs[1], inputs[0])?;
            Ok(inputs[0].to_vec())
        }
        Op::DynamicGemm { channels } => dynamic_gemm(inputs, *channels),
        Op::WeightOnlyGemm => weight_only_gemm(inputs),
        Op::Embedding => embedding(inputs),
    }?;
    // A tensor must fit in memory with its largest element type at batch 1; larger batches are the plan's to check.
    if shape.len() > MAX_RANK {
        return Err(extent_error(&shape));
    }
    let bytes = shape.iter().try_fold(8usize, |n, d| n.checked_mul(d.about()));
    if bytes.is_none_or(|n| n > isize::MAX as usize) {
        return Err(Box::new(ShapeError::TooLarge { shape: display(&shape) }));
    }
    Ok(shape)
}

/// Extent of a sliding window's output; `None` where it would be empty.
pub fn window_extent(window: &Window, d: usize, extent: usize, ceil_mode: bool) -> Option<usize> {
    let padded = extent.checked_add(window.pads_begin[d])?.checked_add(window.pads_end[d])?;
    let room = padded.checked_sub(window.reach(d))?;
    let stride = window.strides[d];
    let mut out = if ceil_mode { room.div_ceil(stride) } else { room / stride } + 1;
    // A window of ceil mode has to start inside the image or the padding before it.
    if ceil_mode && (out - 1) * stride >= extent + window.pads_begin[d] {
        out -= 1;
    }
    (out > 0).then_some(out)
}

/// As [`window_extent`], where the extent may depend on the inputs' ones; `None` also where no formula says it.
fn window_dim(window: &Window, d: usize, extent: &Dim, ceil_mode: bool) -> Option<Dim> {
    if let Dim::Fixed(extent) = extent {
        return window_extent(window, d, *extent, ceil_mode).map(Dim::Fixed);
    }
    let (stride, reach, end) = (window.strides[d], window.reach(d), window.pads_end[d]);
    // A last window beyond the image would have to be left out.
    if ceil_mode && stride + end > reach {
        return None;
    }
    let up = if ceil_mode { stride - 1 } else { 0 };
    let [room, less, stride] = [window.pads_begin[d] + end + up, reach, stride].map(|n| Extent::from(n as i64));
    Dim::of(extent.extent()?.plus(&room)?.minus(&less)?.over(&stride)?.plus(&Extent::from(1))?)
}

/// As [`transposed_extent`], where the extent may depend on the inputs' ones.
fn transposed_dim(window: &Window, d: usize, extent: &Dim, output_padding: usize) -> Option<Dim> {
    if let Dim::Fixed(extent) = extent {
        return transposed_extent(window, d, *extent, output_padding).map(Dim::Fixed);
    }
    let more = window.reach(d) as i64 + output_padding as i64 - window.pads_begin[d] as i64 - window.pads_end[d] as i64;
    let stride = window.strides[d] as i64;
    Dim::of(extent.extent()?.times(&Extent::from(stride))?.plus(&Extent::from(more - stride))?)
}

/// Extent of a transposed window's output.
pub fn transposed_extent(window: &Window, d: usize, extent: usize, output_padding: usize) -> Option<usize> {
    let full = extent.checked_sub(1)?.checked_mul(window.strides[d])?.checked_add(window.reach(d))?;
    let out = full.checked_add(output_padding)?.checked_sub(window.pads_begin[d])?.checked_sub(window.pads_end[d])?;
    (out > 0).then_some(out)
}

fn arity(inputs: &[&[Dim]], range: std::ops::RangeInclusive<usize>, expected: &'static str) -> Result<()> {
    if range.contains(&inputs.len()) { Ok(()) } else { Err(Box::new(ShapeError::Arity { expected, got: inputs.len() })) }
}

fn one<'a>(inputs: &[&'a [Dim]]) -> Result<&'a [Dim]> {
    arity(inputs, 1..=1, "1")?;
    Ok(inputs[0])
}

fn expect(got: &[Dim], wanted: &[Dim]) -> Result<()> {
    if got == wanted { Ok(()) } else { Err(mismatch(got, wanted)) }
}

#[cold]
#[inline(never)]
fn attribute(what: &'static str, value: &dyn std::fmt::Display, shape: &[Dim]) -> Box<ShapeError> {
    Box::new(ShapeError::Attribute { what, value: value.to_string(), shape: display(shape) })
}

/// Numbers for a message; what is derived to print structures is much code.
#[cold]
#[inline(never)]
fn list(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("[{}]", numbers.join(","))
}

#[cold]
#[inline(never)]
fn words(window: &Window) -> String {
    let Window { kernel, strides, dilations, pads_begin, pads_end } = window;
    let [kernel, strides, dilations, begin, end] = [kernel, strides, dilations, pads_begin, pads_end].map(|n| list(n));
    format!("kernel {kernel} by {strides}, dilated {dilations}, padded {begin} and {end}")
}

#[cold]
#[inline(never)]
fn extent_error(shape: &[Dim]) -> Box<ShapeError> {
    Box::new(ShapeError::Extent { shape: display(shape) })
}

#[cold]
#[inline(never)]
fn mismatch(a: &[Dim], b: &[Dim]) -> Box<ShapeError> {
    Box::new(ShapeError::Mismatch { a: display(a), b: display(b) })
}

#[cold]
#[inline(never)]
fn rank(operand: usize, shape: &[Dim], expected: usize) -> Box<ShapeError> {
    Box::new(ShapeError::Rank { operand, shape: display(shape), expected })
}

fn fixed(shape: &[Dim], axis: usize, what: &'static str) -> Result<usize> {
    shape[axis].fixed().ok_or_else(|| Box::new(ShapeError::Symbolic { axis, shape: display(shape), what }))
}

/// Images, rows and columns, and channels of an operand NHWC; only the channels have to be known.
fn image<'a>(shape: &'a [Dim], what: &'static str) -> Result<(&'a Dim, [&'a Dim; 2], usize)> {
    match shape {
        [n, h, w, _] => Ok((n, [h, w], fixed(shape, 3, what)?)),
        _ => Err(rank(0, shape, 4)),
    }
}

fn check_window(window: &Window, shape: &[Dim]) -> Result<()> {
    const MOST: usize = 1 << 20;
    let fields = [window.kernel, window.strides, window.dilations];
    if fields.iter().flatten().any(|&v| v == 0 || v > MOST) || [window.pads_begin, window.pads_end].iter().flatten().any(|&v| v > MOST) {
        return Err(attribute("a kernel, stride, dilation or pad", &words(window), shape));
    }
    if (0..2).any(|d| window.kernel[d].checked_mul(window.dilations[d]).is_none_or(|reach| reach > MOST)) {
        return Err(attribute("kernel times dilation", &words(window), shape));
    }
    Ok(())
}

/// Whether any extent depends on more than the batch size. What formulas don't say then, the graph of a run's extents is asked.
fn open(shape: &[Dim]) -> bool {
    shape.iter().any(Dim::is_open)
}

fn reshape(input: &[Dim], shape: &[Dim]) -> Result<Shape> {
    let (a, b) = (Dim::product(input), Dim::product(shape));
    if (a.is_none() || a != b) && !open(input) && !open(shape) {
        return Err(mismatch(input, shape));
    }
    Ok(shape.to_vec())
}

fn transpose(input: &[Dim], perm: &[usize]) -> Result<Shape> {
    let mut seen = vec![false; input.len()];
    let valid = perm.len() == input.len() && perm.iter().all(|&p| p < input.len() && !std::mem::replace(&mut seen[p], true));
    if !valid {
        return Err(attribute("perm", &list(perm), input));
    }
    Ok(perm.iter().map(|&p| input[p].clone()).collect())
}

fn concat(inputs: &[&[Dim]], axis: usize) -> Result<Shape> {
    arity(inputs, 1..=usize::MAX, "at least 1")?;
    let first = inputs[0];
    if axis >= first.len() {
        return Err(attribute("axis", &axis, first));
    }
    let mut total = Dim::Fixed(0);
    for input in inputs {
        let agree = |a: &Dim, b: &Dim| a == b || a.is_open() || b.is_open();
        let fits = input.len() == first.len() && (0..first.len()).all(|i| i == axis || agree(&input[i], &first[i]));
        if !fits {
            return Err(mismatch(first, input));
        }
        if inputs.len() == 1 {
            return Ok(first.to_vec());
        }
        total = total.plus(&input[axis]).ok_or_else(|| extent_error(input))?;
    }
    let mut shape = first.to_vec();
    shape[axis] = total;
    Ok(shape)
}

fn slice(input: &[Dim], cuts: &[super::op::Cut]) -> Result<Shape> {
    let mut shape = input.to_vec();
    let mut seen = vec![false; input.len()];
    for cut in cuts {
        if cut.axis >= input.len() || std::mem::replace(&mut seen[cut.axis], true) {
            return Err(attribute("axis", &cut.axis, input));
        }
        let inside = |start: usize, len: usize, extent: usize| {
            let last = len.checked_sub(1).and_then(|n| isize::try_from(n).ok()).and_then(|n| n.checked_mul(cut.step));
            let last = last.and_then(|n| n.checked_add(isize::try_from(start).ok()?));
            start < extent && last.is_some_and(|l| l >= 0 && (l as usize) < extent)
        };
        let known = match (cut.start.fixed(), cut.len.fixed(), input[cut.axis].fixed()) {
            (Some(start), Some(len), Some(extent)) => inside(start, len, extent),
            _ => cut.len != Dim::Fixed(0),
        };
        if cut.step == 0 || !known {
            return Err(attribute("cut", &format_args!("{} from {} on by {}", cut.len, cut.start, cut.step), input));
        }
        shape[cut.axis] = cut.len.clone();
    }
    Ok(shape)
}

fn gather(inputs: &[&[Dim]], axis: usize) -> Result<Shape> {
    arity(inputs, 2..=2, "2")?;
    let (x, indices) = (inputs[0], inputs[1]);
    if axis >= x.len() || x[axis] == Dim::Fixed(0) {
        return Err(attribute("axis", &axis, x));
    }
    Ok([&x[..axis], indices, &x[axis + 1..]].concat())
}

fn top_k(x: &[Dim], axis: usize, k: &Dim) -> Result<Shape> {
    let mut shape = axis_kept(x, axis)?;
    // Of what is open, the graph of a run is asked.
    let fits = match (k, &x[axis]) {
        (Dim::Fixed(k), Dim::Fixed(extent)) => (1..=*extent).contains(k),
        (Dim::Fixed(1), _) => true,
        (k, extent) => k == extent || k.is_open() || extent.is_open(),
    };
    if !fits {
        return Err(attribute("k", k, x));
    }
    shape[axis] = k.clone();
    Ok(shape)
}

fn suppression(inputs: &[&[Dim]], most: usize) -> Result<Shape> {
    arity(inputs, 2..=2, "2")?;
    let (boxes, scores) = (inputs[0], inputs[1]);
    let ([samples, classes, count], [_, _, Dim::Fixed(4)]) = (scores, boxes) else { return Err(mismatch(boxes, scores)) };
    if (&boxes[0] != samples || &boxes[1] != count) && !open(boxes) && !open(scores) {
        return Err(mismatch(boxes, scores));
    }
    let rows = samples.times(classes).and_then(|n| n.times(&Dim::Fixed(most))).filter(|_| most > 0);
    Ok(vec![rows.ok_or_else(|| extent_error(scores))?, Dim::Fixed(3)])
}

fn layer_norm(inputs: &[&[Dim]], epsilon: f32) -> Result<Shape> {
    arity(inputs, 3..=3, "3")?;
    let x = inputs[0];
    let last = x.last().and_then(Dim::fixed).filter(|&last| last > 0);
    let axis = x.len().saturating_sub(1);
    let symbolic = || Box::new(ShapeError::Symbolic { axis, shape: display(x), what: "LayerNormalization" });
    let last = last.ok_or_else(symbolic)?;
    if !(epsilon.is_finite() && epsilon >= 0.0) {
        // In words, as digits of floats are much code.
        return Err(attribute("epsilon", &"negative or no number", x));
    }
    expect(inputs[1], &[Dim::Fixed(last)])?;
    expect(inputs[2], &[Dim::Fixed(last)])?;
    Ok(x.to_vec())
}

fn pad(input: &[Dim], before: &[usize], after: &[usize], mode: PadMode) -> Result<Shape> {
    if before.len() != input.len() || after.len() != input.len() {
        return Err(attribute("pads", &format_args!("{} before and {} behind", list(before), list(after)), input));
    }
    let mut shape = input.to_vec();
    for axis in 0..input.len() {
        if before[axis] == 0 && after[axis] == 0 {
            continue;
        }
        let most = match (mode, input[axis].fixed()) {
            (PadMode::Constant(_), _) | (_, None) => usize::MAX,
            (PadMode::Reflect, Some(extent)) => extent.saturating_sub(1),
            (PadMode::Edge, Some(0)) => 0,
            (PadMode::Edge, Some(_)) => usize::MAX,
            (PadMode::Wrap, Some(extent)) => extent,
        };
        if before[axis] > most || after[axis] > most {
            return Err(attribute("pads", &format_args!("{} before and {} behind", list(before), list(after)), input));
        }
        let total = before[axis].checked_add(after[axis]).and_then(|more| input[axis].plus(&Dim::Fixed(more)));
        shape[axis] = total.ok_or_else(|| extent_error(input))?;
    }
    Ok(shape)
}

fn depth_to_space(input: &[Dim], block: usize) -> Result<Shape> {
    let (n, [h, w], c) = image(input, "DepthToSpace")?;
    let area = block.checked_mul(block).filter(|&a| a > 0 && c % a == 0);
    let area = area.ok_or_else(|| attribute("block", &block, input))?;
    let grown = |x: &Dim| x.times(&Dim::Fixed(block)).ok_or_else(|| extent_error(input));
    Ok(vec![n.clone(), grown(h)?, grown(w)?, (c / area).into()])
}

fn space_to_depth(input: &[Dim], block: usize) -> Result<Shape> {
    let (n, [h, w], c) = image(input, "SpaceToDepth")?;
    let shrunk = |x: &Dim| match x {
        Dim::Fixed(x) => (block != 0 && x % block == 0).then(|| Dim::Fixed(x / block)),
        _ => Dim::of(x.extent()?.over(&Extent::from(i64::try_from(block).ok()?))?),
    };
    let shrunk = |x: &Dim| shrunk(x).ok_or_else(|| attribute("block", &block, input));
    let depth = block.checked_mul(block).and_then(|a| a.checked_mul(c)).ok_or_else(|| extent_error(input))?;
    Ok(vec![n.clone(), shrunk(h)?, shrunk(w)?, depth.into()])
}

fn channel_shuffle(input: &[Dim], axis: usize, groups: usize) -> Result<Shape> {
    if axis >= input.len() {
        return Err(attribute("axis", &axis, input));
    }
    if groups == 0 || fixed(input, axis, "ChannelShuffle")? % groups != 0 {
        return Err(attribute("groups", &groups, input));
    }
    Ok(input.to_vec())
}

/// ONNX (numpy) broadcasting of two shapes.
///
/// # Errors
/// [`ShapeError::Mismatch`] where neither extent is 1 and they differ.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| if i + s.len() < rank { Dim::Fixed(1) } else { s[i + s.len() - rank].clone() };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (Dim::Fixed(1), y) => Ok(y),
            (x, Dim::Fixed(1)) => Ok(x),
            // Equal, or one of them 1, or else the run is refused.
            (x @ Dim::Fixed(_), Dim::Open(_)) | (Dim::Open(_), x @ Dim::Fixed(_)) => Ok(x),
            (x, Dim::Open(_)) | (x @ Dim::Open(_), _) => Ok(x),
            _ => Err(mismatch(a, b)),
        })
        .collect()
}

fn pool(input: &[Dim], pool: &Pool) -> Result<Shape> {
    let (n, extents, c) = image(input, "a pool")?;
    check_window(&pool.window, input)?;
    // Every window must see at least one element of the image.
    if (0..2).any(|d| pool.window.pads_begin[d] >= pool.window.reach(d) || pool.window.pads_end[d] >= pool.window.reach(d)) {
        return Err(attribute("pads (not less than the kernel)", &words(&pool.window), input));
    }
    let out = |d: usize| window_dim(&pool.window, d, extents[d], pool.ceil_mode).ok_or_else(|| extent_error(input));
    Ok(vec![n.clone(), out(0)?, out(1)?, c.into()])
}

fn reduce(input: &[Dim], axes: &[usize], keep_dims: bool) -> Result<Shape> {
    if axes.windows(2).any(|w| w[0] >= w[1]) || axes.iter().any(|&a| a >= input.len()) {
        return Err(attribute("axes", &list(axes), input));
    }
    if axes.iter().any(|&axis| input[axis] == Dim::Fixed(0)) {
        return Err(extent_error(input));
    }
    let kept = input.iter().enumerate().filter_map(|(i, d)| match axes.contains(&i) {
        true => keep_dims.then_some(Dim::Fixed(1)),
        false => Some(d.clone()),
    });
    Ok(kept.collect())
}

fn axis_kept(input: &[Dim], axis: usize) -> Result<Shape> {
    if axis >= input.len() {
        return Err(attribute("axis", &axis, input));
    }
    Ok(input.to_vec())
}

fn resize(input: &[Dim], resize: &Resize) -> Result<Shape> {
    let shape = &resize.shape;
    let sized = shape.len() == input.len() && resize.scales.len() == input.len();
    // 0 stands for the extents' ratio, where that is not known yet.
    let valid =
        |axis: usize| resize.scales[axis].is_finite() && (resize.scales[axis] > 0.0 || shape[axis].is_open() || input[axis].is_open());
    if !sized || !(0..input.len()).all(valid) {
        return Err(attribute("scales (a positive number a dimension)", &format_args!("a list of {}", resize.scales.len()), input));
    }
    for axis in 0..input.len() {
        if shape[axis] != input[axis] && (input[axis] == Dim::Fixed(0) || shape[axis] == Dim::Fixed(0)) {
            return Err(extent_error(input));
        }
    }
    Ok(shape.clone())
}
