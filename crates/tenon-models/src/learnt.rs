//! Which versions learnt from a stretch of a dataset.

use tenon_core::{DatasetName, ModelVersionRef};

use crate::{ModelError, Models};

impl Models {
    /// The versions that learnt from versions of a dataset after `after`, up to `until`: what a restore to `after` goes behind.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn learnt_between(
        &self,
        dataset: &DatasetName,
        after: u64,
        until: u64,
    ) -> Result<Vec<ModelVersionRef>, ModelError> {
        let mut learnt = Vec::new();
        for model in self.inner.catalog.specs().models.keys() {
            for version in self.versions(model)? {
                let mut pins = version.run.training_set.tables.iter().filter(|pin| pin.dataset == *dataset);
                if pins.any(|pin| pin.version > after && pin.version <= until) {
                    learnt.push(version.registered.version);
                }
            }
        }
        Ok(learnt)
    }
}
