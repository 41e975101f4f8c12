//! How answers look: tables for people, JSON for machines.

use std::io::{IsTerminal, Write, stderr, stdout};

use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::args::Output;
use crate::failure::Failure;

/// One answer, in both forms.
pub struct Answer {
    json: serde_json::Value,
    text: String,
    verdict: Verdict,
}

/// What an answer means for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Done,
    /// Refused, or a check that failed.
    Refused,
}

impl Answer {
    /// An answer that says `text` to people and `value` to machines.
    pub fn new(value: &impl Serialize, text: impl Into<String>) -> Result<Self, Failure> {
        let json =
            serde_json::to_value(value).map_err(|error| Failure::other("cannot write the answer as JSON", error))?;
        Ok(Self { json, text: text.into(), verdict: Verdict::Done })
    }

    /// The same answer, as a refusal where `refused`.
    #[must_use]
    pub fn refused_if(mut self, refused: bool) -> Self {
        if refused {
            self.verdict = Verdict::Refused;
        }
        self
    }

    /// Prints it.
    pub fn print(self, output: Output) -> Result<Verdict, Failure> {
        let text = match output {
            Output::Table => self.text,
            Output::Json => format!("{:#}", self.json),
        };
        // A closed pipe (`| head`) is the reader's choice, not a failure.
        let written = writeln!(stdout(), "{}", text.trim_end());
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::other("cannot write the answer", error))
            }
            _ => Ok(self.verdict),
        }
    }
}

/// A table with these headers and rows.
pub fn table<R: IntoIterator<Item = String>>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if !stdout().is_terminal() {
        table.set_width(160);
    }
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.into_iter());
    }
    table.to_string()
}

/// Says something to people beside the answer.
pub fn say(text: impl AsRef<str>) {
    // Nobody to hear it is no failure.
    let _ = writeln!(stderr(), "{}", text.as_ref());
}

/// A count with thousands set apart: `336,776`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_set_apart_by_thousands() {
        assert_eq!([0, 999, 1_000, 336_776, 12_345_678].map(count), ["0", "999", "1,000", "336,776", "12,345,678"]);
    }
}
