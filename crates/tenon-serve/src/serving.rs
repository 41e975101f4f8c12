//! The façade: what the rest of the program sees of serving.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use parking_lot::{Mutex, RwLock};
use tenon_company::Catalog;
use tenon_core::fact::TrafficShifted;
use tenon_core::id::{DecisionId, IdSource, RolloutId};
use tenon_core::{Clock, DeploymentName, ModelName, ModelVersionRef, Principal, Timestamp};
use tenon_features::FeatureStore;
use tenon_lake::Lake;
use tenon_ledger::{DocsExt, Ledger};
use tenon_models::Models;
use tenon_policy::{Guard, Request};

use crate::decision::{DecideRequest, Decision, DecisionBatch, Outcome, OutcomesTaken};
use crate::engine::{Engines, FindRuntime};
use crate::error::{InferError, ServeError};
use crate::infer::{InferRequest, InferResponse, ModelMetadata, check_inputs, metadata, pick_outputs};
use crate::journal::{Journal, Segment};
use crate::log::Flushed;
use crate::outcomes::OutcomeBook;
use crate::projection::{self, DEPLOYMENTS, DeploymentState, TRAFFIC, TrafficMove, TrafficPeriod};
use crate::receipt::Receipt;
use crate::rollout::GuardrailReading;
use crate::route::{Route, deployment_spec};

/// What serving needs from outside.
pub struct ServingOptions {
    /// The record. It must fold [`crate::projection()`].
    pub ledger: Ledger,
    /// The deployments.
    pub catalog: Catalog,
    /// The versions.
    pub models: Models,
    /// The online features.
    pub features: FeatureStore,
    /// Where decisions and outcomes are kept.
    pub lake: Lake,
    /// Who may move traffic: asked before the program moves any by itself.
    pub guard: Guard,
    /// The folder of the decision journal.
    pub journal: PathBuf,
    /// Finds ONNX Runtime, for versions that are not evaluated in Rust; not asked before there is one.
    pub runtime: FindRuntime,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
}

/// Inference, decisions, rollouts. Cheap to clone.
#[derive(Clone)]
pub struct Serving {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) ledger: Ledger,
    pub(crate) catalog: Catalog,
    pub(crate) features: FeatureStore,
    pub(crate) lake: Lake,
    pub(crate) guard: Guard,
    /// Moves that the policies refused, each of which is on the record once.
    pub(crate) refused: Mutex<HashSet<Request>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) engines: Engines,
    pub(crate) journal: Journal,
    /// Decisions and outcomes that are durable and not yet in the lake.
    pub(crate) unflushed: AtomicI64,
    /// Closed segments that are not yet sealed. Holding the lock is what flushing means.
    pub(crate) closed: tokio::sync::Mutex<Vec<Segment>>,
    pub(crate) outcomes: Mutex<OutcomeBook>,
    pub(crate) outcomes_read: tokio::sync::OnceCell<()>,
    /// Swapped whole, so that a request sees the traffic before a move or after it and never none.
    routes: RwLock<Arc<HashMap<DeploymentName, Arc<Route>>>>,
    /// One move of traffic at a time.
    pub(crate) moving: tokio::sync::Mutex<()>,
}

impl Serving {
    /// Opens serving: decisions that an earlier run acknowledged and did not log are logged now, once.
    ///
    /// # Errors
    /// `JournalDamaged` when an acknowledged record cannot be read; otherwise what the lake or the ledger say.
    pub async fn open(options: ServingOptions) -> Result<Self, ServeError> {
        let (journal, left) = Journal::open(&options.journal)?;
        let unflushed = left.iter().map(Segment::rows).sum();
        let serving = Self {
            inner: Arc::new(Inner {
                ledger: options.ledger,
                catalog: options.catalog,
                features: options.features,
                lake: options.lake,
                guard: options.guard,
                refused: Mutex::default(),
                clock: options.clock,
                ids: options.ids,
                engines: Engines::new(options.models, options.runtime),
                journal,
                unflushed: AtomicI64::new(unflushed),
                closed: tokio::sync::Mutex::new(left),
                outcomes: Mutex::default(),
                outcomes_read: tokio::sync::OnceCell::new(),
                routes: RwLock::default(),
                moving: tokio::sync::Mutex::new(()),
            }),
        };
        serving.flush().await?;
        serving.reload();
        Ok(serving)
    }

    /// Runs a version on given inputs. Without a version, the one in charge of a deployment of the model answers, else
    /// the newest that is approved.
    ///
    /// # Errors
    /// [`InferError`], which says what is wrong with the request; `Onnx` when the model fails.
    pub fn infer(
        &self,
        model: &str,
        version: Option<u32>,
        request: &InferRequest,
    ) -> Result<InferResponse, ServeError> {
        let engine = self.inner.engines.get(&self.pick(model, version)?)?;
        check_inputs(&request.inputs, engine.session.inputs())?;
        let fault = |source| ServeError::Onnx { version: engine.version.clone(), action: "run", source };
        let outputs = engine.session.run(&request.inputs).map_err(fault)?;
        Ok(InferResponse { version: engine.version.clone(), outputs: pick_outputs(outputs, &request.outputs)? })
    }

    /// What a model takes and gives.
    ///
    /// # Errors
    /// [`InferError`] for a model or version that may not answer; `Onnx` when it cannot be loaded.
    pub fn metadata(&self, model: &str, version: Option<u32>) -> Result<ModelMetadata, ServeError> {
        let picked = self.pick(model, version)?;
        let engine = self.inner.engines.get(&picked)?;
        Ok(ModelMetadata {
            name: picked.model.to_string(),
            versions: self.inner.engines.approved(&picked.model)?,
            version: picked.version,
            platform: "onnx_onnxv1".to_owned(),
            inputs: engine.session.inputs().iter().map(metadata).collect(),
            outputs: engine.session.outputs().iter().map(metadata).collect(),
            feature_names: engine.inputs.iter().map(ToString::to_string).collect(),
        })
    }

    /// Whether a model is loaded, or can be, and may answer.
    ///
    /// # Errors
    /// [`InferError::UnknownModel`] for a model that is not applied.
    pub fn ready(&self, model: &str, version: Option<u32>) -> Result<bool, ServeError> {
        let loaded = self.pick(model, version).and_then(|picked| self.inner.engines.get(&picked));
        match loaded {
            Err(error @ ServeError::Infer(InferError::UnknownModel { .. })) => Err(error),
            loaded => Ok(loaded.is_ok()),
        }
    }

    /// Decides: looks the features up, predicts, explains when asked, and returns once the decision is durable.
    ///
    /// # Errors
    /// Those that name what is wrong with the request (`UnknownDeployment`, `NothingDeployed`, `MissingEntity`,
    /// `WrongEntityType`), and what the parts below say; a decision that was not returned was not acknowledged.
    pub async fn decide(&self, deployment: &DeploymentName, request: DecideRequest) -> Result<Decision, ServeError> {
        let started = Instant::now();
        let route = self.inner.route(deployment)?;
        self.inner.decide(&route, deployment, request, started).await
    }

    /// Decides about many at once by the same path, as a replay does: one journal write for all, no JSON between.
    ///
    /// # Shapes
    /// `entities`: one row a decision, with the entity columns and `at`, the moment of each as timestamp[us, UTC].
    /// # Errors
    /// As [`Serving::decide`]; then none of them was acknowledged.
    pub async fn decide_many(
        &self,
        deployment: &DeploymentName,
        entities: &RecordBatch,
        at: &str,
        explain: bool,
    ) -> Result<DecisionBatch, ServeError> {
        let started = Instant::now();
        let route = self.inner.route(deployment)?;
        self.inner.decide_many(&route, deployment, entities, at, explain, started).await
    }

    /// Takes in what became of decisions. Each outcome joins its decision once; doubles, outcomes for no decision and
    /// outcomes that come more than 90 days late are counted and left out.
    ///
    /// # Errors
    /// `UnknownDeployment`; `Journal` when the outcomes could not be made durable, and then none was taken.
    pub async fn record_outcomes(
        &self,
        deployment: &DeploymentName,
        outcomes: &[Outcome],
    ) -> Result<OutcomesTaken, ServeError> {
        deployment_spec(&self.inner.catalog.specs(), deployment)?;
        self.inner.record_outcomes(deployment, outcomes).await
    }

    /// Moves everything that is durable into the lake and seals it.
    ///
    /// # Errors
    /// What the lake or the ledger say; nothing is lost, and the next flush tries again.
    pub async fn flush(&self) -> Result<Flushed, ServeError> {
        self.inner.flush().await
    }

    /// Flushes every `every`, or sooner once `rows` decisions wait, and moves the rollouts on, until `shutdown` is
    /// ready; then flushes once more.
    pub async fn run(&self, every: Duration, rows: u64, shutdown: impl Future<Output = ()> + Send) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        tokio::pin!(shutdown);
        let mut flushed = Instant::now();
        loop {
            let beat = Duration::from_millis(200).min(every);
            let stop = tokio::select! {
                () = &mut shutdown => true,
                () = tokio::time::sleep(beat) => false,
            };
            let many = self.inner.unflushed.load(Ordering::Relaxed) >= rows;
            if stop || many || flushed.elapsed() >= every {
                if let Err(error) = self.flush().await {
                    tracing::error!(error = &error as &dyn std::error::Error, "decisions stay in the journal");
                }
                flushed = Instant::now();
            }
            if stop {
                return;
            }
            if let Err(error) = self.advance().await {
                tracing::error!(error = &error as &dyn std::error::Error, "rollouts stand still");
            }
        }
    }

    /// The receipt of a decision: inputs, version, reasons, cost, outcome, and proofs of all that was recorded.
    ///
    /// # Errors
    /// `UnknownDecision`; `StoredRow` when the row was damaged.
    pub async fn why(&self, decision: DecisionId) -> Result<Receipt, ServeError> {
        self.inner.why(decision).await
    }

    /// Starts a rollout of an approved version; the first version of a deployment takes over at once.
    ///
    /// # Errors
    /// `NotApproved`, `OtherModel`, `AlreadyInCharge`, `RolloutRunning`: nothing was moved.
    pub async fn start_rollout(
        &self,
        by: &Principal,
        deployment: &DeploymentName,
        version: u32,
    ) -> Result<RolloutId, ServeError> {
        self.begin_rollout(by, deployment, version).await
    }

    /// Takes the candidate out or, with no rollout running, brings the previous champion back; at once.
    ///
    /// # Errors
    /// `NothingToRollBackTo`.
    pub async fn rollback(
        &self,
        by: &Principal,
        deployment: &DeploymentName,
        reason: &str,
    ) -> Result<TrafficShifted, ServeError> {
        self.roll_traffic_back(by, deployment, reason).await
    }

    /// Looks at every running rollout and moves it on, or back, where it is time. Returns the moves made.
    ///
    /// # Errors
    /// What the ledger or the lake say; a later call goes on from there.
    pub async fn advance(&self) -> Result<Vec<TrafficShifted>, ServeError> {
        self.advance_rollouts().await
    }

    /// Where the traffic of a deployment stands.
    ///
    /// # Errors
    /// `UnknownDeployment`.
    pub fn state(&self, deployment: &DeploymentName) -> Result<DeploymentState, ServeError> {
        deployment_spec(&self.inner.catalog.specs(), deployment)?;
        self.inner.state(deployment)
    }

    /// How a deployment stood at a moment.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn state_as_of(&self, deployment: &DeploymentName, at: Timestamp) -> Result<DeploymentState, ServeError> {
        let docs = self.inner.ledger.docs_as_of(at).map_err(ServeError::Ledger)?;
        Ok(docs.read(DEPLOYMENTS, deployment.as_str()).map_err(ServeError::Ledger)?.unwrap_or_default())
    }

    /// What the guardrails of a running rollout see now, step by step.
    ///
    /// # Errors
    /// `UnknownDeployment`; what the lake says.
    pub async fn guardrails(&self, deployment: &DeploymentName) -> Result<Vec<Vec<GuardrailReading>>, ServeError> {
        self.guardrail_readings(deployment).await
    }

    /// Who answered when, to the second, oldest first.
    ///
    /// # Errors
    /// `UnknownDeployment`.
    pub fn history(&self, deployment: &DeploymentName) -> Result<Vec<TrafficPeriod>, ServeError> {
        deployment_spec(&self.inner.catalog.specs(), deployment)?;
        let docs = self.inner.ledger.docs();
        let moves: Vec<(String, TrafficMove)> =
            docs.list(TRAFFIC, &format!("{deployment}/")).map_err(ServeError::Ledger)?;
        Ok(projection::periods(moves.into_iter().map(|(_, moved)| moved).collect()))
    }

    /// Reads the traffic of every deployment again from the record.
    pub fn reload(&self) {
        let deployments: Vec<DeploymentName> = self.inner.catalog.specs().deployments.keys().cloned().collect();
        for deployment in deployments {
            if let Err(error) = self.inner.reroute(&deployment) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%deployment, error, "the deployment cannot answer yet");
            }
        }
    }

    /// Has what the deployments decide with ready, views as they were when a version learnt included: else the first decision
    /// waits for it. What is in the way is said by the decisions as well.
    pub async fn warm_up(&self) {
        let inner = &self.inner;
        let specs = inner.catalog.specs();
        for deployment in specs.deployments.keys() {
            let Ok(route) = inner.route(deployment) else { continue };
            if let Err(error) = route.layout(&specs, deployment, &inner.features, &inner.engines).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%deployment, error, "the deployment cannot answer yet");
            }
        }
    }

    fn pick(&self, model: &str, version: Option<u32>) -> Result<ModelVersionRef, ServeError> {
        let specs = self.inner.catalog.specs();
        let unknown = || InferError::UnknownModel {
            name: model.to_owned(),
            known: specs.models.keys().map(ToString::to_string).collect(),
        };
        let name: ModelName = model.parse().map_err(|_| unknown())?;
        if !specs.models.contains_key(&name) {
            return Err(unknown().into());
        }
        let routes = Arc::clone(&self.inner.routes.read());
        let of_model = specs.deployments.iter().filter(|(_, deployment)| deployment.spec.model == name);
        let in_charge = of_model.filter_map(|(deployment, _)| routes.get(deployment)).next();
        self.inner.engines.pick(&name, version, in_charge.map(|route| route.champion.version.version))
    }
}

impl Inner {
    pub(crate) fn state(&self, deployment: &DeploymentName) -> Result<DeploymentState, ServeError> {
        let docs = self.ledger.docs();
        Ok(docs.read(DEPLOYMENTS, deployment.as_str()).map_err(ServeError::Ledger)?.unwrap_or_default())
    }

    /// Takes over where the record says that traffic stands.
    pub(crate) fn reroute(&self, deployment: &DeploymentName) -> Result<Option<Arc<Route>>, ServeError> {
        let route = Route::of(&self.state(deployment)?, &self.engines)?.map(Arc::new);
        let mut routes = self.routes.write();
        let mut table = HashMap::clone(&routes);
        match &route {
            Some(route) => table.insert(deployment.clone(), Arc::clone(route)),
            None => table.remove(deployment),
        };
        *routes = Arc::new(table);
        Ok(route)
    }

    fn route(&self, deployment: &DeploymentName) -> Result<Arc<Route>, ServeError> {
        let known = self.routes.read().get(deployment).map(Arc::clone);
        if let Some(route) = known {
            return Ok(route);
        }
        let specs = self.catalog.specs();
        let model = deployment_spec(&specs, deployment)?.1.model.clone();
        // It may have been applied, or become able to answer, since the last look.
        self.reroute(deployment)?.ok_or_else(|| ServeError::NothingDeployed { deployment: deployment.clone(), model })
    }
}
