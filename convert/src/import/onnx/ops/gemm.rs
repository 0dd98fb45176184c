//! Gemm and MatMul.

use quaver_core::graph::op::BinaryFn;
use quaver_core::graph::{Dim, Op, ValueId};

use super::{Ctx, Importer, NodeError, Outputs, Val, invalid};

impl Importer<'_> {
    pub(super) fn gemm(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (alpha, beta) = (ctx.attrs.float("alpha", 1.0)?, ctx.attrs.float("beta", 1.0)?);
        let (trans_a, trans_b) = (ctx.attrs.flag("transA", false)?, ctx.attrs.flag("transB", false)?);
        ctx.attrs.ignore("broadcast");
        let mut a = self.real(ctx, 0)?;
        if self.dims(a).len() != 2 {
            return invalid(format!("'{}' has rank {}, but should be a matrix", ctx.node.input[0], self.dims(a).len()));
        }
        if trans_a {
            a = self.helper(ctx, "a", Op::Transpose { perm: vec![1, 0] }, &[a])?;
        }
        if let Some(Some(Val::Floats { shape, data })) = ctx.inputs.get(1) {
            let [rows, columns] = shape[..] else {
                return invalid(format!("'{}' of shape {shape:?} should be a matrix", ctx.node.input[1]));
            };
            let (k, n) = if trans_b { (columns, rows) } else { (rows, columns) };
            let at = |i: usize| if trans_b { i % n * k + i / n } else { i };
            let weights: Vec<f32> = (0..k * n).map(|i| alpha * data[at(i)]).collect();
            let weights = self.net.constant(ctx.node.input[1].clone(), &[k, n], &weights);
            let row = match ctx.inputs.get(2) {
                Some(Some(Val::Floats { shape, data })) if is_row(shape, n) => {
                    Some((0..n).map(|i| beta * if data.len() == 1 { data[0] } else { data[i] }).collect::<Vec<f32>>())
                }
                _ => None,
            };
            if !ctx.has(2) || row.is_some() {
                let mut inputs = vec![a, weights];
                if let Some(row) = row {
                    inputs.push(self.net.constant(ctx.node.input[2].clone(), &[n], &row));
                }
                return self.push(ctx, Op::Gemm, &inputs);
            }
            let product = self.helper(ctx, "product", Op::Gemm, &[a, weights])?;
            return self.add_scaled(ctx, product, beta);
        }
        let mut b = self.real(ctx, 1)?;
        if self.dims(b).len() != 2 {
            return invalid(format!("'{}' has rank {}, but should be a matrix", ctx.node.input[1], self.dims(b).len()));
        }
        if trans_b {
            b = self.helper(ctx, "b", Op::Transpose { perm: vec![1, 0] }, &[b])?;
        }
        if !ctx.has(2) && alpha == 1.0 {
            return self.push(ctx, Op::MatMul, &[a, b]);
        }
        let mut product = self.helper(ctx, "product", Op::MatMul, &[a, b])?;
        if alpha != 1.0 {
            product = self.scaled(ctx, "alpha", product, alpha)?;
        }
        if ctx.has(2) {
            return self.add_scaled(ctx, product, beta);
        }
        Ok(vec![Val::Tensor(product)])
    }

    fn scaled(&mut self, ctx: &Ctx<'_>, what: &str, x: ValueId, factor: f32) -> Result<ValueId, NodeError> {
        let factor = self.net.constant("", &[], &[factor]);
        self.helper(ctx, what, Op::Binary { function: BinaryFn::Mul }, &[x, factor])
    }

    fn add_scaled(&mut self, ctx: &Ctx<'_>, product: ValueId, beta: f32) -> Outputs {
        let mut c = self.real(ctx, 2)?;
        if beta != 1.0 {
            c = self.scaled(ctx, "beta", c, beta)?;
        }
        self.push(ctx, Op::Binary { function: BinaryFn::Add }, &[product, c])
    }

    pub(super) fn mat_mul(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (mut a, mut b) = (self.real(ctx, 0)?, self.real(ctx, 1)?);
        let (da, db) = (self.dims(a), self.dims(b));
        if da.is_empty() || db.is_empty() {
            return invalid("an operand is a single number");
        }
        // A vector is a row on the left and a column on the right; its dimension is taken away again.
        if da.len() == 1 {
            a = self.helper(ctx, "row", Op::Reshape { shape: vec![Dim::Fixed(1), da[0].clone()] }, &[a])?;
        }
        if db.len() == 1 {
            b = self.helper(ctx, "column", Op::Reshape { shape: vec![db[0].clone(), Dim::Fixed(1)] }, &[b])?;
        }
        if da.len() > 1 && db.len() > 1 {
            return self.push(ctx, Op::MatMul, &[a, b]);
        }
        let y = self.helper(ctx, "product", Op::MatMul, &[a, b])?;
        let mut shape = self.dims(y);
        if db.len() == 1 {
            shape.pop();
        }
        if da.len() == 1 {
            shape.remove(shape.len() - usize::from(db.len() > 1) - 1);
        }
        self.push(ctx, Op::Reshape { shape }, &[y])
    }
}

/// Whether a bias of that shape has one number a column (or one for all).
fn is_row(shape: &[usize], n: usize) -> bool {
    let count: usize = shape.iter().product();
    let leading = shape.len() < 2 || shape[..shape.len() - 1].iter().all(|&d| d == 1);
    leading && (count == 1 || (count == n && shape.last() == Some(&n)))
}
