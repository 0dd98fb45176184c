//! What a fork-join costs: `cargo bench -p quaver --bench pool [-- THREADS]`. Prints nanoseconds for the pool and, as peers,
//! `rayon::join` and `std::thread::scope`; rounds are interleaved, the least of each is shown. An empty job is mostly done by
//! the caller before anybody comes; parts that meet wait for each other, so that each needs its own thread.
//!
//! Then what two threads gain on jobs of some microseconds, with and without a pause before each job.

use std::env;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use quaver::pool::Pool;

const ROUNDS: usize = 15;

fn main() {
    let threads = env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(2);
    let pool = Pool::new(threads).expect("threads");
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("{threads} threads, {cores} cores");

    println!("\nfork-join, ns, the least of {ROUNDS} rounds");
    let (all, two) = (Meeting::new(threads), Meeting::new(2));
    let mut best = [f64::NAN; 6];
    for _ in 0..ROUNDS {
        let samples = [
            // Where threads share cores it would measure the system's scheduler.
            if threads > cores { f64::NAN } else { per_call(20_000, || pool.run(threads, &|_| all.join())) },
            rayon.install(|| per_call(20_000, || _ = rayon::join(|| two.join(), || two.join()))),
            per_call(20_000, || pool.run(threads, &|part| _ = black_box(part))),
            per_call(5_000, || pool.run(64 * threads, &|part| _ = black_box(part))),
            rayon.install(|| per_call(20_000, || _ = rayon::join(|| black_box(0), || black_box(1)))),
            per_call(100, || thread::scope(|s| _ = s.spawn(|| black_box(0)))),
        ];
        for (best, sample) in best.iter_mut().zip(samples) {
            *best = best.min(sample);
        }
    }
    let names = [
        "pool, parts that meet",
        "rayon::join, 2 parts that meet",
        "pool, a part a thread, empty",
        "pool, 64 parts a thread, empty",
        "rayon::join, 2 parts, empty",
        "std::thread::scope, 2 parts, empty",
    ];
    for (name, ns) in names.iter().zip(best) {
        println!("  {name:36} {ns:>10.0}");
    }

    println!("\njob in {threads} parts, µs, the median of the best round: one thread, pool, rayon::join (2 parts)");
    println!("  {:>8} {:>8} {:>10} {:>10} {:>10}", "job", "pause", "one", "pool", "rayon");
    for (job_us, pause_us) in [(2, 0), (5, 0), (20, 0), (100, 0), (20, 5), (20, 50), (20, 1000)] {
        let steps = steps(job_us);
        let pause = Duration::from_micros(pause_us);
        let mut best = [f64::INFINITY; 3];
        for _ in 0..5 {
            let samples = [
                median(pause, || compute(steps)),
                median(pause, || pool.run(threads, &|_| compute(steps / threads as u64))),
                rayon.install(|| median(pause, || _ = rayon::join(|| compute(steps / 2), || compute(steps / 2)))),
            ];
            for (best, sample) in best.iter_mut().zip(samples) {
                *best = best.min(sample);
            }
        }
        println!("  {job_us:>8} {pause_us:>8} {:>10.2} {:>10.2} {:>10.2}", best[0], best[1], best[2]);
    }
}

/// A barrier that spins.
struct Meeting {
    size: usize,
    come: AtomicUsize,
}

impl Meeting {
    fn new(size: usize) -> Self {
        Self { size, come: AtomicUsize::new(0) }
    }

    fn join(&self) {
        let all = (self.come.fetch_add(1, Relaxed) / self.size + 1) * self.size;
        let mut polls = 0u32;
        while self.come.load(Relaxed) < all {
            polls += 1;
            if polls.is_multiple_of(1024) { thread::yield_now() } else { spin_loop() }
        }
    }
}

fn per_call(calls: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// Microseconds of a call, each after a pause in which this thread is busy, as with a serial operation.
fn median(pause: Duration, mut call: impl FnMut()) -> f64 {
    let calls = (20_000 / (50 + pause.as_micros())).max(15);
    let mut samples: Vec<f64> = (0..calls)
        .map(|_| {
            let from = Instant::now();
            while from.elapsed() < pause {
                spin_loop();
            }
            let start = Instant::now();
            call();
            start.elapsed().as_nanos() as f64 / 1e3
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// A chain of dependent multiplications: arithmetic without memory, the same time at every frequency of neighbours.
fn compute(steps: u64) {
    let mut x = black_box(1u64);
    for _ in 0..steps {
        x = black_box(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    black_box(x);
}

/// Steps that take this long, roughly.
fn steps(us: u64) -> u64 {
    let trial = 1_000_000;
    let ns = (0..5).map(|_| per_call(1, || compute(trial))).fold(f64::INFINITY, f64::min);
    (us as f64 * 1e3 * trial as f64 / ns) as u64
}
