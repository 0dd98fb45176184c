//! Layers: products, normalisations, embeddings, interpolation; convolutions, pools and attention have files of their own.

use burn_ir::{InterpolateModeIr, InterpolateOpIr, LinearOpIr, ModuleOperationIr};

use super::super::graph::ints;
use super::{Builder, Done, NOWHERE, TRAINING, apply, attention, convolution, finite, float, int, pool, refuse, word};

pub(super) fn operation(b: &mut Builder<'_>, op: &ModuleOperationIr) -> Done {
    use ModuleOperationIr as M;
    match op {
        M::BatchNorm(r) => {
            // They are folded into what comes before.
            if [&r.gamma, &r.beta, &r.mean, &r.variance].iter().any(|t| !b.is_constant(t)) {
                return refuse("its statistics are computed in the forward pass; let them be parameters, or normalise by means and roots");
            }
            let epsilon = vec![float("epsilon", finite(r.epsilon.elem::<f64>()))];
            apply(b, "BatchNormalization", &[&r.x, &r.gamma, &r.beta, &r.mean, &r.variance], epsilon, &r.out)
        }
        M::LayerNorm(r) => {
            let inputs: Vec<_> = [&r.input, &r.gamma].into_iter().chain(&r.beta).collect();
            let attributes = vec![int("axis", -1), float("epsilon", finite(r.epsilon.elem::<f64>()))];
            apply(b, "LayerNormalization", &inputs, attributes, &r.out)
        }
        M::Embedding(r) => apply(b, "Gather", &[&r.weights, &r.indices], vec![int("axis", 0)], &r.out),
        M::Linear(r) => linear(b, r),
        M::Attention(r) => attention::attention(b, r),
        M::Interpolate(r) => interpolate(b, r),
        M::Conv1d(_) | M::Conv2d(_) | M::Conv3d(_) | M::ConvTranspose1d(_) | M::ConvTranspose2d(_) | M::ConvTranspose3d(_) => {
            convolution::operation(b, op)
        }
        M::AvgPool1d(_)
        | M::AvgPool2d(_)
        | M::AdaptiveAvgPool1d(_)
        | M::AdaptiveAvgPool2d(_)
        | M::AdaptiveAvgPool3d(_)
        | M::MaxPool1d(_)
        | M::MaxPool1dWithIndices(_)
        | M::MaxPool2d(_)
        | M::MaxPool2dWithIndices(_) => pool::operation(b, op),
        M::DeformableConv2d(_) | M::Unfold4d(_) => refuse(NOWHERE),
        M::CtcLoss(_) | M::CtcLossBackward(_) => refuse("it is a loss; capture what comes before it"),
        _ => refuse(TRAINING),
    }
}

fn linear(b: &mut Builder<'_>, r: &LinearOpIr) -> Done {
    let [x, weight] = [b.input(&r.x)?, b.input(&r.weight)?];
    let bias = r.bias.as_ref().map(|bias| b.input(bias)).transpose()?;
    match bias {
        _ if r.x.shape.len() == 2 => {
            let inputs: Vec<String> = [x, weight].into_iter().chain(bias).collect();
            b.result("Gemm", &inputs, Vec::new(), &r.out);
        }
        None => b.result("MatMul", &[x, weight], Vec::new(), &r.out),
        Some(bias) => {
            let product = b.helper("MatMul", &[x, weight], Vec::new());
            b.result("Add", &[product, bias], Vec::new(), &r.out);
        }
    }
    Ok(())
}

fn interpolate(b: &mut Builder<'_>, r: &InterpolateOpIr) -> Done {
    let corners = if r.options.align_corners { "align_corners" } else { "half_pixel" };
    let (mode, coordinates, nearest) = match r.options.mode {
        InterpolateModeIr::Nearest => ("nearest", "asymmetric", "floor"),
        InterpolateModeIr::NearestExact => ("nearest", "half_pixel", "round_prefer_ceil"),
        InterpolateModeIr::Bilinear => ("linear", corners, "floor"),
        InterpolateModeIr::Bicubic => ("cubic", corners, "floor"),
        InterpolateModeIr::Lanczos3 => return refuse("Lanczos is not supported; use bicubic or bilinear"),
    };
    let x = b.input(&r.x)?;
    let sizes = b.ints("sizes", r.output_size.iter().map(|&n| n as i64));
    let attributes =
        vec![word("mode", mode), word("coordinate_transformation_mode", coordinates), word("nearest_mode", nearest), ints("axes", [2, 3])];
    b.result("Resize", &[x, String::new(), String::new(), sizes], attributes, &r.out);
    Ok(())
}
