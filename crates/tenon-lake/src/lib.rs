//! Delta tables: contracts, quarantine, snapshots.
//!
//! STUB OF THE PUBLIC API — to be filled in; names and signatures below are what the other crates build on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tenon_company::Catalog;
use tenon_core::fact::{DatasetCommitted, DatasetRefused};
use tenon_core::id::OperationId;
use tenon_core::{AsOf, Clock, DatasetName, Digest, Principal};
use tenon_ledger::Ledger;

/// What a lake needs from outside.
pub struct LakeOptions {
    /// The folder with the tables.
    pub root: PathBuf,
    /// Where commits are sealed.
    pub ledger: Ledger,
    /// The datasets.
    pub catalog: Catalog,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// The lake: every dataset's table, and the tables of the program itself. Cheap to clone.
#[derive(Clone)]
pub struct Lake {}

/// Where a batch came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSource {
    /// For people: `data/flights/2013-01.parquet`, `push`.
    pub name: String,
    /// The digest of its bytes; a batch with the same dataset and digest is taken once.
    pub digest: Digest,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub enum WriteOutcome {
    /// It landed; the rows that did, in the table's schema.
    Committed { fact: DatasetCommitted, accepted: Vec<RecordBatch> },
    /// It had landed before.
    Already(DatasetCommitted),
    /// It was refused whole.
    Refused(DatasetRefused),
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// To be replaced.
    #[error("{0}")]
    Other(String),
}

impl Lake {
    /// Opens the lake and seals or undoes what a crash left unsealed.
    pub async fn open(_options: LakeOptions) -> Result<Self, LakeError> { todo!() }
    /// Checks a batch against the dataset's contract and commits it: rows that keep it to the table, rows that break it to
    /// the quarantine, then the fact that seals both.
    pub async fn write(&self, _by: &Principal, _dataset: &DatasetName, _source: &BatchSource, _rows: Vec<RecordBatch>) -> Result<WriteOutcome, LakeError> { todo!() }
    /// Appends rows to a table of the program itself (`decisions_late_arrival`), once for an operation. Returns the table's version.
    pub async fn append_internal(&self, _table: &str, _rows: Vec<RecordBatch>, _operation: OperationId) -> Result<u64, LakeError> { todo!() }
    /// The schema of a dataset (a view's is planned from its SQL).
    pub async fn schema(&self, _dataset: &str) -> Result<SchemaRef, LakeError> { todo!() }
    /// The newest version of a table at or before `as_of`; none when it has no commit by then.
    pub async fn version(&self, _table: &str, _as_of: AsOf) -> Result<Option<u64>, LakeError> { todo!() }
    /// SQL over all datasets, their quarantines (`flights__quarantine`) and the program's tables, as of a moment or version.
    pub async fn query(&self, _sql: &str, _as_of: AsOf) -> Result<Vec<RecordBatch>, LakeError> { todo!() }
    /// The same at exact versions of the tables that are named (what a training set pinned); others are not visible.
    pub async fn query_at(&self, _sql: &str, _tables: &[(String, u64)]) -> Result<Vec<RecordBatch>, LakeError> { todo!() }
    /// The datasets (views resolved down to tables) that a query reads.
    pub async fn tables_of(&self, _sql: &str) -> Result<Vec<String>, LakeError> { todo!() }
    /// A query over given rows that stand in for one dataset; nothing else is visible. For streaming a feature view's source.
    pub async fn query_over(&self, _sql: &str, _dataset: &str, _rows: &[RecordBatch]) -> Result<Vec<RecordBatch>, LakeError> { todo!() }
    /// Writes a snapshot as one Parquet file. Returns rows written.
    pub async fn export(&self, _table: &str, _as_of: AsOf, _to: &Path) -> Result<u64, LakeError> { todo!() }
}
