//! Replaying: the rows that a dataset keeps as they came go through its cleaning and contract once more, and what comes of
//! them stands in the place of what had.
//!
//! One batch at a time is read, checked and written; nothing is visible before the table's one commit. Rows that people
//! released from the quarantine, or discarded, stay what they were. A batch that a restore took out stays out.

mod authors;
mod balance;
mod run;

use std::collections::HashSet;
use std::sync::Arc;

use tenon_core::fact::{DatasetCommitted, DatasetReplayed, Replaced};
use tenon_core::id::OperationId;
use tenon_core::{DatasetName, Digest, Principal, Timestamp};

use crate::commit::{Step, table_schema};
use crate::contract::contract_schema;
use crate::delta::log::{DataFile, Note, Seal, Sealing, Then};
use crate::delta::table::{Change, Table};
use crate::landing::landed::Landed;
use crate::landing::place::Place;
use crate::{Lake, LakeError, TableCommit, quarantine_of, raw_of};

pub(crate) use authors::{Authors, Standing, writer};
pub(crate) use run::in_schema;
use run::{Outcome, Run};

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
    /// When it landed.
    at: Timestamp,
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
            let of_version = match authors.merged.get(&commit.fact) {
                Some(merged) => merged.clone(),
                None => self.batch_fact(&commit)?.into_iter().collect(),
            };
            for (operation, fact) in of_version {
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
                    at: commit.at,
                });
            }
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
        Authors { of_batch, others, standing, .. }: &Authors,
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
}

/// The latest event that had landed before the first of these batches came, of batches that are not among them.
fn latest_before(batches: &[Batch], authors: &Authors) -> Option<Timestamp> {
    let replayed: HashSet<OperationId> = batches.iter().map(|batch| batch.operation).collect();
    let first = batches.iter().map(|batch| batch.fact).min()?;
    let others = authors.standing.iter().filter(|(batch, stands)| stands.fact < first && !replayed.contains(*batch));
    others.filter_map(|(_, stands)| stands.latest).max()
}
