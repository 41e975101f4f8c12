//! Making a version again from what is on record.

use serde::{Deserialize, Serialize};
use tenon_company::Catalog;
use tenon_core::{Digest, ModelVersionRef};

use crate::models::Models;
use crate::{ModelError, train};

/// What training again gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduction {
    /// The version.
    pub version: ModelVersionRef,
    /// The digest on record.
    pub recorded: Digest,
    /// The digest of the bytes made again.
    pub reproduced: Digest,
    /// The first byte that differs.
    pub first_difference: Option<u64>,
}

impl Reproduction {
    /// Whether the same bytes came out.
    pub fn identical(&self) -> bool {
        self.recorded == self.reproduced
    }
}

impl Models {
    /// Trains again from what is recorded and compares the bytes: the training set is computed anew from exactly the
    /// recorded tables under the definitions of the day, and the trainer runs with the recorded settings and seed.
    ///
    /// # Errors
    /// [`ModelError::NoVersion`]; [`ModelError::TrainingSet`], which says why, when the training set is not the recorded
    /// one any more. Bytes that differ are no error: see [`Reproduction`].
    pub async fn reproduce(&self, version: &ModelVersionRef) -> Result<Reproduction, ModelError> {
        let inner = &self.inner;
        let record = self.version(version)?;
        let started = record.run;
        let at = crate::projection::run(&inner.ledger.docs(), started.run)?.map_or(record.at, |run| run.at);
        // A catalog that was not applied through the ledger, as in a test, is the only one there is.
        let specs = Catalog::as_of(&inner.ledger, at).unwrap_or_else(|_| inner.catalog.clone()).specs();
        let frame = inner
            .features
            .training_set_again_under(&specs, &started.model, &started.training_set)
            .await
            .map_err(|source| ModelError::TrainingSet { model: started.model.clone(), source })?;
        let meta = train::meta(&specs, &started, &record.registered.inputs)?;
        let made = tokio::task::spawn_blocking(move || train::artifact(&started, frame, &meta));
        let (bytes, _) = made.await??;
        let (recorded, reproduced) = (record.registered.artifact, Digest::of(&bytes));
        let first_difference = match recorded == reproduced {
            true => None,
            false => self.artifact(version).ok().and_then(|artifact| first_difference(&artifact, &bytes)),
        };
        Ok(Reproduction { version: version.clone(), recorded, reproduced, first_difference })
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<u64> {
    let differs = one.iter().zip(other).position(|(a, b)| a != b);
    let ends = (one.len() != other.len()).then_some(one.len().min(other.len()));
    differs.or(ends).map(|at| at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_may_be_the_end() {
        assert_eq!(first_difference(b"abc", b"abd"), Some(2));
        assert_eq!(first_difference(b"abc", b"ab"), Some(2));
        assert_eq!(first_difference(b"abc", b"abc"), None);
    }
}
