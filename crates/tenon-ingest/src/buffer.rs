//! Rows that are used at once and land together later, as one batch with one fact.
//!
//! What a buffer holds is not durable: after a crash its source must give the rows again, and they are recognised by
//! the batch's digest if they had landed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tenon_core::{DatasetName, Principal};
use tenon_lake::{BatchSource, Checked, Checker, Lake, WriteOutcome};

use crate::{Feed, FeedError, IngestError};

/// Rows of one dataset on their way.
pub struct Buffer {
    lake: Lake,
    feed: Option<Arc<dyn Feed>>,
    dataset: DatasetName,
    checker: Checker,
    checked: Vec<Checked>,
}

impl Buffer {
    pub(crate) fn new(lake: Lake, feed: Option<Arc<dyn Feed>>, dataset: DatasetName) -> Self {
        let checker = lake.checker(&dataset);
        Self { lake, feed, dataset, checker, checked: Vec::new() }
    }

    /// How many rows wait.
    pub fn rows(&self) -> u64 {
        self.checked.iter().map(Checked::rows_in).sum()
    }

    /// Checks rows and feeds those that keep the contract ahead. Returns them.
    ///
    /// # Errors
    /// [`IngestError`] when the contract cannot be followed, or the rows could not be handed on.
    pub async fn add(&mut self, rows: &[RecordBatch]) -> Result<RecordBatch, IngestError> {
        let checked = self.checker.check(rows).await?;
        let accepted = checked.accepted().clone();
        self.checked.push(checked);
        if let Some(feed) = self.feed.as_ref().filter(|_| accepted.num_rows() > 0) {
            let fed = feed.feed_ahead(self.dataset.as_str(), std::slice::from_ref(&accepted)).await;
            self.fed(fed)?;
        }
        Ok(accepted)
    }

    /// Commits all that waits as one batch; none when nothing does. A batch that is refused is gone from the buffer, and
    /// so are its rows from the one who was fed.
    ///
    /// # Errors
    /// [`IngestError::Lake`] when nothing has landed; the rows then wait on.
    pub async fn flush(&mut self, by: &Principal, source: &BatchSource) -> Result<Option<WriteOutcome>, IngestError> {
        if self.checked.is_empty() {
            return Ok(None);
        }
        // Arrow's arrays are shared: this copies no rows.
        let outcome = self.lake.commit_checked(by, &self.dataset, source, self.checked.clone()).await?;
        self.checked.clear();
        self.checker = self.lake.checker(&self.dataset);
        if let Some(feed) = &self.feed {
            let told = match &outcome {
                WriteOutcome::Committed { fact, .. } => feed.committed(self.dataset.as_str(), fact.version).await,
                // Had it landed before, the one who is fed has it from the lake.
                WriteOutcome::Already(_) | WriteOutcome::Refused(_) => feed.discard_ahead(self.dataset.as_str()).await,
            };
            self.fed(told)?;
        }
        Ok(Some(outcome))
    }

    fn fed(&self, fed: Result<(), FeedError>) -> Result<(), IngestError> {
        fed.map_err(|source| IngestError::Feed { dataset: self.dataset.to_string(), source })
    }
}
