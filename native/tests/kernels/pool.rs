//! Pools.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::graph::op::{Pool, PoolFn, Window};
use quaver_core::graph::shape::window_extent;
use quaver_core::kernel::pool::PoolU8;
use quaver_core::tensor::DType;

use crate::check::{Make, check};
use crate::common::Rng;
use crate::tensor::Tensor;

struct Of(Pool);

impl Make for Of {
    type Work<'a> = PoolU8<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<PoolU8<'a>> {
        PoolU8::new(&self.0, inputs, output)
    }
}

#[test]
fn pools() {
    let mut rng = Rng(8);
    for channels in (1..131).cycle().take(600) {
        let mut two = |most: usize| [1 + rng.below(most), 1 + rng.below(most)];
        let (kernel, strides, dilations, [h, w]) = (two(4), two(3), two(2), two(9));
        let mut window = Window { kernel, strides, dilations, ..Window::unit() };
        let shape = [1 + rng.below(2), h, w, channels];
        window.pads_begin = [0, 1].map(|d| rng.below(window.reach(d)));
        window.pads_end = [0, 1].map(|d| rng.below(window.reach(d)));
        let ceil_mode = rng.below(2) == 0;
        if (0..2).any(|d| window_extent(&window, d, shape[d + 1], ceil_mode).is_none()) {
            continue;
        }
        for function in [PoolFn::Max, PoolFn::Average] {
            let pool = Pool { function, window, ceil_mode, count_include_pad: rng.below(2) == 0 };
            let from = rng.affine();
            let to = if function == PoolFn::Max { from } else { rng.affine() };
            assert!(check(&Op::Pool(pool), &Of(pool), &[&Tensor::bytes(&shape, from, &mut rng)], DType::U8, Some(to)));
        }
    }
}

#[test]
fn long_lines_and_large_windows() {
    let mut rng = Rng(14);
    for (shape, kernel, strides) in
        [([1, 4, 150, 130], 3, 1), ([2, 3, 900, 19], 2, 2), ([1, 12, 11, 70], 9, 1), ([1, 7, 7, 40], 7, 1), ([1, 9, 30, 5], 5, 1)]
    {
        let window = Window { kernel: [kernel, kernel], strides: [strides; 2], ..Window::unit() };
        for function in [PoolFn::Max, PoolFn::Average] {
            let pool = Pool { function, window, ceil_mode: false, count_include_pad: false };
            let from = rng.affine();
            let to = if function == PoolFn::Max { from } else { rng.affine() };
            assert!(check(&Op::Pool(pool), &Of(pool), &[&Tensor::bytes(&shape, from, &mut rng)], DType::U8, Some(to)));
        }
    }
}
