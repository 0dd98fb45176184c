//! What the output positions of a product read: some rows of its operand's matrix.

use quaver_core::graph::op::Window;
use quaver_core::graph::{Network, Op};

use super::Product;
use super::walk::Walk;

/// Elements that gathered rows may have, so that they fit in memory.
const ELEMENTS: usize = 1 << 24;

/// Rows as a matrix product sees them, in integers less the zero point. K runs over taps and input channels of a group.
#[derive(Debug)]
pub(super) struct Rows {
    /// Groups that multiply by themselves; the channels, of a depthwise convolution.
    pub(super) groups: usize,
    /// Products summed by one output.
    pub(super) k: usize,
    /// Some rows, evenly chosen: `[rows][groups][k]`.
    pub(super) data: Vec<f32>,
    /// Every so many rows, to be compared with what the float network gives there: `[rows][groups][k]`.
    pub(super) checked: Vec<f32>,
}

impl Rows {
    /// Gathers at most `most` rows of the operand that `node` has in `walk`, and, to be checked, each `check`th.
    pub(super) fn gather(network: &Network, walk: &Walk, node: usize, product: &Product, (most, check): (usize, usize)) -> Self {
        let entry = &network.graph.nodes[node];
        let shape = product.shape;
        let groups = if shape.depthwise { shape.output_channels } else { shape.groups };
        let k = shape.taps * shape.input_channels;
        let width = groups * k;
        let mut rows = Self { groups, k, data: Vec::new(), checked: Vec::new() };
        let shapes: Vec<Vec<usize>> = (0..walk.samples()).map(|s| walk.shape(s, entry.outputs[0])).collect();
        let count = |s: &[usize]| s[..s.len().saturating_sub(1)].iter().product::<usize>();
        let total: usize = shapes.iter().map(|s| count(s)).sum();
        let step = total.div_ceil(most.min(ELEMENTS / width.max(1)).max(1)).max(1);
        let mut at = 0;
        let zero = i32::from(product.from.zero_point);
        let mut seen = vec![0f32; width];
        for (sample, to) in shapes.iter().enumerate() {
            let Some((from, bytes)) = walk.bytes(sample, entry.inputs[0]) else { continue };
            let channels = from.last().copied().unwrap_or(1);
            let see = Taps { op: &entry.op, from, to };
            for row in 0..count(to) {
                let (gathered, checked) = (at % step == 0, at % check == 0);
                at += 1;
                if !gathered && !checked {
                    continue;
                }
                seen.fill(0.0);
                for tap in 0..shape.taps {
                    // Padding is zero.
                    let Some(position) = see.position(row, tap) else { continue };
                    let x = &bytes[position * channels..][..channels];
                    for (group, x) in x.chunks_exact(shape.input_channels).enumerate() {
                        let first = group * k + tap * shape.input_channels;
                        for (c, &q) in x.iter().enumerate() {
                            let q = i32::from(q) - zero;
                            seen[first + c] = q as f32;
                        }
                    }
                }
                if gathered {
                    rows.data.extend_from_slice(&seen);
                }
                if checked {
                    rows.checked.extend_from_slice(&seen);
                }
            }
        }
        rows
    }

    /// Number of rows gathered.
    pub(super) fn count(&self) -> usize {
        self.data.len() / (self.groups * self.k).max(1)
    }
}

/// Which position of the operand a tap of an output position sees.
struct Taps<'a> {
    op: &'a Op,
    from: &'a [usize],
    to: &'a [usize],
}

impl Taps<'_> {
    fn position(&self, row: usize, tap: usize) -> Option<usize> {
        let (window, transposed): (&Window, bool) = match self.op {
            Op::QConv(c) => (&c.window, false),
            Op::QConvTranspose(c) => (&c.window, true),
            _ => return Some(row),
        };
        let [_, h, w, _] = *self.from else { return None };
        let [_, to_h, to_w, _] = *self.to else { return None };
        let along = if transposed { Window::input_of } else { Window::input_at };
        let (image, o) = (row / (to_h * to_w), row % (to_h * to_w));
        let y = along(window, 0, o / to_w, tap / window.kernel[1], h)?;
        let x = along(window, 1, o % to_w, tap % window.kernel[1], w)?;
        Some((image * h + y) * w + x)
    }
}
