//! The host's kernels, where it lends them: `quaver:inference`.

use quaver_core::format::QvrModel;
use quaver_core::tensor::{AlignedBytes, DType, TensorView};
use quaver_protocol::{Answer, Description, Input};
use wasip2::io::streams::InputStream;

use bindings::quaver::inference::native::{self, ElementType, Refusal, TensorDescParam, TensorParam, TensorResult};

mod bindings {
    #![allow(missing_docs, reason = "generated from the interface, where the documentation is")]
    wit_bindgen::generate!({
        world: "borrower",
        path: "../wit",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "wasi:io/streams@0.2.12": wasip2::io::streams },
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

/// A model that the host has.
pub struct Lent<'a> {
    handle: u32,
    description: &'a Description,
}

/// The model at the host, which gets it where it hasn't; `None` where it lends no kernels, or has no room for the model, which this
/// instance has.
pub fn lent<'a>(model: &QvrModel<AlignedBytes>, digest: &Digest, description: &'a Description) -> Option<Result<Lent<'a>, Answer>> {
    let found = match native::find(digest) {
        Err(Refusal::Absent) => return None,
        Err(Refusal::Unknown) => native::load(model.bytes()),
        found => found,
    };
    match found {
        Ok(handle) => Some(Ok(Lent { handle, description })),
        Err(Refusal::Busy | Refusal::Absent) => None,
        Err(refusal) => Some(Err(answer(refusal))),
    }
}

impl Lent<'_> {
    /// Runs it.
    pub fn infer(&self, inputs: &[Input<'_>]) -> Result<Vec<Output>, Answer> {
        let shapes: Vec<Vec<u32>> = inputs.iter().map(|input| extents(&input.shape)).collect();
        let parts = inputs.iter().zip(&shapes).map(|(input, shape)| (&*input.bytes, shape.as_slice()));
        let ports = self.description.inputs.iter().zip(parts);
        let tensors: Vec<TensorParam<'_>> =
            ports.map(|(port, (data, shape))| TensorParam { element: element(port.dtype), shape, data }).collect();
        outputs(native::infer(self.handle, &tensors))
    }

    /// Runs it on inputs of those shapes, whose elements the stream gives next.
    pub fn infer_from(&self, shapes: &[&[usize]], elements: &InputStream) -> Result<Vec<Output>, Answer> {
        let shapes: Vec<Vec<u32>> = shapes.iter().map(|shape| extents(shape)).collect();
        let ports = self.description.inputs.iter().zip(&shapes);
        let inputs: Vec<TensorDescParam<'_>> = ports.map(|(port, shape)| TensorDescParam { element: element(port.dtype), shape }).collect();
        outputs(native::infer_from(self.handle, &inputs, elements))
    }
}

fn extents(shape: &[usize]) -> Vec<u32> {
    shape.iter().map(|&extent| extent as u32).collect()
}

fn outputs(results: Result<Vec<TensorResult>, Refusal>) -> Result<Vec<Output>, Answer> {
    Ok(results.map_err(answer)?.into_iter().map(output).collect())
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
