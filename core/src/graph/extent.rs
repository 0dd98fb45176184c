//! Whole numbers that depend on what a model's inputs leave open: N, a height, the length of a sequence.
//!
//! They are polynomials over symbols and over quotients rounded down, as windows with strides make them. The form is
//! canonical, so that extents which two ways through a network give, and which arithmetic says are equal, compare as equal:
//! ⌊(⌊(H+1)/2⌋+1)/2⌋ is ⌊(H+3)/4⌋.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::json::{Json, Read};

/// The symbol of the batch size.
pub const BATCH: &str = "N";

/// Most terms of an extent. None of a network comes near, but a file could say anything.
const MOST_TERMS: usize = 64;
/// How deep quotients are nested at most.
const MOST_DEPTH: usize = 16;

/// Σ factor·Π atoms + constant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Extent {
    /// Ascending by atoms, no factor 0.
    #[serde(rename = "t")]
    terms: Vec<Term>,
    #[serde(rename = "c", skip_serializing_if = "is_zero")]
    constant: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
struct Term {
    /// Ascending, at least one.
    #[serde(rename = "a")]
    atoms: Vec<Atom>,
    #[serde(rename = "f", skip_serializing_if = "is_one")]
    factor: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
enum Atom {
    Symbol(Arc<str>),
    /// An extent over a number above 1, rounded down.
    Quotient {
        of: Box<Extent>,
        by: i64,
    },
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn is_one(n: &i64) -> bool {
    *n == 1
}

impl Extent {
    /// What has that name.
    pub fn symbol(name: &str) -> Self {
        Self { terms: vec![Term { atoms: vec![Atom::Symbol(name.into())], factor: 1 }], constant: 0 }
    }

    /// The number, where it depends on nothing.
    pub fn number(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The name, where it is nothing but a symbol.
    pub fn name(&self) -> Option<&str> {
        match (&self.terms[..], self.constant) {
            ([Term { atoms, factor: 1 }], 0) => match &atoms[..] {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// k, where this is k·N.
    pub(super) fn of_batch(&self) -> Option<i64> {
        match (&self.terms[..], self.constant) {
            ([Term { atoms, factor }], 0) => match &atoms[..] {
                [Atom::Symbol(name)] if **name == *BATCH => Some(*factor),
                _ => None,
            },
            _ => None,
        }
    }

    /// The sum; `None` where a number overflows.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let terms = self.terms.iter().chain(&other.terms).cloned().collect();
        Self::collected(terms, self.constant.checked_add(other.constant)?)
    }

    /// The difference; `None` where a number overflows.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.times(&Self::from(-1))?)
    }

    /// The product; `None` where a number overflows.
    pub fn times(&self, other: &Self) -> Option<Self> {
        if self.terms.len() * other.terms.len() > MOST_TERMS {
            return None;
        }
        let mut terms = Vec::new();
        for a in &self.terms {
            for b in &other.terms {
                let mut atoms = [&a.atoms[..], &b.atoms[..]].concat();
                atoms.sort();
                terms.push(Term { atoms, factor: a.factor.checked_mul(b.factor)? });
            }
        }
        for (terms_of, by) in [(&self.terms, other.constant), (&other.terms, self.constant)] {
            for term in terms_of.iter().filter(|_| by != 0) {
                terms.push(Term { atoms: term.atoms.clone(), factor: term.factor.checked_mul(by)? });
            }
        }
        Self::collected(terms, self.constant.checked_mul(other.constant)?)
    }

    /// The quotient, rounded down; `None` where it can't be said, as `by` is below 1 or depends on something that doesn't cancel.
    pub fn over(&self, by: &Self) -> Option<Self> {
        match by.number() {
            Some(by) => self.over_number(by),
            None => self.over_term(by),
        }
    }

    fn over_number(&self, by: i64) -> Option<Self> {
        if by < 1 {
            return None;
        }
        // What is a multiple leaves the quotient.
        let (whole, rest): (Vec<Term>, Vec<Term>) = self.terms.iter().cloned().partition(|term| term.factor % by == 0);
        let whole = whole.into_iter().map(|term| Term { factor: term.factor / by, ..term }).collect();
        let (constant, over) = (self.constant.div_euclid(by), self.constant.rem_euclid(by));
        if rest.is_empty() {
            return Self::collected(whole, constant);
        }
        let rest = Self { terms: rest, constant: over };
        let quotient = match rest.terms.as_slice() {
            // ⌊(⌊a/b⌋ + c)/d⌋ = ⌊(a + b·c)/(b·d)⌋
            [Term { atoms, factor: 1 }] if matches!(atoms[..], [Atom::Quotient { .. }]) => {
                let [Atom::Quotient { of: inner, by: divisor }] = &atoms[..] else { return None };
                let moved = inner.plus(&Self::from(divisor.checked_mul(over)?))?;
                return moved.over_number(divisor.checked_mul(by)?)?.plus(&Self { terms: whole, constant });
            }
            _ => Atom::Quotient { of: Box::new(rest), by },
        };
        let term = Term { atoms: vec![quotient], factor: 1 };
        Self::collected([whole, vec![term]].concat(), constant).filter(|extent| extent.depth() <= MOST_DEPTH)
    }

    /// By one term, whose atoms are in each of this one's.
    fn over_term(&self, by: &Self) -> Option<Self> {
        let ([Term { atoms: out, factor: by }], 0, 0) = (&by.terms[..], by.constant, self.constant) else { return None };
        let mut terms = Vec::new();
        for term in &self.terms {
            let mut atoms = term.atoms.clone();
            for atom in out {
                let at = atoms.iter().position(|a| a == atom)?;
                atoms.remove(at);
            }
            terms.push((atoms, (*by != 0 && term.factor % by == 0).then(|| term.factor / by)?));
        }
        let constant = terms.iter().filter(|(atoms, _)| atoms.is_empty()).map(|(_, factor)| factor).sum();
        let terms = terms.into_iter().filter(|(atoms, _)| !atoms.is_empty()).map(|(atoms, factor)| Term { atoms, factor });
        Self::collected(terms.collect(), constant)
    }

    /// The number, where `size` gives that of each symbol in it; `None` also where a number overflows.
    pub fn at(&self, size: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let mut sum = self.constant;
        for term in &self.terms {
            let mut product = term.factor;
            for atom in &term.atoms {
                let factor = match atom {
                    Atom::Symbol(name) => size(name)?,
                    Atom::Quotient { of, by } => of.at(size)?.div_euclid(*by),
                };
                product = product.checked_mul(factor)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }

    /// The same with numbers for the symbols that `size` knows.
    pub fn with(&self, size: &dyn Fn(&str) -> Option<i64>) -> Option<Self> {
        let mut sum = Self::from(self.constant);
        for term in &self.terms {
            let mut product = Self::from(term.factor);
            for atom in &term.atoms {
                let factor = match atom {
                    Atom::Symbol(name) => size(name).map_or_else(|| Self::symbol(name), Self::from),
                    Atom::Quotient { of, by } => of.with(size)?.over_number(*by)?,
                };
                product = product.times(&factor)?;
            }
            sum = sum.plus(&product)?;
        }
        Some(sum)
    }

    /// Calls `see` with each symbol.
    pub fn symbols(&self, see: &mut dyn FnMut(&str)) {
        for atom in self.terms.iter().flat_map(|term| &term.atoms) {
            match atom {
                Atom::Symbol(name) => see(name),
                Atom::Quotient { of, .. } => of.symbols(see),
            }
        }
    }

    fn depth(&self) -> usize {
        let of = |atom: &Atom| if let Atom::Quotient { of, .. } = atom { 1 + of.depth() } else { 0 };
        self.terms.iter().flat_map(|term| &term.atoms).map(of).max().unwrap_or(0)
    }

    /// The canonical form.
    fn collected(mut terms: Vec<Term>, constant: i64) -> Option<Self> {
        terms.sort();
        let mut sum: Vec<Term> = Vec::with_capacity(terms.len());
        for term in terms {
            match sum.last_mut().filter(|last| last.atoms == term.atoms) {
                Some(last) => last.factor = last.factor.checked_add(term.factor)?,
                None => sum.push(term),
            }
        }
        sum.retain(|term| term.factor != 0);
        (sum.len() <= MOST_TERMS).then_some(Self { terms: sum, constant })
    }
}

impl From<i64> for Extent {
    fn from(constant: i64) -> Self {
        Self { terms: Vec::new(), constant }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            match (i, term.factor) {
                (0, 1) => {}
                (0, -1) => f.write_str("-")?,
                (0, factor) => write!(f, "{factor}")?,
                (_, 1) => f.write_str("+")?,
                (_, -1) => f.write_str("-")?,
                (_, factor) => write!(f, "{factor:+}")?,
            }
            for (k, atom) in term.atoms.iter().enumerate() {
                if k > 0 {
                    f.write_str("·")?;
                }
                match atom {
                    Atom::Symbol(name) => f.write_str(name)?,
                    Atom::Quotient { of, by } if of.name().is_some() => write!(f, "⌊{of}/{by}⌋")?,
                    Atom::Quotient { of, by } => write!(f, "⌊({of})/{by}⌋")?,
                }
            }
        }
        match self.constant {
            n if self.terms.is_empty() => write!(f, "{n}"),
            0 => Ok(()),
            n => write!(f, "{n:+}"),
        }
    }
}

impl Read for Extent {
    fn read(value: Json<'_>) -> Self {
        Self::nested(value, 0).unwrap_or_else(|| {
            value.refuse("an extent is too large, or divided by what is no positive number".to_owned());
            Self::from(0)
        })
    }
}

impl Extent {
    /// Reads what is within so many quotients; `None` where it is too large.
    fn nested(value: Json<'_>, depth: usize) -> Option<Self> {
        if depth > MOST_DEPTH {
            return None;
        }
        let mut object = value.object();
        // Made anew, so that whoever wrote it, the form is canonical.
        let mut sum = Self::from(object.take_or("c", 0i64));
        for term in object.take_items("t") {
            let mut object = term.object();
            let mut product = Self::from(object.take_or("f", 1i64));
            for atom in object.take_items("a") {
                product = product.times(&Self::atom(atom, depth)?)?;
            }
            object.end();
            sum = sum.plus(&product)?;
        }
        object.end();
        Some(sum)
    }

    fn atom(value: Json<'_>, depth: usize) -> Option<Self> {
        if value.is_string() {
            return Some(Self::symbol(&String::read(value)));
        }
        let mut object = value.object();
        let by = object.take("by");
        let of = Self::nested(object.take_json("of"), depth + 1)?;
        object.end();
        of.over_number(by)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn h() -> Extent {
        Extent::symbol("H")
    }

    /// ⌊(x + add)/by⌋
    fn half(x: &Extent, add: i64, by: i64) -> Extent {
        x.plus(&add.into()).and_then(|x| x.over(&by.into())).expect("small numbers")
    }

    #[test]
    fn what_is_equal_compares_as_equal() {
        assert_eq!(half(&half(&h(), 1, 2), 1, 2), half(&h(), 3, 4));
        assert_eq!(half(&h(), -1, 2).plus(&1.into()), Some(half(&h(), 1, 2)));
        let (n, l) = (Extent::symbol(BATCH), Extent::symbol("L"));
        let rows = n.times(&l).expect("small");
        let all = rows.times(&384.into()).expect("small");
        assert_eq!(all.over(&rows), Some(384.into()));
        assert_eq!(all.over(&n.times(&12.into()).expect("small")), l.times(&32.into()));
        assert_eq!((all.over(&h()), rows.over(&0.into()), n.over(&l.plus(&1.into()).expect("small"))), (None, None, None));
        assert_eq!(n.times(&4.into()).and_then(|n| n.over(&4.into())), Some(n.clone()));
        assert_eq!(l.minus(&l), Some(0.into()));
        assert_eq!((n.of_batch(), l.of_batch(), rows.of_batch()), (Some(1), None, None));
    }

    #[test]
    fn extents_are_shown_as_formulas() {
        let x = half(&h(), 3, 4).times(&Extent::symbol("W")).and_then(|x| x.plus(&h().times(&(-2).into())?)?.plus(&5.into()));
        assert_eq!(x.expect("small").to_string(), "-2H+W·⌊(H+3)/4⌋+5");
        assert_eq!(half(&h(), 0, 2).to_string(), "⌊H/2⌋");
        assert_eq!(Extent::from(-3).to_string(), "-3");
    }

    #[test]
    fn what_overflows_is_none() {
        let large = h().times(&i64::MAX.into()).expect("fits");
        assert_eq!((large.plus(&large), large.times(&2.into())), (None, None));
        assert_eq!(large.at(&|_| Some(3)), None);
        let nested = format!("{}1{}", r#"{"t":[{"a":[{"by":2,"of":"#.repeat(2000), "}]}]}".repeat(2000));
        assert!(crate::json::from_str::<Extent>(&nested).is_err());
    }

    /// Anything that windows, concatenations and reshapes make.
    fn any() -> impl Strategy<Value = Extent> {
        let leaf = prop_oneof![Just(h()), Just(Extent::symbol("W")), (-9i64..9).prop_map(Extent::from)];
        leaf.prop_recursive(4, 12, 2, |inner| {
            let pair = (inner.clone(), inner.clone());
            prop_oneof![
                pair.clone().prop_filter_map("large", |(a, b)| a.plus(&b)),
                pair.clone().prop_filter_map("large", |(a, b)| a.minus(&b)),
                pair.prop_filter_map("large", |(a, b)| a.times(&b)),
                (inner, 1i64..9).prop_filter_map("large", |(a, by)| a.over(&by.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_numbers(a in any(), b in any(), by in 1i64..40, [h, w] in [1i64..500, 1i64..500]) {
            let size = |name: &str| Some(if name == "H" { h } else { w });
            let at = |x: &Extent| x.at(&size).map(i128::from);
            let (Some(x), Some(y)) = (at(&a), at(&b)) else { return Ok(()) };
            let same = |symbolic: Option<Extent>, number: i128| symbolic.and_then(|s| at(&s)).is_none_or(|s| s == number);
            prop_assert!(same(a.plus(&b), x + y) && same(a.minus(&b), x - y) && same(a.times(&b), x * y));
            prop_assert!(same(a.over(&by.into()), x.div_euclid(i128::from(by))));
            if let Some(quotient) = a.over(&b) && y > 0 {
                prop_assert_eq!(at(&quotient), Some(x.div_euclid(y)));
            }
            let partly = a.with(&|name| (name == "H").then_some(h)).expect("no larger");
            prop_assert_eq!(at(&partly), Some(x));
            let json = serde_json::to_string(&a).expect("serializes");
            prop_assert_eq!(crate::json::from_str::<Extent>(&json).expect(&json), a);
        }
    }
}
