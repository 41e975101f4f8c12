//! Facts about versions of tables: tags, restores, branches, compaction, vacuum, legal holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::is_zero;
use super::{DatasetCommitted, TableVersion, payloads};
use crate::{BranchName, DatasetName, HoldName, Span, TagName, Timestamp};

payloads! {
    "tag.created" 1 TagCreated,
    "tag.deleted" 1 TagDeleted,
    "dataset.restored" 1 DatasetRestored,
    "branch.created" 1 BranchCreated,
    "branch.committed" 1 BranchCommitted,
    "branch.merged" 1 BranchMerged,
    "branch.dropped" 1 BranchDropped,
    "dataset.compacted" 1 DatasetCompacted,
    "lake.vacuumed" 1 LakeVacuumed,
    "hold.created" 1 HoldCreated,
    "hold.released" 1 HoldReleased,
}

/// A name was given to versions of tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagCreated {
    /// The tag.
    pub tag: TagName,
    /// The versions that it pins.
    pub tables: Vec<TableVersion>,
    /// The versions of their quarantines, by dataset, where there were any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantines: Vec<TableVersion>,
    /// The moment that it stands for: what else is read by this tag is read as of then.
    pub moment: Timestamp,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A tag pins nothing any more, and its name is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagDeleted {
    /// The tag.
    pub tag: TagName,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A dataset's rows are again those of an earlier version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetRestored {
    /// The dataset.
    pub dataset: DatasetName,
    /// The version that this made.
    pub version: u64,
    /// The version that stood before: restoring to it undoes this.
    pub from: u64,
    /// The version whose rows are back.
    pub to: u64,
    /// Rows that came back.
    pub rows_added: u64,
    /// Rows that went.
    pub rows_removed: u64,
    /// The version of the quarantine, where rows that had been released are open again, or the other way round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_version: Option<u64>,
    /// Rows of the quarantine that are open again, because what their release landed went.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reopened: u64,
    /// Rows of the quarantine that are released again, because what their release landed is back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub released_again: u64,
    /// Why.
    pub reason: String,
}

/// A branch was made: tables that begin with what the datasets held, and go their own way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchCreated {
    /// The branch.
    pub branch: BranchName,
    /// The versions that it begins with.
    pub tables: Vec<TableVersion>,
}

/// A batch of rows landed on a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchCommitted {
    /// The branch.
    pub branch: BranchName,
    /// The batch; versions are those of the branch's tables.
    pub commit: DatasetCommitted,
}

/// What a merge did to one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MergedTable {
    /// The table: a dataset, or a quarantine.
    pub table: String,
    /// The version that the merge made.
    pub version: u64,
    /// The branch's version that was merged.
    pub branch_version: u64,
    /// Rows that came in.
    pub rows_added: u64,
    /// Rows that went.
    pub rows_removed: u64,
}

/// What happened on a branch is in the datasets now, in all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchMerged {
    /// The branch, which is closed by it.
    pub branch: BranchName,
    /// The tables that changed.
    pub tables: Vec<MergedTable>,
}

/// A branch was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchDropped {
    /// The branch.
    pub branch: BranchName,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Small files of a table were written again as larger ones, with the same rows in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetCompacted {
    /// The table: a dataset, or a quarantine.
    pub table: String,
    /// The version that this made.
    pub version: u64,
    /// Files that were taken together.
    pub files_before: u64,
    /// Files that hold their rows now.
    pub files_after: u64,
    /// Those rows.
    pub rows: u64,
}

/// What a vacuum removed of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VacuumedTable {
    /// The table: a dataset, or a quarantine.
    pub table: String,
    /// Files that are gone.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Stretches of versions, first and last, that cannot be read any more.
    pub unreadable: Vec<(u64, u64)>,
}

/// Files that nothing needs any more are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LakeVacuumed {
    /// Versions that were read as of this span ago, or later, were kept.
    pub retained: Span,
    /// What was removed of each table.
    pub tables: Vec<VacuumedTable>,
}

/// Nothing of these datasets may be removed until the hold is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldCreated {
    /// The hold.
    pub hold: HoldName,
    /// The datasets.
    pub datasets: Vec<DatasetName>,
    /// Why.
    pub reason: String,
}

/// A hold holds nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldReleased {
    /// The hold.
    pub hold: HoldName,
    /// Why.
    pub reason: String,
}
