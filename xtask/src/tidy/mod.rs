//! `cargo xtask tidy`: the house rules that rustc and clippy don't know.
//!
//! Every rule looks at one file and gives findings; all are printed at once, as `file:line: message`.

mod lex;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::root;
use lex::Source;

/// Crates that must forbid unsafe code in their root.
const SAFE_CRATES: [&str; 5] =
    ["core/src/lib.rs", "convert/src/lib.rs", "cli/src/main.rs", "serverless/protocol/src/lib.rs", "serverless/componentize/src/lib.rs"];
/// Files outside [`is_machine`] that may say `unsafe`, with what for.
const UNSAFE_FILES: [(&str, &str); 7] = [
    ("native/src/model.rs", "maps the file"),
    ("pool/src/lib.rs", "lends borrowed work to threads"),
    ("pool/src/rows.rs", "lends parts of an output to threads"),
    ("native/tests/allocation.rs", "counts what an allocator does"),
    ("wasm/src/abi.rs", "exports functions by name"),
    ("serverless/component/src/embed.rs", "exports functions by name"),
    ("serverless/host/src/guest/cache.rs", "maps compiled code"),
];
/// Files that may be longer than [`LINES`], with the reason.
const LONG_FILES: [(&str, &str); 4] = [
    ("core/src/graph/op.rs", "the list of all operations"),
    ("core/src/graph/shape.rs", "one rule for each of the operations"),
    ("native/src/isa/avx512vnni.rs", "one vocabulary on one instruction set, a method each"),
    ("wasm/src/isa/v128.rs", "one vocabulary on one instruction set, a method each"),
];
/// The page that defines the file format, and the code that must say the same version.
const FORMAT_PAGE: &str = "core/FORMAT.md";
const FORMAT_CODE: &str = "core/src/format/mod.rs";
const LINES: usize = 500;
/// Directories without sources of ours.
const SKIPPED: [&str; 4] = ["target", "node_modules", "dist", ".git"];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

/// Prints every finding.
///
/// # Errors
/// If there is one.
pub fn run() -> Result<()> {
    let mut paths = Vec::new();
    collect(root(), &mut paths)?;
    paths.sort();
    let mut findings = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/");
        check(&name, &text, &mut findings);
    }
    for name in SAFE_CRATES.into_iter().filter(|name| !root().join(name).is_file()) {
        findings.push(Finding { path: name.to_owned(), line: 1, message: "should exist; if it moved, tell tidy".to_owned() });
    }
    let [page, code] = [FORMAT_PAGE, FORMAT_CODE].map(|path| (path, fs::read_to_string(root().join(path)).unwrap_or_default()));
    findings.extend(format_version(&page.1, &code.1));
    findings.sort();
    for Finding { path, line, message } in &findings {
        println!("{path}:{line}: {message}");
    }
    match findings.len() {
        0 => println!("tidy: {} files, nothing found", paths.len()),
        n => bail!("tidy: {n} findings in {} files", paths.len()),
    }
    Ok(())
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !SKIPPED.contains(&&*name) {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// Whether a file is one of those that talk to the machine: instructions are written there and nowhere else. That of `cpu/`
/// only asks which others there are.
fn is_machine(path: &str) -> bool {
    path.contains("/src/isa/") || path.starts_with("native/src/amx/") || path == "native/src/cpu/amx.rs"
}

fn check(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let source = Source::new(text);
    let mut find = |line: usize, message: String| findings.push(Finding { path: path.to_owned(), line, message });
    if !text.starts_with("//!") {
        find(1, "the file should open with `//!`: what it is, and what it doesn't do".to_owned());
    }
    if SAFE_CRATES.contains(&path) && !source.code.contains("#![forbid(unsafe_code)]") {
        find(1, "this crate should have `#![forbid(unsafe_code)]`".to_owned());
    }
    let lines = text.lines().count();
    if lines > LINES && LONG_FILES.iter().all(|(file, _)| *file != path) {
        find(LINES, format!("{lines} lines, above {LINES}: split the file by purpose, or list it in tidy with a reason"));
    }
    let may_be_unsafe = is_machine(path) || UNSAFE_FILES.iter().any(|(file, _)| *file == path);
    for (number, (code, comment)) in (1..).zip(source.code.lines().zip(source.comments.lines())) {
        for word in ["TODO", "FIXME", "XXX"].into_iter().filter(|w| has_word(comment, w)) {
            find(number, format!("`{word}`: do it, or open an issue"));
        }
        for name in ["dbg!", "todo!", "unimplemented!"].into_iter().filter(|n| has_word(code, n)) {
            find(number, format!("`{name}` is for work in progress"));
        }
        if has_word(code, "unsafe") && !may_be_unsafe {
            find(number, "`unsafe` belongs in */src/isa/, native/src/amx/, or a file that tidy lists".to_owned());
        }
        let instructions = ["core::arch::", "std::arch::"].into_iter().any(|module| {
            // Asking which instructions there are is not using them.
            code.match_indices(module).any(|(at, _)| !code[at + module.len()..].starts_with("is_"))
        });
        if (instructions || has_word(code, "asm!") || has_word(code, "global_asm!")) && !is_machine(path) {
            find(number, "instructions belong in */src/isa/ or native/src/amx/".to_owned());
        }
    }
    for (at, open) in attributes(&source.code) {
        let attribute = open.split_whitespace().collect::<String>();
        if (attribute.starts_with("allow(") || attribute.starts_with("expect(")) && !attribute.contains("reason=") {
            find(source.code[..at].lines().count(), "the attribute should have a `reason`".to_owned());
        }
    }
}

/// What is wrong where the version of the page is not that of the code: both the page's table of metadata and the last line
/// of its history name it.
fn format_version(page: &str, code: &str) -> Option<Finding> {
    let finding = |path: &str, line, message| Some(Finding { path: path.to_owned(), line, message });
    let Some(version) = code.split_once("pub const VERSION: &str = \"").and_then(|(_, rest)| Some(rest.split_once('"')?.0)) else {
        return finding(FORMAT_CODE, 1, "should have `pub const VERSION`; if it moved, tell tidy".to_owned());
    };
    let rows = || (1..).zip(page.lines()).filter(|(_, line)| line.starts_with('|'));
    let stated = rows().find(|(_, row)| row.contains("`quaver.format`"));
    let stale = match (stated, rows().last()) {
        (Some((line, row)), _) if !row.contains(&format!("`{version}`")) => line,
        (Some(_), Some((line, row))) if !row.starts_with(&format!("| {version} |")) => line,
        (Some(_), Some(_)) => return None,
        _ => 1,
    };
    finding(FORMAT_PAGE, stale, format!("should say version {version}, as {FORMAT_CODE} does"))
}

/// Where each attribute begins, and what stands between its brackets.
fn attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices('#').filter_map(|(at, _)| {
        let rest = &code[at + 1..];
        let inner = rest.strip_prefix('!').unwrap_or(rest).strip_prefix('[')?;
        Some((at + 1, inner.split_once(']').map_or(inner, |(inside, _)| inside)))
    })
}

/// Whether `word` stands in `text` on its own, not as part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let after = text[at + word.len()..].chars().next();
        !text[..at].chars().next_back().is_some_and(part) && (word.ends_with('!') || !after.is_some_and(part))
    })
}

#[cfg(test)]
mod tests {
    use super::{Finding, check, format_version};

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let mut findings: Vec<Finding> = Vec::new();
        check(path, text, &mut findings);
        findings.into_iter().map(|f| f.line).collect()
    }

    #[test]
    fn each_rule_finds_its_line() {
        let cases = [
            ("fn a() {}", 1),
            ("//! x\n// TODO y", 2),
            ("//! x\n\ndbg!(1);", 3),
            ("//! x\nunsafe { a() }", 2),
            ("//! x\nuse core::arch::x86_64::*;", 2),
            ("//! x\nasm!(\"nop\");", 2),
            ("//! x\n#[allow(dead_code)]", 2),
            ("//! x\n#![expect(\n    dead_code\n)]", 2),
        ];
        for (text, line) in cases {
            assert_eq!(lines("a/src/b.rs", text), [line], "{text}");
        }
        assert_eq!(lines("a/src/b.rs", &format!("//! x\n{}", "\n".repeat(600))), [500]);
        assert_eq!(lines("core/src/lib.rs", "//! x\n"), [1]);
    }

    #[test]
    fn page_and_code_name_one_version() {
        let code = "/// Version.\npub const VERSION: &str = \"2\";";
        let page = |stated: u8, last: u8| format!("| `quaver.format` | version: `{stated}` |\n\n| 1 | first |\n| {last} | more |\n");
        let line = |page: &str, code: &str| format_version(page, code).map(|finding| (finding.path, finding.line));
        assert_eq!(line(&page(2, 2), code), None);
        assert_eq!(line(&page(1, 2), code), Some(("core/FORMAT.md".to_owned(), 1)));
        assert_eq!(line(&page(2, 3), code), Some(("core/FORMAT.md".to_owned(), 4)));
        assert_eq!(line("", code), Some(("core/FORMAT.md".to_owned(), 1)));
        assert_eq!(line(&page(2, 2), ""), Some(("core/src/format/mod.rs".to_owned(), 1)));
    }

    #[test]
    fn what_is_right_is_left_alone() {
        let texts = [
            "//! x\nlet a = \"TODO unsafe dbg!\"; // unsafe is a word here",
            "//! x\n#[allow(dead_code, reason = \"why\")]",
            "//! x\n#![forbid(unsafe_code)]",
            "//! x\nif std::arch::is_x86_feature_detected!(\"avx2\") {}",
        ];
        for text in texts {
            assert_eq!(lines("a/src/b.rs", text), [0; 0], "{text}");
        }
        assert_eq!(lines("a/src/isa/b.rs", "//! x\nuse core::arch::x86_64::*;\nunsafe {}"), [0; 0]);
        assert_eq!(lines("core/src/lib.rs", "//! x\n#![forbid(unsafe_code)]"), [0; 0]);
    }
}
