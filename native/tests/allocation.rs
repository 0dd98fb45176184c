//! A run allocates nothing: counted over all threads, on a network with each kind of node.
//!
//! It is a binary of its own, with one test, as other tests' allocations would count too.

mod network;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use quaver::{Session, SessionOptions, TensorView};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's, whose contract is that of the trait.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, and the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, and the block came from `System`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A batch that runs in several passes.
const LARGE: usize = 32;

#[test]
fn a_run_allocates_nothing() {
    let model = network::everything();
    let data = network::ramp(LARGE * 16 * 16 * 3);
    for threads in [1, 2] {
        let mut session = Session::new(&model, SessionOptions { threads, ..SessionOptions::default() }).expect("starts");
        if session.isa() == "scalar" {
            println!("skipped: without an instruction set the definition runs, which allocates");
            return;
        }
        let mut run = |batch: usize| {
            let shape = [batch, 16, 16, 3];
            let image = TensorView::from_slice(&shape, &data[..batch * 16 * 16 * 3]).expect("sized");
            let outputs = session.infer(&[("x", image)]).expect("runs");
            let first = outputs.get("y").and_then(|y| y.as_slice::<f32>()).expect("an output")[0];
            assert!(first.is_finite());
        };
        // The first run of a batch size makes its plan.
        [1, 2, LARGE].into_iter().for_each(&mut run);
        let mut round = || {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            [1, 2, LARGE, 1, 1, 2].into_iter().for_each(&mut run);
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        // A worker that begins late, on a busy machine, registers its thread locals while a round runs. Runs that allocated
        // would do so in every round.
        let counts: Vec<usize> = (0..20).map(|_| round()).collect();
        assert!(counts.contains(&0), "allocations with {threads} threads: {counts:?}");
    }
}
