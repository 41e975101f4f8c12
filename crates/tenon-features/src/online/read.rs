//! Reading features: from a caller's keys, or for many rows at once.

use std::sync::Arc;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use serde_json::{Map, Value};
use tenon_core::Timestamp;
use tenon_query::point_in_time::{Evaluated, KeyType, Keys, PointInTimeError, moments};

use super::LiveView;
use super::select::NOTHING;
use crate::{FeatureError, FeatureStatus, OnlineRow};

/// A model's features for one set of entity keys.
pub(crate) fn one(
    views: &[Arc<LiveView>],
    entities: &Map<String, Value>,
    at: Timestamp,
) -> Result<OnlineRow, FeatureError> {
    let mut row = OnlineRow::with_capacity(views.iter().map(|view| view.shape.view.features.len()).sum());
    let mut key = Vec::with_capacity(64);
    for view in views {
        key.clear();
        match json_key(view, entities, &mut key)? {
            true => row.read(view, &key, at.as_micros())?,
            false => row.nothing(view),
        }
    }
    Ok(row)
}

/// A model's features for many rows, each as of its own moment; where that is null, so are the features.
pub(crate) fn many(views: &[Arc<LiveView>], entities: &RecordBatch, at: &str) -> Result<Vec<OnlineRow>, FeatureError> {
    let failed = |view: &LiveView| {
        let view = view.shape.name.clone();
        move |source: PointInTimeError| FeatureError::View { view, source }
    };
    let Some(first) = views.first() else { return Ok(Vec::new()) };
    let moments = moments(entities, at).map_err(failed(first))?;
    let keys =
        |view: &Arc<LiveView>| Keys::read(entities, &view.shape.view.entity, &view.shape.types).map_err(failed(view));
    let keys = views.iter().map(keys).collect::<Result<Vec<_>, _>>()?;
    let width = views.iter().map(|view| view.shape.view.features.len()).sum();
    let mut key = Vec::with_capacity(64);
    let row = |at: usize| {
        let mut row = OnlineRow::with_capacity(width);
        for (view, keys) in views.iter().zip(&keys) {
            key.clear();
            match moments.is_valid(at) && keys.write(at, &mut key) {
                true => row.read(view, &key, moments.value(at))?,
                false => row.nothing(view),
            }
        }
        Ok(row)
    };
    (0..entities.num_rows()).map(row).collect()
}

impl OnlineRow {
    fn with_capacity(features: usize) -> Self {
        Self {
            values: Vec::with_capacity(features),
            known_at: Vec::with_capacity(features),
            event_at: Vec::with_capacity(features),
            statuses: Vec::with_capacity(features),
        }
    }

    fn read(&mut self, view: &LiveView, key: &[u8], at: i64) -> Result<(), FeatureError> {
        let mut evaluator = view.shape.kernel.evaluator();
        let read = view.read(key, at, |rows, began| evaluator.evaluate(rows, at, began, |feature| self.push(feature)));
        read.map_err(|from| FeatureError::TooFarBack {
            view: view.shape.name.clone(),
            at: Timestamp::from_micros(at),
            from,
        })
    }

    fn nothing(&mut self, view: &LiveView) {
        for _ in &view.shape.view.features {
            self.push(NOTHING);
        }
    }

    fn push(&mut self, feature: Evaluated) {
        self.values.push(feature.value.ok());
        self.known_at.push(feature.known_at.map(Timestamp::from_micros));
        self.event_at.push(feature.event_at.map(Timestamp::from_micros));
        self.statuses.push(FeatureStatus::of(&feature));
    }
}

/// Writes the key of a view's entity. False where a part of it is missing or null.
fn json_key(view: &LiveView, entities: &Map<String, Value>, key: &mut Vec<u8>) -> Result<bool, FeatureError> {
    for (column, key_type) in view.shape.view.entity.iter().zip(&view.shape.types) {
        match (key_type, entities.get(column)) {
            (_, None | Some(Value::Null)) => return Ok(false),
            (KeyType::Text, Some(Value::String(text))) => Keys::text(text, key),
            (KeyType::Boolean, Some(Value::Bool(flag))) => Keys::boolean(*flag, key),
            (KeyType::Integer, Some(Value::Number(number))) if number.as_i64().is_some() => {
                Keys::integer(number.as_i64().unwrap_or_default(), key);
            }
            (_, Some(other)) => {
                return Err(FeatureError::EntityType {
                    column: column.clone(),
                    found: other.to_string(),
                    wanted: key_type.words(),
                });
            }
        }
    }
    Ok(true)
}
