//! Chosen features of several views, read for many entities in one pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde_json::Value;
use tenon_core::{FeatureViewName, Timestamp};
use tenon_query::point_in_time::{Evaluated, Kernel, KeyType, Keys, Missing, PointInTimeError, moments};

use super::{Live, LiveView};
use crate::{FeatureError, FeatureStatus};

/// Of a value that is no key so many characters are repeated.
const LONGEST_TOLD: usize = 60;

/// A feature of a view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureRef {
    /// The view.
    pub view: FeatureViewName,
    /// The feature's name in it.
    pub feature: String,
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.view, self.feature)
    }
}

/// One feature of many entities.
///
/// # Shapes
/// Each `[rows]`, in the order of the entities.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OnlineColumn {
    /// The values; none: missing.
    pub values: Vec<Option<f32>>,
    /// Why there is a value or none.
    pub statuses: Vec<FeatureStatus>,
    /// The event time of the newest row that the value used.
    pub event_at: Vec<Option<Timestamp>>,
}

/// Features that are read together, of one generation of what is served: see [`crate::FeatureStore::select`].
pub struct Selected {
    views: Vec<Chosen>,
    /// The entity columns, each once.
    keys: Vec<(String, KeyType)>,
    features: usize,
}

/// A feature's place in its view, and in the answer.
type Asked = (usize, usize);

struct Chosen {
    view: Arc<LiveView>,
    /// The features of it that are asked for.
    kernel: Kernel,
    /// Of each of them its place in the answer.
    places: Vec<usize>,
}

impl Selected {
    pub(crate) fn of(live: &Live, features: &[FeatureRef]) -> Result<Self, FeatureError> {
        let mut selected = Self { views: Vec::new(), keys: Vec::new(), features: features.len() };
        let mut chosen: Vec<(Arc<LiveView>, Vec<Asked>)> = Vec::new();
        for (place, feature) in features.iter().enumerate() {
            let view = match live.views.get(&feature.view) {
                Some(Ok(view)) => view,
                Some(Err(reason)) => {
                    return Err(FeatureError::NotServed { view: feature.view.clone(), reason: reason.clone() });
                }
                None => return Err(FeatureError::NoView(feature.view.clone())),
            };
            let declared = &view.shape.view.features;
            let at = declared.iter().position(|known| known.name == feature.feature);
            let at = at.ok_or_else(|| FeatureError::NoFeature {
                view: feature.view.clone(),
                feature: feature.feature.clone(),
                known: declared.iter().map(|known| known.name.clone()).collect(),
            })?;
            match chosen.iter_mut().find(|(known, _)| Arc::ptr_eq(known, view)) {
                Some((_, features)) => features.push((at, place)),
                None => {
                    selected.keyed_by(view)?;
                    chosen.push((Arc::clone(view), vec![(at, place)]));
                }
            }
        }
        for (view, features) in chosen {
            let declared = &view.shape.view;
            let asked = features.iter().map(|(at, _)| &declared.features[*at]);
            let kernel = Kernel::new(declared.ttl.as_micros(), asked);
            selected.views.push(Chosen { kernel, places: features.iter().map(|(_, place)| *place).collect(), view });
        }
        Ok(selected)
    }

    fn keyed_by(&mut self, view: &LiveView) -> Result<(), FeatureError> {
        for (column, key_type) in view.shape.view.entity.iter().zip(&view.shape.types) {
            match self.keys.iter().find(|(known, _)| known == column) {
                Some((_, known)) if known != key_type => {
                    return Err(FeatureError::EntityTypes {
                        column: column.clone(),
                        one: known.words(),
                        other: key_type.words(),
                    });
                }
                Some(_) => {}
                None => self.keys.push((column.clone(), *key_type)),
            }
        }
        Ok(())
    }

    /// The columns that name the entities, each once.
    pub fn entities(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(column, _)| column.as_str())
    }

    /// How many features there are.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The keys of `rows` entities from JSON, for [`Selected::read`]: `column` gives the `[rows]` values of a column, null
    /// where a key is not known.
    ///
    /// # Errors
    /// [`FeatureError::NoEntity`] and [`FeatureError::EntityType`].
    pub fn keys<'a>(
        &self,
        rows: usize,
        column: impl Fn(&str) -> Option<&'a [Value]>,
    ) -> Result<RecordBatch, FeatureError> {
        let read = |(name, key_type): &(String, KeyType)| {
            let values = column(name).filter(|values| values.len() == rows);
            let values = values.ok_or_else(|| FeatureError::NoEntity { column: name.clone() })?;
            Ok((name.clone(), key_column(name, *key_type, values)?, true))
        };
        let columns = self.keys.iter().map(read).collect::<Result<Vec<_>, FeatureError>>()?;
        match columns.is_empty() {
            true => {
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(
                    Arc::new(arrow::datatypes::Schema::empty()),
                    Vec::new(),
                    &options,
                )?)
            }
            false => Ok(RecordBatch::try_from_iter_with_nullable(columns)?),
        }
    }

    /// Each feature of all entities as of `at`, in the order in which features were selected. Where a part of an entity's
    /// key is null, so are its features.
    ///
    /// # Errors
    /// When an entity's column is missing or of another type, and [`FeatureError::TooFarBack`].
    pub fn read(&self, entities: &RecordBatch, at: Timestamp) -> Result<Vec<OnlineColumn>, FeatureError> {
        self.read_at(entities, |_| Some(at.as_micros()))
    }

    /// The same, each entity as of its own moment in the column `at`; where that is null, so are the features.
    ///
    /// # Errors
    /// As [`Selected::read`], and [`FeatureError::Ahead`] for a moment after `not_after`.
    pub fn read_each(
        &self,
        entities: &RecordBatch,
        at: &str,
        not_after: Timestamp,
    ) -> Result<Vec<OnlineColumn>, FeatureError> {
        let Some(first) = self.views.first() else { return Ok(Vec::new()) };
        let moments = moments(entities, at).map_err(failed(&first.view))?;
        let ahead =
            (0..moments.len()).find(|row| moments.is_valid(*row) && moments.value(*row) > not_after.as_micros());
        if let Some(row) = ahead {
            let at = Timestamp::from_micros(moments.value(row));
            return Err(FeatureError::Ahead { row: row + 1, at, not_after });
        }
        self.read_at(entities, |row| moments.is_valid(row).then(|| moments.value(row)))
    }

    fn read_at(
        &self,
        entities: &RecordBatch,
        moment: impl Fn(usize) -> Option<i64>,
    ) -> Result<Vec<OnlineColumn>, FeatureError> {
        let rows = entities.num_rows();
        let mut columns: Vec<OnlineColumn> = (0..self.features).map(|_| OnlineColumn::with_capacity(rows)).collect();
        let mut key = Vec::with_capacity(64);
        for Chosen { view, kernel, places } in &self.views {
            let (shape, mut evaluator) = (&view.shape, kernel.evaluator());
            let keys = Keys::read(entities, &shape.view.entity, &shape.types).map_err(failed(view))?;
            for row in 0..rows {
                key.clear();
                let at = moment(row).filter(|_| keys.write(row, &mut key));
                let Some(at) = at else {
                    places.iter().for_each(|place| columns[*place].push(&NOTHING));
                    continue;
                };
                let mut places = places.iter();
                let push = |feature: Evaluated| {
                    if let Some(place) = places.next() {
                        columns[*place].push(&feature);
                    }
                };
                view.read(&key, at, |rows, began| evaluator.evaluate(rows, at, began, push)).map_err(|from| {
                    FeatureError::TooFarBack { view: shape.name.clone(), at: Timestamp::from_micros(at), from }
                })?;
            }
        }
        Ok(columns)
    }
}

/// What there is of an entity that is not known.
pub(super) const NOTHING: Evaluated =
    Evaluated { value: Err(Missing::NotFound), event_at: None, known_at: None, complete: false };

impl OnlineColumn {
    fn with_capacity(rows: usize) -> Self {
        Self {
            values: Vec::with_capacity(rows),
            statuses: Vec::with_capacity(rows),
            event_at: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, feature: &Evaluated) {
        self.values.push(feature.value.ok());
        self.statuses.push(FeatureStatus::of(feature));
        self.event_at.push(feature.event_at.map(Timestamp::from_micros));
    }
}

fn failed(view: &LiveView) -> impl Fn(PointInTimeError) -> FeatureError {
    |source| FeatureError::View { view: view.shape.name.clone(), source }
}

fn key_column(name: &str, key_type: KeyType, values: &[Value]) -> Result<ArrayRef, FeatureError> {
    let wrong = |row: usize, value: &Value| {
        let mut found: String = value.to_string().chars().take(LONGEST_TOLD).collect();
        if values.len() > 1 {
            found.push_str(&format!(" in row {}", row + 1));
        }
        FeatureError::EntityType { column: name.to_owned(), found, wanted: key_type.words() }
    };
    let values_or_null = || values.iter().enumerate().map(|(row, value)| (row, (!value.is_null()).then_some(value)));
    Ok(match key_type {
        KeyType::Text => {
            let text = |(row, value): (usize, Option<&'_ Value>)| {
                value.map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(row, value))).transpose()
            };
            Arc::new(values_or_null().map(text).collect::<Result<StringArray, _>>()?)
        }
        KeyType::Integer => {
            let number = |(row, value): (usize, Option<&Value>)| {
                value.map(|value| value.as_i64().ok_or_else(|| wrong(row, value))).transpose()
            };
            Arc::new(values_or_null().map(number).collect::<Result<Int64Array, _>>()?)
        }
        KeyType::Boolean => {
            let flag = |(row, value): (usize, Option<&Value>)| {
                value.map(|value| value.as_bool().ok_or_else(|| wrong(row, value))).transpose()
            };
            Arc::new(values_or_null().map(flag).collect::<Result<BooleanArray, _>>()?)
        }
    })
}
