//! Versions that are loaded and ready to answer.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tenon_core::spec::SpecSet;
use tenon_core::{ModelName, ModelVersionRef};
use tenon_models::{Models, VersionRecord};
use tenon_onnx::{Attributions, Runtime, Session, Tensor, TensorData, TreeShap};

use crate::error::{InferError, ServeError};

/// Finds ONNX Runtime. Asked only for a version with an operator that is not evaluated in Rust.
pub type FindRuntime = fn() -> tenon_onnx::Result<Runtime>;

/// Finds ONNX Runtime where `ORT_DYLIB_PATH` says, or else in the `onnxruntime` package of `python3`.
///
/// # Errors
/// Says where it was looked for and how to install it; or, in ONNX Runtime's words, why what was found is of no use.
pub fn find_runtime() -> tenon_onnx::Result<Runtime> {
    Runtime::find(None, None)
}

/// One version, loaded once and shared by all requests.
pub(crate) struct Engine {
    pub(crate) version: ModelVersionRef,
    pub(crate) session: Session,
    /// The features that fill its input, in order.
    pub(crate) inputs: Vec<Arc<str>>,
    shap: Option<TreeShap>,
}

impl Engine {
    fn load(models: &Models, runtime: FindRuntime, version: &ModelVersionRef) -> Result<Self, ServeError> {
        let record = models.version(version).map_err(ServeError::Models)?;
        let bytes = models.artifact(version).map_err(ServeError::Models)?;
        let fault = |source| ServeError::Onnx { version: version.clone(), action: "loaded", source };
        let session = Session::load(&bytes, runtime).map_err(fault)?;
        let shap = session.ensemble().and_then(|trees| TreeShap::new(trees, 0).ok());
        let inputs = record.registered.inputs.iter().map(|name| Arc::from(name.as_str())).collect();
        Ok(Self { version: version.clone(), session, inputs, shap })
    }

    /// The probability of yes of each row: the last column of what the model says, as any runtime would say it.
    ///
    /// # Shapes
    /// `rows`: `[rows, inputs]`, row-major; NaN: missing.
    pub(crate) fn predict(&self, rows: &[f32]) -> Result<Vec<f64>, ServeError> {
        let width = self.inputs.len();
        let fault = |source| ServeError::Onnx { version: self.version.clone(), action: "run", source };
        let outputs = match self.session.ensemble() {
            Some(trees) => trees.predict(rows, width).map_err(fault)?,
            None => {
                let [input] = self.session.inputs() else {
                    return Err(self.not_a_decider("it has several inputs, not one of features"));
                };
                let matrix = Tensor::matrix(&input.name, rows.to_vec(), width).map_err(fault)?;
                let outputs = self.session.run(&[matrix]).map_err(fault)?;
                let scores = outputs.into_iter().rev().find_map(|output| match output.data {
                    TensorData::F32(scores) => Some(scores),
                    _ => None,
                });
                scores.ok_or_else(|| self.not_a_decider("none of its outputs is float32"))?
            }
        };
        let n_rows = rows.len() / width.max(1);
        if n_rows == 0 || !outputs.len().is_multiple_of(n_rows) || outputs.is_empty() {
            return Err(self.not_a_decider("its output has another number of rows than its input"));
        }
        let columns = outputs.len() / n_rows;
        let last: Vec<f64> = outputs.chunks(columns).filter_map(|row| row.last()).map(|p| f64::from(*p)).collect();
        match last.iter().find(|probability| !(0.0..=1.0).contains(*probability)) {
            Some(found) => Err(self.not_a_decider(&format!("it answers {found}, which is no probability"))),
            None => Ok(last),
        }
    }

    /// The exact SHAP values of rows, in log-odds.
    pub(crate) fn explain(&self, rows: &[f32]) -> Result<Attributions, ServeError> {
        let fault = |source| ServeError::Onnx { version: self.version.clone(), action: "explained", source };
        match &self.shap {
            Some(shap) => shap.explain(rows, self.inputs.len()).map_err(fault),
            None => {
                let why = "it is not one ensemble of trees with known covers".to_owned();
                Err(fault(tenon_onnx::OnnxError::NotExplainable(why)))
            }
        }
    }

    fn not_a_decider(&self, reason: &str) -> ServeError {
        ServeError::NotADecider { version: self.version.clone(), reason: reason.to_owned() }
    }
}

/// All versions that were asked for since the start.
pub(crate) struct Engines {
    models: Models,
    runtime: FindRuntime,
    loaded: RwLock<HashMap<ModelVersionRef, Arc<Engine>>>,
}

impl Engines {
    pub(crate) fn new(models: Models, runtime: FindRuntime) -> Self {
        Self { models, runtime, loaded: RwLock::default() }
    }

    /// A version, loaded when it is asked for the first time.
    pub(crate) fn get(&self, version: &ModelVersionRef) -> Result<Arc<Engine>, ServeError> {
        if let Some(engine) = self.loaded.read().get(version) {
            return Ok(Arc::clone(engine));
        }
        // Two callers may load the same bytes at once; the first to finish is kept.
        let engine = Arc::new(Engine::load(&self.models, self.runtime, version)?);
        Ok(Arc::clone(self.loaded.write().entry(version.clone()).or_insert(engine)))
    }

    /// The specs that define a version's features: see [`Models::definitions_of`].
    pub(crate) fn definitions_of(&self, version: &ModelVersionRef) -> Result<Arc<SpecSet>, ServeError> {
        self.models.definitions_of(version).map_err(ServeError::Models)
    }

    /// A model's versions that may answer callers, oldest first.
    pub(crate) fn approved(&self, model: &ModelName) -> Result<Vec<u32>, ServeError> {
        let versions = self.models.versions(model).map_err(ServeError::Models)?;
        Ok(versions
            .iter()
            .filter(|record| record.is_approved())
            .map(|record| record.registered.version.version)
            .collect())
    }

    pub(crate) fn record(&self, version: &ModelVersionRef) -> Result<VersionRecord, ServeError> {
        self.models.version(version).map_err(ServeError::Models)
    }

    /// The version that a caller means.
    pub(crate) fn pick(
        &self,
        model: &ModelName,
        version: Option<u32>,
        in_charge: Option<u32>,
    ) -> Result<ModelVersionRef, ServeError> {
        let approved = self.approved(model)?;
        let picked = match version {
            Some(version) => approved.contains(&version).then_some(version),
            None => in_charge.or_else(|| approved.last().copied()),
        };
        let unknown = || InferError::UnknownVersion { model: model.clone(), version };
        Ok(ModelVersionRef { model: model.clone(), version: picked.ok_or_else(unknown)? })
    }
}
