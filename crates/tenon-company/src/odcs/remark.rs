//! What an import has to say about a file, and where.

use std::ops::Range;

use serde::Serialize;
use tenon_core::spec::SpecFault;

use super::tree::Place;

/// Something about a place of an ODCS file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, in characters.
    pub column: u64,
    /// What: lower case, no full stop.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Remark {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { line: place.line, column: place.column, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    /// The remark as a fault of a file that says `text`.
    pub fn fault(&self, file: &str, text: &str) -> SpecFault {
        let span: Range<usize> = Place { line: self.line, column: self.column }.range(text);
        let fault = SpecFault { span: Some(span), ..SpecFault::at(file, &[], &self.message) };
        match &self.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}

/// What an import found while it read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What makes the file unusable.
    pub wrong: Vec<Remark>,
    /// Promises that cannot be held here: without them the contract is weaker.
    pub weaker: Vec<Remark>,
    /// What says nothing about the rows, and goes.
    pub lost: Vec<Remark>,
}

impl Notes {
    pub(super) fn wrong(&mut self, place: Place, message: impl Into<String>) {
        self.wrong.push(Remark::new(place, message));
    }

    pub(super) fn wrong_with(&mut self, place: Place, message: impl Into<String>, hint: &str) {
        self.wrong.push(Remark::new(place, message).hint(hint));
    }

    pub(super) fn weaker(&mut self, place: Place, message: impl Into<String>, hint: &str) {
        self.weaker.push(Remark::new(place, message).hint(hint));
    }

    pub(super) fn lost(&mut self, place: Place, message: impl Into<String>) {
        self.lost.push(Remark::new(place, message));
    }
}
