//! Einsum as a chain of matrix products: operands are brought to [kept by both, own, summed], and back.
//!
//! A subscript that is there twice in an operand takes the diagonal; one that is there in no other operand nor in the result is summed
//! first. An ellipsis stands for as many subscripts as are left.

use std::collections::BTreeMap;

use quaver_core::graph::Dim;

use super::compose::{int, ints};
use super::{Ctx, Importer, NodeError, Outputs, Val, invalid, unsupported};

/// A value and the subscripts of its dimensions.
struct Term {
    value: Val,
    subscripts: Vec<char>,
}

/// Subscripts that ellipses stand for; no letters.
const ELLIPSIS: std::ops::RangeInclusive<char> = '0'..='9';

impl Importer<'_> {
    pub(super) fn einsum(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let equation: String = ctx.attrs.string("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match equation.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (equation.as_str(), None),
        };
        let sides: Vec<&str> = left.split(',').collect();
        if sides.len() != ctx.inputs.len() || sides.is_empty() {
            return invalid(format!("equation '{equation}' is not of {} operands", ctx.inputs.len()));
        }
        let mut terms = Vec::new();
        for (i, side) in sides.iter().enumerate() {
            let value = self.given(ctx, i)?.clone();
            let rank = self.extents(&value).len();
            let subscripts = subscripts(side, rank)?;
            if subscripts.len() != rank {
                return invalid(format!("'{side}' doesn't fit operand {i} of rank {rank}"));
            }
            terms.push(self.diagonal(ctx, Term { value, subscripts })?);
        }
        let dots =
            terms.iter().flat_map(|t| &t.subscripts).filter(|c| ELLIPSIS.contains(c)).max().map_or(0, |c| *c as usize - '0' as usize + 1);
        let result = match right {
            Some(right) => subscripts(right, dots + right.chars().filter(char::is_ascii_alphabetic).count())?,
            None => {
                // Ellipses, then what is there once, in alphabetical order.
                let mut counts: BTreeMap<char, usize> = BTreeMap::new();
                sides.iter().flat_map(|s| s.chars()).filter(char::is_ascii_alphabetic).for_each(|c| *counts.entry(c).or_default() += 1);
                ELLIPSIS.take(dots).chain(counts.into_iter().filter(|c| c.1 == 1).map(|c| c.0)).collect()
            }
        };
        let known = |c: &char| terms.iter().any(|t| t.subscripts.contains(c));
        if !result.iter().all(known) || (1..result.len()).any(|i| result[..i].contains(&result[i])) {
            return invalid(format!("the result of equation '{equation}' has a subscript twice, or one that no operand has"));
        }
        let mut terms = terms.into_iter();
        let Some(mut term) = terms.next() else { return invalid("it has no operands") };
        let rest: Vec<Term> = terms.collect();
        for (i, next) in rest.iter().enumerate() {
            let later = |c: &char| result.contains(c) || rest[i + 1..].iter().any(|t| t.subscripts.contains(c));
            term = self.product(ctx, term, next, &later)?;
        }
        let term = self.summed(ctx, term, &|c| result.contains(c))?;
        let y = self.ordered(ctx, &term, &result)?;
        self.last(ctx, "Identity", &[&y], &[])
    }

    /// What is there twice, once: the elements whose indices are equal.
    fn diagonal(&mut self, ctx: &Ctx<'_>, mut term: Term) -> Result<Term, NodeError> {
        loop {
            let s = &term.subscripts;
            let Some((i, k)) = (0..s.len()).find_map(|i| Some((i, i + 1 + s[i + 1..].iter().position(|c| *c == s[i])?))) else {
                return Ok(term);
            };
            let dims = self.extents(&term.value);
            let n = Self::fixed_extent(&dims, i)?;
            if dims[k] != Dim::Fixed(n) {
                return invalid("the extents of a subscript that is there twice differ");
            }
            let mut order: Vec<char> = s.clone();
            order.remove(k);
            order.remove(i);
            let rank = order.len();
            let mut perm: Vec<i64> = (0..s.len()).filter(|&d| d != i && d != k).map(|d| d as i64).collect();
            perm.extend([i as i64, k as i64]);
            let moved = self.call(ctx, "Transpose", &[&term.value], &[ints("perm", perm)])?;
            let mut flat: Vec<Dim> = self.extents(&moved)[..rank].to_vec();
            flat.push(Dim::Fixed(n * n));
            let flat = self.reshaped(ctx, &moved, &flat)?;
            let places = super::compose::whole((0..n as i64).map(|d| d * (n as i64 + 1)));
            let value = self.call(ctx, "Gather", &[&flat, &places], &[int("axis", rank as i64)])?;
            order.push(s[i]);
            term = Term { value, subscripts: order };
        }
    }

    /// The sum over all subscripts but those to keep.
    fn summed(&mut self, ctx: &Ctx<'_>, term: Term, keep: &dyn Fn(&char) -> bool) -> Result<Term, NodeError> {
        let axes: Vec<i64> = (0..term.subscripts.len()).filter(|&i| !keep(&term.subscripts[i])).map(|i| i as i64).collect();
        if axes.is_empty() {
            return Ok(term);
        }
        let value = self.call(ctx, "ReduceSum", &[&term.value], &[ints("axes", axes), int("keepdims", 0)])?;
        Ok(Term { value, subscripts: term.subscripts.into_iter().filter(|c| keep(c)).collect() })
    }

    /// The value with its dimensions in that order.
    fn ordered(&mut self, ctx: &Ctx<'_>, term: &Term, order: &[char]) -> Result<Val, NodeError> {
        let perm: Option<Vec<i64>> = order.iter().map(|c| term.subscripts.iter().position(|s| s == c).map(|i| i as i64)).collect();
        match perm {
            Some(perm) if perm.len() == term.subscripts.len() => {
                if perm.is_sorted() {
                    return Ok(term.value.clone());
                }
                self.call(ctx, "Transpose", &[&term.value], &[ints("perm", perm)])
            }
            _ => unsupported("its equation is of a kind that is no matrix product"),
        }
    }

    /// The product of two, summed over what neither the result nor a later operand has.
    fn product(&mut self, ctx: &Ctx<'_>, a: Term, b: &Term, later: &dyn Fn(&char) -> bool) -> Result<Term, NodeError> {
        let b = Term { value: b.value.clone(), subscripts: b.subscripts.clone() };
        let (in_a, in_b) = (a.subscripts.clone(), b.subscripts.clone());
        let a = self.summed(ctx, a, &|c| later(c) || in_b.contains(c))?;
        let b = self.summed(ctx, b, &|c| later(c) || in_a.contains(c))?;
        let both: Vec<char> = a.subscripts.iter().copied().filter(|c| b.subscripts.contains(c)).collect();
        let (kept, gone): (Vec<char>, Vec<char>) = both.iter().partition(|c| later(c));
        let own = |term: &Term| term.subscripts.iter().copied().filter(|c| !both.contains(c)).collect::<Vec<char>>();
        let (rows, columns) = (own(&a), own(&b));
        let extent = |importer: &Self, c: &char| {
            let of = |term: &Term| term.subscripts.iter().position(|s| s == c).map(|i| importer.extents(&term.value)[i].clone());
            // An extent of 1 is broadcast.
            of(&a).filter(|d| *d != Dim::Fixed(1)).or_else(|| of(&b)).or_else(|| of(&a)).unwrap_or(Dim::Fixed(1))
        };
        let extents = |importer: &Self, s: &[char]| s.iter().map(|c| extent(importer, c)).collect::<Vec<Dim>>();
        for c in &both {
            let of = |term: &Term| term.subscripts.iter().position(|s| s == c).map(|i| self.extents(&term.value)[i].clone());
            if of(&a) != of(&b) {
                return unsupported("it broadcasts a subscript whose extents differ");
            }
        }
        let (lead, m, n, k) = (extents(self, &kept), extents(self, &rows), extents(self, &columns), extents(self, &gone));
        let [Some(m_all), Some(n_all), Some(k_all)] = [&m, &n, &k].map(|dims| Dim::product(dims)) else {
            return unsupported("its extents overflow");
        };
        let left = self.ordered(ctx, &a, &[&kept[..], &rows, &gone].concat())?;
        let right = self.ordered(ctx, &b, &[&kept[..], &gone, &columns].concat())?;
        let left = self.reshaped(ctx, &left, &[&lead[..], &[m_all, k_all.clone()]].concat())?;
        let right = self.reshaped(ctx, &right, &[&lead[..], &[k_all, n_all]].concat())?;
        let y = self.call(ctx, "MatMul", &[&left, &right], &[])?;
        let value = self.reshaped(ctx, &y, &[lead, m, n].concat())?;
        Ok(Term { value, subscripts: [kept, rows, columns].concat() })
    }
}

/// A side of an equation, of which an ellipsis takes what a rank leaves.
fn subscripts(side: &str, rank: usize) -> Result<Vec<char>, NodeError> {
    let letters = side.chars().filter(char::is_ascii_alphabetic).count();
    let (before, after) = side.split_once("...").map_or((side, None), |(before, after)| (before, Some(after)));
    let valid = |s: &str| s.chars().all(|c| c.is_ascii_alphabetic());
    if !valid(before) || !after.is_none_or(valid) {
        return invalid(format!("'{side}' is no list of subscripts"));
    }
    let dots = if after.is_some() { rank.saturating_sub(letters) } else { 0 };
    Ok(before.chars().chain(ELLIPSIS.take(dots)).chain(after.unwrap_or_default().chars()).collect())
}
