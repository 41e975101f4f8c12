//! Runs, versions and champions, folded from facts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_core::fact::{
    GateDecided, GateWaived, ModelVersionRegistered, RunFailed, RunFinished, RunStarted, TrafficReason, TrafficShifted,
    Verdict, VersionJudged,
};
use tenon_core::id::RunId;
use tenon_core::{Fact, ModelName, ModelVersionRef, Payload, PodName, Timestamp};
use tenon_ledger::{Docs, DocsExt, DocsMut, DocsMutExt, LedgerError, Projection, StoredFact};

/// Collection of [`RunRecord`], by run.
const RUNS: &str = "models_run";
/// Collection of [`VersionRecord`], by `model/version`.
const VERSIONS: &str = "models_version";
/// Collection of [`ModelVersionRef`], the version in charge, by model.
const CHAMPIONS: &str = "models_champion";

/// All that is on record of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// The registration.
    pub registered: ModelVersionRegistered,
    /// When.
    pub at: Timestamp,
    /// Index of the registration's fact.
    pub fact: u64,
    /// The run that made it.
    pub run: RunStarted,
    /// How it ended.
    pub finished: RunFinished,
    /// The verdicts, in the order of the gates.
    pub gates: Vec<GateDecided>,
    /// The sum of the verdicts, once judged.
    pub judged: Option<VersionJudged>,
}

impl VersionRecord {
    /// Whether it was judged, and no gate failed that was not waived.
    pub fn is_approved(&self) -> bool {
        self.judged.as_ref().is_some_and(|judged| judged.approved)
    }

    /// Whether it passed every gate of a kind, and there is one; a waived gate was not passed.
    pub fn passed(&self, gate: &str) -> bool {
        let mut of_kind = self.gates.iter().filter(|decided| decided.gate == gate).peekable();
        of_kind.peek().is_some() && of_kind.all(|decided| decided.verdict == Verdict::Passed)
    }
}

/// All that is on record of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// How it started.
    pub started: RunStarted,
    /// When.
    pub at: Timestamp,
    /// Index of that fact.
    pub fact: u64,
    /// The pod that it belongs to.
    pub pod: Option<PodName>,
    /// How it ended, where it ended well.
    pub finished: Option<RunFinished>,
    /// Why it ended, where it ended badly.
    pub failed: Option<String>,
    /// The version that it made.
    pub version: Option<ModelVersionRef>,
}

impl RunRecord {
    /// Whether it has neither ended well nor badly.
    pub fn is_open(&self) -> bool {
        self.finished.is_none() && self.failed.is_none()
    }
}

/// A run.
pub(crate) fn run(docs: &(impl Docs + ?Sized), run: RunId) -> Result<Option<RunRecord>, LedgerError> {
    docs.read(RUNS, &run.to_string())
}

/// All runs, oldest first.
pub(crate) fn runs(docs: &(impl Docs + ?Sized)) -> Result<Vec<RunRecord>, LedgerError> {
    Ok(docs.list(RUNS, "")?.into_iter().map(|(_, run)| run).collect())
}

/// A version.
pub(crate) fn version(docs: &(impl Docs + ?Sized), of: &ModelVersionRef) -> Result<Option<VersionRecord>, LedgerError> {
    docs.read(VERSIONS, &key(of))
}

/// A model's versions, or those of all models, oldest first.
pub(crate) fn versions(
    docs: &(impl Docs + ?Sized),
    model: Option<&ModelName>,
) -> Result<Vec<VersionRecord>, LedgerError> {
    let prefix = model.map_or(String::new(), |model| format!("{model}/"));
    Ok(docs.list(VERSIONS, &prefix)?.into_iter().map(|(_, version)| version).collect())
}

/// The version in charge of a model.
pub(crate) fn champion(docs: &(impl Docs + ?Sized), model: &ModelName) -> Result<Option<ModelVersionRef>, LedgerError> {
    docs.read(CHAMPIONS, model.as_str())
}

/// Versions sort by number in the store.
fn key(version: &ModelVersionRef) -> String {
    format!("{}/{:010}", version.model, version.version)
}

/// The projection that [`crate::Models`] reads; a ledger that it is given must fold it.
pub fn projection() -> Arc<dyn Projection> {
    Arc::new(ModelsProjection)
}

struct ModelsProjection;

impl Projection for ModelsProjection {
    fn name(&self) -> &'static str {
        "models"
    }

    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        let fact = &stored.fact;
        match fact.kind.as_str() {
            RunStarted::KIND => with(fact, |started: RunStarted| {
                let (key, pod) = (started.run.to_string(), fact.pod.clone());
                let (at, fact) = (fact.at, stored.index);
                let record = RunRecord { started, at, fact, pod, finished: None, failed: None, version: None };
                docs.write(RUNS, &key, &record)
            }),
            RunFinished::KIND => {
                with(fact, |finished: RunFinished| change_run(docs, finished.run, |run| run.finished = Some(finished)))
            }
            RunFailed::KIND => {
                with(fact, |failed: RunFailed| change_run(docs, failed.run, |run| run.failed = Some(failed.sentence)))
            }
            ModelVersionRegistered::KIND => with(fact, |registered| register(docs, stored, registered)),
            GateDecided::KIND => with(fact, |decided: GateDecided| {
                change_version(docs, &decided.version.clone(), |version| version.decided(decided))
            }),
            GateWaived::KIND => with(fact, |waived: GateWaived| {
                change_version(docs, &waived.version, |version| version.waived(&waived))
            }),
            VersionJudged::KIND => with(fact, |judged: VersionJudged| {
                change_version(docs, &judged.version.clone(), |version| version.judged = Some(judged))
            }),
            TrafficShifted::KIND => with(fact, |shifted| shift(docs, &shifted)),
            _ => Ok(()),
        }
    }
}

/// Folds a payload in. One of a newer shape than this program knows is for a newer program to fold.
fn with<P: Payload>(fact: &Fact, fold: impl FnOnce(P) -> Result<(), LedgerError>) -> Result<(), LedgerError> {
    fact.payload().map_or(Ok(()), fold)
}

impl VersionRecord {
    /// A gate that judges again, after a crash between its verdict and the sum, replaces what it said.
    fn decided(&mut self, decided: GateDecided) {
        match self.gates.iter_mut().find(|gate| gate.gate == decided.gate && gate.rule == decided.rule) {
            Some(gate) => *gate = decided,
            None => self.gates.push(decided),
        }
    }

    fn waived(&mut self, waived: &GateWaived) {
        let failed = self.gates.iter_mut().filter(|gate| gate.gate == waived.gate && gate.verdict == Verdict::Failed);
        for gate in failed {
            gate.verdict = Verdict::Waived;
            let (by, and, reason) = (waived.requested_by.name(), waived.approved_by.name(), &waived.reason);
            gate.sentence.push_str(&format!(" Let through by {by} and {and}: {reason}."));
        }
    }
}

fn register(
    docs: &mut dyn DocsMut,
    stored: &StoredFact,
    registered: ModelVersionRegistered,
) -> Result<(), LedgerError> {
    let Some(mut run) = run(docs, registered.run)? else { return Ok(()) };
    let Some(finished) = run.finished.clone() else { return Ok(()) };
    let version = registered.version.clone();
    let record = VersionRecord {
        registered,
        at: stored.fact.at,
        fact: stored.index,
        run: run.started.clone(),
        finished,
        gates: Vec::new(),
        judged: None,
    };
    docs.write(VERSIONS, &key(&version), &record)?;
    run.version = Some(version);
    docs.write(RUNS, &run.started.run.to_string(), &run)
}

/// The version with the whole traffic, at the end of a rollout or after its return, is in charge.
fn shift(docs: &mut dyn DocsMut, shifted: &TrafficShifted) -> Result<(), LedgerError> {
    if shifted.reason == TrafficReason::Advanced {
        return Ok(());
    }
    let most = shifted.traffic.iter().max_by(|a, b| a.share.fraction().total_cmp(&b.share.fraction()));
    match most {
        Some(most) => docs.write(CHAMPIONS, most.version.model.as_str(), &most.version),
        None => Ok(()),
    }
}

fn change_run(docs: &mut dyn DocsMut, of: RunId, change: impl FnOnce(&mut RunRecord)) -> Result<(), LedgerError> {
    let Some(mut record) = run(docs, of)? else { return Ok(()) };
    change(&mut record);
    docs.write(RUNS, &of.to_string(), &record)
}

fn change_version(
    docs: &mut dyn DocsMut,
    of: &ModelVersionRef,
    change: impl FnOnce(&mut VersionRecord),
) -> Result<(), LedgerError> {
    let Some(mut record) = version(docs, of)? else { return Ok(()) };
    change(&mut record);
    docs.write(VERSIONS, &key(of), &record)
}
