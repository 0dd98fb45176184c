//! A server as its clients see it: on a socket of its own, with components that misbehave and clients that do.
//!
//! | module | what it promises |
//! |---|---|
//! | `direct` | models by the protocol, in batches, with native's bytes |
//! | `component` | the same bytes from a component, by its own kernels and by the host's; wasi-nn |
//! | `guests` | what a component does wrong harms only its own request |
//! | `clients` | what a client does wrong, too |
//! | `changes` | replacement under load, and the end under load, lose nothing |
//! | `stock` | a component on `wasmtime serve`, where QUAVER_WASMTIME says where that is |

mod changes;
mod client;
mod clients;
mod component;
mod direct;
mod guests;
mod models;
mod running;
mod stock;
