//! The batches of a replay, one at a time: read, checked, written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{concat, concat_batches, filter_record_batch, sort_to_indices, take, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use tenon_core::id::OperationId;
use tenon_core::{DatasetName, Digest};

use super::authors::{files_name, writer};
use super::balance::Balance;
use super::{Batch, Written};
use crate::commit::{Files, discard};
use crate::contract::{Checked, KeySet, Rules, SeenRows, Tally, quarantine_schema};
use crate::delta::added::decode;
use crate::delta::log::{DataFile, Entry};
use crate::delta::table::Table;
use crate::landing::landed::Landed;
use crate::raw::as_they_came;
use crate::{Lake, LakeError, raw_of, rows_digest};

/// What came of all batches.
pub(super) struct Outcome {
    pub tally: Tally,
    /// Rows that are in the table now and were not, and the other way round.
    pub moved: (u64, u64),
    pub digest: Digest,
    pub quarantine_removed: Vec<String>,
    pub quarantine_gone: u64,
    pub accepted_gone: u64,
}

/// A replay under way.
pub(super) struct Run<'a> {
    pub lake: &'a Lake,
    pub dataset: &'a DatasetName,
    pub rules: &'a Arc<Rules>,
    pub operation: OperationId,
    pub table: &'a Arc<Table>,
    pub quarantine: &'a Arc<Table>,
}

/// Rows with their numbers in the batch, in the order of these: a batch's files are not in it.
fn in_order(read: Vec<(Int64Array, RecordBatch)>) -> Result<Vec<(Int64Array, RecordBatch)>, ArrowError> {
    let Some((_, first)) = read.first() else { return Ok(read) };
    // Pieces that their source told otherwise each have files of their own, one after the other.
    if read.len() == 1 || read.iter().any(|(_, rows)| rows.schema_ref() != first.schema_ref()) {
        return Ok(read);
    }
    let numbers = concat(&read.iter().map(|(numbers, _)| numbers as &dyn Array).collect::<Vec<_>>())?;
    let rows = concat_batches(first.schema_ref(), read.iter().map(|(_, rows)| rows))?;
    let order = sort_to_indices(&numbers, None, None)?;
    let numbers = take(&numbers, &order, None)?;
    Ok(vec![(numbers.as_primitive::<Int64Type>().clone(), take_record_batch(&rows, &order)?)])
}

/// A row of a batch: the batch's digest, and the row's number.
type RowKey = (String, i64);

impl Run<'_> {
    pub(super) async fn all(
        &self,
        batches: &[Batch],
        replaced: &[DataFile],
        stays: &[DataFile],
        mut landed: Option<Landed>,
        written: &mut Written,
    ) -> Result<Outcome, LakeError> {
        let mut kept = HashMap::new();
        for batch in batches {
            kept.insert(batch.digest.to_string(), self.kept_numbers(batch).await?);
        }
        let resolved = self.rewrite_quarantine(&kept, written).await?;
        let references = Arc::new(self.lake.references(self.rules, None).await?);
        if let Some(landed) = landed.as_mut().filter(|landed| landed.dedups()) {
            for file in stays {
                for rows in self.read(self.table, &file.path).await? {
                    let rows = in_schema(&rows, &self.rules.loose()).map_err(|error| self.misfit(&error))?;
                    landed.remember(&rows).map_err(|error| self.misfit(&error))?;
                }
            }
        }
        let taken = Arc::new(self.taken(stays).await?);
        let (mut seen, mut tally, mut whole) = (SeenRows::default(), Tally::default(), Digest::builder());
        let (mut balance, mut accepted_gone) = (Balance::new(&self.rules.schema, &self.rules.spec.contract.key), 0);
        for file in replaced {
            for rows in self.read(self.table, &file.path).await? {
                accepted_gone += rows.num_rows() as u64;
                balance.add(&rows, -1)?;
            }
        }
        for batch in batches {
            seen.next_batch();
            if let Some(landed) = &mut landed {
                landed.begin_batch(batch.at);
            }
            let mut read = Vec::new();
            for rows in self.kept(batch, &[]).await? {
                let rows = without_resolved(&rows, batch, &resolved.rows).map_err(|error| self.misfit(&error))?;
                if rows.num_rows() == 0 {
                    continue;
                }
                let came = as_they_came(&rows).map_err(|error| self.misfit(&error))?;
                read.push((rows.column(0).as_primitive::<Int64Type>().clone(), came));
            }
            let (mut pieces, mut numbers) = (Vec::new(), Vec::new());
            for (number, came) in in_order(read).map_err(|error| self.misfit(&error))? {
                numbers.push(number);
                let checked = self.check(came, &references, (&mut seen, &mut landed), &taken).await?;
                if let Some(refusal) = checked.refusal() {
                    return Err(LakeError::NotPossible(format!("`{}` cannot be replayed: {refusal}", batch.source)));
                }
                pieces.push(checked);
            }
            let mut sums = Tally::default();
            pieces.iter().for_each(|piece| sums.add(&piece.tally));
            if let Some(refused) = sums.refusals.first() {
                return Err(LakeError::NotPossible(format!(
                    "`{}` cannot be replayed: the contract refuses a batch that breaks {} ({} rows)",
                    batch.source, refused.rule, refused.rows
                )));
            }
            for piece in &pieces {
                balance.add(&piece.accepted, 1)?;
            }
            let accepted: Vec<RecordBatch> = pieces.iter().map(|piece| piece.accepted.clone()).collect();
            if let Some(landed) = &mut landed {
                landed.took(&accepted).map_err(|error| self.misfit(&error))?;
            }
            whole.update(rows_digest(&self.rules.schema, &accepted).as_bytes());
            self.write(batch, pieces, &numbers, written).await?;
            tally.add(&sums);
        }
        Ok(Outcome {
            tally,
            moved: balance.moved(),
            digest: whole.finish(),
            quarantine_removed: resolved.removed,
            quarantine_gone: resolved.gone,
            accepted_gone,
        })
    }

    async fn check(
        &self,
        rows: RecordBatch,
        references: &Arc<HashMap<String, Arc<KeySet>>>,
        (seen, landed): (&mut SeenRows, &mut Option<Landed>),
        taken: &Arc<HashMap<usize, KeySet>>,
    ) -> Result<Checked, LakeError> {
        let (rules, references, taken) = (Arc::clone(self.rules), Arc::clone(references), Arc::clone(taken));
        let (mut so_far, mut landed_so_far) = (std::mem::take(seen), landed.take());
        let work = move || {
            let checked = match rules.convert(&rows, &references) {
                Ok(Ok(converted)) => rules.finish(&rows, converted, &mut so_far, landed_so_far.as_mut(), &taken),
                Ok(Err(refused)) => Ok(refused),
                Err(error) => Err(error),
            };
            (checked, so_far, landed_so_far)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (checked, so_far, landed_so_far) = done.map_err(|error| LakeError::Interrupted(error.to_string()))?;
        (*seen, *landed) = (so_far, landed_so_far);
        checked.map_err(|error| self.misfit(&error))
    }

    /// The values of unique columns in files that stay.
    async fn taken(&self, stays: &[DataFile]) -> Result<HashMap<usize, KeySet>, LakeError> {
        let unique: Vec<(usize, String)> = self.rules.unique().map(|(at, name)| (at, name.to_owned())).collect();
        let mut arrays: BTreeMap<usize, Vec<ArrayRef>> = BTreeMap::new();
        if !unique.is_empty() {
            for file in stays {
                for rows in self.read(self.table, &file.path).await? {
                    for (at, name) in &unique {
                        arrays.entry(*at).or_default().extend(rows.column_by_name(name).cloned());
                    }
                }
            }
        }
        let sets = arrays.into_iter().map(|(at, arrays)| Ok((at, KeySet::of(&arrays)?)));
        sets.collect::<Result<_, ArrowError>>().map_err(|error| self.misfit(&error))
    }

    /// Writes what came of one batch; nothing names the files yet.
    async fn write(
        &self,
        batch: &Batch,
        pieces: Vec<Checked>,
        numbers: &[Int64Array],
        written: &mut Written,
    ) -> Result<(), LakeError> {
        let operation = files_name(self.operation, batch.operation);
        let now = self.lake.inner.clock.now();
        let (mut accepted, mut set_aside) = (Vec::new(), Vec::new());
        for (piece, numbers) in pieces.into_iter().zip(numbers) {
            if piece.accepted.num_rows() > 0 {
                accepted.push(piece.accepted);
            }
            if let Some(rows) = piece.quarantined {
                let rows = rows.numbered(numbers).into_batch(0, &batch.source, &batch.digest.to_string(), now);
                set_aside.push(rows.map_err(|error| self.misfit(&error))?);
            }
        }
        let unreadable = |error: parquet::errors::ParquetError| LakeError::written(self.dataset.as_str(), error);
        let files = Files::encode(operation, Arc::clone(&self.rules.schema), &accepted, &[]).map_err(unreadable)?;
        written.table.extend(files.store(self.table, None).await?.added);
        let files = Files::encode(operation, quarantine_schema(), &set_aside, &[]).map_err(unreadable)?;
        written.quarantine.extend(files.store(self.quarantine, None).await?.added);
        Ok(())
    }

    /// The numbers of a batch's rows that are kept as they came, as stretches, first and last. What could not be read as a
    /// row has none: it is in the quarantine alone.
    async fn kept_numbers(&self, batch: &Batch) -> Result<Vec<(i64, i64)>, LakeError> {
        let counts = self.kept_files(batch).await?.into_iter().map(|(_, rows)| rows);
        if counts.sum::<Option<u64>>() == Some(batch.rows_in) {
            return Ok(vec![(0, batch.rows_in as i64 - 1)]);
        }
        let mut stretches: Vec<(i64, i64)> = Vec::new();
        for rows in self.kept(batch, &["_row_number"]).await? {
            for number in rows.column(0).as_primitive::<Int64Type>().values() {
                match stretches.last_mut() {
                    Some((_, last)) if *last + 1 == *number => *last = *number,
                    _ => stretches.push((*number, *number)),
                }
            }
        }
        Ok(stretches)
    }

    /// The files with a batch's rows as they came, and how many each has. A merge brings those of several batches with one
    /// version.
    async fn kept_files(&self, batch: &Batch) -> Result<Vec<(String, Option<u64>)>, LakeError> {
        let name = raw_of(self.dataset.as_str());
        let raw = self.lake.table(&name).await?;
        let Some(entry) = raw.store().entry(batch.raw_version).await? else {
            let newest = raw.head.lock().await.version;
            return Err(LakeError::NoVersion { table: name, version: batch.raw_version, newest });
        };
        let Entry { added, added_rows, .. } = Entry::parse(&entry);
        let files = added.into_iter().zip(added_rows);
        Ok(files.filter(|(path, _)| writer(path) == Some(batch.operation)).collect())
    }

    /// A batch's rows as they came, of some columns or all.
    async fn kept(&self, batch: &Batch, columns: &[&str]) -> Result<Vec<RecordBatch>, LakeError> {
        let name = raw_of(self.dataset.as_str());
        let raw = self.lake.table(&name).await?;
        let mut rows = Vec::new();
        for (path, _) in self.kept_files(batch).await? {
            let read = decode(raw.store().data(&path).await?, columns);
            rows.extend(read.map_err(|source| LakeError::Table { table: name.clone(), doing: "read", source })?);
        }
        Ok(rows)
    }

    /// Takes the open rows that are replayed, by their batches' digests and their numbers there, out of the quarantine's
    /// files; what else they hold is written again.
    async fn rewrite_quarantine(
        &self,
        replayed: &HashMap<String, Vec<(i64, i64)>>,
        written: &mut Written,
    ) -> Result<Resolved, LakeError> {
        let mut resolved = Resolved::default();
        let Some(newest) = self.quarantine.head.lock().await.version else { return Ok(resolved) };
        let mut left: Vec<RecordBatch> = Vec::new();
        for file in self.quarantine.files(newest).await?.into_values() {
            let (mut stay, mut gone) = (Vec::new(), 0);
            for rows in self.read(self.quarantine, &file.path).await? {
                let of = rows.column_by_name("_source_digest").map(|column| column.as_string::<i32>().clone());
                let numbers =
                    rows.column_by_name("_row_number").map(|column| column.as_primitive::<Int64Type>().clone());
                let (Some(of), Some(numbers)) = (of, numbers) else { continue };
                let resolution = rows.column_by_name("_resolution").map(|column| column.as_string::<i32>().clone());
                let is_open = |row: usize| resolution.as_ref().is_none_or(|column| column.is_null(row));
                let is_replayed = |row: usize| {
                    let holds = |(first, last): &(i64, i64)| (*first..=*last).contains(&numbers.value(row));
                    replayed.get(of.value(row)).is_some_and(|stretches| stretches.iter().any(holds))
                };
                let goes: Vec<bool> = (0..rows.num_rows()).map(|row| is_open(row) && is_replayed(row)).collect();
                for row in (0..rows.num_rows()).filter(|row| !is_open(*row)) {
                    resolved.rows.insert((of.value(row).to_owned(), numbers.value(row)));
                }
                gone += goes.iter().filter(|goes| **goes).count() as u64;
                let keep: BooleanArray = goes.into_iter().map(|goes| Some(!goes)).collect();
                let kept = filter_record_batch(&rows, &keep).and_then(|kept| in_schema(&kept, &quarantine_schema()));
                stay.push(kept.map_err(|error| self.misfit(&error))?);
            }
            if gone > 0 {
                resolved.removed.push(file.path);
                resolved.gone += gone;
                left.extend(stay);
            }
        }
        let unreadable = |error: parquet::errors::ParquetError| LakeError::written(self.dataset.as_str(), error);
        let files = Files::encode(self.operation, quarantine_schema(), &left, &[]).map_err(unreadable)?;
        written.quarantine.extend(files.store(self.quarantine, None).await?.added);
        Ok(resolved)
    }

    async fn read(&self, table: &Arc<Table>, path: &str) -> Result<Vec<RecordBatch>, LakeError> {
        self.lake.rows_of_file(table, path).await
    }

    fn misfit(&self, error: &ArrowError) -> LakeError {
        LakeError::Misfit { table: self.dataset.to_string(), what: error.to_string() }
    }
}

/// Rows of the quarantine that people decided about, and what a replay takes out of it.
#[derive(Default)]
struct Resolved {
    rows: HashSet<RowKey>,
    removed: Vec<String>,
    gone: u64,
}

impl Written {
    pub(super) async fn discard(&self, table: &Table, quarantine: &Table) {
        discard(table, &self.table).await;
        discard(quarantine, &self.quarantine).await;
    }
}

/// The rows of a batch that nobody released or discarded.
fn without_resolved(rows: &RecordBatch, batch: &Batch, resolved: &HashSet<RowKey>) -> Result<RecordBatch, ArrowError> {
    if resolved.is_empty() {
        return Ok(rows.clone());
    }
    let (digest, numbers) = (batch.digest.to_string(), rows.column(0).as_primitive::<Int64Type>());
    let keep = |number: Option<i64>| Some(!resolved.contains(&(digest.clone(), number.unwrap_or(-1))));
    filter_record_batch(rows, &numbers.iter().map(keep).collect::<BooleanArray>())
}

/// Rows with the columns of `schema`; what they do not have is missing.
pub(crate) fn in_schema(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<arrow::datatypes::Field>| match rows.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), rows.num_rows()),
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect())
}
