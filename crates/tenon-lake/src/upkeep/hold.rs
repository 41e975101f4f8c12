//! Legal holds: nothing of a dataset is removed while one stands.

use tenon_core::fact::{HoldCreated, HoldReleased};
use tenon_core::{DatasetName, HoldName, Principal};
use tenon_ledger::DocsExt;

use crate::record::records::HOLDS;
use crate::{HoldRecord, Lake, LakeError};

impl Lake {
    /// Keeps every file of these datasets, or of all, until the hold is released.
    ///
    /// # Errors
    /// [`LakeError::Exists`] for a name that is taken, [`LakeError::NoDataset`] and [`LakeError::View`].
    pub async fn create_hold(
        &self,
        by: &Principal,
        hold: HoldName,
        datasets: &[DatasetName],
        reason: String,
    ) -> Result<(), LakeError> {
        let _one = self.inner.versions.lock().await;
        if self.holds()?.iter().any(|known| known.hold.hold == hold) {
            return Err(LakeError::Exists { what: "hold", name: hold.to_string() });
        }
        datasets.iter().try_for_each(|dataset| self.table_spec(dataset).map(drop))?;
        let datasets = if datasets.is_empty() { self.table_datasets() } else { datasets.to_vec() };
        self.record(by, &HoldCreated { hold, datasets, reason }).await
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`].
    pub async fn release_hold(&self, by: &Principal, hold: &HoldName, reason: String) -> Result<(), LakeError> {
        let _one = self.inner.versions.lock().await;
        let holds = self.holds()?;
        let names = || holds.iter().map(|known| known.hold.hold.as_str());
        if !names().any(|known| known == hold.as_str()) {
            return Err(LakeError::no_such("hold", hold.as_str(), names()));
        }
        self.record(by, &HoldReleased { hold: hold.clone(), reason }).await
    }

    /// The holds that stand, in the order of their names.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn holds(&self) -> Result<Vec<HoldRecord>, LakeError> {
        let holds: Vec<(String, HoldRecord)> = self.inner.ledger.docs().list(HOLDS, "")?;
        Ok(holds.into_iter().map(|(_, hold)| hold).collect())
    }
}
