//! Waiting for something that should happen soon: polling first, then giving way. It doesn't sleep; it says when to.

use std::hint::spin_loop;
#[cfg(not(target_family = "wasm"))]
use std::thread::yield_now;
#[cfg(not(target_family = "wasm"))]
use std::time::{Duration, Instant};

/// Waits shorter than this keep the core. It bounds what the caller loses where the system put a worker on its core.
#[cfg(not(target_family = "wasm"))]
const GIVE_WAY_AFTER: Duration = Duration::from_micros(10);
/// Who waited longer than this had better sleep. Longer than the serial stretches between the parallel operations of a
/// network, so that its workers stay awake during a run; short beside the time between runs.
#[cfg(not(target_family = "wasm"))]
const SLEEP_AFTER: Duration = Duration::from_micros(100);
/// Polls between looks at the clock, which cost more than a poll.
const POLLS: u32 = 64;
/// The same where threads share cores.
const POLLS_CROWDED: u32 = 8;
/// Looks, where there is no clock and nothing to give way with, until it is time to sleep: about as long.
#[cfg(target_family = "wasm")]
const LOOKS: u32 = 1 << 11;

/// One wait.
pub(super) struct Spin {
    crowded: bool,
    left: u32,
    /// When the first polls were over: short waits don't read the clock.
    #[cfg(not(target_family = "wasm"))]
    since: Option<Instant>,
    #[cfg(target_family = "wasm")]
    looks: u32,
}

impl Spin {
    /// A wait that begins now. `crowded`: there are more threads than cores.
    pub(super) fn new(crowded: bool) -> Self {
        #[cfg(not(target_family = "wasm"))]
        return Self { crowded, left: polls(crowded), since: None };
        #[cfg(target_family = "wasm")]
        return Self { crowded, left: polls(crowded), looks: 0 };
    }

    /// Lets a moment pass between two polls. False when it would be better to sleep; if the wait goes on nevertheless, it
    /// keeps giving way to other threads.
    pub(super) fn pause(&mut self) -> bool {
        spin_loop();
        self.left -= 1;
        if self.left > 0 {
            return true;
        }
        self.left = polls(self.crowded);
        self.goes_on()
    }

    #[cfg(not(target_family = "wasm"))]
    fn goes_on(&mut self) -> bool {
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if self.crowded || waited > GIVE_WAY_AFTER {
            yield_now();
        }
        waited < SLEEP_AFTER
    }

    #[cfg(target_family = "wasm")]
    fn goes_on(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        self.looks < LOOKS
    }
}

fn polls(crowded: bool) -> u32 {
    if crowded { POLLS_CROWDED } else { POLLS }
}
