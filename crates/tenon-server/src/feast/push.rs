//! `POST /push` and `POST /write-to-online-store`: rows of the dataset behind a feature view.
//!
//! There is one way in: rows are cleaned, held against the dataset's contract, and land in its table on the record; what is
//! served online follows, so that it stays what training would see.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use bytes::Bytes;
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tenon_core::fact::DatasetCommitted;
use tenon_core::spec::{Aggregate, DatasetSpec, FeatureViewSpec, ResourceKind, ResourceRef, SpecSet, closest};
use tenon_core::{DatasetName, Digest, FeatureViewName};
use tenon_ingest::Once;
use tenon_lake::WriteOutcome;
use tenon_policy::Action;

use super::Refusal;
use crate::access::must_exist;
use crate::caller::Caller;
use crate::house::{House, Room, aside, to_its_end};
use crate::ingest::{key, landed};
use crate::problem::Problem;

/// The most bytes of one push: columns of JSON take several times as much in memory.
pub(crate) const MOST_BYTES: usize = 16 << 20;
/// Feast's names for the moment of an event and for that at which its row was made.
const EVENT: &str = "event_timestamp";
const CREATED: &str = "created";

/// What `POST /push` takes. Other fields of Feast's say how its server works inside, and change nothing here.
#[derive(Debug, Deserialize)]
struct Pushed {
    /// A dataset, or a feature view over it.
    push_source_name: String,
    df: Columns,
    #[serde(default = "online")]
    to: String,
}

/// What `POST /write-to-online-store` takes.
#[derive(Debug, Deserialize)]
struct Written {
    /// A feature view, or a dataset.
    feature_view_name: String,
    df: Columns,
}

type Columns = IndexMap<String, Vec<Value>>;

fn online() -> String {
    "online".to_owned()
}

/// `POST /push`: rows of the push source.
pub(crate) async fn push(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Extension(room): Extension<Room>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let Pushed { push_source_name, df, to } = read(body).await?;
    match to.as_str() {
        "online" | "online_and_offline" => {}
        "offline" => {
            let sentence = "`to` is `offline`, and rows that land here are served as well, so that what is served is what \
                            training sees; push to `online_and_offline`";
            return Err(Problem::unprocessable(sentence).into());
        }
        other => {
            let sentence = format!("`to` is `{other}`; it is `online` or `online_and_offline`");
            return Err(Problem::unprocessable(sentence).into());
        }
    }
    let target = Target::of(&house.catalog.specs(), &push_source_name);
    take(house, caller, room, &headers, target, df, "PushSourceNotFoundException").await
}

/// `POST /write-to-online-store`: what `FeatureStore.push` and `write_to_online_store` of Feast's client come to.
pub(crate) async fn write_to_online_store(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Extension(room): Extension<Room>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let Written { feature_view_name, df } = read(body).await?;
    let target = Target::of(&house.catalog.specs(), &feature_view_name);
    take(house, caller, room, &headers, target, df, "FeatureViewNotFoundException").await
}

async fn read<T: DeserializeOwned + Send + 'static>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body?;
    let parse = move || {
        serde_json::from_slice(&body)
            .map_err(|error| Problem::unprocessable(format!("the request is not what this address takes: {error}")))
    };
    aside(parse).await
}

/// Where rows go.
struct Target {
    dataset: String,
    /// The feature view by which the caller named it.
    view: Option<FeatureViewName>,
}

impl Target {
    /// A feature view stands for the dataset behind it; what is no view is the name of a dataset.
    fn of(specs: &SpecSet, name: &str) -> Self {
        let view = specs.feature_views.iter().find(|(known, _)| known.as_str() == name);
        match view {
            Some((known, view)) => Self { dataset: view.spec.dataset.to_string(), view: Some(known.clone()) },
            None => Self { dataset: name.to_owned(), view: None },
        }
    }
}

async fn take(
    house: Arc<House>,
    caller: Caller,
    room: Room,
    headers: &HeaderMap,
    target: Target,
    df: Columns,
    missing: &'static str,
) -> Result<Json<Value>, Refusal> {
    let resource = ResourceRef::new(ResourceKind::Dataset, target.dataset.as_str());
    must_exist(&house, &caller, &resource).map_err(Refusal::missing(missing))?;
    house.allow(&caller, Action::DatasetWrite, resource).await?;
    let key = key(headers)?;
    let taken = to_its_end(async move {
        let _room = room;
        let dataset: DatasetName = target.dataset.parse()?;
        let (reader, name) = (Arc::clone(&house), dataset.clone());
        let rows = aside(move || {
            let specs = reader.catalog.specs();
            let Some(of) = specs.datasets.get(&name) else {
                return Err(Problem::not_found(format!("there is no dataset `{name}`")));
            };
            let view = target.view.as_ref().and_then(|view| specs.feature_views.get(view)).map(|view| &view.spec);
            let lines = lines(&renamed(df, &name, &of.spec, view)?)?;
            Ok((reader.ingest.rows_from_json(&name, &lines)?, Digest::of(&lines)))
        });
        let (rows, body) = rows.await?;
        let once = key.as_deref().map(|key| Once { key, body });
        match house.ingest.push(&caller.0, &dataset, vec![rows], once).await? {
            WriteOutcome::Committed { fact, accepted } => {
                let older = house.features.overtaken(dataset.as_str(), &accepted).await?;
                told("committed", &fact, Some(json!(older)))
            }
            WriteOutcome::Already(fact) => told("already", &fact, None),
            WriteOutcome::Refused(fact) => Err(Problem::unprocessable(fact.sentence)),
        }
    });
    Ok(Json(taken.await?))
}

/// What became of the rows; Feast's client reads only the status, so that rows of which none was accepted are an error.
fn told(outcome: &str, fact: &DatasetCommitted, older: Option<Value>) -> Result<Value, Problem> {
    if fact.accepted == 0 && fact.quarantined > 0 {
        let reasons: Vec<String> =
            fact.reasons.iter().map(|reason| format!("{} ({} rows)", reason.rule, reason.rows)).collect();
        return Err(Problem::unprocessable(format!(
            "none of the {} rows was accepted; they wait in the quarantine of `{}`: {}",
            fact.rows_in,
            fact.dataset,
            reasons.join(", ")
        )));
    }
    let mut told = landed(outcome, fact);
    // Rows older than what is served of their entity, by view: they land, and count in windows.
    told["older"] = older.unwrap_or(Value::Null);
    Ok(told)
}

/// The columns by the dataset's own names.
fn renamed(
    df: Columns,
    name: &DatasetName,
    dataset: &DatasetSpec,
    view: Option<&FeatureViewSpec>,
) -> Result<Columns, Problem> {
    let mut columns = Columns::new();
    for (given, values) in df {
        let Some(column) = own_name(&given, name, dataset, view)? else { continue };
        if columns.contains_key(&column) {
            return Err(Problem::unprocessable(format!("`{given}` is `{column}` of `{name}`, which is there already")));
        }
        columns.insert(column, values);
    }
    match columns.is_empty() {
        true => Err(Problem::unprocessable("`df` has no columns")),
        false => Ok(columns),
    }
}

/// What the dataset calls a column: its own column, the moment of the event under Feast's name, or a feature that is the
/// last value of a column. None for Feast's own note of when the row was made: here the commit says it.
fn own_name(
    given: &str,
    name: &DatasetName,
    dataset: &DatasetSpec,
    view: Option<&FeatureViewSpec>,
) -> Result<Option<String>, Problem> {
    let contract = &dataset.contract.columns;
    let own = |column: &str| contract.contains_key(column).then(|| column.to_owned());
    if let Some(column) = own(given) {
        return Ok(Some(column));
    }
    if let (EVENT, Some(column)) =
        (given, view.and_then(|view| own(&view.event_time)).or_else(|| dataset.event_time.as_deref().and_then(own)))
    {
        return Ok(Some(column));
    }
    if given == CREATED {
        return Ok(None);
    }
    if let Some(feature) = view.and_then(|view| view.features.get(given)) {
        return match (feature.aggregate, feature.column.as_deref().and_then(own)) {
            (Aggregate::Last, Some(column)) => Ok(Some(column)),
            _ => Err(Problem::unprocessable(format!(
                "feature `{given}` is computed from rows of `{name}`, and is not written itself; write `{}`",
                contract.keys().cloned().collect::<Vec<_>>().join("`, `")
            ))),
        };
    }
    // What is cleaned, or kept as it came, may have columns that the contract does not know.
    if !dataset.clean.is_none() || dataset.keeps_raw() {
        return Ok(Some(given.to_owned()));
    }
    let near = closest(given, contract.keys().map(String::as_str)).map(|near| format!("; did you mean `{near}`?"));
    Err(Problem::unprocessable(format!("`{name}` has no column `{given}`{}", near.unwrap_or_default())))
}

/// Columns as rows of NDJSON.
fn lines(columns: &Columns) -> Result<String, Problem> {
    let Some((first, values)) = columns.first() else { return Ok(String::new()) };
    if let Some((other, others)) = columns.iter().find(|(_, others)| others.len() != values.len()) {
        return Err(Problem::unprocessable(format!(
            "the columns of `df` are not equally long: `{first}` has {} and `{other}` has {}",
            values.len(),
            others.len()
        )));
    }
    if values.is_empty() {
        return Err(Problem::unprocessable("`df` has no rows"));
    }
    let mut lines = String::new();
    for row in 0..values.len() {
        let fields = columns.iter().map(|(name, values)| (name.clone(), values[row].clone()));
        lines.push_str(&Value::Object(fields.collect::<Map<_, _>>()).to_string());
        lines.push('\n');
    }
    Ok(lines)
}
