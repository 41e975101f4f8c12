//! Replaying: the rows that a dataset keeps as they came go through its cleaning and contract once more, and what comes of
//! them stands in the place of what had.
//!
//! One batch at a time is read, checked and written; nothing is visible before the table's one commit. Rows that people
//! released from the quarantine, or discarded, stay what they were, and so do rows that came by the merge of a branch, which
//! keeps none as they came. A batch that a restore took out stays out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use tenon_core::fact::{
    BranchCommitted, BranchMerged, DatasetCommitted, DatasetReplayed, DatasetRestored, Payload, QuarantineReleased,
    Replaced,
};
use tenon_core::id::OperationId;
use tenon_core::{DatasetName, Digest, Principal, Timestamp};

use crate::commit::{Files, Step, discard, table_schema};
use crate::contract::{Checked, KeySet, Rules, SeenRows, Tally, contract_schema, quarantine_schema};
use crate::landed::Landed;
use crate::log::{DataFile, Entry, Note, Seal, Sealing, Then};
use crate::place::Place;
use crate::raw::as_they_came;
use crate::table::{Change, Table};
use crate::{Lake, LakeError, TableCommit, quarantine_of, raw_of, rows_digest};

/// A batch that is kept as it came.
struct Batch {
    operation: OperationId,
    raw_version: u64,
    source: String,
    digest: Digest,
    /// Rows that came in with it, also those that could not be read as such and are not kept.
    rows_in: u64,
    /// The index of its fact.
    fact: u64,
}

/// What a dataset's facts say of who wrote its files.
#[derive(Default)]
pub(crate) struct Authors {
    /// The batch whose rows alone a file holds, by the operation in the file's name.
    pub of_batch: HashMap<OperationId, OperationId>,
    /// Others that wrote files: releases, and batches that came by a merge.
    others: HashSet<OperationId>,
    /// Batches that no restore has taken out.
    standing: HashMap<OperationId, Standing>,
}

/// A batch that no restore has taken out.
struct Standing {
    /// The index of its fact.
    fact: u64,
    /// Its latest event.
    latest: Option<Timestamp>,
    /// Whether it may have rows in the table: some landed, or some are kept that may have landed since.
    has_rows: bool,
}

/// The data files of a replay on their way to its commit.
#[derive(Default)]
struct Written {
    table: Vec<DataFile>,
    quarantine: Vec<DataFile>,
}

impl Lake {
    /// Replays a dataset's batches from a version of its kept rows on. None where that changes nothing.
    ///
    /// # Errors
    /// [`LakeError::NotPossible`] when there is nothing to replay, or rows of other batches would be touched;
    /// [`LakeError::Raced`] when a batch landed meanwhile. The table is then as it was.
    pub async fn replay(&self, by: &Principal, dataset: &DatasetName, from: u64) -> Result<DatasetReplayed, LakeError> {
        let resource = self.table_spec(dataset)?;
        let rules = self.rules(dataset)?;
        // No vacuum may take the files that are written before the commit which names them.
        let _one = self.inner.versions.lock().await;
        let (versions, held) = self.settled_head(&Place::of(dataset)).await?;
        let table = self.table(dataset.as_str()).await?;
        let quarantine = self.table(&quarantine_of(dataset.as_str())).await?;
        let quarantine_versions = quarantine.head.lock().await.version.map_or(0, |version| version + 1);
        let authors = self.authors(dataset)?;
        let batches = self.kept_batches(dataset, from, &authors)?;
        let (replaced, stays) = self.files_of(dataset, &table, versions, &batches, &authors).await?;
        let landed = Landed::begin(&resource.spec, latest_before(&batches, &authors));
        let spec = Digest::of(serde_json::to_vec(&resource.spec).unwrap_or_default());
        let operation = OperationId::derive(&[
            "dataset.replay",
            dataset.as_str(),
            &spec.to_string(),
            &versions.to_string(),
            &quarantine_versions.to_string(),
            &from.to_string(),
        ]);

        let mut written = Written::default();
        let run = Run { lake: self, dataset, rules: &rules, operation, table: &table, quarantine: &quarantine };
        let outcome = run.all(&batches, &replaced, &stays, landed, &mut written).await;
        let Outcome { tally, moved, digest, quarantine_removed, quarantine_gone, accepted_gone } = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                written.discard(&table, &quarantine).await;
                return Err(error);
            }
        };
        let fact = DatasetReplayed {
            dataset: dataset.clone(),
            version: versions,
            quarantine_version: None,
            spec,
            from,
            batches: batches.len() as u64,
            rows_in: tally.rows_in,
            accepted: tally.accepted(),
            quarantined: tally.quarantined,
            dropped: tally.dropped,
            duplicates: tally.duplicates,
            now_accepted: moved.0,
            no_longer_accepted: moved.1,
            replaced: Replaced { accepted: accepted_gone, quarantined: quarantine_gone },
            rows_digest: digest,
            reasons: tally.reasons,
            warnings: tally.warnings,
        };
        let mut head = table.head.lock().await;
        let mut quarantine_head = quarantine.head.lock().await;
        let now_at = |version: Option<u64>| version.map_or(0, |version| version + 1);
        if now_at(head.version) != versions || now_at(quarantine_head.version) != quarantine_versions {
            written.discard(&table, &quarantine).await;
            return Err(LakeError::Raced(dataset.to_string()));
        }
        let contract = Arc::new(contract_schema(&resource.spec.contract));
        let schema = table_schema(dataset, held.as_ref(), &contract)?;
        let removed = replaced.into_iter().map(|file| file.path).collect();
        let change = Change { added: written.table, removed, schema, ..Change::default() };
        let then = Then { added: written.quarantine, removed: quarantine_removed };
        let follows = !then.added.is_empty() || !then.removed.is_empty();
        let seal =
            |fact: &DatasetReplayed| Seal { by: by.clone(), pod: Some(resource.pod.clone()), fact: Sealing::of(fact) };
        let note = |version| {
            let replayed = DatasetReplayed { version, ..fact.clone() };
            Note { operation, seal: Some(seal(&replayed)), then: follows.then(|| then.clone()) }
        };
        let now = self.inner.clock.now();
        let mut fact = DatasetReplayed { version: table.commit(&mut head, change, now, note).await?, ..fact.clone() };
        self.reached(Step::Landed)?;
        if follows {
            let version = self.follow(operation, (&quarantine, &mut quarantine_head), then).await?;
            fact.quarantine_version = Some(version);
        }
        self.reached(Step::Followed)?;
        self.seal(dataset.as_str(), operation, seal(&fact)).await?;
        head.unsealed.remove(&operation);
        quarantine_head.unsealed.remove(&operation);
        drop((head, quarantine_head));
        self.forget_landed(dataset).await;
        Ok(fact)
    }

    /// The batches that stand and whose rows are kept as they came, from a version of them on.
    fn kept_batches(&self, dataset: &DatasetName, from: u64, authors: &Authors) -> Result<Vec<Batch>, LakeError> {
        let raw = raw_of(dataset.as_str());
        let mut batches = Vec::new();
        for commit in self.history(&raw)?.into_iter().filter(|commit| commit.version >= from) {
            let Some((operation, fact)) = self.batch_fact(&commit)? else { continue };
            if !authors.standing.contains_key(&operation) {
                continue;
            }
            batches.push(Batch {
                operation,
                raw_version: commit.version,
                source: fact.source,
                digest: fact.source_digest,
                rows_in: fact.rows_in,
                fact: commit.fact,
            });
        }
        if batches.is_empty() {
            return Err(LakeError::NotPossible(format!(
                "`{dataset}` keeps no rows as they came from there on: say `keep_raw = true`, and what comes in after that can be replayed"
            )));
        }
        Ok(batches)
    }

    fn batch_fact(&self, commit: &TableCommit) -> Result<Option<(OperationId, DatasetCommitted)>, LakeError> {
        let facts = self.inner.ledger.facts(commit.fact..commit.fact + 1)?;
        let fact = facts.into_iter().next().map(|stored| stored.fact);
        Ok(fact.and_then(|fact| Some((fact.operation?, fact.payload().ok()?))))
    }

    /// The table's files that hold the rows of some batches, and those that stay.
    async fn files_of(
        &self,
        dataset: &DatasetName,
        table: &Arc<Table>,
        versions: u64,
        batches: &[Batch],
        Authors { of_batch, others, standing }: &Authors,
    ) -> Result<(Vec<DataFile>, Vec<DataFile>), LakeError> {
        let Some(newest) = versions.checked_sub(1) else { return Ok((Vec::new(), Vec::new())) };
        let replayed: HashSet<OperationId> = batches.iter().map(|batch| batch.operation).collect();
        let (mut replaced, mut stays, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for file in table.files(newest).await?.into_values() {
            match writer(&file.path) {
                Some(writer) if of_batch.get(&writer).is_some_and(|batch| replayed.contains(batch)) => {
                    replaced.push(file)
                }
                Some(writer) if of_batch.contains_key(&writer) || others.contains(&writer) => stays.push(file),
                _ => unknown.push(file),
            }
        }
        // Files that a compaction wrote hold rows of several batches: they can go only where all of these are replayed.
        let is_replayed = |(batch, stands): (&OperationId, &Standing)| replayed.contains(batch) || !stands.has_rows;
        let all_replayed = standing.iter().all(is_replayed) && others.is_empty();
        if !unknown.is_empty() && !all_replayed {
            return Err(LakeError::NotPossible(format!(
                "`{dataset}` has files that hold rows of batches that would be replayed and of others, such as `{}`: replay from the beginning",
                unknown[0].path
            )));
        }
        replaced.extend(unknown);
        Ok((replaced, stays))
    }

    /// Who wrote a dataset's files, which stands in their names: a batch, a replay of a batch, a release, or a batch on a
    /// branch that was merged. What a compaction wrote is of none of these.
    pub(crate) fn authors(&self, dataset: &DatasetName) -> Result<Authors, LakeError> {
        let mut authors = Authors::default();
        let (mut replays, mut is_merged) = (Vec::new(), false);
        // Backwards: behind a restore it goes on with what that restored.
        let mut newest = u64::MAX;
        for commit in self.history(dataset.as_str())?.into_iter().rev() {
            let stands = commit.version <= newest;
            for stored in self.inner.ledger.facts(commit.fact..commit.fact + 1)? {
                let Some(operation) = stored.fact.operation else { continue };
                if let Ok(batch) = stored.fact.payload::<DatasetCommitted>() {
                    authors.of_batch.insert(operation, operation);
                    if stands {
                        let latest = batch.events.map(|(_, latest)| latest);
                        let has_rows = batch.accepted > 0 || batch.raw_version.is_some();
                        authors.standing.insert(operation, Standing { fact: commit.fact, latest, has_rows });
                    }
                } else if let Ok(restored) = stored.fact.payload::<DatasetRestored>() {
                    newest = if stands { restored.to } else { newest };
                } else if stored.fact.is::<DatasetReplayed>() {
                    replays.push(operation);
                } else if stored.fact.is::<QuarantineReleased>() {
                    authors.others.insert(operation);
                } else if stored.fact.is::<BranchMerged>() {
                    is_merged = true;
                }
            }
        }
        let batches: Vec<OperationId> = authors.of_batch.keys().copied().collect();
        for replay in replays {
            authors.of_batch.extend(batches.iter().map(|batch| (files_name(replay, *batch), *batch)));
        }
        if is_merged {
            authors.others.extend(self.landed_on_branches(dataset)?);
        }
        Ok(authors)
    }

    /// The operations by which rows of a dataset landed on branches.
    fn landed_on_branches(&self, dataset: &DatasetName) -> Result<Vec<OperationId>, LakeError> {
        let (mut operations, mut from) = (Vec::new(), 0);
        loop {
            let facts = self.inner.ledger.facts_of(&[BranchCommitted::KIND], from, FACTS_A_PAGE)?;
            let Some(last) = facts.last() else { return Ok(operations) };
            from = last.index + 1;
            for stored in &facts {
                let of = stored.fact.payload::<BranchCommitted>().is_ok_and(|sealed| sealed.commit.dataset == *dataset);
                operations.extend(stored.fact.operation.filter(|_| of));
            }
        }
    }
}

/// The latest event that had landed before the first of these batches came, of batches that are not among them.
fn latest_before(batches: &[Batch], authors: &Authors) -> Option<Timestamp> {
    let replayed: HashSet<OperationId> = batches.iter().map(|batch| batch.operation).collect();
    let first = batches.iter().map(|batch| batch.fact).min()?;
    let others = authors.standing.iter().filter(|(batch, stands)| stands.fact < first && !replayed.contains(*batch));
    others.filter_map(|(_, stands)| stands.latest).max()
}

/// What the names of a batch's files say who wrote them in a replay.
fn files_name(replay: OperationId, batch: OperationId) -> OperationId {
    OperationId::derive(&["dataset.replay.batch", &replay.to_string(), &batch.to_string()])
}

/// The operation in a data file's name: `part-00000-OPERATION.snappy.parquet`.
pub(crate) fn writer(path: &str) -> Option<OperationId> {
    let name = path.rsplit('/').next()?;
    name.strip_suffix(".snappy.parquet")?.strip_prefix("part-")?.split_once('-')?.1.parse().ok()
}

/// What came of all batches.
struct Outcome {
    tally: Tally,
    /// Rows that are in the table now and were not, and the other way round.
    moved: (u64, u64),
    digest: Digest,
    quarantine_removed: Vec<String>,
    quarantine_gone: u64,
    accepted_gone: u64,
}

/// A replay under way.
struct Run<'a> {
    lake: &'a Lake,
    dataset: &'a DatasetName,
    rules: &'a Arc<Rules>,
    operation: OperationId,
    table: &'a Arc<Table>,
    quarantine: &'a Arc<Table>,
}

/// Facts that are read at a time.
const FACTS_A_PAGE: usize = 1_000;

/// A row of a batch: the batch's digest, and the row's number.
type RowKey = (String, i64);

impl Run<'_> {
    async fn all(
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
        let mut references = HashMap::new();
        for reference in self.rules.references() {
            references.insert(reference.to_owned(), self.lake.key_set(reference, None).await?);
        }
        if let Some(landed) = landed.as_mut().filter(|landed| landed.dedups()) {
            for file in stays {
                for rows in self.read(self.table, &file.path).await? {
                    let rows = in_schema(&rows, &self.rules.loose()).map_err(|error| self.misfit(&error))?;
                    landed.remember(&rows).map_err(|error| self.misfit(&error))?;
                }
            }
        }
        let (references, taken) = (Arc::new(references), Arc::new(self.taken(stays).await?));
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
            let mut pieces = Vec::new();
            let mut numbers = Vec::new();
            for rows in self.lake.added(&raw_of(self.dataset.as_str()), batch.raw_version, &[]).await? {
                let rows = without_resolved(&rows, batch, &resolved.rows).map_err(|error| self.misfit(&error))?;
                if rows.num_rows() == 0 {
                    continue;
                }
                numbers.push(rows.column(0).as_primitive::<Int64Type>().clone());
                let came = as_they_came(&rows).map_err(|error| self.misfit(&error))?;
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
        numbers: &[arrow::array::Int64Array],
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
        let name = raw_of(self.dataset.as_str());
        let entry = self.lake.table(&name).await?.store().entry(batch.raw_version).await?;
        if entry.and_then(|bytes| Entry::parse(&bytes).rows) == Some(batch.rows_in) {
            return Ok(vec![(0, batch.rows_in as i64 - 1)]);
        }
        let mut stretches: Vec<(i64, i64)> = Vec::new();
        for rows in self.lake.added(&name, batch.raw_version, &["_row_number"]).await? {
            for number in rows.column(0).as_primitive::<Int64Type>().values() {
                match stretches.last_mut() {
                    Some((_, last)) if *last + 1 == *number => *last = *number,
                    _ => stretches.push((*number, *number)),
                }
            }
        }
        Ok(stretches)
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
    async fn discard(&self, table: &Table, quarantine: &Table) {
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

/// How often each row came and went. A row is told by its contract's key, or else by all its values.
struct Balance {
    columns: Vec<(String, arrow::datatypes::DataType)>,
    counts: HashMap<u64, i64>,
}

impl Balance {
    fn new(schema: &SchemaRef, key: &[String]) -> Self {
        let fields = schema.fields().iter().filter(|field| key.is_empty() || key.contains(field.name()));
        let columns = fields.map(|field| (field.name().clone(), field.data_type().clone())).collect();
        Self { columns, counts: HashMap::new() }
    }

    fn add(&mut self, rows: &RecordBatch, times: i64) -> Result<(), LakeError> {
        let column = |(name, kind): &(String, arrow::datatypes::DataType)| {
            let column = rows.column_by_name(name).filter(|column| column.data_type() == kind).cloned();
            column.unwrap_or_else(|| new_null_array(kind, rows.num_rows()))
        };
        let columns: Vec<ArrayRef> = self.columns.iter().map(column).collect();
        let mut hashes = vec![0; rows.num_rows()];
        create_hashes(&columns, &RandomState::with_seed(0), &mut hashes)
            .map_err(|error| LakeError::Interrupted(error.to_string()))?;
        for hash in hashes {
            let count = self.counts.entry(hash).or_default();
            *count += times;
            if *count == 0 {
                self.counts.remove(&hash);
            }
        }
        Ok(())
    }

    /// Rows that came, and rows that went.
    fn moved(&self) -> (u64, u64) {
        let sum = |sign: i64| self.counts.values().map(|count| (count * sign).max(0) as u64).sum();
        (sum(1), sum(-1))
    }
}
