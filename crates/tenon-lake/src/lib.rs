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

mod added;
mod branch;
mod changes;
mod clean;
mod commit;
mod compact;
mod conservation;
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crash_versions;
mod diff;
mod digest;
mod encode;
mod error;
mod files;
#[cfg(test)]
#[path = "../tests/it/fixture.rs"]
mod fixture;
mod hold;
mod json;
mod lake;
mod landed;
mod log;
mod merge;
mod moved;
mod place;
mod profile;
mod projection;
mod raw;
mod read;
mod records;
mod replay;
mod resolve;
mod restore;
mod sample;
mod set_aside;
mod sql;
mod store;
mod suggest;
mod table;
mod tag;
mod trial;
mod unique;
mod vacuum;
mod verdicts;

pub use branch::BranchTable;
pub use changes::Changes;
pub use conservation::{Conservation, Gap, Sums};
pub use contract::{Checked, SetAside, contract_schema, quarantine_schema};
pub use diff::{Sample, TableDiff};
pub use digest::rows_digest;
pub use error::LakeError;
pub use lake::{BatchSource, Checker, Lake, LakeOptions, WriteOutcome};
pub use merge::{Conflict, MergeOutcome};
pub use moved::{ColumnFigures, ColumnMove};
pub use profile::{ColumnProfile, Profile};
pub use projection::{TableCommit, TableState, projection};
pub use raw::raw_of;
pub use records::{BranchRecord, HoldRecord, TagRecord};
pub use resolve::{Released, Selection};
pub use set_aside::{QuarantineSums, QuarantinedRow, Resolution};
pub use suggest::suggest;
pub use trial::Trial;
pub use vacuum::{Kept, TableVacuum, VacuumPlan};

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
