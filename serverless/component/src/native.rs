//! The host's kernels, where it lends them: `quaver:inference`.

use quaver_core::format::QvrModel;
use quaver_core::tensor::{AlignedBytes, DType, TensorView};
use quaver_protocol::{Answer, Description, Input};

use bindings::quaver::inference::native::{self, ElementType, Refusal, TensorParam, TensorResult};

mod bindings {
    #![allow(missing_docs, reason = "generated from the interface, where the documentation is")]
    wit_bindgen::generate!({
        world: "borrower",
        path: "../wit",
        ownership: Borrowing { duplicate_if_necessary: true },
        generate_all,
    });
}

/// SHA-256 of a file.
pub type Digest = [u8; 32];

/// A tensor that the host made.
pub struct Output {
    dtype: DType,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Output {
    /// Its elements; `None` where they don't fit its shape.
    pub fn view(&self) -> Option<TensorView<'_>> {
        TensorView::new(self.dtype, &self.shape, &self.data)
    }
}

/// Runs a model by the host's kernels; `None` where it lends none.
pub fn infer(
    model: &QvrModel<AlignedBytes>,
    digest: &Digest,
    description: &Description,
    inputs: &[Input<'_>],
) -> Option<Result<Vec<Output>, Answer>> {
    let found = match native::find(digest) {
        Err(Refusal::Absent) => return None,
        Err(Refusal::Unknown) => native::load(model.bytes()),
        found => found,
    };
    let handle = match found {
        Ok(handle) => handle,
        // The host has no room for the model, but this instance has.
        Err(Refusal::Busy | Refusal::Absent) => return None,
        Err(refusal) => return Some(Err(answer(refusal))),
    };
    let shapes: Vec<Vec<u32>> = inputs.iter().map(|input| input.shape.iter().map(|&extent| extent as u32).collect()).collect();
    let tensors: Vec<TensorParam<'_>> = description
        .inputs
        .iter()
        .zip(inputs.iter().zip(&shapes))
        .map(|(port, (input, shape))| TensorParam { element: element(port.dtype), shape, data: &input.bytes })
        .collect();
    match native::infer(handle, &tensors) {
        Ok(outputs) => Some(Ok(outputs.into_iter().map(output).collect())),
        Err(refusal) => Some(Err(answer(refusal))),
    }
}

fn answer(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Invalid(why) => Answer::refusal(400, &why),
        Refusal::Busy => Answer::refusal(503, "the host has too much to do; try again later"),
        Refusal::Absent | Refusal::Unknown => Answer::refusal(503, "the host no longer lends the model; try again"),
    }
}

fn output(tensor: TensorResult) -> Output {
    let dtype = match tensor.element {
        ElementType::Fp32 => DType::F32,
        ElementType::Uint8 => DType::U8,
        ElementType::Int8 => DType::I8,
        ElementType::Int32 => DType::I32,
        ElementType::Int64 => DType::I64,
    };
    Output { dtype, shape: tensor.shape.into_iter().map(|extent| extent as usize).collect(), data: tensor.data }
}

fn element(dtype: DType) -> ElementType {
    match dtype {
        DType::F32 => ElementType::Fp32,
        DType::U8 => ElementType::Uint8,
        DType::I8 => ElementType::Int8,
        DType::I32 => ElementType::Int32,
        DType::I64 => ElementType::Int64,
    }
}
