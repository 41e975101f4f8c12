//! `POST /get-online-features`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use tenon_core::spec::{ResourceKind, ResourceRef, closest};
use tenon_core::{FeatureViewName, Timestamp};
use tenon_features::{FeatureError, FeatureRef, FeatureStatus, OnlineColumn};
use tokio::runtime::Handle;

use super::Refusal;
use crate::access::must_exist;
use crate::caller::Caller;
use crate::features::{Service, may_read, of_service, told};
use crate::house::{House, aside};
use crate::problem::Problem;

/// The most entities of one request.
pub(crate) const MOST_ROWS: usize = 10_000;
/// The most values of one answer.
const MOST_VALUES: usize = 500_000;
/// More values than this are looked up beside the requests.
const MANY_VALUES: usize = 5_000;

/// What the client sends. Fields that a newer client adds are left alone, as Feast's server does.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// The entities' columns, each as long as the others.
    entities: IndexMap<String, Vec<Value>>,
    /// `view:feature`.
    #[serde(default)]
    features: Vec<String>,
    /// A model, or one of its versions; instead of `features`.
    #[serde(default)]
    feature_service: Option<String>,
    /// Whether a feature is called `view__feature` in the answer.
    #[serde(default)]
    full_feature_names: bool,
    /// Whether the answer names the views.
    #[serde(default)]
    include_feature_view_version_metadata: bool,
}

/// The answer, column by column: `results[i]` belongs to `feature_names[i]`.
#[derive(Serialize)]
struct Answer<'a> {
    metadata: Metadata<'a>,
    results: Vec<Vector<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    /// The entities' columns, then the features.
    feature_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    feature_view_metadata: Vec<ViewMetadata<'a>>,
}

#[derive(Serialize)]
struct ViewMetadata<'a> {
    name: &'a FeatureViewName,
    /// Feast counts versions where its registry keeps them; 0 is a view without.
    version: u32,
}

#[derive(Serialize)]
struct Vector<'a> {
    values: Values<'a>,
    statuses: Vec<&'static str>,
    event_timestamps: Vec<Moment>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values<'a> {
    Keys(&'a [Value]),
    Feature(&'a [Option<f32>]),
}

/// A moment as the client reads it: it takes no null, and no moment is the beginning of 1970.
#[derive(Clone, Copy)]
struct Moment(Timestamp);

const NO_MOMENT: Moment = Moment(Timestamp::from_micros(0));

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// `POST /get-online-features`: the features of many entities as of now.
pub(crate) async fn get_online_features(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(asked) = asked.map_err(Problem::from)?;
    let Service { features, selected } = service(&house, &caller, &asked).await?;
    let rows = rows(&asked.entities)?;
    known_columns(&house, &asked.entities)?;
    let names = names(&asked, &features)?;
    let values = rows * features.len();
    if rows > MOST_ROWS || values > MOST_VALUES {
        let sentence = format!(
            "{rows} entities with {} features are too many at once: {MOST_ROWS} entities and {MOST_VALUES} values are the \
             most; ask several times, or in Arrow by `POST /api/v1/features/MODEL/online`",
            features.len()
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence).into());
    }
    let now = house.clock.now();
    let read = async move {
        let keys = selected.sent(rows, |column| asked.entities.get(column).map(Vec::as_slice)).map_err(told)?;
        let columns = selected.read(&keys, now).await.map_err(told)?;
        Ok(Json(answer(&asked, names, &features, &columns)).into_response())
    };
    Ok(if values > MANY_VALUES { aside(move || Handle::current().block_on(read)).await? } else { read.await? })
}

/// The features that are asked for, by name or by service, where the caller may read them.
async fn service(house: &House, caller: &Caller, asked: &Asked) -> Result<Service, Refusal> {
    if let Some(service) = &asked.feature_service {
        let service = of_service(house, caller, service).await;
        return service.map_err(Refusal::missing("FeatureServiceNotFoundException"));
    }
    let named = asked.features.iter().map(|name| split(name)).collect::<Result<Vec<_>, _>>()?;
    if named.is_empty() {
        let sentence =
            "no feature is asked for: `features` lists them as `view:feature`, `feature_service` names a model";
        return Err(Problem::unprocessable(sentence).into());
    }
    let mut features = Vec::with_capacity(named.len());
    for (name, feature) in named {
        let view = name.parse::<FeatureViewName>();
        if view.is_err() {
            let resource = ResourceRef::new(ResourceKind::FeatureView, name);
            must_exist(house, caller, &resource).map_err(Refusal::missing("FeatureViewNotFoundException"))?;
        }
        features.push(FeatureRef { view: view.map_err(Problem::from)?, feature });
    }
    let views = features.iter().map(|feature| &feature.view);
    may_read(house, caller, views).await.map_err(Refusal::missing("FeatureViewNotFoundException"))?;
    let selected = house.features.select(&features).map_err(|error| {
        let class = match error {
            FeatureError::NoFeature { .. } => "SpecifiedFeaturesNotPresentError",
            _ => "FeatureViewNotFoundException",
        };
        Refusal::missing(class)(told(error))
    })?;
    Ok(Service { features, selected })
}

/// A view and its feature.
fn split(name: &str) -> Result<(&str, String), Problem> {
    match name.split_once(':') {
        Some((view, feature)) => Ok((view, feature.to_owned())),
        None => Err(Problem::unprocessable(format!("`{name}` names no feature; it is written `view:feature`"))),
    }
}

/// How many entities there are.
fn rows(entities: &IndexMap<String, Vec<Value>>) -> Result<usize, Problem> {
    let Some((first, values)) = entities.first() else {
        return Err(Problem::unprocessable("no entity is named: `entities` holds a column for each of their keys"));
    };
    match entities.iter().find(|(_, others)| others.len() != values.len()) {
        None => Ok(values.len()),
        Some((other, others)) => Err(Problem::unprocessable(format!(
            "the columns of `entities` are not equally long: `{first}` has {} and `{other}` has {}",
            values.len(),
            others.len()
        ))),
    }
}

/// A column that names no entity at all, and nothing that features are computed from, is a mistake; one that these features
/// do not need comes back as it went in.
fn known_columns(house: &House, entities: &IndexMap<String, Vec<Value>>) -> Result<(), Refusal> {
    let specs = house.catalog.specs();
    let known = || specs.views().flat_map(|view| view.spec.keys());
    let Some(strange) = entities.keys().find(|column| !known().any(|known| known == column.as_str())) else {
        return Ok(());
    };
    let near = closest(strange, known()).map(|near| format!("; did you mean `{near}`?"));
    let sentence = format!("no feature view has an entity `{strange}`{}", near.unwrap_or_default());
    Err(Refusal::of("EntityNotFoundException", Problem::not_found(sentence)))
}

/// What the columns of the answer are called.
fn names(asked: &Asked, features: &[FeatureRef]) -> Result<Vec<String>, Refusal> {
    let full = asked.full_feature_names;
    let name =
        |FeatureRef { view, feature }: &FeatureRef| if full { format!("{view}__{feature}") } else { feature.clone() };
    let names: Vec<String> = asked.entities.keys().cloned().chain(features.iter().map(name)).collect();
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(names),
        Some(twice) => {
            let hint = if full { "" } else { "; with `full_feature_names` a feature is called `view__feature`" };
            let sentence = format!("two columns of the answer would be called `{twice}`{hint}");
            Err(Refusal::of("FeatureNameCollisionError", Problem::unprocessable(sentence)))
        }
    }
}

fn answer<'a>(
    asked: &'a Asked,
    feature_names: Vec<String>,
    features: &'a [FeatureRef],
    columns: &'a [OnlineColumn],
) -> Answer<'a> {
    let mut views: Vec<&FeatureViewName> = Vec::new();
    for FeatureRef { view, .. } in features {
        if asked.include_feature_view_version_metadata && !views.contains(&view) {
            views.push(view);
        }
    }
    let metadata = Metadata {
        feature_names,
        feature_view_metadata: views.into_iter().map(|name| ViewMetadata { name, version: 0 }).collect(),
    };
    let keys = asked.entities.values().map(|keys| Vector {
        values: Values::Keys(keys),
        statuses: vec![FeatureStatus::Present.in_feast(); keys.len()],
        event_timestamps: vec![NO_MOMENT; keys.len()],
    });
    let read = columns.iter().map(|column| Vector {
        values: Values::Feature(&column.values),
        statuses: column.values.iter().zip(&column.statuses).map(status).collect(),
        event_timestamps: column.event_at.iter().map(|at| at.map_or(NO_MOMENT, Moment)).collect(),
    });
    Answer { metadata, results: keys.chain(read).collect() }
}

/// A number that JSON cannot write stands in the answer as null, which is not what was found.
fn status((value, status): (&Option<f32>, &FeatureStatus)) -> &'static str {
    if value.is_some_and(|value| !value.is_finite()) { "INVALID" } else { status.in_feast() }
}
