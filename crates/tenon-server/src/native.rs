//! The program's own interface, under `/api/v1`: lists, facts, history, moves of traffic.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tenon_core::fact::TrafficShifted;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{DeploymentName, ModelVersionRef};
use tenon_ledger::StoredFact;
use tenon_models::VersionRecord;
use tenon_policy::{Action, Request};
use tenon_serve::{DeploymentState, TrafficPeriod};

use crate::caller::Caller;
use crate::house::{House, aside, to_its_end};
use crate::problem::Problem;
use crate::versions::{AskedThen, moment};

/// The most facts of one answer.
const MOST_FACTS: usize = 1000;

/// `GET /api/v1/datasets?as_of=`.
pub(crate) async fn datasets(State(house): State<Arc<House>>, then: AskedThen) -> Result<Json<Vec<Value>>, Problem> {
    let at = moment(&house, then)?;
    let specs = house.catalog.specs();
    let states = at.map_or_else(|| house.lake.list(), |at| house.lake.list_as_of(at))?;
    let of = |(name, dataset): (_, &tenon_core::spec::Resource<tenon_core::spec::DatasetSpec>)| {
        let name: &tenon_core::DatasetName = name;
        let state = states.iter().find(|state| state.newest.table == name.as_str());
        Ok(json!({ "name": name, "pod": dataset.pod, "description": dataset.spec.description, "state": state }))
    };
    specs.datasets.iter().map(of).collect::<Result<_, Problem>>().map(Json)
}

/// `GET /api/v1/features`.
pub(crate) async fn features(State(house): State<Arc<House>>) -> Json<Vec<Value>> {
    let specs = house.catalog.specs();
    Json(specs.views().map(|view| json!({ "name": view.name, "pod": view.pod, "spec": view.spec })).collect())
}

/// `GET /api/v1/models`.
pub(crate) async fn models(State(house): State<Arc<House>>) -> Result<Json<Vec<Value>>, Problem> {
    let specs = house.catalog.specs();
    let mut models = Vec::new();
    for (name, model) in &specs.models {
        let versions = house.models.versions(name)?.len();
        let champion = house.models.champion(name)?;
        models.push(
            json!({ "name": name, "pod": model.pod, "versions": versions, "champion": champion, "spec": model.spec }),
        );
    }
    Ok(Json(models))
}

/// `GET /api/v1/versions?as_of=`: all that is on record of each.
pub(crate) async fn versions(State(house): State<Arc<House>>, then: AskedThen) -> Result<Json<Value>, Problem> {
    let at = moment(&house, then)?;
    let mut records = Vec::new();
    for name in house.catalog.specs().models.keys() {
        records.extend(match at {
            Some(at) => house.models.versions_as_of(name, at)?,
            None => house.models.versions(name)?,
        });
    }
    Ok(Json(serde_json::to_value(records)?))
}

/// `GET /api/v1/deployments?as_of=`.
pub(crate) async fn deployments(State(house): State<Arc<House>>, then: AskedThen) -> Result<Json<Vec<Value>>, Problem> {
    let at = moment(&house, then)?;
    let specs = house.catalog.specs();
    let mut deployments = Vec::new();
    for (name, deployment) in &specs.deployments {
        let state = match at {
            Some(at) => house.serving.state_as_of(name, at)?,
            None => house.serving.state(name)?,
        };
        deployments.push(json!({ "name": name, "pod": deployment.pod, "spec": deployment.spec, "state": state }));
    }
    Ok(Json(deployments))
}

/// `GET /api/v1/monitors`: with every measurement.
pub(crate) async fn monitors(State(house): State<Arc<House>>) -> Result<Json<Vec<Value>>, Problem> {
    let specs = house.catalog.specs();
    let mut monitors = Vec::new();
    for (name, monitor) in &specs.monitors {
        let (drift, quality, skew) = (house.watch.drift(name)?, house.watch.quality(name)?, house.watch.skew(name)?);
        monitors.push(json!({
            "name": name, "pod": monitor.pod, "spec": monitor.spec, "drift": drift, "quality": quality, "skew": skew,
        }));
    }
    Ok(Json(monitors))
}

/// `GET /api/v1/incidents`.
pub(crate) async fn incidents(State(house): State<Arc<House>>) -> Result<Json<Value>, Problem> {
    Ok(Json(serde_json::to_value(house.watch.incidents()?)?))
}

/// Which facts.
#[derive(Debug, Deserialize)]
pub(crate) struct Stretch {
    #[serde(default)]
    from: u64,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    100
}

/// `GET /api/v1/facts?from=&limit=`: in order.
pub(crate) async fn facts(
    State(house): State<Arc<House>>,
    stretch: Result<Query<Stretch>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Stretch { from, limit }) = stretch.map_err(|error| Problem::bad_request(error.body_text()))?;
    aside(move || {
        let end = from.saturating_add(limit.min(MOST_FACTS) as u64);
        let facts: Vec<Value> = house.ledger.facts(from..end)?.iter().map(told).collect();
        Ok(Json(json!({ "size": house.ledger.size()?, "facts": facts })))
    })
    .await
}

fn told(StoredFact { index, fact }: &StoredFact) -> Value {
    json!({ "index": index, "fact": fact })
}

/// `GET /api/v1/facts/{index}`: one fact with the proof that it is in the log.
pub(crate) async fn fact(State(house): State<Arc<House>>, Path(index): Path<String>) -> Result<Json<Value>, Problem> {
    let index: u64 = index.parse().map_err(|_| Problem::not_found(format!("there is no fact `{index}`")))?;
    let inclusion = house.ledger.inclusion(index)?;
    let fact = house.ledger.facts(index..index + 1)?.pop();
    let StoredFact { index, fact } = fact.ok_or_else(|| Problem::not_found(format!("there is no fact {index}")))?;
    Ok(Json(json!({ "index": index, "fact": fact, "inclusion": inclusion })))
}

/// `GET /api/v1/history/{deployment}`: who answered when.
pub(crate) async fn history(
    State(house): State<Arc<House>>,
    Path(deployment): Path<DeploymentName>,
) -> Result<Json<Vec<TrafficPeriod>>, Problem> {
    Ok(Json(house.serving.history(&deployment)?))
}

/// What `POST /api/v1/rollouts/{deployment}` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollout {
    /// `late_arrival@2`.
    version: ModelVersionRef,
}

/// `POST /api/v1/rollouts/{deployment}`: starts to send traffic to a version.
pub(crate) async fn rollout(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(deployment): Path<String>,
    asked: Result<Json<Rollout>, JsonRejection>,
) -> Result<Json<DeploymentState>, Problem> {
    let Json(Rollout { version }) = asked?;
    let target = ResourceRef::new(ResourceKind::Deployment, deployment.as_str());
    let record = house.models.version(&version);
    let fair = record.as_ref().is_ok_and(|record| record.passed("fairness"));
    let approved = record.as_ref().is_ok_and(VersionRecord::is_approved);
    let question = Request::new(caller.0.clone(), Action::RolloutStart, target).candidate(fair, approved);
    house.allow_request(&question).await?;
    record?;
    let name: DeploymentName = deployment.parse()?;
    let by = caller.0;
    to_its_end(async move {
        if house.catalog.specs().deployments.get(&name).is_some_and(|deployment| deployment.spec.model != version.model)
        {
            return Err(Problem::unprocessable(format!("`{name}` does not serve the model `{}`", version.model)));
        }
        house.serving.start_rollout(&by, &name, version.version).await?;
        Ok(Json(house.serving.state(&name)?))
    })
    .await
}

/// What `POST /api/v1/rollbacks/{deployment}` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    reason: String,
}

/// `POST /api/v1/rollbacks/{deployment}`: sends the traffic back.
pub(crate) async fn rollback(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
    Path(deployment): Path<DeploymentName>,
    asked: Result<Json<Rollback>, JsonRejection>,
) -> Result<Json<TrafficShifted>, Problem> {
    let Json(Rollback { reason }) = asked?;
    to_its_end(async move { Ok(Json(house.serving.rollback(&by, &deployment, &reason).await?)) }).await
}
