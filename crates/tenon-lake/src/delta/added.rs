//! What one version of a table added: its own files, found in its log entry, whatever the table has grown to since.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::delta::log::Entry;
use crate::delta::table::Table;
use crate::{Lake, LakeError};

impl Lake {
    /// The rows that one version added, of `columns` (all where there are none), in the order in which they were written.
    /// Costs what these rows cost, not what the table does: for those who follow a table commit by commit.
    ///
    /// # Errors
    /// [`LakeError::NoVersion`] when the table has no such version; otherwise when its files cannot be read.
    pub async fn added(&self, table: &str, version: u64, columns: &[&str]) -> Result<Vec<RecordBatch>, LakeError> {
        let handle = self.table(table).await?;
        let Some(entry) = handle.store().entry(version).await? else {
            let newest = handle.head.lock().await.version;
            return Err(LakeError::NoVersion { table: table.to_owned(), version, newest });
        };
        let mut rows = Vec::new();
        let entry = Entry::parse(&entry);
        if entry.rearranges {
            return Ok(rows);
        }
        for path in entry.added {
            let bytes = match handle.store().data(&path).await {
                Ok(bytes) => bytes,
                Err(error) => return Err(self.vacuumed(table, version)?.unwrap_or(error)),
            };
            rows.extend(decode(bytes, columns).map_err(|source| LakeError::Table {
                table: table.to_owned(),
                doing: "read",
                source,
            })?);
        }
        Ok(rows)
    }
}

impl Lake {
    /// The rows of one data file of a table.
    pub(crate) async fn rows_of_file(&self, table: &Table, path: &str) -> Result<Vec<RecordBatch>, LakeError> {
        let bytes = table.store().data(path).await?;
        decode(bytes, &[]).map_err(|source| LakeError::Table { table: table.name.clone(), doing: "read", source })
    }
}

pub(crate) fn decode(
    bytes: Bytes,
    columns: &[&str],
) -> Result<Vec<RecordBatch>, Box<dyn std::error::Error + Send + Sync>> {
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    if !columns.is_empty() {
        let wanted = ProjectionMask::columns(reader.parquet_schema(), columns.iter().copied());
        reader = reader.with_projection(wanted);
    }
    Ok(reader.build()?.collect::<Result<_, _>>()?)
}
