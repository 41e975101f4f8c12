//! Rows that broke a contract: looked at, released, discarded.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tenon_core::DatasetName;
use tenon_lake::{Resolution, Selection};

use crate::caller::Caller;
use crate::house::{House, to_its_end};
use crate::problem::Problem;

/// The most rows of one answer.
const MOST_ROWS: usize = 1_000;
/// The most that an answer shows of one row, in characters.
const MOST_CHARS: usize = 16 << 10;

/// Which rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// `open`, `released` or `discarded`; none: all.
    #[serde(default)]
    state: Option<String>,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    100
}

/// `GET /api/v1/datasets/{dataset}/quarantine?state=&limit=`: sums by state, and the newest rows.
pub(crate) async fn list(
    State(house): State<Arc<House>>,
    Path(dataset): Path<DatasetName>,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Listed { state, limit }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let state = state.map(|state| state.parse::<Resolution>()).transpose().map_err(Problem::unprocessable)?;
    let sums = house.lake.quarantine_sums(&dataset).await?;
    let rows = house.lake.quarantined_rows(&dataset, state, limit.min(MOST_ROWS), MOST_CHARS).await?;
    Ok(Json(json!({ "dataset": dataset, "sums": sums, "rows": rows })))
}

/// What `POST /api/v1/datasets/{dataset}/quarantine/release` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// Which rows: a condition in SQL; none: all open ones.
    #[serde(default)]
    r#where: Option<String>,
    /// Repairs: a column as it came, and the expression in SQL that it becomes.
    #[serde(default)]
    set: IndexMap<String, String>,
    reason: String,
}

/// `POST /api/v1/datasets/{dataset}/quarantine/release`: lands rows that keep the contract now; 422 where there were rows
/// and none does.
pub(crate) async fn release(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
    Path(dataset): Path<DatasetName>,
    asked: Result<Json<Release>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Release { r#where, set, reason }) = asked?;
    let selection = Selection { filter: r#where, set: set.into_iter().collect() };
    to_its_end(async move {
        let released = house.features.release(&by, &dataset, &selection, &reason).await?;
        let (chosen, still_broken) = (released.chosen, released.still_broken);
        let mut told = json!({ "released": released.fact, "chosen": chosen, "still_broken": still_broken });
        if released.fact.is_none() && chosen > 0 {
            told["error"] = format!("none of the {chosen} rows keeps the contract of `{dataset}`").into();
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(told)).into_response());
        }
        Ok(Json(told).into_response())
    })
    .await
}

/// What `POST /api/v1/datasets/{dataset}/quarantine/discard` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Discard {
    /// Which rows, as for a release.
    #[serde(default)]
    r#where: Option<String>,
    reason: String,
}

/// `POST /api/v1/datasets/{dataset}/quarantine/discard`: marks rows as never to land.
pub(crate) async fn discard(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
    Path(dataset): Path<DatasetName>,
    asked: Result<Json<Discard>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Discard { r#where, reason }) = asked?;
    to_its_end(async move {
        let discarded = house.lake.discard_quarantined(&by, &dataset, r#where.as_deref(), &reason).await?;
        Ok(Json(json!({ "discarded": discarded })))
    })
    .await
}
