//! Versions of datasets are named, branched, merged, restored, held and looked after.
//!
//! Who may is asked of each dataset that is touched; where only the request or the record tells which those are, looking at
//! the company is asked first, so that a stranger does not learn what there is.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tenon_core::fact::DatasetCompacted;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{BranchName, DatasetName, HoldName, Span, TagName};
use tenon_lake::{BranchRecord, HoldRecord, MergeOutcome, TagRecord, VacuumPlan};
use tenon_policy::Action;

use crate::access::{company, must_exist};
use crate::caller::Caller;
use crate::house::{House, to_its_end};
use crate::problem::Problem;
use crate::versions::parsed;

/// How large files become where a compaction does not say, in MiB.
const TARGET_MB: u64 = 64;
/// The largest that one may ask for.
const MOST_TARGET_MB: u64 = 4096;
/// How long versions stay readable where a vacuum does not say.
const RETAIN: Span = Span::days(7);

/// Asks whether a caller may look at the company: before anything that only the request or the record tells.
async fn looks(house: &House, caller: &Caller) -> Result<(), Problem> {
    house.allow(caller, Action::CompanyRead, company()).await
}

/// Asks whether a caller may do `action` to each of these datasets, or to all that hold rows.
async fn may(house: &House, caller: &Caller, action: Action, datasets: &[DatasetName]) -> Result<(), Problem> {
    let all = house.lake.table_datasets();
    for dataset in if datasets.is_empty() { &all[..] } else { datasets } {
        let of = ResourceRef::new(ResourceKind::Dataset, dataset.as_str());
        must_exist(house, caller, &of)?;
        house.allow(caller, action, of).await?;
    }
    Ok(())
}

/// What `POST /api/v1/tags` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTag {
    tag: TagName,
    /// Which datasets; none: all that hold rows.
    #[serde(default)]
    datasets: Vec<DatasetName>,
    #[serde(default)]
    as_of: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// `POST /api/v1/tags`: a name for versions, which keeps them.
pub(crate) async fn create_tag(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Json<NewTag>, JsonRejection>,
) -> Result<Json<TagRecord>, Problem> {
    looks(&house, &caller).await?;
    let Json(NewTag { tag, datasets, as_of, reason }) = asked?;
    let as_of = parsed(as_of.as_deref())?;
    may(&house, &caller, Action::DatasetTag, &datasets).await?;
    to_its_end(async move { Ok(Json(house.lake.create_tag(&caller.0, tag, &datasets, as_of, reason).await?)) }).await
}

/// Why something is given up.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Why {
    #[serde(default)]
    reason: Option<String>,
}

type AskedWhy = Result<Query<Why>, QueryRejection>;

fn why(asked: AskedWhy) -> Result<Option<String>, Problem> {
    let Query(Why { reason }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(reason)
}

/// `DELETE /api/v1/tags/{tag}?reason=`.
pub(crate) async fn delete_tag(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(tag): Path<String>,
    asked: AskedWhy,
) -> Result<Json<Value>, Problem> {
    looks(&house, &caller).await?;
    let (tag, reason): (TagName, _) = (tag.parse()?, why(asked)?);
    let pins: Vec<DatasetName> = house.lake.tag(&tag)?.tag.tables.into_iter().map(|pin| pin.dataset).collect();
    may(&house, &caller, Action::DatasetTag, &pins).await?;
    to_its_end(async move {
        house.lake.delete_tag(&caller.0, &tag, reason).await?;
        Ok(Json(json!({ "deleted": tag })))
    })
    .await
}

/// What `POST /api/v1/branches` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBranch {
    branch: BranchName,
    datasets: Vec<DatasetName>,
}

/// `POST /api/v1/branches`: a branch of some datasets; nothing is copied.
pub(crate) async fn create_branch(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Json<NewBranch>, JsonRejection>,
) -> Result<Json<BranchRecord>, Problem> {
    looks(&house, &caller).await?;
    let Json(NewBranch { branch, datasets }) = asked?;
    if datasets.is_empty() {
        return Err(Problem::unprocessable("`datasets` is empty: a branch holds one dataset at the least"));
    }
    may(&house, &caller, Action::DatasetWrite, &datasets).await?;
    to_its_end(async move { Ok(Json(house.lake.create_branch(&caller.0, &branch, &datasets).await?)) }).await
}

fn held_by(house: &House, branch: &BranchName) -> Result<Vec<DatasetName>, Problem> {
    Ok(house.lake.branch(branch)?.branch.tables.into_iter().map(|begun| begun.dataset).collect())
}

/// `GET /api/v1/branches/{branch}`: how it stands beside its datasets.
pub(crate) async fn branch(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(branch): Path<String>,
) -> Result<Json<Value>, Problem> {
    looks(&house, &caller).await?;
    let branch: BranchName = branch.parse()?;
    may(&house, &caller, Action::DatasetRead, &held_by(&house, &branch)?).await?;
    let tables = house.lake.branch_tables(&branch).await?;
    Ok(Json(json!({ "branch": house.lake.branch(&branch)?, "tables": tables })))
}

/// `POST /api/v1/branches/{branch}/merge`: into all of its datasets, or into none where that conflicts.
pub(crate) async fn merge_branch(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(branch): Path<String>,
) -> Result<Response, Problem> {
    looks(&house, &caller).await?;
    let branch: BranchName = branch.parse()?;
    may(&house, &caller, Action::BranchMerge, &held_by(&house, &branch)?).await?;
    to_its_end(async move {
        let (outcome, unread) = house.features.merge_branch(&caller.0, &branch).await?;
        for (dataset, error) in unread {
            tracing::error!(%dataset, error = &error as &dyn std::error::Error, "features are read again at the next start");
        }
        Ok(match outcome {
            MergeOutcome::Merged(merged) => Json(json!({ "merged": merged })).into_response(),
            MergeOutcome::Conflicts(conflicts) => {
                let error = format!("branch `{branch}` conflicts with its datasets, and nothing has changed");
                (StatusCode::CONFLICT, Json(json!({ "error": error, "conflicts": conflicts }))).into_response()
            }
        })
    })
    .await
}

/// `DELETE /api/v1/branches/{branch}?reason=`: gives it up with all that is on it.
pub(crate) async fn drop_branch(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(branch): Path<String>,
    asked: AskedWhy,
) -> Result<Json<Value>, Problem> {
    looks(&house, &caller).await?;
    let (branch, reason): (BranchName, _) = (branch.parse()?, why(asked)?);
    may(&house, &caller, Action::DatasetWrite, &held_by(&house, &branch)?).await?;
    to_its_end(async move {
        house.lake.drop_branch(&caller.0, &branch, reason).await?;
        Ok(Json(json!({ "dropped": branch })))
    })
    .await
}

/// `GET /api/v1/holds`: those that stand.
pub(crate) async fn holds(State(house): State<Arc<House>>) -> Result<Json<Vec<HoldRecord>>, Problem> {
    Ok(Json(house.lake.holds()?))
}

/// What `POST /api/v1/holds` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewHold {
    hold: HoldName,
    /// Which datasets; none: all that hold rows.
    #[serde(default)]
    datasets: Vec<DatasetName>,
    reason: String,
}

/// `POST /api/v1/holds`: nothing of these datasets is removed until it is released.
pub(crate) async fn create_hold(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Json<NewHold>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    looks(&house, &caller).await?;
    let Json(NewHold { hold, datasets, reason }) = asked?;
    may(&house, &caller, Action::DatasetHold, &datasets).await?;
    to_its_end(async move {
        house.lake.create_hold(&caller.0, hold.clone(), &datasets, reason).await?;
        Ok(Json(json!({ "created": hold })))
    })
    .await
}

/// `DELETE /api/v1/holds/{hold}?reason=`: the reason is needed.
pub(crate) async fn release_hold(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(hold): Path<String>,
    asked: AskedWhy,
) -> Result<Json<Value>, Problem> {
    looks(&house, &caller).await?;
    let hold: HoldName = hold.parse()?;
    let holds = house.lake.holds()?;
    let Some(record) = holds.into_iter().find(|record| record.hold.hold == hold) else {
        return Err(Problem::not_found(format!("there is no hold `{hold}`")));
    };
    may(&house, &caller, Action::DatasetHold, &record.hold.datasets).await?;
    let reason = why(asked)?.filter(|reason| !reason.trim().is_empty());
    let reason = reason.ok_or_else(|| Problem::unprocessable("say why it is released: `?reason=`"))?;
    to_its_end(async move {
        house.lake.release_hold(&caller.0, &hold, reason).await?;
        Ok(Json(json!({ "released": hold })))
    })
    .await
}

/// What `POST /api/v1/datasets/{dataset}/restore` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restore {
    /// A version, a moment or a tag.
    to: String,
    reason: String,
}

/// `POST /api/v1/datasets/{dataset}/restore`: an earlier version becomes the newest again.
pub(crate) async fn restore(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
    Path(dataset): Path<DatasetName>,
    asked: Result<Json<Restore>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Restore { to, reason }) = asked?;
    let to = parsed(Some(&to))?;
    to_its_end(async move {
        let Some(restored) = house.features.restore(&by, &dataset, to, &reason).await? else {
            return Ok(Json(json!({ "restored": null })));
        };
        let learnt = house.models.learnt_between(&dataset, restored.to, restored.from)?;
        Ok(Json(json!({ "restored": restored, "learnt_from_later_versions": learnt })))
    })
    .await
}

/// What `POST /api/v1/datasets/{dataset}/compact` takes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compact {
    /// How large files are to be, in MiB.
    #[serde(default)]
    target_mb: Option<u64>,
}

/// `POST /api/v1/datasets/{dataset}/compact`: small files become large ones; the rows stay the same.
pub(crate) async fn compact(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
    Path(dataset): Path<DatasetName>,
    asked: Result<Json<Compact>, JsonRejection>,
) -> Result<Json<Vec<DatasetCompacted>>, Problem> {
    let Json(Compact { target_mb }) = asked?;
    let target_mb = target_mb.unwrap_or(TARGET_MB);
    if !(1..=MOST_TARGET_MB).contains(&target_mb) {
        return Err(Problem::unprocessable(format!("`target_mb` is from 1 to {MOST_TARGET_MB}")));
    }
    to_its_end(async move { Ok(Json(house.features.compact(&by, &dataset, target_mb << 20).await?)) }).await
}

/// What a vacuum would look at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vacuum {
    /// Which dataset; none: all that hold rows.
    #[serde(default)]
    dataset: Option<DatasetName>,
    /// Versions that stood within this span of time stay readable: `7d`.
    #[serde(default)]
    retain: Option<String>,
}

/// `GET /api/v1/vacuum?dataset=&retain=`: what a vacuum would remove, and what it would keep and why. Removing is for the
/// command line.
pub(crate) async fn vacuum_plan(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<Vacuum>, QueryRejection>,
) -> Result<Json<VacuumPlan>, Problem> {
    looks(&house, &caller).await?;
    let Query(Vacuum { dataset, retain }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let retain = retain.map(|text| text.parse::<Span>()).transpose();
    let retain = retain.map_err(|error| Problem::unprocessable(error.to_string()))?.unwrap_or(RETAIN);
    let datasets: Vec<DatasetName> = dataset.into_iter().collect();
    may(&house, &caller, Action::DatasetVacuum, &datasets).await?;
    let plan = to_its_end(async move { Ok(house.lake.vacuum(&caller.0, &datasets, retain, true).await?) });
    plan.await.map(Json)
}
