//! Copy on write: files that hold rows which change or go are written again without these rows. One file at a time is in
//! memory, and what is left of small ones.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use tenon_core::id::OperationId;

use super::keys::{KeyColumns, Winners};
use crate::LakeError;
use crate::commit::Files;
use crate::delta::added::decode;
use crate::delta::log::DataFile;
use crate::delta::table::Table;
use crate::encode::ROWS_A_FILE;
use crate::upkeep::compact::aligned;

/// What is left of a file of fewer rows is written together with others, so that files stay few.
const FEW_ROWS: usize = 1 << 16;

/// The files of a commit on their way.
pub(super) struct Rewrite<'a> {
    table: &'a Arc<Table>,
    operation: OperationId,
    /// The table's schema from this commit on.
    schema: SchemaRef,
    /// Rows that wait to be written together.
    waiting: Vec<RecordBatch>,
    pub added: Vec<DataFile>,
    pub removed: Vec<String>,
    /// Rows that did not change and were written again.
    pub rewritten: u64,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(table: &'a Arc<Table>, operation: OperationId, schema: SchemaRef) -> Self {
        let (waiting, added, removed) = (Vec::new(), Vec::new(), Vec::new());
        Self { table, operation, schema, waiting, added, removed, rewritten: 0 }
    }

    /// Writes the rows that land, and again what is left of files that held others of their keys. What is in `added` was
    /// written also where this fails.
    pub(super) async fn all(
        &mut self,
        version: Option<u64>,
        columns: &KeyColumns,
        winners: &mut Winners,
        rows: &RecordBatch,
    ) -> Result<(), LakeError> {
        self.wait(vec![rows.clone()])?;
        if let Some(version) = version.filter(|_| !winners.is_empty()) {
            let spread = winners.spread(columns).map_err(|error| self.misfit(&error))?;
            for file in self.table.files(version).await?.into_values() {
                if spread.may_be_in(&file.stats) {
                    self.file(file, columns, winners).await?;
                }
            }
        }
        self.write_waiting().await
    }

    /// Takes one file out and keeps what stays of it, unless all of it stays.
    async fn file(&mut self, file: DataFile, columns: &KeyColumns, winners: &mut Winners) -> Result<(), LakeError> {
        let bytes = self.table.store().data(&file.path).await?;
        let (columns, mut so_far) = (columns.clone(), std::mem::take(winners));
        let work = move || {
            let left = without(&bytes, &columns, &mut so_far);
            (left, so_far)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (left, so_far) = done.map_err(|error| LakeError::Interrupted(error.to_string()))?;
        *winners = so_far;
        let name = self.table.name.clone();
        let left = left.map_err(|source| LakeError::Table { table: name, doing: "read", source })?;
        let Some(left) = left else { return Ok(()) };
        self.removed.push(file.path);
        let rows: usize = left.iter().map(RecordBatch::num_rows).sum();
        self.rewritten += rows as u64;
        // What is left of a large file stays a file of its own: its bounds are worth something.
        if rows >= FEW_ROWS {
            let left = self.aligned(left)?;
            return self.write(left).await;
        }
        self.wait(left)?;
        match self.waiting.iter().map(RecordBatch::num_rows).sum::<usize>() < ROWS_A_FILE {
            true => Ok(()),
            false => self.write_waiting().await,
        }
    }

    fn wait(&mut self, rows: Vec<RecordBatch>) -> Result<(), LakeError> {
        let rows = self.aligned(rows)?;
        self.waiting.extend(rows);
        Ok(())
    }

    /// Rows in the table's schema; pieces without any are left out.
    fn aligned(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, LakeError> {
        let some = rows.into_iter().filter(|rows| rows.num_rows() > 0);
        let aligned = some.map(|rows| aligned(&rows, &self.schema).map_err(|error| self.misfit(&error)));
        aligned.collect()
    }

    async fn write_waiting(&mut self) -> Result<(), LakeError> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() { Ok(()) } else { self.write(waiting).await }
    }

    async fn write(&mut self, rows: Vec<RecordBatch>) -> Result<(), LakeError> {
        let files = Files::encoded(self.operation, self.added.len(), Arc::clone(&self.schema), rows).await;
        let files = files.map_err(|error| LakeError::written(&self.table.name, error))?;
        self.added.extend(files.store(self.table, None).await?.added);
        Ok(())
    }

    fn misfit(&self, error: &arrow::error::ArrowError) -> LakeError {
        LakeError::Misfit { table: self.table.name.clone(), what: error.to_string() }
    }
}

/// The rows of a file that have none of the keys; none where that is all of them. The keys' columns are looked at first.
fn without(
    bytes: &Bytes,
    columns: &KeyColumns,
    winners: &mut Winners,
) -> Result<Option<Vec<RecordBatch>>, Box<dyn std::error::Error + Send + Sync>> {
    let names: Vec<&str> = columns.names.iter().map(String::as_str).collect();
    let mut stays = Vec::new();
    for keys in decode(bytes.clone(), &names)? {
        // A file from before the key's columns were declared holds none of the keys.
        if !columns.are_in(&keys) {
            return Ok(None);
        }
        stays.push(winners.others(&columns.encoded(&keys)?));
    }
    if stays.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut left = Vec::new();
    for (rows, stays) in decode(bytes.clone(), &[])?.into_iter().zip(stays) {
        left.push(match stays {
            Some(stays) => filter_record_batch(&rows, &stays)?,
            None => rows,
        });
    }
    Ok(Some(left))
}
