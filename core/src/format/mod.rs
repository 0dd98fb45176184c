//! The `.qvr` file.
pub mod weights;
