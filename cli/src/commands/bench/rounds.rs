//! `quaver bench --rounds-from-stdin`: measures when it is told to, so that another program can let several engines take
//! turns on one machine. It doesn't decide what is measured, or for how many rounds.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// The longest round.
const MOST_SECONDS: f64 = 3600.0;

/// Answers each line `run SECONDS` of `commands` with a line of JSON, `measure`'s result, until they end.
pub fn serve<T: Serialize>(commands: impl BufRead, mut answers: impl Write, mut measure: impl FnMut(Duration) -> Result<T>) -> Result<()> {
    for line in commands.lines() {
        let line = line.context("cannot read standard input")?;
        let result = measure(parse(&line)?)?;
        writeln!(answers, "{}", serde_json::to_string(&result)?)?;
        // Whoever asked waits for it.
        answers.flush()?;
    }
    Ok(())
}

/// The time in a line `run SECONDS`; 0 is a single run.
fn parse(line: &str) -> Result<Duration> {
    let seconds = line.trim().strip_prefix("run ").and_then(|text| text.trim().parse::<f64>().ok());
    let seconds = seconds.with_context(|| format!("'{line}' should be 'run SECONDS'"))?;
    ensure!((0.0..=MOST_SECONDS).contains(&seconds), "'{line}': the time should lie between 0 and {MOST_SECONDS} seconds");
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::serve;

    fn answers(commands: &str) -> (String, Result<(), String>) {
        let mut written = Vec::new();
        let outcome = serve(commands.as_bytes(), &mut written, |time| Ok(time.as_secs_f64())).map_err(|e| e.to_string());
        (String::from_utf8(written).unwrap_or_default(), outcome)
    }

    #[test]
    fn each_line_has_an_answer() {
        assert_eq!(answers("run 0\nrun 0.25 \n"), ("0.0\n0.25\n".to_owned(), Ok(())));
    }

    #[test]
    fn other_lines_end_it_with_a_reason() {
        for bad in ["", "stop", "run", "run fast", "run -1", "run NaN", "run 1e9"] {
            let (written, outcome) = answers(&format!("run 1\n{bad}\nrun 1\n"));
            assert_eq!(written, "1.0\n");
            assert!(outcome.is_err_and(|message| message.contains(bad)), "{bad}");
        }
    }
}
