//! Who wrote the files of a dataset, as its facts say.

use std::collections::{HashMap, HashSet};

use tenon_core::fact::{
    BranchCommitted, BranchMerged, DatasetCommitted, DatasetReplayed, DatasetRestored, Payload, QuarantineReleased,
};
use tenon_core::id::OperationId;
use tenon_core::{DatasetName, Timestamp};

use crate::{Lake, LakeError};

/// Facts that are read at a time.
const FACTS_A_PAGE: usize = 1_000;

/// What a dataset's facts say of who wrote its files.
#[derive(Default)]
pub(crate) struct Authors {
    /// The batch whose rows alone a file holds, by the operation in the file's name.
    pub of_batch: HashMap<OperationId, OperationId>,
    /// Others that wrote files: releases, and batches that came by a merge.
    pub(super) others: HashSet<OperationId>,
    /// Batches that no restore has taken out.
    pub(super) standing: HashMap<OperationId, Standing>,
}

/// A batch that no restore has taken out.
pub(super) struct Standing {
    /// The index of its fact.
    pub(super) fact: u64,
    /// Its latest event.
    pub(super) latest: Option<Timestamp>,
    /// Whether it may have rows in the table: some landed, or some are kept that may have landed since.
    pub(super) has_rows: bool,
}

impl Lake {
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

/// What the names of a batch's files say who wrote them in a replay.
pub(super) fn files_name(replay: OperationId, batch: OperationId) -> OperationId {
    OperationId::derive(&["dataset.replay.batch", &replay.to_string(), &batch.to_string()])
}

/// The operation in a data file's name: `part-00000-OPERATION.snappy.parquet`.
pub(crate) fn writer(path: &str) -> Option<OperationId> {
    let name = path.rsplit('/').next()?;
    name.strip_suffix(".snappy.parquet")?.strip_prefix("part-")?.split_once('-')?.1.parse().ok()
}
