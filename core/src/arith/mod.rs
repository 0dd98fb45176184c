//! The arithmetic contract.

#![doc = include_str!("../../ARITHMETIC.md")]

pub mod exp;
pub mod float;
pub mod requant;
pub mod round;
pub mod table;
