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
    before(1) && (!byte || before(2))
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
        // Below each text, what its characters are: code, comment, or part of a literal.
        let cases = [
            ("a // b ' c", "__////////"),
            ("a /* /* b */ ' */ c", "__///////////////__"),
            (r#"a "// b" c"#, r#"__""""""__"#),
            (r#"a "\"" c"#, r#"__""""__"#),
            (r##"r#"x" // "# y"##, r##""""""""""""__"##),
            (r#"br"\" k"#, r#"_""""__"#),
            (r#"bar "k""#, r#"____""""#),
            (r#"'"' z '\'' w"#, r#""""___""""__"#),
            ("<'a> // q", "_____////"),
        ];
        for (text, kinds) in cases {
            assert_eq!(text.chars().count(), kinds.chars().count(), "the case {text:?}");
            let layer = |kind: char| text.chars().zip(kinds.chars()).map(|(c, k)| if k == kind { c } else { ' ' }).collect::<String>();
            let source = Source::new(text);
            assert_eq!(source.code, layer('_'), "code of {text:?}");
            assert_eq!(source.comments, layer('/'), "comments of {text:?}");
        }
    }

    #[test]
    fn lines_stay_lines() {
        let source = Source::new("a // b\nc \"\n\" /*\n*/ d");
        assert_eq!(source.code.lines().map(str::trim).collect::<Vec<_>>(), ["a", "c", "", "d"]);
        assert_eq!(source.comments.lines().map(str::trim).collect::<Vec<_>>(), ["// b", "", "/*", "*/"]);
    }
}
