//! The tables' sealed versions, folded from facts: what `as of` means is decided by the facts' moments, never by the
//! clock of the machine that wrote a file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenon_core::Timestamp;
use tenon_core::fact::{
    DatasetCommitted, DatasetReplayed, DecisionsLogged, OutcomesRecorded, Payload, QuarantineDiscarded,
    QuarantineReleased, Replaced,
};
use tenon_ledger::{DocsExt, DocsMut, LedgerError, Projection, StoredFact};

use crate::{quarantine_of, raw_of};

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
}

/// A table as it stands, with the sums over its commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The newest sealed version.
    pub newest: TableCommit,
    /// How many batches were sealed.
    pub commits: u64,
    /// Rows over all of them.
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
        for (commit, gone) in commits(stored).into_iter().chain(replacements(stored)) {
            let old: Option<TableState> = docs.read(TABLES, &commit.table)?;
            let state = TableState {
                commits: old.as_ref().map_or(0, |old| old.commits) + 1,
                rows: old.as_ref().map_or(0, |old| old.rows).saturating_sub(gone.rows) + commit.rows,
                quarantined: old.as_ref().map_or(0, |old| old.quarantined).saturating_sub(gone.quarantined)
                    + commit.quarantined,
                newest: commit.clone(),
            };
            docs.put(TABLES, &commit.table, json(&state))?;
            docs.put(COMMITS, &commit_key(&commit.table, stored.index), json(&commit))?;
        }
        Ok(())
    }
}

/// Structs of numbers and texts are always JSON.
fn json(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap_or(Value::Null)
}

/// Rows that left a table with a commit.
#[derive(Default)]
struct Gone {
    rows: u64,
    quarantined: u64,
}

fn commit_of(stored: &StoredFact, table: String, version: u64, rows: u64) -> TableCommit {
    TableCommit { table, version, at: stored.fact.at, fact: stored.index, rows, quarantined: 0, source: None }
}

/// The versions that a fact about rows which were there already seals.
fn replacements(stored: &StoredFact) -> Vec<(TableCommit, Gone)> {
    let fact = &stored.fact;
    if let Ok(replayed) = fact.payload::<DatasetReplayed>() {
        let Replaced { accepted, quarantined } = replayed.replaced;
        let table = TableCommit {
            quarantined: replayed.quarantined,
            ..commit_of(stored, replayed.dataset.to_string(), replayed.version, replayed.accepted)
        };
        let set_aside = replayed.quarantine_version.map(|version| {
            let name = quarantine_of(replayed.dataset.as_str());
            (commit_of(stored, name, version, replayed.quarantined), Gone { rows: quarantined, quarantined: 0 })
        });
        return std::iter::once((table, Gone { rows: accepted, quarantined })).chain(set_aside).collect();
    }
    if let Ok(released) = fact.payload::<QuarantineReleased>() {
        let (table, quarantine) = (released.dataset.to_string(), quarantine_of(released.dataset.as_str()));
        return vec![
            (commit_of(stored, table, released.version, released.rows), Gone::default()),
            (commit_of(stored, quarantine, released.quarantine_version, 0), Gone::default()),
        ];
    }
    if let Ok(discarded) = fact.payload::<QuarantineDiscarded>() {
        let quarantine = quarantine_of(discarded.dataset.as_str());
        return vec![(commit_of(stored, quarantine, discarded.quarantine_version, 0), Gone::default())];
    }
    Vec::new()
}

/// The versions that a fact about new rows seals.
fn commits(stored: &StoredFact) -> Vec<(TableCommit, Gone)> {
    let fact = &stored.fact;
    let commit = |table: String, version: u64, rows: u64| commit_of(stored, table, version, rows);
    let commits = match fact.kind.as_str() {
        DatasetCommitted::KIND => fact.payload::<DatasetCommitted>().map_or_else(
            |_| Vec::new(),
            |sealed| {
                let table = TableCommit {
                    quarantined: sealed.quarantined,
                    source: Some(sealed.source.clone()),
                    ..commit(sealed.dataset.to_string(), sealed.version, sealed.accepted)
                };
                let quarantine = sealed.quarantine_version.map(|version| TableCommit {
                    source: Some(sealed.source.clone()),
                    ..commit(quarantine_of(sealed.dataset.as_str()), version, sealed.quarantined)
                });
                let raw = sealed.raw_version.map(|version| TableCommit {
                    source: Some(sealed.source.clone()),
                    ..commit(raw_of(sealed.dataset.as_str()), version, sealed.rows_in)
                });
                std::iter::once(table).chain(quarantine).chain(raw).collect()
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
    };
    commits.into_iter().map(|commit| (commit, Gone::default())).collect()
}
