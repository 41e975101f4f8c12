//! Which features a caller means, and whether the caller may read them: what Feast's door and ours have in common. Finding
//! features.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use indexmap::IndexSet;
use serde::Deserialize;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{FeatureViewName, ModelName, ModelVersionRef};
use tenon_features::{FeatureError, FeatureRef, FoundFeature, Selected};
use tenon_policy::Action;

use crate::access::must_exist;
use crate::caller::Caller;
use crate::house::House;
use crate::problem::Problem;

/// Features that are read together.
pub(crate) struct Service {
    /// Which they are, in order.
    pub features: Vec<FeatureRef>,
    pub selected: Arc<Selected>,
}

/// The features that a service names, for whoever may know of it and read them. A service is a model (`late_arrival`: all
/// features of its views, as they are declared) or one of its versions (`late_arrival@2`: what that version takes, in its
/// order, as it was defined when the version learnt).
///
/// # Errors
/// 404 where there is no such model or version, 409 where a version takes a feature that no view has any more; 403.
pub(crate) async fn of_service(house: &House, caller: &Caller, service: &str) -> Result<Service, Problem> {
    let name = service.split('@').next().unwrap_or_default();
    let model = ResourceRef::new(ResourceKind::Model, name);
    must_exist(house, caller, &model)?;
    house.allow(caller, Action::ModelRead, model).await?;
    let model: ModelName = name.parse()?;
    if service == name {
        let features = house.features.features_of(&model).map_err(told)?;
        may_read(house, caller, features.iter().map(|feature| &feature.view)).await?;
        let selected = house.features.service(&house.catalog.specs(), &model).await.map_err(told)?;
        return Ok(Service { features, selected });
    }
    let version: ModelVersionRef = service
        .parse()
        .map_err(|_| Problem::not_found(format!("there is no version `{service}` of model `{name}`")))?;
    let taken = house.models.version(&version)?.registered.inputs;
    let (specs, applied) = (house.models.definitions_of(&version)?, house.catalog.specs());
    let known = house.features.features_under(&specs, &model).map_err(told)?;
    let of_view = |input: &String| {
        let found = known.iter().find(|feature| feature.feature == *input).cloned();
        found.ok_or_else(|| {
            let sentence = format!("`{version}` takes a feature `{input}`, which no view of `{name}` has any more");
            Problem::new(StatusCode::CONFLICT, sentence)
        })
    };
    let features = taken.iter().map(of_view).collect::<Result<Vec<_>, _>>()?;
    // Views that are gone belong to the version alone, which the caller may read.
    let views = features.iter().map(|feature| &feature.view).filter(|view| applied.view(view).is_some());
    may_read(house, caller, views).await?;
    let now = house.clock.now();
    if let Some(selected) = house.lately.get(&version, now) {
        return Ok(Service { features, selected });
    }
    let selected = house.features.select_under(&specs, &features).await.map_err(told)?;
    house.lately.keep(version, Arc::clone(&selected), now);
    Ok(Service { features, selected })
}

/// Asks the policies for each view that the features are of, and for those that they are computed from, once.
///
/// # Errors
/// 404 for a view that is not there, where the caller may know that; 403.
pub(crate) async fn may_read(
    house: &House,
    caller: &Caller,
    views: impl Iterator<Item = &FeatureViewName>,
) -> Result<(), Problem> {
    let specs = house.catalog.specs();
    let views: IndexSet<&FeatureViewName> = views.collect();
    let with_sources: IndexSet<&FeatureViewName> = views.iter().flat_map(|view| specs.with_sources(view)).collect();
    for view in with_sources {
        let view = ResourceRef::new(ResourceKind::FeatureView, view.as_str());
        must_exist(house, caller, &view)?;
        house.allow(caller, Action::FeatureRead, view).await?;
    }
    Ok(())
}

/// What a caller hears when features cannot be read.
pub(crate) fn told(error: FeatureError) -> Problem {
    match &error {
        FeatureError::NoModel(_)
        | FeatureError::NoView(_)
        | FeatureError::NoFeature { .. }
        | FeatureError::NoVectors { .. }
        | FeatureError::NoVector { .. } => Problem::not_found(error.to_string()),
        FeatureError::Unavailable { .. } => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        FeatureError::NotServed { .. } | FeatureError::SharedName { .. } => {
            Problem::new(StatusCode::CONFLICT, error.to_string())
        }
        FeatureError::EntityType { .. }
        | FeatureError::EntityTypes { .. }
        | FeatureError::RequestType { .. }
        | FeatureError::Derived { .. }
        | FeatureError::Moments(_)
        | FeatureError::Nearest(_)
        | FeatureError::NoEntity { .. }
        | FeatureError::Ahead { .. }
        | FeatureError::TooFarBack { .. }
        | FeatureError::View { .. } => Problem::unprocessable(tenon_core::words::chain(&error)),
        _ => Problem::internal("reading features", &error),
    }
}

/// Which features to find.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    /// Words that each of them has; without any, all features.
    #[serde(default)]
    q: String,
}

/// `GET /api/v1/features/search?q=`: whose they are, where they come from, who uses them, how fresh and complete they are.
pub(crate) async fn search(
    State(house): State<Arc<House>>,
    words: Result<Query<Words>, QueryRejection>,
) -> Result<Json<Vec<FoundFeature>>, Problem> {
    let Query(Words { q }) = words.map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut found = house.features.search(&q).await?;
    house.watch.tell_drift(&mut found)?;
    Ok(Json(found))
}
