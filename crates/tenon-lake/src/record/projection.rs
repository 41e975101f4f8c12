//! The tables' sealed versions, folded from facts: what `as of` means is decided by the facts' moments, never by the
//! clock of the machine that wrote a file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenon_core::Timestamp;
use tenon_core::fact::{
    BranchCommitted, BranchCreated, BranchMerged, DatasetCommitted, DatasetCompacted, DatasetReplayed, DatasetRestored,
    DecisionsLogged, OutcomesRecorded, Payload, QuarantineDiscarded, QuarantineReleased,
};
use tenon_ledger::{DocsExt, DocsMut, LedgerError, Projection, StoredFact};

use super::records;
use crate::{branch_table, quarantine_of, raw_of};

/// Documents by table: the newest [`TableCommit`] with the sums over all.
pub(crate) const TABLES: &str = "lake.table";
/// Documents by table and fact: each [`TableCommit`].
pub(crate) const COMMITS: &str = "lake.commit";

/// One sealed version of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCommit {
    /// The table: a dataset, its quarantine, or one of the program's own.
    pub table: String,
    /// The Delta version.
    pub version: u64,
    /// When it was sealed.
    pub at: Timestamp,
    /// The index of the fact that seals it.
    pub fact: u64,
    /// Rows that it added.
    pub rows: u64,
    /// Rows that the same batch sent to the quarantine.
    #[serde(default)]
    pub quarantined: u64,
    /// Where the rows came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether it is a batch of rows that came in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
    /// Rows that it removed: a restore, a merge of one, a replay, or changes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub removed: u64,
    /// Rows of earlier batches that a replay took out of the quarantine.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unquarantined: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A table as it stands, with the sums over its commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The newest sealed version.
    pub newest: TableCommit,
    /// How many batches were sealed.
    pub commits: u64,
    /// Rows over all of them, without those that were removed.
    pub rows: u64,
    /// Quarantined rows over all of them.
    pub quarantined: u64,
}

pub(crate) fn commit_key(table: &str, fact: u64) -> String {
    format!("{table}@{fact:020}")
}

/// The prefix of the keys of a table's commits.
pub(crate) fn commits_of(table: &str) -> String {
    format!("{table}@")
}

/// The fold that the lake reads; register it with the ledger.
pub fn projection() -> Arc<dyn Projection> {
    Arc::new(LakeProjection)
}

struct LakeProjection;

impl Projection for LakeProjection {
    fn name(&self) -> &'static str {
        "lake"
    }

    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        for commit in commits(stored) {
            let old: Option<TableState> = docs.read(TABLES, &commit.table)?;
            let state = TableState {
                commits: old.as_ref().map_or(0, |old| old.commits) + 1,
                rows: (old.as_ref().map_or(0, |old| old.rows) + commit.rows).saturating_sub(commit.removed),
                quarantined: (old.as_ref().map_or(0, |old| old.quarantined) + commit.quarantined)
                    .saturating_sub(commit.unquarantined),
                newest: commit.clone(),
            };
            docs.put(TABLES, &commit.table, json(&state))?;
            docs.put(COMMITS, &commit_key(&commit.table, stored.index), json(&commit))?;
        }
        records::apply(docs, stored)
    }
}

/// Structs of numbers and texts are always JSON.
fn json(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap_or(Value::Null)
}

/// The versions that a fact seals.
fn commits(stored: &StoredFact) -> Vec<TableCommit> {
    let fact = &stored.fact;
    let commit = |table: String, version: u64, rows: u64| TableCommit {
        table,
        version,
        at: fact.at,
        fact: stored.index,
        rows,
        quarantined: 0,
        source: None,
        batch: false,
        removed: 0,
        unquarantined: 0,
    };
    match fact.kind.as_str() {
        DatasetCommitted::KIND => {
            fact.payload::<DatasetCommitted>().map_or_else(|_| Vec::new(), |sealed| batch(&commit, None, &sealed))
        }
        BranchCommitted::KIND => fact
            .payload::<BranchCommitted>()
            .map_or_else(|_| Vec::new(), |sealed| batch(&commit, Some(sealed.branch.as_str()), &sealed.commit)),
        BranchCreated::KIND => fact.payload::<BranchCreated>().map_or_else(
            |_| Vec::new(),
            |made| {
                let tables = made.tables.iter();
                let first = |begun: &tenon_core::fact::TableVersion| TableCommit {
                    source: Some(format!("version {} of {}", begun.version, begun.dataset)),
                    ..commit(branch_table(made.branch.as_str(), begun.dataset.as_str()), 0, 0)
                };
                tables.map(first).collect()
            },
        ),
        DatasetRestored::KIND => fact.payload::<DatasetRestored>().map_or_else(
            |_| Vec::new(),
            |restored| {
                let source = Some(format!("restored to version {}: {}", restored.to, restored.reason));
                let table = TableCommit {
                    removed: restored.rows_removed,
                    source: source.clone(),
                    ..commit(restored.dataset.to_string(), restored.version, restored.rows_added)
                };
                let quarantine = restored.quarantine_version.map(|version| TableCommit {
                    source,
                    ..commit(quarantine_of(restored.dataset.as_str()), version, 0)
                });
                std::iter::once(table).chain(quarantine).collect()
            },
        ),
        DatasetReplayed::KIND => {
            fact.payload::<DatasetReplayed>().map_or_else(|_| Vec::new(), |replayed| replay(&commit, &replayed))
        }
        QuarantineReleased::KIND => fact.payload::<QuarantineReleased>().map_or_else(
            |_| Vec::new(),
            |released| {
                let quarantine = quarantine_of(released.dataset.as_str());
                vec![
                    TableCommit {
                        source: Some(format!("released from the quarantine: {}", released.reason)),
                        ..commit(released.dataset.to_string(), released.version, released.rows)
                    },
                    commit(quarantine, released.quarantine_version, 0),
                ]
            },
        ),
        QuarantineDiscarded::KIND => fact.payload::<QuarantineDiscarded>().map_or_else(
            |_| Vec::new(),
            |discarded| vec![commit(quarantine_of(discarded.dataset.as_str()), discarded.quarantine_version, 0)],
        ),
        BranchMerged::KIND => {
            fact.payload::<BranchMerged>().map_or_else(|_| Vec::new(), |merged| merge(&commit, &merged))
        }
        DatasetCompacted::KIND => fact.payload::<DatasetCompacted>().map_or_else(
            |_| Vec::new(),
            |compacted| {
                let (before, after) = (compacted.files_before, compacted.files_after);
                vec![TableCommit {
                    source: Some(format!("{before} files taken together as {after}")),
                    ..commit(compacted.table, compacted.version, 0)
                }]
            },
        ),
        DecisionsLogged::KIND => fact.payload::<DecisionsLogged>().map_or_else(
            |_| Vec::new(),
            |logged| vec![commit(format!("decisions_{}", logged.deployment), logged.table_version, logged.rows)],
        ),
        OutcomesRecorded::KIND => fact.payload::<OutcomesRecorded>().map_or_else(
            |_| Vec::new(),
            |recorded| vec![commit(format!("outcomes_{}", recorded.deployment), recorded.table_version, recorded.rows)],
        ),
        _ => Vec::new(),
    }
}

/// The versions that a batch made: of the dataset, or of its table on a branch.
fn batch(
    commit: &impl Fn(String, u64, u64) -> TableCommit,
    branch: Option<&str>,
    sealed: &DatasetCommitted,
) -> Vec<TableCommit> {
    let named = |table: String| branch.map_or(table.clone(), |branch| branch_table(branch, &table));
    let made = |table: String, version: u64, rows: u64| TableCommit {
        source: Some(sealed.source.clone()),
        batch: true,
        ..commit(named(table), version, rows)
    };
    let (table, quarantine) = (sealed.dataset.to_string(), quarantine_of(sealed.dataset.as_str()));
    let table = TableCommit {
        quarantined: sealed.quarantined,
        removed: sealed.changes.map_or(0, |changes| changes.removed()),
        ..made(table, sealed.version, sealed.accepted)
    };
    let quarantine = sealed.quarantine_version.map(|version| made(quarantine, version, sealed.quarantined));
    let raw = sealed.raw_version.map(|version| made(raw_of(sealed.dataset.as_str()), version, sealed.rows_in));
    std::iter::once(table).chain(quarantine).chain(raw).collect()
}

/// The versions that a replay made.
fn replay(commit: &impl Fn(String, u64, u64) -> TableCommit, replayed: &DatasetReplayed) -> Vec<TableCommit> {
    let gone = replayed.replaced;
    let table = TableCommit {
        quarantined: replayed.quarantined,
        removed: gone.accepted,
        unquarantined: gone.quarantined,
        source: Some(format!("{} batches replayed", replayed.batches)),
        ..commit(replayed.dataset.to_string(), replayed.version, replayed.accepted)
    };
    let quarantine = replayed.quarantine_version.map(|version| TableCommit {
        removed: gone.quarantined,
        ..commit(quarantine_of(replayed.dataset.as_str()), version, replayed.quarantined)
    });
    std::iter::once(table).chain(quarantine).collect()
}

/// The versions that a merge made.
fn merge(commit: &impl Fn(String, u64, u64) -> TableCommit, merged: &BranchMerged) -> Vec<TableCommit> {
    let rows_of = |table: &str| merged.tables.iter().find(|found| found.table == table).map_or(0, |m| m.rows_added);
    let made = |table: &tenon_core::fact::MergedTable| TableCommit {
        quarantined: rows_of(&quarantine_of(&table.table)),
        removed: table.rows_removed,
        source: Some(format!("merged from branch {}", merged.branch)),
        ..commit(table.table.clone(), table.version, table.rows_added)
    };
    merged.tables.iter().map(made).collect()
}
