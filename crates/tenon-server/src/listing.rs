//! Lists of decisions, for machines and for people.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use tenon_console::view::{DecisionRow, DecisionsView};
use tenon_core::DeploymentName;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_policy::{Action, Request};
use tenon_serve::{ListedDecision, Variant};

use crate::access::{company, must_exist};
use crate::caller::Caller;
use crate::console::{Page, frame};
use crate::house::House;
use crate::problem::{Problem, Trouble, decision_id};

/// Decisions on a page.
const PAGE: usize = 50;
/// The most decisions of one answer.
const MOST: usize = 1_000;

/// Which decisions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    deployment: Option<String>,
    /// Those older than this one.
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

type AskedList = Result<Query<Asked>, QueryRejection>;

/// `GET /api/v1/decisions?deployment=&before=&limit=`: newest first, of all deployments whose decisions the caller may see.
pub(crate) async fn decisions(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: AskedList,
) -> Result<Json<Vec<ListedDecision>>, Problem> {
    house.allow(&caller, Action::CompanyRead, company()).await?;
    let Query(Asked { deployment, before, limit }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let before = before.as_deref().map(decision_id).transpose()?;
    let seen = match &deployment {
        Some(name) => vec![one(&house, &caller, name).await?],
        None => visible(&house, &caller)?.0,
    };
    Ok(Json(house.serving.decisions(&seen, before, limit.unwrap_or(PAGE).min(MOST)).await?))
}

/// `GET /console/decisions?deployment=&before=`.
pub(crate) async fn page(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: AskedList,
) -> Result<Page, Trouble> {
    house.allow(&caller, Action::CompanyRead, company()).await?;
    let Query(Asked { deployment, before, .. }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let from = before.as_deref().map(decision_id).transpose()?;
    let (deployments, hidden) = visible(&house, &caller)?;
    let chosen = match &deployment {
        Some(name) => Some(one(&house, &caller, name).await?),
        None => None,
    };
    let seen = chosen.as_ref().map_or(&deployments[..], std::slice::from_ref);
    // One more than the page holds says whether there is another page.
    let mut found = house.serving.decisions(seen, from, PAGE + 1).await.map_err(Problem::from)?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let view = DecisionsView {
        frame: frame(&house),
        deployments: deployments.iter().map(ToString::to_string).collect(),
        chosen: deployment,
        hidden: hidden.iter().map(ToString::to_string).collect(),
        older: found.last().filter(|_| more).map(|decision| decision.id.to_string()),
        decisions: found.into_iter().map(row).collect(),
        later_pages: before.is_some(),
    };
    Ok(Page(tenon_console::decisions(&view)))
}

/// The deployment of that name, where the caller may see its decisions.
async fn one(house: &House, caller: &Caller, name: &str) -> Result<DeploymentName, Problem> {
    let of = ResourceRef::new(ResourceKind::Deployment, name);
    must_exist(house, caller, &of)?;
    house.allow(caller, Action::DecisionRead, of).await?;
    Ok(name.parse()?)
}

/// The deployments whose decisions the caller may see, and those whose it may not.
fn visible(house: &House, caller: &Caller) -> Result<(Vec<DeploymentName>, Vec<DeploymentName>), Problem> {
    let (mut seen, mut hidden) = (Vec::new(), Vec::new());
    for deployment in house.catalog.specs().deployments.keys() {
        let to = if may_see(house, caller, deployment)? { &mut seen } else { &mut hidden };
        to.push(deployment.clone());
    }
    Ok((seen, hidden))
}

/// Whether the caller may see decisions of a deployment; leaves no trace.
pub(crate) fn may_see(house: &House, caller: &Caller, deployment: &DeploymentName) -> Result<bool, Problem> {
    let of = ResourceRef::new(ResourceKind::Deployment, deployment.as_str());
    Ok(house.guard.judge(&Request::new(caller.0.clone(), Action::DecisionRead, of))?.allowed)
}

/// A decision as a row.
pub(crate) fn row(decision: ListedDecision) -> DecisionRow {
    let entity = |(column, value): (String, Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (column, value)
    };
    DecisionRow {
        id: decision.id.to_string(),
        deployment: decision.deployment.to_string(),
        version: decision.version.to_string(),
        candidate: decision.variant == Variant::Candidate,
        at: decision.at,
        entities: decision.entities.into_iter().map(entity).collect(),
        probability: decision.probability,
        decision: decision.decision,
        outcome: decision.outcome,
    }
}
