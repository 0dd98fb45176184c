//! What goes into a captured forward pass and comes out of it: tensors, and tuples, arrays and vectors of them.

use burn::tensor::{Bool, Device, Float, Int, Tensor};
use burn_capture::{CaptureBackend, TensorId};

use crate::import::onnx::proto::tensor_proto::DataType;

/// A tensor at the border of a captured graph.
#[derive(Debug, Clone)]
pub struct Port {
    pub(super) id: Option<TensorId>,
    pub(super) kind: DataType,
    pub(super) dims: Vec<usize>,
}

mod sealed {
    pub trait Sealed {}
}

/// One or several tensors: `Tensor<D>`, `Tensor<D, Int>`, `Tensor<D, Bool>`, and tuples, arrays and vectors of such.
///
/// In the graph, whole numbers are i64, and truth is the real number 1, its opposite 0.
pub trait Tensors: Clone + sealed::Sealed {
    /// The same on another device, without gradients.
    #[doc(hidden)]
    fn on(self, device: &Device) -> Self;
    /// The tensors in order, as the graph knows them.
    #[doc(hidden)]
    fn ports(&self, ports: &mut Vec<Port>);
    /// With `batch` samples: those of the example in turn. `chosen` has one truth for each tensor.
    #[doc(hidden)]
    fn with_batch(self, batch: usize, chosen: &mut dyn Iterator<Item = bool>) -> Self;
}

macro_rules! tensors {
    ($($kind:ident: $truth:expr),*) => {$(
        impl<const D: usize> sealed::Sealed for Tensor<D, $kind> {}
        impl<const D: usize> Tensors for Tensor<D, $kind> {
            fn on(self, device: &Device) -> Self {
                self.without_autodiff().to_device(device)
            }

            fn ports(&self, ports: &mut Vec<Port>) {
                let id = self.clone().try_into_primitive::<CaptureBackend>().ok().map(|tensor| tensor.id());
                ports.push(Port { id, kind: $truth, dims: self.dims().to_vec() });
            }

            fn with_batch(self, batch: usize, chosen: &mut dyn Iterator<Item = bool>) -> Self {
                let samples = self.dims().first().copied().unwrap_or(0);
                if chosen.next() != Some(true) || samples == 0 {
                    return self;
                }
                let indices: Vec<i64> = (0..batch).map(|i| (i % samples) as i64).collect();
                let indices = Tensor::<1, Int>::from_data(&indices[..], &self.device());
                self.select(0, indices)
            }
        }
    )*};
}

// Truth becomes numbers at the border, which is what it is within.
tensors!(Float: DataType::Float, Int: DataType::Int64, Bool: DataType::Float);

impl<T: Tensors> sealed::Sealed for Vec<T> {}
impl<T: Tensors> Tensors for Vec<T> {
    fn on(self, device: &Device) -> Self {
        self.into_iter().map(|tensor| tensor.on(device)).collect()
    }

    fn ports(&self, ports: &mut Vec<Port>) {
        self.iter().for_each(|tensor| tensor.ports(ports));
    }

    fn with_batch(self, batch: usize, chosen: &mut dyn Iterator<Item = bool>) -> Self {
        self.into_iter().map(|tensor| tensor.with_batch(batch, chosen)).collect()
    }
}

impl<T: Tensors, const N: usize> sealed::Sealed for [T; N] {}
impl<T: Tensors, const N: usize> Tensors for [T; N] {
    fn on(self, device: &Device) -> Self {
        self.map(|tensor| tensor.on(device))
    }

    fn ports(&self, ports: &mut Vec<Port>) {
        self.iter().for_each(|tensor| tensor.ports(ports));
    }

    fn with_batch(self, batch: usize, chosen: &mut dyn Iterator<Item = bool>) -> Self {
        self.map(|tensor| tensor.with_batch(batch, chosen))
    }
}

macro_rules! tuples {
    ($(($($part:ident $index:tt),+))*) => {$(
        impl<$($part: Tensors),+> sealed::Sealed for ($($part,)+) {}
        impl<$($part: Tensors),+> Tensors for ($($part,)+) {
            fn on(self, device: &Device) -> Self {
                ($(self.$index.on(device),)+)
            }

            fn ports(&self, ports: &mut Vec<Port>) {
                $(self.$index.ports(ports);)+
            }

            fn with_batch(self, batch: usize, chosen: &mut dyn Iterator<Item = bool>) -> Self {
                ($(self.$index.with_batch(batch, chosen),)+)
            }
        }
    )*};
}

tuples!((A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5));
