//! What a machine can do at most: arithmetic in registers and reading memory, measured in some milliseconds, or nominal figures
//! where the machine in question is another one.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use quaver_core::kernel::simd::Simd;

use crate::amx::Amx;
use crate::cpu::Isa;
use crate::isa::peak::Peak;
use crate::isa::{Visitor, each};

/// Rates of one thread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// For each of [`Isa::ALL`].
    macs: [f64; Isa::ALL.len()],
    /// Bytes per second, read or written.
    bytes: f64,
}

/// Cycles per second of the nominal machine.
const CLOCK: f64 = 3e9;
/// Bytes per second of the nominal machine, for one thread.
const BYTES: f64 = 12e9;

/// Multiply-accumulates per cycle that a core can start, by instruction set.
fn per_cycle(isa: Isa) -> f64 {
    match isa {
        // What a compiler makes of the definition's loops; not a limit of the machine.
        Isa::Scalar => 2.0,
        // Three instructions for 32 products, and three can start at once.
        Isa::Avx2 => 32.0,
        // Two dot products of 8 lanes × 4.
        Isa::AvxVnni => 64.0,
        // Two dot products of 16 lanes × 4.
        Isa::Avx512Vnni => 128.0,
        // A product of tiles, 16 × 16 × 64, every 16 cycles.
        Isa::Amx => 1024.0,
    }
}

impl Peaks {
    /// Of no machine in particular: two VNNI or one AMX unit a core, at 3 GHz.
    pub fn nominal() -> Self {
        Self { macs: Isa::ALL.map(|isa| per_cycle(isa) * CLOCK), bytes: BYTES }
    }

    /// Of this machine, measured at the first call. Instruction sets that it lacks, and the definition, keep nominal figures.
    pub fn measured() -> &'static Self {
        static MEASURED: OnceLock<Peaks> = OnceLock::new();
        MEASURED.get_or_init(|| {
            let mut measure = Measure(Self { bytes: read_rate(), ..Self::nominal() });
            each(&mut measure);
            measure.keep(Isa::Amx.name(), Amx::detect());
            measure.0
        })
    }

    /// Multiply-accumulates per second of one thread.
    pub fn macs(&self, isa: Isa) -> f64 {
        Isa::ALL.iter().zip(self.macs).find(|(of, _)| **of == isa).map_or(0.0, |(_, macs)| macs)
    }

    /// Bytes per second of one thread, read or written.
    pub fn bytes(&self) -> f64 {
        self.bytes
    }
}

/// Puts what it measures in the place of what is nominal.
struct Measure(Peaks);

impl Measure {
    fn keep(&mut self, name: &str, isa: Option<impl Peak + Copy>) {
        let known = Isa::ALL.iter().zip(&mut self.0.macs).find(|(isa, _)| isa.name() == name);
        if let (Some(isa), Some((_, macs))) = (isa, known) {
            *macs = rate(|| isa.peak(1 << 22));
        }
    }
}

impl Visitor for Measure {
    fn visit<S: Simd + Peak>(&mut self, name: &'static str, isa: Option<S>) {
        self.keep(name, isa);
    }
}

/// Units per second of `work`, which does and returns so many at each call: the best of some calls.
fn rate(mut work: impl FnMut() -> u64) -> f64 {
    /// Long enough for the clock to rise.
    const TIME: Duration = Duration::from_millis(3);
    /// Enough for one that no other process interrupts.
    const CALLS: usize = 10;
    let begin = Instant::now();
    let (mut best, mut calls) = (0f64, 0);
    while calls < CALLS || begin.elapsed() < TIME {
        calls += 1;
        let start = Instant::now();
        let units = work() as f64;
        best = best.max(units / start.elapsed().as_secs_f64().max(1e-9));
    }
    best
}

/// Bytes per second that one thread reads, from more than a core's own caches.
fn read_rate() -> f64 {
    let data = vec![1u64; 1 << 20];
    rate(|| {
        black_box(black_box(&data).iter().fold(0u64, |sum, &x| sum.wrapping_add(x)));
        8 * data.len() as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_instruction_sets_do_more() {
        let nominal = Peaks::nominal();
        assert!(Isa::ALL.windows(2).all(|pair| nominal.macs(pair[0]) < nominal.macs(pair[1])));
    }

    #[test]
    fn measured_where_there_is_something_to_measure() {
        let (nominal, measured) = (Peaks::nominal(), Peaks::measured());
        assert!(measured.bytes() > 0.0);
        for isa in Isa::ALL {
            let is_measured = Isa::available().contains(&isa) && isa != Isa::Scalar;
            assert!(measured.macs(isa) > 0.0);
            assert!(is_measured || measured.macs(isa) == nominal.macs(isa), "{isa}");
        }
    }
}
