//! What moves data: Reshape and its relatives, Transpose, Concat, Split, Slice, Gather, DepthToSpace.

use quaver_core::graph::extent::Extent;
use quaver_core::graph::op::{Cut, DepthOrder};
use quaver_core::graph::{Dim, Op, ValueId};

use super::compose::int;
use super::{Ctx, Importer, NodeError, Outputs, Sym, Val, axis, invalid, unsupported};

impl Importer<'_> {
    pub(super) fn reshape(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let target = match ctx.attrs.ints("shape")? {
            Some(shape) => shape.into_iter().map(Sym::Num).collect(),
            None => match self.syms(ctx, 1)? {
                Some(target) => target,
                None => return invalid("the target shape is missing"),
            },
        };
        let allow_zero = ctx.attrs.flag("allowzero", false)?;
        match ctx.inputs.first() {
            Some(Some(Val::Ints { shape, data })) => {
                let from: Vec<Dim> = shape.iter().map(|&d| d.into()).collect();
                let dims = self.target(&from, &target, allow_zero)?;
                let shape = dims.iter().map(|d| d.fixed()).collect::<Option<Vec<_>>>();
                let Some(shape) = shape else { return invalid("a shape value's own shape cannot depend on the inputs' extents") };
                Ok(vec![Val::Ints { shape, data: data.clone() }])
            }
            Some(Some(Val::Floats { shape, data })) => {
                let from: Vec<Dim> = shape.iter().map(|&d| d.into()).collect();
                let dims = self.target(&from, &target, allow_zero)?;
                let shape = dims.iter().map(|d| d.fixed()).collect::<Option<Vec<_>>>();
                let Some(shape) = shape else { return invalid("a constant's shape cannot depend on the inputs' extents") };
                Ok(vec![Val::Floats { shape, data: data.clone() }])
            }
            _ => {
                let x = self.value(ctx, 0)?;
                let shape = self.target(&self.dims(x), &target, allow_zero)?;
                self.push(ctx, Op::Reshape { shape }, &[x])
            }
        }
    }

    /// ONNX's target shape: 0 keeps an extent, −1 is what remains.
    fn target(&self, from: &[Dim], target: &[Sym], allow_zero: bool) -> Result<Vec<Dim>, NodeError> {
        let mut shape: Vec<Option<Dim>> = Vec::with_capacity(target.len());
        for (i, t) in target.iter().enumerate() {
            shape.push(match t {
                Sym::Num(-1) => None,
                Sym::Num(0) if !allow_zero => match from.get(i) {
                    Some(d) => Some(d.clone()),
                    None => return invalid(format!("extent {i} of the target is 0, but the input has rank {}", from.len())),
                },
                t => match t.dim() {
                    Some(d) => Some(d),
                    None => return invalid(format!("the target shape holds {t}")),
                },
            });
        }
        if shape.iter().filter(|d| d.is_none()).count() > 1 {
            return invalid("the target shape holds more than one −1");
        }
        let Some(total) = Dim::product(from) else { return invalid("the input's extents overflow") };
        if self.promote && !shape.iter().flatten().any(|d| d.fixed().is_none()) {
            self.promoted(from, &total, &mut shape);
        }
        let known: Vec<Dim> = shape.iter().flatten().cloned().collect();
        let Some(product) = Dim::product(&known) else { return invalid("the target's extents overflow") };
        let mismatch = || {
            let target: Vec<String> = shape.iter().map(|d| d.as_ref().map_or("-1".to_owned(), Dim::to_string)).collect();
            invalid(format!("shape {} cannot become [{}]", quaver_core::graph::dim::display(from), target.join(",")))
        };
        let open = total.is_open() || product.is_open();
        if shape.iter().all(Option::is_some) {
            // Where formulas don't tell, a run does.
            return if total == product || open { Ok(known) } else { mismatch() };
        }
        match uncommon(from, &known).and_then(|[total, product]| rest(&total, &product)).or_else(|| rest(&total, &product)) {
            Some(rest) => Ok(shape.iter().map(|d| d.clone().unwrap_or_else(|| rest.clone())).collect()),
            // Extents that a run has to find equal, of inputs that name them differently.
            None if open && shape.len() == from.len() => {
                Ok(shape.into_iter().zip(from).map(|(d, from)| d.unwrap_or(from.clone())).collect())
            }
            None => mismatch(),
        }
    }

    /// Of a model exported at batch 1: lets the dimension of a target that samples become be a multiple of the batch.
    fn promoted(&self, from: &[Dim], total: &Dim, to: &mut [Option<Dim>]) {
        let (Some(samples), Dim::Batch { times }) = (from.iter().position(Dim::is_batch), total) else { return };
        let before: usize = from[..samples].iter().filter_map(Dim::fixed).product();
        let known: usize = to.iter().flatten().filter_map(Dim::fixed).product();
        // What −1 stands for, at batch 1.
        let rest = if known > 0 && times.is_multiple_of(known) { times / known } else { return };
        let mut product = 1;
        for dim in to {
            if product == before {
                // A −1 will be what remains, samples too.
                if let Some(Dim::Fixed(n)) = dim {
                    *dim = Some(Dim::Batch { times: *n });
                }
                return;
            }
            product *= dim.as_ref().map_or(rest, |d| d.fixed().unwrap_or(1));
        }
    }

    pub(super) fn flatten(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.value(ctx, 0)?;
        let dims = self.dims(x);
        let at = ctx.attrs.int("axis")?.unwrap_or(1);
        let at = if at < 0 { at + dims.len() as i64 } else { at };
        let Some((a, b)) = usize::try_from(at).ok().filter(|&a| a <= dims.len()).map(|a| dims.split_at(a)) else {
            return invalid(format!("axis {at} is out of range for rank {}", dims.len()));
        };
        let (Some(a), Some(b)) = (Dim::product(a), Dim::product(b)) else { return invalid("the input's extents overflow") };
        self.push(ctx, Op::Reshape { shape: vec![a, b] }, &[x])
    }

    pub(super) fn squeeze(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let axes = self.ints_of(ctx, "axes", 1)?;
        let remove = ctx.node.op_type == "Squeeze";
        let shape =
            |from: &[Dim]| if remove { squeezed(from, axes.as_deref()) } else { unsqueezed(from, axes.as_deref().unwrap_or_default()) };
        let known = |from: &[usize]| -> Result<Vec<usize>, NodeError> {
            let from: Vec<Dim> = from.iter().map(|&d| d.into()).collect();
            Ok(shape(&from)?.iter().filter_map(|d| d.fixed()).collect())
        };
        match ctx.inputs.first() {
            Some(Some(Val::Ints { shape, data })) => Ok(vec![Val::Ints { shape: known(shape)?, data: data.clone() }]),
            Some(Some(Val::Floats { shape, data })) => Ok(vec![Val::Floats { shape: known(shape)?, data: data.clone() }]),
            _ => {
                let x = self.value(ctx, 0)?;
                let shape = shape(&self.dims(x))?;
                self.push(ctx, Op::Reshape { shape }, &[x])
            }
        }
    }

    pub(super) fn transpose(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.value(ctx, 0)?;
        let rank = self.dims(x).len();
        let perm = match ctx.attrs.ints("perm")? {
            Some(perm) => perm.iter().map(|&p| axis(p, rank)).collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).rev().collect(),
        };
        self.push(ctx, Op::Transpose { perm }, &[x])
    }

    pub(super) fn expand(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.value(ctx, 0)?;
        let dims = self.dims(x);
        let Some(target) = self.syms(ctx, 1)? else { return invalid("the target shape is missing") };
        let Some(shape) = target.iter().map(Sym::dim).collect::<Option<Vec<Dim>>>() else {
            return invalid("the target shape holds a negative number");
        };
        let ends_like = shape.len() <= dims.len();
        if ends_like && shape.iter().rev().zip(dims.iter().rev()).all(|(t, d)| t == d || *t == Dim::Fixed(1)) {
            return Ok(vec![Val::Tensor(x)]);
        }
        self.push(ctx, Op::Expand { shape }, &[x])
    }

    /// The same again and again along each dimension.
    pub(super) fn tile(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.value(ctx, 0)?;
        let dims = self.dims(x);
        let Some(repeats) = self.syms(ctx, 1)?.filter(|repeats| repeats.len() == dims.len()) else {
            return invalid(format!("it should have {} repeats", dims.len()));
        };
        // Behind a dimension of 1 for each that is repeated, which that one then becomes.
        let (mut apart, mut times, mut shape) = (Vec::new(), Vec::new(), Vec::new());
        for (dim, repeat) in dims.iter().zip(&repeats) {
            let Some(repeat) = repeat.dim().filter(|n| *n != Dim::Fixed(0)) else {
                return unsupported(format!("{repeat} repeats are not supported"));
            };
            let Some(total) = dim.times(&repeat) else { return unsupported("it gives too many elements") };
            shape.push(total);
            match (dim, &repeat) {
                (_, Dim::Fixed(1)) => {
                    apart.push(dim.clone());
                    times.push(dim.clone());
                }
                (Dim::Fixed(1), _) => {
                    apart.push(Dim::Fixed(1));
                    times.push(repeat);
                }
                _ => {
                    apart.extend([Dim::Fixed(1), dim.clone()]);
                    times.extend([repeat, dim.clone()]);
                }
            }
        }
        let y = if apart == dims { x } else { self.helper(ctx, "apart", Op::Reshape { shape: apart }, &[x])? };
        let y = if times == self.dims(y) { y } else { self.helper(ctx, "repeated", Op::Expand { shape: times }, &[y])? };
        self.push(ctx, Op::Reshape { shape }, &[y])
    }

    pub(super) fn concat(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let Some(at) = ctx.attrs.int("axis")? else { return invalid("axis is missing") };
        if ctx.inputs.iter().all(|v| matches!(v, Some(Val::Ints { shape, .. }) if shape.len() == 1)) {
            let parts = ctx.inputs.iter().flatten();
            let data = parts.flat_map(|v| if let Val::Ints { data, .. } = v { data.clone() } else { Vec::new() });
            return Ok(vec![Val::ints(data.collect())]);
        }
        let inputs = (0..ctx.inputs.len()).map(|i| self.value(ctx, i)).collect::<Result<Vec<_>, _>>()?;
        let Some(&first) = inputs.first() else { return invalid("it has no operands") };
        let at = axis(at, self.dims(first).len())?;
        let inputs = if self.promote { self.for_each_sample(ctx, at, inputs)? } else { inputs };
        self.push(ctx, Op::Concat { axis: at }, &inputs)
    }

    /// Of a model exported at batch 1: what is there once, as a class token is, becomes as many as the samples that it is joined to.
    fn for_each_sample(&mut self, ctx: &Ctx<'_>, axis: usize, mut operands: Vec<ValueId>) -> Result<Vec<ValueId>, NodeError> {
        let shapes: Vec<Vec<Dim>> = operands.iter().map(|&id| self.dims(id)).collect();
        let samples = shapes.iter().find_map(|dims| dims.iter().position(Dim::is_batch).map(|d| (d, dims[d].clone())));
        let Some((d, dim)) = samples.filter(|(d, _)| *d != axis) else { return Ok(operands) };
        for (operand, mut shape) in operands.iter_mut().zip(shapes) {
            if shape.get(d) == Some(&Dim::Fixed(1)) && dim == Dim::BATCH {
                shape[d] = dim.clone();
                *operand = self.helper(ctx, "for_each_sample", Op::Expand { shape }, &[*operand])?;
            }
        }
        Ok(operands)
    }

    pub(super) fn split(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.value(ctx, 0)?;
        let dims = self.dims(x);
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(0), dims.len())?;
        let Some(extent) = dims[at].fixed() else { return unsupported("splitting an open extent is not supported") };
        let count = ctx.node.output.len();
        if ctx.attrs.int("num_outputs")?.is_some_and(|n| n != count as i64) {
            return invalid(format!("num_outputs differs from its {count} outputs"));
        }
        let parts: Vec<usize> = match self.ints_of(ctx, "split", 1)? {
            Some(parts) => parts.iter().map(|&p| usize::try_from(p).unwrap_or(usize::MAX)).collect(),
            None => {
                let each = extent.div_ceil(count.max(1));
                (0..count).map(|i| each.min(extent.saturating_sub(i * each))).collect()
            }
        };
        if parts.len() != count || parts.iter().try_fold(0usize, |s, &p| s.checked_add(p)) != Some(extent) {
            return invalid(format!("parts {parts:?} don't add up to extent {extent} over {count} outputs"));
        }
        if parts.contains(&0) {
            return unsupported("an empty part is not supported");
        }
        let mut outputs = Vec::with_capacity(count);
        let mut start = 0;
        for (i, &len) in parts.iter().enumerate() {
            let op = Op::Slice { cuts: vec![Cut::new(at, start, len, 1)] };
            outputs.push(Val::Tensor(self.net.push(op, &[x], &format!("{}/{i}", ctx.name), ctx.out(i))?));
            start += len;
        }
        Ok(outputs)
    }

    pub(super) fn slice(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (Some(starts), Some(ends)) = (self.syms_of(ctx, "starts", 1)?, self.syms_of(ctx, "ends", 2)?) else {
            return invalid("starts or ends are missing");
        };
        let axes = self.ints_of(ctx, "axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.ints(ctx, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
            return invalid("starts, ends, axes and steps differ in length");
        }
        if let Some(Some(Val::Ints { shape, data })) = ctx.inputs.first()
            && let ([start], [end], [along], [step]) = (&starts[..], &ends[..], &axes[..], &steps[..])
            && let (Sym::Num(start), Sym::Num(end)) = (start, end)
        {
            let along = axis(*along, shape.len())?;
            let (start, len) = cut(shape[along], *start, *end, *step)?;
            // What lies within the axis stays together.
            let inner = shape[along + 1..].iter().product::<usize>();
            let mut taken = Vec::with_capacity(len * data.len() / shape[along].max(1));
            for block in data.chunks((shape[along] * inner).max(1)) {
                for i in 0..len {
                    let at = (start as i64 + i as i64 * step) as usize * inner;
                    taken.extend_from_slice(&block[at..at + inner]);
                }
            }
            let mut shape = shape.clone();
            shape[along] = len;
            return Ok(vec![Val::Ints { shape, data: taken }]);
        }
        let x = self.value(ctx, 0)?;
        let dims = self.dims(x);
        let mut cuts = Vec::new();
        for i in 0..starts.len() {
            let a = axis(axes[i], dims.len())?;
            if let (Some(extent), Some(start), Some(end)) = (dims[a].fixed(), starts[i].num(), ends[i].num()) {
                let (start, len) = cut(extent, start, end, steps[i])?;
                if len == 0 {
                    return unsupported("an empty slice is not supported");
                }
                cuts.push(Cut::new(a, start, len, steps[i] as isize));
                continue;
            }
            let taken = open_cut(&dims[a], &starts[i], &ends[i]).and_then(|[start, len]| Some([start, every(&len, steps[i])?]));
            let Some([start, len]) = taken else {
                let extent = dims[a].to_string();
                return unsupported(format!("a slice of extent {extent} from {} to {} by {}", starts[i], ends[i], steps[i]));
            };
            if start != Dim::Fixed(0) || len != dims[a] || steps[i] != 1 {
                cuts.push(Cut::new(a, start, len, steps[i] as isize));
            }
        }
        if cuts.is_empty() {
            return Ok(vec![Val::Tensor(x)]);
        }
        self.push(ctx, Op::Slice { cuts }, &[x])
    }

    /// Elements along an axis; a single one is a slice without its dimension.
    pub(super) fn gather(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.value(ctx, 0)?;
        let dims = self.dims(x);
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(0), dims.len())?;
        let Some(Some(Val::Ints { shape, data })) = ctx.inputs.get(1) else { return self.gather_by(ctx, x, at) };
        // All elements in their order, as a view with strides is exported: in another shape.
        let all = match &dims[..] {
            [Dim::Fixed(n)] => *n == data.len(),
            [Dim::Batch { times }] => self.promote && *times == data.len(),
            _ => false,
        };
        if all && data.len() > 1 && data.iter().enumerate().all(|(i, index)| index.num() == Some(i as i64)) {
            let to: Vec<Dim> = shape.iter().map(|&d| Dim::Fixed(d)).collect();
            return self.last(ctx, "Reshape", &[&Val::Tensor(x), &Self::shape_of(&to)], &[int("allowzero", 1)]);
        }
        let [index] = &data[..] else { return self.gather_by(ctx, x, at) };
        let (start, end) = (index.clone(), Sym::apply("Add", index, &Sym::Num(1)));
        let cut = match (dims[at].fixed(), index.num()) {
            (Some(extent), Some(index)) if index >= -(extent as i64) && index < extent as i64 => {
                Some(Dim::Fixed(index.rem_euclid(extent as i64) as usize))
            }
            (Some(extent), Some(index)) => return invalid(format!("index {index} is out of range for extent {extent}")),
            // The last one ends where the extent does, not at 0.
            _ if index.num() == Some(-1) => open_cut(&dims[at], &start, &Sym::Num(i64::MAX)).map(|[start, _]| start),
            _ => end.and_then(|end| open_cut(&dims[at], &start, &end)).map(|[start, _]| start),
        };
        let Some(start) = cut else { return unsupported("its index depends on the inputs' extents in no way that a formula says") };
        let one = self.helper(ctx, "cut", Op::Slice { cuts: vec![Cut::new(at, start, 1, 1)] }, &[x])?;
        let mut to = dims;
        to.splice(at..=at, shape.iter().map(|&d| Dim::Fixed(d)));
        self.push(ctx, Op::Reshape { shape: to }, &[one])
    }

    pub(super) fn space(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x: ValueId = self.real(ctx, 0)?;
        if self.dims(x).len() != 4 {
            return invalid(format!("its input has rank {}, but an image has 4", self.dims(x).len()));
        }
        let Some(block) = ctx.attrs.int("blocksize")?.and_then(|b| usize::try_from(b).ok()).filter(|&b| b > 0) else {
            return invalid("blocksize is missing or not positive");
        };
        let op = if ctx.node.op_type == "SpaceToDepth" {
            Op::SpaceToDepth { block }
        } else {
            let order = match ctx.attrs.string("mode", "DCR")?.as_str() {
                "DCR" => DepthOrder::Dcr,
                "CRD" => DepthOrder::Crd,
                other => return invalid(format!("mode '{other}' is unknown")),
            };
            Op::DepthToSpace { block, order }
        };
        let image = self.nhwc(ctx, x)?;
        let y = self.net.push(op, &[image], ctx.name, "")?;
        self.nchw_output(ctx, y, 4)
    }
}

/// The products of the extents of each that the other lacks.
fn uncommon(from: &[Dim], to: &[Dim]) -> Option<[Dim; 2]> {
    let mut to = to.to_vec();
    let mut left = from.to_vec();
    left.retain(|dim| match to.iter().position(|other| other == dim) {
        Some(at) => {
            to.swap_remove(at);
            false
        }
        None => true,
    });
    Some([Dim::product(&left)?, Dim::product(&to)?])
}

/// What is left of an extent whose other factors are known; `None` where that is no whole number, or no formula says it.
fn rest(total: &Dim, product: &Dim) -> Option<Dim> {
    let rest = Dim::of(total.extent()?.over(&product.extent()?)?)?;
    (rest.times(product)? == *total || total.is_open()).then_some(rest)
}

fn squeezed(from: &[Dim], axes: Option<&[i64]>) -> Result<Vec<Dim>, NodeError> {
    let gone = match axes {
        Some(axes) => axes.iter().map(|&a| axis(a, from.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..from.len()).filter(|&i| from[i] == Dim::Fixed(1)).collect(),
    };
    // One that is open has to be 1 in a run, which that checks.
    if let Some(&bad) = gone.iter().find(|&&a| from[a] != Dim::Fixed(1) && !from[a].is_open()) {
        return invalid(format!("dimension {bad} of {} is not 1", quaver_core::graph::dim::display(from)));
    }
    Ok(from.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, d)| d.clone()).collect())
}

fn unsqueezed(from: &[Dim], axes: &[i64]) -> Result<Vec<Dim>, NodeError> {
    let rank = from.len() + axes.len();
    let mut new = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    new.sort_unstable();
    if new.windows(2).any(|w| w[0] == w[1]) {
        return invalid(format!("axes {axes:?} name a dimension twice"));
    }
    let mut shape = from.to_vec();
    new.into_iter().for_each(|a| shape.insert(a, Dim::Fixed(1)));
    Ok(shape)
}

/// First element and number of elements, where the extent, start or end is open. Numbers are taken to be within the extent, which a
/// run checks.
fn open_cut(extent: &Dim, start: &Sym, end: &Sym) -> Option<[Dim; 2]> {
    /// From here on, exporters mean the end: the largest integer of some type, or this number.
    const END: i64 = 1_000_000_000;
    let all = extent.extent()?;
    let from_end = |x: &Sym| match x {
        Sym::Num(n) if *n >= END => Some(all.clone()),
        Sym::Num(n) if *n < 0 => all.plus(&Extent::from(*n)),
        x => Some(x.extent()),
    };
    let start = from_end(start)?;
    let len = from_end(end)?.minus(&start)?;
    Some([Dim::of(start)?, Dim::of(len)?])
}

/// How many elements a step that is positive takes of so many; `None` where no formula says it.
fn every(len: &Dim, step: i64) -> Option<Dim> {
    match step {
        1 => Some(len.clone()),
        2.. => Dim::of(len.extent()?.plus(&Extent::from(step - 1))?.over(&Extent::from(step))?),
        _ => None,
    }
}

/// First element and number of elements of ONNX's start, end and step on an extent.
fn cut(extent: usize, start: i64, end: i64, step: i64) -> Result<(usize, usize), NodeError> {
    let n = extent as i64;
    if step == 0 {
        return invalid("a step is 0");
    }
    let from_end = |x: i64| if x < 0 { x.saturating_add(n) } else { x };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (start, end) = (from_end(start).clamp(low.max(0), high.max(0)), from_end(end).clamp(low, high));
    let distance = if step > 0 { end - start } else { start - end };
    let len = if distance > 0 { distance.unsigned_abs().div_ceil(step.unsigned_abs()) } else { 0 };
    Ok((start as usize, len as usize))
}
