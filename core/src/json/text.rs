//! Where the values of a JSON text begin and end (RFC 8259, strictly), and what its strings are.
//!
//! No number is converted: a general parser brings the code that reads and prints any float, which is several times all of this.

/// Why a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// The byte at which something else should be.
    pub(super) at: usize,
    pub(super) expected: &'static str,
}

type Result<T> = std::result::Result<T, Fault>;

/// What is left of a text.
#[derive(Debug)]
pub(super) struct Text<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The only value of a text.
    pub(super) fn whole(text: &'a str) -> Result<&'a str> {
        let mut left = Self::new(text);
        let value = left.value()?;
        if left.is_empty() { Ok(value) } else { Err(left.fault("the end")) }
    }

    /// The next value. Memory is in proportion to its depth, and the stack is not used for that.
    pub(super) fn value(&mut self) -> Result<&'a str> {
        self.space();
        let start = self.at;
        // What closes each array and object that is open.
        let mut open = Vec::new();
        loop {
            if let Some(closing) = self.opened_or_plain()? {
                open.push(closing);
                continue;
            }
            loop {
                let Some(&closing) = open.last() else { return Ok(&self.text[start..self.at]) };
                if self.take(closing) {
                    open.pop();
                } else {
                    self.comma()?;
                    if closing == b'}' {
                        self.key()?;
                    }
                    break;
                }
            }
        }
    }

    /// Passes a value without others in it; or what opens one with others, up to the first of them, and gives what closes it.
    fn opened_or_plain(&mut self) -> Result<Option<u8>> {
        self.space();
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                if self.take(b'}') {
                    return Ok(None);
                }
                self.key()?;
                Ok(Some(b'}'))
            }
            Some(b'[') => {
                self.at += 1;
                Ok(if self.take(b']') { None } else { Some(b']') })
            }
            Some(b'"') => self.string().map(|_| None),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| None),
            _ => match ["true", "false", "null"].into_iter().find(|word| self.text.as_bytes()[self.at..].starts_with(word.as_bytes())) {
                Some(word) => {
                    self.at += word.len();
                    Ok(None)
                }
                None => Err(self.fault("a value")),
            },
        }
    }

    /// A name and the colon behind it; the name with its quotes.
    pub(super) fn key(&mut self) -> Result<&'a str> {
        self.space();
        let name = self.string()?;
        if self.take(b':') { Ok(name) } else { Err(self.fault("a colon")) }
    }

    /// Passes a comma.
    fn comma(&mut self) -> Result<()> {
        if self.take(b',') { Ok(()) } else { Err(self.fault("a comma, or what closes the value")) }
    }

    /// Passes `byte`, and white space before it, if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_empty(&mut self) -> bool {
        self.space();
        self.peek().is_none()
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<&'a str> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.fault("a string"));
        }
        loop {
            self.at += 1;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at]);
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            for _ in 0..4 {
                                self.at += 1;
                                if !self.peek().is_some_and(|digit| digit.is_ascii_hexdigit()) {
                                    return Err(self.fault("four hexadecimal digits"));
                                }
                            }
                        }
                        _ => return Err(self.fault("an escape")),
                    }
                }
                Some(0x20..) => {}
                _ => return Err(self.fault("a character of a string")),
            }
        }
    }

    fn number(&mut self) -> Result<()> {
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.fault("a digit")) }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self, expected: &'static str) -> Fault {
        Fault { at: self.at, expected }
    }
}

/// What a string stands for, given with its quotes; `None` where an escape is half of a character, or there are no quotes.
pub(super) fn unescape(string: &str) -> Option<String> {
    let inner = string.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.bytes().position(|byte| byte == b'\\') {
        out.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        rest = &rest[at + 2..];
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => unit(&mut rest).and_then(|first| match first {
                0xd800..0xdc00 => {
                    rest = rest.strip_prefix("\\u")?;
                    let second = unit(&mut rest).filter(|second| (0xdc00..0xe000).contains(second))?;
                    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                }
                _ => char::from_u32(first),
            })?,
            itself => char::from(itself),
        });
    }
    out.push_str(rest);
    Some(out)
}

/// Four hexadecimal digits.
fn unit(rest: &mut &str) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(4)?;
    *rest = behind;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether this and serde_json agree on a text, and on the string that it is.
    fn agrees(text: &str) {
        let other = serde_json::from_str::<Box<serde_json::value::RawValue>>(text);
        let own = Text::whole(text);
        assert_eq!(own.ok(), other.as_ref().ok().map(|value| value.get()), "{text:?}");
        if let Ok(value) = own {
            assert_eq!(unescape(value), serde_json::from_str::<String>(value).ok(), "{value:?}");
        }
    }

    #[test]
    fn texts_are_json_or_not() {
        for text in [
            "",
            " ",
            "null",
            " true ",
            "false\n",
            "nul",
            "nulll",
            "1",
            "-1",
            "-",
            "01",
            "-0",
            "0.5",
            ".5",
            "1.",
            "1e5",
            "1E+5",
            "1e-",
            "1e",
            "+1",
            "0x1",
            "\"\"",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\n\\t\\/\\\\\\b\\f\\r\\\"\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u00e9\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\\n\"",
            "\"\\ud83dx\"",
            "\"\\ud83d\\u0041\"",
            "\"\\uD83D\\uDE00é\"",
            "\"\n\"",
            "\"\u{7f}\"",
            "[]",
            "[ ]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2",
            "]",
            "{}",
            "{ }",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{1:1}",
            "{\"a\" : [ {\"b\":null} , 2 ] , \"a\":\"\"}",
            "{\"a\":1]",
            "[1}",
            "[[[[]]]]",
            "[[[[]]]",
            "{\"a\":{\"b\":{}}}}",
            "1 2",
            "{}{}",
            "\u{feff}1",
            "NaN",
            "'a'",
            "[1]//",
            "\u{a0}1",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn depth_takes_no_stack() {
        let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(Text::whole(&deep), Ok(deep.as_str()));
        assert_eq!(Text::whole(&deep[..1_000_000]), Err(Fault { at: 1_000_000, expected: "a value" }));
    }

    #[test]
    fn faults_are_where_they_are() {
        assert_eq!(Text::whole("{\"a\": [1, 2}"), Err(Fault { at: 11, expected: "a comma, or what closes the value" }));
        assert_eq!(Text::whole("{\"a\" 1}"), Err(Fault { at: 5, expected: "a colon" }));
        assert_eq!(Text::whole("[1] 2"), Err(Fault { at: 4, expected: "the end" }));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]
        #[test]
        fn what_is_json_is_so_for_others(text in r#"([\[\]{},: "0-9.eE+a\\ufl-]|true|null|"a":){0,12}"#) {
            agrees(&text);
        }

        #[test]
        fn strings_are_what_they_are_for_others(inner in r#"([a-zé😀"\\/]|\\[nrtbf"\\/]|\\u[0-9a-f]{4}|\\ud[89a-f][0-9a-f]{2}){0,8}"#) {
            agrees(&format!("\"{inner}\""));
        }
    }
}
