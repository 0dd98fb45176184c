//! What an ONNX tensor is during import: a value of the network, or numbers that are known already.
//!
//! Exporters compute shapes with ordinary nodes (Shape, Gather, Concat, …). Those are evaluated here, with elements that
//! may be multiples of the batch size, so that none of it reaches the network.

use std::sync::Arc;

use quaver_core::graph::{Dim, ValueId};

/// A whole number, or a multiple of the batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sym {
    /// A number.
    Num(i64),
    /// That many times N.
    Batch(i64),
}

impl Sym {
    pub(super) fn num(self) -> Option<i64> {
        match self {
            Sym::Num(n) => Some(n),
            Sym::Batch(_) => None,
        }
    }

    pub(super) fn from_dim(dim: Dim) -> Self {
        match dim {
            Dim::Fixed(n) => Sym::Num(n as i64),
            Dim::Batch { times } => Sym::Batch(times as i64),
        }
    }

    pub(super) fn dim(self) -> Option<Dim> {
        match self {
            Sym::Num(n) => usize::try_from(n).ok().map(Dim::Fixed),
            Sym::Batch(k) => usize::try_from(k).ok().filter(|&k| k > 0).map(|times| Dim::Batch { times }),
        }
    }

    /// The result of an ONNX operation; `None` where it is not a number or a multiple of N.
    pub(super) fn apply(op: &str, a: Sym, b: Sym) -> Option<Sym> {
        use Sym::{Batch, Num};
        Some(match (op, a, b) {
            ("Add", Num(a), Num(b)) => Num(a.checked_add(b)?),
            ("Add", Batch(a), Batch(b)) => Batch(a.checked_add(b)?),
            ("Sub", Num(a), Num(b)) => Num(a.checked_sub(b)?),
            ("Add" | "Sub", x, Num(0)) | ("Add", Num(0), x) => x,
            ("Mul", Num(a), Num(b)) => Num(a.checked_mul(b)?),
            ("Mul", Batch(k), Num(n)) | ("Mul", Num(n), Batch(k)) if n > 0 => Batch(k.checked_mul(n)?),
            ("Mul", _, Num(0)) | ("Mul", Num(0), _) => Num(0),
            ("Div", Num(a), Num(b)) => Num(a.checked_div(b)?),
            ("Div", Batch(k), Num(n)) if n > 0 && k % n == 0 => Batch(k / n),
            ("Div", Batch(a), Batch(b)) if b > 0 && a % b == 0 => Num(a / b),
            ("Mod", Num(a), Num(b)) => Num(a.checked_rem_euclid(b)?),
            ("Min", Num(a), Num(b)) => Num(a.min(b)),
            ("Max", Num(a), Num(b)) => Num(a.max(b)),
            ("Equal", a, b) => Num(i64::from(a == b)),
            ("Less", Num(a), Num(b)) => Num(i64::from(a < b)),
            ("Greater", Num(a), Num(b)) => Num(i64::from(a > b)),
            _ => return None,
        })
    }
}

/// What an ONNX tensor is.
#[derive(Debug, Clone)]
pub(super) enum Val {
    /// A value of the network.
    Tensor(ValueId),
    /// Real numbers that are known.
    Floats {
        /// Extents.
        shape: Vec<usize>,
        /// Elements.
        data: Arc<Vec<f32>>,
    },
    /// Whole numbers that are known up to the batch size.
    Ints {
        /// Extents.
        shape: Vec<usize>,
        /// Elements.
        data: Vec<Sym>,
    },
    /// The result of a node that is not supported.
    Unknown,
}

impl Val {
    pub(super) fn floats(shape: Vec<usize>, data: Vec<f32>) -> Self {
        Val::Floats { shape, data: Arc::new(data) }
    }

    pub(super) fn ints(data: Vec<Sym>) -> Self {
        Val::Ints { shape: vec![data.len()], data }
    }
}
