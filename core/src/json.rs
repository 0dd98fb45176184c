//! Reading JSON, compiled small: a module of WebAssembly is loaded before it runs.
//!
//! `text` checks a text and finds where its values begin and end; [`Read`] makes numbers, names and structures of them. What serde
//! derives instead is compiled for every type with every form that data may come in, which took more space in a reader than all
//! products of matrices do. Types are written by serde, and tests read what it wrote.
//!
//! A value that is wrong is noted, and reading goes on with some other: code that would leave at each field that may be wrong, and
//! drop those before it, is most of a reader. Whoever asked gets the first fault, and no value.

mod number;
mod text;

use std::cell::{Cell, RefCell};
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
    /// Reads a value. Where it is of another form, or not in range, that is [refused](Json::refuse), and the result is any value.
    fn read(value: Json<'_>) -> Self;
}

/// A structure, which is written as an object.
pub trait Structure: Sized {
    /// Takes its fields.
    fn take(object: &mut Object<'_>) -> Self;
}

impl<T: Structure> Read for T {
    fn read(value: Json<'_>) -> Self {
        let mut object = value.object();
        let structure = T::take(&mut object);
        object.end();
        structure
    }
}

/// Reads one value from a text that has nothing but white space around it.
///
/// # Errors
/// [`Error`]
pub fn from_str<T: Read>(text: &str) -> Result<T, Error> {
    let faults = Faults::default();
    let read = T::read(Json { text: Text::whole(text)?, faults: &faults });
    match faults.first.into_inner() {
        Some((error, _)) => Err(error),
        None => Ok(read),
    }
}

/// As [`from_str`], from bytes that should be UTF-8.
///
/// # Errors
/// [`Error`]
pub fn from_slice<T: Read>(bytes: &[u8]) -> Result<T, Error> {
    from_str(std::str::from_utf8(bytes).map_err(|error| Error::new(error.to_string()))?)
}

/// What is wrong with a text that is being read.
#[derive(Debug, Default)]
struct Faults {
    /// The first error, and at what depth its place begins.
    first: RefCell<Option<(Error, usize)>>,
    /// How many fields and elements are being read, one within another.
    depth: Cell<usize>,
}

/// Where a value is found within another.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// The field of that name.
    Field(&'a str),
    /// The element of that number.
    Element(usize),
}

/// A value: valid JSON without white space around it.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a> {
    text: &'a str,
    faults: &'a Faults,
}

impl<'a> Json<'a> {
    /// An object; where it is none, one without fields.
    pub fn object(self) -> Object<'a> {
        let mut fields = Vec::new();
        self.each('{', "an object", &mut |key, value| fields.push((String::read(key), value)));
        Object { fields, faults: self.faults }
    }

    fn items(self) -> Vec<Json<'a>> {
        let mut items = Vec::new();
        self.each('[', "an array", &mut |_, item| items.push(item));
        items
    }

    /// Visits what is between brackets or braces: the name of each, where there are names, and itself.
    fn each(self, opening: char, expected: &str, visit: &mut dyn FnMut(Self, Self)) {
        if !self.text.starts_with(opening) {
            return self.unlike(expected);
        }
        // The text is known to be valid, so nothing here is refused.
        let mut text = Text::new(&self.text[..self.text.len() - 1]);
        text.take(opening as u8);
        while !text.is_empty() {
            let name = if opening == '{' { text.key() } else { Ok("") };
            let (Ok(name), Ok(value)) = (name, text.value()) else { return };
            visit(Json { text: name, ..self }, Json { text: value, ..self });
            text.take(b',');
        }
    }

    /// What the name stands for that this is, in a list of some.
    pub fn one_of<T: Copy>(self, names: &[(&'static str, T)]) -> T {
        let name = String::read(self);
        match names.iter().find(|(known, _)| *known == name) {
            Some(&(_, value)) => value,
            None => {
                let known: Vec<&str> = names.iter().map(|&(name, _)| name).collect();
                self.unknown(&name, &known);
                names[0].1
            }
        }
    }

    /// A name, or a name with a value: `"name"` or `{"name": value}`.
    pub fn variant(self) -> (String, Option<Json<'a>>) {
        if !self.is_object() {
            return (String::read(self), None);
        }
        let mut entries = self.object().entries();
        match (entries.next(), entries.next()) {
            (Some((name, value)), None) => (name, Some(value)),
            _ => {
                self.unlike("an object with one name");
                (String::new(), None)
            }
        }
    }

    /// Reads this, which is found at `place`.
    pub fn at<T: Read>(self, place: Place<'_>) -> T {
        let faults = self.faults;
        faults.depth.set(faults.depth.get() + 1);
        let read = T::read(self);
        faults.leave(place);
        read
    }

    /// Whether this is a string.
    pub fn is_string(self) -> bool {
        self.text.starts_with('"')
    }

    /// Whether this is an object.
    pub fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// Says that this is wrong, and why.
    #[cold]
    #[inline(never)]
    pub fn refuse(self, message: String) {
        self.faults.note(message);
    }

    #[cold]
    #[inline(never)]
    fn unlike(self, expected: &str) {
        /// Most characters of a value that a message shows.
        const SHOWN: usize = 32;
        let shown = self.text.char_indices().nth(SHOWN).map_or(self.text, |(end, _)| &self.text[..end]);
        let more = if shown.len() < self.text.len() { "…" } else { "" };
        self.refuse(format!("expected {expected}, found {shown}{more}"));
    }

    /// Says that this is a name that isn't one of those that are known.
    #[cold]
    #[inline(never)]
    fn unknown(self, name: &str, known: &[&str]) {
        self.refuse(format!("'{name}' is none of {}", known.join(", ")));
    }

    /// Whether it is below 0, and how far from it.
    fn integer(self) -> Option<(bool, u64)> {
        let digits = self.text.strip_prefix('-');
        Some((digits.is_some(), digits.unwrap_or(self.text).parse().ok()?))
    }
}

impl Faults {
    fn note(&self, message: String) {
        let mut first = self.first.borrow_mut();
        // Anything may be wrong with what is read in place of what is wrong.
        if first.is_none() {
            *first = Some((Error::new(message), self.depth.get()));
        }
    }

    /// Ends a field or an element, which is part of the place of an error within it.
    #[inline(never)]
    fn leave(&self, place: Place<'_>) {
        let depth = self.depth.get();
        if let Some((error, within)) = &mut *self.first.borrow_mut()
            && *within == depth
        {
            match place {
                Place::Field(name) => error.seen_from(name),
                Place::Element(index) => error.seen_from(&format!("[{index}]")),
            }
            *within -= 1;
        }
        self.depth.set(depth - 1);
    }
}

/// The fields of an object that are yet to be read, in order.
#[derive(Debug)]
pub struct Object<'a> {
    fields: Vec<(String, Json<'a>)>,
    faults: &'a Faults,
}

impl<'a> Object<'a> {
    /// Takes the field of that name.
    pub fn take<T: Read>(&mut self, name: &'static str) -> T {
        self.find_or_refuse(name).at(Place::Field(name))
    }

    /// Takes the field of that name, or where there is none, `value`.
    pub fn take_or<T: Read>(&mut self, name: &'static str, value: T) -> T {
        self.find(name).map_or(value, |found| found.at(Place::Field(name)))
    }

    /// Says that this is wrong, and why.
    pub fn refuse(&self, message: String) {
        self.faults.note(message);
    }

    /// Takes the field of that name, where there is one.
    pub fn take_maybe<T: Read>(&mut self, name: &'static str) -> Option<T> {
        self.find(name).map(|found| found.at(Place::Field(name)))
    }

    /// Takes the field of that name as it is.
    pub fn take_json(&mut self, name: &'static str) -> Json<'a> {
        self.find_or_refuse(name)
    }

    /// Takes the elements of the array of that name as they are.
    pub fn take_items(&mut self, name: &'static str) -> Vec<Json<'a>> {
        self.find_or_refuse(name).items()
    }

    /// All of them.
    pub fn entries(self) -> std::vec::IntoIter<(String, Json<'a>)> {
        self.fields.into_iter()
    }

    /// Makes sure that every field was taken: that none is unknown or stands twice.
    pub fn end(self) {
        if let Some((name, _)) = self.fields.first() {
            self.faults.note(format!("field `{name}` is unknown, or stands twice"));
        }
    }

    #[inline(never)]
    fn find(&mut self, name: &str) -> Option<Json<'a>> {
        let index = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.remove(index).1)
    }

    #[inline(never)]
    fn find_or_refuse(&mut self, name: &str) -> Json<'a> {
        self.find(name).unwrap_or_else(|| {
            self.faults.note(format!("missing field `{name}`"));
            Json { text: "", faults: self.faults }
        })
    }
}

/// Implements [`Structure`]: of each field its name, the one in JSON if that is another, and what it is where it isn't there.
macro_rules! structures {
    ($($name:ident { $($field:ident $(= $in_json:literal)? $(or $default:expr)?),* $(,)? })*) => {
        $(impl $crate::json::Structure for $name {
            fn take(object: &mut $crate::json::Object<'_>) -> Self {
                Self {
                    $($field: $crate::json::structures!(@take object, stringify!($field) $(, $in_json)? $(; $default)?),)*
                }
            }
        })*
    };
    (@take $object:ident, $field:expr) => { $object.take($field) };
    (@take $object:ident, $field:expr, $in_json:literal) => { $object.take($in_json) };
    (@take $object:ident, $field:expr; $default:expr) => { $object.take_or($field, $default) };
    (@take $object:ident, $field:expr, $in_json:literal; $default:expr) => { $object.take_or($in_json, $default) };
}
pub(crate) use structures;

/// Implements [`Read`] for types of integers.
macro_rules! integers {
    ($($type:ty, $expected:literal;)*) => {
        $(impl Read for $type {
            fn read(value: Json<'_>) -> Self {
                let read = value.integer().and_then(|(below, distance)| match below {
                    // Without a sign there is no −0 either.
                    true if Self::MIN == 0 => None,
                    true => 0i64.checked_sub_unsigned(distance)?.try_into().ok(),
                    false => distance.try_into().ok(),
                });
                read.unwrap_or_else(|| {
                    value.unlike($expected);
                    0
                })
            }
        })*
    };
}

integers! {
    u8, "an integer of 8 bits";
    u32, "an integer of 32 bits";
    i64, "an integer of 64 bits";
    usize, "an integer that is an address";
    isize, "a signed integer that is an address";
}

impl Read for bool {
    fn read(value: Json<'_>) -> Self {
        if value.text != "true" && value.text != "false" {
            value.unlike("true or false");
        }
        value.text == "true"
    }
}

/// The nearest number, rounded once.
impl Read for f32 {
    fn read(value: Json<'_>) -> Self {
        number::nearest(value.text).filter(|number| number.is_finite()).unwrap_or_else(|| {
            value.unlike("a number of 32 bits");
            0.0
        })
    }
}

impl Read for String {
    fn read(value: Json<'_>) -> Self {
        unescape(value.text).unwrap_or_else(|| {
            value.unlike("a string");
            String::new()
        })
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: Json<'_>) -> Self {
        value.items().into_iter().enumerate().map(|(index, item)| element(item, index)).collect()
    }
}

impl<T: Read, const N: usize> Read for [T; N] {
    fn read(value: Json<'_>) -> Self {
        let items = value.items();
        let read = std::array::from_fn(|index| element(items.get(index).copied().unwrap_or(Json { text: "", ..value }), index));
        if items.len() != N {
            value.unlike(&format!("{N} elements"));
        }
        read
    }
}

fn element<T: Read>(item: Json<'_>, index: usize) -> T {
    item.at(Place::Element(index))
}

/// For fields that may be missing: what is there is no `null`.
impl<T: Read> Read for Option<T> {
    fn read(value: Json<'_>) -> Self {
        Some(T::read(value))
    }
}

impl Error {
    fn new(message: String) -> Self {
        Self { place: String::new(), message }
    }

    /// Puts `place` before its own.
    fn seen_from(&mut self, place: &str) {
        if !self.place.is_empty() && !self.place.starts_with('[') {
            self.place.insert(0, '.');
        }
        self.place.insert_str(0, place);
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
        fn read(value: Json<'_>) -> Self {
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
