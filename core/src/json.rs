//! Reading JSON, compiled small: a module of WebAssembly is loaded before it runs.
//!
//! `text` checks a text and finds where its values begin and end; [`Read`] makes numbers, names and structures of them. What serde
//! derives instead is compiled for every type with every form that data may come in, which took more space in a reader than all
//! products of matrices do. Types are written by serde, and tests read what it wrote.

mod text;

use std::fmt;

use text::{Text, unescape};

/// Why a text is no JSON, or none of the type that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Where, from the outside in: `nodes[3].o`.
    place: String,
    message: String,
}

/// What can be read.
pub trait Read: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// [`Error`], where it is of another form, or not in range.
    fn read(value: Json<'_>) -> Result<Self, Error>;
}

/// A structure, which is written as an object.
pub trait Structure: Sized {
    /// Takes its fields.
    ///
    /// # Errors
    /// [`Error`], where one is wrong or missing.
    fn take(object: &mut Object<'_>) -> Result<Self, Error>;
}

impl<T: Structure> Read for T {
    fn read(value: Json<'_>) -> Result<Self, Error> {
        let mut object = value.object()?;
        let structure = T::take(&mut object)?;
        object.end().map(|()| structure)
    }
}

/// Reads one value from a text that has nothing but white space around it.
///
/// # Errors
/// [`Error`]
pub fn from_str<T: Read>(text: &str) -> Result<T, Error> {
    T::read(Json(Text::whole(text)?))
}

/// As [`from_str`], from bytes that should be UTF-8.
///
/// # Errors
/// [`Error`]
pub fn from_slice<T: Read>(bytes: &[u8]) -> Result<T, Error> {
    from_str(std::str::from_utf8(bytes).map_err(|error| Error::new(error.to_string()))?)
}

/// A value: valid JSON without white space around it.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// An object.
    ///
    /// # Errors
    /// [`Error`], where it is none.
    pub fn object(self) -> Result<Object<'a>, Error> {
        let mut text = Text::new(self.0);
        if !text.take(b'{') {
            return Err(self.unlike("an object"));
        }
        let mut fields = Vec::new();
        while !text.take(b'}') {
            if !fields.is_empty() {
                text.comma()?;
            }
            let name = String::read(Json(text.key()?))?;
            fields.push((name, Json(text.value()?)));
        }
        Ok(Object(fields))
    }

    fn items(self) -> Result<Vec<Json<'a>>, Error> {
        let mut text = Text::new(self.0);
        if !text.take(b'[') {
            return Err(self.unlike("an array"));
        }
        let mut items = Vec::new();
        while !text.take(b']') {
            if !items.is_empty() {
                text.comma()?;
            }
            items.push(Json(text.value()?));
        }
        Ok(items)
    }

    /// What the name stands for that this is, in a list of some.
    ///
    /// # Errors
    /// [`Error`], where it is no name of the list.
    pub fn one_of<T: Copy>(self, names: &[(&'static str, T)]) -> Result<T, Error> {
        let name = String::read(self)?;
        match names.iter().find(|(known, _)| *known == name) {
            Some(&(_, value)) => Ok(value),
            None => Err(Error::unknown(&name, names.iter().map(|&(name, _)| name))),
        }
    }

    /// A name, or a name with a value: `"name"` or `{"name": value}`.
    ///
    /// # Errors
    /// [`Error`], where it is neither.
    pub fn variant(self) -> Result<(String, Option<Json<'a>>), Error> {
        if !self.is_object() {
            return Ok((String::read(self)?, None));
        }
        let mut entries = self.object()?.entries();
        match (entries.next(), entries.next()) {
            (Some((name, value)), None) => Ok((name, Some(value))),
            _ => Err(self.unlike("an object with one name")),
        }
    }

    /// Whether this is a string.
    pub fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    /// Whether this is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    #[cold]
    #[inline(never)]
    fn unlike(self, expected: &str) -> Error {
        /// Most characters of a value that a message shows.
        const SHOWN: usize = 32;
        let shown = self.0.char_indices().nth(SHOWN).map_or(self.0, |(end, _)| &self.0[..end]);
        let more = if shown.len() < self.0.len() { "…" } else { "" };
        Error::new(format!("expected {expected}, found {shown}{more}"))
    }
}

/// The fields of an object that are yet to be read, in order.
#[derive(Debug)]
pub struct Object<'a>(Vec<(String, Json<'a>)>);

impl<'a> Object<'a> {
    /// Takes the field of that name.
    ///
    /// # Errors
    /// [`Error`], where there is none, or it is wrong.
    pub fn take<T: Read>(&mut self, name: &'static str) -> Result<T, Error> {
        T::read(self.take_json(name)?).map_err(|error| error.within(name))
    }

    /// Takes the field of that name, or where there is none, `value`.
    ///
    /// # Errors
    /// [`Error`], where the field is wrong.
    pub fn take_or<T: Read>(&mut self, name: &'static str, value: T) -> Result<T, Error> {
        match self.find(name) {
            Some(value) => T::read(value).map_err(|error| error.within(name)),
            None => Ok(value),
        }
    }

    /// Takes the field of that name as it is.
    ///
    /// # Errors
    /// [`Error`], where there is none.
    pub fn take_json(&mut self, name: &'static str) -> Result<Json<'a>, Error> {
        self.find(name).ok_or_else(|| Error::new(format!("missing field `{name}`")))
    }

    /// Takes the elements of the array of that name as they are.
    ///
    /// # Errors
    /// [`Error`], where there is none, or it is no array.
    pub fn take_items(&mut self, name: &'static str) -> Result<Vec<Json<'a>>, Error> {
        self.take_json(name)?.items().map_err(|error| error.within(name))
    }

    /// All of them.
    pub fn entries(self) -> impl Iterator<Item = (String, Json<'a>)> {
        self.0.into_iter()
    }

    /// Makes sure that every field was taken.
    ///
    /// # Errors
    /// [`Error`], where one is unknown or stands twice.
    pub fn end(self) -> Result<(), Error> {
        match self.0.first() {
            Some((name, _)) => Err(Error::new(format!("field `{name}` is unknown, or stands twice"))),
            None => Ok(()),
        }
    }

    fn find(&mut self, name: &str) -> Option<Json<'a>> {
        let index = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.remove(index).1)
    }
}

/// Implements [`Structure`]: of each field its name, the one in JSON if that is another, and what it is where it isn't there.
macro_rules! structures {
    ($($name:ident { $($field:ident $(= $in_json:literal)? $(or $default:expr)?),* $(,)? })*) => {
        $(impl $crate::json::Structure for $name {
            fn take(object: &mut $crate::json::Object<'_>) -> std::result::Result<Self, $crate::json::Error> {
                Ok(Self {
                    $($field: $crate::json::structures!(@take object, stringify!($field) $(, $in_json)? $(; $default)?),)*
                })
            }
        })*
    };
    (@take $object:ident, $field:expr) => { $object.take($field)? };
    (@take $object:ident, $field:expr, $in_json:literal) => { $object.take($in_json)? };
    (@take $object:ident, $field:expr; $default:expr) => { $object.take_or($field, $default)? };
    (@take $object:ident, $field:expr, $in_json:literal; $default:expr) => { $object.take_or($in_json, $default)? };
}
pub(crate) use structures;

/// Implements [`Read`] for what parses as JSON is written.
macro_rules! parsed {
    ($($type:ty, $expected:literal;)*) => {
        $(impl Read for $type {
            fn read(value: Json<'_>) -> Result<Self, Error> {
                value.0.parse().map_err(|_| value.unlike($expected))
            }
        })*
    };
}

parsed! {
    bool, "true or false";
    u8, "an integer of 8 bits";
    u32, "an integer of 32 bits";
    i64, "an integer of 64 bits";
    usize, "an integer that is an address";
    isize, "a signed integer that is an address";
}

/// The nearest number, rounded once.
impl Read for f32 {
    fn read(value: Json<'_>) -> Result<Self, Error> {
        // The type's parser also takes names of numbers, which are no JSON.
        let number = value.0.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| value.0.parse().ok());
        number.flatten().filter(|number: &f32| number.is_finite()).ok_or_else(|| value.unlike("a number of 32 bits"))
    }
}

impl Read for String {
    fn read(value: Json<'_>) -> Result<Self, Error> {
        unescape(value.0).ok_or_else(|| value.unlike("a string"))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: Json<'_>) -> Result<Self, Error> {
        let mut read = Vec::new();
        for (index, item) in value.items()?.into_iter().enumerate() {
            read.push(T::read(item).map_err(|error| error.within_element(index))?);
        }
        Ok(read)
    }
}

impl<T: Read, const N: usize> Read for [T; N] {
    fn read(value: Json<'_>) -> Result<Self, Error> {
        Vec::read(value)?.try_into().map_err(|_| value.unlike(&format!("{N} elements")))
    }
}

/// For fields that may be missing: what is there is no `null`.
impl<T: Read> Read for Option<T> {
    fn read(value: Json<'_>) -> Result<Self, Error> {
        T::read(value).map(Some)
    }
}

impl Error {
    /// An error at the place of what is read.
    pub fn new(message: impl Into<String>) -> Self {
        Self { place: String::new(), message: message.into() }
    }

    /// A name that isn't one of those that are known.
    #[cold]
    #[inline(never)]
    pub fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> Self {
        Self::new(format!("'{name}' is none of {}", known.collect::<Vec<_>>().join(", ")))
    }

    /// The same, seen from around the field `name`.
    #[cold]
    #[inline(never)]
    pub fn within(mut self, name: &str) -> Self {
        if !self.place.is_empty() && !self.place.starts_with('[') {
            self.place.insert(0, '.');
        }
        self.place.insert_str(0, name);
        self
    }

    #[cold]
    #[inline(never)]
    fn within_element(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.place.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.place, self.message)
    }
}

impl std::error::Error for Error {}

impl From<text::Fault> for Error {
    fn from(text::Fault { at, expected }: text::Fault) -> Self {
        Self::new(format!("no JSON: at byte {at} there should be {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct All {
        name: String,
        list: Vec<Kind>,
        pair: [u8; 2],
        shift: Option<isize>,
        scale: f32,
    }

    structures! {
        All { name = "n", list or Vec::new(), pair, shift or None, scale = "s" or 1.0 }
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Kind {
        One,
        Two,
    }

    impl Read for Kind {
        fn read(value: Json<'_>) -> Result<Self, Error> {
            value.one_of(&[("one", Self::One), ("two", Self::Two)])
        }
    }

    fn error(text: &str) -> String {
        from_str::<All>(text).expect_err(text).to_string()
    }

    #[test]
    fn values_are_read() {
        let all = from_str(r#" {"n":"a\"\u00e9", "list":["two","one"],"pair" : [0, 255],"shift":-3,"s":1e-45} "#);
        let list = vec![Kind::Two, Kind::One];
        assert_eq!(all, Ok(All { name: "a\"é".into(), list, pair: [0, 255], shift: Some(-3), scale: f32::from_bits(1) }));
        let all = from_slice(br#"{"pair":[1,2],"n":""}"#);
        assert_eq!(all, Ok(All { name: String::new(), list: vec![], pair: [1, 2], shift: None, scale: 1.0 }));
    }

    #[test]
    fn errors_say_where_and_what() {
        let with = |fields: &str| error(&format!(r#"{{{fields},"pair":[1,2]}}"#));
        assert_eq!(with(r#""n":7"#), "n: expected a string, found 7");
        assert_eq!(with(r#""n":"","list":["one","three"]"#), "list[1]: 'three' is none of one, two");
        assert_eq!(with(r#""n":"","n":"""#), "field `n` is unknown, or stands twice");
        assert_eq!(with(r#""n":"","scale":0"#), "field `scale` is unknown, or stands twice");
        assert_eq!(with(r#""n":"","shift":null"#), "shift: expected a signed integer that is an address, found null");
        assert_eq!(error(r#"{"n":""}"#), "missing field `pair`");
        assert_eq!(error("[]"), "expected an object, found []");
        assert_eq!(error(r#"{"n":"",}"#), "no JSON: at byte 8 there should be a string");
        let nested = from_str::<Vec<All>>(r#"[{"n":"","pair":[1,"é"]}]"#).expect_err("no number");
        assert_eq!(nested.to_string(), "[0].pair[1]: expected an integer of 8 bits, found \"é\"");
    }

    #[test]
    fn numbers_are_what_json_has() {
        for pair in ["[1,256]", "[1,-1]", "[1,1.0]", "[1,1e0]", "[1,-0]", "[1]", "[1,2,3]", "12", "[1,null]"] {
            assert!(from_str::<[u8; 2]>(pair).is_err(), "{pair}");
        }
        for wrong in ["1e39", "-1e999", "\"1\"", "null", "true", "[1]"] {
            assert!(from_str::<f32>(wrong).is_err(), "{wrong}");
        }
        for no_json in ["+1", "01", "inf", "NaN", ".5", "1.", "", "1 1", "[1", "nul"] {
            assert!(from_str::<f32>(no_json).is_err(), "{no_json}");
            assert!(from_str::<usize>(no_json).is_err(), "{no_json}");
        }
        assert!(from_slice::<String>(b"\"\xff\"").is_err());
        let long = format!("[\"{}\"]", "é".repeat(99));
        let shown = format!("[0]: expected true or false, found \"{}…", "é".repeat(31));
        assert_eq!(from_str::<Vec<bool>>(&long).expect_err("no boolean").to_string(), shown);
    }
}
