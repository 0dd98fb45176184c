//! The arithmetic contract.
pub mod round;
