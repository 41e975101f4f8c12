//! Decisions that await their outcomes, and what the outcomes say about a running rollout.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use tenon_core::id::{DecisionId, RolloutId};
use tenon_core::{AsOf, DeploymentName, Span, Timestamp};
use tenon_stats::sequential::ArmStats;

use crate::decision::{Outcome, OutcomesTaken, Variant};
use crate::error::ServeError;
use crate::journal::{Frames, OutcomesEntry};
use crate::record::DecisionRecord;
use crate::rollout::{ArmLosses, StepEvidence};
use crate::serving::Inner;
use crate::table::{Rows, decisions_table, moment_sql, outcomes_table, quoted};

/// How long a decision awaits its outcome.
const AWAITED: Span = Span::days(90);

/// A decision that awaits its outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    deployment: Arc<str>,
    at: Timestamp,
    probability: f64,
    /// The side of a rollout's step that it belongs to.
    arm: Option<(RolloutId, u32, Variant)>,
}

impl Waiting {
    pub(crate) fn of(record: &DecisionRecord) -> Self {
        Self {
            deployment: Arc::clone(&record.deployment),
            at: record.at,
            probability: record.probability,
            arm: record.rollout.map(|(rollout, step)| (rollout, step, record.variant)),
        }
    }
}

/// What awaits outcomes, and what the outcomes so far say about running rollouts.
#[derive(Debug, Default)]
pub(crate) struct OutcomeBook {
    waiting: HashMap<DecisionId, Waiting>,
    evidence: HashMap<RolloutId, Vec<StepEvidence>>,
    /// How many may wait before those that are too old are looked for.
    room: usize,
}

impl OutcomeBook {
    pub(crate) fn await_outcomes(&mut self, decisions: Vec<(DecisionId, Waiting)>) {
        let newest = decisions.iter().map(|(_, waiting)| waiting.at).max();
        self.waiting.extend(decisions);
        if let (Some(newest), true) = (newest, self.waiting.len() > self.room) {
            self.waiting.retain(|_, waiting| waiting.at >= newest - AWAITED);
            self.room = self.waiting.len() + self.waiting.len() / 4 + 10_000;
        }
    }

    /// Takes those outcomes out that a decision of the deployment awaits.
    fn claim(&mut self, deployment: &str, outcomes: &[Outcome]) -> Vec<(Outcome, Waiting)> {
        let mut claimed = Vec::new();
        for outcome in outcomes {
            if let Entry::Occupied(entry) = self.waiting.entry(outcome.decision)
                && &*entry.get().deployment == deployment
            {
                claimed.push((*outcome, entry.remove()));
            }
        }
        claimed
    }

    fn learn(&mut self, waiting: &Waiting, outcome: bool) {
        if let Some((rollout, step, variant)) = waiting.arm {
            let loss = (waiting.probability - f64::from(u8::from(outcome))).powi(2);
            push(&mut self.arm(rollout, step, variant).brier, loss);
        }
    }

    pub(crate) fn count_requests(&mut self, rollout: RolloutId, step: u32, variant: Variant, n: usize, loss: f64) {
        let errors = &mut self.arm(rollout, step, variant).errors;
        (0..n).for_each(|_| push(errors, loss));
    }

    fn arm(&mut self, rollout: RolloutId, step: u32, variant: Variant) -> &mut ArmLosses {
        let steps = self.evidence.entry(rollout).or_default();
        let step = step as usize;
        if steps.len() <= step {
            steps.resize(step + 1, StepEvidence::default());
        }
        match variant {
            Variant::Candidate => &mut steps[step].candidate,
            Variant::Champion => &mut steps[step].champion,
        }
    }

    /// What is known of a rollout, step by step.
    pub(crate) fn evidence(&self, rollout: RolloutId) -> Vec<StepEvidence> {
        self.evidence.get(&rollout).cloned().unwrap_or_default()
    }

    /// Forgets a rollout that has ended.
    pub(crate) fn forget(&mut self, rollout: RolloutId) {
        self.evidence.remove(&rollout);
    }
}

fn push(arm: &mut ArmStats, loss: f64) {
    // A probability lies between 0 and 1, so its loss is finite and the arm takes it.
    let _ = arm.push(loss);
}

impl Inner {
    pub(crate) async fn record_outcomes(
        &self,
        deployment: &DeploymentName,
        outcomes: &[Outcome],
    ) -> Result<OutcomesTaken, ServeError> {
        self.read_outcomes().await?;
        // Claimed before they are durable, so that a double that comes at the same time finds nothing to join.
        let claimed = self.outcomes.lock().claim(deployment.as_str(), outcomes);
        let taken = OutcomesTaken { joined: claimed.len() as u64, ignored: (outcomes.len() - claimed.len()) as u64 };
        if claimed.is_empty() {
            return Ok(taken);
        }
        let mut frames = Frames::default();
        let rows = claimed.iter().map(|(outcome, _)| (outcome.decision, outcome.outcome, outcome.known_at)).collect();
        let entry = OutcomesEntry { deployment: deployment.to_string(), ignored: taken.ignored, outcomes: rows };
        let durable = match frames.outcomes(entry) {
            Ok(()) => self.journal.append(frames).await,
            Err(error) => Err(error),
        };
        let mut book = self.outcomes.lock();
        if let Err(error) = durable {
            book.waiting.extend(claimed.into_iter().map(|(outcome, waiting)| (outcome.decision, waiting)));
            return Err(error);
        }
        claimed.iter().for_each(|(outcome, waiting)| book.learn(waiting, outcome.outcome));
        self.unflushed.fetch_add(i64::try_from(claimed.len()).unwrap_or(i64::MAX), Ordering::Relaxed);
        Ok(taken)
    }

    /// Reads what earlier runs left waiting, once.
    pub(crate) async fn read_outcomes(&self) -> Result<(), ServeError> {
        let read = self.outcomes_read.get_or_try_init(|| async {
            let deployments: Vec<DeploymentName> = self.catalog.specs().deployments.keys().cloned().collect();
            for deployment in deployments {
                self.read_outcomes_of(&deployment).await?;
            }
            Ok(())
        });
        read.await.copied()
    }

    async fn read_outcomes_of(&self, deployment: &DeploymentName) -> Result<(), ServeError> {
        let (decisions, outcomes) = (decisions_table(deployment), outcomes_table(deployment));
        let since = moment_sql(self.clock.now() - AWAITED);
        let sql = format!(
            "SELECT decision_id, decided_at, probability, variant, rollout, step FROM {} WHERE decided_at >= {since}",
            quoted(&decisions)
        );
        let decided = self.read_table(&decisions, &sql).await?;
        let sql = format!("SELECT decision_id, outcome FROM {} WHERE known_at >= {since}", quoted(&outcomes));
        let mut known = HashMap::new();
        for batch in &self.read_table(&outcomes, &sql).await? {
            let rows = Rows::new(&outcomes, batch);
            let truths = rows.column("outcome", &DataType::Boolean)?;
            known.extend(rows.ids()?.into_iter().zip(truths.as_boolean().values().iter()));
        }
        let running = self.state(deployment)?.rollout.map(|rollout| rollout.id);
        let deployment: Arc<str> = deployment.as_str().into();
        let mut book = self.outcomes.lock();
        // What this process decided meanwhile is in the book already.
        let present: HashSet<DecisionId> = book.waiting.keys().copied().collect();
        for batch in &decided {
            for (id, waiting) in stored_waiting(&decisions, batch, &deployment)? {
                match known.get(&id) {
                    Some(outcome) if waiting.arm.is_some_and(|(rollout, ..)| Some(rollout) == running) => {
                        book.learn(&waiting, *outcome);
                    }
                    Some(_) => {}
                    None if present.contains(&id) => {}
                    None => drop(book.waiting.insert(id, waiting)),
                }
            }
        }
        Ok(())
    }

    /// A query over a table of ours; nothing when the table has no commit yet.
    pub(crate) async fn read_table(&self, table: &str, sql: &str) -> Result<Vec<RecordBatch>, ServeError> {
        if self.lake.version(table, AsOf::Latest).await.map_err(ServeError::Lake)?.is_none() {
            return Ok(Vec::new());
        }
        self.lake.query(sql, AsOf::Latest).await.map_err(ServeError::Lake)
    }
}

fn stored_waiting(
    table: &str,
    batch: &RecordBatch,
    deployment: &Arc<str>,
) -> Result<Vec<(DecisionId, Waiting)>, ServeError> {
    let rows = Rows::new(table, batch);
    let (ids, moments) = (rows.ids()?, rows.moments("decided_at")?);
    let probabilities = rows.column("probability", &DataType::Float64)?;
    let (variants, rollouts) = (rows.column("variant", &DataType::Utf8)?, rows.column("rollout", &DataType::Utf8)?);
    let steps = rows.column("step", &DataType::Int32)?;
    let waiting = |row: usize| {
        let arm = || {
            let rollout = rollouts.as_string::<i32>().value(row).parse().ok()?;
            let step = u32::try_from(steps.as_primitive::<Int32Type>().value(row)).ok()?;
            Some((rollout, step, Variant::from_word(variants.as_string::<i32>().value(row))?))
        };
        let waiting = Waiting {
            deployment: Arc::clone(deployment),
            at: moments[row],
            probability: probabilities.as_primitive::<Float64Type>().value(row),
            arm: if rollouts.is_null(row) { None } else { arm() },
        };
        (ids[row], waiting)
    };
    Ok((0..batch.num_rows()).map(waiting).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    fn waiting(seed: u64) -> (DecisionId, Waiting) {
        let record = record(seed);
        (record.id, Waiting::of(&record))
    }

    fn outcome(seed: u64, outcome: bool) -> Outcome {
        Outcome { decision: record(seed).id, outcome, known_at: record(seed).at }
    }

    #[test]
    fn an_outcome_joins_once_and_only_its_own_deployment() {
        let mut book = OutcomeBook::default();
        book.await_outcomes(vec![waiting(0), waiting(1)]);
        assert!(book.claim("other", &[outcome(0, true)]).is_empty());
        assert_eq!(book.claim("late_arrival", &[outcome(0, true), outcome(0, false), outcome(9, true)]).len(), 1);
        assert!(book.claim("late_arrival", &[outcome(0, true)]).is_empty());
        assert_eq!(book.claim("late_arrival", &[outcome(1, true)]).len(), 1);
    }

    #[test]
    fn outcomes_teach_the_step_in_which_they_were_decided() {
        let mut book = OutcomeBook::default();
        let (_, decided) = waiting(2);
        let (rollout, step, _) = decided.arm.unwrap_or_else(|| unreachable!("even seeds run under a rollout"));
        book.learn(&decided, true);
        book.count_requests(rollout, 0, Variant::Champion, 3, 0.0);
        let evidence = book.evidence(rollout);
        assert_eq!(evidence.len(), step as usize + 1);
        assert!((evidence[1].candidate.brier.mean() - 0.49).abs() < 1e-7);
        assert_eq!((evidence[0].champion.errors.n(), evidence[0].champion.brier.n()), (3, 0));
        book.forget(rollout);
        assert!(book.evidence(rollout).is_empty());
    }

    #[test]
    fn the_book_is_bounded_by_time() {
        let mut book = OutcomeBook::default();
        let late = |seed: u64, days: i64| {
            let (id, waiting) = waiting(seed);
            (id, Waiting { at: waiting.at + Span::days(days), ..waiting })
        };
        book.await_outcomes(vec![late(0, 0), late(1, 80)]);
        book.room = 0;
        book.await_outcomes(vec![late(2, 91)]);
        assert_eq!(book.waiting.len(), 2);
    }
}
