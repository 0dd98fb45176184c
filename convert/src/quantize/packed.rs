//! Operations with packed weights: a convolution or matrix product with all that its epilogue does, and scales and shifts of channels.

use quaver_core::arith::table;
use quaver_core::format::weights::PackedShape;
use quaver_core::graph::op::{Epilogue, QConv, QConvTranspose, QGemm, Residual, Window};
use quaver_core::graph::{Node, Op, ValueId};
use quaver_core::quant::Affine;

use super::QuantizeError;
use super::emit::{Emitter, limits};
use super::fusion::{Group, Step, Swish, apply_all};
use super::weights::{self, QuantizedWeights};
use crate::refine::{Passes, Product};

impl Emitter<'_> {
    /// A convolution or matrix product whose weights are constant, with what is behind it.
    pub(super) fn heavy(&mut self, i: usize, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        let graph = self.graph();
        let network = self.plan.network;
        let x = node.inputs[0];
        let from = self.affine(x)?;
        let channels_of = |id: ValueId| graph.value(id).shape.last().and_then(|d| d.fixed()).unwrap_or_default();
        let (ic, oc) = (channels_of(x), channels_of(node.outputs[0]));
        let shape = match &node.op {
            Op::Conv(c) => PackedShape::conv(c.window.kernel, ic, oc, c.groups),
            Op::ConvTranspose(c) => PackedShape::grouped(c.window.kernel, ic, oc, c.groups),
            _ => PackedShape::grouped([1, 1], ic, oc, 1),
        };
        let shape = shape.ok_or_else(|| self.too_long(node, ic))?;
        let hwio = network.elements::<f32>(node.inputs[1]).unwrap_or_default();
        if let Some(bad) = hwio.iter().find(|w| !w.is_finite()) {
            return Err(QuantizeError::BadWeight { node: node.name.clone(), value: *bad });
        }
        let bias = node.inputs.get(2).and_then(|&b| network.elements::<f32>(b));
        let scales = match self.plan.given.and_then(|g| g.weight_scales(node)) {
            Some(scales) => scales,
            None => weights::symmetric(hwio, oc, self.plan.configs[i].weights),
        };
        let w = weights::quantize(shape, hwio, bias, from.scale, from.zero_point, scales).map_err(|e| self.too_long(node, e.k))?;

        let output_affine = if self.plan.regions.is_u8[node.outputs[0].index()] { Some(self.affine(group.output)?) } else { None };
        // Its rounding in front of a function is one that the model asks for, where the model is quantized already.
        let swished = output_affine.filter(|_| self.plan.given.is_none()).and_then(|to| self.swished(group, to, &shape));
        let table = group.table.as_ref().filter(|_| swished.is_none());
        // What the accumulator is requantized to: the output, or what the fused table is applied to.
        let target = match (table, output_affine) {
            (Some((_, before)), Some(_)) if self.plan.given.is_some() => Some(self.affine(*before)?),
            (Some((steps, before)), Some(after)) => {
                let (min, max) =
                    (self.plan.range)(before.index()).ok_or_else(|| QuantizeError::NoRange { value: self.name(*before).to_owned() })?;
                let (min, max) = trim(steps, min, max, after.scale);
                Some(Affine::from_range(min, max, self.plan.q_max))
            }
            (_, affine) => affine,
        };
        let residual = match (group.residual, target) {
            (Some(r), Some(target)) => {
                let affine = self.affine(r)?;
                let multiplier = (f64::from(affine.scale) / f64::from(target.scale)) as f32;
                Some((self.integer(r)?, Residual { zero_point: affine.zero_point, multiplier }))
            }
            _ => None,
        };
        let epilogue = target.map(|t| {
            let (lo, hi) = limits(group, t);
            let residual = residual.map(|(_, r)| r);
            Epilogue { zero_point: t.zero_point, lo, hi, residual, hard_swish: swished.is_some(), table: table.is_some() }
        });
        let pad_value = from.zero_point;
        let op = match &node.op {
            Op::Conv(c) => Op::QConv(QConv { window: c.window, groups: c.groups, channels: oc, pad_value, epilogue }),
            Op::ConvTranspose(c) => Op::QConvTranspose(QConvTranspose {
                window: c.window,
                groups: c.groups,
                channels: oc,
                output_padding: c.output_padding,
                pad_value,
                epilogue,
            }),
            _ => Op::QGemm(QGemm { channels: oc, epilogue }),
        };
        let mut inputs = vec![self.integer(x)?];
        // What f32(acc)·m counts in.
        let steps = match &swished {
            Some(swished) => swished.steps.clone(),
            None => vec![target.map_or(1.0, |t| f64::from(t.scale)); w.scales.len()],
        };
        inputs.extend(self.weight_constants(node, &shape, &w, &steps));
        inputs.extend(residual.map(|(r, _)| r));
        if let Some(Swished { steps, shifts }) = &swished {
            let slopes = steps.iter().map(|step| ((step / 6.0) as f32).clamp(f32::MIN_POSITIVE, f32::MAX));
            let parameters: Vec<f32> = slopes.chain(shifts.iter().map(|&shift| (shift as f32).clamp(f32::MIN, f32::MAX))).collect();
            inputs.push(self.out.constant(format!("{}.hard_swish", node.name), &[2, steps.len()], &parameters));
        }
        if let (Some((steps, _)), Some(before), Some(after)) = (table, target, output_affine) {
            let bytes = table::build(|x| apply_all(steps, x), before, after);
            inputs.push(self.out.constant(format!("{}.table", node.name), &[256], &bytes));
        }
        let config = &self.plan.configs[i];
        self.products.push(Product {
            node: node.name.clone(),
            shape,
            weights: node.inputs[1],
            output: node.outputs[0],
            residual: group.residual,
            from,
            scales: w.scales.iter().map(|s| s / f64::from(from.scale)).collect(),
            passes: Passes { rounding: config.rounding, bias_correction: config.bias_correction },
        });
        self.finish(op, &inputs, node, group.output, output_affine)
    }

    /// What an epilogue computes HardSwish with, if that is all that is behind a product.
    fn swished(&self, group: &Group, to: Affine, shape: &PackedShape) -> Option<Swished> {
        let Group { residual: None, clamp: None, table: Some((steps, _)), factors, .. } = group else { return None };
        let Swish { multiple, shift } = Swish::of(steps)?;
        let scale = f64::from(to.scale);
        let mut swished =
            Swished { steps: vec![scale / multiple; shape.padded_channels()], shifts: vec![shift / scale; shape.padded_channels()] };
        if let Some(factors) = factors.and_then(|id| self.plan.network.elements::<f32>(id)) {
            let of_group = shape.output_channels.max(1);
            for (channel, &factor) in factors.iter().enumerate() {
                let at = if shape.depthwise { channel } else { shape.channel(channel / of_group, channel % of_group) };
                swished.steps[at] /= f64::from(factor);
                swished.shifts[at] *= f64::from(factor);
            }
        }
        Some(swished)
    }

    /// Weights, bias and multipliers as constants, in the operands' order; `steps` are what each channel of the result counts in.
    fn weight_constants(&mut self, node: &Node, shape: &PackedShape, w: &QuantizedWeights, steps: &[f64]) -> [ValueId; 3] {
        let multipliers: Vec<f32> = w.scales.iter().zip(steps).map(|(s, step)| (s / step) as f32).collect();
        let name = &node.name;
        [
            self.out.constant(format!("{name}.weight"), &shape.weights(), &w.packed),
            self.out.constant(format!("{name}.bias"), &[w.bias.len()], &w.bias),
            self.out.constant(format!("{name}.multiplier"), &[multipliers.len()], &multipliers),
        ]
    }

    /// A per-channel scale and shift as a depthwise 1×1 convolution: one scale a channel makes it exact to the last bit
    /// of the output's rounding, which a u8 constant would not be.
    pub(super) fn depthwise(&mut self, node: &Node, group: &Group, x: ValueId, scale: &[f32], shift: &[f32]) -> Result<(), QuantizeError> {
        let channels = scale.len();
        let from = self.affine(x)?;
        let to = self.affine(group.output)?;
        let shape = PackedShape::conv([1, 1], channels, channels, channels).ok_or_else(|| self.too_long(node, channels))?;
        let scales = weights::symmetric(scale, channels, super::WeightScheme::PerChannel);
        let w = weights::quantize(shape, scale, Some(shift), from.scale, from.zero_point, scales).map_err(|e| self.too_long(node, e.k))?;
        let (lo, hi) = limits(group, to);
        let epilogue = Some(Epilogue { zero_point: to.zero_point, lo, hi, residual: None, hard_swish: false, table: false });
        let op = Op::QConv(QConv { window: Window::unit(), groups: channels, channels, pad_value: from.zero_point, epilogue });
        let x = self.integer(x)?;
        let mut inputs = vec![x];
        inputs.extend(self.weight_constants(node, &shape, &w, &vec![f64::from(to.scale); w.scales.len()]));
        self.finish(op, &inputs, node, group.output, Some(to))
    }
}

/// What an epilogue computes HardSwish with, for each padded channel.
struct Swished {
    /// What its argument counts in.
    steps: Vec<f64>,
    /// What is added behind it, in steps of the output.
    shifts: Vec<f64>,
}

/// Cuts off the ends of a range on which what follows stays within a quarter of a step of its value at the end: those inputs
/// clamp to the same output, and the integers are spent on inputs that matter (hard-swish below −3, sigmoid beyond ±6).
fn trim(steps: &[Step], min: f32, max: f32, step: f32) -> (f32, f32) {
    const POINTS: usize = 1024;
    let (lo, hi) = (f64::from(min), f64::from(max));
    let at = |i: usize| lo + (hi - lo) * i as f64 / POINTS as f64;
    let flat = |a: f64, b: f64| (apply_all(steps, a) - apply_all(steps, b)).abs() <= f64::from(step) / 4.0;
    let first = (0..POINTS).take_while(|&i| flat(lo, at(i + 1))).count();
    let last = (first..POINTS).rev().take_while(|&i| flat(hi, at(i))).count();
    (at(first) as f32, at(POINTS - last) as f32)
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::op::{BinaryFn, Conv, UnaryFn};
    use quaver_core::graph::{Dim, Network};
    use quaver_core::tensor::DType;

    use super::*;
    use crate::quantize::qconfig::QConfigMapping;
    use crate::quantize::quantize;

    /// What the first convolution becomes in convolution → operations → convolution, depthwise or not; with what it writes, and its
    /// multipliers, and slopes and shifts of HardSwish.
    fn behind_a_convolution(operations: &[(Op, &[f32])], depthwise: bool) -> (Epilogue, Affine, Vec<f32>, Vec<f32>) {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 4.into(), 4.into(), 2.into()]);
        let groups = if depthwise { 2 } else { 1 };
        let w = net.constant("w", &[1, 1, 2 / groups, 2], &[0.5f32, -0.75, 0.25, 1.0][..4 / groups]);
        let mut v = net.push(Op::Conv(Conv { window: Window::unit(), groups }), &[x, w], "first", "first").expect("fits");
        for (i, (op, numbers)) in operations.iter().enumerate() {
            let numbers = matches!(op, Op::Binary { .. }).then(|| net.constant("numbers", &[numbers.len()], numbers));
            let inputs: Vec<ValueId> = std::iter::once(v).chain(numbers).collect();
            v = net.push(op.clone(), &inputs, &format!("behind{i}"), &format!("behind{i}")).expect("fits");
        }
        let w = net.constant("w", &[1, 1, 2, 2], &[0.5f32, -0.75, 0.25, 1.0]);
        let y = net.push(Op::Conv(Conv { window: Window::unit(), groups: 1 }), &[v, w], "last", "last").expect("fits");
        net.output(y);
        let net = quantize(&net, &QConfigMapping::default(), &|_| Some((-2.0, 4.0))).expect("it has all ranges").network;
        let node = net.graph.nodes.iter().find(|n| n.name == "first").expect("there");
        let Op::QConv(QConv { epilogue: Some(epilogue), .. }) = node.op else { panic!("not in integers: {node:?}") };
        assert_eq!(node.inputs.len(), 4 + usize::from(epilogue.table || epilogue.hard_swish));
        let to = net.graph.value(node.outputs[0]).quant.expect("u8");
        let [multipliers, swish] = [3, 4].map(|i| node.inputs.get(i).and_then(|&id| net.elements(id)).unwrap_or_default().to_vec());
        (epilogue, to, multipliers, swish)
    }

    #[test]
    fn hard_swish_behind_a_product_is_no_table() {
        let unary = |function| (Op::Unary { function }, &[][..]);
        fn number(function: BinaryFn, numbers: &[f32]) -> (Op, &[f32]) {
            (Op::Binary { function }, numbers)
        }
        let swish = unary(UnaryFn::HardSwish);
        for depthwise in [false, true] {
            let (epilogue, to, plain, parameters) = behind_a_convolution(std::slice::from_ref(&swish), depthwise);
            let expected = Epilogue { zero_point: to.zero_point, lo: 0, hi: to.q_max, residual: None, hard_swish: true, table: false };
            assert_eq!(epilogue, expected);
            let slope = (f64::from(to.scale) / 6.0) as f32;
            assert_eq!((&parameters[..2], &parameters[16..18], parameters.len()), (&[slope; 2][..], &[0.0; 2][..], 32));

            // (h + 1)·2 − 0.5 = 2h + 1.5
            let line = [swish.clone(), number(BinaryFn::Add, &[1.0]), number(BinaryFn::Mul, &[2.0]), number(BinaryFn::Sub, &[0.5])];
            let (epilogue, to, doubled, parameters) = behind_a_convolution(&line, depthwise);
            let (slope, shift) = ((f64::from(to.scale) / 12.0) as f32, (1.5 / f64::from(to.scale)) as f32);
            assert!(epilogue.hard_swish && !epilogue.table && (doubled[0], doubled[1]) == (2.0 * plain[0], 2.0 * plain[1]));
            assert_eq!((&parameters[..2], &parameters[16..18]), (&[slope; 2][..], &[shift; 2][..]));

            // A factor for each channel behind it.
            let factors = [&line[..], &[number(BinaryFn::Mul, &[0.5, 4.0])]].concat();
            let (epilogue, same, scaled, parameters) = behind_a_convolution(&factors, depthwise);
            assert!(same == to && epilogue.hard_swish && (scaled[0], scaled[1]) == (plain[0], 8.0 * plain[1]));
            assert_eq!((&parameters[..2], &parameters[16..18]), (&[2.0 * slope, slope / 4.0][..], &[shift / 2.0, shift * 4.0][..]));

            let others = [
                vec![unary(UnaryFn::Silu)],
                vec![swish.clone(), number(BinaryFn::Mul, &[-1.0])],
                vec![swish.clone(), unary(UnaryFn::Abs)],
                vec![unary(UnaryFn::Silu), number(BinaryFn::Mul, &[0.5, 4.0])],
            ];
            for others in others {
                let (epilogue, ..) = behind_a_convolution(&others, depthwise);
                assert!(!epilogue.hard_swish && epilogue.table, "{others:?}");
            }
            for factors in [&[0.5, -4.0], &[0.0, 1.0]] {
                let (epilogue, ..) = behind_a_convolution(&[swish.clone(), number(BinaryFn::Mul, factors)], depthwise);
                assert!(epilogue.hard_swish, "and {factors:?} by themselves");
            }
        }
    }

    #[test]
    fn flat_ends_are_cut_off() {
        let (lo, hi) = trim(&[Step::Unary(UnaryFn::HardSwish)], -20.0, 5.0, 0.02);
        assert!((-3.1..-2.9).contains(&lo) && hi == 5.0, "{lo} {hi}");
        let (lo, hi) = trim(&[Step::Unary(UnaryFn::Sigmoid)], -30.0, 30.0, 1.0 / 255.0);
        assert!((-7.5..-6.0).contains(&lo) && (6.0..7.5).contains(&hi), "{lo} {hi}");
        assert_eq!(trim(&[Step::Unary(UnaryFn::Tanh)], -0.5, 0.25, 0.001), (-0.5, 0.25));
    }
}
