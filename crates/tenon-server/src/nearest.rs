//! `POST /api/v1/features/{view}/nearest`: the entities whose vectors are nearest.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value};
use tenon_features::{Asked, Neighbours, To};

use crate::features::told;
use crate::house::{House, Room, aside};
use crate::problem::Problem;

/// What it takes: a vector feature, and a vector or an entity whose neighbours are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Near {
    feature: String,
    #[serde(default)]
    vector: Option<Vec<f64>>,
    #[serde(default)]
    entity: Option<Map<String, Value>>,
    #[serde(default = "default_k")]
    k: usize,
}

fn default_k() -> usize {
    10
}

/// Finds the nearest, now.
pub(crate) async fn nearest(
    State(house): State<Arc<House>>,
    Extension(room): Extension<Room>,
    Path(view): Path<String>,
    near: Result<Json<Near>, JsonRejection>,
) -> Result<Json<Neighbours>, Problem> {
    let Json(Near { feature, vector, entity, k }) = near?;
    let to = match (vector, entity) {
        (Some(vector), None) => To::Vector(vector),
        (None, Some(entity)) => To::Entity(entity),
        _ => return Err(Problem::unprocessable("near to what? give a `vector`, or an `entity`, and not both")),
    };
    let asked = Asked { view: view.parse()?, feature, to, k };
    let found = aside(move || {
        let _room = room;
        house.features.nearest(&asked).map_err(told)
    });
    found.await.map(Json)
}
