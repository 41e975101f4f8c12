//! Chosen features of several views, read for many entities in one pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde_json::Value;
use tenon_core::{FeatureViewName, Timestamp};
use tenon_query::point_in_time::{Kernel, KeyType, Keys, PointInTimeError, asked_moments};

use super::cell::Cell;
use super::read::all_of;
use super::request;
use super::{Fetched, LiveView};
use crate::plan::Plan;
use crate::{FeatureError, FeatureStatus};

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
    /// The moment by which all rows that the value used were known; never after the moment asked for.
    pub known_at: Vec<Option<Timestamp>>,
}

/// Features that are read together, of one generation of what is served: see [`crate::FeatureStore::select`].
#[derive(Clone, Default)]
pub struct Selected {
    pub(super) plan: Plan,
    pub(super) views: Vec<Chosen>,
    /// The entity columns, each once.
    keys: Vec<(String, KeyType)>,
    /// What else callers may send, each once.
    request: Vec<String>,
}

/// What of one view of rows is read.
#[derive(Clone)]
pub(super) struct Chosen {
    pub view: Arc<LiveView>,
    /// The features of it that are asked for.
    pub kernel: Kernel,
    /// Of each of them its place.
    pub places: Vec<usize>,
}

impl Selected {
    /// The features of a plan, from live views.
    pub(crate) fn of(
        plan: Plan,
        live: impl Fn(&FeatureViewName) -> Result<Arc<LiveView>, FeatureError>,
    ) -> Result<Self, FeatureError> {
        let request = plan.request().into_iter().map(str::to_owned).collect();
        let mut selected = Self { plan: Plan::default(), views: Vec::new(), keys: Vec::new(), request };
        for (name, asked) in &plan.rows {
            let view = live(name)?;
            selected.keyed_by(&view)?;
            let declared = &view.shape.view;
            let kernel =
                Kernel::new(declared.ttl.as_micros(), asked.iter().map(|asked| &declared.features[asked.feature]));
            selected.views.push(Chosen { kernel, places: asked.iter().map(|asked| asked.place).collect(), view });
        }
        selected.plan = plan;
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

    /// The names of the features, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plan.answers.iter().map(|answer| answer.feature.as_str())
    }

    /// How many features there are.
    pub fn features(&self) -> usize {
        self.plan.answers.len()
    }

    /// What callers may send besides the entities' keys, for derived features, each once.
    pub fn request(&self) -> impl Iterator<Item = &str> {
        self.request.iter().map(String::as_str)
    }

    /// Whether a column that a caller sends is a number, a vector, or true or false, and not text.
    pub fn is_no_text(&self, column: &str) -> bool {
        let key = self.keys.iter().any(|(name, kind)| name == column && *kind != KeyType::Text);
        let is_plain = |kind: &DataType| kind.is_numeric() || kind.is_nested() || *kind == DataType::Boolean;
        key || self.plan.sent().any(|(name, kind)| name == column && is_plain(kind))
    }

    /// What a caller sends for `rows` entities in JSON, for [`Selected::read`]: `column` gives the `[rows]` values of a column,
    /// null where one is not known. Keys must be there; what derived features read besides may be.
    ///
    /// # Errors
    /// [`FeatureError::NoEntity`], [`FeatureError::EntityType`] and [`FeatureError::RequestType`].
    pub fn sent<'a>(
        &self,
        rows: usize,
        column: impl Fn(&str) -> Option<&'a [Value]>,
    ) -> Result<RecordBatch, FeatureError> {
        let whole = |name: &str| column(name).filter(|values| values.len() == rows);
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (name, key_type) in &self.keys {
            let values = whole(name).ok_or_else(|| FeatureError::NoEntity { column: name.clone() })?;
            columns.push((name.clone(), request::keys(name, *key_type, values)?));
        }
        for (name, kind) in self.plan.sent() {
            // A column that names an entity may be read by an expression as well.
            if let Some(values) = whole(name).filter(|_| columns.iter().all(|(known, _)| known != name)) {
                columns.push((name.to_owned(), request::from_json(name, kind, &values.iter().collect::<Vec<_>>())?));
            }
        }
        let fields: Vec<_> =
            columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    /// Each feature of all entities as of `at`, in the order in which features were selected. Where a part of an entity's
    /// key is null, so are its features.
    ///
    /// # Errors
    /// When an entity's column is missing or of another type, [`FeatureError::TooFarBack`], and
    /// [`FeatureError::Unavailable`]: nothing is answered where the store of one view is down.
    pub async fn read(&self, entities: &RecordBatch, at: Timestamp) -> Result<Vec<OnlineColumn>, FeatureError> {
        self.read_at(entities, |_| Some(at.as_micros())).await
    }

    /// The same, each entity as of its own moment in the column `at`; where that is null, so are the features.
    ///
    /// # Errors
    /// As [`Selected::read`], and [`FeatureError::Ahead`] for a moment after `not_after`.
    pub async fn read_each(
        &self,
        entities: &RecordBatch,
        at: &str,
        not_after: Timestamp,
    ) -> Result<Vec<OnlineColumn>, FeatureError> {
        let moments = self.moments(entities, at)?;
        let ahead =
            (0..moments.len()).find(|row| moments.is_valid(*row) && moments.value(*row) > not_after.as_micros());
        if let Some(row) = ahead {
            let at = Timestamp::from_micros(moments.value(row));
            return Err(FeatureError::Ahead { row: row + 1, at, not_after });
        }
        self.read_at(entities, |row| moments.is_valid(row).then(|| moments.value(row))).await
    }

    async fn read_at(
        &self,
        sent: &RecordBatch,
        moment: impl Fn(usize) -> Option<i64>,
    ) -> Result<Vec<OnlineColumn>, FeatureError> {
        let (keys, fetched) = self.fetch(sent).await?;
        fetched.unavailable()?;
        self.fill(sent, &keys, &fetched, moment)
    }

    /// The column of moments, in microseconds.
    pub(super) fn moments(&self, entities: &RecordBatch, at: &str) -> Result<Int64Array, FeatureError> {
        asked_moments(entities, at).map_err(FeatureError::Moments)
    }

    /// The keys of each view, and what the store has under them.
    pub(super) async fn fetch(&self, sent: &RecordBatch) -> Result<(Vec<Keys>, Fetched), FeatureError> {
        let keys = |Chosen { view, .. }: &Chosen| {
            Keys::read(sent, &view.shape.view.entity, &view.shape.types).map_err(failed(view))
        };
        let keys = self.views.iter().map(keys).collect::<Result<Vec<_>, _>>()?;
        let asked = self.views.iter().zip(&keys).map(|(chosen, keys)| (&chosen.view, || all_of(keys, sent.num_rows())));
        let fetched = Fetched::of(asked).await;
        Ok((keys, fetched))
    }

    /// Every feature of all rows, each as of its moment; where that is none, so are the features.
    pub(super) fn fill(
        &self,
        sent: &RecordBatch,
        keys: &[Keys],
        fetched: &Fetched,
        moment: impl Fn(usize) -> Option<i64>,
    ) -> Result<Vec<OnlineColumn>, FeatureError> {
        let rows = sent.num_rows();
        let mut columns: Vec<OnlineColumn> = (0..self.plan.places).map(|_| OnlineColumn::with_capacity(rows)).collect();
        let mut key = Vec::with_capacity(64);
        for (chosen, keys) in self.views.iter().zip(keys) {
            for row in 0..rows {
                key.clear();
                match moment(row).filter(|_| keys.write(row, &mut key)) {
                    Some(at) => chosen.read(fetched, &key, at, |place, cell| columns[place].push(cell))?,
                    None => chosen.places.iter().for_each(|place| columns[*place].push(Cell::NOTHING)),
                }
            }
        }
        for step in &self.plan.computed {
            let input = |name: &str, kind: &_| request::from_batch(name, kind, sent);
            let cells = step.compute(rows, |place, row| columns[place].get(row), input, &moment)?;
            cells.into_iter().for_each(|cell| columns[step.place].push(cell));
        }
        columns.truncate(self.plan.answers.len());
        Ok(columns)
    }
}

fn failed(view: &LiveView) -> impl Fn(PointInTimeError) -> FeatureError {
    |source| FeatureError::View { view: view.shape.name.clone(), source }
}
