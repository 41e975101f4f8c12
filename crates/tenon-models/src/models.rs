//! The façade.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tenon_company::Catalog;
use tenon_compute::Budgets;
use tenon_core::id::{IdSource, RunId};
use tenon_core::spec::{ModelSpec, Resource, SpecSet, closest};
use tenon_core::{Clock, ModelName, ModelVersionRef, Timestamp};
use tenon_features::FeatureStore;
use tenon_ledger::Ledger;
use tenon_onnx::{Model, TreeEnsemble};

use crate::artifacts::{Artifacts, Kind};
use crate::projection::{self, RunRecord, VersionRecord};
use crate::{ModelError, ReferenceDistributions};

/// What models need from outside.
pub struct ModelsOptions {
    /// The folder of artifacts, by digest.
    pub artifacts: PathBuf,
    /// The record. It must fold [`crate::projection()`] and [`tenon_compute::SpendProjection`].
    pub ledger: Ledger,
    /// The models.
    pub catalog: Catalog,
    /// Training sets.
    pub features: FeatureStore,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
}

/// Models and their versions. Cheap to clone.
///
/// # Life of a version
/// Training set and `run.started` → artifact and reference on disk → `run.finished`, `spend.recorded` and
/// `model_version.registered` in one transaction → verdicts of the gates and their sum in another. A crash leaves files
/// that nothing names, a run that never ended, or a version that nobody judged, which cannot be deployed;
/// [`Models::sweep`] ends the one and judges the other.
#[derive(Clone)]
pub struct Models {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) artifacts: Artifacts,
    pub(crate) ledger: Ledger,
    pub(crate) catalog: Catalog,
    pub(crate) features: FeatureStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) budgets: Budgets,
    /// Held from reading a model's newest version until the next is on record.
    pub(crate) numbering: tokio::sync::Mutex<()>,
    /// Runs of this process that have not ended.
    pub(crate) running: Mutex<BTreeSet<RunId>>,
}

impl Models {
    /// Opens the artifacts and the registry.
    ///
    /// # Errors
    /// None today; a store that has to be reached may fail.
    pub fn open(options: ModelsOptions) -> Result<Self, ModelError> {
        let ModelsOptions { artifacts, ledger, catalog, features, clock, ids } = options;
        let inner = Inner {
            artifacts: Artifacts::new(artifacts),
            budgets: Budgets::new(catalog.clone(), ledger.clone()),
            ledger,
            catalog,
            features,
            clock,
            ids,
            numbering: tokio::sync::Mutex::new(()),
            running: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All that is on record of a version.
    ///
    /// # Errors
    /// [`ModelError::NoVersion`], with the versions that there are.
    pub fn version(&self, version: &ModelVersionRef) -> Result<VersionRecord, ModelError> {
        match projection::version(&self.inner.ledger.docs(), version)? {
            Some(record) => Ok(record),
            None => Err(self.no_version(version)?),
        }
    }

    /// A model's versions, oldest first.
    ///
    /// # Errors
    /// [`ModelError::NoModel`] when neither the company nor the record knows the model.
    pub fn versions(&self, model: &ModelName) -> Result<Vec<VersionRecord>, ModelError> {
        let versions = projection::versions(&self.inner.ledger.docs(), Some(model))?;
        if versions.is_empty() {
            resource(&self.inner.catalog.specs(), model)?;
        }
        Ok(versions)
    }

    /// A model's versions as they stood at a moment, oldest first.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn versions_as_of(&self, model: &ModelName, at: Timestamp) -> Result<Vec<VersionRecord>, ModelError> {
        Ok(projection::versions(&self.inner.ledger.docs_as_of(at)?, Some(model))?)
    }

    /// The version in charge of a model: the one that answers when no rollout runs. None before the first.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn champion(&self, model: &ModelName) -> Result<Option<ModelVersionRef>, ModelError> {
        Ok(projection::champion(&self.inner.ledger.docs(), model)?)
    }

    /// The runs of a model, or of all, oldest first.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn runs(&self, model: Option<&ModelName>) -> Result<Vec<RunRecord>, ModelError> {
        let mut runs = projection::runs(&self.inner.ledger.docs())?;
        runs.retain(|run| model.is_none_or(|model| run.started.model == *model));
        Ok(runs)
    }

    /// The artifact's bytes, checked against the digest on record.
    ///
    /// # Errors
    /// [`ModelError::NoVersion`]; [`ModelError::Changed`] when the file is not what was recorded.
    pub fn artifact(&self, version: &ModelVersionRef) -> Result<Vec<u8>, ModelError> {
        let record = self.version(version)?;
        self.inner.artifacts.get(Kind::Model, &record.registered.artifact)
    }

    /// The distributions of the training set, for drift: each input, and `prediction`.
    ///
    /// # Errors
    /// As [`Models::artifact`].
    pub fn reference(&self, version: &ModelVersionRef) -> Result<ReferenceDistributions, ModelError> {
        let record = self.version(version)?;
        let bytes = self.inner.artifacts.get(Kind::Reference, &record.registered.reference)?;
        serde_json::from_slice(&bytes).map_err(ModelError::json("the reference distributions"))
    }

    fn no_version(&self, version: &ModelVersionRef) -> Result<ModelError, ModelError> {
        let versions = self.versions(&version.model)?;
        let known: Vec<String> = versions.iter().map(|record| record.registered.version.to_string()).collect();
        let hint = match known.as_slice() {
            [] => format!("the model has none yet; `tenon train {}` makes one", version.model),
            _ => format!("there are {}", known.join(", ")),
        };
        Ok(ModelError::NoVersion { version: version.clone(), hint })
    }
}

impl Inner {
    /// The trees of a version.
    pub(crate) fn ensemble(&self, record: &VersionRecord) -> Result<TreeEnsemble, ModelError> {
        let bytes = self.artifacts.get(Kind::Model, &record.registered.artifact)?;
        trees(&bytes).map_err(|source| ModelError::Artifact { version: record.registered.version.clone(), source })
    }
}

/// The trees of an artifact.
pub(crate) fn trees(bytes: &[u8]) -> Result<TreeEnsemble, tenon_onnx::OnnxError> {
    let not_trees = || tenon_onnx::OnnxError::NotExplainable("the model is not one ensemble of trees".to_owned());
    Model::load(bytes)?.ensemble().cloned().ok_or_else(not_trees)
}

/// What the company's files say of a model.
pub(crate) fn resource<'a>(specs: &'a SpecSet, model: &ModelName) -> Result<&'a Resource<ModelSpec>, ModelError> {
    specs.models.get(model).ok_or_else(|| {
        let hint = match closest(model.as_str(), specs.models.keys().map(AsRef::as_ref)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`tenon get models` lists what is applied".to_owned(),
        };
        ModelError::NoModel { model: model.clone(), hint }
    })
}
