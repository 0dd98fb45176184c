//! What people see: tables, progress bars, sizes, errors; and files that are written whole or not at all.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

/// Prints an error with its causes, each once.
pub fn report(error: &anyhow::Error) {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    let bold = if std::io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    eprintln!("{}error{}: {text}", bold.0, bold.1);
}

/// A table with a header; all columns but the first are right-aligned.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for i in 1..header.len() {
        if let Some(column) = table.column_mut(i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A table whose columns are all left-aligned.
pub fn listing(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// A progress bar of `len` steps on standard error; silent where that is no terminal.
pub fn progress(what: &str, len: usize) -> ProgressBar {
    let bar = ProgressBar::new(len as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg:24} {bar:40} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

/// A bar for trials of unknown number: how many, how long, and which was the last.
pub fn trials(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{prefix:24} {spinner} {pos} tried, {elapsed}, last: {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A spinner for a step of unknown length.
pub fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{msg:24} {spinner} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A number of bytes for people.
pub fn bytes(n: u64) -> String {
    match n {
        0..=9_999 => format!("{n} B"),
        10_000..=9_999_999 => format!("{:.1} kB", n as f64 / 1e3),
        _ => format!("{:.1} MB", n as f64 / 1e6),
    }
}

/// A number of things for people.
pub fn count(n: u64) -> String {
    match n {
        0..=9_999 => n.to_string(),
        10_000..=999_949 => format!("{:.1} k", n as f64 / 1e3),
        999_950..=999_949_999 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.2} G", n as f64 / 1e9),
    }
}

/// A number of threads.
pub fn threads(n: usize) -> String {
    if n == 1 { "1 thread".to_owned() } else { format!("{n} threads") }
}

/// A time given in microseconds.
pub fn micros(us: f64) -> String {
    if us < 9_999.5 { format!("{us:.1} µs") } else { format!("{:.2} ms", us / 1e3) }
}

/// A type with extents, as `u8 1×56×56×64`.
pub fn shape(dtype: &str, shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{dtype} {}", extents.join("×"))
}

/// A name of at most `most` characters: the end of a longer one, which tells more than its start.
pub fn shorten(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most { name.to_owned() } else { format!("…{}", name.chars().skip(count + 1 - most).collect::<String>()) }
}

/// Writes a file so that it is there whole or not at all: to a temporary file beside it, then by renaming.
///
/// # Errors
/// Where the folder cannot be written to, naming it.
pub fn write_file(path: &Path, contents: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let hint = || format!("cannot write '{}'; choose a folder that exists and that you may write to", path.display());
    let mut file = tempfile::Builder::new().prefix(".quaver-").tempfile_in(folder).with_context(hint)?;
    file.write_all(contents).with_context(hint)?;
    make_readable(file.as_file()).with_context(hint)?;
    file.persist(path).with_context(hint)?;
    Ok(())
}

/// Temporary files are private; what a user asked for has the rights that other tools would give it.
fn make_readable(file: &std::fs::File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
