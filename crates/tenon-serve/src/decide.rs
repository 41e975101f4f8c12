//! The decision path: one for single requests and for batches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use serde_json::{Map, Value};
use tenon_core::id::DecisionId;
use tenon_core::{DeploymentName, Timestamp};
use tenon_features::OnlineRow;

use crate::decision::{DecideRequest, Decision, DecisionBatch, FeatureStatus, FeatureUsed, Variant};
use crate::error::ServeError;
use crate::journal::Frames;
use crate::outcomes::Waiting;
use crate::record::DecisionRecord;
use crate::route::{Input, Layout, Route, Side};
use crate::serving::Inner;
use crate::table::Rows;
use crate::words::{NAMED, strongest};

/// One request with what was looked up for it.
struct Ask {
    /// Canonical JSON.
    entities: String,
    /// Canonical JSON of that without what was sent for computed features: whose request it is.
    caller: Option<String>,
    at: Timestamp,
    features: Read<OnlineRow>,
}

/// What was read for both sides of a route.
struct Read<T> {
    champion: T,
    /// Of the candidate, where it does not read the same.
    candidate: Option<T>,
}

impl Read<OnlineRow> {
    fn of(&self, variant: Variant) -> &OnlineRow {
        match (&self.candidate, variant) {
            (Some(candidate), Variant::Candidate) => candidate,
            _ => &self.champion,
        }
    }
}

/// One answer, not yet durable.
struct Answer {
    record: DecisionRecord,
    phi: Option<Vec<f64>>,
}

impl Inner {
    pub(crate) async fn decide(
        &self,
        route: &Route,
        deployment: &DeploymentName,
        request: DecideRequest,
        started: Instant,
    ) -> Result<Decision, ServeError> {
        let layout = route.layout(&self.catalog.specs(), deployment, &self.features, &self.engines).await?;
        check_entities(&request.entities, &layout, deployment)?;
        let at = request.at.unwrap_or_else(|| self.clock.now());
        let read = async |side: &Side| side.service.row(&request.entities, at).await.map_err(ServeError::Features);
        let candidate = match layout.other() {
            Some(side) => Some(read(side).await?),
            None => None,
        };
        let features = Read { champion: read(layout.side(Variant::Champion)).await?, candidate };
        let caller = layout.caller(&request.entities)?;
        let ask = Ask { entities: canonical(request.entities)?, caller, at, features };
        let mut answers = self.answer(route, &layout, vec![ask], request.explain, started)?;
        let Some(answer) = answers.pop() else { return Err(ServeError::UnevenBatch { rows: 0, moments: 1 }) };
        let decision = decision(&answer, route, &layout, deployment);
        self.keep(vec![answer.record]).await?;
        Ok(decision)
    }

    pub(crate) async fn decide_many(
        &self,
        route: &Route,
        deployment: &DeploymentName,
        entities: &RecordBatch,
        at: &str,
        explain: bool,
        started: Instant,
    ) -> Result<DecisionBatch, ServeError> {
        if entities.num_rows() == 0 {
            return Ok(DecisionBatch::default());
        }
        let layout = route.layout(&self.catalog.specs(), deployment, &self.features, &self.engines).await?;
        if let Some(column) = layout.entity_columns.iter().find(|name| entities.column_by_name(name).is_none()) {
            return Err(missing(deployment, column, &layout));
        }
        let moments = Rows::new("the request", entities).moments(at)?;
        let read = async |side: &Side| side.service.rows(entities, at).await.map_err(ServeError::Features);
        let mut candidates = match layout.other() {
            Some(side) => Some(read(side).await?.into_iter()),
            None => None,
        };
        let champions = read(layout.side(Variant::Champion)).await?;
        if champions.len() != moments.len() {
            return Err(ServeError::UnevenBatch { rows: champions.len(), moments: moments.len() });
        }
        let mut asks = Vec::with_capacity(champions.len());
        for ((champion, at), named) in champions.into_iter().zip(moments).zip(entity_rows(entities, at)?) {
            let features = Read { champion, candidate: candidates.as_mut().and_then(Iterator::next) };
            let caller = layout.caller(&named)?;
            asks.push(Ask { entities: canonical(named)?, caller, at, features });
        }
        let records: Vec<DecisionRecord> =
            self.answer(route, &layout, asks, explain, started)?.into_iter().map(|answer| answer.record).collect();
        let batch = DecisionBatch {
            ids: records.iter().map(|record| record.id).collect(),
            versions: records.iter().map(|record| record.version).collect(),
            probabilities: records.iter().map(|record| record.probability).collect(),
            decisions: records.iter().map(|record| record.decision).collect(),
        };
        self.keep(records).await?;
        Ok(batch)
    }

    /// Splits the traffic, predicts and explains.
    fn answer(
        &self,
        route: &Route,
        layout: &Layout,
        asks: Vec<Ask>,
        explain: bool,
        started: Instant,
    ) -> Result<Vec<Answer>, ServeError> {
        let caller = |ask: &Ask| route.variant(ask.caller.as_ref().unwrap_or(&ask.entities));
        let mut variants: Vec<Variant> = asks.iter().map(caller).collect();
        let mut answers: Vec<Option<Answer>> = asks.iter().map(|_| None).collect();
        for variant in [Variant::Candidate, Variant::Champion] {
            let rows: Vec<usize> = (0..asks.len()).filter(|&row| variants[row] == variant).collect();
            if rows.is_empty() {
                continue;
            }
            let engine = route.engine(variant);
            let inputs = &layout.side(variant).inputs;
            let used: Vec<Used> = rows.iter().map(|&row| Used::of(inputs, asks[row].features.of(variant))).collect();
            let matrix: Vec<f32> = used.iter().flat_map(|used| used.values.iter().copied()).collect();
            let explained = engine.predict(&matrix).and_then(|probabilities| {
                let shap = explain.then(|| engine.explain(&matrix)).transpose()?;
                Ok((probabilities, shap))
            });
            let (probabilities, shap) = match explained {
                Ok(answered) => answered,
                // A candidate that fails must not fail its callers; the guardrail counts it.
                Err(error) if variant == Variant::Candidate => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(version = %engine.version, error, "the candidate failed; the champion answers");
                    self.count_requests(route, variant, rows.len(), 1.0);
                    rows.iter().for_each(|&row| variants[row] = Variant::Champion);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.count_requests(route, variant, rows.len(), 0.0);
            for (at, (&row, used)) in rows.iter().zip(used).enumerate() {
                let width = inputs.len();
                let phi = shap.as_ref().map(|shap| shap.values[at * width..(at + 1) * width].to_vec());
                let ask = &asks[row];
                let record = DecisionRecord {
                    id: DecisionId::new(&*self.ids, ask.at),
                    deployment: Arc::clone(&layout.deployment),
                    model: Arc::clone(&layout.model_text),
                    version: engine.version.version,
                    variant,
                    rollout: route.rollout.as_ref().map(|rollout| (rollout.id, rollout.step)),
                    at: ask.at,
                    entities: ask.entities.clone(),
                    features: used.values,
                    status: used.status,
                    known_at: used.known_at,
                    probability: probabilities[at],
                    decision: probabilities[at] >= layout.threshold,
                    base: shap.as_ref().map(|shap| shap.expected),
                    phi: phi.as_ref().map(|phi| phi.iter().map(|phi| *phi as f32).collect()),
                    latency_us: 0,
                    usd: 0.0,
                };
                answers[row] = Some(Answer { record, phi });
            }
        }
        let mut answers: Vec<Answer> = answers.into_iter().flatten().collect();
        let share = started.elapsed().as_secs_f64() / answers.len().max(1) as f64;
        for Answer { record, .. } in &mut answers {
            record.latency_us = (share * 1e6) as i64;
            record.usd = share * layout.usd_per_second;
        }
        Ok(answers)
    }

    /// Makes decisions durable; then they may await their outcomes.
    async fn keep(&self, records: Vec<DecisionRecord>) -> Result<(), ServeError> {
        let mut frames = Frames::default();
        let waiting: Vec<(DecisionId, Waiting)> =
            records.iter().map(|record| (record.id, Waiting::of(record))).collect();
        let rows = i64::try_from(records.len()).unwrap_or(i64::MAX);
        records.into_iter().for_each(|record| frames.decision(record));
        self.journal.append(frames).await?;
        self.unflushed.fetch_add(rows, Ordering::Relaxed);
        self.outcomes.lock().await_outcomes(waiting);
        Ok(())
    }

    fn count_requests(&self, route: &Route, variant: Variant, requests: usize, loss: f64) {
        if let Some(rollout) = &route.rollout {
            self.outcomes.lock().count_requests(rollout.id, rollout.step, variant, requests, loss);
        }
    }
}

/// The features of one row as they enter one version.
struct Used {
    values: Vec<f32>,
    status: Vec<FeatureStatus>,
    known_at: Vec<Option<Timestamp>>,
}

impl Used {
    fn of(inputs: &[Input], online: &OnlineRow) -> Self {
        let mut used = Self {
            values: Vec::with_capacity(inputs.len()),
            status: Vec::with_capacity(inputs.len()),
            known_at: Vec::with_capacity(inputs.len()),
        };
        for input in inputs {
            // A feature that is not a number of this world is as good as missing.
            let known = online.values.get(input.from).copied().flatten().filter(|value| value.is_finite());
            let (value, status) = match (known, input.fallback) {
                (Some(value), _) => (value, FeatureStatus::Known),
                (None, Some(value)) => (value, FeatureStatus::Fallback),
                (None, None) if is_unavailable(online, input) => (f32::NAN, FeatureStatus::Unavailable),
                (None, None) => (f32::NAN, FeatureStatus::Missing),
            };
            used.values.push(value);
            used.status.push(status);
            used.known_at.push(online.known_at.get(input.from).copied().flatten());
        }
        used
    }
}

/// Whether the online store could not be asked.
fn is_unavailable(online: &OnlineRow, input: &Input) -> bool {
    online.statuses.get(input.from) == Some(&tenon_features::FeatureStatus::Unavailable)
}

fn decision(answer: &Answer, route: &Route, layout: &Layout, deployment: &DeploymentName) -> Decision {
    let record = &answer.record;
    let inputs = &layout.side(record.variant).inputs;
    let feature = |(at, input): (usize, &Input)| FeatureUsed {
        name: Arc::clone(&input.name),
        value: (!record.features[at].is_nan()).then_some(record.features[at]),
        known_at: record.known_at[at],
        status: record.status[at],
    };
    let phi = answer.phi.as_deref().unwrap_or_default();
    Decision {
        id: record.id,
        deployment: deployment.clone(),
        version: route.engine(record.variant).version.clone(),
        variant: record.variant,
        at: record.at,
        probability: record.probability,
        decision: record.decision,
        features: inputs.iter().enumerate().map(feature).collect(),
        reasons: strongest(inputs, &record.features, phi, NAMED),
        base: record.base,
        phi: answer.phi.clone(),
        latency_us: record.latency_us,
        usd: record.usd,
    }
}

fn check_entities(
    entities: &Map<String, Value>,
    layout: &Layout,
    deployment: &DeploymentName,
) -> Result<(), ServeError> {
    if let Some(column) = layout.entity_columns.iter().find(|column| !entities.contains_key(*column)) {
        return Err(missing(deployment, column, layout));
    }
    for (column, value) in entities {
        let found = match value {
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
            Value::Number(number) if number.is_f64() && !layout.request_columns.contains(column) => "a fraction",
            _ => continue,
        };
        return Err(ServeError::WrongEntityType { column: column.clone(), found: found.to_owned() });
    }
    Ok(())
}

impl Layout {
    /// Whose request it is, where what is sent says more than that: so that somebody always meets the same side.
    fn caller(&self, entities: &Map<String, Value>) -> Result<Option<String>, ServeError> {
        if self.request_columns.is_empty() {
            return Ok(None);
        }
        let names_nobody =
            |column: &String| self.request_columns.contains(column) && !self.entity_columns.contains(column);
        let mut caller = entities.clone();
        caller.retain(|column, _| !names_nobody(column));
        canonical(caller).map(Some)
    }
}

fn missing(deployment: &DeploymentName, column: &str, layout: &Layout) -> ServeError {
    let needed = layout.entity_columns.clone();
    ServeError::MissingEntity { deployment: deployment.clone(), column: column.to_owned(), needed }
}

fn canonical(entities: Map<String, Value>) -> Result<String, ServeError> {
    serde_json_canonicalizer::to_string(&Value::Object(entities)).map_err(ServeError::Json)
}

/// The rows of a batch without the column of moments, as a caller over HTTP would have named them.
fn entity_rows(batch: &RecordBatch, at: &str) -> Result<Vec<Map<String, Value>>, ServeError> {
    let mut rows: Vec<Map<String, Value>> = vec![Map::new(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()).filter(|(field, _)| field.name() != at) {
        let (name, kind) = (field.name(), field.data_type());
        let cast = |to: &DataType| arrow::compute::cast(column, to).map_err(ServeError::Arrow);
        let mut put = |row: usize, value: Value| drop(rows[row].insert(name.clone(), value));
        if kind.is_integer() {
            let column = cast(&DataType::Int64)?;
            let values = column.as_primitive::<Int64Type>();
            values.iter().enumerate().for_each(|(row, value)| put(row, value.map_or(Value::Null, Value::from)));
        } else if kind.is_floating() {
            let column = cast(&DataType::Float64)?;
            let values = column.as_primitive::<Float64Type>();
            values.iter().enumerate().for_each(|(row, value)| put(row, value.map_or(Value::Null, Value::from)));
        } else if *kind == DataType::Boolean {
            let values = column.as_boolean();
            values.iter().enumerate().for_each(|(row, value)| put(row, value.map_or(Value::Null, Value::from)));
        } else {
            let column = cast(&DataType::Utf8)?;
            let values = column.as_string::<i32>();
            values.iter().enumerate().for_each(|(row, value)| put(row, value.map_or(Value::Null, Value::from)));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{Int32Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema, TimeUnit};
    use serde_json::json;
    use tenon_features::FeatureStatus as Stored;

    #[test]
    fn a_batch_names_entities_as_a_caller_over_http_would() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let schema = Schema::new(vec![
            Field::new("tailnum", DataType::Utf8, true),
            Field::new("at", timestamp, false),
            Field::new("flight", DataType::Int32, false),
        ]);
        let batch = RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(StringArray::from(vec![Some("N1"), None])),
                Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC")),
                Arc::new(Int32Array::from(vec![7, 8])),
            ],
        )
        .unwrap();
        let rows = entity_rows(&batch, "at").unwrap();
        let found: Vec<String> = rows.into_iter().map(|row| canonical(row).unwrap()).collect();
        let request = json!({ "tailnum": "N1", "flight": 7 });
        assert_eq!(found[0], canonical(request.as_object().unwrap().clone()).unwrap());
        assert_eq!(found[1], r#"{"flight":8,"tailnum":null}"#);
    }

    #[test]
    fn fallbacks_stand_in_and_are_marked() {
        let input = |name: &str, from, fallback| Input { name: name.into(), from, fallback, words: Default::default() };
        let down = [input("e", 4, None), input("f", 4, Some(2.0))];
        let inputs = [input("b", 1, Some(9.0)), input("a", 0, Some(1.0)), input("c", 2, None), input("d", 3, None)];
        let inputs: Vec<Input> = inputs.into_iter().chain(down).collect();
        let moment = Some(Timestamp::from_micros(5));
        let online = OnlineRow {
            values: vec![Some(2.5), None, None, Some(f32::INFINITY), None],
            known_at: vec![moment, None, None, moment, None],
            event_at: vec![None; 5],
            statuses: [[Stored::Present; 4].as_slice(), &[Stored::Unavailable]].concat(),
        };
        let used = Used::of(&inputs, &online);
        assert_eq!(used.values[..2], [9.0, 2.5]);
        assert!(used.values[2].is_nan() && used.values[3].is_nan());
        let letters: String = used.status.iter().map(|status| status.letter()).collect();
        assert_eq!(letters, "fkmmuf");
        assert_eq!(used.known_at[1], moment);
    }
}
