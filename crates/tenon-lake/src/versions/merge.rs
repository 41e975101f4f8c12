//! Merging a branch: what happened on it becomes true in all of its datasets at once, or in none.
//!
//! Each dataset gets one commit, none of which a reader of this program sees before the fact: the commits are *parts* of
//! one operation that name the table which decides, and that table's commit, the last one, carries the fact
//! `branch.merged`. After a crash the parts are sealed together where the last one is there, and undone where it is not.

use std::sync::Arc;

use datafusion::common::TableReference;
use serde::Serialize;
use tenon_core::fact::{BranchMerged, MergedTable, Payload, Reason, TableVersion};
use tenon_core::id::OperationId;
use tenon_core::{BranchName, DatasetName, Principal};
use tenon_query::{QueryError, fresh};
use tokio::sync::MutexGuard;

use crate::commit::{Step, merged_schema};
use crate::contract::{References, Rules, SeenRows, Tally, with_rows};
use crate::delta::files::{Files, change, missing, paths, rows};
use crate::delta::log::{DataFile, Note, Seal, Sealing};
use crate::delta::table::{Change, Head, Table, Unsealed};
use crate::landing::place::Place;
use crate::sql::{columns, quoted};
use crate::{BatchSource, BranchRecord, Lake, LakeError};

/// So many keys are named where two sides took the same.
const NAMED_KEYS: usize = 10;
/// The places of a dataset's tables in a [`Pair`], after that of its rows.
const SET_ASIDE: usize = 1;
const RAW_ROWS: usize = 2;
/// How often a merge begins again because a writer came between settling and locking.
const ATTEMPTS: usize = 5;

/// Why a branch cannot be merged into one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The dataset.
    pub table: DatasetName,
    /// Why, in plain words.
    pub sentence: String,
    /// Keys that both sides took, as JSON objects; the first of them.
    pub keys: Vec<serde_json::Value>,
}

/// What became of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// It is in the datasets now, and the branch is closed.
    Merged(BranchMerged),
    /// Nothing has changed, for these reasons.
    Conflicts(Vec<Conflict>),
}

/// The tables of one dataset, of the dataset itself and on the branch: its rows, its quarantine, its rows as they came.
struct Pair {
    dataset: DatasetName,
    main: [Arc<Table>; 3],
    branch: [Arc<Table>; 3],
    /// The dataset's contract as it is now, and what its references allow. Whoever reads that locks tables, so that it comes
    /// before the merge locks them; no row can go meanwhile, as `Lake::versions` is held.
    rules: Arc<Rules>,
    references: Arc<References>,
}

/// The same, locked.
struct Locked<'a> {
    main: [MutexGuard<'a, Head>; 3],
    branch: [MutexGuard<'a, Head>; 3],
}

/// What one table gets.
struct Part {
    table: Arc<Table>,
    from: Arc<Table>,
    /// Which of the pairs, and which of its tables.
    of: (usize, usize),
    change: Change,
    added: Vec<String>,
    merged: MergedTable,
}

impl Lake {
    /// Merges a branch into its datasets, all of them or none, and closes it.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`], and as for committing. After an error that comes from the storage half-way, the next start
    /// or the next commit undoes what was done, unless all of it was.
    pub async fn merge_branch(&self, by: &Principal, name: &BranchName) -> Result<MergeOutcome, LakeError> {
        let _one = self.inner.versions.lock().await;
        let record = self.branch(name)?;
        let pairs = self.pairs(&record).await?;
        for _ in 0..ATTEMPTS {
            for pair in &pairs {
                self.settle_at(&Place { dataset: &pair.dataset, branch: Some(&record) }).await?;
                self.settle(&pair.dataset).await?;
            }
            let mut locked = Vec::with_capacity(pairs.len());
            for pair in &pairs {
                locked.push(pair.lock().await);
            }
            if locked.iter().any(Locked::is_unsettled) {
                continue;
            }
            return self.merge_locked(by, &record, &pairs, &mut locked).await;
        }
        Err(LakeError::Interrupted(format!("other writers keep `{name}` from being merged: try again")))
    }

    async fn pairs(&self, record: &BranchRecord) -> Result<Vec<Pair>, LakeError> {
        let mut pairs = Vec::new();
        for TableVersion { dataset, .. } in &record.branch.tables {
            // Where a dataset is declared no more, nobody could read what is merged into it.
            let spec = self.table_spec(dataset)?.spec;
            let rules = self.rules_of_clean_rows(dataset, &spec)?;
            let references = Arc::new(self.references(&rules, Some(record)).await?);
            pairs.push(Pair {
                dataset: dataset.clone(),
                main: self.tables_at(&Place::of(dataset)).await?,
                branch: self.tables_at(&Place { dataset, branch: Some(record) }).await?,
                rules,
                references,
            });
        }
        Ok(pairs)
    }

    async fn tables_at(&self, place: &Place<'_>) -> Result<[Arc<Table>; 3], LakeError> {
        Ok([self.table(&place.table()).await?, self.table(&place.quarantine()).await?, self.table(&place.raw()).await?])
    }

    async fn merge_locked(
        &self,
        by: &Principal,
        record: &BranchRecord,
        pairs: &[Pair],
        locked: &mut [Locked<'_>],
    ) -> Result<MergeOutcome, LakeError> {
        let name = &record.branch.branch;
        let (mut parts, mut conflicts) = (Vec::new(), Vec::new());
        for (at, pair) in pairs.iter().enumerate() {
            conflicts.extend(self.conflict(record, pair, &locked[at]).await?);
            // The table comes last, so that it decides wherever it has a part.
            for which in [RAW_ROWS, SET_ASIDE] {
                match self.added_part((at, which), pair, &locked[at]).await? {
                    Ok(part) => parts.extend(part),
                    Err(sentence) => {
                        conflicts.push(Conflict { table: pair.dataset.clone(), sentence, keys: Vec::new() });
                    }
                }
            }
            parts.extend(self.table_part(at, pair, &locked[at]).await?);
        }
        if !conflicts.is_empty() {
            return Ok(MergeOutcome::Conflicts(conflicts));
        }
        let operation = OperationId::derive(&["branch.merge", name.as_str(), &record.fact.to_string()]);
        for part in &parts {
            for path in &part.added {
                part.table.store().link_data(part.from.store(), path).await?;
            }
        }
        self.reached(Step::Encoded)?;
        let merged = self.commit_parts(by, name, operation, parts, locked).await?;
        self.reached(Step::Landed)?;
        self.append(by, None, &merged, operation).await?;
        for pair in locked {
            pair.main.iter_mut().for_each(|head| drop(head.unsealed.remove(&operation)));
        }
        self.forget_branch(name).await?;
        Ok(MergeOutcome::Merged(merged))
    }

    /// Commits the parts one after the other; the last one carries the fact.
    async fn commit_parts(
        &self,
        by: &Principal,
        name: &BranchName,
        operation: OperationId,
        parts: Vec<Part>,
        locked: &mut [Locked<'_>],
    ) -> Result<BranchMerged, LakeError> {
        let now = self.inner.clock.now();
        let mut merged = BranchMerged { branch: name.clone(), tables: Vec::new() };
        let decided_by = parts.last().map(|part| part.table.name.clone()).unwrap_or_default();
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.into_iter().enumerate() {
            let with = |version| {
                let mut merged = merged.clone();
                merged.tables.push(MergedTable { version, ..part.merged.clone() });
                merged
            };
            let note = |version| {
                let fact = match at == last {
                    true => Sealing::of(&with(version)),
                    false => Sealing::Part { decided_by: decided_by.clone() },
                };
                Note { operation, seal: Some(Seal { by: by.clone(), pod: None, fact }), then: None }
            };
            let (pair, which) = part.of;
            let version = part.table.commit(&mut locked[pair].main[which], part.change, now, note).await?;
            merged = with(version);
            self.reached(Step::Merged(at + 1))?;
        }
        Ok(merged)
    }

    /// What a dataset's table gets; none where nothing happened to it on the branch.
    async fn table_part(&self, at: usize, pair: &Pair, locked: &Locked<'_>) -> Result<Option<Part>, LakeError> {
        let ([main, ..], [branch, ..]) = (&pair.main, &pair.branch);
        let newest = locked.branch[0].version.unwrap_or(0);
        let (first, last) = (branch.files(0).await?, branch.files(newest).await?);
        let mut difference = change(&first, &last);
        if difference.added.is_empty() && difference.removed.is_empty() {
            return Ok(None);
        }
        if let Some(wanted) = &locked.branch[0].schema {
            let schema = merged_schema(locked.main[0].schema.as_ref(), wanted);
            difference.schema = schema.map_err(|what| LakeError::Misfit { table: main.name.clone(), what })?;
        }
        let merged = MergedTable {
            table: main.name.clone(),
            version: 0,
            branch_version: newest,
            rows_added: rows(&difference.added),
            rows_removed: rows(&missing(&first, &last)),
        };
        Ok(Some(part((main, branch), (at, 0), difference, merged)))
    }

    /// What a dataset's quarantine gets, or the table of its rows as they came: all that the branch's has. The other side
    /// says why that does not fit.
    async fn added_part(
        &self,
        (at, which): (usize, usize),
        pair: &Pair,
        locked: &Locked<'_>,
    ) -> Result<Result<Option<Part>, String>, LakeError> {
        let (main, branch) = (&pair.main[which], &pair.branch[which]);
        let Some(newest) = self.sealed_version(&branch.name)? else { return Ok(Ok(None)) };
        let files = branch.files(newest).await?;
        if files.is_empty() {
            return Ok(Ok(None));
        }
        let mut difference = change(&Files::new(), &files);
        if let Some(wanted) = &locked.branch[which].schema {
            match merged_schema(locked.main[which].schema.as_ref(), wanted) {
                Ok(schema) => difference.schema = schema,
                Err(what) => return Ok(Err(format!("rows of the branch do not fit into `{}`: {what}", main.name))),
            }
        }
        let merged = MergedTable {
            table: main.name.clone(),
            version: 0,
            branch_version: newest,
            rows_added: rows(&difference.added),
            rows_removed: 0,
        };
        Ok(Ok(Some(part((main, branch), (at, which), difference, merged))))
    }

    /// Why a dataset cannot take what happened on the branch.
    async fn conflict(
        &self,
        record: &BranchRecord,
        pair: &Pair,
        locked: &Locked<'_>,
    ) -> Result<Option<Conflict>, LakeError> {
        let dataset = &pair.dataset;
        let begun =
            record.branch.tables.iter().find(|begun| begun.dataset == *dataset).map_or(0, |begun| begun.version);
        let since: Vec<_> =
            self.history(dataset.as_str())?.into_iter().filter(|commit| commit.version > begun).collect();
        let newest = locked.branch[0].version.unwrap_or(0);
        let (first, last) = (pair.branch[0].files(0).await?, pair.branch[0].files(newest).await?);
        let (added, removed) = (missing(&last, &first), missing(&first, &last));
        let conflict = |sentence: String| Some(Conflict { table: dataset.clone(), sentence, keys: Vec::new() });
        let broken = self.broken_now(pair, &added).await?;
        if !broken.is_empty() {
            return Ok(conflict(format!(
                "rows that came on the branch break the contract of `{dataset}` as it is now: {}",
                with_rows(&broken)
            )));
        }
        if added.is_empty() && removed.is_empty() || since.is_empty() {
            return Ok(None);
        }
        if let Some(gone) = since.iter().find(|commit| commit.removed > 0) {
            let how = gone.source.clone().unwrap_or_default();
            return Ok(conflict(format!(
                "rows of `{dataset}` went in version {} ({how}), after the branch began",
                gone.version
            )));
        }
        let now = pair.main[0].files(locked.main[0].version.unwrap_or(0)).await?;
        if !removed.is_empty() && !now.keys().eq(first.keys()) {
            return Ok(conflict(format!(
                "the branch took rows of `{dataset}` out, and `{dataset}` has gone on from version {begun} to {} since",
                since.last().map_or(begun, |commit| commit.version)
            )));
        }
        for batch in self.branch_batches(&record.branch.branch)? {
            let source = BatchSource::new(batch.source.clone(), batch.source_digest);
            if batch.dataset == *dataset && batch.accepted > 0 && self.sealed_batch(dataset, &source)?.is_some() {
                return Ok(conflict(format!("`{}` landed in `{dataset}` and on the branch", batch.source)));
            }
        }
        let contract = self.table_spec(dataset)?.spec.contract;
        let mut keys = vec![(contract.key.clone(), "keys".to_owned())];
        for (name, _) in contract.columns.iter().filter(|(_, column)| column.unique) {
            keys.push((vec![name.clone()], format!("values of the unique `{name}`")));
        }
        for (key, what) in keys {
            let keys = self.common_keys(pair, locked, (&first, &now), &paths(&added), &key).await?;
            if keys.is_empty() {
                continue;
            }
            let how_many = match keys.len() > NAMED_KEYS {
                true => format!("more than {NAMED_KEYS}"),
                false => keys.len().to_string(),
            };
            return Ok(Some(Conflict {
                table: dataset.clone(),
                sentence: format!("{how_many} {what} were written to `{dataset}` and on the branch since it began"),
                keys: keys.into_iter().take(NAMED_KEYS).collect(),
            }));
        }
        Ok(None)
    }

    /// What rows that came on the branch break of their dataset's contract, which may have changed since they landed.
    async fn broken_now(&self, pair: &Pair, added: &[DataFile]) -> Result<Vec<Reason>, LakeError> {
        let (mut seen, mut tally) = (SeenRows::default(), Tally::default());
        for file in added {
            seen.next_batch();
            let held = self.held_against(&pair.branch[0], &file.path, &pair.rules, &pair.references, &mut seen);
            tally.add(&held.await?);
        }
        Ok(tally.reasons.into_iter().chain(tally.refusals).collect())
    }

    /// Keys of rows that came to the dataset and to the branch, each for itself; one more than is named. A key without any
    /// value, or with columns that one of them does not have yet, is none.
    async fn common_keys(
        &self,
        pair: &Pair,
        locked: &Locked<'_>,
        (first, now): (&Files, &Files),
        added: &[String],
        key: &[String],
    ) -> Result<Vec<serde_json::Value>, LakeError> {
        let theirs = paths(&missing(now, first));
        if key.is_empty() || theirs.is_empty() || added.is_empty() {
            return Ok(Vec::new());
        }
        // A compaction since the branch began wrote old rows into new files: they are no rows that came.
        let gone = paths(&missing(first, now));
        let session = fresh(&self.inner.session);
        let [main, branch] = [&pair.main[0], &pair.branch[0]];
        let versions = [locked.main[0].version.unwrap_or(0), locked.branch[0].version.unwrap_or(0)];
        for (name, table, version, files) in [
            ("ours", branch, versions[1], added),
            ("theirs", main, versions[0], &theirs[..]),
            ("gone", branch, 0, &gone[..]),
        ] {
            let provider = table.part_of(&session, version, files).await?;
            if key.iter().any(|column| provider.schema().field_with_name(column).is_err()) {
                return Ok(Vec::new());
            }
            session.register_table(TableReference::bare(name), provider).map_err(QueryError::from)?;
        }
        let some: Vec<String> = key.iter().map(|name| format!("{} IS NOT NULL", quoted(name))).collect();
        let (columns, some) = (columns(key), some.join(" OR "));
        let sql = format!(
            "SELECT {columns} FROM ours WHERE {some} INTERSECT (SELECT {columns} FROM theirs EXCEPT SELECT {columns} FROM gone) ORDER BY {columns} LIMIT {}",
            NAMED_KEYS + 1
        );
        crate::versions::diff::as_json(&tenon_query::run(&session, &sql).await?)
    }

    /// Settles a commit that is a part of a merge; false where it is none. `held` are the tables that the caller has
    /// locked. Others are locked in the order of the datasets' names, as a merge does it.
    pub(crate) async fn settle_part(
        &self,
        (table, head): (&Arc<Table>, &mut Head),
        commit: &Unsealed,
        held: &[String],
    ) -> Result<bool, LakeError> {
        let Some(Seal { fact: Sealing::Part { decided_by }, .. }) = &commit.note.seal else { return Ok(false) };
        let operation = commit.note.operation;
        if self.inner.ledger.sealed(BranchMerged::KIND, operation)?.is_some() {
            return Ok(true);
        }
        if !held.contains(decided_by) {
            let decider = self.table(decided_by).await?;
            let last = decider.head.lock().await.unsealed.get(&operation).and_then(|last| last.note.seal.clone());
            if let Some(seal) = last {
                self.seal(&decider.name, operation, seal).await?;
                return Ok(true);
            }
        }
        let before = match commit.version.checked_sub(1) {
            Some(before) => table.files(before).await?,
            None => Files::new(),
        };
        let undo = change(&table.files(commit.version).await?, &before);
        let note = |_| Note { operation, seal: None, then: None };
        table.commit(head, undo, self.inner.clock.now(), note).await?;
        Ok(true)
    }
}

impl Pair {
    /// Locks the tables: those of the dataset before those on the branch, the table before its quarantine, and that before
    /// the rows as they came.
    async fn lock(&self) -> Locked<'_> {
        let [main, branch] = [&self.main, &self.branch];
        Locked {
            main: [main[0].head.lock().await, main[1].head.lock().await, main[2].head.lock().await],
            branch: [branch[0].head.lock().await, branch[1].head.lock().await, branch[2].head.lock().await],
        }
    }
}

impl Locked<'_> {
    fn is_unsettled(&self) -> bool {
        self.main.iter().chain(&self.branch).any(|head| head.unsealed.values().any(|left| left.note.seal.is_some()))
    }
}

fn part((main, branch): (&Arc<Table>, &Arc<Table>), of: (usize, usize), change: Change, merged: MergedTable) -> Part {
    let added = paths(&change.added);
    Part { table: Arc::clone(main), from: Arc::clone(branch), of, change, added, merged }
}
