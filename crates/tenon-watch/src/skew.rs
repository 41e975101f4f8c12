//! Whether what was served is what training sees: features of some decisions are computed again from the lake, as of the same
//! moments, and compared bit by bit.
//!
//! A decision is looked at once it is as old as the monitor's `every`: what was served ahead of its commit has landed by then,
//! and so has what was late. What a fallback stood in for is left out, since it does so as well where the store is down, and so
//! is what the store could not be asked for. A difference means that a row landed after a decision that it was already known to by its moments
//! (a view without `known_at`, or with one that is too early), that rows were repaired, replayed or restored since, or that
//! serving is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use indexmap::IndexSet;
use serde_json::{Map, Value};
use tenon_core::fact::{FeatureSkew, SkewDetected, SkewMeasured, TableVersion};
use tenon_core::id::{DecisionId, IncidentId, OperationId};
use tenon_core::spec::SkewRule;
use tenon_core::{AsOf, DeploymentName, Digest, ModelName, ModelVersionRef, MonitorName, Span, Timestamp};
use tenon_features::{FeatureRef, FeatureStore};
use tenon_lake::Lake;
use tenon_models::Models;

use crate::error::WatchError;
use crate::window::Rows;

/// The column of the moments in what is joined; no entity is called so.
const MOMENT: &str = "tenon_decided_at";

/// What the store says of a feature that it was asked for: it has it, or it has nothing.
const ANSWERED: [u8; 2] = [b'k', b'm'];

/// Where a skew monitor reads.
pub(crate) struct Looking<'a> {
    pub(crate) lake: &'a Lake,
    pub(crate) features: &'a FeatureStore,
    pub(crate) models: &'a Models,
}

/// The decisions that a look at `now` is about: those since the last look, no older than a window before, and none that is
/// younger than `every`; at first a whole window. None where the last look was about them.
pub(crate) fn looked_at(
    now: Timestamp,
    every: Span,
    window: Span,
    last: Option<Timestamp>,
) -> Option<(Timestamp, Timestamp)> {
    let until = now - every;
    let earliest = until - window;
    let from = last.map_or(earliest, |last| last.max(earliest));
    (from < until).then_some((from, until))
}

/// A decision that is looked at.
struct Sampled {
    id: DecisionId,
    at: Timestamp,
    version: u32,
    /// What the caller sent.
    sent: Map<String, Value>,
    /// In the version's order; NaN: missing.
    served: Vec<f32>,
    /// One letter a feature.
    status: Vec<u8>,
}

impl Looking<'_> {
    /// Compares a sample of a window's decisions. None where there are none.
    pub(crate) async fn compare(
        &self,
        monitor: &MonitorName,
        deployment: &DeploymentName,
        model: &ModelName,
        rule: SkewRule,
        window: (Timestamp, Timestamp),
    ) -> Result<Option<SkewMeasured>, WatchError> {
        let sampled = self.sample(deployment, rule, window).await?;
        let mut of_versions: BTreeMap<u32, Vec<Sampled>> = BTreeMap::new();
        for decision in sampled {
            of_versions.entry(decision.version).or_default().push(decision);
        }
        let mut found = SkewMeasured {
            monitor: monitor.clone(),
            deployment: deployment.clone(),
            window,
            tables: Vec::new(),
            rows: 0,
            features: Vec::new(),
        };
        for (version, decisions) in of_versions {
            let version = ModelVersionRef { model: model.clone(), version };
            self.compare_version(&version, &decisions, &mut found).await?;
        }
        found.features.sort_by(|one, other| other.rows.cmp(&one.rows).then_with(|| one.feature.cmp(&other.feature)));
        Ok((found.rows > 0).then_some(found))
    }

    async fn compare_version(
        &self,
        version: &ModelVersionRef,
        decisions: &[Sampled],
        found: &mut SkewMeasured,
    ) -> Result<(), WatchError> {
        let fault = |source| WatchError::Models { version: version.clone(), source };
        let inputs = self.models.version(version).map_err(fault)?.registered.inputs;
        let specs = self.models.definitions_of(version).map_err(fault)?;
        let known = self.features.features_under(&specs, &version.model).map_err(WatchError::Features)?;
        let of_view = |input: &String| known.iter().find(|known| known.feature == *input).cloned();
        // A version of another program may take what no view has.
        let Some(refs) = inputs.iter().map(of_view).collect::<Option<Vec<FeatureRef>>>() else { return Ok(()) };
        let tables = self.features.tables_of(&specs, &refs, AsOf::Latest).await.map_err(WatchError::Features)?;
        let Some(tables) = tables else { return Ok(()) };
        let observations = observations(decisions)?;
        let joined = self.features.point_in_time_under(&specs, &refs, &observations, MOMENT, &tables).await;
        let joined = joined.map_err(WatchError::Features)?;
        let first = observations.num_columns();
        for (at, input) in inputs.iter().enumerate() {
            let recomputed = joined.column(first + at).as_primitive::<Float32Type>();
            let recomputed = recomputed.iter().map(|value| value.filter(|value| value.is_finite()));
            for (decision, recomputed) in decisions.iter().zip(recomputed) {
                let Some(served) = decision.served(at) else { continue };
                if served.map(f32::to_bits) != recomputed.map(f32::to_bits) {
                    tell(found, input, decision.id, served, recomputed);
                }
            }
        }
        found.rows += decisions.len() as u64;
        merge(&mut found.tables, tables);
        Ok(())
    }

    /// The decisions of a window that are looked at: those whose ids fall below the share, always the same.
    async fn sample(
        &self,
        deployment: &DeploymentName,
        rule: SkewRule,
        window: (Timestamp, Timestamp),
    ) -> Result<Vec<Sampled>, WatchError> {
        let table = format!("decisions_{deployment}");
        let Some(version) = self.lake.version(&table, AsOf::Latest).await.map_err(WatchError::Lake)? else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT decision_id, decided_at, version, entities, features, status FROM {table} \
             WHERE decided_at > TIMESTAMP '{}' AND decided_at <= TIMESTAMP '{}' ORDER BY decided_at, decision_id",
            window.0, window.1
        );
        let batches = self.lake.query_at(&sql, &[(table.clone(), version)]).await.map_err(WatchError::Lake)?;
        let mut sampled = Vec::new();
        for batch in &batches {
            sampled.extend(decode(&table, batch, rule)?);
        }
        Ok(sampled)
    }
}

impl Sampled {
    /// What the store served of a feature, a value or nothing; none where something else answered for it.
    fn served(&self, feature: usize) -> Option<Option<f32>> {
        self.status.get(feature).filter(|status| ANSWERED.contains(*status))?;
        self.served.get(feature).map(|value| Some(*value).filter(|value| !value.is_nan()))
    }
}

fn tell(found: &mut SkewMeasured, feature: &str, decision: DecisionId, served: Option<f32>, recomputed: Option<f32>) {
    match found.features.iter_mut().find(|known| known.feature == feature) {
        Some(known) => known.rows += 1,
        None => found.features.push(FeatureSkew { feature: feature.to_owned(), rows: 1, decision, served, recomputed }),
    }
}

fn merge(tables: &mut Vec<TableVersion>, more: Vec<TableVersion>) {
    tables.extend(more);
    tables.sort();
    tables.dedup();
}

/// Whether a decision is one of the share that is looked at.
fn is_looked_at(id: DecisionId, rule: SkewRule) -> bool {
    Digest::of(id.to_string()).fraction() < rule.sample.fraction()
}

fn decode(table: &str, batch: &RecordBatch, rule: SkewRule) -> Result<Vec<Sampled>, WatchError> {
    let rows = Rows { table, batch };
    let moments = rows.column("decided_at", &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
    let versions = rows.column("version", &DataType::Int64)?;
    let (entities, status) = (rows.column("entities", &DataType::Utf8)?, rows.column("status", &DataType::Utf8)?);
    let item = Field::new("element", DataType::Float32, true);
    let features = rows.column("features", &DataType::List(Arc::new(item)))?;
    let mut sampled = Vec::new();
    for (row, id) in rows.ids()?.into_iter().enumerate().filter(|(_, id)| is_looked_at(*id, rule)) {
        let sent = serde_json::from_str(entities.as_string::<i32>().value(row));
        let values = features.as_list::<i32>().value(row);
        sampled.push(Sampled {
            id,
            at: Timestamp::from_micros(moments.as_primitive::<TimestampMicrosecondType>().value(row)),
            version: u32::try_from(versions.as_primitive::<Int64Type>().value(row)).unwrap_or(0),
            sent: sent.map_err(|error| rows.fault(format!("the entities of {id}: {error}")))?,
            served: values.as_primitive::<Float32Type>().iter().map(|value| value.unwrap_or(f32::NAN)).collect(),
            status: status.as_string::<i32>().value(row).as_bytes().to_vec(),
        });
    }
    Ok(sampled)
}

/// What was sent, as columns, each of the narrowest type that holds it, and when it was decided.
fn observations(decisions: &[Sampled]) -> Result<RecordBatch, WatchError> {
    let names: IndexSet<&String> = decisions.iter().flat_map(|decision| decision.sent.keys()).collect();
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    for name in names {
        let values: Vec<&Value> =
            decisions.iter().map(|decision| decision.sent.get(name).unwrap_or(&Value::Null)).collect();
        columns.push((name, column(&values)));
    }
    let moments: TimestampMicrosecondArray = decisions.iter().map(|decision| Some(decision.at.as_micros())).collect();
    columns.push((MOMENT, Arc::new(moments.with_timezone("UTC"))));
    let fields: Vec<_> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(decisions.len()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
    batch.map_err(|error| WatchError::StoredRow { table: "decisions".to_owned(), reason: error.to_string() })
}

fn column(values: &[&Value]) -> ArrayRef {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| value.is_null() || is(value));
    if all(Value::is_boolean) && !all(Value::is_null) {
        Arc::new(values.iter().map(|value| value.as_bool()).collect::<BooleanArray>())
    } else if all(Value::is_i64) && !all(Value::is_null) {
        Arc::new(values.iter().map(|value| value.as_i64()).collect::<Int64Array>())
    } else if all(Value::is_number) && !all(Value::is_null) {
        Arc::new(values.iter().map(|value| value.as_f64()).collect::<Float64Array>())
    } else {
        let text = |value: &&Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        Arc::new(values.iter().map(text).collect::<StringArray>())
    }
}

/// The incident of a measurement that found differences.
pub(crate) fn detected(measured: &SkewMeasured, model: &ModelName) -> Option<SkewDetected> {
    let worst = measured.features.first()?;
    let until = measured.window.1;
    let value = |value: Option<f32>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
    let others = match measured.features.len() - 1 {
        0 => String::new(),
        1 => " and of one other feature".to_owned(),
        others => format!(" and of {others} other features"),
    };
    let sentence = format!(
        "of {} decisions of `{}` until {until} that were looked at, training would see other values of `{}` in {}{others}; \
         decision {} was served {} and training sees {}: look for rows that land after the moment at which they count as known",
        measured.rows,
        measured.deployment,
        worst.feature,
        worst.rows,
        worst.decision,
        value(worst.served),
        value(worst.recomputed),
    );
    let operation = OperationId::derive(&["skew", measured.monitor.as_str(), &until.as_micros().to_string()]);
    Some(SkewDetected {
        incident: IncidentId::from_uuid(operation.uuid()),
        monitor: measured.monitor.clone(),
        deployment: measured.deployment.clone(),
        model: model.clone(),
        window: measured.window,
        rows: measured.rows,
        features: measured.features.clone(),
        sentence,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn decision(number: u8, sent: Value, served: &[f32], status: &str) -> Sampled {
        Sampled {
            id: DecisionId::from_uuid(OperationId::derive(&["decision", &number.to_string()]).uuid()),
            at: Timestamp::from_micros(i64::from(number)),
            version: 1,
            sent: sent.as_object().unwrap().clone(),
            served: served.to_vec(),
            status: status.as_bytes().to_vec(),
        }
    }

    #[test]
    fn what_was_sent_comes_back_in_its_types() {
        let decisions = [
            decision(1, json!({ "tail": "N1", "seat": 3, "miles": 2, "rush": true }), &[], ""),
            decision(2, json!({ "tail": null, "seat": 4, "miles": 2.5, "why": "x" }), &[], ""),
        ];
        let batch = observations(&decisions).unwrap();
        let kinds: Vec<String> =
            batch.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        assert_eq!(
            kinds.join(", "),
            "tail Utf8, seat Int64, miles Float64, rush Boolean, why Utf8, tenon_decided_at Timestamp(µs, \"UTC\")"
        );
        assert_eq!(batch.column(0).null_count(), 1);
    }

    #[test]
    fn what_the_store_served_is_compared_and_not_what_stood_in_for_it() {
        let decision = decision(1, json!({}), &[1.5, 9.0, f32::NAN, 4.0, f32::NAN], "kfmku");
        let served = [0, 1, 2, 3, 4, 5].map(|at| decision.served(at));
        assert_eq!(served, [Some(Some(1.5)), None, Some(None), Some(Some(4.0)), None, None]);
    }

    #[test]
    fn every_decision_is_looked_at_once_and_not_before_it_has_settled() {
        let day = |day: i64| Timestamp::from_micros(0) + Span::days(day);
        let look = |now: i64, window: i64, last: Option<i64>| {
            looked_at(day(now), Span::days(1), Span::days(window), last.map(day)).map(|(from, until)| [from, until])
        };
        assert_eq!(look(20, 7, None), Some([12, 19].map(day)), "the first look is about a whole window");
        assert_eq!(look(20, 7, Some(18)), Some([18, 19].map(day)));
        assert_eq!(look(20, 7, Some(5)), Some([12, 19].map(day)), "after a long rest too");
        assert_eq!(look(20, 1, Some(18)), Some([18, 19].map(day)), "a window as long as the time between two looks");
        assert_eq!(look(20, 7, Some(19)), None, "the same look again");
    }

    #[test]
    fn a_share_of_the_decisions_is_looked_at_always_the_same() {
        let ids = (0..10_000_u32).map(|at| DecisionId::from_uuid(OperationId::derive(&[&at.to_string()]).uuid()));
        let rule = SkewRule { sample: "10%".parse().unwrap() };
        let looked_at: Vec<DecisionId> = ids.filter(|id| is_looked_at(*id, rule)).collect();
        assert!((850..1150).contains(&looked_at.len()), "{}", looked_at.len());
        assert!(looked_at.iter().all(|id| is_looked_at(*id, SkewRule { sample: "20%".parse().unwrap() })));
        assert!(looked_at.iter().all(|id| is_looked_at(*id, SkewRule { sample: "100%".parse().unwrap() })));
    }

    #[test]
    fn the_incident_says_when_what_and_where_to_look() {
        let mut measured = SkewMeasured {
            monitor: "late".parse().unwrap(),
            deployment: "late".parse().unwrap(),
            window: (Timestamp::from_micros(0), Timestamp::from_micros(86_400_000_000)),
            tables: Vec::new(),
            rows: 84,
            features: Vec::new(),
        };
        let model: ModelName = "late".parse().unwrap();
        assert_eq!(detected(&measured, &model), None);
        let id = decision(1, json!({}), &[], "").id;
        tell(&mut measured, "mean", id, Some(4.5), None);
        tell(&mut measured, "mean", id, Some(4.5), Some(5.0));
        tell(&mut measured, "last", id, None, Some(-3.0));
        let told = detected(&measured, &model).unwrap();
        assert_eq!(
            told.sentence,
            format!(
                "of 84 decisions of `late` until 1970-01-02T00:00:00Z that were looked at, training would see other values of \
                 `mean` in 2 and of one other feature; decision {id} was served 4.5 and training sees nothing: look for rows \
                 that land after the moment at which they count as known"
            )
        );
    }
}
