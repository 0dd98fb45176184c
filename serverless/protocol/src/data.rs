//! Elements of tensors in JSON: one flat array, or arrays in arrays as the shape has it.
//!
//! Numbers become little-endian elements. A number for f32 is read as f64 and rounded once more, which changes no number that was
//! written as the shortest text of an f32. What is out of a type's range is refused. On the way out, floats are the shortest text that
//! reads as the same number; what is no number is `null`, as JSON has none of these: who needs them asks for binary tensors.

use std::fmt;

use quaver_core::tensor::{DType, MAX_RANK, TensorView};
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Unexpected, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

/// Reads exactly `count` elements.
///
/// # Errors
/// Where the text is no array of so many numbers of that type.
pub fn read(text: &str, dtype: DType, count: usize) -> Result<Vec<u8>, serde_json::Error> {
    // An element takes two bytes of text at least, so a shape that promises more than there is reserves no more than that.
    let mut into = Into { dtype, count, bytes: Vec::with_capacity(count.min(text.len()) * dtype.size()) };
    let mut json = serde_json::Deserializer::from_str(text);
    Array { into: &mut into, depth: 0 }.deserialize(&mut json)?;
    json.end()?;
    let got = into.bytes.len() / dtype.size();
    if got != count {
        return Err(de::Error::custom(format_args!("it has {got} elements")));
    }
    Ok(into.bytes)
}

struct Into {
    dtype: DType,
    count: usize,
    bytes: Vec<u8>,
}

impl Into {
    fn push<E: de::Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        if self.bytes.len() == self.count * self.dtype.size() {
            return Err(E::custom("it has more elements"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn float<E: de::Error>(&mut self, value: f64) -> Result<(), E> {
        let single = value as f32;
        if self.dtype != DType::F32 || single.is_infinite() {
            return Err(E::invalid_value(Unexpected::Float(value), &self.dtype.name()));
        }
        self.push(&single.to_le_bytes())
    }

    fn whole<E: de::Error>(&mut self, value: i128) -> Result<(), E> {
        let refused = || E::custom(format_args!("{value} is no {}", self.dtype));
        match self.dtype {
            DType::F32 => self.float(value as f64),
            DType::U8 => self.push(&u8::try_from(value).map_err(|_| refused())?.to_le_bytes()),
            DType::I8 => self.push(&i8::try_from(value).map_err(|_| refused())?.to_le_bytes()),
            DType::I32 => self.push(&i32::try_from(value).map_err(|_| refused())?.to_le_bytes()),
            DType::I64 => self.push(&i64::try_from(value).map_err(|_| refused())?.to_le_bytes()),
        }
    }
}

/// An array, or an element within one.
struct Array<'a> {
    into: &'a mut Into,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Array<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            0 => f.write_str("an array"),
            MAX_RANK.. => f.write_str("a number"),
            _ => f.write_str("a number, or an array"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == MAX_RANK {
            return Err(de::Error::invalid_type(Unexpected::Seq, &self));
        }
        while seq.next_element_seed(Array { into: &mut *self.into, depth: self.depth + 1 })?.is_some() {}
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.within(Unexpected::Float(value))?.float(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.within(Unexpected::Unsigned(value))?.whole(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.within(Unexpected::Signed(value))?.whole(value.into())
    }
}

impl<'a> Array<'a> {
    /// Where elements go, within an array.
    fn within<E: de::Error>(self, what: Unexpected<'_>) -> Result<&'a mut Into, E> {
        match self.depth {
            0 => Err(E::invalid_type(what, &self)),
            _ => Ok(self.into),
        }
    }
}

/// Elements of a tensor as a flat array.
pub struct Elements<'a>(pub TensorView<'a>);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fn all<S: Serializer, T: bytemuck::AnyBitPattern + Serialize>(to: S, bytes: &[u8]) -> Result<S::Ok, S::Error> {
            let mut seq = to.serialize_seq(Some(bytes.len() / size_of::<T>()))?;
            for element in bytes.chunks_exact(size_of::<T>()) {
                seq.serialize_element(&bytemuck::pod_read_unaligned::<T>(element))?;
            }
            seq.end()
        }
        let bytes = self.0.bytes();
        match self.0.dtype() {
            DType::F32 => all::<S, f32>(to, bytes),
            DType::U8 => all::<S, u8>(to, bytes),
            DType::I8 => all::<S, i8>(to, bytes),
            DType::I32 => all::<S, i32>(to, bytes),
            DType::I64 => all::<S, i64>(to, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str, count: usize) -> Result<Vec<f32>, String> {
        let bytes = read(text, DType::F32, count).map_err(|error| error.to_string())?;
        Ok(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    #[test]
    fn arrays_are_flat_or_nested() {
        assert_eq!(floats("[1, 2.5, -3e-2, 0]", 4), Ok(vec![1.0, 2.5, -0.03, 0.0]));
        assert_eq!(floats("[[1,2],[3,4]]", 4), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(read("[[0,255]]", DType::U8, 2).expect("in range"), [0, 255]);
        assert_eq!(read("[-9223372036854775808]", DType::I64, 1).expect("in range"), i64::MIN.to_le_bytes());
    }

    #[test]
    fn floats_come_back_as_they_went() {
        for x in [f32::MIN_POSITIVE, f32::MAX, 0.1, 1.0 / 3.0, -16_777_217.0, 1e-45, 3.402_823_3e38, 8.589_973e9] {
            let text = serde_json::to_string(&[x]).expect("a number");
            assert_eq!(floats(&text, 1), Ok(vec![x]), "{text}");
        }
    }

    #[test]
    fn what_is_no_such_array_is_refused() {
        for text in ["1", "[1", "[1,2,3]", "[1]", "[1,\"2\"]", "[1,null]", "[1,1e39]", "{}", "[1,2] 3", "[[[[[[[[[1,2]]]]]]]]]"] {
            assert!(floats(text, 2).is_err(), "{text}");
        }
        for (text, dtype) in [("[256]", DType::U8), ("[-1]", DType::U8), ("[1.5]", DType::I32), ("[128]", DType::I8), ("[1e3]", DType::I64)]
        {
            assert!(read(text, dtype, 1).is_err(), "{text} {dtype}");
        }
        // A promise of many elements takes no memory.
        assert!(floats("[1]", 1 << 60).is_err());
    }

    #[test]
    fn every_type_is_written() {
        let written = |dtype, bytes: &[u8]| {
            let shape = [bytes.len() / dtype_size(dtype)];
            serde_json::to_string(&Elements(TensorView::new(dtype, &shape, bytes).expect("fits"))).expect("writes")
        };
        fn dtype_size(dtype: DType) -> usize {
            dtype.size()
        }
        let float = [0.5f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
        assert_eq!(written(DType::F32, &float), "[0.5,null]");
        assert_eq!(written(DType::U8, &[7, 255]), "[7,255]");
        assert_eq!(written(DType::I8, &[255]), "[-1]");
        assert_eq!(written(DType::I32, &(-5i32).to_le_bytes()), "[-5]");
        assert_eq!(written(DType::I64, &9i64.to_le_bytes()), "[9]");
    }
}
