//! Owned tensors: what goes into a run and what comes out.

use quaver_core::tensor::{DType, Element, TensorView, element_count};

use crate::Error;

/// Elements and their shape, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// Elements of each type, so that a caller's vector is taken over without a copy.
#[derive(Debug, Clone, PartialEq)]
enum Data {
    F32(Vec<f32>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

/// An element type of a [`Tensor`]: `f32`, `u8`, `i8`, `i32`, `i64`.
pub trait TensorElement: Element + sealed::Owned {}
impl<T: Element + sealed::Owned> TensorElement for T {}

mod sealed {
    /// Keeps the set of types closed, and `Data` private.
    pub trait Owned: Sized {
        #[doc(hidden)]
        fn own(data: Vec<Self>) -> Wrapped;
    }
    /// A `Data` in public places.
    #[derive(Debug)]
    pub struct Wrapped(pub(super) super::Data);
}

macro_rules! owned {
    ($($t:ty => $variant:ident),*) => {$(
        impl sealed::Owned for $t {
            fn own(data: Vec<Self>) -> sealed::Wrapped {
                sealed::Wrapped(Data::$variant(data))
            }
        }
    )*};
}
owned!(f32 => F32, u8 => U8, i8 => I8, i32 => I32, i64 => I64);

impl Tensor {
    /// A tensor of `shape` with these elements, the last dimension contiguous.
    ///
    /// # Errors
    /// [`Error::Elements`] where their number is not the product of `shape`.
    pub fn from_vec<T: TensorElement>(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, Error> {
        let shape = shape.into();
        match element_count(&shape) {
            Some(n) if n == data.len() => Ok(Self { shape, data: T::own(data).0 }),
            expected => Err(Error::Elements { shape, expected: expected.unwrap_or(usize::MAX), got: data.len() }),
        }
    }

    /// A copy of what `view` shows.
    pub fn copy_of(view: TensorView<'_>) -> Self {
        fn elements<T: Element>(view: TensorView<'_>) -> Vec<T> {
            view.bytes().chunks_exact(T::DTYPE.size()).map(bytemuck::pod_read_unaligned).collect()
        }
        let data = match view.dtype() {
            DType::F32 => Data::F32(elements(view)),
            DType::U8 => Data::U8(elements(view)),
            DType::I8 => Data::I8(elements(view)),
            DType::I32 => Data::I32(elements(view)),
            DType::I64 => Data::I64(elements(view)),
        };
        Self { shape: view.shape().to_vec(), data }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match &self.data {
            Data::F32(_) => DType::F32,
            Data::U8(_) => DType::U8,
            Data::I8(_) => DType::I8,
            Data::I32(_) => DType::I32,
            Data::I64(_) => DType::I64,
        }
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes().len() / self.dtype().size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The elements, if `T` is their type.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        if T::DTYPE == self.dtype() { bytemuck::try_cast_slice(self.bytes()).ok() } else { None }
    }

    /// The elements' bytes, little-endian.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::F32(data) => bytemuck::cast_slice(data),
            Data::U8(data) => data,
            Data::I8(data) => bytemuck::cast_slice(data),
            Data::I32(data) => bytemuck::cast_slice(data),
            Data::I64(data) => bytemuck::cast_slice(data),
        }
    }

    /// A borrowed form.
    pub fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype(), &self.shape, self.bytes()).expect("the constructors compare length and shape")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_type() {
        let t = Tensor::from_vec([2, 2], vec![1i64, 2, 3, 4]).expect("four");
        assert_eq!((t.dtype(), t.shape(), t.len()), (DType::I64, &[2, 2][..], 4));
        assert_eq!(t.as_slice::<i64>(), Some(&[1, 2, 3, 4][..]));
        assert_eq!(t.as_slice::<f32>(), None);
        assert_eq!(Tensor::copy_of(t.view()), t);
        assert!(Tensor::from_vec([0, 3], Vec::<u8>::new()).expect("none").is_empty());
    }

    #[test]
    fn the_number_of_elements_is_that_of_the_shape() {
        assert!(matches!(Tensor::from_vec([2, 3], vec![0u8; 5]), Err(Error::Elements { expected: 6, got: 5, .. })));
        assert!(matches!(Tensor::from_vec([usize::MAX, 3], vec![0f32]), Err(Error::Elements { expected: usize::MAX, .. })));
    }
}
