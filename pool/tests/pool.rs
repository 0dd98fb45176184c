//! The thread pool: each part once, whatever the numbers; panics, nesting, several callers, sleep and wake, start and end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use quaver_pool::{Pool, PoolOptions, split};

fn counters(n: usize) -> Vec<AtomicUsize> {
    (0..n).map(|_| AtomicUsize::new(0)).collect()
}

fn values(counters: &[AtomicUsize]) -> Vec<usize> {
    counters.iter().map(|c| c.load(Relaxed)).collect()
}

/// Every part has run `times` times; the counters are relaxed, so that only the pool can make their values visible.
fn assert_each(counters: &[AtomicUsize], times: usize, case: &str) {
    assert!(counters.iter().all(|c| c.load(Relaxed) == times), "{case}: {:?}", values(counters));
}

/// Long enough for workers to fall asleep; the tests hold if they don't.
fn let_sleep() {
    thread::sleep(Duration::from_millis(5));
}

#[test]
fn each_part_runs_once() {
    for threads in [1, 2, 3, 4, 9] {
        let pool = Pool::new(threads).expect("threads");
        assert_eq!(pool.threads(), threads);
        for parts in (0..40).chain([63, 64, 65, 1000, 4096]) {
            let calls = counters(parts);
            for _ in 0..20 {
                pool.run(parts, &|part| {
                    calls[part].fetch_add(1, Relaxed);
                });
            }
            assert_each(&calls, 20, &format!("{threads} threads, {parts} parts"));
        }
    }
}

#[test]
fn threads_that_others_start_come_late_or_never() {
    let pool: &Pool = Box::leak(Box::new(Pool::unmanned(4)));
    assert_eq!(pool.threads(), 4);
    for index in 0..3 {
        let calls = counters(100);
        for run in 0..200 {
            pool.run(100, &|part| {
                calls[part].fetch_add(1, Relaxed);
            });
            if run % 50 == 0 {
                let_sleep();
            }
        }
        assert_each(&calls, 200, &format!("{index} have come"));
        // The last one never comes.
        if index > 0 {
            thread::spawn(move || pool.serve(index));
        }
    }
}

#[test]
fn no_threads_are_one() {
    let pool = Pool::new(0).expect("threads");
    assert_eq!(pool.threads(), 1);
    let calls = counters(3);
    pool.run(3, &|part| {
        calls[part].fetch_add(1, Relaxed);
    });
    assert_each(&calls, 1, "0 threads");
}

#[test]
fn runs_follow_each_other_closely() {
    for (threads, parts, runs) in [(2, 2, 100_000), (3, 7, 20_000), (8, 8, 5_000)] {
        let pool = Pool::new(threads).expect("threads");
        // Plain memory written by the parts: a run that returned early, or ran a part twice, would leave another sum.
        let mut data = vec![0u64; parts];
        for run in 0..runs {
            pool.run_slices(&mut data, parts, 1, &|range, slice| slice[0] += run + range.start as u64);
        }
        let runs_sum = runs * (runs - 1) / 2;
        let expected: Vec<u64> = (0..parts as u64).map(|part| runs_sum + part * runs).collect();
        assert_eq!(data, expected, "{threads} threads");
    }
}

#[test]
fn jobs_that_borrow_and_differ() {
    let pool = Pool::new(2).expect("threads");
    let total = AtomicUsize::new(0);
    for run in 0..10_000usize {
        // A new closure with a new frame each time: a worker that used an old one would add another number.
        let add = [run, run * 3, 1];
        pool.run(3, &|part| {
            total.fetch_add(add[part], Relaxed);
        });
    }
    assert_eq!(total.into_inner(), 4 * (10_000 * 9_999 / 2) + 10_000);
}

#[test]
fn as_many_parts_as_threads_run_at_once() {
    for threads in [2, 5] {
        let pool = Pool::new(threads).expect("threads");
        // Passes only if each part has its own thread.
        let barrier = Barrier::new(threads);
        let ids = Mutex::new(Vec::new());
        pool.run(threads, &|_| {
            barrier.wait();
            ids.lock().expect("no panic").push(thread::current().id());
        });
        let ids = ids.into_inner().expect("no panic");
        assert!(ids.contains(&thread::current().id()), "the caller takes part");
        assert!((0..threads).all(|i| !ids[..i].contains(&ids[i])), "{ids:?}");
    }
}

#[test]
fn workers_that_sleep_are_woken() {
    let pool = Pool::new(3).expect("threads");
    for _ in 0..20 {
        let_sleep();
        let barrier = Barrier::new(3);
        pool.run(3, &|_| {
            barrier.wait();
        });
    }
}

#[test]
fn no_wake_up_is_lost_around_falling_asleep() {
    let pool = Pool::new(2).expect("threads");
    for pause in 0..400u64 {
        // Around the time after which a worker goes to sleep. The barrier needs the worker: a lost wake-up hangs.
        thread::sleep(Duration::from_micros(pause % 200));
        let barrier = Barrier::new(2);
        pool.run(2, &|_| {
            barrier.wait();
        });
    }
}

#[test]
fn a_panic_reaches_the_caller_when_all_parts_have_ended() {
    for threads in [2, 4] {
        let pool = Pool::new(threads).expect("threads");
        for bad in 0..8 {
            let calls = counters(8);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|part| {
                    calls[part].fetch_add(1, Relaxed);
                    if part == bad {
                        panic_any(part);
                    }
                });
            }));
            assert_eq!(caught.expect_err("a part panicked").downcast_ref(), Some(&bad));
            assert_each(&calls, 1, "with a panic");
        }
        let all = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|part| panic_any(part))));
        assert!(all.expect_err("all parts panicked").is::<usize>());
        let calls = counters(8);
        pool.run(8, &|part| {
            calls[part].fetch_add(1, Relaxed);
        });
        assert_each(&calls, 1, "after panics");
    }
}

/// Panics when it is dropped.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_payload_that_panics_ends_no_thread() {
    let pool = Pool::new(2).expect("threads");
    let caught = catch_unwind(AssertUnwindSafe(|| pool.run(16, &|_| panic_any(Mine))));
    std::mem::forget(caught);
    let barrier = Barrier::new(2);
    pool.run(2, &|_| {
        barrier.wait();
    });
}

#[test]
fn a_job_may_run_a_job() {
    let (pool, other) = (Pool::new(3).expect("threads"), Pool::new(2).expect("threads"));
    let (inner, foreign) = (counters(5), counters(5));
    pool.run(6, &|_| {
        let here = thread::current().id();
        pool.run(5, &|part| {
            assert_eq!(thread::current().id(), here, "a nested run stays in its thread");
            inner[part].fetch_add(1, Relaxed);
        });
        other.run(5, &|part| {
            foreign[part].fetch_add(1, Relaxed);
        });
    });
    assert_each(&inner, 6, "nested");
    assert_each(&foreign, 6, "in another pool");
}

#[test]
fn several_callers_get_along() {
    let pool = Pool::new(2).expect("threads");
    let callers = 4;
    thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let mut data = [0u64; 64];
                for _ in 0..2_000 {
                    pool.run_slices(&mut data, 8, 3, &|_, slice| slice.iter_mut().for_each(|x| *x += 1));
                }
                assert_eq!(data, [2_000; 64]);
            });
        }
    });
}

#[test]
fn pools_end_in_any_state() {
    for round in 0..50 {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).expect("threads");
            if round % 3 > 0 {
                pool.run(threads, &|_| {});
            }
            if round % 10 == 9 {
                let_sleep();
            }
        }
    }
}

thread_local!(static INDEX: Cell<usize> = const { Cell::new(0) });

#[test]
fn workers_start_with_the_hook() {
    let started = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&started);
    let on_start = move |index| {
        INDEX.set(index);
        log.lock().expect("no panic").push((index, thread::current().name().map(str::to_owned)));
    };
    let pool = Pool::with_options(&PoolOptions { threads: 3, on_start: Some(Arc::new(on_start)) }).expect("threads");
    let (barrier, seen) = (Barrier::new(3), counters(3));
    pool.run(3, &|_| {
        barrier.wait();
        seen[INDEX.get()].fetch_add(1, Relaxed);
    });
    assert_each(&seen, 1, "one thread of each index");
    drop(pool);
    let mut started = started.lock().expect("no panic").clone();
    started.sort();
    assert_eq!(started, [(1, Some("quaver-1".to_owned())), (2, Some("quaver-2".to_owned()))]);
}

#[test]
fn a_hook_that_panics_costs_a_worker_only() {
    let on_start = |index| assert_ne!(index, 1, "as the test wants");
    let pool = Pool::with_options(&PoolOptions { threads: 3, on_start: Some(Arc::new(on_start)) }).expect("threads");
    let calls = counters(9);
    for _ in 0..100 {
        pool.run(9, &|part| {
            calls[part].fetch_add(1, Relaxed);
        });
    }
    assert_each(&calls, 100, "with a worker missing");
}

#[test]
fn slices_are_those_of_split() {
    let pool = Pool::new(3).expect("threads");
    for total in [0, 1, 5, 64, 1000] {
        let mut data = vec![0usize; total];
        let ranges = split(total, 6, 16);
        pool.run_slices(&mut data, 6, 16, &|range, slice| {
            assert!(ranges.iter().any(|r| r == range) && slice.len() == range.len());
            slice.iter_mut().zip(range).for_each(|(x, i)| *x += i);
        });
        assert!(data.iter().copied().eq(0..total));
    }
}
