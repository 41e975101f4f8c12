//! Facts about datasets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payloads;
use crate::{DatasetName, Digest, Timestamp};

payloads! {
    "dataset.committed" 1 DatasetCommitted,
    "dataset.refused" 1 DatasetRefused,
}

/// One version of a dataset's table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct TableVersion {
    /// The dataset.
    pub dataset: DatasetName,
    /// The Delta table's version.
    pub version: u64,
}

/// Why rows were set aside, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The rule that they broke: `tailnum: missing`.
    pub rule: String,
    /// How many rows.
    pub rows: u64,
}

/// What a batch covers of an ordered source, such as one partition of a topic: from `first` on, up to `next` and without
/// it. The stretches of a source follow each other without gap or overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stretch {
    /// The source: `kafka:flights/3`.
    pub source: String,
    /// Where it began.
    pub first: u64,
    /// Where the next one begins.
    pub next: u64,
    /// Rows that came out of it; fewer than places where some are empty.
    pub rows: u64,
}

/// A batch of rows landed. Rows in = accepted + quarantined + duplicates + dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetCommitted {
    /// The dataset.
    pub dataset: DatasetName,
    /// The table's version that this commit made; where no row was accepted, the version that stood.
    pub version: u64,
    /// The version of the quarantine table, where a row went there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_version: Option<u64>,
    /// Where the rows came from: `data/flights/2013-01.parquet`, or `push`.
    pub source: String,
    /// The digest of the source's bytes or rows.
    pub source_digest: Digest,
    /// The digest of the accepted rows.
    pub rows_digest: Digest,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that landed.
    pub accepted: u64,
    /// Rows that went to the quarantine.
    pub quarantined: u64,
    /// Why rows went to the quarantine; a row that broke two rules counts in both.
    pub reasons: Vec<Reason>,
    /// Why rows that landed were remarked on.
    pub warnings: Vec<Reason>,
    /// The earliest and the latest event among the accepted rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<(Timestamp, Timestamp)>,
    /// Rows that had landed before by their key, and were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Rows that a declaration leaves out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// What it covers of ordered sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stretches: Vec<Stretch>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A batch of rows was refused whole; nothing landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetRefused {
    /// The dataset.
    pub dataset: DatasetName,
    /// Where the rows came from.
    pub source: String,
    /// The digest of the source's bytes or rows.
    pub source_digest: Digest,
    /// Why, in plain words.
    pub sentence: String,
    /// The rules that were broken, where it came to them.
    pub reasons: Vec<Reason>,
}
