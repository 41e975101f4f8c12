//! Everything that explains one decision, with proofs that anybody can check.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use serde::Serialize;
use serde_json::{Map, Value};
use tenon_core::fact::DecisionsLogged;
use tenon_core::id::{DecisionId, OperationId};
use tenon_core::{DeploymentName, Digest, Fact, ModelVersionRef, Payload, Span, Timestamp};
use tenon_ledger::{InclusionProof, merkle};
use tenon_models::VersionRecord;

use crate::decision::{FeatureUsed, Outcome, Reason, Variant};
use crate::error::{ReceiptFault, ServeError};
use crate::record::DecisionRecord;
use crate::route::{Input, words};
use crate::serving::Inner;
use crate::table::{Rows, decisions_table, decode, moment_sql, outcomes_table, quoted};
use crate::words::strongest;

/// Everything that explains one decision.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// The decision.
    pub id: DecisionId,
    /// Who was asked.
    pub deployment: String,
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
    /// The inputs, with the moment when each was known.
    pub inputs: Vec<FeatureUsed>,
    /// The log-odds before anything was known of the entity; none for a model without an exact explanation.
    pub base: Option<f64>,
    /// How much each input moved the decision, the strongest first; those that did not are left out. `base` plus all
    /// of them is the log-odds of the probability.
    pub reasons: Vec<Reason>,
    /// What became of it, where that is known.
    pub outcome: Option<Outcome>,
    /// How long it took, in microseconds.
    pub latency_us: i64,
    /// What it cost, in US dollars.
    pub usd: f64,
    /// All that is on record of the version.
    pub model: VersionRecord,
    /// That it was recorded as shown here.
    pub proof: DecisionProof,
}

/// The way from one decision to a signed checkpoint: row, batch, fact, log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionProof {
    /// The row as canonical JSON; its RFC 6962 leaf hash is where the proof starts.
    pub row: String,
    /// Its place in the batch, whose rows are sorted by decision.
    pub index: u64,
    /// Rows in the batch.
    pub rows: u64,
    /// The hashes from the row to the batch's Merkle root.
    pub path: Vec<Digest>,
    /// The fact that seals the batch.
    pub fact: Fact,
    /// That the fact is in the log.
    pub inclusion: InclusionProof,
}

impl Receipt {
    /// Checks everything that the receipt says against a verifier key that the caller trusts: the row shown is the
    /// row proven, the row is in its batch, the batch is sealed by the fact, the fact is in the signed log, no input
    /// was known later than the decision, and the reasons sum to the prediction.
    ///
    /// # Errors
    /// The first [`ReceiptFault`].
    pub fn verify(&self, verifier_key: &str) -> Result<(), ReceiptFault> {
        self.check_row()?;
        self.check_explanation()?;
        let late = self.inputs.iter().filter_map(|input| Some((input, input.known_at.filter(|at| *at > self.at)?)));
        if let Some((input, known_at)) = late.into_iter().next() {
            let feature = input.name.to_string();
            return Err(ReceiptFault::KnownTooLate { feature, known_at, decided_at: self.at });
        }
        self.proof.verify(verifier_key)
    }

    fn check_row(&self) -> Result<(), ReceiptFault> {
        let other = |reason: &str| ReceiptFault::OtherRow { id: self.id, reason: reason.to_owned() };
        let row = DecisionRecord::from_json(self.proof.row.as_bytes()).map_err(|reason| other(&reason))?;
        let entities = serde_json_canonicalizer::to_string(&self.entities).map_err(|_| other("the entities differ"))?;
        let inputs = self.inputs.iter().map(|input| (input.value, input.known_at, input.status));
        let of_row = row.features.iter().zip(&row.known_at).zip(&row.status);
        let of_row = of_row.map(|((value, at), status)| ((!value.is_nan()).then_some(*value), *at, *status));
        let same = [
            (row.id == self.id, "the id differs"),
            (*row.deployment == *self.deployment, "the deployment differs"),
            (row.version_ref().as_ref() == Some(&self.version), "the version differs"),
            (row.variant == self.variant, "the variant differs"),
            (row.at == self.at, "the moment differs"),
            (row.entities == entities, "the entities differ"),
            (row.probability == self.probability && row.decision == self.decision, "the decision differs"),
            (inputs.eq(of_row), "the inputs differ"),
            ((row.latency_us, row.usd) == (self.latency_us, self.usd), "the cost differs"),
        ];
        match same.iter().find(|(same, _)| !same) {
            Some((_, reason)) => Err(other(reason)),
            None => Ok(()),
        }
    }

    fn check_explanation(&self) -> Result<(), ReceiptFault> {
        let Some(base) = self.base else { return Ok(()) };
        let margin = base + self.reasons.iter().map(|reason| reason.phi).sum::<f64>();
        let explained = 1.0 / (1.0 + (-margin).exp());
        if (explained - self.probability).abs() > 1e-6 {
            let (explained, recorded) = (explained.to_string(), self.probability.to_string());
            return Err(ReceiptFault::DoesNotAddUp { explained, recorded });
        }
        Ok(())
    }
}

impl DecisionProof {
    /// Checks the way from the row to a checkpoint signed with the key.
    ///
    /// # Errors
    /// [`ReceiptFault`] where the way breaks off.
    pub fn verify(&self, verifier_key: &str) -> Result<(), ReceiptFault> {
        let index = self.inclusion.index;
        let other = |reason: String| ReceiptFault::OtherFact { index, reason };
        let sealed: DecisionsLogged = self.fact.payload().map_err(|error| other(error.to_string()))?;
        if sealed.rows != self.rows {
            return Err(other(format!("it seals {} rows, the proof speaks of {}", sealed.rows, self.rows)));
        }
        let leaf = merkle::leaf_hash(self.row.as_bytes());
        merkle::verify_inclusion(&leaf, self.index, self.rows, &self.path, &sealed.merkle_root)
            .map_err(|_| ReceiptFault::NotInBatch)?;
        let leaf = serde_json_canonicalizer::to_vec(&self.fact).map_err(|error| other(error.to_string()))?;
        tenon_ledger::verify::inclusion(&leaf, &self.inclusion, verifier_key)
            .map_err(|error| ReceiptFault::NotInLog { reason: error.to_string() })?;
        Ok(())
    }
}

/// The millisecond that a decision's id carries, which file statistics are compared with; none for what is no id of a
/// decision.
pub(crate) fn decided_at(id: DecisionId) -> Option<Timestamp> {
    const YEAR_9999_MILLIS: i64 = 253_402_300_799_000;
    let millis = i64::try_from(id.uuid().as_u128() >> 80).ok()?;
    let is_ours = id.uuid().get_version_num() == 7 && millis < YEAR_9999_MILLIS;
    is_ours.then(|| Timestamp::from_micros(millis * 1_000))
}

impl Inner {
    pub(crate) async fn why(&self, id: DecisionId) -> Result<Receipt, ServeError> {
        let found = match self.find(id).await? {
            Some(found) => Some(found),
            // It may be durable and on its way into the lake.
            None => {
                self.flush().await?;
                self.find(id).await?
            }
        };
        let (deployment, record, batch) = found.ok_or(ServeError::UnknownDecision { id })?;
        let unreadable =
            |reason: &str| ServeError::StoredRow { table: decisions_table(&deployment), reason: reason.to_owned() };
        let version = record.version_ref().ok_or_else(|| unreadable("it names no version"))?;
        let engine = self.engines.get(&version)?;
        let width = engine.inputs.len();
        if [record.features.len(), record.status.len(), record.known_at.len()] != [width; 3] {
            return Err(unreadable("it has another number of features than its version has inputs"));
        }
        let specs = self.catalog.specs();
        let input = |name: &Arc<str>| Input {
            name: Arc::clone(name),
            from: 0,
            fallback: None,
            words: words(&specs, &version.model, name),
        };
        let inputs: Vec<Input> = engine.inputs.iter().map(input).collect();
        let explained = engine.explain(&record.features).ok();
        let phi = explained.as_ref().map(|explained| explained.values.as_slice()).unwrap_or_default();
        let used = |(at, input): (usize, &Input)| FeatureUsed {
            name: Arc::clone(&input.name),
            value: (!record.features[at].is_nan()).then_some(record.features[at]),
            known_at: record.known_at[at],
            status: record.status[at],
        };
        let entities = serde_json::from_str(&record.entities).map_err(|_| unreadable("its entities are no JSON"))?;
        Ok(Receipt {
            id,
            deployment: deployment.to_string(),
            variant: record.variant,
            at: record.at,
            entities,
            probability: record.probability,
            decision: record.decision,
            inputs: inputs.iter().enumerate().map(used).collect(),
            base: explained.as_ref().map(|explained| explained.expected),
            reasons: strongest(&inputs, &record.features, phi, width),
            outcome: self.outcome_of(&deployment, &record).await?,
            latency_us: record.latency_us,
            usd: record.usd,
            model: self.engines.record(&version)?,
            version,
            proof: self.prove(&deployment, &record, batch).await?,
        })
    }

    /// The row of a decision with its deployment and batch.
    async fn find(&self, id: DecisionId) -> Result<Option<(DeploymentName, DecisionRecord, OperationId)>, ServeError> {
        let Some(from) = decided_at(id) else { return Ok(None) };
        let until = from + Span::from_micros(1000);
        let specs = self.catalog.specs();
        for deployment in specs.deployments.keys() {
            let table = decisions_table(deployment);
            let sql = format!(
                "SELECT * FROM {} WHERE decision_id = '{id}' AND decided_at >= {} AND decided_at < {}",
                quoted(&table),
                moment_sql(from),
                moment_sql(until)
            );
            for rows in self.read_table(&table, &sql).await? {
                if let Some(record) = decode(&table, &rows)?.pop() {
                    let batches = Rows::new(&table, &rows).column("batch", &DataType::Utf8)?;
                    let batch = batches.as_string::<i32>().value(rows.num_rows() - 1).parse::<OperationId>();
                    let reason = "its batch is no operation".to_owned();
                    let batch = batch.map_err(|_| ServeError::StoredRow { table: table.clone(), reason })?;
                    return Ok(Some((deployment.clone(), record, batch)));
                }
            }
        }
        Ok(None)
    }

    async fn outcome_of(
        &self,
        deployment: &DeploymentName,
        record: &DecisionRecord,
    ) -> Result<Option<Outcome>, ServeError> {
        let table = outcomes_table(deployment);
        let sql = format!("SELECT * FROM {} WHERE decision_id = '{}'", quoted(&table), record.id);
        for batch in &self.read_table(&table, &sql).await? {
            let rows = Rows::new(&table, batch);
            let truths = rows.column("outcome", &DataType::Boolean)?;
            if let (Some(decision), Some(known_at)) = (rows.ids()?.pop(), rows.moments("known_at")?.pop()) {
                let outcome = truths.as_boolean().value(batch.num_rows() - 1);
                return Ok(Some(Outcome { decision, outcome, known_at }));
            }
        }
        Ok(None)
    }

    /// Builds the batch's tree again from the lake and finds the way from the row to the log.
    async fn prove(
        &self,
        deployment: &DeploymentName,
        record: &DecisionRecord,
        batch: OperationId,
    ) -> Result<DecisionProof, ServeError> {
        let table = decisions_table(deployment);
        let fault = |reason: &str| ServeError::StoredRow { table: table.clone(), reason: reason.to_owned() };
        let sealed = self.ledger.sealed(DecisionsLogged::KIND, batch).map_err(ServeError::Ledger)?;
        let sealed = sealed.ok_or_else(|| fault("its batch is not sealed"))?;
        let logged: DecisionsLogged =
            sealed.fact.payload().map_err(|_| fault("the fact that seals its batch cannot be read"))?;
        let mut rows = Vec::new();
        for batch in self.lake.added(&table, logged.table_version, &[]).await.map_err(ServeError::Lake)? {
            rows.extend(decode(&table, &batch)?);
        }
        rows.sort_by_key(|row| row.id);
        let index = rows.iter().position(|row| row.id == record.id).ok_or_else(|| fault("its batch lacks it"))?;
        let leaves: Vec<Digest> = rows.iter().map(|row| merkle::leaf_hash(row.canonical_json().as_bytes())).collect();
        Ok(DecisionProof {
            row: record.canonical_json(),
            index: index as u64,
            rows: leaves.len() as u64,
            path: merkle::path(&leaves, index).unwrap_or_default(),
            inclusion: self.ledger.inclusion(sealed.index).map_err(ServeError::Ledger)?,
            fact: sealed.fact,
        })
    }
}
