//! One forward pass on burn's capture device, and the module's own names for its parameters.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Int, Tensor};
use burn_capture::{CaptureBackend, CapturedGraph, TensorId};

use super::BurnError;
use super::tensors::{Port, Tensors};

/// What burn did, and what it did it with.
pub(super) struct Recording {
    pub(super) captured: CapturedGraph,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<TensorId>,
    /// Parameters, by their place in the module, such as `encoder.layers.0.weight`.
    pub(super) paths: HashMap<TensorId, String>,
}

/// Runs `forward` on a capture device, with a copy of the module as it is used after training.
///
/// # Errors
/// [`BurnError`], but for what the operations are.
pub(super) fn record<M: Module, I: Tensors, O: Tensors>(
    module: &M,
    inputs: I,
    forward: &impl Fn(&M, I) -> O,
) -> Result<Recording, BurnError> {
    let device = Device::capture();
    let (mut paths, mut ins, mut outs) = (Paths::default(), Vec::new(), Vec::new());
    // A mere clone would share its running statistics with the module, and take them to the capture device for good. Parameters
    // that burn has put off are made here as well; on the capture device they would be random numbers of the graph.
    let module = module.valid().materialize();
    let captured = device.capture_scope(|scope| {
        let module = module.to_device(&device);
        module.visit(&mut paths);
        let inputs = inputs.on(&device);
        inputs.ports(&mut ins);
        forward(&module, inputs).ports(&mut outs);
        let ids = |ports: &[Port]| ports.iter().filter_map(|port| port.id).collect::<Vec<_>>();
        scope.complete(ids(&ins), ids(&outs))
    });
    let elsewhere = |i: usize| {
        BurnError::Ports(format!(
            "output {i} is not computed on the device of the inputs; the closure should use the module and the inputs that it is given"
        ))
    };
    let outputs = outs.iter().enumerate().map(|(i, port)| port.id.ok_or_else(|| elsewhere(i))).collect::<Result<Vec<_>, _>>()?;
    if let Some(i) = (1..outputs.len()).find(|&i| outputs[..i].contains(&outputs[i])) {
        return Err(BurnError::Ports(format!("output {i} is the same tensor as one before; give each once")));
    }
    Ok(Recording { captured: captured?, inputs: ins, outputs, paths: paths.paths })
}

/// Walks through a module and writes down where its parameters are.
#[derive(Default)]
struct Paths {
    stack: Vec<String>,
    paths: HashMap<TensorId, String>,
}

impl ModuleVisitor for Paths {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let id = param.val().try_into_primitive::<CaptureBackend>().ok().map(|tensor| tensor.id());
        self.paths.extend(id.map(|id| (id, self.stack.join("."))));
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let id = param.val().try_into_primitive::<CaptureBackend>().ok().map(|tensor| tensor.id());
        self.paths.extend(id.map(|id| (id, self.stack.join("."))));
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let id = param.val().try_into_primitive::<CaptureBackend>().ok().map(|tensor| tensor.id());
        self.paths.extend(id.map(|id| (id, self.stack.join("."))));
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.stack.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.stack.pop();
    }
}
