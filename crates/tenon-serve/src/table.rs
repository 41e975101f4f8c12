//! The tables of decisions and outcomes, between Arrow and records.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use tenon_core::Timestamp;
use tenon_core::id::{DecisionId, OperationId};

use crate::decision::{Outcome, Variant};
use crate::error::ServeError;
use crate::record::{DecisionRecord, statuses};

/// The table of a deployment's decisions.
pub fn decisions_table(deployment: impl std::fmt::Display) -> String {
    format!("decisions_{deployment}")
}

/// The table of a deployment's outcomes.
pub fn outcomes_table(deployment: impl std::fmt::Display) -> String {
    format!("outcomes_{deployment}")
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(element(of)))
}

/// Parquet and Delta call a list's items `element`.
fn element(of: DataType) -> Field {
    Field::new("element", of, true)
}

/// The columns of `decisions_DEPLOYMENT`. Features, their status (`k`nown, `f`allback, `m`issing), the moment of the
/// newest row behind each and their SHAP values are in the order of the version's inputs. `batch` is the operation
/// that its `decisions.logged` fact seals; a batch is sorted by `decision_id`.
pub fn decisions_schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    let optional = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        required("decision_id", DataType::Utf8),
        required("deployment", DataType::Utf8),
        required("model", DataType::Utf8),
        required("version", DataType::Int32),
        required("variant", DataType::Utf8),
        required("decided_at", timestamp()),
        required("entities", DataType::Utf8),
        required("features", list(DataType::Float32)),
        required("status", DataType::Utf8),
        required("known_at", list(timestamp())),
        required("probability", DataType::Float64),
        required("decision", DataType::Boolean),
        optional("base", DataType::Float64),
        optional("phi", list(DataType::Float32)),
        required("latency_us", DataType::Int64),
        required("usd", DataType::Float64),
        optional("rollout", DataType::Utf8),
        optional("step", DataType::Int32),
        required("batch", DataType::Utf8),
    ]))
}

/// The columns of `outcomes_DEPLOYMENT`. `batch` is the operation that its `outcomes.recorded` fact seals.
pub fn outcomes_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("decision_id", DataType::Utf8, false),
        Field::new("outcome", DataType::Boolean, false),
        Field::new("known_at", timestamp(), false),
        Field::new("batch", DataType::Utf8, false),
    ]))
}

/// Lays records out as one batch of the table.
pub(crate) fn encode(records: &[&DecisionRecord], batch: OperationId) -> Result<RecordBatch, ServeError> {
    fn strings<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
        let mut builder = StringBuilder::new();
        values.for_each(|value| builder.append_option(value));
        Arc::new(builder.finish())
    }
    macro_rules! column {
        ($builder:expr, $value:expr) => {{
            let mut builder = $builder;
            records.iter().for_each(|record| builder.append_option($value(record)));
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    let mut features = ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
    let mut phi = ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
    let moments = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut known_at = ListBuilder::new(moments()).with_field(element(timestamp()));
    for record in records {
        features.append_value(record.features.iter().map(|value| (!value.is_nan()).then_some(*value)));
        known_at.append_value(record.known_at.iter().map(|moment| moment.map(Timestamp::as_micros)));
        phi.append_option(record.phi.as_ref().map(|phi| phi.iter().copied().map(Some)));
    }
    let batch = batch.to_string();
    let columns: Vec<ArrayRef> = vec![
        strings(records.iter().map(|record| Some(record.id.to_string()))),
        strings(records.iter().map(|record| Some(&record.deployment))),
        strings(records.iter().map(|record| Some(&record.model))),
        column!(Int32Builder::new(), |record: &DecisionRecord| i32::try_from(record.version).ok()),
        strings(records.iter().map(|record| Some(record.variant.word()))),
        column!(moments(), |record: &DecisionRecord| Some(record.at.as_micros())),
        strings(records.iter().map(|record| Some(&record.entities))),
        Arc::new(features.finish()),
        strings(records.iter().map(|record| Some(record.status_letters()))),
        Arc::new(known_at.finish()),
        column!(Float64Builder::new(), |record: &DecisionRecord| Some(record.probability)),
        column!(BooleanBuilder::new(), |record: &DecisionRecord| Some(record.decision)),
        column!(Float64Builder::new(), |record: &DecisionRecord| record.base),
        Arc::new(phi.finish()),
        column!(Int64Builder::new(), |record: &DecisionRecord| Some(record.latency_us)),
        column!(Float64Builder::new(), |record: &DecisionRecord| Some(record.usd)),
        strings(records.iter().map(|record| record.rollout.map(|(id, _)| id.to_string()))),
        column!(Int32Builder::new(), |record: &DecisionRecord| record
            .rollout
            .and_then(|(_, step)| i32::try_from(step).ok())),
        strings(records.iter().map(|_| Some(&batch))),
    ];
    RecordBatch::try_new(decisions_schema(), columns).map_err(ServeError::Arrow)
}

/// Lays outcomes out as one batch of the table.
pub(crate) fn encode_outcomes(outcomes: &[Outcome], batch: OperationId) -> Result<RecordBatch, ServeError> {
    let (mut ids, mut truths, mut batches) = (StringBuilder::new(), BooleanBuilder::new(), StringBuilder::new());
    let batch = batch.to_string();
    let mut known = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    for outcome in outcomes {
        ids.append_value(outcome.decision.to_string());
        truths.append_value(outcome.outcome);
        known.append_value(outcome.known_at.as_micros());
        batches.append_value(&batch);
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(ids.finish()), Arc::new(truths.finish()), Arc::new(known.finish()), Arc::new(batches.finish())];
    RecordBatch::try_new(outcomes_schema(), columns).map_err(ServeError::Arrow)
}

/// Columns of a stored batch by name, in the types of this program whatever a reader made of them.
pub(crate) struct Rows<'a> {
    table: &'a str,
    batch: &'a RecordBatch,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(table: &'a str, batch: &'a RecordBatch) -> Self {
        Self { table, batch }
    }

    pub(crate) fn column(&self, name: &str, data_type: &DataType) -> Result<ArrayRef, ServeError> {
        let fault = |reason| ServeError::StoredRow { table: self.table.to_owned(), reason };
        let column = self.batch.column_by_name(name).ok_or_else(|| fault(format!("it has no column `{name}`")))?;
        arrow::compute::cast(column, data_type).map_err(|error| fault(format!("`{name}`: {error}")))
    }

    pub(crate) fn ids(&self) -> Result<Vec<DecisionId>, ServeError> {
        let column = self.column("decision_id", &DataType::Utf8)?;
        let parse = |text: Option<&str>| {
            let id = text.and_then(|text| text.parse().ok());
            id.ok_or_else(|| self.fault(format!("`{}` is no decision's id", text.unwrap_or("null"))))
        };
        column.as_string::<i32>().iter().map(parse).collect()
    }

    pub(crate) fn moments(&self, name: &str) -> Result<Vec<Timestamp>, ServeError> {
        let column = self.column(name, &timestamp())?;
        let column = column.as_primitive::<TimestampMicrosecondType>();
        Ok(column.values().iter().copied().map(Timestamp::from_micros).collect())
    }

    pub(crate) fn fault(&self, reason: String) -> ServeError {
        ServeError::StoredRow { table: self.table.to_owned(), reason }
    }
}

/// Reads records back from the table.
pub(crate) fn decode(table: &str, batch: &RecordBatch) -> Result<Vec<DecisionRecord>, ServeError> {
    let rows = Rows::new(table, batch);
    let strings = |name| rows.column(name, &DataType::Utf8);
    let (ids, at) = (rows.ids()?, rows.moments("decided_at")?);
    let (deployments, models, variants) = (strings("deployment")?, strings("model")?, strings("variant")?);
    let (entities, status, rollouts) = (strings("entities")?, strings("status")?, strings("rollout")?);
    let versions = rows.column("version", &DataType::Int32)?;
    let steps = rows.column("step", &DataType::Int32)?;
    let features = rows.column("features", &list(DataType::Float32))?;
    let phis = rows.column("phi", &list(DataType::Float32))?;
    let known = rows.column("known_at", &list(timestamp()))?;
    let probabilities = rows.column("probability", &DataType::Float64)?;
    let decisions = rows.column("decision", &DataType::Boolean)?;
    let bases = rows.column("base", &DataType::Float64)?;
    let latencies = rows.column("latency_us", &DataType::Int64)?;
    let usd = rows.column("usd", &DataType::Float64)?;
    let text = |column: &ArrayRef, row| column.as_string::<i32>().value(row).to_owned();
    let floats = |column: &ArrayRef, row| -> Vec<f32> {
        let values = column.as_list::<i32>().value(row);
        values.as_primitive::<Float32Type>().iter().map(|value| value.unwrap_or(f32::NAN)).collect()
    };
    let float = |column: &ArrayRef, row| column.as_primitive::<Float64Type>().value(row);
    let record = |row: usize| {
        let moments = known.as_list::<i32>().value(row);
        let moments = moments.as_primitive::<TimestampMicrosecondType>();
        let variant = text(&variants, row);
        let rollout = if rollouts.is_null(row) { None } else { text(&rollouts, row).parse().ok() };
        let step = u32::try_from(steps.as_primitive::<Int32Type>().value(row)).ok();
        Ok(DecisionRecord {
            id: ids[row],
            deployment: text(&deployments, row).into(),
            model: text(&models, row).into(),
            version: u32::try_from(versions.as_primitive::<Int32Type>().value(row)).unwrap_or(0),
            variant: Variant::from_word(&variant).ok_or_else(|| rows.fault(format!("no variant is `{variant}`")))?,
            rollout: rollout.zip(step),
            at: at[row],
            entities: text(&entities, row),
            features: floats(&features, row),
            status: statuses(&text(&status, row)).map_err(|reason| rows.fault(reason))?,
            known_at: moments.iter().map(|moment| moment.map(Timestamp::from_micros)).collect(),
            probability: float(&probabilities, row),
            decision: decisions.as_boolean().value(row),
            base: (!bases.is_null(row)).then(|| float(&bases, row)),
            phi: (!phis.is_null(row)).then(|| floats(&phis, row)),
            latency_us: latencies.as_primitive::<Int64Type>().value(row),
            usd: float(&usd, row),
        })
    };
    (0..batch.num_rows()).map(record).collect()
}

/// A moment as a SQL literal that file statistics are compared with.
pub(crate) fn moment_sql(moment: Timestamp) -> String {
    format!("arrow_cast('{moment}', 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// The table's name as a SQL identifier.
pub(crate) fn quoted(table: &str) -> String {
    format!("\"{table}\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::{record, same};

    #[test]
    fn records_come_back_from_the_table_with_the_same_leaf() {
        let records: Vec<DecisionRecord> = (0..7).map(record).collect();
        let batch = encode(&records.iter().collect::<Vec<_>>(), OperationId::derive(&["x"])).unwrap();
        let found = decode("decisions_late_arrival", &batch).unwrap();
        assert_eq!(found.len(), 7);
        for (found, expected) in found.iter().zip(&records) {
            same(found, expected);
            assert_eq!(found.canonical_json(), expected.canonical_json());
        }
    }

    #[test]
    fn a_table_without_a_column_is_named() {
        let records = [record(1)];
        let batch = encode(&[&records[0]], OperationId::derive(&["x"])).unwrap();
        let error = decode("decisions_x", &batch.project(&[0, 1, 2]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "a stored row of `decisions_x` cannot be read: it has no column `decided_at`");
    }
}
