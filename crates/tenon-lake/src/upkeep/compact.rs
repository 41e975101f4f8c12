//! Compaction: the rows of many small files are written again as few large ones.
//!
//! The commit says `dataChange: false`, so that nobody who follows the table takes old rows for new ones. Rows keep the
//! order in which their files came. Versions from before stay readable until a vacuum takes their files.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tenon_core::fact::DatasetCompacted;
use tenon_core::id::OperationId;
use tenon_core::{DatasetName, Principal};

use crate::commit::{Files, Step};
use crate::delta::added::decode;
use crate::delta::log::{Note, Seal, Sealing};
use crate::delta::table::{Change, Head, Purpose, Table};
use crate::encode::ROWS_A_FILE;
use crate::{Lake, LakeError, quarantine_of, raw_of};

/// A small file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Small {
    path: String,
    bytes: u64,
    rows: u64,
}

impl Lake {
    /// Takes the small files of a dataset's table, and of its quarantine, together, to files of about `target_bytes`.
    /// Files of at least half of that stay as they are. Gives back what was done; nothing where there is nothing to do.
    ///
    /// # Errors
    /// [`LakeError`] when nothing has changed; compacting again is safe.
    pub async fn compact(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        target_bytes: u64,
    ) -> Result<Vec<DatasetCompacted>, LakeError> {
        self.table_spec(dataset)?;
        let (table, quarantine) =
            (self.table(dataset.as_str()).await?, self.table(&quarantine_of(dataset.as_str())).await?);
        let raw = self.table(&raw_of(dataset.as_str())).await?;
        let mut head = table.head.lock().await;
        let (mut quarantine_head, mut raw_head) = (quarantine.head.lock().await, raw.head.lock().await);
        let beside = Some((&raw, &mut *raw_head));
        self.settle_locked((&table, &mut head), (&quarantine, &mut quarantine_head), beside).await?;
        drop(raw_head);
        let mut done = Vec::new();
        done.extend(self.compact_table(by, dataset, (&table, &mut head), target_bytes).await?);
        done.extend(self.compact_table(by, dataset, (&quarantine, &mut quarantine_head), target_bytes).await?);
        Ok(done)
    }

    /// The datasets whose declaration says that their small files are to be taken together now, and to what size.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub async fn due_for_compaction(&self) -> Result<Vec<(DatasetName, u64)>, LakeError> {
        let mut due = Vec::new();
        for dataset in self.table_datasets() {
            let Some(declared) = self.table_spec(&dataset)?.spec.compaction else { continue };
            let target_bytes = u64::from(declared.target_mb) << 20;
            let Some(version) = self.sealed_version(dataset.as_str())? else { continue };
            let files = self.table(dataset.as_str()).await?.in_order(version).await?;
            let small: usize = groups(files, target_bytes).iter().map(Vec::len).sum();
            if small >= declared.small_files as usize {
                due.push((dataset, target_bytes));
            }
        }
        Ok(due)
    }

    async fn compact_table(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        (table, head): (&Arc<Table>, &mut Head),
        target_bytes: u64,
    ) -> Result<Option<DatasetCompacted>, LakeError> {
        let (Some(version), Some(schema)) = (head.version, head.schema.clone()) else { return Ok(None) };
        let groups = groups(table.in_order(version).await?, target_bytes);
        if groups.is_empty() {
            return Ok(None);
        }
        let operation = OperationId::derive(&["dataset.compact", &table.name, &version.to_string()]);
        let mut fact = DatasetCompacted {
            table: table.name.clone(),
            version: 0,
            files_before: groups.iter().map(|group| group.len() as u64).sum(),
            files_after: groups.len() as u64,
            rows: groups.iter().flatten().map(|small| small.rows).sum(),
        };
        let removed = groups.iter().flatten().map(|small| small.path.clone()).collect();
        let mut change = Change { removed, purpose: Purpose::Compact, ..Change::default() };
        // One group after the other, so that no more than one is in memory.
        for group in groups {
            let rows = rows_of(table, &group, &schema).await?;
            let written = |error| LakeError::written(&table.name, error);
            let files = Files::encoded(operation, change.added.len(), Arc::clone(&schema), rows).await;
            change.added.extend(files.map_err(written)?.store(table, None).await?.added);
        }
        fact.files_after = change.added.len() as u64;
        self.reached(Step::Encoded)?;
        let pod = Some(self.table_spec(dataset)?.pod);
        let seal = |fact: &DatasetCompacted| Seal { by: by.clone(), pod: pod.clone(), fact: Sealing::of(fact) };
        let note = |version| {
            let compacted = DatasetCompacted { version, ..fact.clone() };
            Note { operation, seal: Some(seal(&compacted)), then: None }
        };
        fact.version = table.commit(head, change, self.inner.clock.now(), note).await?;
        self.reached(Step::Landed)?;
        self.seal(&table.name, operation, seal(&fact)).await?;
        head.unsealed.remove(&operation);
        Ok(Some(fact))
    }
}

impl Table {
    /// The files of a version in the order in which they came.
    async fn in_order(&self, version: u64) -> Result<Vec<Small>, LakeError> {
        let snapshot = self.at(version).await?;
        let state = snapshot.snapshot().map_err(|error| LakeError::read(&self.name, error))?;
        let mut files: Vec<(i64, Small)> = state
            .log_data()
            .into_iter()
            .map(|file| {
                let rows = file.num_records().unwrap_or(0) as u64;
                let (path, bytes) = (file.path().into_owned(), u64::try_from(file.size()).unwrap_or(0));
                (file.modification_time(), Small { path, bytes, rows })
            })
            .collect();
        files.sort_by(|one, other| (one.0, &one.1.path).cmp(&(other.0, &other.1.path)));
        Ok(files.into_iter().map(|(_, file)| file).collect())
    }
}

/// The rows of some files, in order.
async fn rows_of(table: &Table, files: &[Small], schema: &SchemaRef) -> Result<Vec<RecordBatch>, LakeError> {
    let failed = |source| LakeError::Table { table: table.name.clone(), doing: "read", source };
    let mut rows = Vec::new();
    for file in files {
        for batch in decode(table.store().data(&file.path).await?, &[]).map_err(failed)? {
            rows.push(aligned(&batch, schema).map_err(|error| failed(error.into()))?);
        }
    }
    Ok(rows)
}

/// Small files to be taken together, in order; alone, a file stays.
fn groups(files: Vec<Small>, target_bytes: u64) -> Vec<Vec<Small>> {
    let mut groups: Vec<Vec<Small>> = Vec::new();
    let (mut bytes, mut rows) = (0, 0);
    for file in files.into_iter().filter(|file| file.bytes < target_bytes / 2 && file.rows < ROWS_A_FILE as u64 / 2) {
        let fits = bytes + file.bytes <= target_bytes && rows + file.rows <= ROWS_A_FILE as u64;
        if !fits || groups.is_empty() {
            groups.push(Vec::new());
            (bytes, rows) = (0, 0);
        }
        (bytes, rows) = (bytes + file.bytes, rows + file.rows);
        if let Some(group) = groups.last_mut() {
            group.push(file);
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Rows in the table's schema of today: a column that came later has no values in them.
pub(crate) fn aligned(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => arrow::compute::cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_, _>>()?, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_taken_together_up_to_the_target_and_large_ones_stay() {
        let file = |path: &str, bytes| Small { path: path.to_owned(), bytes, rows: 1 };
        let files = vec![file("a", 40), file("b", 90), file("c", 45), file("d", 30), file("e", 20), file("f", 49)];
        let taken = groups(files, 100);
        let names: Vec<Vec<&str>> =
            taken.iter().map(|group| group.iter().map(|file| file.path.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "c"], vec!["d", "e", "f"]]);
        assert!(groups(vec![file("alone", 1)], 100).is_empty());
    }
}
