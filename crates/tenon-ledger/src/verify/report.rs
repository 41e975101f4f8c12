//! What a verifier has to say.

use std::fmt;

use serde::Serialize;
use tenon_core::Digest;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The fact that it is about, where it is about one.
    pub index: Option<u64>,
    /// That fact's kind, where it can still be told.
    pub kind: Option<String>,
    /// What is wrong, in plain words.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, &self.kind) {
            (Some(index), Some(kind)) => write!(f, "fact {index} (`{kind}`) {}", self.problem),
            (Some(index), None) => write!(f, "fact {index} {}", self.problem),
            (None, _) => f.write_str(&self.problem),
        }
    }
}

/// What a walk over the whole log found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Facts that were read.
    pub facts: u64,
    /// Checkpoints whose signature and root were compared.
    pub checkpoints: u64,
    /// Tiles of the tree that were computed anew and compared.
    pub tiles: u64,
    /// Documents that were compared with the facts; 0 for an export, which has none.
    pub documents: u64,
    /// The root of the facts as they stand.
    pub root: Digest,
    /// What does not hold; the first hundred.
    pub findings: Vec<Finding>,
    /// How many findings more there were.
    pub unlisted: u64,
}

impl VerifyReport {
    /// Whether everything holds.
    pub fn ok(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Findings, of which the first hundred are kept and the rest counted.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub listed: Vec<Finding>,
    pub unlisted: u64,
}

impl Findings {
    const LISTED: usize = 100;

    pub fn about(&mut self, index: u64, kind: Option<String>, problem: impl Into<String>) {
        self.push(Finding { index: Some(index), kind, problem: problem.into() });
    }

    pub fn general(&mut self, problem: impl Into<String>) {
        self.push(Finding { index: None, kind: None, problem: problem.into() });
    }

    fn push(&mut self, finding: Finding) {
        if self.listed.len() < Self::LISTED { self.listed.push(finding) } else { self.unlisted += 1 }
    }
}
