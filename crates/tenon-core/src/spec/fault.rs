//! Faults in a company's files, told with file, line and column.

use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// One file as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    /// Path from the company folder, with `/` between the parts.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// One thing that is wrong in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFault {
    /// Path from the company folder.
    pub file: String,
    /// Where in the file: the keys that lead to the value, such as `contract.columns.arr_delay.range`. Empty: the file
    /// as a whole.
    pub keys: Vec<String>,
    /// Bytes in the file, where the place is known already.
    pub span: Option<Range<usize>>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl SpecFault {
    /// A fault at the value that `keys` (joined by dots) lead to.
    pub fn at(file: &str, keys: &[&str], message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            span: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The same fault with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Reads one file as `T`.
///
/// # Errors
/// The first fault: malformed TOML, an unknown field, a value of the wrong kind.
pub fn parse<T: DeserializeOwned>(file: &SpecFile) -> Result<T, SpecFault> {
    toml::from_str(&file.text).map_err(|error| {
        let message = error.message().trim();
        let (message, hint) = split_expected(message);
        SpecFault { file: file.path.clone(), keys: Vec::new(), span: error.span(), message, hint }
    })
}

/// Serde's ``unknown field `x`, expected one of …`` reads better as a message and a suggestion.
fn split_expected(message: &str) -> (String, Option<String>) {
    match message.split_once(", expected ") {
        Some((what, expected)) if what.starts_with("unknown") => {
            let wrong = what.split('`').nth(1).unwrap_or_default();
            let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
            let hint = match closest(wrong, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            (what.to_owned(), Some(hint))
        }
        _ => (message.to_owned(), None),
    }
}

/// The candidate that a person most likely meant, if one is near enough.
pub fn closest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, near) = candidates.map(|candidate| (edit_distance(wrong, candidate), candidate)).min()?;
    (distance <= 2.max(wrong.len() / 3)).then_some(near)
}

/// Levenshtein's distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// All faults of a company folder; prints each with its place in the file.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} in the company folder", count(.faults.len()))]
pub struct FileFaults {
    faults: Vec<LocatedFault>,
}

fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}

impl FileFaults {
    /// Finds the place of each fault in the files.
    pub fn locate(faults: Vec<SpecFault>, files: &[SpecFile]) -> Self {
        let locate = |fault: SpecFault| {
            let text = files.iter().find(|file| file.path == fault.file).map_or("", |file| &file.text);
            let span = fault.span.clone().or_else(|| find(text, &fault.keys));
            LocatedFault { source: Arc::new(NamedSource::new(&fault.file, text.to_owned())), span, fault }
        };
        Self { faults: faults.into_iter().map(locate).collect() }
    }

    /// The faults, each with file, keys, message and hint.
    pub fn faults(&self) -> impl Iterator<Item = &SpecFault> {
        self.faults.iter().map(|located| &located.fault)
    }
}

impl Diagnostic for FileFaults {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.faults.iter().map(|fault| fault as &dyn Diagnostic)))
    }
}

#[derive(Debug, Clone)]
struct LocatedFault {
    fault: SpecFault,
    source: Arc<NamedSource<String>>,
    span: Option<Range<usize>>,
}

impl std::fmt::Display for LocatedFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.span {
            Some(_) => write!(f, "{}", self.fault.message),
            None => write!(f, "{}: {}", self.fault.file, self.fault.message),
        }
    }
}

impl std::error::Error for LocatedFault {}

impl Diagnostic for LocatedFault {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.fault.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref().map(|_| &*self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

/// The bytes of the value that the keys lead to; where the last keys are missing, of the nearest table above.
fn find(text: &str, keys: &[String]) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut span = 0..text.lines().next().map_or(0, str::len);
    let mut value: Option<&DeValue<'_>> = None;
    for key in keys {
        let next = match value {
            None => document.get_ref().get(key.as_str()),
            Some(DeValue::Table(table)) => table.get(key.as_str()),
            Some(DeValue::Array(array)) => key.parse::<usize>().ok().and_then(|at| array.get(at)),
            Some(_) => None,
        };
        let Some(next) = next else { break };
        span = next.span();
        value = Some(next.get_ref());
    }
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_suggested() {
        assert_eq!(closest("rnage", ["range", "type", "unit"].into_iter()), Some("range"));
        assert_eq!(closest("landed_at", ["landing_at", "tailnum"].into_iter()), Some("landing_at"));
        assert_eq!(closest("xyz", ["range", "type"].into_iter()), None);
    }

    #[test]
    fn keys_lead_to_the_bytes_of_their_value() {
        let text = "a = 1\n[contract.columns.x]\nrange = [1, 2]\n[[gates]]\nkind = \"quality\"\n";
        let keys = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(find(text, &keys("contract.columns.x.range")).map(|span| &text[span]), Some("[1, 2]"));
        assert_eq!(find(text, &keys("gates.0.kind")).map(|span| &text[span]), Some("\"quality\""));
    }
}
