//! QLinear… and …Integer: the float operation between a dequantization and a quantization.

use super::super::{Ctx, Importer, NodeError, Outputs, Val, invalid, unsupported};
use crate::import::onnx::proto::NodeProto;

/// Operands x, scale, zero point, one after the other.
const X: [usize; 3] = [0, 1, 2];

impl Importer<'_> {
    /// QLinear… and QGemm.
    pub(in super::super) fn qlinear(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let a = ctx.attrs;
        match ctx.node.op_type.as_str() {
            "QLinearConv" => {
                let (x, w) = (self.operand(ctx, X, 1)?, self.operand(ctx, [3, 4, 5], 0)?);
                let bias = self.bias_of(ctx, 8, 1, 4, 1.0)?;
                self.between(ctx, "Conv", vec![x, w, bias], [6, 7])
            }
            "QLinearMatMul" => {
                let (x, w) = (self.operand(ctx, X, -2)?, self.operand(ctx, [3, 4, 5], -1)?);
                self.between(ctx, "MatMul", vec![x, w], [6, 7])
            }
            "QGemm" => {
                let alpha = a.float("alpha", 1.0)?;
                let columns = if a.flag("transB", false)? { 0 } else { 1 };
                let (x, w) = (self.operand(ctx, X, 0)?, self.operand(ctx, [3, 4, 5], columns)?);
                let bias = self.bias_of(ctx, 6, 1, 4, alpha)?;
                if ctx.has(7) {
                    return self.between(ctx, "Gemm", vec![x, w, bias], [7, 8]);
                }
                self.float(ctx, "Gemm", vec![x, w, bias], ctx.out(0))
            }
            "QLinearAdd" | "QLinearMul" => {
                let (x, y) = (self.operand(ctx, X, 0)?, self.operand(ctx, [3, 4, 5], 0)?);
                self.between(ctx, &ctx.node.op_type["QLinear".len()..], vec![x, y], [6, 7])
            }
            "QLinearConcat" => {
                if ctx.inputs.len() < 5 || !(ctx.inputs.len() - 2).is_multiple_of(3) {
                    return invalid(format!("it has {} operands, not two and three for each tensor", ctx.inputs.len()));
                }
                let tensors: Result<Vec<_>, _> =
                    (2..ctx.inputs.len()).step_by(3).map(|i| self.operand(ctx, [i, i + 1, i + 2], 0)).collect();
                self.between(ctx, "Concat", tensors?, [0, 1])
            }
            op => {
                if a.flag("channels_last", false)? {
                    return unsupported("channels_last is not supported");
                }
                // The axis means what it means in that operator set; they agree on the last one.
                let axis = a.int("axis")?;
                if op == "QLinearSoftmax" && a.int("opset")?.is_some_and(|o| (o < 13) != (self.opset < 13)) && axis != Some(-1) {
                    return unsupported("its opset differs from the model's");
                }
                let x = self.operand(ctx, X, 0)?;
                self.between(ctx, &op["QLinear".len()..], vec![x], [3, 4])
            }
        }
    }

    /// ConvInteger and MatMulInteger: sums of integers, as real numbers that are whole.
    pub(in super::super) fn integer_product(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (op, axis) = if ctx.node.op_type == "ConvInteger" { ("Conv", 0) } else { ("MatMul", -1) };
        let mut operands = Vec::with_capacity(2);
        for (x, zero, axis) in [(0, 2, -2), (1, 3, axis)] {
            let real = match ctx.inputs.get(x) {
                // From DynamicQuantizeLinear, see there.
                Some(Some(Val::Tensor(id))) if self.net.graph.value(*id).quant.is_none() && self.is_real(*id) => Val::Tensor(*id),
                Some(Some(Val::Tensor(_))) => {
                    let ones = Ctx { inputs: &with_one(ctx), ..*ctx };
                    self.operand(&ones, [x, 4, zero], axis)?
                }
                _ => {
                    let count = ctx.inputs.get(zero).and_then(Option::as_ref).map_or(1, |z| match z {
                        Val::Ints { data, .. } => data.len(),
                        _ => 1,
                    });
                    let mut inputs = with_one(ctx);
                    inputs[4] = Some(Val::floats(if count == 1 { Vec::new() } else { vec![count] }, vec![1.0; count]));
                    self.operand(&Ctx { inputs: &inputs, ..*ctx }, [x, 4, zero], axis)?
                }
            };
            operands.push(real);
        }
        self.float(ctx, op, operands, ctx.out(0))
    }

    /// DynamicQuantizeLSTM: an LSTM whose weights are integers `[D,I,4·H]` and `[D,H,4·H]`, with scales and zero points for each
    /// direction behind its operands.
    pub(in super::super) fn quantized_lstm(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let mut inputs = ctx.inputs.to_vec();
        for (weights, scale) in [(1, 8), (2, 10)] {
            inputs[weights] = Some(self.weights_of_gates(ctx, weights, scale)?);
        }
        inputs.truncate(8);
        let mut input = ctx.node.input.clone();
        input.truncate(8);
        let node = NodeProto { op_type: "LSTM".to_owned(), domain: String::new(), input, ..ctx.node.clone() };
        self.dispatch(&Ctx { node: &node, name: ctx.name, inputs: &inputs, attrs: ctx.attrs })
    }

    /// Weights of all gates as real numbers, gates first as in an LSTM; `scale` and the operand behind it have a number for each
    /// direction, or for each of its columns.
    fn weights_of_gates(&mut self, ctx: &Ctx<'_>, weights: usize, scale: usize) -> Result<Val, NodeError> {
        let Some(Some(Val::Ints { shape, data })) = ctx.inputs.get(weights) else {
            return unsupported(format!("operand {weights}, its weights, is no constant of integers"));
        };
        let &[directions, rows, columns] = &shape[..] else { return invalid(format!("weights of shape {shape:?} should have rank 3")) };
        let (_, scales) = self.floats(ctx, scale)?;
        let zeros = self.ints(ctx, scale + 1)?.unwrap_or_else(|| vec![0; scales.len()]);
        let each = scales.len() / directions.max(1);
        if zeros.len() != scales.len() || each * directions != scales.len() || ![1, columns].contains(&each) {
            return invalid(format!("{} scales and {} zero points don't fit weights of shape {shape:?}", scales.len(), zeros.len()));
        }
        let mut real = vec![0.0; data.len()];
        for (i, q) in data.iter().enumerate() {
            let (direction, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
            let of = direction * each + column % each;
            let Some(q) = q.num() else { return unsupported("its weights depend on the inputs' extents") };
            real[(direction * columns + column) * rows + row] = q.saturating_sub(zeros[of]) as f32 * scales[of];
        }
        Ok(Val::floats(vec![directions, columns, rows], real))
    }

    fn is_real(&self, id: quaver_core::graph::ValueId) -> bool {
        self.net.graph.value(id).dtype == quaver_core::tensor::DType::F32
    }

    fn operand(&mut self, ctx: &Ctx<'_>, at: [usize; 3], axis: i64) -> Result<Val, NodeError> {
        self.dequantized(ctx, at, axis, "")
    }

    /// An i32 bias as real numbers; its scale is the product of those of activations and weights, and `alpha`. Where it is left
    /// out, an empty constant stands for it.
    fn bias_of(&mut self, ctx: &Ctx<'_>, bias: usize, x_scale: usize, w_scale: usize, alpha: f32) -> Result<Val, NodeError> {
        let (x, w) = (self.floats(ctx, x_scale)?.1, self.floats(ctx, w_scale)?.1);
        let Some(bias) = self.ints(ctx, bias)? else { return Ok(Val::Unknown) };
        if w.len() != 1 && w.len() != bias.len() {
            return invalid(format!("its bias has {} numbers, but there are {} scales of weights", bias.len(), w.len()));
        }
        let [x] = *x else { return invalid("the scale of its activations is not one number") };
        let real =
            |(i, &b): (usize, &i64)| (b as f64 * f64::from(x) * f64::from(w[if w.len() == 1 { 0 } else { i }]) * f64::from(alpha)) as f32;
        Ok(Val::floats(vec![bias.len()], bias.iter().enumerate().map(real).collect()))
    }

    /// The float operation, its result quantized by operands `scale` and `zero` of the node.
    fn between(&mut self, ctx: &Ctx<'_>, op: &str, operands: Vec<Val>, [scale, zero]: [usize; 2]) -> Outputs {
        let affine = self.affine(ctx, scale, zero, false)?;
        let real = self.float(ctx, op, operands, "")?;
        match real.first() {
            Some(&Val::Tensor(y)) => Ok(vec![Val::Tensor(self.quantize(&format!("{}/quantize", ctx.name), ctx.out(0), y, affine)?)]),
            _ => unsupported("its result is constant"),
        }
    }

    /// A float operation with this node's attributes. An operand that is unknown is left out.
    fn float(&mut self, ctx: &Ctx<'_>, op: &str, operands: Vec<Val>, output: &str) -> Outputs {
        let inputs: Vec<Option<Val>> = operands.into_iter().map(|v| if matches!(v, Val::Unknown) { None } else { Some(v) }).collect();
        // Names of their own: an operand's real form is not the tensor that has its name.
        let names = (0..inputs.len()).map(|i| format!("{}/operand{i}", ctx.name)).collect();
        let node = NodeProto { op_type: op.to_owned(), input: names, output: vec![output.to_owned()], ..ctx.node.clone() };
        self.dispatch(&Ctx { node: &node, name: ctx.name, inputs: &inputs, attrs: ctx.attrs })
    }
}

/// The operands of an integer product, and a scale of 1 behind them.
fn with_one(ctx: &Ctx<'_>) -> Vec<Option<Val>> {
    let mut inputs = ctx.inputs.to_vec();
    inputs.resize(4, None);
    inputs.push(Some(Val::floats(Vec::new(), vec![1.0])));
    inputs
}
