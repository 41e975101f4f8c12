//! Making a version again from what is on record.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_company::Catalog;
use tenon_core::spec::SpecSet;
use tenon_core::{Digest, FeatureViewName, ModelVersionRef};

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
    /// The specs that define a version's features: those applied now, where its views mean what they meant when it learnt
    /// (or that is not on the record), else those of that day.
    ///
    /// # Errors
    /// [`ModelError::NoVersion`].
    pub fn definitions_of(&self, version: &ModelVersionRef) -> Result<Arc<SpecSet>, ModelError> {
        let (applied, learnt) = (self.inner.catalog.specs(), self.version(version)?.run.training_set.views);
        // A model that cannot be read as it is declared now is read as it was.
        let same = |now: BTreeMap<FeatureViewName, Digest>| now == learnt;
        match learnt.is_empty() || self.inner.features.meanings(&applied, &version.model).is_ok_and(same) {
            true => Ok(applied),
            false => self.specs_of(version),
        }
    }

    /// What was applied when the run began that made a version.
    fn specs_of(&self, version: &ModelVersionRef) -> Result<Arc<SpecSet>, ModelError> {
        let (inner, record) = (&self.inner, self.version(version)?);
        let run = crate::projection::run(&inner.ledger.docs(), record.run.run)?;
        let at = run.map_or(record.at, |run| run.at);
        // A catalog that was not applied through the ledger, as in a test, is the only one there is.
        Ok(Catalog::as_of(&inner.ledger, at).unwrap_or_else(|_| inner.catalog.clone()).specs())
    }

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
        let specs = self.specs_of(version)?;
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
