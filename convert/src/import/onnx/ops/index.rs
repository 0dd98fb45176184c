//! What reads and writes elements by their place: GatherElements, GatherND, the Scatters, Compress, ReverseSequence, MaxUnpool.
//!
//! All of them are a Gather of a flattened tensor. Its indices are computed in real numbers where the model's are, so that tensors
//! have 2²⁴ elements at most. What is written to places that are known is picked out of the old and the new elements together.

use quaver_core::graph::Dim;

use super::compose::{int, number, real, whole};
use super::{Ctx, Importer, NodeError, Outputs, Sym, Val, axis, invalid, unsupported};
use crate::import::onnx::proto::tensor_proto::DataType;

/// Most elements of a tensor whose elements are numbered.
const MOST: usize = 1 << 24;

impl Importer<'_> {
    /// Indices that may count from the end of an extent, as real numbers from its start.
    fn wrapped(&mut self, ctx: &Ctx<'_>, indices: &Val, extent: &Dim) -> Result<Val, NodeError> {
        let indices = self.as_floats(ctx, indices)?;
        let below = self.call(ctx, "Less", &[&indices, &real(0.0)], &[])?;
        let more = self.call(ctx, "Mul", &[&below, &number(&Sym::from_dim(extent))], &[])?;
        self.call(ctx, "Add", &[&indices, &more], &[])
    }

    /// How far apart two elements are along each dimension.
    fn places(dims: &[Dim]) -> Result<Vec<Sym>, NodeError> {
        if dims.iter().map(Dim::about).try_fold(1usize, |n, d| n.checked_mul(d)).is_none_or(|n| n > MOST) {
            return unsupported("its operand has too many elements");
        }
        let mut strides = vec![Sym::Num(1); dims.len()];
        for i in (0..dims.len().saturating_sub(1)).rev() {
            strides[i] = match Sym::apply("Mul", &strides[i + 1], &Sym::from_dim(&dims[i + 1])) {
                Some(stride) => stride,
                None => return unsupported("its operand has too many elements"),
            };
        }
        Ok(strides)
    }

    /// 0, 1, … along dimension `d` of `rank`, `stride` apart, as real numbers.
    fn counted_by(&mut self, ctx: &Ctx<'_>, extent: &Dim, stride: &Sym, [d, rank]: [usize; 2]) -> Result<Val, NodeError> {
        let count = self.count_up(ctx, extent)?;
        let count = self.as_floats(ctx, &count)?;
        let count = self.call(ctx, "Mul", &[&count, &number(stride)], &[])?;
        self.along(ctx, &count, d, rank)
    }

    /// The elements of flattened `x` at real numbers that are their places.
    fn at_places(&mut self, ctx: &Ctx<'_>, x: &Val, places: &Val, row: &[Dim]) -> Result<Val, NodeError> {
        let Some(rows) = Dim::product(&self.extents(x)[..self.extents(x).len() - row.len()]) else {
            return unsupported("its operand has too many elements");
        };
        let flat = self.reshaped(ctx, x, &[&[rows], row].concat())?;
        let places = self.call(ctx, "Cast", &[places], &[int("to", DataType::Int64 as i64)])?;
        self.call(ctx, "Gather", &[&flat, &places], &[int("axis", 0)])
    }

    pub(super) fn gather_elements(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (x, indices) = (self.given(ctx, 0)?, self.given(ctx, 1)?);
        let (dims, to) = (self.extents(x), self.extents(indices));
        if dims.len() != to.len() || dims.is_empty() {
            return invalid("its operands differ in rank");
        }
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(0), dims.len())?;
        let strides = Self::places(&dims)?;
        let indices = self.wrapped(ctx, indices, &dims[at])?;
        let mut places = self.call(ctx, "Mul", &[&indices, &number(&strides[at])], &[])?;
        for d in (0..dims.len()).filter(|&d| d != at && to[d] != Dim::Fixed(1)) {
            let count = self.counted_by(ctx, &to[d], &strides[d], [d, dims.len()])?;
            places = self.call(ctx, "Add", &[&places, &count], &[])?;
        }
        let y = self.at_places(ctx, x, &places, &[])?;
        self.last(ctx, "Identity", &[&y], &[])
    }

    pub(super) fn gather_nd(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (x, indices) = (self.given(ctx, 0)?, self.given(ctx, 1)?);
        let (dims, to) = (self.extents(x), self.extents(indices));
        let batch = ctx.attrs.int("batch_dims")?.unwrap_or(0);
        let Some(batch) = usize::try_from(batch).ok().filter(|&b| b < to.len() && b <= dims.len()) else {
            return invalid(format!("batch_dims {batch} is out of range"));
        };
        let tuple = Self::fixed_extent(&to, to.len() - 1)?;
        if batch + tuple > dims.len() || tuple == 0 {
            return invalid(format!("indices of {tuple} dimensions are too many for rank {}", dims.len()));
        }
        let lead = &dims[..batch + tuple];
        let strides = Self::places(lead)?;
        let rank = to.len() - 1;
        let mut places = real(0.0);
        for k in 0..tuple {
            let index =
                self.call(ctx, "Gather", &[indices, &Val::Ints { shape: vec![], data: vec![Sym::Num(k as i64)] }], &[int("axis", -1)])?;
            let index = self.wrapped(ctx, &index, &lead[batch + k])?;
            let index = self.call(ctx, "Mul", &[&index, &number(&strides[batch + k])], &[])?;
            places = self.call(ctx, "Add", &[&places, &index], &[])?;
        }
        for d in 0..batch {
            let count = self.counted_by(ctx, &to[d], &strides[d], [d, rank])?;
            places = self.call(ctx, "Add", &[&places, &count], &[])?;
        }
        let y = self.at_places(ctx, x, &places, &dims[batch + tuple..])?;
        self.last(ctx, "Identity", &[&y], &[])
    }

    /// ScatterElements, Scatter and ScatterND, whose indices are known.
    pub(super) fn scatter(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (x, updates) = (self.given(ctx, 0)?, self.given(ctx, 2)?);
        let dims = self.known_shape(x)?;
        let (Some(Some(Val::Ints { shape: to, .. })), Some(indices)) = (ctx.inputs.get(1), self.ints(ctx, 1)?) else {
            return unsupported("its indices are not known at import");
        };
        let strides = strides(&dims);
        let mut places = Vec::new();
        let wrapped = |i: i64, d: usize| usize::try_from(if i < 0 { i + dims[d] as i64 } else { i }).ok().filter(|&i| i < dims[d]);
        if ctx.node.op_type == "ScatterND" {
            let tuple = to.last().copied().unwrap_or(0);
            if tuple == 0 || tuple > dims.len() {
                return invalid(format!("indices of {tuple} dimensions don't fit rank {}", dims.len()));
            }
            let row: usize = dims[tuple..].iter().product();
            for index in indices.chunks(tuple) {
                let start: Option<usize> = index.iter().enumerate().map(|(d, &i)| Some(wrapped(i, d)? * strides[d])).sum();
                let Some(start) = start else { return invalid(format!("index {index:?} is out of range")) };
                places.extend(start..start + row);
            }
        } else {
            let at = axis(ctx.attrs.int("axis")?.unwrap_or(0), dims.len())?;
            if to.len() != dims.len() {
                return invalid("its indices differ in rank");
            }
            for (i, &index) in indices.iter().enumerate() {
                let mut rest = i;
                let mut place = 0;
                for d in (0..to.len()).rev() {
                    let own = rest % to[d];
                    rest /= to[d];
                    let Some(own) = (if d == at { wrapped(index, d) } else { Some(own).filter(|&o| o < dims[d]) }) else {
                        return invalid(format!("index {index} is out of range"));
                    };
                    place += own * strides[d];
                }
                places.push(place);
            }
        }
        let reduction = ctx.attrs.string("reduction", "none")?;
        let y = self.written(ctx, x, updates, &places, &reduction)?;
        self.last(ctx, "Reshape", &[&y, &whole(dims.iter().map(|&d| d as i64))], &[])
    }

    /// Flattened `x`, into whose places the updates are written in their order, or what they are reduced to with what was there.
    fn written(&mut self, ctx: &Ctx<'_>, x: &Val, updates: &Val, places: &[usize], reduction: &str) -> Result<Val, NodeError> {
        let count: usize = self.known_shape(x)?.iter().product();
        if self.known_shape(updates)?.iter().product::<usize>() != places.len() {
            return invalid("its updates are not as many as its indices");
        }
        let mut flat = self.reshaped(ctx, x, &[Dim::Fixed(count)])?;
        let updates = self.reshaped(ctx, updates, &[Dim::Fixed(places.len())])?;
        let function = match reduction {
            "none" => {
                let both = self.call(ctx, "Concat", &[&flat, &updates], &[int("axis", 0)])?;
                let mut from: Vec<i64> = (0..count as i64).collect();
                places.iter().enumerate().for_each(|(i, &place)| from[place] = (count + i) as i64);
                return self.call(ctx, "Gather", &[&both, &whole(from)], &[int("axis", 0)]);
            }
            "add" => "Add",
            "mul" => "Mul",
            "min" => "Min",
            "max" => "Max",
            other => return invalid(format!("reduction '{other}' is unknown")),
        };
        // Round by round, in each of which no place is there twice.
        let mut rounds: Vec<Vec<Option<usize>>> = Vec::new();
        for (i, &place) in places.iter().enumerate() {
            match rounds.iter_mut().find(|round| round[place].is_none()) {
                Some(round) => round[place] = Some(i),
                None => {
                    let mut round = vec![None; count];
                    round[place] = Some(i);
                    rounds.push(round);
                }
            }
        }
        for round in rounds {
            let here = Val::ints(round.iter().map(|i| Sym::Num(i64::from(i.is_some()))).collect());
            let from = whole(round.iter().map(|i| i.unwrap_or(0) as i64));
            let update = self.call(ctx, "Gather", &[&updates, &from], &[int("axis", 0)])?;
            let reduced = self.call(ctx, function, &[&flat, &update], &[])?;
            flat = self.call(ctx, "Where", &[&here, &reduced, &flat], &[])?;
        }
        Ok(flat)
    }

    pub(super) fn known_shape(&self, x: &Val) -> Result<Vec<usize>, NodeError> {
        let dims = self.extents(x);
        (0..dims.len()).map(|i| Self::fixed_extent(&dims, i)).collect()
    }

    /// The elements along the axis for which a condition holds that is known.
    pub(super) fn compress(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let Some(condition) = self.ints(ctx, 1)? else { return invalid("its condition is missing") };
        let taken = whole((0..condition.len() as i64).filter(|&i| condition[i as usize] != 0));
        if taken_is_empty(&taken) {
            return unsupported("it takes nothing");
        }
        match ctx.attrs.int("axis")? {
            Some(axis) => self.last(ctx, "Gather", &[x, &taken], &[int("axis", axis)]),
            None => {
                let Some(count) = Dim::product(&self.extents(x)) else { return unsupported("its operand has too many elements") };
                let flat = self.reshaped(ctx, x, &[count])?;
                self.last(ctx, "Gather", &[&flat, &taken], &[int("axis", 0)])
            }
        }
    }

    /// The places of what is not 0, of a tensor that is known.
    pub(super) fn non_zero(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (shape, found): (&[usize], Vec<usize>) = match self.given(ctx, 0)? {
            Val::Floats { shape, data } => (shape, (0..data.len()).filter(|&i| data[i] != 0.0).collect()),
            Val::Ints { shape, data } => match data.iter().map(Sym::num).collect::<Option<Vec<i64>>>() {
                Some(data) => (shape, (0..data.len()).filter(|&i| data[i] != 0).collect()),
                None => return unsupported("its operand depends on the inputs' extents"),
            },
            _ => return unsupported("how many elements are not 0 only a run would know"),
        };
        let strides = strides(shape);
        let data =
            (0..shape.len()).flat_map(|d| found.iter().map(move |&i| (d, i))).map(|(d, i)| Sym::Num((i / strides[d] % shape[d]) as i64));
        Ok(vec![Val::Ints { shape: vec![shape.len(), found.len()], data: data.collect() }])
    }

    /// Each sample's first elements, whose numbers are known, in reverse.
    pub(super) fn reverse_sequence(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let dims = self.known_shape(x)?;
        let Some(lengths) = self.ints(ctx, 1)? else { return invalid("its lengths are missing") };
        let time = axis(ctx.attrs.int("time_axis")?.unwrap_or(0), dims.len())?;
        let batch = axis(ctx.attrs.int("batch_axis")?.unwrap_or(1), dims.len())?;
        if time > 1 || batch > 1 || time == batch || lengths.len() != dims[batch] {
            return invalid("its axes are not 0 and 1, or its lengths are not as many as samples");
        }
        let rows = dims[0] * dims[1];
        let from = (0..rows).map(|row| {
            let mut at = [row / dims[1], row % dims[1]];
            let length = lengths[at[batch]];
            if (at[time] as i64) < length {
                at[time] = length as usize - 1 - at[time];
            }
            (at[0] * dims[1] + at[1]) as i64
        });
        let from = whole(from);
        let flat: Vec<Dim> = std::iter::once(rows).chain(dims[2..].iter().copied()).map(Dim::Fixed).collect();
        let flat = self.reshaped(ctx, x, &flat)?;
        let moved = self.call(ctx, "Gather", &[&flat, &from], &[int("axis", 0)])?;
        self.last(ctx, "Reshape", &[&moved, &whole(dims.iter().map(|&d| d as i64))], &[])
    }

    /// Elements at the places that MaxPool said, which are known.
    pub(super) fn max_unpool(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let dims = self.known_shape(x)?;
        let Some(places) = self.ints(ctx, 1)? else { return invalid("its indices are missing") };
        let pixels = dims.len().saturating_sub(2);
        let kernel = super::positive(ctx, "kernel_shape", pixels, 1)?;
        let strides = super::positive(ctx, "strides", pixels, 1)?;
        let pads = ctx.attrs.ints("pads")?.unwrap_or_else(|| vec![0; 2 * pixels]);
        if pads.len() != 2 * pixels || dims.len() < 3 {
            return invalid("its pads don't fit its operand");
        }
        let full: Vec<i64> =
            (0..pixels).map(|d| (dims[d + 2] as i64 - 1) * strides[d] as i64 + kernel[d] as i64 - pads[d] - pads[pixels + d]).collect();
        let full: Vec<i64> = dims[..2].iter().map(|&d| d as i64).chain(full).collect();
        let to = self.ints(ctx, 2)?.unwrap_or_else(|| full.clone());
        let count: i64 = to.iter().product();
        // Indices count in the extents without an output shape.
        let mut moved = Vec::with_capacity(places.len());
        for &place in &places {
            let (mut rest, mut at, mut stride) = (place, 0, 1);
            for d in (0..full.len()).rev() {
                if full[d] < 1 || place < 0 {
                    return invalid("its indices are out of range");
                }
                at += rest % full[d] * stride;
                rest /= full[d];
                stride *= to[d];
            }
            match usize::try_from(at).ok().filter(|&at| (at as i64) < count) {
                Some(at) => moved.push(at),
                None => return invalid("its indices are out of range"),
            }
        }
        let zeros = Val::floats(vec![count.max(0) as usize], vec![0.0; count.max(0) as usize]);
        let y = self.written(ctx, &zeros, x, &moved, "none")?;
        self.last(ctx, "Reshape", &[&y, &whole(to)], &[])
    }
}

fn taken_is_empty(taken: &Val) -> bool {
    matches!(taken, Val::Ints { data, .. } if data.is_empty())
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|d| shape[d + 1..].iter().product()).collect()
}
