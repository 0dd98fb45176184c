//! The one test binary: a module for each promise.

mod format;
