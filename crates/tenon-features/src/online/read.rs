//! Reading a model's features: for one set of entity keys, or for many rows at once.

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use serde_json::{Map, Value};
use tenon_core::Timestamp;
use tenon_query::point_in_time::{Evaluated, KeyType, Keys};

use super::cell::Cell;
use super::request;
use super::select::{Chosen, Selected};
use super::{Fetched, LiveView, Unread};
use crate::{FeatureError, OnlineRow};

impl Selected {
    /// The features of one set of keys, and of what else the caller sends. Where a part of an entity's key is missing or
    /// null, so are its features.
    ///
    /// # Errors
    /// [`FeatureError::EntityType`], [`FeatureError::RequestType`], [`FeatureError::Derived`], [`FeatureError::TooFarBack`].
    pub async fn row(&self, sent: &Map<String, Value>, at: Timestamp) -> Result<OnlineRow, FeatureError> {
        let fetched = match self.views.iter().any(|chosen| chosen.view.redis.is_some()) {
            true => self.fetch_one(sent).await?,
            false => Fetched::default(),
        };
        let mut row = OnlineRow::of(self.plan.places);
        let mut key = Vec::with_capacity(64);
        for chosen in &self.views {
            key.clear();
            if json_key(&chosen.view, sent, &mut key)? {
                chosen.read(&fetched, &key, at.as_micros(), |place, cell| row.set(place, cell))?;
            }
        }
        for step in &self.plan.computed {
            let input =
                |name: &str, kind: &_| request::from_json(name, kind, &[sent.get(name).unwrap_or(&Value::Null)]);
            let cells = step.compute(1, |place, _| row.get(place), input, |_| Some(at.as_micros()))?;
            cells.into_iter().for_each(|cell| row.set(step.place, cell));
        }
        row.truncate(self.plan.answers.len());
        Ok(row)
    }

    async fn fetch_one(&self, sent: &Map<String, Value>) -> Result<Fetched, FeatureError> {
        let mut keys = Vec::with_capacity(self.views.len());
        for chosen in &self.views {
            let mut key = Vec::new();
            keys.push(json_key(&chosen.view, sent, &mut key)?.then_some(key));
        }
        let keys = keys.iter().map(|key| || key.iter().cloned().collect());
        Ok(Fetched::of(self.views.iter().map(|chosen| &chosen.view).zip(keys)).await)
    }

    /// The features of many rows, each as of its own moment in the column `at`; where that is null, so are the features.
    ///
    /// # Errors
    /// As [`Selected::row`], and when a column is missing.
    pub async fn rows(&self, sent: &RecordBatch, at: &str) -> Result<Vec<OnlineRow>, FeatureError> {
        let moments = self.moments(sent, at)?;
        let (keys, fetched) = self.fetch(sent).await?;
        let columns = self.fill(sent, &keys, &fetched, |row| moments.is_valid(row).then(|| moments.value(row)))?;
        let row = |at: usize| {
            let mut row = OnlineRow::of(columns.len());
            columns.iter().enumerate().for_each(|(place, column)| row.set(place, column.get(at)));
            row
        };
        Ok((0..sent.num_rows()).map(row).collect())
    }
}

impl Chosen {
    /// Hands over the features of one entity as of `at`, in microseconds, with their places.
    pub(super) fn read(
        &self,
        fetched: &Fetched,
        key: &[u8],
        at: i64,
        mut put: impl FnMut(usize, Cell),
    ) -> Result<(), FeatureError> {
        let mut places = self.places.iter();
        let mut evaluator = self.kernel.evaluator();
        let read = fetched.read(&self.view, key, at, |rows, began| {
            evaluator.evaluate(rows, at, began, |feature: Evaluated| {
                if let Some(place) = places.next() {
                    put(*place, Cell::of(&feature));
                }
            });
        });
        match read {
            Ok(()) => Ok(()),
            Err(Unread::Unavailable) => {
                self.places.iter().for_each(|place| put(*place, Cell::UNAVAILABLE));
                Ok(())
            }
            Err(Unread::TooFarBack(from)) => {
                let (view, at) = (self.view.shape.name.clone(), Timestamp::from_micros(at));
                Err(FeatureError::TooFarBack { view, at, from })
            }
        }
    }
}

/// The keys of so many rows, without those of which a part is null.
pub(super) fn all_of(keys: &Keys, rows: usize) -> Vec<Vec<u8>> {
    let key = |row| {
        let mut key = Vec::new();
        keys.write(row, &mut key).then_some(key)
    };
    (0..rows).filter_map(key).collect()
}

/// Writes the key of a view's entity. False where a part of it is missing or null.
pub(crate) fn json_key(
    view: &LiveView,
    entities: &Map<String, Value>,
    key: &mut Vec<u8>,
) -> Result<bool, FeatureError> {
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
