//! Evaluation of what exporters compute about shapes: integer tensors whose elements may be formulas over the inputs'
//! extents, and small real ones.

use super::attrs::Attrs;
use super::value::{Sym, Val};
use super::{Importer, NodeError, invalid};

/// Most elements of a tensor that is made up during import.
const LIMIT: usize = 1 << 24;

/// Most elements that all larger tensors of one number have, which stand for weights in files without them.
pub(super) const UNFOLDED: usize = 1 << 28;

/// Result of evaluation: `None` where the operands are not all known.
pub(super) type Evaluated = Result<Option<Val>, NodeError>;

impl Importer<'_> {
    /// Evaluates a node whose operands are known numbers, if it is one that can be.
    pub(super) fn evaluate(&self, op: &str, inputs: &[Option<Val>], attrs: &Attrs<'_>) -> Evaluated {
        let get = |i: usize| inputs.get(i).and_then(Option::as_ref);
        match op {
            "Shape" => self.shape(get(0), attrs),
            "Size" => match get(0) {
                Some(Val::Tensor(id)) => Ok(quaver_core::graph::Dim::product(&self.dims(*id)).map(|d| scalar(Sym::from_dim(&d)))),
                Some(Val::Floats { data, .. }) => Ok(Some(scalar(Sym::Num(data.len() as i64)))),
                Some(Val::Ints { data, .. }) => Ok(Some(scalar(Sym::Num(data.len() as i64)))),
                _ => Ok(None),
            },
            "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Equal" | "Less" | "Greater"
                if inputs.len() == 2 && !attrs.flag("fmod", false)? =>
            {
                binary(op, get(0), get(1))
            }
            // Of whole numbers, as weights in integers are; real ones are the network's.
            "Clip" if matches!(get(0), Some(Val::Ints { .. })) => {
                let above = if get(1).is_some() { binary("Max", get(0), get(1))? } else { get(0).cloned() };
                if get(2).is_some() { binary("Min", above.as_ref(), get(2)) } else { Ok(above) }
            }
            "Where" => Ok(choose(get(0), get(1), get(2))),
            "Cast" => cast(get(0), attrs),
            "Floor" | "Ceil" | "Identity" | "Neg" | "Abs" => Ok(unary(op, get(0))),
            "Transpose" => transpose(get(0), attrs),
            "Gather" => gather(get(0), get(1), attrs),
            "ConstantOfShape" => self.filled(get(0), attrs),
            "Range" => Ok(range(get(0), get(1), get(2)).or_else(|| real_range(get(0), get(1), get(2)))),
            "ReduceProd" => Ok(match get(0) {
                Some(Val::Ints { data, shape }) if shape.len() <= 1 => data
                    .iter()
                    .try_fold(Sym::Num(1), |p, x| Sym::apply("Mul", &p, x))
                    .map(|p| if attrs.flag("keepdims", true).unwrap_or(true) { Val::ints(vec![p]) } else { scalar(p) }),
                _ => None,
            }),
            "Expand" => match (get(0), get(1)) {
                (Some(Val::Ints { data, .. }), Some(Val::Ints { data: target, .. })) if data.len() == 1 => {
                    let shape: Option<Vec<usize>> = target.iter().map(|s| s.num().and_then(|n| usize::try_from(n).ok())).collect();
                    let count = shape.as_ref().and_then(|s| quaver_core::tensor::element_count(s)).filter(|&n| n <= LIMIT);
                    Ok(count.zip(shape).map(|(n, shape)| Val::Ints { shape, data: vec![data[0].clone(); n] }))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// A tensor of one number.
    fn filled(&self, shape: Option<&Val>, attrs: &Attrs<'_>) -> Evaluated {
        let Some(Val::Ints { data, .. }) = shape else { return Ok(None) };
        let shape: Option<Vec<usize>> = data.iter().map(|s| s.num().and_then(|n| usize::try_from(n).ok())).collect();
        let count = shape.as_ref().and_then(|s| quaver_core::tensor::element_count(s)).filter(|&n| n <= self.unfolded.get().max(LIMIT));
        let (Some(shape), Some(count)) = (shape, count) else {
            return Ok(None);
        };
        let value = attrs.tensor("value")?.map(|t| super::tensor::decode(t, None)).transpose()?;
        let first = match value {
            Some(Val::Ints { data, .. }) if count <= LIMIT => {
                return Ok(Some(Val::Ints { shape, data: vec![data.first().cloned().unwrap_or(Sym::Num(0)); count] }));
            }
            Some(Val::Ints { .. }) => return Ok(None),
            Some(Val::Floats { data, .. }) => data.first().copied().unwrap_or(0.0),
            _ => 0.0,
        };
        if count > LIMIT {
            self.unfolded.set(self.unfolded.get() - count);
        }
        Ok(Some(Val::floats(shape, vec![first; count])))
    }

    fn shape(&self, x: Option<&Val>, attrs: &Attrs<'_>) -> Evaluated {
        let all: Vec<Sym> = match x {
            Some(Val::Tensor(id)) => self.dims(*id).iter().map(Sym::from_dim).collect(),
            Some(Val::Floats { shape, .. } | Val::Ints { shape, .. }) => shape.iter().map(|&d| Sym::Num(d as i64)).collect(),
            _ => return Ok(None),
        };
        let rank = all.len() as i64;
        let at = |i: i64| (if i < 0 { i + rank } else { i }).clamp(0, rank) as usize;
        let (start, end) = (at(attrs.int("start")?.unwrap_or(0)), at(attrs.int("end")?.unwrap_or(rank)));
        Ok(Some(Val::ints(all.get(start..end.max(start)).unwrap_or_default().to_vec())))
    }
}

fn scalar(x: Sym) -> Val {
    Val::Ints { shape: Vec::new(), data: vec![x] }
}

/// A shape and the pairs of elements at each of its positions.
type Paired<A, B> = (Vec<usize>, Vec<(A, B)>);

/// Broadcasting of operands where one has a single element, or both have the same shape.
fn pairs<A: Clone, B: Clone>(a: (&[usize], &[A]), b: (&[usize], &[B])) -> Option<Paired<A, B>> {
    if a.0 == b.0 {
        return Some((a.0.to_vec(), a.1.iter().cloned().zip(b.1.iter().cloned()).collect()));
    }
    match (a.1, b.1) {
        ([one], _) if b.0.len() >= a.0.len() => Some((b.0.to_vec(), b.1.iter().map(|y| (one.clone(), y.clone())).collect())),
        (_, [one]) if a.0.len() >= b.0.len() => Some((a.0.to_vec(), a.1.iter().map(|x| (x.clone(), one.clone())).collect())),
        _ => None,
    }
}

fn binary(op: &str, a: Option<&Val>, b: Option<&Val>) -> Evaluated {
    Ok(match (a, b) {
        (Some(Val::Ints { shape: sa, data: a }), Some(Val::Ints { shape: sb, data: b })) => {
            let Some((shape, pairs)) = pairs((sa, a), (sb, b)) else { return Ok(None) };
            let data: Option<Vec<Sym>> = pairs.into_iter().map(|(a, b)| Sym::apply(op, &a, &b)).collect();
            match data {
                Some(data) => Some(Val::Ints { shape, data }),
                None => return super::unsupported(format!("{op} of shape values that depend on the inputs' extents gives no formula")),
            }
        }
        (Some(Val::Floats { shape: sa, data: a }), Some(Val::Floats { shape: sb, data: b })) => {
            pairs((sa, a), (sb, b)).and_then(|(shape, pairs)| {
                let f = |(a, b): (f32, f32)| {
                    Some(match op {
                        "Add" => a + b,
                        "Sub" => a - b,
                        "Mul" => a * b,
                        "Div" => a / b,
                        "Min" => a.min(b),
                        "Max" => a.max(b),
                        _ => return None,
                    })
                };
                let data: Option<Vec<f32>> = pairs.into_iter().map(f).collect();
                data.map(|data| Val::floats(shape, data))
            })
        }
        _ => None,
    })
}

fn unary(op: &str, x: Option<&Val>) -> Option<Val> {
    match x? {
        Val::Ints { shape, data } => {
            let f = |x: &Sym| match (op, x) {
                ("Floor" | "Ceil" | "Identity", x) => Some(x.clone()),
                ("Neg", x) => Sym::apply("Sub", &Sym::Num(0), x),
                ("Abs", Sym::Num(n)) => Some(Sym::Num(n.checked_abs()?)),
                _ => None,
            };
            Some(Val::Ints { shape: shape.clone(), data: data.iter().map(f).collect::<Option<_>>()? })
        }
        Val::Floats { shape, data } if data.len() <= 64 => {
            let f = |x: &f32| match op {
                "Floor" => x.floor(),
                "Ceil" => x.ceil(),
                "Neg" => -x,
                "Abs" => x.abs(),
                _ => *x,
            };
            Some(Val::floats(shape.clone(), data.iter().map(f).collect()))
        }
        _ => None,
    }
}

fn choose(condition: Option<&Val>, a: Option<&Val>, b: Option<&Val>) -> Option<Val> {
    let (Val::Ints { data: c, .. }, Val::Ints { shape, data: a }, Val::Ints { data: b, .. }) = (condition?, a?, b?) else { return None };
    let at = |v: &[Sym], i: usize| if v.len() == 1 { v.first().cloned() } else { v.get(i).cloned() };
    let n = c.len().max(a.len()).max(b.len());
    let data: Option<Vec<Sym>> = (0..n).map(|i| if at(c, i)?.num()? != 0 { at(a, i) } else { at(b, i) }).collect();
    let shape = if n == a.len() { shape.clone() } else { vec![n] };
    Some(Val::Ints { shape, data: data? })
}

fn cast(x: Option<&Val>, attrs: &Attrs<'_>) -> Evaluated {
    attrs.ignore("saturate");
    let to = attrs.int("to")?.unwrap_or(1);
    let real = matches!(to, 1 | 10 | 11 | 16);
    Ok(match x {
        Some(Val::Floats { shape, data }) if !real => {
            let data = data.iter().map(|&x| Sym::Num(if to == 9 { i64::from(x != 0.0) } else { x as i64 })).collect();
            Some(Val::Ints { shape: shape.clone(), data })
        }
        Some(Val::Ints { shape, data }) if real => {
            // A formula stays one, whatever type it is said to have.
            let numbers: Option<Vec<f32>> = data.iter().map(|s| s.num().map(|n| n as f32)).collect();
            Some(numbers.map_or_else(|| Val::Ints { shape: shape.clone(), data: data.clone() }, |n| Val::floats(shape.clone(), n)))
        }
        Some(known @ (Val::Floats { .. } | Val::Ints { .. })) => Some(known.clone()),
        _ => None,
    })
}

/// Of a table: rows become columns.
fn transpose(x: Option<&Val>, attrs: &Attrs<'_>) -> Evaluated {
    let Some(Val::Ints { shape, data }) = x else { return Ok(None) };
    let ([rows, columns], None | Some([1, 0])) = (&shape[..], attrs.ints("perm")?.as_deref()) else { return Ok(None) };
    let data = (0..*columns).flat_map(|c| (0..*rows).map(move |r| r * columns + c)).map(|i| data[i].clone()).collect();
    Ok(Some(Val::Ints { shape: vec![*columns, *rows], data }))
}

fn gather(x: Option<&Val>, indices: Option<&Val>, attrs: &Attrs<'_>) -> Evaluated {
    let (Some(Val::Ints { shape: sx, data }), Some(Val::Ints { shape, data: indices })) = (x, indices) else { return Ok(None) };
    if sx.len() != 1 || attrs.int("axis")?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    let pick = |i: &Sym| {
        let i = i.num()?;
        data.get(usize::try_from(if i < 0 { i + data.len() as i64 } else { i }).ok()?).cloned()
    };
    match indices.iter().map(pick).collect::<Option<Vec<Sym>>>() {
        Some(data) => Ok(Some(Val::Ints { shape: shape.clone(), data })),
        None => invalid(format!("an index is out of range for {} elements", data.len())),
    }
}

/// Of real numbers: start + i·delta.
fn real_range(start: Option<&Val>, limit: Option<&Val>, delta: Option<&Val>) -> Option<Val> {
    let number = |v: Option<&Val>| match v? {
        Val::Floats { data, .. } => data.first().copied(),
        Val::Ints { data, .. } => data.first()?.num().map(|n| n as f32),
        _ => None,
    };
    let (start, limit, delta) = (number(start)?, number(limit)?, number(delta)?);
    let count = ((limit - start) / delta).ceil();
    if !(0.0..=LIMIT as f32).contains(&count) {
        return None;
    }
    Some(Val::floats(vec![count as usize], (0..count as usize).map(|i| start + i as f32 * delta).collect()))
}

fn range(start: Option<&Val>, limit: Option<&Val>, delta: Option<&Val>) -> Option<Val> {
    let number = |v: Option<&Val>| match v? {
        Val::Ints { data, .. } => data.first()?.num(),
        _ => None,
    };
    let (start, limit, delta) = (number(start)?, number(limit)?, number(delta)?);
    if delta == 0 || limit.checked_sub(start)?.checked_div(delta)? > LIMIT as i64 {
        return None;
    }
    let inside = |x: &i64| if delta > 0 { *x < limit } else { *x > limit };
    let data = std::iter::successors(Some(start), |x| x.checked_add(delta)).take_while(inside).map(Sym::Num);
    Some(Val::ints(data.collect()))
}
