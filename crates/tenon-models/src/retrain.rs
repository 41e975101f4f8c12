//! Drift starts a training.

use async_trait::async_trait;
use tenon_core::fact::{DriftDetected, RunStarted};
use tenon_core::id::OperationId;
use tenon_core::spec::ResourceKind;
use tenon_core::{Payload, Principal};
use tenon_ledger::{StoredFact, Subscriber};
use tenon_policy::{Action, Guard, Request, Target};

use crate::models::{Models, resource};
use crate::train::INTERRUPTED;
use crate::{ModelError, TrainRequest, projection};

/// How often a training for one incident is started before people must look.
const ATTEMPTS: u32 = 3;

/// Trains a new version when drift asks for one, where the policies permit it: they know whether the model's pod lets
/// retraining start by itself. One incident gives one version, however often it is told.
pub struct RetrainOnDrift {
    models: Models,
    guard: Guard,
}

impl RetrainOnDrift {
    /// A subscriber that trains with `models` what `guard` lets it.
    pub fn new(models: Models, guard: Guard) -> Self {
        Self { models, guard }
    }

    /// Each attempt is an operation that starts at most once: one that ended badly, or that a crash left open, is
    /// followed by the next; one that ended well is the last.
    async fn retrain(&self, drift: &DriftDetected) -> Result<(), ModelError> {
        let (models, inner) = (&self.models, &self.models.inner);
        let specs = inner.catalog.specs();
        let pod = &resource(&specs, &drift.model)?.pod;
        if !drift.retrain {
            tracing::info!(incident = %drift.incident, model = %drift.model, "drift is left to people");
            return Ok(());
        }
        let by = Principal::service("retrain");
        let target = Target::resource(ResourceKind::Model, drift.model.as_str());
        if !self.guard.check(&Request::new(by.clone(), Action::ModelTrain, target)).await?.allowed {
            return Ok(());
        }
        for attempt in 1..=ATTEMPTS {
            let operation = OperationId::derive(&["retrain", &drift.incident.to_string(), &attempt.to_string()]);
            let Some(sealed) = inner.ledger.sealed(RunStarted::KIND, operation)? else {
                let request = TrainRequest {
                    model: drift.model.clone(),
                    cause: format!("drift of {} (incident {})", drift.deployment, drift.incident),
                    known_by: inner.clock.now(),
                    drill_shuffle_seed: None,
                };
                return models.train_as(&by, request, Some(operation)).await.map(drop);
            };
            let run = sealed.fact.payload::<RunStarted>()?.run;
            let Some(record) = projection::run(&inner.ledger.docs(), run)? else { continue };
            if let Some(version) = record.version {
                if models.version(&version)?.judged.is_none() {
                    models.judge(&by, &version).await?;
                }
                return Ok(());
            }
            if record.is_open() {
                inner.fail(&by, pod, run, INTERRUPTED).await?;
            }
        }
        Err(ModelError::GivenUp(ATTEMPTS, drift.incident.to_string()))
    }
}

#[async_trait]
impl Subscriber for RetrainOnDrift {
    fn name(&self) -> &str {
        "retrain"
    }

    fn kinds(&self) -> &[&str] {
        &[DriftDetected::KIND]
    }

    async fn handle(&self, stored: &StoredFact) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.retrain(&stored.fact.payload()?).await?;
        Ok(())
    }
}
