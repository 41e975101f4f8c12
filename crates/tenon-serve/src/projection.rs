//! Where the traffic of each deployment stands, folded from facts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_core::fact::{RolloutStarted, TrafficReason, TrafficShare, TrafficShifted, VersionJudged};
use tenon_core::id::RolloutId;
use tenon_core::{ModelVersionRef, Share, Timestamp};
use tenon_ledger::{DocsMut, LedgerError, Projection, StoredFact};

/// Collection of [`DeploymentState`], by deployment.
pub(crate) const DEPLOYMENTS: &str = "serve_deployment";
/// Collection of [`TrafficMove`], by `deployment/index of the fact`.
pub(crate) const TRAFFIC: &str = "serve_traffic";
/// Collection of approved versions, by `model/version`.
pub(crate) const APPROVED: &str = "serve_approved";

/// The version in charge of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Champion {
    /// The version.
    pub version: ModelVersionRef,
    /// Since when.
    pub since: Timestamp,
}

/// A rollout that has started and not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunningRollout {
    /// Its id.
    pub id: RolloutId,
    /// The version that is to take over.
    pub candidate: ModelVersionRef,
    /// The version in charge; none at the first rollout.
    pub champion: Option<ModelVersionRef>,
    /// The candidate's shares, step by step.
    pub steps: Vec<Share>,
    /// The step at which traffic stands, from 0; none before the first move.
    pub step: Option<u32>,
    /// When it started.
    pub started: Timestamp,
    /// When the step began.
    pub step_since: Timestamp,
}

impl RunningRollout {
    pub(crate) fn new(
        id: RolloutId,
        candidate: ModelVersionRef,
        champion: Option<ModelVersionRef>,
        steps: Vec<Share>,
    ) -> Self {
        let start = Timestamp::from_micros(0);
        Self { id, candidate, champion, steps, step: None, started: start, step_since: start }
    }
}

/// Where the traffic of a deployment stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeploymentState {
    /// The version in charge; none before the first rollout.
    pub champion: Option<Champion>,
    /// Versions that were in charge before it, the newest last; a rollback takes one off.
    pub earlier: Vec<ModelVersionRef>,
    /// The running rollout.
    pub rollout: Option<RunningRollout>,
    /// Who answers.
    pub traffic: Vec<TrafficShare>,
    /// Every version that a rollout was ever started for.
    pub tried: Vec<ModelVersionRef>,
}

/// One recorded move of traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficMove {
    /// When.
    pub at: Timestamp,
    /// Index of the fact.
    pub fact: u64,
    /// Who answered from then on.
    pub traffic: Vec<TrafficShare>,
    /// Why.
    pub reason: TrafficReason,
    /// The rollout.
    pub rollout: Option<RolloutId>,
    /// The same in plain words.
    pub sentence: String,
}

/// A stretch of time in which the traffic of a deployment stood still.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrafficPeriod {
    /// From this moment on.
    pub from: Timestamp,
    /// Until this moment; none: still.
    pub until: Option<Timestamp>,
    /// Who answered.
    pub traffic: Vec<TrafficShare>,
    /// Why it came to that.
    pub reason: TrafficReason,
    /// The same in plain words.
    pub sentence: String,
    /// Index of the fact.
    pub fact: u64,
}

/// The projection that [`crate::Serving`] reads; a ledger that it is given must fold it.
pub fn projection() -> Arc<dyn Projection> {
    Arc::new(ServeProjection)
}

struct ServeProjection;

impl Projection for ServeProjection {
    fn name(&self) -> &'static str {
        "serve"
    }

    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        // A fact of a newer shape than this program knows is for a newer program to fold.
        if let Ok(started) = stored.fact.payload::<RolloutStarted>() {
            let key = started.deployment.to_string();
            let mut state = read(docs, &key)?;
            state.start(&started, stored.fact.at);
            write(docs, &key, &state)?;
        } else if let Ok(shifted) = stored.fact.payload::<TrafficShifted>() {
            let key = shifted.deployment.to_string();
            let mut state = read(docs, &key)?;
            state.shift(&shifted, stored.fact.at);
            write(docs, &key, &state)?;
            let moved = TrafficMove {
                at: stored.fact.at,
                fact: stored.index,
                traffic: shifted.traffic,
                reason: shifted.reason,
                rollout: shifted.rollout,
                sentence: shifted.sentence,
            };
            docs.put(TRAFFIC, &format!("{key}/{:020}", stored.index), document(&moved))?;
        } else if let Ok(judged) = stored.fact.payload::<VersionJudged>() {
            let key = format!("{}/{:010}", judged.version.model, judged.version.version);
            if judged.approved {
                docs.put(APPROVED, &key, document(&judged.version))?;
            } else if docs.get(APPROVED, &key)?.is_some() {
                docs.delete(APPROVED, &key)?;
            }
        }
        Ok(())
    }
}

fn read(docs: &dyn DocsMut, key: &str) -> Result<DeploymentState, LedgerError> {
    let found = docs.get(DEPLOYMENTS, key)?;
    Ok(found.and_then(|document| serde_json::from_value(document).ok()).unwrap_or_default())
}

fn write(docs: &mut dyn DocsMut, key: &str, state: &DeploymentState) -> Result<(), LedgerError> {
    docs.put(DEPLOYMENTS, key, document(state))
}

fn document(of: &impl Serialize) -> serde_json::Value {
    // These types hold no map with keys other than strings and no number that JSON lacks, so this cannot fail.
    serde_json::to_value(of).unwrap_or_default()
}

impl DeploymentState {
    /// Folds the start of a rollout in.
    pub(crate) fn start(&mut self, started: &RolloutStarted, at: Timestamp) {
        if !self.tried.contains(&started.candidate) {
            self.tried.push(started.candidate.clone());
        }
        self.rollout = Some(RunningRollout {
            started: at,
            step_since: at,
            ..RunningRollout::new(
                started.rollout,
                started.candidate.clone(),
                started.champion.clone(),
                started.steps.clone(),
            )
        });
    }

    /// Folds a move of traffic in.
    pub(crate) fn shift(&mut self, shifted: &TrafficShifted, at: Timestamp) {
        self.traffic.clone_from(&shifted.traffic);
        let whole = shifted.traffic.iter().find(|part| part.share == Share::ALL).map(|part| part.version.clone());
        match shifted.reason {
            TrafficReason::Advanced => {
                if let Some(rollout) = &mut self.rollout {
                    let share = shifted.traffic.iter().find(|part| part.version == rollout.candidate);
                    let step = share.and_then(|part| rollout.steps.iter().position(|step| *step == part.share));
                    rollout.step = step.and_then(|step| u32::try_from(step).ok());
                    rollout.step_since = at;
                }
            }
            TrafficReason::Finished => {
                self.rollout = None;
                if let Some(version) = whole {
                    let before = self.champion.replace(Champion { version, since: at });
                    self.earlier.extend(before.map(|champion| champion.version));
                }
            }
            TrafficReason::RolledBack => {
                self.rollout = None;
                if let Some(version) = whole
                    && self.champion.as_ref().is_none_or(|champion| champion.version != version)
                {
                    while self.earlier.pop().is_some_and(|earlier| earlier != version) {}
                    self.champion = Some(Champion { version, since: at });
                }
            }
        }
    }
}

/// The stretches between moves, oldest first.
pub(crate) fn periods(moves: Vec<TrafficMove>) -> Vec<TrafficPeriod> {
    let untils: Vec<Option<Timestamp>> = moves.iter().skip(1).map(|next| Some(next.at)).chain([None]).collect();
    let period = |(moved, until): (TrafficMove, Option<Timestamp>)| TrafficPeriod {
        from: moved.at,
        until,
        traffic: moved.traffic,
        reason: moved.reason,
        sentence: moved.sentence,
        fact: moved.fact,
    };
    moves.into_iter().zip(untils).map(period).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_core::{Fact, Principal};
    use tenon_ledger::{Docs, MemoryDocs};

    fn fact(index: u64, kind: &str, body: serde_json::Value) -> StoredFact {
        let at = Timestamp::from_micros(i64::try_from(index).unwrap() * 1_000_000);
        let by = Principal::service("serve");
        StoredFact { index, fact: Fact { kind: kind.to_owned(), version: 1, at, by, pod: None, operation: None, body } }
    }

    #[test]
    fn history_is_kept_to_the_moment_and_strange_facts_change_nothing() {
        let id = "01970000-0000-7000-8000-000000000001";
        let shifted = |reason: &str, traffic: serde_json::Value| serde_json::json!({ "deployment": "late", "rollout": id, "traffic": traffic, "reason": reason, "sentence": "s" });
        let facts = [
            fact(
                1,
                "rollout.started",
                serde_json::json!({
                    "rollout": id, "deployment": "late", "candidate": "late@1", "steps": ["100%"]
                }),
            ),
            fact(
                2,
                "traffic.shifted",
                shifted("finished", serde_json::json!([{ "version": "late@1", "share": "100%" }])),
            ),
            fact(3, "traffic.shifted", serde_json::json!({ "deployment": 7 })),
            fact(4, "traffic.shifted", shifted("finished", serde_json::json!([]))),
            fact(5, "model_version.judged", serde_json::json!({ "version": "late@2", "approved": true, "failed": [] })),
            fact(
                6,
                "model_version.judged",
                serde_json::json!({ "version": "late@2", "approved": false, "failed": ["q"] }),
            ),
            fact(7, "something.else", serde_json::json!(null)),
        ];
        let mut docs = MemoryDocs::default();
        facts.iter().for_each(|stored| projection().apply(&mut docs, stored).unwrap());
        let state = read(&docs, "late").unwrap();
        assert_eq!(state.champion.unwrap().since, Timestamp::from_micros(2_000_000));
        assert!(docs.scan(APPROVED, "").unwrap().is_empty());
        let moves = docs.scan(TRAFFIC, "late/").unwrap();
        let moves = moves.into_iter().map(|(_, moved)| serde_json::from_value(moved).unwrap()).collect();
        let periods = periods(moves);
        assert_eq!(periods.len(), 2);
        assert_eq!((periods[0].until, periods[1].until), (Some(periods[1].from), None));
    }
}
