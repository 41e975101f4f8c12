//! Who wrote the files of a dataset, as its facts say.

use std::collections::{HashMap, HashSet};

use tenon_core::fact::{
    BranchCommitted, BranchCreated, BranchMerged, DatasetCommitted, DatasetReplayed, DatasetRestored, Payload,
    QuarantineReleased,
};
use tenon_core::id::OperationId;
use tenon_core::{BranchName, DatasetName, Digest, Timestamp};

use crate::{Lake, LakeError};

/// Facts that are read at a time.
const FACTS_A_PAGE: usize = 1_000;

/// What a dataset's facts say of who wrote its files.
#[derive(Default)]
pub(crate) struct Authors {
    /// The batch whose rows alone a file holds, by the operation in the file's name.
    pub of_batch: HashMap<OperationId, OperationId>,
    /// Others that wrote files: releases, and batches of which no rows are kept that came by a merge.
    pub(super) others: HashSet<OperationId>,
    /// Batches that no restore has taken out.
    pub(crate) standing: HashMap<OperationId, Standing>,
    /// Batches that landed on branches which were merged, by the facts of the merges.
    pub(super) merged: HashMap<u64, Batches>,
}

/// A batch that no restore has taken out.
pub(crate) struct Standing {
    /// The index of its fact.
    pub(crate) fact: u64,
    /// Where it came from.
    pub(crate) source: String,
    /// What names it for ever.
    pub(crate) digest: Digest,
    /// Its latest event.
    pub(super) latest: Option<Timestamp>,
    /// Whether it may have rows in the table: some landed, or some are kept that may have landed since.
    pub(super) has_rows: bool,
    /// Rows that came in.
    pub(crate) rows_in: u64,
    /// Rows that were neither dropped nor had landed before.
    pub(crate) counted: u64,
    /// Rows that were set aside.
    pub(crate) quarantined: u64,
    /// Whether it came from an ordered source, and so could not be refused.
    pub(crate) is_ordered: bool,
}

/// Batches with the operations that landed them.
pub(super) type Batches = Vec<(OperationId, DatasetCommitted)>;

impl Lake {
    /// Who wrote a dataset's files, which stands in their names: a batch, a replay of a batch, a release, or a batch on a
    /// branch that was merged. What a compaction wrote is of none of these.
    pub(crate) fn authors(&self, dataset: &DatasetName) -> Result<Authors, LakeError> {
        let mut authors = Authors { merged: self.merged_batches(dataset)?, ..Authors::default() };
        let mut replays = Vec::new();
        // Backwards: behind a restore it goes on with what that restored.
        let mut newest = u64::MAX;
        for commit in self.history(dataset.as_str())?.into_iter().rev() {
            let stands = commit.version <= newest;
            for stored in self.inner.ledger.facts(commit.fact..commit.fact + 1)? {
                let Some(operation) = stored.fact.operation else { continue };
                if let Ok(batch) = stored.fact.payload::<DatasetCommitted>() {
                    authors.of_batch.insert(operation, operation);
                    if stands {
                        authors.standing.insert(operation, Standing::of(commit.fact, batch));
                    }
                } else if let Ok(restored) = stored.fact.payload::<DatasetRestored>() {
                    newest = if stands { restored.to } else { newest };
                } else if stored.fact.is::<DatasetReplayed>() {
                    replays.push(operation);
                } else if stored.fact.is::<QuarantineReleased>() {
                    authors.others.insert(operation);
                } else if stored.fact.is::<BranchMerged>() {
                    for (operation, batch) in authors.merged.get(&commit.fact).into_iter().flatten() {
                        if batch.raw_version.is_none() {
                            authors.others.insert(*operation);
                            continue;
                        }
                        authors.of_batch.insert(*operation, *operation);
                        if stands {
                            authors.standing.insert(*operation, Standing::of(commit.fact, batch.clone()));
                        }
                    }
                }
            }
        }
        let batches: Vec<OperationId> = authors.of_batch.keys().copied().collect();
        for replay in replays {
            authors.of_batch.extend(batches.iter().map(|batch| (files_name(replay, *batch), *batch)));
        }
        Ok(authors)
    }

    /// The batches of a dataset that landed on branches which were merged, by the facts of the merges.
    fn merged_batches(&self, dataset: &DatasetName) -> Result<HashMap<u64, Batches>, LakeError> {
        let kinds = [BranchCreated::KIND, BranchCommitted::KIND, BranchMerged::KIND];
        let (mut open, mut merged, mut from) = (HashMap::<BranchName, Batches>::new(), HashMap::new(), 0);
        loop {
            let facts = self.inner.ledger.facts_of(&kinds, from, FACTS_A_PAGE)?;
            let Some(last) = facts.last() else { return Ok(merged) };
            from = last.index + 1;
            for stored in facts {
                let fact = &stored.fact;
                if let Ok(made) = fact.payload::<BranchCreated>() {
                    open.remove(&made.branch);
                } else if let Ok(BranchCommitted { branch, commit }) = fact.payload()
                    && commit.dataset == *dataset
                {
                    let batch = fact.operation.map(|operation| (operation, commit));
                    open.entry(branch).or_default().extend(batch);
                } else if let Ok(BranchMerged { branch, .. }) = fact.payload() {
                    merged.insert(stored.index, open.remove(&branch).unwrap_or_default());
                }
            }
        }
    }
}

impl Standing {
    fn of(fact: u64, batch: DatasetCommitted) -> Self {
        Self {
            fact,
            latest: batch.events.map(|(_, latest)| latest),
            has_rows: batch.accepted > 0 || batch.raw_version.is_some(),
            rows_in: batch.rows_in,
            counted: batch.rows_in - batch.dropped - batch.duplicates,
            quarantined: batch.quarantined,
            is_ordered: !batch.stretches.is_empty(),
            digest: batch.source_digest,
            source: batch.source,
        }
    }
}

/// What the names of a batch's files say who wrote them in a replay.
pub(super) fn files_name(replay: OperationId, batch: OperationId) -> OperationId {
    OperationId::derive(&["dataset.replay.batch", &replay.to_string(), &batch.to_string()])
}

/// The operation in a data file's name: `part-00000-OPERATION.snappy.parquet`.
pub(crate) fn writer(path: &str) -> Option<OperationId> {
    let name = path.rsplit('/').next()?;
    name.strip_suffix(".snappy.parquet")?.strip_prefix("part-")?.split_once('-')?.1.parse().ok()
}
