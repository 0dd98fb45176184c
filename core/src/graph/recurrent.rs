//! The recurrence of RNN, GRU and LSTM: its attributes, and the shape of what it gives.

use serde::Serialize;

use super::Dim;
use super::dim::display;
use super::op::UnaryFn;
use super::shape::ShapeError;

/// Attributes of [`super::Op::Recurrent`]: one direction of a layer, whose products with the inputs were computed before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recurrent {
    /// What a step computes.
    pub cell: Cell,
    /// Whether it starts at the last step. States stand at the steps that they belong to all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
    /// ONNX's activations f, g and h, as many as the cell has.
    pub activations: Vec<UnaryFn>,
    /// What arguments of activations are clamped to: −clip ..= clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
}

/// What a step of a [`Recurrent`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Cell {
    /// One layer, ONNX's RNN.
    Rnn,
    /// Gates z, r, h. The reset gate multiplies the state before its product.
    Gru,
    /// Gates z, r, h. The reset gate multiplies the state's product and bias, ONNX's `linear_before_reset`.
    GruLinear,
    /// Gates i, o, f, c.
    Lstm,
}

impl Cell {
    /// ONNX's name of the operation.
    pub fn name(self) -> &'static str {
        match self {
            Cell::Rnn => "RNN",
            Cell::Gru | Cell::GruLinear => "GRU",
            Cell::Lstm => "LSTM",
        }
    }

    /// Gates, each of as many elements as the state.
    pub fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru | Cell::GruLinear => 3,
            Cell::Lstm => 4,
        }
    }

    /// Activations.
    pub fn activations(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru | Cell::GruLinear => 2,
            Cell::Lstm => 3,
        }
    }

    /// States that go from step to step: h, and of an LSTM c.
    pub fn states(self) -> usize {
        if self == Cell::Lstm { 2 } else { 1 }
    }
}

/// `gates[T,B,G·H], r[H,G·H], h₀[B or 1,H]` and what the cell has besides → `[states,T,B,H]`.
pub(super) fn infer(op: &Recurrent, inputs: &[&[Dim]]) -> Result<Vec<Dim>, ShapeError> {
    let (cell, got) = (op.cell, inputs.len());
    let (range, expected) = match cell {
        Cell::Rnn | Cell::Gru => (3..=3, "3"),
        Cell::GruLinear => (4..=4, "4"),
        Cell::Lstm => (4..=5, "4 or 5"),
    };
    if !range.contains(&got) {
        return Err(ShapeError::Arity { expected, got });
    }
    let rank = |operand: usize, expected: usize| ShapeError::Rank { operand, shape: display(inputs[operand]), expected };
    let mismatch = |a: &[Dim], b: &[Dim]| ShapeError::Mismatch { a: display(a), b: display(b) };
    let [steps, batch, columns] = inputs[0] else { return Err(rank(0, 3)) };
    let [hidden, width] = inputs[1] else { return Err(rank(1, 2)) };
    let sized = hidden.fixed().and_then(|h| h.checked_mul(cell.gates())).filter(|&n| n > 0).map(Dim::Fixed);
    if sized.is_none() || sized.as_ref() != Some(width) || columns != width {
        return Err(mismatch(inputs[0], inputs[1]));
    }
    for state in &inputs[2..2 + cell.states()] {
        let [rows, own] = state else { return Err(rank(2, 2)) };
        let agree = rows == batch || *rows == Dim::Fixed(1) || rows.is_open() || batch.is_open();
        if own != hidden || !agree {
            return Err(mismatch(inputs[0], state));
        }
    }
    // The state's own bias, or peepholes.
    if let Some(more) = inputs.get(2 + cell.states()) {
        let rows = if cell == Cell::Lstm { 3 } else { 1 };
        let wanted = [Dim::Fixed(rows), hidden.clone()];
        if *more != wanted {
            return Err(mismatch(more, &wanted));
        }
    }
    let clip = op.clip.is_none_or(|clip| clip.is_finite() && clip >= 0.0);
    if op.activations.len() != cell.activations() || !clip {
        // Names alone, as digits of floats are much code.
        let names: Vec<&str> = op.activations.iter().map(|function| function.name()).collect();
        let value = format!("{}, {}", names.join(" and "), if clip { "not as many as the cell has" } else { "clip below 0 or no number" });
        return Err(ShapeError::Attribute { what: "the activations and clip", value, shape: display(inputs[0]) });
    }
    Ok(vec![cell.states().into(), steps.clone(), batch.clone(), hidden.clone()])
}
