//! Elements of a `TensorProto`, checked against its shape before anything is allocated.

use std::path::{Component, Path};

use super::proto::{TensorProto, tensor_proto::DataType};
use super::value::{Sym, Val};
use crate::import::ImportError;

/// The tensor's value: floats of any width as f32, integers and booleans as whole numbers.
pub(super) fn decode(tensor: &TensorProto, folder: Option<&Path>) -> Result<Val, ImportError> {
    let fail = |what: String| ImportError::Tensor { tensor: tensor.name.clone(), what };
    let mut shape = Vec::with_capacity(tensor.dims.len());
    for &d in &tensor.dims {
        shape.push(usize::try_from(d).map_err(|_| fail(format!("its shape {:?} has a negative extent", tensor.dims)))?);
    }
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(|| fail(format!("its shape {shape:?} is too large")))?;
    let kind = DataType::try_from(tensor.data_type).map_err(|_| fail(format!("its data type {} is unknown", tensor.data_type)))?;
    let external;
    let raw: &[u8] = if tensor.data_location == 1 {
        external = read_external(tensor, folder)?;
        &external
    } else {
        &tensor.raw_data
    };
    let typed =
        tensor.float_data.len() + tensor.int32_data.len() + tensor.int64_data.len() + tensor.double_data.len() + tensor.uint64_data.len();
    let width = width(kind).ok_or_else(|| fail(format!("elements of type {kind:?} are not supported")))?;
    let fits = if raw.is_empty() { typed == count } else { count.checked_mul(width) == Some(raw.len()) };
    if !fits {
        return Err(fail(format!("it holds {} bytes and {typed} typed elements, but shape {shape:?} needs {count} elements", raw.len())));
    }
    let floats = |data: Vec<f32>| Val::floats(shape.clone(), data);
    let ints = |data: Vec<i64>| Val::Ints { shape: shape.clone(), data: data.into_iter().map(Sym::Num).collect() };
    let use_raw = !raw.is_empty();
    Ok(match kind {
        DataType::Float if use_raw => floats(chunks(raw, f32::from_le_bytes)),
        DataType::Float => floats(tensor.float_data.clone()),
        // f64 is rounded to f32: the float network is an f32 network.
        DataType::Double if use_raw => floats(chunks(raw, |b| f64::from_le_bytes(b) as f32)),
        DataType::Double => floats(tensor.double_data.iter().map(|&x| x as f32).collect()),
        DataType::Float16 if use_raw => floats(chunks(raw, |b| half(u16::from_le_bytes(b)))),
        DataType::Float16 => floats(tensor.int32_data.iter().map(|&x| half(x as u16)).collect()),
        DataType::Bfloat16 if use_raw => floats(chunks(raw, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))),
        DataType::Bfloat16 => floats(tensor.int32_data.iter().map(|&x| f32::from_bits((x as u32) << 16)).collect()),
        DataType::Int64 if use_raw => ints(chunks(raw, i64::from_le_bytes)),
        DataType::Int64 => ints(tensor.int64_data.clone()),
        DataType::Int32 if use_raw => ints(chunks(raw, |b| i64::from(i32::from_le_bytes(b)))),
        DataType::Uint8 | DataType::Bool if use_raw => ints(raw.iter().map(|&b| i64::from(b)).collect()),
        DataType::Int8 if use_raw => ints(raw.iter().map(|&b| i64::from(b as i8)).collect()),
        DataType::Int16 if use_raw => ints(chunks(raw, |b| i64::from(i16::from_le_bytes(b)))),
        DataType::Uint16 if use_raw => ints(chunks(raw, |b| i64::from(u16::from_le_bytes(b)))),
        DataType::Uint64 if use_raw => ints(chunks(raw, |b| u64::from_le_bytes(b) as i64)),
        DataType::Uint32 if use_raw => ints(chunks(raw, |b| i64::from(u32::from_le_bytes(b)))),
        DataType::Uint64 | DataType::Uint32 => ints(tensor.uint64_data.iter().map(|&x| x as i64).collect()),
        _ => ints(tensor.int32_data.iter().map(|&x| i64::from(x)).collect()),
    })
}

fn width(kind: DataType) -> Option<usize> {
    Some(match kind {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Float16 | DataType::Bfloat16 | DataType::Uint16 | DataType::Int16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        DataType::Undefined | DataType::String => return None,
    })
}

fn chunks<const N: usize, T>(raw: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|&b| f(b)).collect()
}

/// IEEE half precision.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (f32::from_bits(u32::from(bits & 0x8000) << 16), (bits >> 10) & 31, bits & 1023);
    let magnitude = match exponent {
        0 => f32::from(fraction) / 16_777_216.0,
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        e => f32::from_bits(((u32::from(e) + 112) << 23) | (u32::from(fraction) << 13)),
    };
    magnitude.copysign(sign)
}

/// The bytes of a tensor in another file, which has to lie in the model's folder.
fn read_external(tensor: &TensorProto, folder: Option<&Path>) -> Result<Vec<u8>, ImportError> {
    let fail = |what: String| ImportError::Tensor { tensor: tensor.name.clone(), what };
    let get = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| match get(key) {
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| fail(format!("its external {key} '{text}' is no number"))),
        None => Ok(None),
    };
    let location = get("location").ok_or_else(|| fail("its data is in another file, but which is not said".to_owned()))?;
    let folder = folder.ok_or_else(|| fail("its data is in another file, but the model was not read from a folder".to_owned()))?;
    let relative = Path::new(location);
    if location.is_empty() || !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(fail(format!("its data is at '{location}', outside of the model's folder")));
    }
    let path = folder.join(relative);
    let io = |source| ImportError::Io { path: path.display().to_string(), source };
    let real = path.canonicalize().map_err(io)?;
    if !real.starts_with(folder.canonicalize().map_err(io)?) {
        return Err(fail(format!("its data is at '{location}', which leads outside of the model's folder")));
    }
    let offset = number("offset")?.unwrap_or(0);
    let size = std::fs::metadata(&real).map_err(io)?.len();
    let rest = size.checked_sub(offset).ok_or_else(|| fail(format!("its data starts at {offset}, behind the end of '{location}'")))?;
    let length = number("length")?.unwrap_or(rest);
    if length > rest {
        return Err(fail(format!("it takes {length} bytes of '{location}', which has {rest} from there on")));
    }
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(&real).map_err(io)?;
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision() {
        for (bits, x) in [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 5.960_464_5e-8), (0x0400, 6.103_515_6e-5)] {
            assert_eq!(half(bits), x);
        }
        assert!(half(0x7e00).is_nan() && half(0x7c00).is_infinite());
    }

    #[test]
    fn claimed_shapes_are_checked_before_allocation() {
        let tensor = TensorProto { dims: vec![1 << 40, 1 << 20], data_type: 1, ..TensorProto::default() };
        assert!(matches!(decode(&tensor, None), Err(ImportError::Tensor { .. })));
        let tensor = TensorProto { dims: vec![1 << 30], data_type: 1, raw_data: vec![0; 8], ..TensorProto::default() };
        assert!(matches!(decode(&tensor, None), Err(ImportError::Tensor { .. })));
    }
}
