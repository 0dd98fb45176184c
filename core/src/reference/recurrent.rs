//! The recurrence of RNN, GRU and LSTM.
//!
//! Its products are those of Gemm: sums start at +0 and take their products in the order of k. All other steps are one
//! element's at a time, in the order that is written here; see `ARITHMETIC.md`.

use super::elementwise::apply;
use super::{f32s, f32s_mut};
use crate::arith::float::{sigmoid, tanh};
use crate::backend::{Operand, OutputMut};
use crate::graph::op::UnaryFn;
use crate::graph::recurrent::{Cell, Recurrent};

/// All states of all steps.
pub(super) fn recurrent(op: &Recurrent, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let Some(recurrence) = Recurrence::new(op, inputs) else { return };
    recurrence.run(f32s_mut(output));
}

/// A recurrence and its operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recurrence<'a> {
    cell: Cell,
    reverse: bool,
    activations: [UnaryFn; 3],
    clip: Option<f32>,
    gates: &'a [f32],
    r: &'a [f32],
    h0: &'a [f32],
    c0: &'a [f32],
    /// Peepholes of the gates i, o, f, or the bias of a state's product.
    more: &'a [f32],
    steps: usize,
    batch: usize,
    hidden: usize,
}

impl<'a> Recurrence<'a> {
    /// `None` where an extent is 0, so that there is nothing to compute.
    pub(crate) fn new(op: &Recurrent, inputs: &[Operand<'a>]) -> Option<Self> {
        let [steps, batch, _] = *inputs[0].view.shape() else { return None };
        let hidden = *inputs[1].view.shape().first()?;
        let states = op.cell.states();
        let activation = |i: usize| op.activations.get(i).copied().unwrap_or(UnaryFn::Tanh);
        let recurrence = Self {
            cell: op.cell,
            reverse: op.reverse,
            activations: [0, 1, 2].map(activation),
            clip: op.clip,
            gates: f32s(&inputs[0]),
            r: f32s(&inputs[1]),
            h0: f32s(&inputs[2]),
            c0: if states == 2 { f32s(&inputs[3]) } else { &[] },
            more: inputs.get(2 + states).map_or(&[], f32s),
            steps,
            batch,
            hidden,
        };
        (steps > 0 && batch > 0 && hidden > 0).then_some(recurrence)
    }

    /// Elements of the output.
    pub(crate) fn len(&self) -> usize {
        self.cell.states() * self.steps * self.batch * self.hidden
    }

    /// Writes the states of all steps; `to` has [`Recurrence::len`] elements.
    #[inline(always)]
    pub(crate) fn run(&self, to: &mut [f32]) {
        let (hidden, width) = (self.hidden, self.cell.gates() * self.hidden);
        let mut scratch = vec![0.0; width + 3 * hidden];
        let (gates, rest) = scratch.split_at_mut(width);
        let (h, rest) = rest.split_at_mut(hidden);
        let (c, spare) = rest.split_at_mut(hidden);
        let (to_h, to_c) = to.split_at_mut(self.steps * self.batch * hidden);
        for sample in 0..self.batch {
            h.copy_from_slice(row(self.h0, sample, hidden));
            if self.cell == Cell::Lstm {
                c.copy_from_slice(row(self.c0, sample, hidden));
            }
            for step in 0..self.steps {
                let step = if self.reverse { self.steps - 1 - step } else { step };
                let at = step * self.batch + sample;
                let x = &self.gates[at * width..][..width];
                match self.cell {
                    Cell::Rnn => self.rnn(x, h, gates),
                    Cell::Gru | Cell::GruLinear => self.gru(x, h, gates, spare),
                    Cell::Lstm => {
                        self.lstm(x, h, c, gates);
                        to_c[at * hidden..][..hidden].copy_from_slice(c);
                    }
                }
                to_h[at * hidden..][..hidden].copy_from_slice(h);
            }
        }
    }

    #[inline(always)]
    fn rnn(&self, x: &[f32], h: &mut [f32], gates: &mut [f32]) {
        self.products(h, 0, gates);
        add(gates, x);
        self.activate(0, gates);
        h.copy_from_slice(gates);
    }

    #[inline(always)]
    fn gru(&self, x: &[f32], h: &mut [f32], gates: &mut [f32], spare: &mut [f32]) {
        let n = self.hidden;
        let (zr, candidate) = gates.split_at_mut(2 * n);
        self.products(h, 0, zr);
        add(zr, &x[..2 * n]);
        self.activate(0, zr);
        let (z, r) = zr.split_at(n);
        if self.cell == Cell::GruLinear {
            self.products(h, 2 * n, candidate);
            add(candidate, self.more);
            multiply(candidate, r);
        } else {
            spare.copy_from_slice(h);
            multiply(spare, r);
            self.products(spare, 2 * n, candidate);
        }
        add(candidate, &x[2 * n..]);
        self.activate(1, candidate);
        let n = h.len();
        let (z, candidate) = (&z[..n], &candidate[..n]);
        for j in 0..n {
            h[j] = (1.0 - z[j]) * candidate[j] + z[j] * h[j];
        }
    }

    #[inline(always)]
    fn lstm(&self, x: &[f32], h: &mut [f32], c: &mut [f32], gates: &mut [f32]) {
        let n = self.hidden;
        self.products(h, 0, gates);
        add(gates, x);
        let (i, rest) = gates.split_at_mut(n);
        let (o, rest) = rest.split_at_mut(n);
        let (f, g) = rest.split_at_mut(n);
        let peepholes = self.more.split_at_checked(2 * n).map(|(io, f)| (&io[..n], &io[n..], f));
        if let Some((p_i, _, p_f)) = peepholes {
            add_products(i, p_i, c);
            add_products(f, p_f, c);
        }
        self.activate(0, i);
        self.activate(0, f);
        self.activate(1, g);
        let n = c.len();
        let (i, f, g) = (&mut i[..n], &f[..n], &g[..n]);
        for j in 0..n {
            c[j] = f[j] * c[j] + i[j] * g[j];
        }
        if let Some((_, p_o, _)) = peepholes {
            add_products(o, p_o, c);
        }
        self.activate(0, o);
        // The gate i has done its work.
        i.copy_from_slice(c);
        self.activate(2, i);
        h.copy_from_slice(o);
        multiply(h, i);
    }

    /// Products of a state with as many columns of R, from one on, as `to` has elements.
    #[inline(always)]
    fn products(&self, h: &[f32], from: usize, to: &mut [f32]) {
        to.fill(0.0);
        let n = to.len();
        for (&h, r) in h.iter().zip(self.r.chunks_exact(self.cell.gates() * self.hidden)) {
            let r = &r[from..][..n];
            for j in 0..n {
                to[j] += h * r[j];
            }
        }
    }

    /// Activation `i` of each element, clamped before.
    #[inline(always)]
    fn activate(&self, i: usize, x: &mut [f32]) {
        if let Some(clip) = self.clip {
            apply(UnaryFn::Clip { lo: -clip, hi: clip }, x);
        }
        match self.activations[i] {
            UnaryFn::Sigmoid => each(x, sigmoid),
            UnaryFn::Tanh => each(x, tanh),
            function => apply(function, x),
        }
    }
}

/// The state of a sample; one row is there for all of them.
fn row(states: &[f32], sample: usize, hidden: usize) -> &[f32] {
    let at = if states.len() == hidden { 0 } else { sample * hidden };
    &states[at..][..hidden]
}

#[inline(always)]
fn each(x: &mut [f32], function: impl Fn(f32) -> f32) {
    for x in x {
        *x = function(*x);
    }
}

/// x = x + y.
#[inline(always)]
fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// x = x·y.
#[inline(always)]
fn multiply(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x *= y);
}

/// x = x + a·b.
#[inline(always)]
fn add_products(x: &mut [f32], a: &[f32], b: &[f32]) {
    for ((x, a), b) in x.iter_mut().zip(a).zip(b) {
        *x += a * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use crate::reference::testing::{Rng, Tensor, call_f32};

    fn sigmoid_f64(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// States of a plain loop in f64, `[S,T,B,H]`: each gate's sum by itself.
    #[expect(clippy::too_many_arguments, reason = "operands and extents of one operation")]
    fn naive(cell: Cell, reverse: bool, x: &[f32], r: &[f32], h0: &[f32], c0: &[f32], more: &[f32], [t, b, n]: [usize; 3]) -> Vec<f64> {
        let g = cell.gates();
        let mut y = vec![0.0; cell.states() * t * b * n];
        for s in 0..b {
            let mut h: Vec<f64> = (0..n).map(|j| f64::from(h0[s * n + j])).collect();
            let mut c: Vec<f64> = (0..n).map(|j| c0.get(s * n + j).map_or(0.0, |&c| f64::from(c))).collect();
            for i in 0..t {
                let i = if reverse { t - 1 - i } else { i };
                let at = |gate: usize, j: usize| f64::from(x[((i * b + s) * g + gate) * n + j]);
                let dot = |h: &[f64], gate: usize, j: usize| (0..n).map(|k| h[k] * f64::from(r[k * g * n + gate * n + j])).sum::<f64>();
                let extra = |row: usize, j: usize| more.get(row * n + j).map_or(0.0, |&p| f64::from(p));
                let gate = |which: usize, j: usize| at(which, j) + dot(&h, which, j);
                let next: Vec<(f64, f64)> = match cell {
                    Cell::Rnn => (0..n).map(|j| (gate(0, j).tanh(), 0.0)).collect(),
                    Cell::Gru | Cell::GruLinear => {
                        let reset: Vec<f64> = (0..n).map(|j| sigmoid_f64(gate(1, j))).collect();
                        let kept: Vec<f64> = (0..n).map(|j| reset[j] * h[j]).collect();
                        let candidate = |j: usize| match cell {
                            Cell::Gru => at(2, j) + dot(&kept, 2, j),
                            _ => at(2, j) + reset[j] * (dot(&h, 2, j) + extra(0, j)),
                        };
                        let z = |j: usize| sigmoid_f64(gate(0, j));
                        (0..n).map(|j| ((1.0 - z(j)) * candidate(j).tanh() + z(j) * h[j], 0.0)).collect()
                    }
                    Cell::Lstm => {
                        let one = |j: usize| {
                            let input = sigmoid_f64(gate(0, j) + extra(0, j) * c[j]);
                            let forget = sigmoid_f64(gate(2, j) + extra(2, j) * c[j]);
                            let cell = forget * c[j] + input * gate(3, j).tanh();
                            (sigmoid_f64(gate(1, j) + extra(1, j) * cell) * cell.tanh(), cell)
                        };
                        (0..n).map(one).collect()
                    }
                };
                (h, c) = next.into_iter().unzip();
                let to = (i * b + s) * n;
                y[to..to + n].copy_from_slice(&h);
                if cell == Cell::Lstm {
                    y[t * b * n + to..][..n].copy_from_slice(&c);
                }
            }
        }
        y
    }

    #[test]
    fn states_are_those_of_a_plain_loop() {
        let mut rng = Rng(3);
        for case in 0..120 {
            let cell = [Cell::Rnn, Cell::Gru, Cell::GruLinear, Cell::Lstm][case % 4];
            let (t, b, n) = (1 + rng.below(6), 1 + rng.below(3), 1 + rng.below(20));
            let reverse = rng.below(2) == 0;
            let mut small = |n: usize| -> Vec<f32> { rng.floats(n).iter().map(|x| x / 4.0).collect() };
            let width = cell.gates() * n;
            let (x, r, h0, c0) = (small(t * b * width), small(n * width), small(b * n), small(b * n));
            let rows = match cell {
                Cell::GruLinear => 1,
                Cell::Lstm if case % 8 == 3 => 3,
                _ => 0,
            };
            let more = small(rows * n);
            let usual = [UnaryFn::Sigmoid, UnaryFn::Tanh, UnaryFn::Tanh];
            let activations = if cell == Cell::Rnn { vec![UnaryFn::Tanh] } else { usual[..cell.activations()].to_vec() };
            let op = Op::Recurrent(Recurrent { cell, reverse, activations, clip: None });
            let mut operands = vec![Tensor::new(&[t, b, width], &x), Tensor::new(&[n, width], &r), Tensor::new(&[b, n], &h0)];
            if cell == Cell::Lstm {
                operands.push(Tensor::new(&[b, n], &c0));
            }
            if rows > 0 {
                operands.push(Tensor::new(&[rows, n], &more));
            }
            let y = call_f32(&op, &operands.iter().collect::<Vec<_>>());
            assert_eq!(y.shape, [cell.states(), t, b, n]);
            let expected = naive(cell, reverse, &x, &r, &h0, &c0, &more, [t, b, n]);
            for (i, (&y, e)) in y.data::<f32>().iter().zip(expected).enumerate() {
                assert!((f64::from(y) - e).abs() < 1e-4, "case {case}, {cell:?}, element {i}: {y} instead of {e}");
            }
        }
    }
}
