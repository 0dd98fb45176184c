//! One command each: parse, call, print.

pub mod bench;
pub mod classify;
pub mod compare;
pub mod convert;
pub mod demo;
pub mod engine;
pub mod explain;
pub mod inspect;
pub mod run;
pub mod tune;
