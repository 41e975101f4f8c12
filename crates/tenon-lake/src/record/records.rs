//! Tags, branches, holds and vacuums, folded from facts.

use serde::{Deserialize, Serialize};
use tenon_core::fact::{
    BranchCommitted, BranchCreated, BranchDropped, BranchMerged, DatasetCommitted, HoldCreated, HoldReleased,
    LakeVacuumed, Payload, TableVersion, TagCreated, TagDeleted,
};
use tenon_core::{Principal, Timestamp};
use tenon_ledger::{DocsExt, DocsMut, DocsMutExt, LedgerError, StoredFact};

use crate::commit::operation_of;
use crate::record::projection::{COMMITS, TABLES, commits_of};
use crate::{branch_table, quarantine_of, raw_of};

/// Documents by tag: [`TagRecord`].
pub(crate) const TAGS: &str = "lake.tag";
/// Documents by branch: [`BranchRecord`].
pub(crate) const BRANCHES: &str = "lake.branch";
/// Documents by hold: [`HoldRecord`].
pub(crate) const HOLDS: &str = "lake.hold";
/// Documents by table: a list of [`VacuumRecord`].
pub(crate) const VACUUMS: &str = "lake.vacuum";
/// Documents by branch and fact: batches that landed on an open branch, as [`DatasetCommitted`].
pub(crate) const BATCHES: &str = "lake.branch_batch";
/// Documents by operation: batches that came in by a merge, as [`DatasetCommitted`].
pub(crate) const MERGED: &str = "lake.merged_batch";

/// A tag that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// What it pins.
    pub tag: TagCreated,
    /// When it was made.
    pub at: Timestamp,
    /// By whom.
    pub by: Principal,
    /// The index of the fact.
    pub fact: u64,
}

/// A branch that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchRecord {
    /// What it began with.
    pub branch: BranchCreated,
    /// When it was made.
    pub at: Timestamp,
    /// By whom.
    pub by: Principal,
    /// The index of the fact.
    pub fact: u64,
}

/// A hold that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// What it holds, and why.
    pub hold: HoldCreated,
    /// When it was made.
    pub at: Timestamp,
    /// By whom.
    pub by: Principal,
    /// The index of the fact.
    pub fact: u64,
}

/// What a vacuum left unreadable of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VacuumRecord {
    pub at: Timestamp,
    pub fact: u64,
    pub unreadable: Vec<(u64, u64)>,
}

/// Folds a fact in; others are none of its business.
pub(crate) fn apply(docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
    let StoredFact { index, fact } = stored;
    let (at, by, index) = (fact.at, fact.by.clone(), *index);
    // A payload of a newer shape than this program knows is for a newer program to fold.
    match fact.kind.as_str() {
        TagCreated::KIND => {
            let Ok(tag) = fact.payload::<TagCreated>() else { return Ok(()) };
            docs.write(TAGS, tag.tag.clone().as_str(), &TagRecord { tag, at, by, fact: index })
        }
        TagDeleted::KIND => {
            let Ok(deleted) = fact.payload::<TagDeleted>() else { return Ok(()) };
            docs.delete(TAGS, deleted.tag.as_str())
        }
        HoldCreated::KIND => {
            let Ok(hold) = fact.payload::<HoldCreated>() else { return Ok(()) };
            docs.write(HOLDS, hold.hold.clone().as_str(), &HoldRecord { hold, at, by, fact: index })
        }
        HoldReleased::KIND => {
            let Ok(released) = fact.payload::<HoldReleased>() else { return Ok(()) };
            docs.delete(HOLDS, released.hold.as_str())
        }
        LakeVacuumed::KIND => {
            let Ok(vacuumed) = fact.payload::<LakeVacuumed>() else { return Ok(()) };
            for table in vacuumed.tables {
                let mut known: Vec<VacuumRecord> = docs.read(VACUUMS, &table.table)?.unwrap_or_default();
                known.push(VacuumRecord { at, fact: index, unreadable: table.unreadable });
                docs.write(VACUUMS, &table.table, &known)?;
            }
            Ok(())
        }
        BranchCreated::KIND => {
            let Ok(branch) = fact.payload::<BranchCreated>() else { return Ok(()) };
            let record = BranchRecord { branch, at, by, fact: index };
            docs.write(BRANCHES, record.branch.branch.clone().as_str(), &record)
        }
        BranchCommitted::KIND => {
            let Ok(committed) = fact.payload::<BranchCommitted>() else { return Ok(()) };
            docs.write(BATCHES, &format!("{}@{index:020}", committed.branch), &committed.commit)
        }
        BranchMerged::KIND => {
            let Ok(merged) = fact.payload::<BranchMerged>() else { return Ok(()) };
            let commits: Vec<(String, DatasetCommitted)> = docs.list(BATCHES, &batches_of(merged.branch.as_str()))?;
            close(docs, merged.branch.as_str())?;
            for (_, commit) in commits {
                let version = |table: &str| merged.tables.iter().find(|m| m.table == table).map(|m| m.version);
                let sealed = DatasetCommitted {
                    version: version(commit.dataset.as_str()).unwrap_or(commit.version),
                    quarantine_version: version(&quarantine_of(commit.dataset.as_str())),
                    raw_version: version(&raw_of(commit.dataset.as_str())),
                    ..commit
                };
                let operation = operation_of(&sealed.dataset, sealed.source_digest);
                docs.write(MERGED, &operation.to_string(), &sealed)?;
            }
            Ok(())
        }
        BranchDropped::KIND => {
            let Ok(dropped) = fact.payload::<BranchDropped>() else { return Ok(()) };
            close(docs, dropped.branch.as_str())
        }
        _ => Ok(()),
    }
}

/// The prefix of the keys of a branch's batches.
pub(crate) fn batches_of(branch: &str) -> String {
    format!("{branch}@")
}

/// Takes a branch and its tables out of the current state; the facts keep them.
fn close(docs: &mut dyn DocsMut, branch: &str) -> Result<(), LedgerError> {
    let Some(record) = docs.read::<BranchRecord>(BRANCHES, branch)? else { return Ok(()) };
    docs.delete(BRANCHES, branch)?;
    for (key, _) in docs.scan(BATCHES, &batches_of(branch))? {
        docs.delete(BATCHES, &key)?;
    }
    for TableVersion { dataset, .. } in &record.branch.tables {
        for table in [dataset.to_string(), quarantine_of(dataset.as_str()), raw_of(dataset.as_str())] {
            let table = branch_table(branch, &table);
            docs.delete(TABLES, &table)?;
            for (key, _) in docs.scan(COMMITS, &commits_of(&table))? {
                docs.delete(COMMITS, &key)?;
            }
        }
    }
    Ok(())
}
