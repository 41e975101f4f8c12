//! The files of a commit: encoded, stored, and taken back where the commit does not come to be.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;
use tenon_core::id::OperationId;

use crate::LakeError;
use crate::delta::log::DataFile;
use crate::delta::table::{Change, Table};
use crate::encode::{Encoded, encode, file_ranges};
use crate::raw::{ROW_NUMBER, RawRows, file_schema};

/// Rows, encoded, and their names in the table's folder.
#[derive(Clone)]
pub(crate) struct Files {
    pub(super) schema: SchemaRef,
    files: Vec<(String, Encoded)>,
}

/// The name of a file, which follows from its operation.
fn name(operation: OperationId, at: usize) -> String {
    format!("part-{at:05}-{operation}.snappy.parquet")
}

impl Files {
    /// Encodes rows; file names follow from the operation, so that doing it again writes the same files.
    pub(crate) fn encode(
        operation: OperationId,
        schema: SchemaRef,
        rows: &[RecordBatch],
        unique: &[String],
    ) -> Result<Self, ParquetError> {
        let files = encode(&schema, rows, unique)?.into_iter().enumerate();
        let files = files.map(|(at, file)| (name(operation, at), file)).collect();
        Ok(Self { schema, files })
    }

    /// Encodes rows in a thread of its own, as the files of an operation from number `first` on.
    pub(crate) async fn encoded(
        operation: OperationId,
        first: usize,
        schema: SchemaRef,
        rows: Vec<RecordBatch>,
    ) -> Result<Self, ParquetError> {
        let columns = Arc::clone(&schema);
        let encoded = tokio::task::spawn_blocking(move || encode(&columns, &rows, &[])).await;
        let encoded = encoded.map_err(|error| ParquetError::External(Box::new(error)))??;
        let files = encoded.into_iter().enumerate().map(|(at, file)| (name(operation, first + at), file)).collect();
        Ok(Self { schema, files })
    }

    /// Encodes rows as they came. What the files of the clean rows have already is copied from them.
    pub(super) fn encode_raw(operation: OperationId, raw: &RawRows, clean: &Self) -> Result<Self, ParquetError> {
        let mut encoded = Vec::new();
        if let Some(landed) = &raw.landed {
            for (range, (_, clean)) in file_ranges(landed.rows.num_rows()).zip(&clean.files) {
                encoded.push(landed.encode(range, clean)?);
            }
        }
        for group in &raw.others {
            let Some(first) = group.first() else { continue };
            encoded.extend(encode(&file_schema(first), group, &[ROW_NUMBER.to_owned()])?);
        }
        let files = encoded.into_iter().enumerate().map(|(at, file)| (name(operation, at), file)).collect();
        Ok(Self { schema: raw.schema(), files })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes the files into the table's folder, where no log names them yet. Half of them help nobody: when one cannot
    /// be written, the others go again.
    pub(crate) async fn store(self, table: &Table, schema: Option<SchemaRef>) -> Result<Change, LakeError> {
        let mut added = Vec::with_capacity(self.files.len());
        for (path, encoded) in self.files {
            let file = DataFile { path, bytes: encoded.bytes.len(), stats: encoded.statistics() };
            if let Err(error) = table.store().put_data(&file.path, encoded.bytes).await {
                discard(table, &added).await;
                return Err(error);
            }
            added.push(file);
        }
        Ok(Change { added, schema, ..Change::default() })
    }
}

/// Takes back what was stored of changes of which one failed, and returns why.
pub(super) async fn all_or_none(changes: Vec<(&Table, Result<Change, LakeError>)>) -> LakeError {
    let mut failed = None;
    for (table, stored) in changes {
        match stored {
            Ok(stored) => discard(table, &stored.added).await,
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.unwrap_or_else(|| LakeError::Interrupted("a file was not stored".to_owned()))
}

/// Removes files that no log names.
pub(crate) async fn discard(table: &Table, files: &[DataFile]) {
    for DataFile { path, .. } in files {
        table.store().delete_data(path).await.ok();
    }
}
