//! The threads of this instance. Rust can't start any on the web: the host does, each with an instance of the same module over the
//! same memory, and lets them come to [`serve`].
//!
//! The thread that opens sessions never waits but by looking: browsers don't let a page's thread sleep. What it waits for are the
//! last moments of parts that others have begun; parts that nobody has begun it does itself.

use std::sync::OnceLock;

use quaver_pool::Pool;

static POOL: OnceLock<Pool> = OnceLock::new();

/// The threads that runs use: one, unless [`expect`] was called before.
pub fn pool() -> &'static Pool {
    POOL.get_or_init(|| Pool::unmanned(1))
}

/// Makes runs use so many threads, that of the caller included; `false` where it is too late for that. Until the others come to
/// [`serve`], their work is the caller's.
pub fn expect(threads: usize) -> bool {
    POOL.set(Pool::unmanned(threads)).is_ok()
}

/// Works for runs of other threads as thread `index`, from 1 on, and doesn't return.
pub fn serve(index: usize) {
    pool().serve(index);
}

/// Says that a thread that came to [`serve`] has broken down. A run that waits for it breaks down, too.
pub fn lose() {
    pool().lose();
}
