//! One extent of a shape: a number, a multiple of the batch size N, or another that the inputs' extents decide.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::extent::{BATCH, Extent};

/// An extent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Dim {
    /// A number known at conversion.
    Fixed(usize),
    /// `times` · N, where the batch size N is chosen at run time.
    Batch {
        /// The factor, at least 1.
        #[serde(rename = "N")]
        times: usize,
    },
    /// What depends on other extents that the inputs leave open. Before it runs, [`super::Graph::specialized`] puts numbers in.
    Open(Arc<Extent>),
}

impl Dim {
    /// The batch size itself.
    pub const BATCH: Dim = Dim::Batch { times: 1 };

    /// An extent that the inputs leave open, by its name.
    pub fn symbol(name: &str) -> Self {
        if name == BATCH { Self::BATCH } else { Self::Open(Arc::new(Extent::symbol(name))) }
    }

    /// The number, where it is known.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(*n),
            _ => None,
        }
    }

    /// The number at batch size `batch`; `None` on overflow, and where it depends on more than that.
    pub fn at(&self, batch: usize) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(*n),
            Dim::Batch { times } => times.checked_mul(batch),
            Dim::Open(_) => None,
        }
    }

    /// About the number for one sample, where open extents are as small as they often are: to compare, not to compute with.
    pub fn about(&self) -> usize {
        /// A sentence, or what an image is within a network.
        const OFTEN: i64 = 64;
        match self {
            Dim::Fixed(n) => *n,
            Dim::Batch { times } => *times,
            Dim::Open(extent) => {
                let about = extent.at(&|name| Some(if name == BATCH { 1 } else { OFTEN }));
                about.and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1)
            }
        }
    }

    /// Whether this is a multiple of the batch size.
    pub fn is_batch(&self) -> bool {
        matches!(self, Dim::Batch { .. })
    }

    /// Whether this depends on more than the batch size.
    pub fn is_open(&self) -> bool {
        matches!(self, Dim::Open(_))
    }

    /// The same as an extent; `None` where the number is too large for one.
    pub fn extent(&self) -> Option<Extent> {
        match self {
            Dim::Fixed(n) => i64::try_from(*n).ok().map(Extent::from),
            Dim::Batch { times } => Extent::symbol(BATCH).times(&Extent::from(i64::try_from(*times).ok()?)),
            Dim::Open(extent) => Some(Extent::clone(extent)),
        }
    }

    /// From an extent; `None` where that is a negative number.
    pub fn of(extent: Extent) -> Option<Self> {
        match (extent.number(), extent.of_batch()) {
            (Some(n), _) => usize::try_from(n).ok().map(Dim::Fixed),
            (_, Some(times)) => usize::try_from(times).ok().map(|times| Dim::Batch { times }),
            _ => Some(Dim::Open(Arc::new(extent))),
        }
    }

    /// The sum; `None` on overflow.
    pub fn plus(&self, other: &Dim) -> Option<Dim> {
        match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => a.checked_add(*b).map(Dim::Fixed),
            _ => Self::of(self.extent()?.plus(&other.extent()?)?),
        }
    }

    /// The product; `None` on overflow.
    pub fn times(&self, other: &Dim) -> Option<Dim> {
        match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => a.checked_mul(*b).map(Dim::Fixed),
            _ => Self::of(self.extent()?.times(&other.extent()?)?),
        }
    }

    /// The product of a shape's extents; `None` on overflow.
    pub fn product(dims: &[Dim]) -> Option<Dim> {
        dims.iter().try_fold(Dim::Fixed(1), |n, d| n.times(d))
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Fixed(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Batch { times: 1 } => f.write_str(BATCH),
            Dim::Batch { times } => write!(f, "{times}{BATCH}"),
            Dim::Open(extent) => extent.fmt(f),
        }
    }
}

/// A shape for people: `[N,3,224,224]`.
pub fn display(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_hold_what_they_depend_on() {
        assert_eq!(Dim::product(&[Dim::BATCH, 3.into(), 4.into()]), Some(Dim::Batch { times: 12 }));
        assert_eq!(Dim::product(&[Dim::BATCH, Dim::BATCH]).map(|d| d.to_string()), Some("N·N".to_owned()));
        assert_eq!(Dim::product(&[Dim::BATCH, Dim::symbol("L"), 0.into()]), Some(Dim::Fixed(0)));
        assert_eq!(Dim::Fixed(usize::MAX).times(&2.into()), None);
        assert_eq!(Dim::symbol("L").plus(&2.into()).map(|d| (d.to_string(), d.about())), Some(("L+2".to_owned(), 66)));
    }

    #[test]
    fn json_is_a_number_a_factor_or_terms() {
        let dims = [Dim::BATCH, Dim::Fixed(3), Dim::symbol("H").plus(&1.into()).expect("small")];
        let json = serde_json::to_string(&dims).expect("serializes");
        assert_eq!(json, r#"[{"N":1},3,{"t":[{"a":["H"]}],"c":1}]"#);
        assert_eq!(crate::json::from_str::<[Dim; 3]>(&json).expect("parses"), dims);
        assert_eq!(crate::json::from_str::<Dim>(r#"{"t":[{"a":["N"],"f":2}]}"#).expect("parses"), Dim::Batch { times: 2 });
    }
}
