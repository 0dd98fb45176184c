//! Waiting for something that should happen soon: polling first, then giving way. It doesn't sleep; it says when to.

use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// Waits shorter than this keep the core. It bounds what the caller loses where the system put a worker on its core.
const GIVE_WAY_AFTER: Duration = Duration::from_micros(10);
/// Who waited longer than this had better sleep. Longer than the serial stretches between the parallel operations of a
/// network, so that its workers stay awake during a run; short beside the time between runs.
const SLEEP_AFTER: Duration = Duration::from_micros(100);
/// Polls between looks at the clock, which cost more than a poll.
const POLLS: u32 = 64;
/// The same where threads share cores.
const POLLS_CROWDED: u32 = 8;

/// One wait.
pub(super) struct Spin {
    crowded: bool,
    left: u32,
    /// When the first polls were over: short waits don't read the clock.
    since: Option<Instant>,
}

impl Spin {
    /// A wait that begins now. `crowded`: there are more threads than cores.
    pub(super) fn new(crowded: bool) -> Self {
        Self { crowded, left: polls(crowded), since: None }
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
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if self.crowded || waited > GIVE_WAY_AFTER {
            yield_now();
        }
        waited < SLEEP_AFTER
    }
}

fn polls(crowded: bool) -> u32 {
    if crowded { POLLS_CROWDED } else { POLLS }
}
