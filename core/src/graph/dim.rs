//! One extent of a shape: a number, or a multiple of the batch size N.

use std::fmt;

use serde::Serialize;

/// An extent; `k·N` where the batch size N is chosen at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Dim {
    /// A number known at conversion.
    Fixed(usize),
    /// `times` · N.
    Batch {
        /// The factor, at least 1.
        #[serde(rename = "N")]
        times: usize,
    },
}

impl Dim {
    /// The batch size itself.
    pub const BATCH: Dim = Dim::Batch { times: 1 };

    /// The number, where it is known.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(n),
            Dim::Batch { .. } => None,
        }
    }

    /// The number at batch size `batch`; `None` on overflow.
    pub fn at(self, batch: usize) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(n),
            Dim::Batch { times } => times.checked_mul(batch),
        }
    }

    /// Whether this is a multiple of the batch size.
    pub fn is_batch(self) -> bool {
        matches!(self, Dim::Batch { .. })
    }

    /// The product; `None` on overflow or where it would hold N².
    pub fn times(self, other: Dim) -> Option<Dim> {
        match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => a.checked_mul(b).map(Dim::Fixed),
            (Dim::Batch { times }, Dim::Fixed(k)) | (Dim::Fixed(k), Dim::Batch { times }) => {
                if k == 0 {
                    Some(Dim::Fixed(0))
                } else {
                    times.checked_mul(k).map(|times| Dim::Batch { times })
                }
            }
            (Dim::Batch { .. }, Dim::Batch { .. }) => None,
        }
    }

    /// The product of a shape's extents; `None` on overflow or where it would hold N².
    pub fn product(dims: &[Dim]) -> Option<Dim> {
        dims.iter().try_fold(Dim::Fixed(1), |n, &d| n.times(d))
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
            Dim::Batch { times: 1 } => f.write_str("N"),
            Dim::Batch { times } => write!(f, "{times}N"),
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
    fn products_hold_one_batch() {
        assert_eq!(Dim::product(&[Dim::BATCH, 3.into(), 4.into()]), Some(Dim::Batch { times: 12 }));
        assert_eq!(Dim::product(&[Dim::BATCH, Dim::BATCH]), None);
        assert_eq!(Dim::Fixed(usize::MAX).times(2.into()), None);
    }

    #[test]
    fn json_is_a_number_or_a_factor() {
        let json = serde_json::to_string(&[Dim::BATCH, Dim::Fixed(3)]).expect("serializes");
        assert_eq!(json, r#"[{"N":1},3]"#);
        assert_eq!(crate::json::from_str::<[Dim; 2]>(&json).expect("parses"), [Dim::BATCH, Dim::Fixed(3)]);
    }
}
