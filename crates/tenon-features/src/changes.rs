//! Changes of datasets that are no batches: the lake makes them, and what is served follows.

use tenon_core::fact::{DatasetCompacted, DatasetReplayed, DatasetRestored};
use tenon_core::{AsOf, BranchName, DatasetName, Principal};
use tenon_lake::{MergeOutcome, Released, Selection};

use crate::{FeatureError, FeatureStore};

impl FeatureStore {
    /// Makes an earlier version of a dataset the newest again, and serves nothing any more that came from rows which went.
    /// None where the dataset holds those rows already.
    ///
    /// # Errors
    /// What the lake says: nothing has changed. After it, when a view cannot be read again: the dataset is restored.
    pub async fn restore(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        to: AsOf,
        reason: &str,
    ) -> Result<Option<DatasetRestored>, FeatureError> {
        let restored = self.lake().restore(by, dataset, to, reason).await?;
        if restored.is_some() {
            self.read_anew(dataset.as_str()).await?;
            self.flush().await?;
        }
        Ok(restored)
    }

    /// Runs the kept rows of a dataset through its contract again, and serves what came of them.
    ///
    /// # Errors
    /// As [`FeatureStore::restore`].
    pub async fn replay(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        from: u64,
    ) -> Result<DatasetReplayed, FeatureError> {
        let replayed = self.lake().replay(by, dataset, from).await?;
        self.read_anew(dataset.as_str()).await?;
        self.flush().await?;
        Ok(replayed)
    }

    /// Releases rows of a quarantine, and serves them.
    ///
    /// # Errors
    /// As [`FeatureStore::restore`]; the rows are served when the views catch up.
    pub async fn release(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        selection: &Selection,
        reason: &str,
    ) -> Result<Released, FeatureError> {
        let released = self.lake().release(by, dataset, selection, reason).await?;
        if let Some(fact) = &released.fact {
            self.feed(dataset.as_str(), &released.accepted, fact.version).await?;
            self.flush().await?;
        }
        Ok(released)
    }

    /// Merges a branch into its datasets, and serves what they hold now. Datasets whose views cannot be read again are told
    /// with the reason: the branch is merged all the same, and the views are read at the next start.
    ///
    /// # Errors
    /// What the lake says: nothing has changed.
    pub async fn merge_branch(
        &self,
        by: &Principal,
        name: &BranchName,
    ) -> Result<(MergeOutcome, Vec<(DatasetName, FeatureError)>), FeatureError> {
        let held = self.lake().branch(name)?.branch.tables;
        let outcome = self.lake().merge_branch(by, name).await?;
        let mut unread = Vec::new();
        if matches!(outcome, MergeOutcome::Merged(_)) {
            for begun in held {
                if let Err(error) = self.read_anew(begun.dataset.as_str()).await {
                    unread.push((begun.dataset, error));
                }
            }
            self.flush().await?;
        }
        Ok((outcome, unread))
    }

    /// Takes small files of a dataset and its quarantine together. The rows are the same: views go on from the new version.
    ///
    /// # Errors
    /// What the lake says.
    pub async fn compact(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        target_bytes: u64,
    ) -> Result<Vec<DatasetCompacted>, FeatureError> {
        let done = self.lake().compact(by, dataset, target_bytes).await?;
        for compacted in &done {
            self.feed(&compacted.table, &[], compacted.version).await?;
        }
        self.flush().await?;
        Ok(done)
    }
}
