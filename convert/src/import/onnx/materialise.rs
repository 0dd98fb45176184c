//! Numbers that are known at import, up to the inputs' extents, as values of the network.

use quaver_core::graph::op::{BinaryFn, ReduceFn};
use quaver_core::graph::{Op, ValueId};
use quaver_core::tensor::DType;

use super::Importer;
use super::value::{Sym, Val};

impl Importer<'_> {
    /// The value as one of the network; `None` where it has none.
    pub(super) fn materialise(&mut self, value: &Val, name: &str) -> Option<ValueId> {
        if let Val::Tensor(id) = value {
            return Some(*id);
        }
        if let Some(&id) = self.materialised.get(name).filter(|_| !name.is_empty()) {
            return Some(id);
        }
        let id = match value {
            Val::Floats { shape, data } => self.net.constant(name, shape, data),
            Val::Ints { shape, data } => match data.iter().map(|s| s.num()).collect::<Option<Vec<i64>>>() {
                Some(data) => self.net.constant(name, shape, &data),
                None => self.counted(shape, data, name)?,
            },
            Val::Tensor(_) | Val::Unknown => return None,
        };
        if !name.is_empty() {
            self.materialised.insert(name.to_owned(), id);
        }
        Some(id)
    }

    /// Formulas over the inputs' extents, as whole numbers that a run computes: so many ones are added up. `None` where a formula is a
    /// negative number, or there are too many.
    fn counted(&mut self, shape: &[usize], data: &[Sym], name: &str) -> Option<ValueId> {
        /// Most numbers of a tensor, each of which takes nodes of its own.
        const MOST: usize = 16;
        if data.len() > MOST {
            return None;
        }
        let one = self.net.constant("", &[1], &[1f32]);
        let mut parts = Vec::with_capacity(data.len());
        for (i, number) in data.iter().enumerate() {
            if let Some(number) = number.num() {
                parts.push(self.net.constant("", &[1], &[number as f32]));
                continue;
            }
            // One more, since no tensor is without elements.
            let more = Sym::apply("Add", number, &Sym::Num(1))?.dim()?;
            let node = |what: &str| format!("{name}/{i}/{what}");
            let ones = self.net.push(Op::Expand { shape: vec![more] }, &[one], &node("ones"), "").ok()?;
            let sum = Op::Reduce { function: ReduceFn::Sum, axes: vec![0], keep_dims: true };
            let sum = self.net.push(sum, &[ones], &node("sum"), "").ok()?;
            parts.push(self.net.push(Op::Binary { function: BinaryFn::Sub }, &[sum, one], &node("number"), "").ok()?);
        }
        let joined = match parts[..] {
            [one] => one,
            _ => self.net.push(Op::Concat { axis: 0 }, &parts, &format!("{name}/joined"), "").ok()?,
        };
        let shape = shape.iter().map(|&d| d.into()).collect();
        let shaped = self.net.push(Op::Reshape { shape }, &[joined], &format!("{name}/shaped"), "").ok()?;
        self.net.push(Op::Cast { to: DType::I64 }, &[shaped], name, name).ok()
    }
}
