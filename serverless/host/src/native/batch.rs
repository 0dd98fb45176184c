//! Several requests to one run, and its results back to each.

use std::sync::Arc;

use quaver::Session;
use quaver_core::tensor::TensorView;

use super::model::{Model, Tensor};
use super::pool::RunError;
use crate::body::Buffers;

/// Runs requests together; all are for `model`, and where they are several, it shares runs, and their shapes are equal but for the
/// number of samples. Results are in the order of the requests.
pub fn run(
    model: &Model,
    session: &mut Session,
    requests: &[Vec<TensorView<'_>>],
    buffers: &Arc<Buffers>,
) -> Result<Vec<Vec<Tensor>>, RunError> {
    if let [inputs] = requests {
        return Ok(vec![infer(model, session, inputs, |view| one(&view))?]);
    }
    let rows: Vec<usize> = requests.iter().map(|inputs| samples(inputs.first().map(TensorView::shape))).collect();
    let total = rows.iter().sum();
    let together = (0..model.description.inputs.len()).map(|at| joined(requests, at, total, buffers)).collect::<Option<Vec<_>>>();
    let together = together.ok_or(RunError::Memory)?;
    let together = together.iter().map(Tensor::view).collect::<Option<Vec<_>>>().ok_or(RunError::Shapes)?;
    let outputs = infer(model, session, &together, |view| parts(&view, &rows, total))?;
    // From results by output to results by request.
    let mut outputs: Vec<_> = outputs.into_iter().map(Vec::into_iter).collect();
    Ok(rows.iter().map(|_| outputs.iter_mut().filter_map(Iterator::next).collect()).collect())
}

/// Samples of a request whose first input has that shape.
pub fn samples(shape: Option<&[usize]>) -> usize {
    shape.and_then(|shape| shape.first()).copied().unwrap_or(1)
}

/// Runs, and takes what `take` makes of each output.
fn infer<T>(
    model: &Model,
    session: &mut Session,
    inputs: &[TensorView<'_>],
    take: impl Fn(TensorView<'_>) -> Option<T>,
) -> Result<Vec<T>, RunError> {
    let ports = model.description.inputs.iter();
    let named: Vec<_> = ports.zip(inputs).map(|(port, input)| (port.name.as_str(), *input)).collect();
    let outputs = session.infer(&named)?;
    outputs.iter().map(|(_, view)| take(view)).collect::<Option<Vec<_>>>().ok_or(RunError::Memory)
}

fn one(view: &TensorView<'_>) -> Option<Tensor> {
    Tensor::copy_of(view.dtype(), view.shape().to_vec(), view.bytes())
}

/// Input `at` of all requests, one behind the other.
fn joined(requests: &[Vec<TensorView<'_>>], at: usize, total: usize, buffers: &Arc<Buffers>) -> Option<Tensor> {
    let all = || requests.iter().filter_map(|inputs| inputs.get(at));
    let first = all().next()?;
    let mut bytes = buffers.take(all().map(|input| input.bytes().len()).sum(), 0)?;
    all().try_for_each(|input| bytes.extend(input.bytes()))?;
    let mut shape = first.shape().to_vec();
    *shape.first_mut()? = total;
    Tensor::new(first.dtype(), shape, bytes.freeze())
}

/// An output, cut into those of requests with so many samples each.
fn parts(view: &TensorView<'_>, rows: &[usize], total: usize) -> Option<Vec<Tensor>> {
    let size = view.bytes().len().checked_div(total)?;
    let mut rest = view.bytes();
    let part = |&rows: &usize| {
        let (here, behind) = rest.split_at_checked(rows * size)?;
        rest = behind;
        let mut shape = view.shape().to_vec();
        *shape.first_mut()? = rows;
        Tensor::copy_of(view.dtype(), shape, here)
    };
    rows.iter().map(part).collect()
}
