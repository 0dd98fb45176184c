//! What an ONNX tensor is during import: a value of the network, or numbers that are known already.
//!
//! Exporters compute shapes with ordinary nodes (Shape, Gather, Concat, …). Those are evaluated here, with elements that
//! may be formulas over the inputs' extents, so that none of it reaches the network.

use std::fmt;
use std::sync::Arc;

use quaver_core::graph::dim::display;
use quaver_core::graph::extent::Extent;
use quaver_core::graph::{Dim, ValueId};
use quaver_core::tensor::DType;

/// A whole number, or one that the inputs' extents decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sym {
    /// A number.
    Num(i64),
    /// A formula.
    Open(Extent),
}

impl From<Extent> for Sym {
    fn from(extent: Extent) -> Self {
        extent.number().map_or(Sym::Open(extent), Sym::Num)
    }
}

impl fmt::Display for Sym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sym::Num(n) => n.fmt(f),
            Sym::Open(extent) => extent.fmt(f),
        }
    }
}

impl Sym {
    pub(super) fn num(&self) -> Option<i64> {
        match self {
            Sym::Num(n) => Some(*n),
            Sym::Open(_) => None,
        }
    }

    pub(super) fn extent(&self) -> Extent {
        match self {
            Sym::Num(n) => Extent::from(*n),
            Sym::Open(extent) => extent.clone(),
        }
    }

    pub(super) fn from_dim(dim: &Dim) -> Self {
        dim.extent().map_or(Sym::Num(i64::MAX), Sym::from)
    }

    pub(super) fn dim(&self) -> Option<Dim> {
        Dim::of(self.extent())
    }

    /// The result of an ONNX operation; `None` where no formula says it.
    pub(super) fn apply(op: &str, a: &Sym, b: &Sym) -> Option<Sym> {
        use Sym::{Num, Open};
        Some(match (op, a, b) {
            ("Div", Num(a), Num(b)) => Num(a.checked_div(*b)?),
            ("Mod", Num(a), Num(b)) => {
                let rest = a.checked_rem(*b)?;
                // The sign is that of the divisor.
                Num(if rest != 0 && (rest < 0) != (*b < 0) { rest + b } else { rest })
            }
            ("Min", Num(a), Num(b)) => Num(*a.min(b)),
            ("Max", Num(a), Num(b)) => Num(*a.max(b)),
            ("Less", Num(a), Num(b)) => Num(i64::from(a < b)),
            ("Greater", Num(a), Num(b)) => Num(i64::from(a > b)),
            // An extent is at least 1, and never said to be a certain number.
            ("Greater", Open(_), Num(b)) | ("Less", Num(b), Open(_)) if *b <= 0 => Num(1),
            ("Less", Open(_), Num(b)) | ("Greater", Num(b), Open(_)) if *b <= 1 => Num(0),
            ("Max", x @ Open(_), Num(n)) | ("Max", Num(n), x @ Open(_)) if *n <= 1 => x.clone(),
            ("Equal", a, b) => Num(i64::from(a == b)),
            ("Add", a, b) => a.extent().plus(&b.extent())?.into(),
            ("Sub", a, b) => a.extent().minus(&b.extent())?.into(),
            ("Mul", a, b) => a.extent().times(&b.extent())?.into(),
            ("Div", a, b) => a.extent().over(&b.extent())?.into(),
            ("Mod", a, b) => {
                let multiple = a.extent().over(&b.extent())?.times(&b.extent())?;
                a.extent().minus(&multiple)?.into()
            }
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
    /// Whole numbers that are known up to the inputs' extents.
    Ints {
        /// Extents.
        shape: Vec<usize>,
        /// Elements.
        data: Vec<Sym>,
    },
    /// The result of a node that is not supported.
    Unknown,
}

/// Most elements of an input that becomes a constant.
const MOST_FILLED: usize = 1 << 20;

impl Val {
    /// Numbers of that type and shape, each of which is `number`.
    pub(super) fn filled(dtype: DType, shape: &[Dim], number: f64) -> Result<Self, String> {
        let extents: Option<Vec<usize>> = shape.iter().map(Dim::fixed).collect();
        let Some(extents) = extents else { return Err(format!("its shape {} is open; say what it is by --input-shape", display(shape))) };
        let count = extents.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MOST_FILLED);
        let Some(count) = count else { return Err(format!("it has more than {MOST_FILLED} elements")) };
        if dtype == DType::F32 {
            return Ok(Val::floats(extents, vec![number as f32; count]));
        }
        let whole = number as i64;
        if whole as f64 != number {
            return Err(format!("{number} is no whole number, as its elements are"));
        }
        Ok(Val::Ints { shape: extents, data: vec![Sym::Num(whole); count] })
    }

    pub(super) fn floats(shape: Vec<usize>, data: Vec<f32>) -> Self {
        Val::Floats { shape, data: Arc::new(data) }
    }

    pub(super) fn ints(data: Vec<Sym>) -> Self {
        Val::Ints { shape: vec![data.len()], data }
    }
}
