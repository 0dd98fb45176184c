//! One command each: parse, call, print.

pub mod bench;
pub mod classify;
pub mod compare;
#[cfg(feature = "serverless")]
pub mod componentize;
pub mod convert;
pub mod demo;
pub mod engine;
pub mod explain;
pub mod inspect;
pub mod run;
#[cfg(feature = "serverless")]
pub mod serve;
pub mod tune;
