//! The files of a commit: encoded, stored, and taken back where the commit does not come to be.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tenon_core::id::OperationId;

use crate::LakeError;
use crate::encode::{Encoded, encode};
use crate::log::DataFile;
use crate::table::{Change, Table};

/// Rows, encoded, and their names in the table's folder.
pub(crate) struct Files {
    pub(super) schema: SchemaRef,
    files: Vec<(DataFile, Vec<u8>)>,
}

/// An encoded file under the name that follows from its operation.
fn named(operation: OperationId, at: usize, Encoded { bytes, stats }: Encoded) -> (DataFile, Vec<u8>) {
    (DataFile { path: format!("part-{at:05}-{operation}.snappy.parquet"), bytes: bytes.len(), stats }, bytes)
}

impl Files {
    /// Encodes rows; file names follow from the operation, so that doing it again writes the same files.
    pub(crate) fn encode(
        operation: OperationId,
        schema: SchemaRef,
        rows: &[RecordBatch],
        unique: &[String],
    ) -> Result<Self, parquet::errors::ParquetError> {
        let files = encode(&schema, rows, unique)?.into_iter().enumerate();
        let files = files.map(|(at, file)| named(operation, at, file)).collect();
        Ok(Self { schema, files })
    }

    /// Encodes rows in a thread of its own, as the files of an operation from number `first` on.
    pub(crate) async fn encoded(
        operation: OperationId,
        first: usize,
        schema: SchemaRef,
        rows: Vec<RecordBatch>,
    ) -> Result<Self, parquet::errors::ParquetError> {
        let columns = Arc::clone(&schema);
        let encoded = tokio::task::spawn_blocking(move || encode(&columns, &rows, &[])).await;
        let encoded = encoded.map_err(|error| parquet::errors::ParquetError::External(Box::new(error)))??;
        let files = encoded.into_iter().enumerate().map(|(at, file)| named(operation, first + at, file)).collect();
        Ok(Self { schema, files })
    }

    /// The same for rows of several schemas, each group of one; together they have the columns of all.
    pub(super) fn encode_groups(
        operation: OperationId,
        groups: Vec<Vec<RecordBatch>>,
    ) -> Result<Self, parquet::errors::ParquetError> {
        let mut fields: Vec<Arc<Field>> = Vec::new();
        let mut files: Vec<(DataFile, Vec<u8>)> = Vec::new();
        for group in groups {
            let Some(schema) = group.first().map(RecordBatch::schema) else { continue };
            for field in schema.fields() {
                if !fields.iter().any(|known| known.name() == field.name()) {
                    // What a source calls a column is its file's affair.
                    fields.push(Arc::new(Field::new(field.name(), field.data_type().clone(), true)));
                }
            }
            for (mut file, bytes) in Self::encode(operation, schema, &group, &[])?.files {
                file.path = format!("part-{:05}-{operation}.snappy.parquet", files.len());
                files.push((file, bytes));
            }
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), files })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes the files into the table's folder, where no log names them yet. Half of them help nobody: when one cannot
    /// be written, the others go again.
    pub(crate) async fn store(self, table: &Table, schema: Option<SchemaRef>) -> Result<Change, LakeError> {
        let mut added = Vec::with_capacity(self.files.len());
        for (file, bytes) in self.files {
            if let Err(error) = table.store().put_data(&file.path, bytes).await {
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
