//! Depthwise convolutions, and average pools that are such, on the threads of a pool: lines of the output, or blocks of channels,
//! for each.

use std::ops::Range;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::N_BLOCK;
use quaver_core::kernel::bind::depthwise::Constants;
use quaver_core::kernel::depthwise::Depthwise;

use crate::{Pool, Rectangle, rectangles, split};

/// Lines of the output that are enough for a thread.
const LINES: usize = 4;

/// What computes a part.
pub type Compute<'a> = dyn Fn(Depthwise<'_, &mut Rectangle<'_>>) + Sync + 'a;

/// Runs what has such constants; `false` where the operands are no images.
pub fn run(pool: &Pool, constants: &Constants<'_>, input: &Operand<'_>, output: &mut OutputMut<'_>, compute: &Compute<'_>) -> bool {
    let &[images, h, w, channels] = input.view.shape() else { return false };
    let &[_, to_h, to_w, _] = output.view.view().shape() else { return false };
    let (input, finish) = (input.view.bytes(), constants.finish);
    let kernel = |lines: Range<usize>, blocks: Range<usize>| constants.kernel(input, [h, w, channels], [to_h, to_w], lines, blocks);
    let (lines, blocks, pitch) = (images * to_h, channels.div_ceil(N_BLOCK), channels * finish.size());
    let to = output.view.bytes_mut();
    let parts = pool.parts(to.len());
    // Blocks of channels share nothing; lines share what the window sees of their neighbours, but are what other operations
    // are cut into, so that a thread finds in its cache what it has written itself.
    if blocks >= 8 * parts && lines < LINES * parts {
        let cut = split(blocks, parts, 4);
        rectangles(pool, to, pitch, split(lines * to_w, 1, lines * to_w), (cut, N_BLOCK * finish.size()), &mut [], &|_, c, to, _| {
            compute(kernel(0..lines, cut.get(c)).onto(to));
        });
    } else {
        let cut = split(lines, parts, 1);
        let rows = split(lines * to_w, cut.len(), to_w);
        rectangles(pool, to, pitch, rows, (split(1, 1, 1), pitch), &mut [], &|r, _, to, _| {
            compute(kernel(cut.get(r), 0..blocks).onto(to));
        });
    }
    true
}
