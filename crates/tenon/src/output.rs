//! How answers look: tables for people, JSON for machines.

use std::io::{IsTerminal, Write, stderr, stdout};

use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::{Deserialize, Serialize};
pub use tenon_core::words::count;

use crate::args::Output;
use crate::failure::Failure;

/// One answer, in both forms.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    json: serde_json::Value,
    text: String,
    /// What people hear beside the JSON of it.
    remark: Option<String>,
    verdict: Verdict,
}

/// What an answer means for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Done.
    Done,
    /// Refused, or a check that failed.
    Refused,
    /// A part of it went wrong; the answer says which.
    Failed,
}

impl Answer {
    /// An answer that says `text` to people and `value` to machines.
    pub fn new(value: &impl Serialize, text: impl Into<String>) -> Result<Self, Failure> {
        let json =
            serde_json::to_value(value).map_err(|error| Failure::other("cannot write the answer as JSON", error))?;
        Ok(Self { json, text: text.into(), remark: None, verdict: Verdict::Done })
    }

    /// The same answer with a remark: below its text, or beside its JSON, which has no place for it.
    #[must_use]
    pub fn remarking(mut self, remark: String) -> Self {
        self.remark = Some(remark);
        self
    }

    /// The same answer, as a refusal where `refused`.
    #[must_use]
    pub fn refused_if(mut self, refused: bool) -> Self {
        if refused && self.verdict == Verdict::Done {
            self.verdict = Verdict::Refused;
        }
        self
    }

    /// The same answer, as one in which something went wrong where `failed`.
    #[must_use]
    pub fn failed_if(mut self, failed: bool) -> Self {
        if failed {
            self.verdict = Verdict::Failed;
        }
        self
    }

    /// Prints it.
    pub fn print(self, output: Output) -> Result<Verdict, Failure> {
        let text = match output {
            Output::Table => [Some(self.text), self.remark].into_iter().flatten().collect::<Vec<_>>().join("\n"),
            Output::Json => {
                self.remark.iter().for_each(say);
                format!("{:#}", self.json)
            }
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

/// The width of tables that no terminal shows.
const FREE_WIDTH: u16 = 160;

tokio::task_local! {
    /// The width of the terminal for which an answer is made, where that is not this program's.
    static SHOWN_TO: Option<u16>;
}

/// The width of this program's terminal; none where its answers go elsewhere.
pub fn width() -> Option<u16> {
    Table::new().width().filter(|_| stdout().is_terminal())
}

/// Makes an answer for a terminal of another width, or for none.
pub async fn shown_to<T>(width: Option<u16>, answer: impl Future<Output = T>) -> T {
    SHOWN_TO.scope(width, answer).await
}

/// A table with these headers and rows.
pub fn table<R: IntoIterator<Item = String>>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(SHOWN_TO.try_with(|width| *width).unwrap_or_else(|_| width()).unwrap_or(FREE_WIDTH));
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
