//! Operations with packed weights: a convolution or matrix product with all that its epilogue does, and scales and shifts of channels.

use quaver_core::arith::table;
use quaver_core::format::weights::PackedShape;
use quaver_core::graph::op::{BinaryFn, Epilogue, HardSwish, QConv, QConvTranspose, QGemm, Residual, UnaryFn, Window};
use quaver_core::graph::{Node, Op, ValueId};
use quaver_core::quant::Affine;

use super::QuantizeError;
use super::emit::{Emitter, limits};
use super::fusion::{Group, Step, apply_all};
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
        let swished = output_affine.filter(|_| self.plan.given.is_none()).and_then(|to| hard_swish(group, to));
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
            let hard_swish = swished.map(|(function, _)| function);
            Epilogue { zero_point: t.zero_point, lo, hi, residual, hard_swish, table: table.is_some() }
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
        let step = swished.map(|(_, step)| step).or(target.map(|t| f64::from(t.scale)));
        inputs.extend(self.weight_constants(node, &shape, &w, step.unwrap_or(1.0)));
        inputs.extend(residual.map(|(r, _)| r));
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

    /// Weights, bias and multipliers as constants, in the operands' order.
    fn weight_constants(&mut self, node: &Node, shape: &PackedShape, w: &QuantizedWeights, target_scale: f64) -> [ValueId; 3] {
        let multipliers: Vec<f32> = w.scales.iter().map(|s| (s / target_scale) as f32).collect();
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
        let epilogue = Some(Epilogue { zero_point: to.zero_point, lo, hi, residual: None, hard_swish: None, table: false });
        let op = Op::QConv(QConv { window: Window::unit(), groups: channels, channels, pad_value: from.zero_point, epilogue });
        let x = self.integer(x)?;
        let mut inputs = vec![x];
        inputs.extend(self.weight_constants(node, &shape, &w, f64::from(to.scale)));
        self.finish(op, &inputs, node, group.output, Some(to))
    }
}

/// HardSwish with no more than a multiple and a shift behind it, which epilogues compute themselves, if that is all that is behind a
/// product; and what it counts in, the step of `to` over the multiple.
fn hard_swish(group: &Group, to: Affine) -> Option<(HardSwish, f64)> {
    let Group { residual: None, clamp: None, table: Some((steps, _)), .. } = group else { return None };
    let (Step::Unary(UnaryFn::HardSwish), behind) = steps.split_first()? else { return None };
    let (mut multiple, mut shift) = (1.0, 0.0);
    for step in behind {
        let Step::Number { function, number, first } = *step else { return None };
        let number = f64::from(number);
        (multiple, shift) = match (function, first) {
            (BinaryFn::Mul, _) => (multiple * number, shift * number),
            (BinaryFn::Div, false) => (multiple / number, shift / number),
            (BinaryFn::Add, _) => (multiple, shift + number),
            (BinaryFn::Sub, false) => (multiple, shift - number),
            _ => return None,
        };
    }
    let step = f64::from(to.scale) / multiple;
    let function = HardSwish { slope: (step / 6.0) as f32, shift: (shift / f64::from(to.scale)) as f32 };
    (function.slope > 0.0 && function.slope.is_finite() && function.shift.is_finite()).then_some((function, step))
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
    use quaver_core::graph::op::Conv;
    use quaver_core::graph::{Dim, Network};
    use quaver_core::tensor::DType;

    use super::*;
    use crate::quantize::qconfig::QConfigMapping;
    use crate::quantize::quantize;

    /// What the first convolution becomes in convolution → operations → convolution, depthwise or not; with what it writes, and its
    /// multiplier of the first channel.
    fn behind_a_convolution(operations: &[(Op, f32)], depthwise: bool) -> (Epilogue, Affine, f32) {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 4.into(), 4.into(), 2.into()]);
        let groups = if depthwise { 2 } else { 1 };
        let w = net.constant("w", &[1, 1, 2 / groups, 2], &[0.5f32, -0.75, 0.25, 1.0][..4 / groups]);
        let mut v = net.push(Op::Conv(Conv { window: Window::unit(), groups }), &[x, w], "first", "first").expect("fits");
        for (i, (op, number)) in operations.iter().enumerate() {
            let number = matches!(op, Op::Binary { .. }).then(|| net.constant("number", &[1], &[*number]));
            let inputs: Vec<ValueId> = std::iter::once(v).chain(number).collect();
            v = net.push(op.clone(), &inputs, &format!("behind{i}"), &format!("behind{i}")).expect("fits");
        }
        let w = net.constant("w", &[1, 1, 2, 2], &[0.5f32, -0.75, 0.25, 1.0]);
        let y = net.push(Op::Conv(Conv { window: Window::unit(), groups: 1 }), &[v, w], "last", "last").expect("fits");
        net.output(y);
        let net = quantize(&net, &QConfigMapping::default(), &|_| Some((-2.0, 4.0))).expect("it has all ranges").network;
        let node = net.graph.nodes.iter().find(|n| n.name == "first").expect("there");
        let Op::QConv(QConv { epilogue: Some(epilogue), .. }) = node.op else { panic!("not in integers: {node:?}") };
        assert_eq!(node.inputs.len(), 4 + usize::from(epilogue.table));
        let multiplier = net.elements::<f32>(node.inputs[3]).expect("constant")[0];
        (epilogue, net.graph.value(node.outputs[0]).quant.expect("u8"), multiplier)
    }

    #[test]
    fn hard_swish_behind_a_product_is_no_table() {
        let unary = |function| (Op::Unary { function }, 0.0);
        let number = |function, number| (Op::Binary { function }, number);
        let swish = unary(UnaryFn::HardSwish);
        for depthwise in [false, true] {
            let (epilogue, to, plain) = behind_a_convolution(std::slice::from_ref(&swish), depthwise);
            let function = HardSwish { slope: (f64::from(to.scale) / 6.0) as f32, shift: 0.0 };
            let expected =
                Epilogue { zero_point: to.zero_point, lo: 0, hi: to.q_max, residual: None, hard_swish: Some(function), table: false };
            assert_eq!(epilogue, expected);

            // (h + 1)·2 − 0.5 = 2h + 1.5
            let line = [swish.clone(), number(BinaryFn::Add, 1.0), number(BinaryFn::Mul, 2.0), number(BinaryFn::Sub, 0.5)];
            let (epilogue, to, doubled) = behind_a_convolution(&line, depthwise);
            let function = HardSwish { slope: (f64::from(to.scale) / 12.0) as f32, shift: (1.5 / f64::from(to.scale)) as f32 };
            assert_eq!((epilogue.hard_swish, epilogue.table, doubled), (Some(function), false, 2.0 * plain));

            for others in
                [vec![unary(UnaryFn::Silu)], vec![swish.clone(), number(BinaryFn::Mul, -1.0)], vec![swish.clone(), unary(UnaryFn::Abs)]]
            {
                let (epilogue, ..) = behind_a_convolution(&others, depthwise);
                assert!(epilogue.hard_swish.is_none() && epilogue.table, "{others:?}");
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
