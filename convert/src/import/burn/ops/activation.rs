//! Activations that burn names.

use burn_ir::{ActivationOperationIr, DimOpIr};

use super::{Builder, Done, TRAINING, apply, finite, float, int, refuse, unary};

pub(super) fn operation(b: &mut Builder<'_>, op: &ActivationOperationIr) -> Done {
    match op {
        ActivationOperationIr::Relu(r) => unary(b, "Relu", r),
        ActivationOperationIr::Gelu(r) => unary(b, "Gelu", r),
        ActivationOperationIr::Sigmoid(r) => unary(b, "Sigmoid", r),
        ActivationOperationIr::LeakyRelu(r) => apply(b, "LeakyRelu", &[&r.lhs], vec![float("alpha", finite(r.rhs.elem::<f64>()))], &r.out),
        ActivationOperationIr::PRelu(r) => apply(b, "PRelu", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
        ActivationOperationIr::HardSigmoid(r) => {
            let [alpha, beta] = [r.alpha, r.beta].map(|number| finite(number.elem::<f64>()));
            apply(b, "HardSigmoid", &[&r.tensor], vec![float("alpha", alpha), float("beta", beta)], &r.out)
        }
        ActivationOperationIr::LogSigmoid(r) => {
            let x = b.input(&r.input)?;
            let negative = b.helper("Neg", &[x], Vec::new());
            let softplus = b.helper("Softplus", &[negative], Vec::new());
            b.result("Neg", &[softplus], Vec::new(), &r.out);
            Ok(())
        }
        ActivationOperationIr::Softmax(r) => along(b, "Softmax", r),
        ActivationOperationIr::LogSoftmax(r) => along(b, "LogSoftmax", r),
        ActivationOperationIr::Softmin(r) => {
            let x = b.input(&r.input)?;
            let negative = b.helper("Neg", &[x], Vec::new());
            b.result("Softmax", &[negative], vec![int("axis", r.axis)], &r.out);
            Ok(())
        }
        ActivationOperationIr::ReluBackward(_)
        | ActivationOperationIr::GeluBackward(_)
        | ActivationOperationIr::SigmoidBackward(_)
        | ActivationOperationIr::LogSigmoidBackward(_) => refuse(TRAINING),
    }
}

fn along(b: &mut Builder<'_>, op: &str, r: &DimOpIr) -> Done {
    apply(b, op, &[&r.input], vec![int("axis", r.axis)], &r.out)
}
