//! Nearest neighbours: the entities of a view whose newest vectors are nearest to one that is asked for.
//!
//! What is served is what a read of the vector feature would say at that moment. A view notes which entities' rows changed; who
//! asks brings the index up to them first, and to those whose vectors begin or cease to count by time alone. Nothing is kept on
//! disk: the first who asks after a start has the index built from the rows that the online store holds.

mod distance;
mod index;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::{Map, Value};
use tenon_core::spec::{Metric, VectorSpec, ViewSpec, closest};
use tenon_core::{FeatureViewName, Timestamp};
use tenon_query::point_in_time::{KeyPart, KeyType, Keys, SourceRows};

use crate::online::{LiveView, json_key};
use crate::{FeatureError, FeatureStore};
use index::{Index, Near};

/// So many neighbours can be asked for at once.
pub const MOST_NEIGHBOURS: usize = 1_000;

/// Which neighbours to find.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The view.
    pub view: FeatureViewName,
    /// Its vector feature.
    pub feature: String,
    /// Near to what.
    pub to: To,
    /// How many at the most, from 1 to [`MOST_NEIGHBOURS`].
    pub k: usize,
}

/// What neighbours are near to.
#[derive(Debug, Clone, PartialEq)]
pub enum To {
    /// A vector.
    Vector(Vec<f64>),
    /// The vector of an entity, which is none of its own neighbours.
    Entity(Map<String, Value>),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Neighbours {
    /// By what they are near.
    pub metric: Metric,
    /// How many entities have a vector.
    pub entities: usize,
    /// The nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// An entity whose vector is near.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Neighbour {
    /// What names it.
    pub entity: Map<String, Value>,
    /// How far its vector is.
    pub distance: f64,
    /// When the event of its vector happened.
    pub event_at: Timestamp,
}

/// What of a view is kept to find neighbours.
#[derive(Default)]
pub(crate) struct Vectors {
    changes: Mutex<Changes>,
    /// One for each vector feature, in their order; none until somebody asks.
    indexes: RwLock<Vec<Index>>,
}

/// Of which entities rows came or went since the indexes were brought up to them.
#[derive(Default)]
enum Changes {
    /// Of any.
    #[default]
    Any,
    Of(HashSet<Box<[u8]>>),
}

impl Vectors {
    /// Notes rows that came or went, after they did.
    pub(crate) fn changed(&self, rows: &SourceRows) {
        if let Changes::Of(keys) = &mut *self.changes.lock() {
            keys.extend((0..rows.len()).map(|row| rows.key(row).into()));
        }
    }

    /// Notes that any rows may have come or gone, after they did.
    pub(crate) fn changed_all(&self) {
        *self.changes.lock() = Changes::Any;
    }
}

impl FeatureStore {
    /// Whether a column that names entities of a view holds text. Of a view that is not served nobody knows.
    pub fn is_named_by_text(&self, view: &FeatureViewName, column: &str) -> bool {
        let Ok(view) = self.served(view) else { return true };
        let mut keys = view.shape.view.entity.iter().zip(&view.shape.types);
        keys.all(|(name, kind)| name != column || *kind == KeyType::Text)
    }

    /// Finds the entities whose vectors are nearest now. It may take a while: call it where that is no harm.
    ///
    /// # Errors
    /// [`FeatureError::NoView`], [`FeatureError::NoVectors`], [`FeatureError::NotServed`], [`FeatureError::Nearest`],
    /// [`FeatureError::NoEntity`], [`FeatureError::EntityType`] and [`FeatureError::NoVector`].
    pub fn nearest(&self, asked: &Asked) -> Result<Neighbours, FeatureError> {
        let specs = self.specs();
        let declared = specs.view(&asked.view).ok_or_else(|| FeatureError::NoView(asked.view.clone()))?;
        let (at, spec) = vector_of(declared.spec, asked)?;
        if asked.k == 0 || asked.k > MOST_NEIGHBOURS {
            let what = format!("`k` is {}, and from 1 to {MOST_NEIGHBOURS} can be asked for", asked.k);
            return Err(FeatureError::Nearest(what));
        }
        let not_served = |reason| FeatureError::NotServed { view: asked.view.clone(), reason };
        let view = self.served(&asked.view).map_err(not_served)?;
        if view.redis.is_some() {
            let reason = "its rows are in Redis, and nearest neighbours are looked up in memory: give the company a file as \
                          its online store";
            return Err(not_served(reason.to_owned()));
        }
        let (vector, but) = match &asked.to {
            To::Vector(numbers) => (Some(vector(spec, numbers)?), None),
            To::Entity(entity) => (None, Some(key(&view, entity)?)),
        };
        bring_up(&view, self.clock().now().as_micros());
        let indexes = view.vectors.indexes.read();
        // The indexes were made just now, and only an older definition of the view has another.
        let Some(index) = indexes.get(at) else { return Err(not_served("it is being read again".to_owned())) };
        let vector = match (&vector, &but) {
            (Some(vector), _) => Some(vector.as_slice()),
            (None, key) => key.as_ref().and_then(|key| index.vector(key)),
        };
        let no_vector = || FeatureError::NoVector { view: asked.view.clone(), feature: asked.feature.clone() };
        let near = index.nearest(vector.ok_or_else(no_vector)?, asked.k, but.as_deref());
        let neighbours = near.into_iter().filter_map(|near| neighbour(&view, near)).collect();
        Ok(Neighbours { metric: spec.metric, entities: index.len(), neighbours })
    }
}

/// The vector feature that is asked for, and its place in the view.
fn vector_of<'a>(view: ViewSpec<'a>, asked: &Asked) -> Result<(usize, &'a VectorSpec), FeatureError> {
    let vectors = match view {
        ViewSpec::Rows(spec) => Some(&spec.vectors),
        ViewSpec::Derived(_) => None,
    };
    let found = vectors.and_then(|vectors| vectors.get_full(&asked.feature));
    found.map(|(at, _, spec)| (at, spec)).ok_or_else(|| {
        let known: Vec<&str> = vectors.into_iter().flat_map(|vectors| vectors.keys().map(String::as_str)).collect();
        let hint = match closest(&asked.feature, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "it has none".to_owned(),
            None => format!("it has `{}`", known.join("`, `")),
        };
        FeatureError::NoVectors { view: asked.view.clone(), feature: asked.feature.clone(), hint }
    })
}

/// A vector that somebody asks with, as it is compared.
fn vector(spec: &VectorSpec, numbers: &[f64]) -> Result<Vec<f32>, FeatureError> {
    let wrong = |what: String| Err(FeatureError::Nearest(what));
    if numbers.len() != spec.dimensions.get() {
        return wrong(format!(
            "the vector has {} numbers, and those of the feature have {}",
            numbers.len(),
            spec.dimensions
        ));
    }
    let vector: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
    if let Some(at) = vector.iter().position(|number| !number.is_finite()) {
        return wrong(format!("number {} of the vector is not a finite number of 32 bits", at + 1));
    }
    match distance::compared(spec.metric, vector) {
        Some(vector) => Ok(vector),
        None => wrong("a vector of zeros has no direction, and nothing is near to it by its cosine".to_owned()),
    }
}

/// The key of an entity that somebody names.
fn key(view: &LiveView, entity: &Map<String, Value>) -> Result<Vec<u8>, FeatureError> {
    let (mut key, columns) = (Vec::new(), &view.shape.view.entity);
    if json_key(view, entity, &mut key)? {
        return Ok(key);
    }
    let missing = columns.iter().find(|column| entity.get(*column).is_none_or(Value::is_null));
    Err(FeatureError::NoEntity { column: missing.cloned().unwrap_or_default() })
}

/// Brings the indexes of a view up to its rows as of `now`, in microseconds.
fn bring_up(view: &Arc<LiveView>, now: i64) {
    let mut indexes = view.vectors.indexes.write();
    let changes = std::mem::replace(&mut *view.vectors.changes.lock(), Changes::Of(HashSet::new()));
    let (declared, ttl) = (&view.shape.view, view.shape.view.ttl.as_micros());
    match changes {
        Changes::Any => {
            let columns = declared.vectors.iter().cloned().zip(&view.shape.metrics);
            *indexes = columns.map(|(column, metric)| Index::new(column, *metric)).collect();
            view.each(|key, rows| {
                for index in indexes.iter_mut() {
                    index.set(key, rows.newest_vector(&index.column, now, ttl));
                }
            });
        }
        Changes::Of(keys) => {
            let mut keys: HashSet<Arc<[u8]>> = keys.into_iter().map(Arc::from).collect();
            keys.extend(indexes.iter().flat_map(|index| index.due(now)));
            for key in keys {
                for index in indexes.iter_mut() {
                    let newest = view.with_rows(&key, |rows| rows.newest_vector(&index.column, now, ttl));
                    index.set(&key, newest);
                }
            }
        }
    }
}

/// What callers hear of a neighbour; none where its key is not one of the view's.
fn neighbour(view: &LiveView, near: Near) -> Option<Neighbour> {
    let value = |part| match part {
        KeyPart::Text(text) => Value::from(text),
        KeyPart::Integer(number) => Value::from(number),
        KeyPart::Boolean(flag) => Value::from(flag),
    };
    let values = Keys::parts(&near.key, &view.shape.types)?.into_iter().map(value);
    let entity = view.shape.view.entity.iter().cloned().zip(values).collect();
    Some(Neighbour { entity, distance: near.distance, event_at: Timestamp::from_micros(near.event_at) })
}
