//! From the journal into the lake, sealed by facts: each segment once, however often it is tried.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tenon_core::fact::{DecisionsLogged, OutcomesRecorded};
use tenon_core::id::OperationId;
use tenon_core::{DeploymentName, Digest, NewFact, Payload, Principal};
use tenon_ledger::merkle;

use crate::decision::Outcome;
use crate::error::ServeError;
use crate::journal::{Entry, Segment};
use crate::record::DecisionRecord;
use crate::serving::Inner;
use crate::table::{decisions_table, encode, encode_outcomes, outcomes_table};

/// What a flush moved into the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Flushed {
    /// Decisions.
    pub decisions: u64,
    /// Outcomes.
    pub outcomes: u64,
}

/// What one segment holds of one deployment.
#[derive(Default)]
struct Part<'a> {
    decisions: Vec<(&'a DecisionRecord, Digest)>,
    outcomes: Vec<Outcome>,
    ignored: u64,
}

impl Inner {
    pub(crate) async fn flush(&self) -> Result<Flushed, ServeError> {
        let mut closed = self.closed.lock().await;
        closed.extend(self.journal.rotate().await?);
        let mut flushed = Flushed::default();
        while let Some(segment) = closed.first() {
            let of_segment = self.log(segment).await?;
            flushed.decisions += of_segment.decisions;
            flushed.outcomes += of_segment.outcomes;
            self.unflushed.fetch_sub(segment.rows(), Ordering::Relaxed);
            segment.remove()?;
            closed.remove(0);
        }
        Ok(flushed)
    }

    /// Writes a segment to the lake and seals it. The operations derive from the segment's number and first ids, so
    /// that the same segment, read again after a crash, is recognised.
    async fn log(&self, segment: &Segment) -> Result<Flushed, ServeError> {
        let mut flushed = Flushed::default();
        let mut facts = Vec::new();
        for (deployment, mut part) in parts(segment) {
            let Ok(name) = deployment.parse::<DeploymentName>() else { continue };
            part.decisions.sort_by_key(|(record, _)| record.id);
            if !part.decisions.is_empty() {
                facts.push(self.log_decisions(segment, &name, &part.decisions).await?);
                flushed.decisions += part.decisions.len() as u64;
            }
            if !part.outcomes.is_empty() {
                facts.push(self.log_outcomes(segment, &name, &part).await?);
                flushed.outcomes += part.outcomes.len() as u64;
            }
        }
        if !facts.is_empty() {
            self.ledger.append(facts).await.map_err(ServeError::Ledger)?;
        }
        Ok(flushed)
    }

    async fn log_decisions(
        &self,
        segment: &Segment,
        deployment: &DeploymentName,
        decisions: &[(&DecisionRecord, Digest)],
    ) -> Result<NewFact, ServeError> {
        let first = decisions.first().map(|(record, _)| record.id.to_string()).unwrap_or_default();
        let number = segment.number.to_string();
        let operation = OperationId::derive(&["decisions", &number, deployment.as_str(), &first]);
        let rows: Vec<&DecisionRecord> = decisions.iter().map(|(record, _)| *record).collect();
        let batch = encode(&rows, operation)?;
        let table = decisions_table(deployment);
        let table_version =
            self.lake.append_internal(&table, vec![batch], operation).await.map_err(ServeError::Lake)?;
        let leaves: Vec<Digest> = decisions.iter().map(|(_, leaf)| *leaf).collect();
        let moments = || rows.iter().map(|record| record.at);
        let now = self.clock.now();
        self.fact(
            deployment,
            operation,
            &DecisionsLogged {
                deployment: deployment.clone(),
                table_version,
                rows: rows.len() as u64,
                merkle_root: merkle::root_of(&leaves),
                decided: (moments().min().unwrap_or(now), moments().max().unwrap_or(now)),
            },
        )
    }

    async fn log_outcomes(
        &self,
        segment: &Segment,
        deployment: &DeploymentName,
        part: &Part<'_>,
    ) -> Result<NewFact, ServeError> {
        let first = part.outcomes.first().map(|outcome| outcome.decision.to_string()).unwrap_or_default();
        let number = segment.number.to_string();
        let operation = OperationId::derive(&["outcomes", &number, deployment.as_str(), &first]);
        let batch = encode_outcomes(&part.outcomes, operation)?;
        let mut digest = Digest::builder();
        for outcome in &part.outcomes {
            digest.update(outcome.decision.uuid().as_bytes());
            digest.update([u8::from(outcome.outcome)]);
            digest.update(outcome.known_at.as_micros().to_le_bytes());
        }
        let table = outcomes_table(deployment);
        let table_version =
            self.lake.append_internal(&table, vec![batch], operation).await.map_err(ServeError::Lake)?;
        self.fact(
            deployment,
            operation,
            &OutcomesRecorded {
                deployment: deployment.clone(),
                table_version,
                rows: part.outcomes.len() as u64,
                ignored: part.ignored,
                rows_digest: digest.finish(),
            },
        )
    }

    /// A fact of the program's own about a deployment.
    pub(crate) fn fact(
        &self,
        deployment: &DeploymentName,
        operation: OperationId,
        payload: &impl Payload,
    ) -> Result<NewFact, ServeError> {
        self.fact_by(Principal::service("serve"), deployment, operation, payload)
    }

    pub(crate) fn fact_by(
        &self,
        by: Principal,
        deployment: &DeploymentName,
        operation: OperationId,
        payload: &impl Payload,
    ) -> Result<NewFact, ServeError> {
        let pod = self.catalog.specs().deployments.get(deployment).map(|resource| resource.pod.clone());
        Ok(NewFact::new(by, pod, payload).map_err(ServeError::Json)?.sealing(operation))
    }
}

fn parts(segment: &Segment) -> BTreeMap<&str, Part<'_>> {
    let mut parts: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    for entry in &segment.entries {
        match entry {
            Entry::Decision(record, leaf) => {
                parts.entry(&record.deployment).or_default().decisions.push((record, *leaf));
            }
            Entry::Outcomes(entry) => {
                let part = parts.entry(&entry.deployment).or_default();
                part.outcomes.extend(entry.rows());
                part.ignored += entry.ignored;
            }
        }
    }
    parts
}
