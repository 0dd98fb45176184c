//! Kernels that work on elements and images against the reference, by equality, on every instruction set that this machine
//! has and on arrays.

mod functions;
mod layout;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod run;
mod softmax;
