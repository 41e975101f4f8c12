//! Decisions about entities: asked for, followed by their outcomes, explained.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tenon_core::id::DecisionId;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{DeploymentName, Span, Timestamp};
use tenon_policy::Action;
use tenon_serve::{DecideRequest, Decision, Outcome, OutcomesTaken, Receipt};

use crate::caller::Caller;
use crate::house::{House, to_its_end};
use crate::problem::{Problem, decision_id};

/// How far ahead of the company's clock a moment may lie: callers' clocks differ, and a replay runs ahead of its own.
/// Beyond it nothing could be known.
pub(crate) const AHEAD: Span = Span::hours(1);

/// What `POST /decide/{deployment}` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    entities: Map<String, Value>,
    #[serde(default)]
    at: Option<Timestamp>,
    #[serde(default)]
    explain: bool,
}

/// `POST /decide/{deployment}`: looks the features up, predicts, explains when asked, records.
pub(crate) async fn decide(
    State(house): State<Arc<House>>,
    Path(deployment): Path<DeploymentName>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Json<Decision>, Problem> {
    let Json(Asked { entities, at, explain }) = asked?;
    if let Some(at) = at {
        not_ahead(&house, "at", at)?;
    }
    Ok(Json(house.serving.decide(&deployment, DecideRequest { entities, explain, at }).await?))
}

fn not_ahead(house: &House, field: &str, at: Timestamp) -> Result<(), Problem> {
    let now = house.clock.now();
    if at <= now + AHEAD {
        return Ok(());
    }
    Err(Problem::unprocessable(format!("`{field}` is {at}, which is in the future: the company's time is {now}")))
}

/// What `POST /outcomes/{deployment}` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    outcomes: Vec<ToldOutcome>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldOutcome {
    decision: DecisionId,
    outcome: bool,
    #[serde(default)]
    known_at: Option<Timestamp>,
}

/// `POST /outcomes/{deployment}`: what became of decisions; without `known_at`, as known now.
pub(crate) async fn outcomes(
    State(house): State<Arc<House>>,
    Path(deployment): Path<DeploymentName>,
    told: Result<Json<Told>, JsonRejection>,
) -> Result<Json<OutcomesTaken>, Problem> {
    let Json(told) = told?;
    let now = house.clock.now();
    let mut outcomes = Vec::with_capacity(told.outcomes.len());
    for ToldOutcome { decision, outcome, known_at } in told.outcomes {
        let known_at = known_at.unwrap_or(now);
        not_ahead(&house, "known_at", known_at)?;
        outcomes.push(Outcome { decision, outcome, known_at });
    }
    to_its_end(async move { Ok(Json(house.serving.record_outcomes(&deployment, &outcomes).await?)) }).await
}

/// A receipt with what checking it here found; whoever does not trust this server checks it again.
#[derive(Serialize)]
pub(crate) struct CheckedReceipt {
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(flatten)]
    receipt: Receipt,
}

/// `GET /decisions/{id}`: the receipt.
pub(crate) async fn receipt(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<CheckedReceipt>, Problem> {
    let (receipt, fault) = checked(&house, &caller, &id).await?;
    Ok(Json(CheckedReceipt { verified: fault.is_none(), fault, receipt }))
}

/// A decision's receipt, for those who may see it, and why it does not hold, where it does not.
pub(crate) async fn checked(house: &House, caller: &Caller, id: &str) -> Result<(Receipt, Option<String>), Problem> {
    let receipt = house.serving.why(decision_id(id)?).await?;
    let of = ResourceRef::new(ResourceKind::Deployment, receipt.deployment.as_str());
    house.allow(caller, Action::DecisionRead, of).await?;
    let fault = receipt.verify(&house.ledger.verifier_key()).err();
    Ok((receipt, fault.map(|fault| fault.to_string())))
}
