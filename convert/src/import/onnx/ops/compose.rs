//! Operations that are others together: each is written in terms of ONNX's own, so that what is known at import is still
//! computed then, and the graph needs no operation for it.

use quaver_core::graph::{Dim, Op, ValueId};
use quaver_core::tensor::DType;

use super::super::proto::{AttributeProto, NodeProto, tensor_proto::DataType};
use super::{Attrs, Ctx, Importer, NodeError, Outputs, Sym, Val, axis, invalid, unsupported};

/// An attribute that is a number.
pub(in super::super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i, ..AttributeProto::default() }
}

/// An attribute that is some numbers.
pub(super) fn ints(name: &str, ints: impl IntoIterator<Item = i64>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), ints: ints.into_iter().collect(), ..AttributeProto::default() }
}

/// A real number.
pub(super) fn real(x: f32) -> Val {
    Val::floats(Vec::new(), vec![x])
}

/// A number that may depend on the inputs' extents.
pub(super) fn number(n: &Sym) -> Val {
    n.num().map_or_else(|| Val::Ints { shape: Vec::new(), data: vec![n.clone()] }, |n| real(n as f32))
}

/// Whole numbers.
pub(in super::super) fn whole(data: impl IntoIterator<Item = i64>) -> Val {
    Val::ints(data.into_iter().map(Sym::Num).collect())
}

impl Importer<'_> {
    /// The result of an ONNX operation on values, which has no name.
    pub(in super::super) fn call(
        &mut self,
        ctx: &Ctx<'_>,
        op: &str,
        inputs: &[&Val],
        attributes: &[AttributeProto],
    ) -> Result<Val, NodeError> {
        let outputs = self.apply(ctx, op, inputs, attributes, &[String::new()])?;
        outputs.into_iter().next().ok_or_else(|| NodeError::Invalid(format!("{op} has no result")))
    }

    /// As [`Importer::call`], of which the results are those of the node.
    pub(super) fn last(&mut self, ctx: &Ctx<'_>, op: &str, inputs: &[&Val], attributes: &[AttributeProto]) -> Outputs {
        self.apply(ctx, op, inputs, attributes, &ctx.node.output)
    }

    /// As [`Importer::call`], of which the result is the node's first.
    pub(super) fn last_of(&mut self, ctx: &Ctx<'_>, op: &str, inputs: &[&Val], attributes: &[AttributeProto]) -> Outputs {
        self.apply(ctx, op, inputs, attributes, &ctx.node.output[..1])
    }

    fn apply(&mut self, ctx: &Ctx<'_>, op: &str, inputs: &[&Val], attributes: &[AttributeProto], output: &[String]) -> Outputs {
        let node = NodeProto {
            op_type: op.to_owned(),
            // Without names: none of them is the tensor that has the name.
            input: vec![String::new(); inputs.len()],
            output: output.to_vec(),
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        };
        let inputs: Vec<Option<Val>> = inputs.iter().map(|&v| if matches!(v, Val::Unknown) { None } else { Some(v.clone()) }).collect();
        let name = format!("{}/{op}", ctx.name);
        self.operation(&Ctx { node: &node, name: &name, inputs: &inputs, attrs: &Attrs::new(&node) })
    }

    /// Operand `i`, which has to be there.
    pub(super) fn given<'c>(&self, ctx: &Ctx<'c>, i: usize) -> Result<&'c Val, NodeError> {
        match ctx.inputs.get(i) {
            Some(Some(value)) => Ok(value),
            _ => invalid(format!("operand {i} is missing")),
        }
    }

    /// Extents of a value.
    pub(in super::super) fn extents(&self, value: &Val) -> Vec<Dim> {
        match value {
            Val::Tensor(id) => self.dims(*id),
            Val::Floats { shape, .. } | Val::Ints { shape, .. } => shape.iter().map(|&d| d.into()).collect(),
            Val::Unknown => Vec::new(),
        }
    }

    /// Extents as whole numbers, for the operations that take a shape.
    pub(super) fn shape_of(dims: &[Dim]) -> Val {
        Val::ints(dims.iter().map(Sym::from_dim).collect())
    }

    /// An extent that has to be known.
    pub(in super::super) fn fixed_extent(dims: &[Dim], axis: usize) -> Result<usize, NodeError> {
        match dims.get(axis).and_then(Dim::fixed) {
            Some(n) => Ok(n),
            None => unsupported(format!("extent {axis} of its operand is open; fix it with --input-shape")),
        }
    }

    /// The same value in another shape.
    pub(super) fn reshaped(&mut self, ctx: &Ctx<'_>, x: &Val, shape: &[Dim]) -> Result<Val, NodeError> {
        // A 0 would keep an extent.
        self.call(ctx, "Reshape", &[x, &Self::shape_of(shape)], &[int("allowzero", 1)])
    }

    /// Whether a value is of whole numbers.
    pub(super) fn is_whole(&self, value: &Val) -> bool {
        match value {
            Val::Tensor(id) => self.dtype(*id) == DType::I64,
            value => matches!(value, Val::Ints { .. }),
        }
    }

    /// 0, 1, … along an extent: whole numbers.
    pub(super) fn count_up(&mut self, ctx: &Ctx<'_>, extent: &Dim) -> Result<Val, NodeError> {
        if let Some(n) = extent.fixed() {
            return Ok(whole(0..n as i64));
        }
        // What is equal keeps its order.
        let zero = self.number(0.0);
        let zeros = self.helper(ctx, "zeros", Op::Expand { shape: vec![extent.clone()] }, &[zero])?;
        Ok(Val::Tensor(self.helper(ctx, "count", Op::TopK { axis: 0, k: extent.clone(), largest: true }, &[zeros])?))
    }

    pub(super) fn compose(&mut self, ctx: &Ctx<'_>) -> Outputs {
        match ctx.node.op_type.as_str() {
            "ReduceLogSum" => {
                let sum = self.reduced(ctx, "ReduceSum", self.given(ctx, 0)?, true)?;
                self.last(ctx, "Log", &[&sum], &[])
            }
            "ReduceLogSumExp" => {
                // Less the largest, so that nothing overflows.
                let x = self.given(ctx, 0)?;
                let kept = self.reduced(ctx, "ReduceMax", x, false)?;
                let less = self.call(ctx, "Sub", &[x, &kept], &[])?;
                let exp = self.call(ctx, "Exp", &[&less], &[])?;
                let sum = self.reduced(ctx, "ReduceSum", &exp, true)?;
                let log = self.call(ctx, "Log", &[&sum], &[])?;
                let largest = self.reduced(ctx, "ReduceMax", x, true)?;
                self.last(ctx, "Add", &[&log, &largest], &[])
            }
            "Swish" => {
                let x = self.given(ctx, 0)?;
                let alpha = ctx.attrs.float("alpha", 1.0)?;
                let scaled = if alpha == 1.0 { x.clone() } else { self.call(ctx, "Mul", &[x, &real(alpha)], &[])? };
                let gate = self.call(ctx, "Sigmoid", &[&scaled], &[])?;
                self.last(ctx, "Mul", &[x, &gate], &[])
            }
            "LpNormalization" => {
                let x = self.given(ctx, 0)?;
                let (at, p) = (ctx.attrs.int("axis")?.unwrap_or(-1), ctx.attrs.int("p")?.unwrap_or(2));
                let function = if p == 1 { "ReduceL1" } else { "ReduceL2" };
                let old = self.opset < 18;
                let axes = whole([at]);
                let (inputs, attributes) = if old { (vec![x], vec![ints("axes", [at])]) } else { (vec![x, &axes], Vec::new()) };
                let size = self.call(ctx, function, &inputs, &attributes)?;
                self.last(ctx, "Div", &[x, &size], &[])
            }
            "CumSum" => self.cum_sum(ctx),
            "Trilu" => self.trilu(ctx),
            "Mod" => self.modulo(ctx),
            "BitShift" => {
                let left = match ctx.attrs.string("direction", "")?.as_str() {
                    "LEFT" => true,
                    "RIGHT" => false,
                    other => return invalid(format!("direction '{other}' is unknown")),
                };
                let by = self.call(ctx, "Pow", &[&real(2.0), self.given(ctx, 1)?], &[])?;
                let x = self.as_floats(ctx, self.given(ctx, 0)?)?;
                let y = self.call(ctx, if left { "Mul" } else { "Div" }, &[&x, &by], &[])?;
                let y = self.call(ctx, "Floor", &[&y], &[])?;
                self.last(ctx, "Cast", &[&y], &[int("to", DataType::Int64 as i64)])
            }
            "IsNaN" => {
                let x = self.given(ctx, 0)?;
                let same = self.call(ctx, "Equal", &[x, x], &[])?;
                self.last(ctx, "Not", &[&same], &[])
            }
            "IsInf" => {
                let x = self.given(ctx, 0)?;
                match (ctx.attrs.flag("detect_positive", true)?, ctx.attrs.flag("detect_negative", true)?) {
                    (true, true) => {
                        let x = self.call(ctx, "Abs", &[x], &[])?;
                        self.last(ctx, "Equal", &[&x, &real(f32::INFINITY)], &[])
                    }
                    (true, false) => self.last(ctx, "Equal", &[x, &real(f32::INFINITY)], &[]),
                    (false, true) => self.last(ctx, "Equal", &[x, &real(f32::NEG_INFINITY)], &[]),
                    (false, false) => self.last(ctx, "Less", &[x, x], &[]),
                }
            }
            "CastLike" => {
                ctx.attrs.ignore("saturate");
                let to = if self.is_whole(self.given(ctx, 1)?) { DataType::Int64 } else { DataType::Float };
                self.last(ctx, "Cast", &[self.given(ctx, 0)?], &[int("to", to as i64)])
            }
            "EyeLike" => {
                ctx.attrs.ignore("dtype");
                let dims = self.extents(self.given(ctx, 0)?);
                let (rows, columns) = (Self::fixed_extent(&dims, 0)?, Self::fixed_extent(&dims, 1)?);
                let k = ctx.attrs.int("k")?.unwrap_or(0);
                let data = (0..rows * columns).map(|i| f32::from(u8::from((i % columns) as i64 - (i / columns) as i64 == k))).collect();
                Ok(vec![Val::floats(vec![rows, columns], data)])
            }
            "LRN" => self.local_response(ctx),
            "MeanVarianceNormalization" => {
                let x = self.given(ctx, 0)?;
                let axes = ints("axes", ctx.attrs.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]));
                let mean = self.call(ctx, "ReduceMean", &[x], std::slice::from_ref(&axes))?;
                let less = self.call(ctx, "Sub", &[x, &mean], &[])?;
                let square = self.call(ctx, "Mul", &[&less, &less], &[])?;
                let variance = self.call(ctx, "ReduceMean", &[&square], &[axes])?;
                let root = self.call(ctx, "Sqrt", &[&variance], &[])?;
                let root = self.call(ctx, "Add", &[&root, &real(1e-9)], &[])?;
                self.last(ctx, "Div", &[&less, &root], &[])
            }
            "LpPool" | "GlobalLpPool" => self.lp_pool(ctx),
            "Hardmax" => {
                let dims = self.extents(self.given(ctx, 0)?);
                let (default, old) = if self.opset >= 13 { (-1, false) } else { (1, true) };
                let at = axis(ctx.attrs.int("axis")?.unwrap_or(default), dims.len())?;
                if old && dims[at + 1..].iter().any(|d| *d != Dim::Fixed(1)) {
                    return unsupported("before opset 13 it is supported along the last dimension only");
                }
                let first = self.call(ctx, "ArgMax", &[self.given(ctx, 0)?], &[int("axis", at as i64)])?;
                let count = self.count_up(ctx, &dims[at])?;
                let count = self.along(ctx, &count, at, dims.len())?;
                self.last(ctx, "Equal", &[&count, &first], &[])
            }
            "CenterCropPad" => self.center(ctx),
            _ => unsupported("this operation is not supported"),
        }
    }

    /// A reduction with the axes of this node; its result has the name of none.
    fn reduced(&mut self, ctx: &Ctx<'_>, op: &str, x: &Val, as_given: bool) -> Result<Val, NodeError> {
        let axes = self.ints_of(ctx, "axes", 1)?;
        let keep = !as_given || ctx.attrs.flag("keepdims", true)?;
        let mut attributes = vec![int("keepdims", i64::from(keep)), int("noop_with_empty_axes", 0)];
        attributes[1].i = i64::from(ctx.attrs.flag("noop_with_empty_axes", false)?);
        attributes.extend(axes.map(|axes| ints("axes", axes)));
        self.call(ctx, op, &[x], &attributes)
    }

    /// A row as the dimension `axis` of a tensor of that rank.
    pub(super) fn along(&mut self, ctx: &Ctx<'_>, row: &Val, axis: usize, rank: usize) -> Result<Val, NodeError> {
        let mut shape = vec![Dim::Fixed(1); rank];
        shape[axis] = self.extents(row).first().cloned().unwrap_or(Dim::Fixed(1));
        self.reshaped(ctx, row, &shape)
    }

    /// A product with a triangle of ones, whose sums run in the order of a matrix product.
    fn cum_sum(&mut self, ctx: &Ctx<'_>) -> Outputs {
        /// Most elements along the axis: the triangle has the square of them.
        const MOST: usize = 4096;
        let x = self.given(ctx, 0)?;
        let dims = self.extents(x);
        let Some([at]) = self.ints(ctx, 1)?.as_deref().map(<[i64]>::to_vec).and_then(|a| <[i64; 1]>::try_from(a).ok()) else {
            return invalid("its axis should be one number");
        };
        let at = axis(at, dims.len())?;
        if dims[at].about() > MOST {
            return unsupported(format!("sums along {} elements are not supported; {MOST} at most are", dims[at]));
        }
        let (exclusive, reverse) = (ctx.attrs.flag("exclusive", false)?, ctx.attrs.flag("reverse", false)?);
        let least = i64::from(exclusive);
        let ones = self.triangle(ctx, [&dims[at]; 2], !reverse, &Sym::Num(if reverse { -least } else { least }))?;
        let ones = self.as_floats(ctx, &ones)?;
        let whole = self.is_whole(x);
        let last = dims.len() - 1;
        let mut perm: Vec<i64> = (0..dims.len() as i64).collect();
        perm.swap(at, last);
        let x = self.as_floats(ctx, x)?;
        let x = self.call(ctx, "Transpose", &[&x], &[ints("perm", perm.clone())])?;
        let y = self.call(ctx, "MatMul", &[&x, &ones], &[])?;
        if whole {
            let y = self.call(ctx, "Transpose", &[&y], &[ints("perm", perm)])?;
            return self.last(ctx, "Cast", &[&y], &[int("to", DataType::Int64 as i64)]);
        }
        self.last(ctx, "Transpose", &[&y], &[ints("perm", perm)])
    }

    /// Of a matrix, where column − row is k or more (`upper`), or k or less: known, or truth that a run computes.
    pub(super) fn triangle(&mut self, ctx: &Ctx<'_>, [rows, columns]: [&Dim; 2], upper: bool, k: &Sym) -> Result<Val, NodeError> {
        if let (Some(rows), Some(columns), Some(k)) = (rows.fixed(), columns.fixed(), k.num()) {
            let holds = |i: usize| {
                let diagonal = (i % columns.max(1)) as i64 - (i / columns.max(1)) as i64;
                i64::from(if upper { diagonal >= k } else { diagonal <= k })
            };
            return Ok(Val::Ints { shape: vec![rows, columns], data: (0..rows * columns).map(|i| Sym::Num(holds(i))).collect() });
        }
        let mut places = Vec::with_capacity(2);
        for (at, extent) in [rows, columns].into_iter().enumerate() {
            let count = self.count_up(ctx, extent)?;
            let count = self.as_floats(ctx, &count)?;
            places.push(self.along(ctx, &count, at, 2)?);
        }
        let k = self.as_floats(ctx, &number(k))?;
        let least = self.call(ctx, "Add", &[&places[0], &k], &[])?;
        self.call(ctx, if upper { "GreaterOrEqual" } else { "LessOrEqual" }, &[&places[1], &least], &[])
    }

    fn trilu(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let dims = self.extents(x);
        let [.., rows, columns] = &dims[..] else {
            return invalid(format!("its operand has rank {}, but should be a matrix", dims.len()));
        };
        let k = self.ints(ctx, 1)?.and_then(|k| k.first().copied()).unwrap_or(0);
        let upper = ctx.attrs.flag("upper", true)?;
        let mask = self.triangle(ctx, [rows, columns], upper, &Sym::Num(k))?;
        // A product would make NaN of infinities, which masks are made of.
        let zero = if self.is_whole(x) { Val::Ints { shape: Vec::new(), data: vec![Sym::Num(0)] } } else { real(0.0) };
        self.last(ctx, "Where", &[&mask, x, &zero], &[])
    }

    /// x − y·⌊x/y⌋ (the sign of y), or with `fmod` what x/y truncated leaves (the sign of x).
    fn modulo(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (x, y) = (self.given(ctx, 0)?, self.given(ctx, 1)?);
        let fmod = ctx.attrs.flag("fmod", false)?;
        let whole = self.is_whole(x) && self.is_whole(y);
        let [x, y] = [x, y].map(|v| self.as_floats(ctx, v));
        let (x, y) = (x?, y?);
        let mut quotient = self.call(ctx, "Div", &[&x, &y], &[])?;
        if fmod {
            let sign = self.call(ctx, "Sign", &[&quotient], &[])?;
            let size = self.call(ctx, "Abs", &[&quotient], &[])?;
            let size = self.call(ctx, "Floor", &[&size], &[])?;
            quotient = self.call(ctx, "Mul", &[&sign, &size], &[])?;
        } else {
            quotient = self.call(ctx, "Floor", &[&quotient], &[])?;
        }
        let multiple = self.call(ctx, "Mul", &[&y, &quotient], &[])?;
        if whole {
            let rest = self.call(ctx, "Sub", &[&x, &multiple], &[])?;
            return self.last(ctx, "Cast", &[&rest], &[int("to", DataType::Int64 as i64)]);
        }
        self.last(ctx, "Sub", &[&x, &multiple], &[])
    }

    /// x / (bias + α·mean(x²))^β over neighbouring channels, the mean counting zeros beside them: a convolution of one pixel, as which it is
    /// among the fastest operations.
    fn local_response(&mut self, ctx: &Ctx<'_>) -> Outputs {
        /// Most channels: the weights have the square of them.
        const MOST: usize = 4096;
        let a = ctx.attrs;
        let (alpha, beta, bias) = (a.float("alpha", 1e-4)?, a.float("beta", 0.75)?, a.float("bias", 1.0)?);
        let Some(size) = a.int("size")?.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0) else {
            return invalid("size is missing or not positive");
        };
        let x = self.given(ctx, 0)?;
        let dims = self.extents(x);
        if dims.len() < 3 {
            return invalid("its operand has no pixels");
        }
        let channels = Self::fixed_extent(&dims, 1)?;
        if channels > MOST {
            return unsupported(format!("neighbours among {channels} channels are not supported; {MOST} at most are"));
        }
        let (before, after) = ((size - 1) / 2, size / 2);
        let near = |to: usize, from: usize| from + before >= to && from <= to + after;
        let part = alpha / size as f32;
        let weights = (0..channels * channels).map(|i| if near(i / channels, i % channels) { part } else { 0.0 }).collect();
        let shape = [vec![channels; 2], vec![1; dims.len() - 2]].concat();
        let square = self.call(ctx, "Mul", &[x, x], &[])?;
        let sum =
            self.call(ctx, "Conv", &[&square, &Val::floats(shape, weights), &Val::floats(vec![channels], vec![bias; channels])], &[])?;
        let root = self.call(ctx, "Pow", &[&sum, &real(beta)], &[])?;
        self.last(ctx, "Div", &[x, &root], &[])
    }

    /// The root of the sum of powers over a window, or the image.
    fn lp_pool(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let p = ctx.attrs.int("p")?.unwrap_or(2) as f32;
        let x = self.given(ctx, 0)?;
        let size = self.call(ctx, "Abs", &[x], &[])?;
        let power = self.call(ctx, "Pow", &[&size, &real(p)], &[])?;
        let sum = if ctx.node.op_type == "GlobalLpPool" {
            let axes = ints("axes", 2..self.extents(x).len() as i64);
            self.call(ctx, "ReduceSum", &[&power], &[axes])?
        } else {
            let Some(kernel) = ctx.attrs.ints("kernel_shape")? else { return invalid("kernel_shape is missing") };
            let taps = kernel.iter().product::<i64>() as f32;
            let mut attributes = vec![int("count_include_pad", 1)];
            for name in ["kernel_shape", "strides", "pads", "dilations"] {
                attributes.extend(ctx.attrs.ints(name)?.map(|values| ints(name, values)));
            }
            attributes.push(int("ceil_mode", i64::from(ctx.attrs.flag("ceil_mode", false)?)));
            let auto_pad = ctx.attrs.string("auto_pad", "NOTSET")?;
            attributes.push(AttributeProto { name: "auto_pad".to_owned(), s: auto_pad.into_bytes(), ..AttributeProto::default() });
            let mean = self.call(ctx, "AveragePool", &[&power], &attributes)?;
            self.call(ctx, "Mul", &[&mean, &real(taps)], &[])?
        };
        self.last(ctx, "Pow", &[&sum, &real(1.0 / p)], &[])
    }

    /// Cut or padded with zeros to extents, alike on both sides.
    fn center(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let dims = self.extents(x);
        let Some(target) = self.ints(ctx, 1)? else { return invalid("its shape is missing") };
        let axes = ctx.attrs.ints("axes")?.unwrap_or_else(|| (0..dims.len() as i64).collect());
        if axes.len() != target.len() {
            return invalid("axes and shape differ in length");
        }
        let mut pads = vec![0i64; 2 * dims.len()];
        for (&a, &to) in axes.iter().zip(&target) {
            let a = axis(a, dims.len())?;
            let more = to - Self::fixed_extent(&dims, a)? as i64;
            // A negative pad cuts off. Of an odd number, the smaller half is before what is padded, and what is cut.
            let before = if more >= 0 { more / 2 } else { -(-more / 2) };
            (pads[a], pads[dims.len() + a]) = (before, more - before);
        }
        self.last(ctx, "Pad", &[x, &whole(pads)], &[])
    }

    /// A value of the network with that shape.
    pub(super) fn as_value(&mut self, value: &Val) -> Result<ValueId, NodeError> {
        match self.materialise(value, "") {
            Some(id) => Ok(id),
            None => unsupported("an operand depends on the inputs' extents alone"),
        }
    }
}
