//! Depthwise convolutions, and average pools that are such: their constants, and their kernel.

use std::ops::Range;

use super::{finish_of, window_is_usual};
use crate::arith::requant::Mean;
use crate::backend::Operand;
use crate::format::weights::{N_BLOCK, is_depthwise};
use crate::graph::Op;
use crate::graph::op::{Pool, PoolFn, Window};
use crate::kernel::depthwise::Depthwise;
use crate::kernel::epilogue::{Finish, Requantize};
use crate::quant::Affine;

/// Most taps of an average that is computed as a convolution.
const MOST_TAPS: usize = 49;

/// Whether a node of an operand of extents `x` is a depthwise convolution.
pub fn takes(op: &Op, x: &[usize]) -> bool {
    let Op::QConv(conv) = op else { return false };
    window_is_usual(op) && x.last().is_some_and(|&channels| is_depthwise(channels, conv.channels, conv.groups))
}

/// What a depthwise convolution computes with.
#[derive(Debug, Clone, Copy)]
pub struct Constants<'a> {
    /// The window.
    pub window: Window,
    /// `[kh·kw][C]`, C padded to a multiple of 16.
    pub weights: &'a [i8],
    /// As many as padded channels.
    pub bias: &'a [i32],
    /// As many as padded channels.
    pub multiplier: &'a [f32],
    /// The epilogue.
    pub finish: Finish<'a>,
    /// What padding holds.
    pub pad: u8,
}

impl<'a> Constants<'a> {
    /// Those of a convolution.
    pub fn of(op: &Op, inputs: &[Operand<'a>]) -> Option<Self> {
        let Op::QConv(conv) = op else { return None };
        Some(Self {
            window: conv.window,
            weights: inputs[1].view.as_slice().unwrap_or_default(),
            bias: inputs[2].view.as_slice().unwrap_or_default(),
            multiplier: inputs[3].view.as_slice().unwrap_or_default(),
            finish: finish_of(op, inputs),
            pad: conv.pad_value,
        })
    }

    /// The kernel of some lines and blocks, for images of rows, columns and channels `extents` to rows and columns `output`.
    pub fn kernel(
        &self,
        input: &'a [u8],
        extents: [usize; 3],
        output: [usize; 2],
        lines: Range<usize>,
        blocks: Range<usize>,
    ) -> Depthwise<'a, ()> {
        let Self { window, weights, bias, multiplier, finish, pad } = *self;
        Depthwise { input, extents, window, output, weights, bias, multiplier, finish, pad, lines, blocks, to: () }
    }
}

/// An average pool of which every window counts as many taps, which makes it a depthwise convolution with ones: faster, as
/// windows share what they see.
#[derive(Debug)]
pub struct Average {
    window: Window,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    x: Affine,
    y: Affine,
}

impl Average {
    /// Binds a node of operand extents `x` and output extents `to`, where it is one.
    pub fn bind(op: &Op, [x, to]: [&[usize]; 2], [from, y]: [Option<Affine>; 2]) -> Option<Self> {
        let Op::Pool(pool @ Pool { function: PoolFn::Average, window, .. }) = op else { return None };
        let (&[_, h, w, channels], &[_, to_h, to_w, _]) = (x, to) else { return None };
        // Of f32 there are none.
        let (x, y) = (from?, y?);
        let taps = window.kernel[0] * window.kernel[1];
        // Only windows that overlap share anything, and a window may be of any size.
        if !window_is_usual(op) || window.strides[1] >= window.kernel[1] || taps > MOST_TAPS || channels == 0 {
            return None;
        }
        let padded = window.pads_begin != [0, 0] || window.pads_end != [0, 0];
        let ends_inside = |d: usize, extent: usize, to: usize| {
            to > 0 && (to - 1) * window.strides[d] + window.reach(d) <= window.pads_begin[d] + extent + window.pads_end[d]
        };
        let alike = (!padded || pool.count_include_pad) && ends_inside(0, h, to_h) && ends_inside(1, w, to_w);
        let channels = channels.next_multiple_of(N_BLOCK);
        alike.then(|| Self {
            window: *window,
            weights: vec![1; taps * channels],
            bias: vec![-(taps as i32) * i32::from(x.zero_point); channels],
            multiplier: vec![Mean::new(x, y, taps).multiplier(); channels],
            x,
            y,
        })
    }

    /// What it computes with.
    pub fn constants(&self) -> Constants<'_> {
        let how = Requantize { zero_point: self.y.zero_point, lo: 0, hi: self.y.q_max, residual: None, hard_swish: None, table: None };
        Constants {
            window: self.window,
            weights: &self.weights,
            bias: &self.bias,
            multiplier: &self.multiplier,
            finish: Finish::U8(how),
            pad: self.x.zero_point,
        }
    }
}
