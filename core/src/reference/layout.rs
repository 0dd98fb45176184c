//! Operations that move elements and leave their values alone, whatever their type.
//!
//! All but joining and padding are one strided copy: the output is walked in row-major order, and each of its dimensions
//! has a stride in the input.

use super::walk::{Walk, strides};
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{Cut, DepthOrder, PadMode};
use crate::tensor::DType;

/// y has x's elements in x's order.
pub(super) fn reshape(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    output.view.bytes_mut().copy_from_slice(inputs[0].view.bytes());
}

/// y's dimension i is x's dimension `perm[i]`.
pub(super) fn transpose(perm: &[usize], inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let shape = inputs[0].view.shape();
    let strides = strides(shape);
    gather(perm.iter().map(|&p| (shape[p], strides[p])), 0, inputs, output);
}

/// The inputs one behind the other along `axis`.
pub(super) fn concat(axis: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    // Whatever lies outside of the axis repeats; in each repetition an input has one contiguous run.
    let run = |shape: &[usize], size: usize| shape[axis..].iter().product::<usize>() * size;
    let size = output.view.dtype().size();
    let row = run(output.view.shape(), size);
    let bytes = output.view.bytes_mut();
    if bytes.is_empty() {
        return;
    }
    let mut start = 0;
    for input in inputs {
        let len = run(input.view.shape(), size);
        if len == 0 {
            continue;
        }
        for (to, from) in bytes.chunks_exact_mut(row).zip(input.view.bytes().chunks_exact(len)) {
            to[start..start + len].copy_from_slice(from);
        }
        start += len;
    }
}

/// Element i along a cut axis is x's `start + i·step`.
pub(super) fn slice(cuts: &[Cut], inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let shape = inputs[0].view.shape();
    let strides = strides(shape);
    let start = cuts.iter().map(|cut| cut.range()[0] as isize * strides[cut.axis]).sum();
    let dims = (0..shape.len()).map(|axis| match cuts.iter().find(|cut| cut.axis == axis) {
        // Of a single element the step is not taken, and may be any.
        Some(cut) => (cut.range()[1], cut.step.saturating_mul(strides[axis])),
        None => (shape[axis], strides[axis]),
    });
    gather(dims, start, inputs, output);
}

/// x again along dimensions that it lacks, or has with extent 1.
pub(super) fn expand(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (from, to) = (inputs[0].view.shape(), output.view.shape().to_vec());
    let strides = strides(from);
    let dims = to.iter().enumerate().map(|(d, &extent)| match (d + from.len()).checked_sub(to.len()) {
        Some(i) if from[i] != 1 => (extent, strides[i]),
        _ => (extent, 0),
    });
    gather(dims, 0, inputs, output);
}

/// x with elements around it.
pub(super) fn pad(before: &[usize], after: &[usize], mode: PadMode, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let x = &inputs[0];
    let size = x.view.dtype().size();
    let value = match mode {
        PadMode::Constant(value) if x.view.dtype() == DType::F32 => value.to_le_bytes(),
        PadMode::Constant(value) => [x.quant.map_or(value as u8, |q| q.quantize(value)); 4],
        _ => [0; 4],
    };
    let Some(last) = (0..before.len()).rev().find(|&d| before[d] + after[d] > 0) else {
        return reshape(inputs, output);
    };
    let job = Padding { before, after, mode, shape: x.view.shape(), last, value: &value[..size.min(4)], size };
    job.axis(0, x.view.bytes(), output.view.bytes_mut());
}

/// `x[N,H,W,C] → y[N,H·b,W·b,C/b²]`.
pub(super) fn depth_to_space(block: usize, order: DepthOrder, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let [n, h, w, c] = image(inputs);
    let depth = c / (block * block);
    // Strides of the row in a square, the column in it, and the output's channel.
    let [row, column, channel] = match order {
        DepthOrder::Dcr => [block * depth, depth, 1],
        DepthOrder::Crd => [block, 1, block * block],
    };
    let dims = [(n, h * w * c), (h, w * c), (block, row), (w, c), (block, column), (depth, channel)];
    gather(dims.into_iter().map(|(extent, stride)| (extent, stride as isize)), 0, inputs, output);
}

/// `x[N,H,W,C] → y[N,H/b,W/b,C·b²]`: channel = (row, column, x's channel).
pub(super) fn space_to_depth(block: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let [n, h, w, c] = image(inputs);
    let dims = [(n, h * w * c), (h / block, block * w * c), (w / block, block * c), (block, w * c), (block, c), (c, 1)];
    gather(dims.into_iter().map(|(extent, stride)| (extent, stride as isize)), 0, inputs, output);
}

/// The axis, seen as `[groups, n]`, becomes `[n, groups]`.
pub(super) fn channel_shuffle(axis: usize, groups: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let shape = inputs[0].view.shape();
    let strides = strides(shape);
    let n = shape[axis] / groups;
    let outer = (0..axis).map(|d| (shape[d], strides[d]));
    let shuffled = [(n, strides[axis]), (groups, n as isize * strides[axis])];
    let inner = (axis + 1..shape.len()).map(|d| (shape[d], strides[d]));
    gather(outer.chain(shuffled).chain(inner), 0, inputs, output);
}

fn image(inputs: &[Operand<'_>]) -> [usize; 4] {
    let shape = inputs[0].view.shape();
    [shape[0], shape[1], shape[2], shape[3]]
}

/// Fills the output in row-major order of `dims` (extent, stride in the input) from the input's element `start` on.
fn gather(dims: impl Iterator<Item = (usize, isize)>, start: isize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let mut walk = Walk::new();
    // A walk has no dimension without elements; the output has none then.
    if !output.view.bytes_mut().is_empty() {
        dims.for_each(|(extent, stride)| walk.push(extent, [stride]));
        gather_along(&walk, start, inputs, output);
    }
}

fn gather_along(walk: &Walk<1>, start: isize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let size = output.view.dtype().size();
    let (from, to) = (inputs[0].view.bytes(), output.view.bytes_mut());
    let (run, [stride]) = walk.dim(0);
    if stride == 1 {
        let len = run * size;
        let mut rows = to.chunks_exact_mut(len);
        walk.outer(1, &mut |[offset]| {
            let at = (start + offset) as usize * size;
            if let Some(row) = rows.next() {
                row.copy_from_slice(&from[at..at + len]);
            }
        });
        return;
    }
    match size {
        1 => gather_elements::<1>(walk, start, from, to),
        4 => gather_elements::<4>(walk, start, from, to),
        _ => gather_elements::<8>(walk, start, from, to),
    }
}

/// The strided copy of single elements of `SIZE` bytes.
fn gather_elements<const SIZE: usize>(walk: &Walk<1>, start: isize, from: &[u8], to: &mut [u8]) {
    /// Columns of a tile: enough to use the cache lines that a row of the output touches in the input again.
    const TILE: usize = 32;
    let (from, to) = (from.as_chunks::<SIZE>().0, to.as_chunks_mut::<SIZE>().0);
    let ((columns, [stride]), (rows, [row_stride])) = (walk.dim(0), walk.dim(1));
    let mut planes = to.chunks_exact_mut(rows * columns);
    walk.outer(2, &mut |[offset]| {
        let Some(plane) = planes.next() else { return };
        for left in (0..columns).step_by(TILE) {
            let right = (left + TILE).min(columns);
            for (i, row) in plane.chunks_exact_mut(columns).enumerate() {
                let mut at = start + offset + i as isize * row_stride + left as isize * stride;
                for element in &mut row[left..right] {
                    *element = from[at as usize];
                    at += stride;
                }
            }
        }
    });
}

/// One [`pad`]; it works from the outermost dimension inwards.
struct Padding<'a> {
    before: &'a [usize],
    after: &'a [usize],
    mode: PadMode,
    shape: &'a [usize],
    /// The innermost dimension that is padded.
    last: usize,
    /// An element of constant padding.
    value: &'a [u8],
    size: usize,
}

impl Padding<'_> {
    /// Pads `from`, which has the dimensions `d ..`, into `to`.
    fn axis(&self, d: usize, from: &[u8], to: &mut [u8]) {
        if to.is_empty() {
            return;
        }
        let (before, extent, after) = (self.before[d], self.shape[d], self.after[d]);
        let block = to.len() / (before + extent + after);
        let middle = before * block..(before + extent) * block;
        if d == self.last {
            to[middle.clone()].copy_from_slice(from);
        } else {
            let len = from.len() / extent.max(1);
            for (i, part) in to[middle.clone()].chunks_exact_mut(block).enumerate() {
                self.axis(d + 1, &from[i * len..(i + 1) * len], part);
            }
        }
        if let PadMode::Constant(_) = self.mode {
            let (head, rest) = to.split_at_mut(middle.end);
            for part in [&mut head[..middle.start], rest] {
                match self.value {
                    [byte] => part.fill(*byte),
                    value => part.chunks_exact_mut(self.size).for_each(|element| element.copy_from_slice(value)),
                }
            }
            return;
        }
        // What is inside is complete by now, so padding is copied from the output itself.
        for i in (0..before).chain(before + extent..before + extent + after) {
            let source = before + self.source(i as isize - before as isize, extent as isize);
            to.copy_within(source * block..(source + 1) * block, i * block);
        }
    }

    /// Which of `extent` elements stands at `i` outside of them; padding is short enough to need one reflection only.
    fn source(&self, i: isize, extent: isize) -> usize {
        let inside = match self.mode {
            PadMode::Reflect if i < 0 => -i,
            PadMode::Reflect => 2 * (extent - 1) - i,
            PadMode::Wrap => i.rem_euclid(extent),
            PadMode::Edge | PadMode::Constant(_) => i.clamp(0, extent - 1),
        };
        inside as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rng, Tensor, call, call_f32, ravel, unravel};
    use super::*;
    use crate::graph::Op;
    use crate::quant::Affine;

    fn numbered(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        Tensor::new(shape, &(0..n).map(|i| i as f32).collect::<Vec<_>>())
    }

    /// Compares with `source(index of y)`, the index in x, at each element size.
    fn same_everywhere(op: &Op, shape: &[usize], source: impl Fn(&[usize]) -> Vec<usize>) {
        let n: usize = shape.iter().product();
        let of =
            |y: &Tensor| -> Vec<usize> { (0..y.shape.iter().product()).map(|i| ravel(&source(&unravel(i, &y.shape)), shape)).collect() };
        let wide = Tensor::new(shape, &(0..n as i64).map(|i| i << 33).collect::<Vec<_>>());
        let y = call(op, &[&wide], DType::I64, None);
        assert_eq!(y.data::<i64>(), of(&y).iter().map(|&i| (i as i64) << 33).collect::<Vec<_>>(), "{op:?} {shape:?}");
        let y = call_f32(op, &[&numbered(shape)]);
        assert_eq!(y.data::<f32>(), of(&y).iter().map(|&i| i as f32).collect::<Vec<_>>(), "{op:?} {shape:?}");
        let bytes = Rng(n as u64).bytes(n, 255);
        let y = call(op, &[&Tensor::new(shape, &bytes)], DType::U8, None);
        assert_eq!(y.data::<u8>(), of(&y).iter().map(|&i| bytes[i]).collect::<Vec<_>>(), "{op:?} {shape:?}");
    }

    #[test]
    fn transposes_of_every_rank() {
        let mut rng = Rng(1);
        for rank in (0..=8).flat_map(|r| [r; 12]) {
            let shape = rng.shape(rank, if rank > 5 { 3 } else { 5 });
            let mut perm: Vec<usize> = (0..rank).collect();
            (1..rank).for_each(|i| perm.swap(i, rng.below(i + 1)));
            same_everywhere(&Op::Transpose { perm: perm.clone() }, &shape, |y| {
                let mut x = vec![0; rank];
                perm.iter().zip(y).for_each(|(&p, &i)| x[p] = i);
                x
            });
        }
        same_everywhere(&Op::Transpose { perm: vec![0, 2, 3, 1] }, &[2, 70, 5, 9], |y| vec![y[0], y[3], y[1], y[2]]);
        same_everywhere(&Op::Transpose { perm: vec![0, 3, 1, 2] }, &[2, 5, 9, 70], |y| vec![y[0], y[2], y[3], y[1]]);
    }

    #[test]
    fn slices_run_both_ways() {
        let cuts = vec![Cut::new(2, 6, 4, -2), Cut::new(0, 1, 2, 1)];
        same_everywhere(&Op::Slice { cuts }, &[3, 4, 7, 2], |y| vec![y[0] + 1, y[1], 6 - 2 * y[2], y[3]]);
        let cuts = vec![Cut::new(1, 2, 3, 4)];
        same_everywhere(&Op::Slice { cuts }, &[5, 13], |y| vec![y[0], 2 + 4 * y[1]]);
        same_everywhere(&Op::Slice { cuts: vec![Cut::new(0, 4, 5, -1)] }, &[5], |y| vec![4 - y[0]]);
    }

    #[test]
    fn depth_and_space() {
        let (b, c) = (2, 3);
        let dcr = Op::DepthToSpace { block: b, order: DepthOrder::Dcr };
        same_everywhere(&dcr, &[2, 3, 4, c * b * b], |y| vec![y[0], y[1] / b, y[2] / b, ((y[1] % b) * b + y[2] % b) * c + y[3]]);
        let crd = Op::DepthToSpace { block: b, order: DepthOrder::Crd };
        same_everywhere(&crd, &[2, 3, 4, c * b * b], |y| vec![y[0], y[1] / b, y[2] / b, y[3] * b * b + (y[1] % b) * b + y[2] % b]);
        let back = Op::SpaceToDepth { block: 3 };
        same_everywhere(&back, &[1, 6, 9, 2], |y| vec![y[0], y[1] * 3 + y[3] / 6, y[2] * 3 + y[3] / 2 % 3, y[3] % 2]);
    }

    #[test]
    fn shuffles_any_axis() {
        let channels = Op::ChannelShuffle { axis: 3, groups: 2 };
        assert_eq!(call_f32(&channels, &[&numbered(&[1, 1, 1, 6])]).data::<f32>(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        same_everywhere(&channels, &[2, 3, 2, 8], |y| vec![y[0], y[1], y[2], y[3] % 2 * 4 + y[3] / 2]);
        same_everywhere(&Op::ChannelShuffle { axis: 1, groups: 3 }, &[2, 6, 5], |y| vec![y[0], y[1] % 3 * 2 + y[1] / 3, y[2]]);
        same_everywhere(&Op::ChannelShuffle { axis: 6, groups: 2 }, &[1, 2, 1, 2, 1, 2, 4, 3], |y| {
            let mut x = y.to_vec();
            x[6] = y[6] % 2 * 2 + y[6] / 2;
            x
        });
    }

    #[test]
    fn joins_along_any_axis() {
        for axis in 0..3 {
            let mut shapes = [[2, 3, 4]; 3];
            (shapes[1][axis], shapes[2][axis]) = (0, 5);
            let inputs: Vec<Tensor> =
                shapes.iter().enumerate().map(|(i, s)| Tensor { ..Tensor::new(s, &vec![i as i32; s.iter().product()]) }).collect();
            let y = call(&Op::Concat { axis }, &inputs.iter().collect::<Vec<_>>(), DType::I32, None);
            for (i, &v) in y.data::<i32>().iter().enumerate() {
                assert_eq!(v, if unravel(i, &y.shape)[axis] < shapes[0][axis] { 0 } else { 2 });
            }
        }
        let (a, b) = (numbered(&[2, 1, 2]), numbered(&[2, 2, 2]));
        let y = call_f32(&Op::Concat { axis: 1 }, &[&a, &b]);
        assert_eq!(y.data::<f32>(), [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }

    /// numpy.pad of 0, 1, 2, 3 by 2 before and 3 after.
    #[test]
    fn pads_a_row() {
        for (mode, expected) in [
            (PadMode::Constant(9.5), [9.5, 9.5, 0.0, 1.0, 2.0, 3.0, 9.5, 9.5, 9.5]),
            (PadMode::Reflect, [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0]),
            (PadMode::Edge, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]),
            (PadMode::Wrap, [2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0]),
        ] {
            let y = call_f32(&Op::Pad { before: vec![2], after: vec![3], mode }, &[&numbered(&[4])]);
            assert_eq!(y.data::<f32>(), expected, "{mode:?}");
        }
    }

    #[test]
    fn pads_every_dimension() {
        let mut rng = Rng(3);
        for round in 0..60 {
            let rank = 1 + round % 5;
            let shape = rng.shape(rank, 4);
            let mut pads = || -> Vec<usize> { shape.iter().map(|&e| if rng.below(3) == 0 { 0 } else { rng.below(e) }).collect() };
            let (before, after) = (pads(), pads());
            let x = numbered(&shape);
            for mode in [PadMode::Constant(-1.0), PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
                let y = call_f32(&Op::Pad { before: before.clone(), after: after.clone(), mode }, &[&x]);
                for (i, &v) in y.data::<f32>().iter().enumerate() {
                    let index = unravel(i, &y.shape);
                    let inside: Vec<isize> = (0..rank).map(|d| index[d] as isize - before[d] as isize).collect();
                    let outside = (0..rank).any(|d| inside[d] < 0 || inside[d] >= shape[d] as isize);
                    let source: Vec<usize> = (0..rank)
                        .map(|d| {
                            let (e, i) = (shape[d] as isize, inside[d]);
                            let period = (2 * (e - 1)).max(1);
                            (match mode {
                                PadMode::Reflect => i.rem_euclid(period).min(period - i.rem_euclid(period)).min(e - 1),
                                PadMode::Wrap => (i + e) % e,
                                _ => i.max(0).min(e - 1),
                            }) as usize
                        })
                        .collect();
                    let expected = if outside && matches!(mode, PadMode::Constant(_)) { -1.0 } else { ravel(&source, &shape) as f32 };
                    assert_eq!(v, expected, "{mode:?} {shape:?} {before:?} {after:?} at {index:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_padded_with_the_quantized_value() {
        let q = Affine { scale: 0.5, zero_point: 10, q_max: 127 };
        let x = Tensor::quantized(&[1, 2], &[1, 2], q);
        for (value, byte) in [(0.0, 10), (2.0, 14), (-1e9, 0), (f32::INFINITY, 127)] {
            let op = Op::Pad { before: vec![1, 0], after: vec![0, 1], mode: PadMode::Constant(value) };
            assert_eq!(call(&op, &[&x], DType::U8, Some(q)).data::<u8>(), [byte, byte, byte, 1, 2, byte]);
        }
    }

    #[test]
    fn nothing_is_moved_out_of_nothing() {
        let x = Tensor::new::<f32>(&[2, 0], &[]);
        assert_eq!(call_f32(&Op::Transpose { perm: vec![1, 0] }, &[&x]).shape, [0, 2]);
        assert_eq!(call_f32(&Op::Concat { axis: 0 }, &[&x, &x]).shape, [4, 0]);
        let op = Op::Pad { before: vec![0, 1], after: vec![0, 1], mode: PadMode::Constant(3.0) };
        assert_eq!(call_f32(&op, &[&x]).data::<f32>(), [3.0; 4]);
    }
}
