//! RNN, GRU and LSTM: a product with the inputs of all steps, and a recurrence for each direction.
//!
//! The product is a Gemm of its own, so that it is quantized and runs like any other; the recurrence has its result and the
//! states' weights. What ONNX has as three outputs are parts of the one that a recurrence gives.

use quaver_core::graph::op::{Cut, UnaryFn};
use quaver_core::graph::recurrent::{Cell, Recurrent};
use quaver_core::graph::{Dim, Op, ValueId};

use super::{Ctx, Importer, NodeError, Outputs, Val, invalid, unsupported};

/// What is the same for both directions.
struct Layer<'c> {
    cell: Cell,
    directions: usize,
    hidden: usize,
    width: usize,
    /// W `[D,G·H,I]`.
    w: &'c [f32],
    /// R `[D,G·H,H]`.
    r: &'c [f32],
    /// B `[D,2·G·H]`.
    biases: Option<&'c [f32]>,
    /// P `[D,3·H]`.
    peepholes: Option<&'c [f32]>,
    activations: Vec<UnaryFn>,
    clip: Option<f32>,
}

impl Importer<'_> {
    pub(super) fn recurrent(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let batch_first = ctx.attrs.flag("layout", false)?;
        let mut x = self.real(ctx, 0)?;
        if batch_first && self.dims(x).len() == 3 {
            x = self.helper(ctx, "steps", Op::Transpose { perm: vec![1, 0, 2] }, &[x])?;
        }
        let [steps, batch, width] = &self.dims(x)[..] else { return invalid("its input should have rank 3") };
        let (steps, batch) = (steps.clone(), batch.clone());
        if self.promote && steps.is_batch() {
            return invalid("its first dimension is steps, not samples");
        }
        self.full_sequences(ctx, &steps)?;
        let Some(width) = width.fixed() else {
            return unsupported("the number of features of its input is open; fix it with --input-shape");
        };
        let (directions, backwards) = match ctx.attrs.string("direction", "forward")?.as_str() {
            "forward" => (1, [false, false]),
            "reverse" => (1, [true, false]),
            "bidirectional" => (2, [false, true]),
            other => return invalid(format!("direction '{other}' is unknown")),
        };
        let layer = self.layer(ctx, directions, width)?;
        let h0 = self.states(ctx, 5, batch_first, &layer)?;
        let c0 = if layer.cell == Cell::Lstm { self.states(ctx, 6, batch_first, &layer)? } else { Vec::new() };
        let mut results = Vec::with_capacity(directions);
        for d in 0..directions {
            let mut states = vec![h0[d]];
            states.extend(c0.get(d));
            results.push(self.direction(ctx, &layer, d, backwards[d], x, &states)?);
        }
        let mut outputs = Vec::with_capacity(1 + layer.cell.states());
        for output in 0..=layer.cell.states() {
            let wanted = !ctx.out(output).is_empty();
            let mut parts = Vec::with_capacity(directions);
            for d in (0..directions).filter(|_| wanted) {
                // Y is h of all steps; Y_h and Y_c are the states behind the last one that was computed.
                let mut cuts = vec![Cut::new(0, output.saturating_sub(1), 1, 1)];
                let mut shape = vec![steps.clone(), Dim::Fixed(1), batch.clone(), layer.hidden.into()];
                if output > 0 {
                    let last = if backwards[d] { Some(Dim::Fixed(0)) } else { before(&steps) };
                    let Some(last) = last else { return unsupported("the number of its steps is no formula that has a last one") };
                    cuts.push(Cut::new(1, last, 1, 1));
                    shape.remove(0);
                }
                let part = self.helper(ctx, "part", Op::Slice { cuts }, &[results[d]])?;
                parts.push(self.helper(ctx, "direction", Op::Reshape { shape }, &[part])?);
            }
            outputs.push(match parts[..] {
                [] => Val::Unknown,
                [part] => self.in_layout(ctx, output, part, batch_first)?,
                _ => {
                    let joined = self.helper(ctx, "directions", Op::Concat { axis: usize::from(output == 0) }, &parts)?;
                    self.in_layout(ctx, output, joined, batch_first)?
                }
            });
        }
        Ok(outputs)
    }

    /// An output with samples where the node has them.
    fn in_layout(&mut self, ctx: &Ctx<'_>, output: usize, y: ValueId, batch_first: bool) -> Result<Val, NodeError> {
        let perm = if output == 0 { vec![2, 0, 1, 3] } else { vec![1, 0, 2] };
        if batch_first {
            return Ok(Val::Tensor(self.net.push(Op::Transpose { perm }, &[y], &format!("{}/samples", ctx.name), ctx.out(output))?));
        }
        self.net.graph.values[y.index()].name = ctx.out(output).to_owned();
        Ok(Val::Tensor(y))
    }

    /// Lengths of sequences are only there to say that all have all steps.
    fn full_sequences(&self, ctx: &Ctx<'_>, steps: &Dim) -> Result<(), NodeError> {
        if !ctx.has(4) {
            return Ok(());
        }
        let full = match self.syms(ctx, 4) {
            Ok(lengths) => lengths.is_none_or(|lengths| lengths.iter().all(|length| length.dim().as_ref() == Some(steps))),
            Err(_) => false,
        };
        if full { Ok(()) } else { unsupported("sequence_lens is only supported as a constant of sequences that all have all steps") }
    }

    fn layer<'c>(&self, ctx: &'c Ctx<'_>, directions: usize, width: usize) -> Result<Layer<'c>, NodeError> {
        let cell = match ctx.node.op_type.as_str() {
            "RNN" => Cell::Rnn,
            "GRU" if ctx.attrs.flag("linear_before_reset", false)? => Cell::GruLinear,
            "GRU" => Cell::Gru,
            _ => Cell::Lstm,
        };
        if cell == Cell::Lstm && ctx.attrs.flag("input_forget", false)? {
            return unsupported("input and forget gates that are coupled are not supported");
        }
        let (w_shape, w) = self.floats(ctx, 1)?;
        let (r_shape, r) = self.floats(ctx, 2)?;
        let [_, _, hidden] = *r_shape else { return invalid(format!("R of shape {r_shape:?} should have rank 3")) };
        let columns = cell.gates().saturating_mul(hidden);
        if hidden == 0 || *w_shape != [directions, columns, width] || *r_shape != [directions, columns, hidden] {
            return invalid(format!(
                "W of shape {w_shape:?} and R of shape {r_shape:?} don't fit {directions} directions of {width} features"
            ));
        }
        if ctx.attrs.int("hidden_size")?.is_some_and(|n| n != hidden as i64) {
            return invalid(format!("hidden_size differs from {hidden}, which R has"));
        }
        let row = |i: usize, len: usize| -> Result<Option<&'c [f32]>, NodeError> {
            if !ctx.has(i) {
                return Ok(None);
            }
            match self.floats(ctx, i)? {
                (shape, data) if *shape == [directions, len] => Ok(Some(data)),
                (shape, _) => invalid(format!("operand {i} has shape {shape:?} instead of [{directions}, {len}]")),
            }
        };
        let biases = row(3, 2 * columns)?;
        let peepholes = if cell == Cell::Lstm { row(7, 3 * hidden)? } else { None };
        let clip = ctx.attrs.maybe_float("clip")?.filter(|&clip| clip != 0.0);
        let activations = activations(ctx, cell, directions)?;
        Ok(Layer { cell, directions, hidden, width, w, r, biases, peepholes, activations, clip })
    }

    /// For each direction, the states before the first step, `[B,H]`; zeros, once for all samples, where the node has none.
    fn states(&mut self, ctx: &Ctx<'_>, i: usize, batch_first: bool, layer: &Layer<'_>) -> Result<Vec<ValueId>, NodeError> {
        if !ctx.has(i) {
            let zeros = self.net.constant("", &[1, layer.hidden], &vec![0.0f32; layer.hidden]);
            return Ok(vec![zeros; layer.directions]);
        }
        let states = self.real(ctx, i)?;
        let axis = usize::from(batch_first);
        let dims = self.dims(states);
        let fits = dims.len() == 3 && dims[axis] == Dim::Fixed(layer.directions) && dims[2] == Dim::Fixed(layer.hidden);
        if !fits {
            let shape = quaver_core::graph::dim::display(&dims);
            return invalid(format!("operand {i} of shape {shape} should have {} directions of {}", layer.directions, layer.hidden));
        }
        let mut parts = Vec::with_capacity(layer.directions);
        for d in 0..layer.directions {
            let part = match layer.directions {
                1 => states,
                _ => self.helper(ctx, "initial", Op::Slice { cuts: vec![Cut::new(axis, d, 1, 1)] }, &[states])?,
            };
            let shape = vec![dims[1 - axis].clone(), dims[2].clone()];
            parts.push(self.helper(ctx, "state", Op::Reshape { shape }, &[part])?);
        }
        Ok(parts)
    }

    /// The states `[S,T,B,H]` of one direction.
    fn direction(
        &mut self,
        ctx: &Ctx<'_>,
        layer: &Layer<'_>,
        d: usize,
        reverse: bool,
        x: ValueId,
        states: &[ValueId],
    ) -> Result<ValueId, NodeError> {
        let (cell, hidden) = (layer.cell, layer.hidden);
        let columns = cell.gates() * hidden;
        let transposed = |data: &[f32], k: usize| -> Vec<f32> {
            let rows = &data[d * columns * k..][..columns * k];
            (0..k * columns).map(|i| rows[i % columns * k + i / columns]).collect()
        };
        let name = |operand: usize| {
            if layer.directions == 1 { ctx.node.input[operand].clone() } else { format!("{}/{d}", ctx.node.input[operand]) }
        };
        let mut inputs = vec![x, self.net.constant(name(1), &[layer.width, columns], &transposed(layer.w, layer.width))];
        let biases = layer.biases.map(|biases| biases[d * 2 * columns..][..2 * columns].split_at(columns));
        // The bias of a product that the reset gate multiplies is the recurrence's.
        let inside = |column: usize| cell == Cell::GruLinear && column >= 2 * hidden;
        if let Some((w, r)) = biases {
            let sums: Vec<f32> = (0..columns).map(|i| if inside(i) { w[i] } else { w[i] + r[i] }).collect();
            inputs.push(self.net.constant(name(3), &[columns], &sums));
        }
        let gates = self.helper(ctx, "gates", Op::Gemm, &inputs)?;
        let mut inputs = vec![gates, self.net.constant(name(2), &[hidden, columns], &transposed(layer.r, hidden))];
        inputs.extend(states);
        if cell == Cell::GruLinear {
            let bias = biases.map_or_else(|| vec![0.0; hidden], |(_, r)| r[2 * hidden..].to_vec());
            inputs.push(self.net.constant("", &[1, hidden], &bias));
        }
        if let Some(peepholes) = layer.peepholes {
            inputs.push(self.net.constant(name(7), &[3, hidden], &peepholes[d * 3 * hidden..][..3 * hidden]));
        }
        let of = cell.activations();
        let activations = layer.activations[d * of..][..of].to_vec();
        let op = Op::Recurrent(Recurrent { cell, reverse, activations, clip: layer.clip });
        self.helper(ctx, "recurrence", op, &inputs)
    }
}

/// The step before an extent's end.
fn before(steps: &Dim) -> Option<Dim> {
    Dim::of(steps.extent()?.minus(&1.into())?)
}

/// The activations of all directions; `activation_alpha` and `activation_beta` hold the parameters of those that have some, in order.
fn activations(ctx: &Ctx<'_>, cell: Cell, directions: usize) -> Result<Vec<UnaryFn>, NodeError> {
    let count = directions * cell.activations();
    let names = match ctx.attrs.strings("activations")? {
        Some(names) => names,
        None => {
            let usual: &[&str] = match cell {
                Cell::Rnn => &["Tanh"],
                Cell::Gru | Cell::GruLinear => &["Sigmoid", "Tanh"],
                Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            };
            usual.iter().cycle().take(count).map(|&name| name.to_owned()).collect()
        }
    };
    if names.len() != count {
        return invalid(format!("{} activations instead of {count}", names.len()));
    }
    let mut alphas = ctx.attrs.floats("activation_alpha")?.unwrap_or_default().into_iter();
    let mut betas = ctx.attrs.floats("activation_beta")?.unwrap_or_default().into_iter();
    let mut functions = Vec::with_capacity(count);
    for name in &names {
        let mut alpha = |default: f32| alphas.next().unwrap_or(default);
        functions.push(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => UnaryFn::Sigmoid,
            "tanh" => UnaryFn::Tanh,
            "relu" => UnaryFn::Relu,
            "softsign" => UnaryFn::Softsign,
            "softplus" => UnaryFn::Softplus,
            "leakyrelu" => UnaryFn::LeakyRelu { alpha: alpha(0.01) },
            "elu" => UnaryFn::Elu { alpha: alpha(1.0) },
            "thresholdedrelu" => UnaryFn::ThresholdedRelu { alpha: alpha(1.0) },
            "hardsigmoid" => UnaryFn::HardSigmoid { alpha: alpha(0.2), beta: betas.next().unwrap_or(0.5) },
            _ => return unsupported(format!("activation '{name}' is not supported")),
        });
    }
    Ok(functions)
}
