//! Training sets: a model's observations, each joined with what was known when it was decided.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Int64Array, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{
    SortColumn, cast, concat_batches, filter_record_batch, is_null, lexsort_to_indices, nullif, take_record_batch,
};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::array_value_to_string;
use rayon::prelude::*;
use tenon_core::fact::{TableVersion, TrainingSet};
use tenon_core::spec::{FeatureViewSpec, SpecSet, ViewSpec, closest};
use tenon_core::{AsOf, DatasetName, FeatureViewName, ModelName, Timestamp};
use tenon_lake::{Lake, rows_digest};
use tenon_query::point_in_time::{History, Joined, KeyType, PointInTimeError, View, moments};

use crate::definition::{self, Definition};
use crate::derived::{Input, moment_type, vectors};
use crate::online::from_batch;
use crate::plan::{Asked, DerivedViews, Plan};
use crate::{FeatureError, FeatureRef, TrainingFrame, leakage};

/// The column of the observations with what is to be learnt.
pub(crate) const LABEL: &str = "label";

/// The versions, as of a moment, of every table that the model's observations and views read.
pub(crate) async fn pin(
    lake: &Lake,
    specs: &SpecSet,
    model: &ModelName,
    known_by: Timestamp,
) -> Result<Vec<TableVersion>, FeatureError> {
    let definition = Definition::of(specs, model)?;
    let observations = (format!("model `{model}`"), &definition.model.spec.observations);
    let views = definition.views.iter().map(|(name, view)| (format!("feature view `{name}`"), &view.source));
    let tables = versions(lake, std::iter::once(observations).chain(views), &AsOf::Time(known_by)).await?;
    tables.map_err(|Empty { table, reader }| FeatureError::NoTable { table, reader, known_by })
}

/// The versions, as of a moment, of every table that a plan's views read; none where one of them holds nothing.
pub(crate) async fn tables_of(
    lake: &Lake,
    plan: &Plan,
    specs: &SpecSet,
    as_of: AsOf,
) -> Result<Option<Vec<TableVersion>>, FeatureError> {
    let mut views = Vec::with_capacity(plan.rows.len());
    for (name, _) in &plan.rows {
        let Some(view) = specs.feature_views.get(name) else { return Err(FeatureError::NoView(name.clone())) };
        views.push((name.to_string(), &view.spec.source));
    }
    Ok(versions(lake, views.into_iter(), &as_of).await?.ok())
}

/// A table that holds nothing, and who reads it.
struct Empty {
    table: String,
    reader: String,
}

/// The versions, as of a moment, of every table that these queries read.
async fn versions(
    lake: &Lake,
    queries: impl Iterator<Item = (String, &String)>,
    as_of: &AsOf,
) -> Result<Result<Vec<TableVersion>, Empty>, FeatureError> {
    let mut tables = BTreeSet::new();
    for (reader, sql) in queries {
        for table in lake.tables_of(sql).await? {
            let version = lake.version(&table, as_of.clone()).await?;
            let (Some(version), Ok(dataset)) = (version, DatasetName::new(table.clone())) else {
                return Ok(Err(Empty { table, reader }));
            };
            tables.insert(TableVersion { dataset, version });
        }
    }
    Ok(Ok(tables.into_iter().collect()))
}

/// The training set of a model from exactly these tables.
pub(crate) async fn frame(
    lake: &Lake,
    specs: &SpecSet,
    derived: &DerivedViews,
    model: &ModelName,
    known_by: Timestamp,
    tables: Vec<TableVersion>,
) -> Result<TrainingFrame, FeatureError> {
    let definition = Definition::of(specs, model)?;
    let pins = pins(&tables);
    let observations = lake.query_at(&definition.model.spec.observations, &pins).await?;
    let features = Features::read(lake, specs, derived, &definition.refs(), &pins).await?;
    let set = Observations {
        model: model.clone(),
        file: definition.model.file.clone(),
        key: definition.model.spec.key.clone(),
        decided_at: definition.model.spec.decided_at.clone(),
        entities: definition.entities(),
        test: definition.model.spec.split.test.fraction(),
        known_by,
    };
    let (digest, meanings) = (definition.digest(), definition.meanings());
    let mut frame = tokio::task::spawn_blocking(move || set.frame(&observations, &features, tables, digest)).await??;
    frame.record.views = meanings;
    Ok(frame)
}

/// The join of views to any observations that hold their entities' columns and a moment: the observations, then one
/// Float32 column a feature.
pub(crate) async fn join(
    lake: &Lake,
    specs: &SpecSet,
    derived: &DerivedViews,
    features: &[FeatureRef],
    observations: &RecordBatch,
    decided_at: &str,
    tables: &[TableVersion],
) -> Result<RecordBatch, FeatureError> {
    let features = Features::read(lake, specs, derived, features, &pins(tables)).await?;
    let (observations, decided_at) = (observations.clone(), decided_at.to_owned());
    tokio::task::spawn_blocking(move || Ok(features.joined(&observations, &decided_at)?.0)).await?
}

fn pins(tables: &[TableVersion]) -> Vec<(String, u64)> {
    tables.iter().map(|table| (table.dataset.as_str().to_owned(), table.version)).collect()
}

/// A view with what its source returned.
pub(crate) struct Sourced {
    pub name: FeatureViewName,
    pub view: View,
    pub rows: Vec<RecordBatch>,
}

impl Sourced {
    pub(crate) fn new(
        name: &FeatureViewName,
        spec: &FeatureViewSpec,
        rows: Vec<RecordBatch>,
    ) -> Result<Self, FeatureError> {
        let failed = |source| FeatureError::View { view: name.clone(), source };
        Ok(Self { name: name.clone(), view: View::new(spec).map_err(failed)?, rows })
    }

    /// The features that are asked for, in that order.
    fn join(&self, asked: &[Asked], observations: &RecordBatch, decided_at: &str) -> Result<Joined, PointInTimeError> {
        // Without any rows the observations say what a key is.
        let schema = self.rows.first().map_or_else(|| observations.schema(), RecordBatch::schema);
        let types = KeyType::all_of(&schema, &self.view.entity)?;
        let features = asked.iter().map(|asked| self.view.features[asked.feature].clone()).collect();
        let view = View { features, ..self.view.clone() };
        History::new(&self.view, &types, &self.rows)?.join(&view, observations, decided_at)
    }
}

/// The features of a training set: what they are computed from, and how.
pub(crate) struct Features {
    plan: Plan,
    /// What the views' sources returned, in the order of the plan.
    views: Vec<Sourced>,
}

impl Features {
    async fn read(
        lake: &Lake,
        specs: &SpecSet,
        derived: &DerivedViews,
        features: &[FeatureRef],
        pins: &[(String, u64)],
    ) -> Result<Self, FeatureError> {
        let plan = Plan::of(specs, derived, features)?;
        let mut views = Vec::with_capacity(plan.rows.len());
        for (name, _) in &plan.rows {
            if let ViewSpec::Rows(view) = definition::view(specs, name)?.spec {
                views.push(Sourced::new(name, view, lake.query_at(&view.source, pins).await?)?);
            }
        }
        Ok(Self { plan, views })
    }

    /// Their names, in order.
    fn names(&self) -> Vec<String> {
        self.plan.answers.iter().map(|answer| answer.feature.clone()).collect()
    }

    /// The observations with their features, and of features with an incomplete window in how many rows it is so: a derived
    /// feature is as incomplete as what it reads.
    fn joined(
        &self,
        observations: &RecordBatch,
        decided_at: &str,
    ) -> Result<(RecordBatch, BTreeMap<String, u64>), FeatureError> {
        let joined = self.views.par_iter().zip(&self.plan.rows).map(|(view, (_, asked))| {
            let failed = |source| FeatureError::View { view: view.name.clone(), source };
            view.join(asked, observations, decided_at).map_err(failed)
        });
        let joined = joined.collect::<Result<Vec<_>, _>>()?;
        let rows = observations.num_rows();
        let mut values: Vec<ArrayRef> = vec![new_null_array(&DataType::Float32, 0); self.plan.places];
        let mut incomplete = vec![0; self.plan.places];
        for ((_, asked), joined) in self.plan.rows.iter().zip(joined) {
            for ((asked, column), rows) in asked.iter().zip(joined.columns).zip(joined.incomplete) {
                (values[asked.place], incomplete[asked.place]) = (column, rows);
            }
        }
        for step in &self.plan.computed {
            let feature = &step.view.features[step.feature];
            let mut reads = step.reads.iter();
            let column = |input: &Input| match input {
                Input::Feature(_) => Ok(Arc::clone(&values[reads.next().copied().unwrap_or_default()])),
                Input::Vector(_, dimensions) => {
                    let numbers: Vec<&Float32Array> =
                        reads.by_ref().take(dimensions.get()).map(|place| values[*place].as_primitive()).collect();
                    let number = |at: usize, row: usize| numbers[at].is_valid(row).then(|| numbers[at].value(row));
                    Ok(Arc::new(vectors(rows, *dimensions, number)) as ArrayRef)
                }
                Input::Request(name, kind) => from_batch(name, kind, observations),
                Input::Moment => from_batch(decided_at, &moment_type(), observations),
            };
            let columns = feature.inputs.iter().map(column).collect::<Result<Vec<_>, _>>()?;
            let computed: ArrayRef = Arc::new(feature.evaluate(&step.view, rows, columns)?);
            values[step.place] =
                match observations.column_by_name(decided_at).filter(|moments| moments.null_count() > 0) {
                    Some(moments) => nullif(&computed, &is_null(moments)?)?,
                    None => computed,
                };
            incomplete[step.place] = step.reads.iter().map(|place| incomplete[*place]).max().unwrap_or_default();
        }
        values.truncate(self.plan.answers.len());
        let mut fields: Vec<_> = observations.schema_ref().fields().iter().cloned().collect();
        let names = self.names();
        fields.extend(names.iter().map(|name| Arc::new(Field::new(name, DataType::Float32, true))));
        let incomplete = names.iter().zip(incomplete).filter(|(_, rows)| *rows > 0);
        let incomplete = incomplete.map(|(name, rows)| (name.clone(), rows)).collect();
        let columns = observations.columns().iter().cloned().chain(values).collect();
        Ok((RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?, incomplete))
    }
}

/// What a model says about its observations.
pub(crate) struct Observations {
    pub model: ModelName,
    pub file: String,
    pub key: String,
    pub decided_at: String,
    pub entities: Vec<String>,
    /// The share of rows to hold out.
    pub test: f64,
    pub known_by: Timestamp,
}

impl Observations {
    /// Joins, orders, splits and seals.
    pub(crate) fn frame(
        &self,
        observations: &[RecordBatch],
        features: &Features,
        tables: Vec<TableVersion>,
        definition: tenon_core::Digest,
    ) -> Result<TrainingFrame, FeatureError> {
        let (rows, unlabelled) = self.labelled(observations)?;
        let rows = self.ordered(&rows)?;
        let names = features.names();
        if let Some(taken) = names.iter().find(|name| rows.schema_ref().field_with_name(name).is_ok()) {
            return Err(
                self.fault(format!("have a column `{taken}`, which is also a feature's name: rename one of them"))
            );
        }
        let (rows, incomplete) = features.joined(&rows, &self.decided_at)?;
        let decided = moments(&rows, &self.decided_at).map_err(|error| self.fault(error.to_string()))?;
        let train_rows = self.split(decided.values())?;
        let moment = |row: usize| Timestamp::from_micros(decided.value(row));
        let record = TrainingSet {
            digest: rows_digest(rows.schema_ref(), std::slice::from_ref(&rows)),
            train_rows: train_rows as u64,
            test_rows: (rows.num_rows() - train_rows) as u64,
            decided: (moment(0), moment(train_rows), moment(rows.num_rows() - 1)),
            unlabelled,
            tables,
            definition,
            known_by: self.known_by,
            incomplete,
            views: BTreeMap::new(),
            leakage: Some(leakage::signs(&rows, &names, train_rows, &features.views)?),
        };
        Ok(TrainingFrame { rows, features: names, train_rows, record })
    }

    fn fault(&self, what: String) -> FeatureError {
        FeatureError::Observations { model: self.model.clone(), file: self.file.clone(), what }
    }

    fn column(&self, rows: &RecordBatch, role: &str, name: &str) -> Result<usize, FeatureError> {
        let schema = rows.schema_ref();
        schema.index_of(name).map_err(|_| {
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let hint = match closest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("they return `{}`", known.join("`, `")),
            };
            self.fault(format!("have no column `{name}`, which is {role}: {hint}"))
        })
    }

    /// The observations with a label that were decided by `known_by`, in plain types, and how many had none.
    fn labelled(&self, batches: &[RecordBatch]) -> Result<(RecordBatch, u64), FeatureError> {
        let Some(first) = batches.first() else { return Err(self.fault("are empty".to_owned())) };
        let rows = concat_batches(first.schema_ref(), batches)?;
        let label = self.column(&rows, "what is to be learnt", LABEL)?;
        let decided = self.column(&rows, "`decided_at`", &self.decided_at)?;
        self.column(&rows, "`key`", &self.key)?;
        for entity in &self.entities {
            self.column(&rows, "an entity of its features", entity)?;
        }
        let labels = self.labels(rows.column(label))?;
        let moments = moments(&rows, &self.decided_at).map_err(|error| self.fault(error.to_string()))?;
        let mut fields: Vec<Field> = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (at, (field, column)) in rows.schema_ref().fields().iter().zip(rows.columns()).enumerate() {
            let column: ArrayRef = match field.data_type() {
                _ if at == label => Arc::new(labels.clone()),
                _ if at == decided => Arc::new(micros(&moments)),
                DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) => cast(column, &DataType::Utf8)?,
                _ => Arc::clone(column),
            };
            fields.push(Field::new(field.name(), column.data_type().clone(), true));
            columns.push(column);
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let unlabelled = labels.null_count() as u64;
        let undecided = (0..rows.num_rows()).filter(|row| labels.is_valid(*row) && moments.is_null(*row)).count();
        if undecided > 0 {
            return Err(self.fault(format!("have a label but no `{}` in {undecided} rows", self.decided_at)));
        }
        let known_by = self.known_by.as_micros();
        let keep: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(labels.is_valid(row) && moments.value(row) <= known_by)).collect();
        let rows = filter_record_batch(&rows, &keep)?;
        if rows.num_rows() == 0 {
            let counted = format!("{} rows, {unlabelled} of them without a label", keep.len());
            return Err(self.fault(format!("hold nothing to learn from by {}: {counted}", self.known_by)));
        }
        Ok((rows, unlabelled))
    }

    fn labels(&self, column: &ArrayRef) -> Result<BooleanArray, FeatureError> {
        match column.data_type() {
            DataType::Boolean => return Ok(column.as_boolean().clone()),
            DataType::Null => return Ok(BooleanArray::new_null(column.len())),
            number if number.is_numeric() => {}
            other => return Err(self.fault(format!("hold {other} as `{LABEL}`, which is true or false, or 1 or 0"))),
        }
        let numbers = cast(column, &DataType::Float64)?;
        let label = |number: Option<f64>| match number {
            None => Ok(None),
            Some(number) if number == 0.0 || number == 1.0 => Ok(Some(number == 1.0)),
            Some(other) => Err(self.fault(format!("hold {other} as `{LABEL}`, which is true or false, or 1 or 0"))),
        };
        numbers.as_primitive::<Float64Type>().iter().map(label).collect()
    }

    /// The rows by moment of decision, then by key. No key may occur twice.
    fn ordered(&self, rows: &RecordBatch) -> Result<RecordBatch, FeatureError> {
        let key = rows.column(self.column(rows, "`key`", &self.key)?);
        let decided = rows.column(self.column(rows, "`decided_at`", &self.decided_at)?);
        if key.null_count() > 0 {
            return Err(self.fault(format!("have no `{}` in {} rows", self.key, key.null_count())));
        }
        let converter = RowConverter::new(vec![SortField::new(key.data_type().clone())])?;
        let keys = converter.convert_columns(std::slice::from_ref(key))?;
        let mut seen = HashSet::with_capacity(rows.num_rows());
        if let Some(twice) = (0..rows.num_rows()).find(|row| !seen.insert(keys.row(*row))) {
            let value = array_value_to_string(key, twice)?;
            return Err(self.fault(format!("name `{}` {value} twice: each row must be one decision", self.key)));
        }
        let by = |values: &ArrayRef| SortColumn { values: Arc::clone(values), options: None };
        let order = lexsort_to_indices(&[by(decided), by(key)], None)?;
        Ok(take_record_batch(rows, &order)?)
    }

    /// How many of the first rows are for learning. Rows that were decided at one moment stay on one side.
    fn split(&self, decided: &[i64]) -> Result<usize, FeatureError> {
        let rows = decided.len();
        let held_out = ((rows as f64 * self.test).round() as usize).clamp(1, rows);
        let boundary = decided[rows - held_out];
        let before = decided.partition_point(|moment| *moment < boundary);
        let after = decided.partition_point(|moment| *moment <= boundary);
        match (before, after) {
            (0, after) if after == rows => {
                let moment = Timestamp::from_micros(boundary);
                Err(self.fault(format!("were all decided at {moment}, so none can be held out by time")))
            }
            (0, after) => Ok(after),
            (before, _) => Ok(before),
        }
    }
}

fn micros(moments: &Int64Array) -> TimestampMicrosecondArray {
    moments.reinterpret_cast::<arrow::datatypes::TimestampMicrosecondType>().with_timezone("UTC")
}

#[cfg(test)]
mod tests;
