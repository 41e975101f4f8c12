//! Decisions as lists and as figures over time, from the table that they are logged in.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use serde::Serialize;
use serde_json::{Map, Value};
use tenon_core::id::DecisionId;
use tenon_core::{DeploymentName, ModelVersionRef, Span, Timestamp};

use crate::decision::Variant;
use crate::error::ServeError;
use crate::receipt::decided_at;
use crate::route::deployment_spec;
use crate::serving::{Inner, Serving};
use crate::table::{Rows, decisions_table, moment_sql, outcomes_table, quoted};

/// How far back a list is looked for, step by step, until it is full; then over everything. Files of earlier times are not
/// opened.
const BACK: [Span; 4] = [Span::hours(1), Span::hours(16), Span::days(10), Span::days(160)];

/// One decision in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedDecision {
    /// Its id; ids sort by the moment that they are about.
    pub id: DecisionId,
    /// Who was asked.
    pub deployment: DeploymentName,
    /// The version that answered.
    pub version: ModelVersionRef,
    /// Which side of a rollout that was.
    pub variant: Variant,
    /// The moment that it is about.
    pub at: Timestamp,
    /// Who it was about.
    pub entities: Map<String, Value>,
    /// The predicted probability of yes.
    pub probability: f64,
    /// What was decided.
    pub decision: bool,
    /// What became of it, where that is known.
    pub outcome: Option<bool>,
    /// How long it took, in microseconds.
    pub latency_us: i64,
}

/// Decisions of a stretch of time, in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Activity {
    /// Its begin.
    pub from: Timestamp,
    /// Decisions about moments in it.
    pub decisions: u64,
    /// Those that decided yes.
    pub yes: u64,
    /// About the median latency, in microseconds.
    pub latency_p50_us: f64,
    /// About the latency that 99% stay below, in microseconds.
    pub latency_p99_us: f64,
}

impl Serving {
    /// The newest decisions of these deployments, newest first: those older than `before` where that is given. A decision is
    /// in the list once it is in the lake, seconds after it was made.
    ///
    /// # Errors
    /// `UnknownDeployment`; what the lake says.
    pub async fn decisions(
        &self,
        deployments: &[DeploymentName],
        before: Option<DecisionId>,
        limit: usize,
    ) -> Result<Vec<ListedDecision>, ServeError> {
        let mut listed = Vec::new();
        for deployment in deployments {
            deployment_spec(&self.inner.catalog.specs(), deployment)?;
            listed.extend(self.inner.newest_decisions(deployment, before, limit).await?);
        }
        listed.sort_by_key(|decision| std::cmp::Reverse(decision.id));
        listed.truncate(limit);
        for deployment in deployments {
            self.inner.add_outcomes(deployment, &mut listed).await?;
        }
        Ok(listed)
    }

    /// Decisions of a deployment about moments from `from` on, before `until`, in stretches of one length; those without
    /// decisions are left out.
    ///
    /// # Errors
    /// `UnknownDeployment`; what the lake says.
    pub async fn activity(
        &self,
        deployment: &DeploymentName,
        (from, until): (Timestamp, Timestamp),
        stretch: Span,
    ) -> Result<Vec<Activity>, ServeError> {
        deployment_spec(&self.inner.catalog.specs(), deployment)?;
        self.inner.activity(deployment, (from, until), stretch).await
    }
}

impl Inner {
    async fn newest_decisions(
        &self,
        deployment: &DeploymentName,
        before: Option<DecisionId>,
        limit: usize,
    ) -> Result<Vec<ListedDecision>, ServeError> {
        let table = decisions_table(deployment);
        let (end, before) = match before.map(|id| (id, decided_at(id))) {
            None => (self.clock.now(), String::new()),
            // A text of the right form that is no decision's id: nothing was before it.
            Some((_, None)) => return Ok(Vec::new()),
            Some((id, Some(at))) => {
                let until = moment_sql(at + Span::from_micros(1000));
                (at, format!(" AND decided_at < {until} AND decision_id < '{id}'"))
            }
        };
        let mut found = Vec::new();
        for back in BACK.into_iter().map(Some).chain([None]) {
            let since =
                back.map_or_else(|| "TRUE".to_owned(), |back| format!("decided_at >= {}", moment_sql(end - back)));
            let sql = format!(
                "SELECT decision_id, model, version, variant, decided_at, entities, probability, decision, latency_us \
                 FROM {} WHERE {since}{before} ORDER BY decision_id DESC LIMIT {limit}",
                quoted(&table)
            );
            found = self.read_table(&table, &sql).await?;
            if found.iter().map(RecordBatch::num_rows).sum::<usize>() >= limit {
                break;
            }
        }
        let mut listed = Vec::new();
        for batch in &found {
            listed.extend(decode(deployment, &table, batch)?);
        }
        Ok(listed)
    }

    /// Says of listed decisions of a deployment what became of them.
    async fn add_outcomes(&self, deployment: &DeploymentName, listed: &mut [ListedDecision]) -> Result<(), ServeError> {
        let ids = || listed.iter().filter(|decision| decision.deployment == *deployment).map(|decision| decision.id);
        let (Some(first), Some(last)) = (ids().min(), ids().max()) else { return Ok(()) };
        let table = outcomes_table(deployment);
        let each: Vec<String> = ids().map(|id| format!("'{id}'")).collect();
        // The range is for the statistics of files, which a list of values does not narrow down.
        let sql = format!(
            "SELECT decision_id, outcome FROM {} WHERE decision_id BETWEEN '{first}' AND '{last}' AND decision_id IN ({})",
            quoted(&table),
            each.join(", ")
        );
        let mut known = HashMap::new();
        for batch in &self.read_table(&table, &sql).await? {
            let rows = Rows::new(&table, batch);
            let truths = rows.column("outcome", &DataType::Boolean)?;
            known.extend(rows.ids()?.into_iter().zip(truths.as_boolean().values().iter()));
        }
        let of_deployment = listed.iter_mut().filter(|decision| decision.deployment == *deployment);
        of_deployment.for_each(|decision| decision.outcome = known.get(&decision.id).copied());
        Ok(())
    }

    async fn activity(
        &self,
        deployment: &DeploymentName,
        (from, until): (Timestamp, Timestamp),
        stretch: Span,
    ) -> Result<Vec<Activity>, ServeError> {
        let table = decisions_table(deployment);
        let (start, length) = (from.as_micros(), stretch.as_micros().max(1));
        let percentile =
            |share: f64| format!("approx_percentile_cont({share}) WITHIN GROUP (ORDER BY CAST(latency_us AS DOUBLE))");
        let sql = format!(
            "SELECT (arrow_cast(decided_at, 'Int64') - ({start})) / {length} AS stretch, count(*) AS decisions, \
             sum(CASE WHEN decision THEN 1 ELSE 0 END) AS yes, {} AS p50, {} AS p99 \
             FROM {} WHERE decided_at >= {} AND decided_at < {} GROUP BY 1 ORDER BY 1",
            percentile(0.5),
            percentile(0.99),
            quoted(&table),
            moment_sql(from),
            moment_sql(until)
        );
        let mut activity = Vec::new();
        for batch in &self.read_table(&table, &sql).await? {
            let rows = Rows::new(&table, batch);
            let whole = |name| rows.column(name, &DataType::Int64);
            let (stretches, decisions, yes) = (whole("stretch")?, whole("decisions")?, whole("yes")?);
            let (p50, p99) = (rows.column("p50", &DataType::Float64)?, rows.column("p99", &DataType::Float64)?);
            let count = |of: &arrow::array::ArrayRef, row| of.as_primitive::<Int64Type>().value(row).max(0) as u64;
            activity.extend((0..batch.num_rows()).map(|row| Activity {
                from: from + Span::from_micros(stretches.as_primitive::<Int64Type>().value(row) * length),
                decisions: count(&decisions, row),
                yes: count(&yes, row),
                latency_p50_us: p50.as_primitive::<Float64Type>().value(row),
                latency_p99_us: p99.as_primitive::<Float64Type>().value(row),
            }));
        }
        Ok(activity)
    }
}

fn decode(deployment: &DeploymentName, table: &str, batch: &RecordBatch) -> Result<Vec<ListedDecision>, ServeError> {
    let rows = Rows::new(table, batch);
    let text = |name| rows.column(name, &DataType::Utf8);
    let (ids, moments) = (rows.ids()?, rows.moments("decided_at")?);
    let (models, variants, entities) = (text("model")?, text("variant")?, text("entities")?);
    let (versions, latencies) =
        (rows.column("version", &DataType::Int32)?, rows.column("latency_us", &DataType::Int64)?);
    let (probabilities, decisions) =
        (rows.column("probability", &DataType::Float64)?, rows.column("decision", &DataType::Boolean)?);
    let listed = |row: usize| {
        let fault = |what: &str| rows.fault(format!("{what} of {} cannot be read", ids[row]));
        let version =
            u32::try_from(versions.as_primitive::<Int32Type>().value(row)).map_err(|_| fault("the version"))?;
        let model = models.as_string::<i32>().value(row).parse().map_err(|_| fault("the model"))?;
        let entities = entities.as_string::<i32>().value(row);
        Ok(ListedDecision {
            id: ids[row],
            deployment: deployment.clone(),
            version: ModelVersionRef { model, version },
            variant: Variant::from_word(variants.as_string::<i32>().value(row)).ok_or_else(|| fault("the variant"))?,
            at: moments[row],
            entities: serde_json::from_str(entities).map_err(|_| fault("the entities"))?,
            probability: probabilities.as_primitive::<Float64Type>().value(row),
            decision: decisions.as_boolean().value(row),
            outcome: None,
            latency_us: latencies.as_primitive::<Int64Type>().value(row),
        })
    };
    (0..batch.num_rows()).map(listed).collect()
}
