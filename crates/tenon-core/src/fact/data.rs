//! Facts about datasets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payloads;
use crate::spec::Severity;
use crate::{DatasetName, Digest, Timestamp};

payloads! {
    "dataset.committed" 1 DatasetCommitted,
    "dataset.refused" 1 DatasetRefused,
    "dataset.replayed" 1 DatasetReplayed,
    "quarantine.discarded" 1 QuarantineDiscarded,
    "quarantine.released" 1 QuarantineReleased,
    "contract.break_allowed" 1 ContractBreakAllowed,
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

/// What a rule over a whole batch found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableVerdict {
    /// The rule: `freshness`, `volume`, `distribution of arr_delay`.
    pub rule: String,
    /// What breaking it means.
    pub severity: Severity,
    /// Whether it was kept.
    pub kept: bool,
    /// What was measured, in plain words.
    pub sentence: String,
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

/// A batch of rows landed. Rows in = accepted + quarantined + duplicates + dropped, and of changes what brought no row.
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
    /// The digest of the source's bytes or rows, or of the key by which a caller pushes them once.
    pub source_digest: Digest,
    /// The digest of the rows as they came, where they are pushed with a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<Digest>,
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
    /// Rows that were dropped, as the dataset's cleaning declares.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// The version of the table with the rows as they came, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_version: Option<u64>,
    /// What the rules over the whole batch found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<TableVerdict>,
    /// What it covers of ordered sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stretches: Vec<Stretch>,
    /// What became of rows that were there, where the batch says how rows changed. What came in is then
    /// accepted + quarantined + deleted + absent + superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<RowChanges>,
}

/// What a batch of changes did to a table that holds one row a key. Of several changes of one key in a batch the last one
/// counts; those before it are superseded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowChanges {
    /// Accepted rows that took the place of one with the same key.
    pub updated: u64,
    /// Deletes that took a row out.
    pub deleted: u64,
    /// Deletes of keys that had no row.
    pub absent: u64,
    /// Changes that a later one of the same key overtook within the batch.
    pub superseded: u64,
    /// Rows that did not change and were written again, because they stood in a file with one that did.
    pub rewritten: u64,
    /// Rows that went besides, because their key stood more than once, such as from before the dataset followed changes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated: u64,
}

impl RowChanges {
    /// Rows that went out of the table, or made place for others.
    pub const fn removed(&self) -> u64 {
        self.updated + self.deleted + self.repeated
    }

    /// Adds what another batch did.
    pub const fn add(&mut self, other: Self) {
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.absent += other.absent;
        self.superseded += other.superseded;
        self.rewritten += other.rewritten;
        self.repeated += other.repeated;
    }

    /// Changes that came in and brought no row.
    pub const fn without_row(&self) -> u64 {
        self.deleted + self.absent + self.superseded
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Rows that a dataset keeps as they came went through its cleaning and contract once more; what came of them stands in
/// the place of what had come of them before. Older versions stay as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetReplayed {
    /// The dataset.
    pub dataset: DatasetName,
    /// The table's version that this made.
    pub version: u64,
    /// The version of the quarantine table that this made, where it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_version: Option<u64>,
    /// The digest of the dataset's declaration that was followed.
    pub spec: Digest,
    /// The first version of the rows as they came that was replayed.
    pub from: u64,
    /// How many batches were replayed.
    pub batches: u64,
    /// Rows that were replayed.
    pub rows_in: u64,
    /// Rows of them that are in the table now.
    pub accepted: u64,
    /// Rows of them that are in the quarantine now.
    pub quarantined: u64,
    /// Rows of them that were dropped, as the cleaning declares.
    pub dropped: u64,
    /// Rows of them whose key an earlier row has, and that were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Rows that were not in the table before and are now.
    pub now_accepted: u64,
    /// Rows that were in the table before and are not any more.
    pub no_longer_accepted: u64,
    /// Rows that left the table and the quarantine to make place.
    pub replaced: Replaced,
    /// The digest of the rows that are in the table now.
    pub rows_digest: Digest,
    /// Why rows are in the quarantine now.
    pub reasons: Vec<Reason>,
    /// Why rows that landed were remarked on.
    pub warnings: Vec<Reason>,
}

/// Rows that left tables to make place for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replaced {
    /// Rows that left the table.
    pub accepted: u64,
    /// Rows that left the quarantine.
    pub quarantined: u64,
}

/// Rows of a quarantine were repaired where they needed it, kept the contract, and landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineReleased {
    /// The dataset.
    pub dataset: DatasetName,
    /// The table's version that holds them.
    pub version: u64,
    /// The quarantine's version in which they are marked as released.
    pub quarantine_version: u64,
    /// How many rows.
    pub rows: u64,
    /// The digest of the rows that landed.
    pub rows_digest: Digest,
    /// The columns that were repaired. What with is not said: it may be personal.
    pub repaired: Vec<String>,
    /// Why, in the words of the one who did it.
    pub reason: String,
}

/// Rows of a quarantine will never land. They stay in it, marked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineDiscarded {
    /// The dataset.
    pub dataset: DatasetName,
    /// The quarantine's version in which they are marked as discarded.
    pub quarantine_version: u64,
    /// How many rows.
    pub rows: u64,
    /// Why, in the words of the one who did it.
    pub reason: String,
}

/// A change of a dataset's declaration that breaks others was let through on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContractBreakAllowed {
    /// The dataset.
    pub dataset: DatasetName,
    /// The digest of its new file; none where it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What breaks, in plain words.
    pub breaks: Vec<String>,
    /// Who it breaks: `model late_arrival of pod arrivals`.
    pub affected: Vec<String>,
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
