//! Operations that move elements and leave their values alone.
//!
//! | module | what it holds |
//! |---|---|
//! | [`rows`] | joining along an axis, cutting along one |
//! | [`shuffle`] | channel shuffle of bytes |
//! | [`transpose`] | matrices, and so images between planes and pixels |

pub mod rows;
pub mod shuffle;
pub mod transpose;
