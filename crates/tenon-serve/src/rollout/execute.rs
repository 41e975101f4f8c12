//! The dumb half of rollouts: appends what was planned, then swaps the table that requests read.

use tenon_core::fact::{RolloutStarted, TrafficReason, TrafficShifted, VersionJudged};
use tenon_core::id::{OperationId, RolloutId};
use tenon_core::spec::ResourceKind;
use tenon_core::{DeploymentName, ModelName, ModelVersionRef, NewFact, Principal};
use tenon_ledger::DocsExt;
use tenon_policy::{Action, Request, Target};

use super::plan::{self, GuardrailReading, RolloutSeen, Shift, readings};
use super::{faults, roll_back};
use crate::error::ServeError;
use crate::projection::{APPROVED, DeploymentState};
use crate::route::deployment_spec;
use crate::serving::Serving;

impl Serving {
    pub(crate) async fn begin_rollout(
        &self,
        by: &Principal,
        deployment: &DeploymentName,
        version: u32,
    ) -> Result<RolloutId, ServeError> {
        let _moving = self.inner.moving.lock().await;
        let specs = self.inner.catalog.specs();
        let model = deployment_spec(&specs, deployment)?.1.model.clone();
        let id = RolloutId::new(&*self.inner.ids, self.inner.clock.now());
        self.begin(by, deployment, &ModelVersionRef { model, version }, id).await?;
        Ok(id)
    }

    /// Rolls the newest approved version out, where it is due and the policies let that happen by itself.
    pub(crate) async fn begin_due(&self, deployment: &DeploymentName) -> Result<Option<RolloutId>, ServeError> {
        let _moving = self.inner.moving.lock().await;
        let specs = self.inner.catalog.specs();
        let spec = deployment_spec(&specs, deployment)?.1;
        let approved = self.approved(&spec.model)?;
        let state = self.inner.state(deployment)?;
        let Some(version) = plan::due(&state, &approved) else { return Ok(None) };
        let operation = OperationId::derive(&["rollout.due", deployment.as_str(), &version.to_string()]);
        let id = RolloutId::from_uuid(operation.uuid());
        if !self.may(Action::RolloutStart, deployment, version).await? {
            return Ok(None);
        }
        self.begin(&Principal::service("rollout"), deployment, version, id).await?;
        Ok(Some(id))
    }

    /// Asks the policies before the program moves traffic by itself. It asks again and again while a move is due, and the
    /// record needs each refusal once.
    async fn may(
        &self,
        action: Action,
        deployment: &DeploymentName,
        candidate: &ModelVersionRef,
    ) -> Result<bool, ServeError> {
        let record = self.inner.engines.record(candidate)?;
        let target = Target::resource(ResourceKind::Deployment, deployment.as_str());
        let request = Request::new(Principal::service("rollout"), action, target)
            .candidate(record.passed("fairness"), record.is_approved());
        if self.inner.guard.judge(&request).map_err(ServeError::Policy)?.allowed {
            self.inner.refused.lock().remove(&request);
            return Ok(true);
        }
        let is_new = self.inner.refused.lock().insert(request.clone());
        if is_new {
            self.inner.guard.check(&request).await.map_err(ServeError::Policy)?;
        }
        Ok(false)
    }

    async fn begin(
        &self,
        by: &Principal,
        deployment: &DeploymentName,
        candidate: &ModelVersionRef,
        id: RolloutId,
    ) -> Result<(), ServeError> {
        let specs = self.inner.catalog.specs();
        let spec = deployment_spec(&specs, deployment)?.1;
        let mut state = self.inner.state(deployment)?;
        if candidate.model != spec.model {
            let (model, version) = (spec.model.clone(), candidate.clone());
            return Err(ServeError::OtherModel { deployment: deployment.clone(), model, version });
        }
        if let Some(rollout) = state.rollout {
            return Err(ServeError::RolloutRunning { deployment: deployment.clone(), candidate: rollout.candidate });
        }
        if state.champion.as_ref().is_some_and(|champion| champion.version == *candidate) {
            return Err(ServeError::AlreadyInCharge { deployment: deployment.clone(), version: candidate.clone() });
        }
        let record = self.inner.engines.record(candidate)?;
        if !record.is_approved() {
            let reason = refusal(record.judged.as_ref());
            return Err(ServeError::NotApproved { version: candidate.clone(), reason });
        }
        // Loaded before the first request needs it; a version that cannot be loaded takes no traffic.
        self.inner.engines.get(candidate)?;
        let (started, shift) = plan::start(&state, deployment, candidate, &spec.rollout, id);
        state.start(&started, self.inner.clock.now());
        let first = self.started_fact(by, &started)?;
        self.shift(by, deployment, &state, shift, Some(first)).await?;
        Ok(())
    }

    fn started_fact(&self, by: &Principal, started: &RolloutStarted) -> Result<NewFact, ServeError> {
        let operation = OperationId::derive(&["rollout.started", &started.rollout.to_string()]);
        self.inner.fact_by(by.clone(), &started.deployment, operation, started)
    }

    pub(crate) async fn roll_traffic_back(
        &self,
        by: &Principal,
        deployment: &DeploymentName,
        reason: &str,
    ) -> Result<TrafficShifted, ServeError> {
        deployment_spec(&self.inner.catalog.specs(), deployment)?;
        let _moving = self.inner.moving.lock().await;
        let state = self.inner.state(deployment)?;
        let nothing = || ServeError::NothingToRollBackTo { deployment: deployment.clone() };
        let shift = roll_back(&state, reason).ok_or_else(nothing)?;
        self.shift(by, deployment, &state, shift, None).await
    }

    pub(crate) async fn advance_rollouts(&self) -> Result<Vec<TrafficShifted>, ServeError> {
        let specs = self.inner.catalog.specs();
        let mut moves = Vec::new();
        for deployment in specs.deployments.keys() {
            moves.extend(self.advance_one(deployment).await?);
            self.begin_due(deployment).await?;
        }
        Ok(moves)
    }

    async fn advance_one(&self, deployment: &DeploymentName) -> Result<Option<TrafficShifted>, ServeError> {
        let running = self.inner.state(deployment)?.rollout.map(|rollout| rollout.id);
        if running.is_none() {
            return Ok(None);
        }
        self.inner.read_outcomes().await?;
        let _moving = self.inner.moving.lock().await;
        let state = self.inner.state(deployment)?;
        let Some(rollout) = &state.rollout else { return Ok(None) };
        let evidence = self.inner.outcomes.lock().evidence(rollout.id);
        let specs = self.inner.catalog.specs();
        let spec = &deployment_spec(&specs, deployment)?.1.rollout;
        let seen = RolloutSeen { state: &state, evidence: &evidence };
        match plan::plan(seen, spec).map_err(ServeError::Stats)? {
            Some(shift) => {
                let stops = shift.reason == TrafficReason::RolledBack;
                let action = if stops { Action::RolloutStop } else { Action::RolloutAdvance };
                if !self.may(action, deployment, &rollout.candidate).await? {
                    return Ok(None);
                }
                let by = Principal::service("rollout");
                self.shift(&by, deployment, &state, shift, None).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Makes a move: refuses an impossible one, records it, and only then lets requests see it.
    async fn shift(
        &self,
        by: &Principal,
        deployment: &DeploymentName,
        state: &DeploymentState,
        shift: Shift,
        before: Option<NewFact>,
    ) -> Result<TrafficShifted, ServeError> {
        let faults = faults(state, &shift);
        if !faults.is_empty() {
            let faults = faults.join("; ");
            return Err(ServeError::ImpossiblePlan { deployment: deployment.clone(), faults });
        }
        let operation = operation(deployment, state, &shift);
        let Shift { rollout, step, traffic, reason, sentence } = shift;
        let shifted = TrafficShifted { deployment: deployment.clone(), rollout, traffic, reason, sentence };
        let fact = self.inner.fact_by(by.clone(), deployment, operation, &shifted)?;
        let facts = before.into_iter().chain([fact]).collect();
        self.inner.ledger.append(facts).await.map_err(ServeError::Ledger)?;
        self.inner.reroute(deployment)?;
        if let (None, Some(ended)) = (step, rollout) {
            self.inner.outcomes.lock().forget(ended);
        }
        Ok(shifted)
    }

    pub(crate) async fn guardrail_readings(
        &self,
        deployment: &DeploymentName,
    ) -> Result<Vec<Vec<GuardrailReading>>, ServeError> {
        let specs = self.inner.catalog.specs();
        let spec = &deployment_spec(&specs, deployment)?.1.rollout;
        let Some(rollout) = self.inner.state(deployment)?.rollout else { return Ok(Vec::new()) };
        self.inner.read_outcomes().await?;
        let evidence = self.inner.outcomes.lock().evidence(rollout.id);
        let of_step = |(step, evidence)| readings(&rollout, step, evidence, spec).map_err(ServeError::Stats);
        evidence.iter().enumerate().map(of_step).collect()
    }

    fn approved(&self, model: &ModelName) -> Result<Vec<ModelVersionRef>, ServeError> {
        let docs = self.inner.ledger.docs();
        let found: Vec<(String, ModelVersionRef)> =
            docs.list(APPROVED, &format!("{model}/")).map_err(ServeError::Ledger)?;
        Ok(found.into_iter().map(|(_, version)| version).collect())
    }
}

/// The operation that a move seals: one for each step of a rollout and one for its end.
fn operation(deployment: &DeploymentName, state: &DeploymentState, shift: &Shift) -> OperationId {
    let place = match (shift.rollout, shift.step) {
        (Some(rollout), Some(step)) => [rollout.to_string(), step.to_string()],
        (Some(rollout), None) => [rollout.to_string(), "end".to_owned()],
        (None, _) => {
            let champion = state.champion.as_ref();
            let since = champion.map(|champion| format!("{} since {}", champion.version, champion.since.as_micros()));
            [deployment.to_string(), since.unwrap_or_default()]
        }
    };
    OperationId::derive(&["traffic.shifted", &place[0], &place[1]])
}

fn refusal(judged: Option<&VersionJudged>) -> String {
    match judged {
        None => "its gates have not judged it yet".to_owned(),
        Some(judged) => format!("it failed the gates {}", crate::error::list(&judged.failed)),
    }
}
