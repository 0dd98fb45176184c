//! Element types and borrowed tensors: bytes whose length fits their shape.
//!
//! A view never owns data and never converts it. All tensors are row-major (the last dimension is contiguous) and
//! little-endian.

use std::fmt;

use serde::Serialize;

/// Alignment in bytes of every tensor in a `.qvr` file and in the arena: one cache line, one AVX-512 register.
pub const ALIGNMENT: usize = 64;

/// Largest rank of a tensor.
pub const MAX_RANK: usize = 8;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// Unsigned byte: quantized activations, or raw bytes such as pixels.
    U8,
    /// Signed byte: quantized weights.
    I8,
    /// Signed 32-bit integer: folded biases.
    I32,
    /// Signed 64-bit integer: indices and shapes.
    I64,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::U8 | DType::I8 => 1,
            DType::F32 | DType::I32 => 4,
            DType::I64 => 8,
        }
    }

    /// The name used in messages, in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::I32 => "i32",
            DType::I64 => "i64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Number of elements of `shape`, or `None` where it overflows `usize`.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// Bytes of a tensor, or `None` where the number overflows `usize`.
pub fn byte_count(dtype: DType, shape: &[usize]) -> Option<usize> {
    element_count(shape)?.checked_mul(dtype.size())
}

/// A borrowed, immutable tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// A view of `bytes`; `None` if their length is not that of `shape`.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Option<Self> {
        (byte_count(dtype, shape)? == bytes.len()).then_some(Self { dtype, shape, bytes })
    }

    /// A view of no elements.
    pub fn empty(dtype: DType) -> Self {
        Self { dtype, shape: &[0], bytes: &[] }
    }

    /// A view of typed elements; `None` if their number is not that of `shape`.
    pub fn from_slice<T: Element>(shape: &'a [usize], data: &'a [T]) -> Option<Self> {
        Self::new(T::DTYPE, shape, bytemuck::cast_slice(data))
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements, if `T` is their type and the bytes are aligned for it.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        if T::DTYPE != self.dtype {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes).ok()
    }
}

/// A borrowed, mutable tensor.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a mut [u8],
}

impl<'a> TensorViewMut<'a> {
    /// A view of `bytes`; `None` if their length is not that of `shape`.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a mut [u8]) -> Option<Self> {
        (byte_count(dtype, shape)? == bytes.len()).then_some(Self { dtype, shape, bytes })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements' bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The elements, if `T` is their type and the bytes are aligned for it.
    pub fn as_slice_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        if T::DTYPE != self.dtype {
            return None;
        }
        bytemuck::try_cast_slice_mut(self.bytes).ok()
    }

    /// The same tensor, read-only.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: self.shape, bytes: self.bytes }
    }
}

/// A Rust type that stands for a [`DType`].
pub trait Element: bytemuck::Pod {
    /// The element type it stands for.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for u8 {
    const DTYPE: DType = DType::U8;
}
impl Element for i8 {
    const DTYPE: DType = DType::I8;
}
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}
impl Element for i64 {
    const DTYPE: DType = DType::I64;
}

/// Owned bytes that start at a multiple of [`ALIGNMENT`], zeroed at first.
#[derive(Debug)]
pub struct AlignedBytes {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes; `None` if the memory cannot be had.
    pub fn zeroed(len: usize) -> Option<Self> {
        let (mut storage, start) = Self::reserve(len)?;
        storage.resize(start + len, 0);
        Some(Self { storage, start, len })
    }

    /// A copy of `bytes`; `None` if the memory cannot be had.
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let (mut storage, start) = Self::reserve(bytes.len())?;
        storage.resize(start, 0);
        storage.extend_from_slice(bytes);
        Some(Self { storage, start, len: bytes.len() })
    }

    /// Memory for `len` bytes, which stays where it is while they are filled in, and where in it they start.
    fn reserve(len: usize) -> Option<(Vec<u8>, usize)> {
        let mut storage: Vec<u8> = Vec::new();
        storage.try_reserve_exact(len.checked_add(ALIGNMENT)?).ok()?;
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        Some((storage, start))
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> Self {
        // `storage` may move to another alignment, so the copy is laid out anew.
        let mut storage = vec![0u8; self.len + ALIGNMENT];
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        storage[start..start + self.len].copy_from_slice(self);
        Self { storage, start, len: self.len }
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn view_refuses_wrong_length() {
        assert!(TensorView::new(DType::F32, &[2, 3], &[0; 24]).is_some());
        assert!(TensorView::new(DType::F32, &[2, 3], &[0; 23]).is_none());
        assert!(TensorView::new(DType::F32, &[usize::MAX, 3], &[]).is_none());
    }

    #[test]
    fn aligned_bytes_stay_aligned_when_cloned() {
        let mut a = AlignedBytes::zeroed(100).expect("memory");
        a[99] = 7;
        let b = a.clone();
        assert_eq!(b.as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!((b.len(), b[99]), (100, 7));
    }
}
