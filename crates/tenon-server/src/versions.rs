//! Versions of datasets: tags, branches, differences; and the moment that `?as_of=` means for lists.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use tenon_core::{AsOf, DatasetName, Timestamp};
use tenon_lake::{BranchRecord, TableDiff, TagRecord};

use crate::house::House;
use crate::problem::Problem;

/// The most rows of each kind that a difference shows.
const MOST_SAMPLES: usize = 100;

/// As of what a list is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Then {
    /// A moment, a tag, or `latest`.
    #[serde(default)]
    as_of: Option<String>,
}

/// What a list's address says.
pub(crate) type AskedThen = Result<Query<Then>, QueryRejection>;

/// The moment that a list is asked for; none: now.
pub(crate) fn moment(house: &House, asked: AskedThen) -> Result<Option<Timestamp>, Problem> {
    let Query(Then { as_of }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(house.lake.moment(&parsed(as_of.as_deref())?)?)
}

pub(crate) fn parsed(as_of: Option<&str>) -> Result<AsOf, Problem> {
    let parsed = as_of.map(str::parse).transpose();
    let parsed =
        parsed.map_err(|error: tenon_core::reference::ReferenceError| Problem::unprocessable(error.to_string()));
    Ok(parsed?.unwrap_or_default())
}

/// The state that is asked for.
pub(crate) fn as_of(asked: AskedThen) -> Result<AsOf, Problem> {
    let Query(Then { as_of }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    parsed(as_of.as_deref())
}

/// `GET /api/v1/tags`.
pub(crate) async fn tags(State(house): State<Arc<House>>) -> Result<Json<Vec<TagRecord>>, Problem> {
    Ok(Json(house.lake.tags()?))
}

/// `GET /api/v1/branches`: those that are open.
pub(crate) async fn branches(State(house): State<Arc<House>>) -> Result<Json<Vec<BranchRecord>>, Problem> {
    Ok(Json(house.lake.branches()?))
}

/// Which versions to compare.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compared {
    from: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    samples: usize,
}

/// `GET /api/v1/datasets/{dataset}/diff?from=&to=&samples=`.
pub(crate) async fn diff(
    State(house): State<Arc<House>>,
    Path(dataset): Path<DatasetName>,
    asked: Result<Query<Compared>, QueryRejection>,
) -> Result<Json<TableDiff>, Problem> {
    let Query(Compared { from, to, samples }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let (from, to) = (parsed(Some(&from))?, parsed(to.as_deref())?);
    Ok(Json(house.lake.diff(&dataset, from, to, &[], samples.min(MOST_SAMPLES)).await?))
}
