//! The newest decisions of a deployment with their outcomes, kept in memory and fed batch by batch: each batch that a
//! `decisions.logged` or `outcomes.recorded` fact seals is read from the lake once.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use tenon_core::fact::{DecisionsLogged, OutcomesRecorded};
use tenon_core::id::DecisionId;
use tenon_core::{DeploymentName, Payload, Timestamp};
use tenon_lake::Lake;
use tenon_ledger::{Ledger, StoredFact};

use crate::error::WatchError;

/// How many facts are read from the ledger in one go.
const PAGE: usize = 10_000;

/// One decision of the window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    pub(crate) at: Timestamp,
    pub(crate) version: u32,
    pub(crate) probability: f64,
    /// In the version's order; NaN: missing.
    pub(crate) features: Vec<f32>,
    pub(crate) outcome: Option<bool>,
}

/// The newest decisions of a deployment. Ids sort by time, so the rows do.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The index of the first fact that was not looked at.
    next: u64,
    pub(crate) rows: BTreeMap<DecisionId, Decided>,
}

impl Window {
    /// Reads what was sealed since the last time and forgets what was decided before `from`.
    pub(crate) async fn follow(
        &mut self,
        deployment: &DeploymentName,
        from: Timestamp,
        ledger: &Ledger,
        lake: &Lake,
    ) -> Result<(), WatchError> {
        self.rows.retain(|_, decided| decided.at > from);
        let (mut decisions, mut outcomes, mut next) = (Vec::new(), Vec::new(), self.next);
        loop {
            let kinds = [DecisionsLogged::KIND, OutcomesRecorded::KIND];
            let facts = ledger.facts_of(&kinds, next, PAGE).map_err(WatchError::Ledger)?;
            let Some(last) = facts.last() else { break };
            next = last.index + 1;
            for stored in &facts {
                match sealed(stored, deployment, from) {
                    Some(Sealed::Decisions(version)) => decisions.push(version),
                    Some(Sealed::Outcomes(version)) => outcomes.push(version),
                    None => {}
                }
            }
            if facts.len() < PAGE {
                break;
            }
        }
        let table = format!("decisions_{deployment}");
        let columns = ["decision_id", "decided_at", "version", "probability", "features"];
        for version in decisions {
            for batch in lake.added(&table, version, &columns).await.map_err(WatchError::Lake)? {
                let decided = decode(&table, &batch)?;
                self.rows.extend(decided.into_iter().filter(|(_, decided)| decided.at > from));
            }
        }
        let table = format!("outcomes_{deployment}");
        for version in outcomes {
            for batch in lake.added(&table, version, &["decision_id", "outcome"]).await.map_err(WatchError::Lake)? {
                let rows = Rows { table: &table, batch: &batch };
                let truths = rows.column("outcome", &DataType::Boolean)?;
                for (id, outcome) in rows.ids()?.into_iter().zip(truths.as_boolean().iter()) {
                    if let Some(decided) = self.rows.get_mut(&id) {
                        decided.outcome = outcome;
                    }
                }
            }
        }
        self.next = next;
        Ok(())
    }
}

/// The version of its table that a fact seals, where it may matter to the window.
enum Sealed {
    Decisions(u64),
    Outcomes(u64),
}

fn sealed(stored: &StoredFact, deployment: &DeploymentName, from: Timestamp) -> Option<Sealed> {
    if let Ok(logged) = stored.fact.payload::<DecisionsLogged>() {
        let matters = logged.deployment == *deployment && logged.decided.1 > from;
        return matters.then_some(Sealed::Decisions(logged.table_version));
    }
    let recorded = stored.fact.payload::<OutcomesRecorded>().ok()?;
    // What was recorded before the window began is about decisions from before it.
    let matters = recorded.deployment == *deployment && stored.fact.at > from;
    matters.then_some(Sealed::Outcomes(recorded.table_version))
}

/// Columns of a stored batch by name, in the types of this program whatever a reader made of them.
pub(crate) struct Rows<'a> {
    pub(crate) table: &'a str,
    pub(crate) batch: &'a RecordBatch,
}

impl Rows<'_> {
    pub(crate) fn fault(&self, reason: String) -> WatchError {
        WatchError::StoredRow { table: self.table.to_owned(), reason }
    }

    pub(crate) fn column(&self, name: &str, data_type: &DataType) -> Result<ArrayRef, WatchError> {
        let column = self.batch.column_by_name(name);
        let column = column.ok_or_else(|| self.fault(format!("it has no column `{name}`")))?;
        arrow::compute::cast(column, data_type).map_err(|error| self.fault(format!("`{name}`: {error}")))
    }

    pub(crate) fn ids(&self) -> Result<Vec<DecisionId>, WatchError> {
        let column = self.column("decision_id", &DataType::Utf8)?;
        let parse = |text: Option<&str>| {
            let id = text.and_then(|text| text.parse().ok());
            id.ok_or_else(|| self.fault(format!("`{}` is no decision's id", text.unwrap_or("null"))))
        };
        column.as_string::<i32>().iter().map(parse).collect()
    }
}

fn decode(table: &str, batch: &RecordBatch) -> Result<Vec<(DecisionId, Decided)>, WatchError> {
    let rows = Rows { table, batch };
    let ids = rows.ids()?;
    let moments = rows.column("decided_at", &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
    let moments = moments.as_primitive::<TimestampMicrosecondType>();
    let versions = rows.column("version", &DataType::Int64)?;
    let versions = versions.as_primitive::<Int64Type>();
    let probabilities = rows.column("probability", &DataType::Float64)?;
    let probabilities = probabilities.as_primitive::<Float64Type>();
    let item = Field::new("element", DataType::Float32, true);
    let features = rows.column("features", &DataType::List(std::sync::Arc::new(item)))?;
    let features = features.as_list::<i32>();
    let row = |(row, id): (usize, DecisionId)| {
        let values = features.value(row);
        let values = values.as_primitive::<Float32Type>();
        let decided = Decided {
            at: Timestamp::from_micros(moments.value(row)),
            version: u32::try_from(versions.value(row)).unwrap_or(0),
            probability: probabilities.value(row),
            features: values.iter().map(|value| value.unwrap_or(f32::NAN)).collect(),
            outcome: None,
        };
        (id, decided)
    };
    Ok(ids.into_iter().enumerate().map(row).collect())
}
