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
//! the batch again is always safe: it is recognised by its digest.

#[cfg(test)]
extern crate self as tenon_lake;

mod added;
mod commit;
mod conservation;
mod contract;
#[cfg(test)]
mod crash;
mod digest;
mod encode;
mod error;
#[cfg(test)]
#[path = "../tests/it/fixture.rs"]
mod fixture;
mod lake;
mod landed;
mod log;
mod projection;
mod read;
mod store;
mod table;

pub use conservation::{Conservation, Gap, Sums};
pub use contract::{Checked, SetAside, contract_schema, quarantine_schema};
pub use digest::rows_digest;
pub use error::LakeError;
pub use lake::{BatchSource, Checker, Lake, LakeOptions, WriteOutcome};
pub use projection::{TableCommit, TableState, projection};

/// The name of the table with the rows that broke a dataset's contract.
pub fn quarantine_of(dataset: &str) -> String {
    format!("{dataset}{QUARANTINE}")
}

const QUARANTINE: &str = "__quarantine";
