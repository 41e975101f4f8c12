//! Delta tables: contracts, quarantine, snapshots.
//!
//! One Delta table a dataset below the lake's root, and one for the rows that broke its contract
//! (`flights__quarantine`); the program's own tables (`decisions_late_arrival`) stand in folders that begin with `_`.
//!
//! # When a batch has landed
//! Three writes, in this order, all carrying the same operation: the quarantine's commit, the table's commit, and the
//! fact `dataset.committed` that seals both. A batch is *accepted* when it is checked, *durable* when the table's commit
//! is, and *landed* when the fact is: readers see sealed versions only. What a crash leaves between two of the writes is
//! settled when the lake is opened, or before the next commit of the dataset, whichever comes first: a table's commit
//! without its fact is sealed (the commit carries the fact), a quarantine's commit without the table's is undone. Giving
//! the batch again is always safe: it is recognised by its digest. Where a dataset keeps its rows as they came
//! (`flights__raw`), their commit comes first, and is undone like the quarantine's.
//!
//! # When rows are replaced
//! A replay and a release change rows that are there. The data files of both tables are written first; then the table's
//! commit decides. It carries the fact, and what is still to be done to the quarantine, so that a crash after it is settled
//! by doing that, and one before it leaves nothing but files that no log names.
//!
//! # When rows change
//! A dataset that follows the changes of another database's rows holds one row a key. Its batches are committed like any
//! other, with one difference: files that hold rows which change or go are written again without them, and the table's one
//! commit puts the new files in the place of the old ones.

#[cfg(test)]
extern crate self as tenon_lake;

mod changes;
mod clean;
mod commit;
mod contract;
#[cfg(test)]
mod crash;
mod delta;
mod encode;
mod engine;
mod error;
#[cfg(test)]
#[path = "../tests/it/fixture.rs"]
mod fixture;
mod json;
mod lake;
mod landing;
mod look;
mod quarantine;
mod raw;
mod read;
mod record;
mod replay;
mod sql;
mod upkeep;
mod versions;

pub use changes::Changes;
pub use contract::{Checked, SetAside, arrow_type, contract_schema, quarantine_schema};
pub use error::LakeError;
pub use lake::{BatchSource, Checker, Lake, LakeOptions, SPILL_FOLDER, WriteOutcome};
pub use look::profile::{ColumnProfile, Profile};
pub use look::suggest::suggest;
pub use look::trial::{Trial, TriedBatch};
pub use quarantine::resolve::{Released, Selection};
pub use quarantine::set_aside::{QuarantineSums, QuarantinedRow, Resolution};
pub use raw::raw_of;
pub use record::conservation::{Conservation, Gap, Sums};
pub use record::digest::rows_digest;
pub use record::projection::{TableCommit, TableState, projection};
pub use record::records::{BranchRecord, HoldRecord, TagRecord};
pub use upkeep::vacuum::{Kept, TableVacuum, VacuumPlan};
pub use versions::branch::BranchTable;
pub use versions::diff::{Sample, TableDiff};
pub use versions::merge::{Conflict, MergeOutcome};
pub use versions::moved::{ColumnFigures, ColumnMove};

/// The name of the table with the rows that broke a dataset's contract.
pub fn quarantine_of(dataset: &str) -> String {
    format!("{dataset}{QUARANTINE}")
}

const QUARANTINE: &str = "__quarantine";
/// The ending of the table with a dataset's rows as they came.
const RAW: &str = "__raw";

/// The dataset of a table that stands beside one, or the name itself.
fn dataset_of(table: &str) -> &str {
    table.strip_suffix(QUARANTINE).or_else(|| table.strip_suffix(RAW)).unwrap_or(table)
}

/// The name of a dataset's table on a branch. No name that people give has a slash.
pub(crate) fn branch_table(branch: &str, table: &str) -> String {
    format!("{branch}/{table}")
}

/// The folder of the branches' tables.
pub(crate) const BRANCHES_FOLDER: &str = "_branches";
