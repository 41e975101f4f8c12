//! Fills a dataset's page.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use tenon_console::view::{
    ColumnFigures, ColumnRow, CommitRow, DatasetView, MarkRow, ProfileView, QuarantineRow, QuarantineView, Shown,
    Spread,
};
use tenon_core::fact::{BranchCreated, TableVersion, TagCreated};
use tenon_core::spec::{Contract, ResourceKind, ResourceRef};
use tenon_core::{DatasetName, Timestamp};
use tenon_lake::{ColumnProfile, Profile, QuarantinedRow};
use tenon_policy::{Action, Request};

use crate::caller::Caller;
use crate::console::{Page, column_row, dataset_row, frame, otherwise, reasons};
use crate::house::{House, aside};
use crate::problem::{Problem, Trouble};
use crate::versions::{AskedThen, parsed};

/// Batches on the page.
const PAGE: usize = 100;
/// Quarantined rows on the page.
const SET_ASIDE: usize = 20;
/// The most that the page shows of a row that was set aside, in characters.
const ROW_CHARS: usize = 400;
/// The most rows, about, that a profile on a page looks at.
pub(crate) const PROFILED_ROWS: u64 = 300_000;

/// As of when a profile is asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AsOfAsked {
    #[serde(default)]
    as_of: Option<String>,
}

/// `GET /api/v1/datasets/{dataset}/profile?as_of=`: as on the dataset's page.
pub(crate) async fn profile(
    State(house): State<Arc<House>>,
    Path(name): Path<DatasetName>,
    then: AskedThen,
) -> Result<Json<Profile>, Problem> {
    let as_of = crate::versions::as_of(then)?;
    let profile = house.lake.profile_within(name.as_str(), as_of, PROFILED_ROWS).await?;
    Ok(Json(Profile::clone(&profile)))
}

/// `GET /console/datasets/{dataset}?as_of=`.
pub(crate) async fn page(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
    Path(name): Path<DatasetName>,
    asked: Result<Query<AsOfAsked>, QueryRejection>,
) -> Result<Page, Trouble> {
    let Query(AsOfAsked { as_of }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let specs = house.catalog.specs();
    let found = specs.datasets.get(&name);
    let dataset = found.ok_or_else(|| Problem::not_found(format!("there is no dataset `{name}`")))?.clone();
    let of = ResourceRef::new(ResourceKind::Dataset, name.as_str());
    let may = house.guard.judge(&Request::new(by, Action::DatasetQuery, of)).map_err(Problem::from)?;
    let (profile, quarantine) = match may.allowed {
        true => {
            let profile = figures(&house, &name, as_of.filter(|text| !text.is_empty()), &dataset.spec.contract).await?;
            let quarantine = match dataset.spec.source.sql {
                Some(_) => Shown::No("It is computed from other datasets: rows are set aside there.".to_owned()),
                None => Shown::Yes(set_aside(&house, &name).await?),
            };
            (profile, quarantine)
        }
        false => (Shown::No(format!("{}.", may.sentence)), Shown::No("You may not query it.".to_owned())),
    };
    let page = aside(move || {
        let contract = &dataset.spec.contract;
        let commits = house.lake.history(name.as_str())?;
        let (quarantined, warned) = reasons(&house, &name)?;
        let marks = marks(&house, &name)?;
        let columns: Vec<ColumnRow> = contract.columns.iter().map(|(name, column)| column_row(name, column)).collect();
        let view = DatasetView {
            frame: frame(&house),
            row: dataset_row(&house, &name, &dataset)?,
            max_quarantined: contract
                .max_quarantined
                .map(|share| format!("A batch with more than {share} bad rows is refused whole.")),
            columns,
            checks: contract
                .checks
                .iter()
                .map(|check| (check.name.clone(), check.sql.clone(), otherwise(check.severity).to_owned()))
                .collect(),
            quarantined,
            warned,
            commits: commits
                .into_iter()
                .rev()
                .take(PAGE)
                .map(|commit| CommitRow {
                    version: commit.version,
                    at: commit.at,
                    rows: commit.rows,
                    quarantined: commit.quarantined,
                    source: commit.source.unwrap_or_default(),
                    fact: commit.fact,
                    removed: commit.removed,
                    marks: marks.iter().filter(|mark| mark.version == Some(commit.version)).map(pointer).collect(),
                })
                .collect(),
            profile,
            quarantine,
            marks,
        };
        Ok(Page(tenon_console::dataset(&view)))
    });
    Ok(page.await?)
}

/// What is wrong with what was asked for stands in the profile's place; the rest of the page is as it is.
async fn figures(
    house: &House,
    name: &DatasetName,
    asked: Option<String>,
    contract: &Contract,
) -> Result<Shown<ProfileView>, Problem> {
    let profile = match parsed(asked.as_deref()) {
        Ok(as_of) => house.lake.profile_within(name.as_str(), as_of, PROFILED_ROWS).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match profile {
        Ok(profile) => Ok(Shown::Yes(profile_view(&profile, asked, contract))),
        Err(problem) if problem.status.is_client_error() => Ok(Shown::No(format!("{}.", problem.sentence))),
        Err(problem) => Err(problem),
    }
}

fn profile_view(profile: &Profile, as_of: Option<String>, contract: &Contract) -> ProfileView {
    let figures = |column: &ColumnProfile| {
        let declared = contract.columns.get(&column.name).map(|declared| column_row(&column.name, declared).kind);
        ColumnFigures {
            name: column.name.clone(),
            kind: declared.unwrap_or_else(|| column.data_type.clone()),
            nulls: column.nulls,
            distinct: column.distinct,
            least: column.least.clone(),
            greatest: column.greatest.clone(),
            mean: column.mean,
            quantiles: column.quantiles,
            spread: spread(column, profile.looked_at),
        }
    };
    ProfileView {
        as_of,
        version: profile.version,
        rows: profile.rows,
        looked_at: profile.looked_at,
        columns: profile.columns.iter().map(figures).collect(),
    }
}

fn spread(column: &ColumnProfile, looked_at: u64) -> Spread {
    let ends = column.least.as_deref().zip(column.greatest.as_deref());
    if !column.histogram.is_empty()
        && let Some((least, greatest)) = ends
    {
        if let (Ok(low), Ok(high)) = (least.parse(), greatest.parse()) {
            return Spread::Numbers(column.histogram.clone(), low, high);
        }
        if let (Some(low), Some(high)) = (moment(least), moment(greatest)) {
            return Spread::Moments(column.histogram.clone(), low, high);
        }
    }
    match column.top.first() {
        _ if column.nulls == looked_at => Spread::Nothing("No row has a value."),
        Some((_, 1)) if column.distinct > 1 => Spread::Nothing("No value comes twice."),
        Some(_) => Spread::Top(column.top.clone()),
        None => Spread::Nothing("It has so many different values that the most frequent ones say little."),
    }
}

/// A moment, or the begin of a day.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok())
}

async fn set_aside(house: &House, name: &DatasetName) -> Result<QuarantineView, Problem> {
    let sums = house.lake.quarantine_sums(name).await?;
    let rows = house.lake.quarantined_rows(name, None, SET_ASIDE, ROW_CHARS).await?;
    let row = |row: QuarantinedRow| QuarantineRow {
        at: row.at,
        source: format!("{}, row {}", row.source, row.row_number),
        reason: row.reason,
        row: if row.cut { format!("{}…", row.row) } else { row.row },
        state: row.resolution.word().to_owned(),
        resolved_at: row.resolved_at,
    };
    Ok(QuarantineView {
        open: sums.open,
        released: sums.released,
        discarded: sums.discarded,
        rows: rows.into_iter().map(row).collect(),
    })
}

/// `tag q1`, `branch audit began here`.
fn pointer(mark: &MarkRow) -> String {
    match mark.kind {
        "branch" => format!("branch {} began here", mark.name),
        kind => format!("{kind} {}", mark.name),
    }
}

/// The tags, branches and holds that are about a dataset.
fn marks(house: &House, dataset: &DatasetName) -> Result<Vec<MarkRow>, Problem> {
    let pinned = |tables: &[TableVersion]| tables.iter().find(|pin| pin.dataset == *dataset).map(|pin| pin.version);
    let mut marks = Vec::new();
    for tag in house.lake.tags()? {
        let TagCreated { tag: name, tables, reason, .. } = tag.tag;
        if let Some(version) = pinned(&tables) {
            let (name, by, reason) = (name.to_string(), tag.by.to_string(), reason.unwrap_or_default());
            marks.push(MarkRow { kind: "tag", name, version: Some(version), at: tag.at, by, reason, fact: tag.fact });
        }
    }
    for branch in house.lake.branches()? {
        let BranchCreated { branch: name, tables } = branch.branch;
        if let Some(version) = pinned(&tables) {
            let (name, by, at) = (name.to_string(), branch.by.to_string(), branch.at);
            let reason = "to be written, checked and merged".to_owned();
            marks.push(MarkRow { kind: "branch", name, version: Some(version), at, by, reason, fact: branch.fact });
        }
    }
    for hold in house.lake.holds()? {
        if hold.hold.datasets.contains(dataset) {
            let (name, by) = (hold.hold.hold.to_string(), hold.by.to_string());
            let (reason, at) = (hold.hold.reason, hold.at);
            marks.push(MarkRow { kind: "hold", name, version: None, at, by, reason, fact: hold.fact });
        }
    }
    Ok(marks)
}
