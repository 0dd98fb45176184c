//! Emission of what has quantized weights and activations that are real, or that each run quantizes by what they are.

use quaver_core::format::weights::PackedShape;
use quaver_core::graph::{Network, Node, Op, ValueId};
use quaver_core::tensor::DType;

use super::emit::Emitter;
use super::qconfig::{ActivationScheme, WeightScheme};
use super::{QuantizeError, grid, weights};

/// The byte that stands for 0 in weights that are real where they are used.
const MIDDLE: f64 = 128.0;

impl<'a> Emitter<'a> {
    /// A product whose activations each run quantizes.
    pub(super) fn dynamic(&mut self, i: usize, node: &Node) -> Result<(Op, Vec<ValueId>), QuantizeError> {
        let config = self.plan.configs[i];
        let (w, [k, n]) = self.matrix(node, 1)?;
        let bias = node.inputs.get(2).and_then(|&b| self.plan.network.elements::<f32>(b));
        let shape = PackedShape::grouped([1, 1], k, n, 1).ok_or_else(|| self.too_long(node, k))?;
        let scales = grid::scales(w, n).unwrap_or_else(|| weights::symmetric(w, n, config.weights));
        // A scale of 1 and a zero point in the middle make the bias −128·Σw, and the scales those of the weights.
        let w = weights::quantize(shape, w, None, 1.0, 128, scales).map_err(|e| self.too_long(node, e.k))?;
        let multiplier: Vec<f32> = w.scales.iter().map(|&s| s as f32).collect();
        let sums: Vec<f32> = w.bias.iter().zip(&w.scales).map(|(&b, s)| (f64::from(b) / -128.0 * s) as f32).collect();
        let mut offset = vec![0f32; sums.len()];
        if let Some(bias) = bias {
            offset[..n].copy_from_slice(bias);
        }
        let [qparams, x] = self.chosen(node.inputs[0], config.activations)?;
        let (name, padded) = (&node.name, [sums.len()]);
        let inputs = vec![
            x,
            self.out.constant(format!("{name}.weight"), &shape.weights(), &w.packed),
            self.out.constant(format!("{name}.folded"), &padded, &w.bias),
            self.out.constant(format!("{name}.multiplier"), &padded, &multiplier),
            qparams,
            self.out.constant(format!("{name}.sums"), &padded, &sums),
            self.out.constant(format!("{name}.bias"), &padded, &offset),
        ];
        Ok((Op::DynamicGemm { channels: n }, inputs))
    }

    /// The parameters that a run chooses for a value, and the value under them; once for all who read it.
    fn chosen(&mut self, id: ValueId, activations: ActivationScheme) -> Result<[ValueId; 2], QuantizeError> {
        if let Some(&chosen) = self.chosen.get(&(id, activations)) {
            return Ok(chosen);
        }
        let real = self.real(id)?;
        let kept = match activations {
            ActivationScheme::PerRow => self.graph().value(id).shape.len().saturating_sub(1),
            ActivationScheme::PerTensor => 0,
        };
        let name = self.name(id);
        let qparams = self.out.push(Op::ChooseQparams { kept }, &[real], &format!("{name}/choose_qparams"), "")?;
        let x = self.out.push_typed(Op::DynamicQuantize, &[real, qparams], &format!("{name}/quantize"), "", DType::U8, None)?;
        self.chosen.insert((id, activations), [qparams, x]);
        Ok([qparams, x])
    }

    /// A product or an embedding whose weights are bytes.
    pub(super) fn weight_only(&mut self, i: usize, node: &Node) -> Result<(Op, Vec<ValueId>), QuantizeError> {
        let name = &node.name;
        if let Op::Gather { .. } = node.op {
            let (table, [rows, width]) = self.matrix(node, 0)?;
            let scales: Vec<f64> = table.chunks(width.max(1)).map(row_scale).collect();
            let bytes: Vec<u8> = table.iter().enumerate().map(|(at, &x)| byte(x, scales[at / width])).collect();
            let table = self.out.constant(format!("{name}.table"), &[rows, width], &bytes);
            let scale = self.out.constant(format!("{name}.scale"), &[rows], &single(&scales));
            let indices = self.real(node.inputs[1])?;
            return Ok((Op::Embedding, vec![table, scale, indices]));
        }
        let (w, [k, n]) = self.matrix(node, 1)?;
        let scales = grid::scales(w, n).unwrap_or_else(|| weights::symmetric(w, n, self.plan.configs[i].weights));
        let bytes: Vec<u8> = w.iter().enumerate().map(|(at, &w)| byte(w, scales[at % n])).collect();
        let mut inputs = vec![self.real(node.inputs[0])?];
        inputs.push(self.out.constant(format!("{name}.weight"), &[k, n], &bytes));
        inputs.push(self.out.constant(format!("{name}.scale"), &[n], &single(&scales)));
        if let Some(&bias) = node.inputs.get(2) {
            inputs.push(self.real(bias)?);
        }
        Ok((Op::WeightOnlyGemm, inputs))
    }

    /// A constant matrix, all numbers, and its extents.
    fn matrix(&self, node: &Node, operand: usize) -> Result<(&'a [f32], [usize; 2]), QuantizeError> {
        let id = node.inputs[operand];
        let network: &'a Network = self.plan.network;
        let data = network.elements::<f32>(id).unwrap_or_default();
        if let Some(&value) = data.iter().find(|w| !w.is_finite()) {
            return Err(QuantizeError::BadWeight { node: node.name.clone(), value });
        }
        let extent = |d: usize| self.graph().value(id).shape.get(d).and_then(|d| d.fixed()).unwrap_or_default();
        Ok((data, [extent(0), extent(1)]))
    }
}

/// The scale of a row: that of its integers, where it was quantized before.
fn row_scale(row: &[f32]) -> f64 {
    grid::scales(row, 1).unwrap_or_else(|| weights::symmetric(row, 1, WeightScheme::PerTensor))[0]
}

fn single(scales: &[f64]) -> Vec<f32> {
    scales.iter().map(|&s| s as f32).collect()
}

/// rne(w / scale) + 128; 128 for a scale of 0, whose weights are 0.
fn byte(w: f32, scale: f64) -> u8 {
    let q = if scale > 0.0 { libm::rint(f64::from(w) / scale) } else { 0.0 };
    (q + MIDDLE).clamp(0.0, 255.0) as u8
}
