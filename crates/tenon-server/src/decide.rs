//! Decisions about entities.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value};
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{DeploymentName, Timestamp};
use tenon_policy::Action;
use tenon_serve::{DecideRequest, Decision};

use crate::caller::Caller;
use crate::doors::Doors;
use crate::problem::Problem;

/// What `POST /decide/{deployment}` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    entities: Map<String, Value>,
    #[serde(default)]
    at: Option<Timestamp>,
    #[serde(default)]
    explain: bool,
}

/// `POST /decide/{deployment}`: looks the features up, predicts, explains when asked, records.
pub async fn decide(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Path(deployment): Path<String>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Json<Decision>, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let name: DeploymentName = deployment.parse().map_err(|error: tenon_core::name::NameError| Problem::bad_request(error.to_string()))?;
    doors.allow(&caller, Action::DeploymentDecide, ResourceRef::new(ResourceKind::Deployment, deployment)).await?;
    let request = DecideRequest { entities: asked.entities, explain: asked.explain, at: asked.at };
    Ok(Json(doors.serving.decide(&name, request).await?))
}
