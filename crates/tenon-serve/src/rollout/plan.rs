//! What traffic should do next, from values alone.

use tenon_core::fact::{RolloutStarted, TrafficReason, TrafficShare};
use tenon_core::id::RolloutId;
use tenon_core::spec::{Guardrail, GuardrailMetric, RolloutSpec};
use tenon_core::{DeploymentName, ModelVersionRef, Share};
use tenon_stats::sequential::{ArmStats, SequenceDesign};
use tenon_stats::{Interval, StatsError};

use crate::projection::{DeploymentState, RunningRollout};

/// The losses of one side while one step lasted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ArmLosses {
    /// Squared distances of probability and outcome, one a known outcome of a decision made in the step.
    pub brier: ArmStats,
    /// 1 for each request that this side failed to answer in the step, 0 for each that it answered.
    pub errors: ArmStats,
}

/// What is known of one step. Each step has arms of its own, because the sides are comparable only while they ran side
/// by side in one proportion.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepEvidence {
    /// The candidate's losses.
    pub candidate: ArmLosses,
    /// The champion's.
    pub champion: ArmLosses,
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct RolloutSeen<'a> {
    /// Where traffic stands.
    pub state: &'a DeploymentState,
    /// What is known of each step of the running rollout, by step.
    pub evidence: &'a [StepEvidence],
}

/// A move of traffic, not yet made.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    /// The rollout; none for a rollback to an earlier champion.
    pub rollout: Option<RolloutId>,
    /// The step that begins; none where the rollout ends.
    pub step: Option<u32>,
    /// Who answers from then on.
    pub traffic: Vec<TrafficShare>,
    /// Why.
    pub reason: TrafficReason,
    /// The same in plain words.
    pub sentence: String,
}

/// What a guardrail sees in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardrailReading {
    /// The guardrail.
    pub guardrail: Guardrail,
    /// Mean loss and number of losses of the candidate.
    pub candidate: (f64, u64),
    /// The same of the champion.
    pub champion: (f64, u64),
    /// The confidence sequence for candidate less champion.
    pub difference: Interval,
}

impl GuardrailReading {
    /// Whether the candidate is surely worse by more than is allowed.
    pub fn breached(&self) -> bool {
        self.difference.low > self.guardrail.at_most
    }

    /// What it sees, in plain words.
    pub fn figures(&self) -> String {
        let name = match self.guardrail.metric {
            GuardrailMetric::Brier => "Brier score",
            GuardrailMetric::Errors => "share of failed requests",
        };
        let Interval { low, high } = self.difference;
        let compared = format!("{name} {:.4} against {:.4}", self.candidate.0, self.champion.0);
        let over = format!("over {} and {} requests", self.candidate.1, self.champion.1);
        if low.is_infinite() {
            return format!("{compared} {over}, too few to say more");
        }
        let confidence = self.guardrail.confidence;
        format!("{compared} {over}; the difference lies between {low:.4} and {high:.4} with {confidence} confidence")
    }
}

/// What each guardrail sees in step `step`. A rollout is looked at after every outcome and in each of its steps, so
/// the chance of a false alarm is shared out among the steps, and within one the sequence is valid at any time.
///
/// # Errors
/// A confidence of 0% or 100%, which no interval has.
pub fn readings(
    rollout: &RunningRollout,
    step: usize,
    evidence: &StepEvidence,
    spec: &RolloutSpec,
) -> Result<Vec<GuardrailReading>, StatsError> {
    let share = rollout.steps.get(step).map_or(1.0, |share| share.fraction());
    let baking = rollout.steps.iter().filter(|share| **share < Share::ALL).count().max(1);
    let bake = spec.bake_outcomes.max(1);
    let rows = (bake as f64 / share.max(0.001)).ceil() as u64;
    let reading = |guardrail: &Guardrail| {
        let alpha = (1.0 - guardrail.confidence.fraction()) / baking as f64;
        let design = SequenceDesign::tuned(alpha, rows, bake.clamp(30, 100))?;
        let (candidate, champion) = match guardrail.metric {
            GuardrailMetric::Brier => (&evidence.candidate.brier, &evidence.champion.brier),
            GuardrailMetric::Errors => (&evidence.candidate.errors, &evidence.champion.errors),
        };
        let of = |arm: &ArmStats| (arm.mean(), arm.n());
        let difference = design.difference(candidate, champion);
        Ok(GuardrailReading { guardrail: *guardrail, candidate: of(candidate), champion: of(champion), difference })
    };
    spec.guardrails.iter().map(reading).collect()
}

/// The next move of a running rollout; none while it bakes, or when there is no rollout.
///
/// # Errors
/// Those of the guardrails' statistics.
pub fn plan(seen: RolloutSeen<'_>, spec: &RolloutSpec) -> Result<Option<Shift>, StatsError> {
    let Some(rollout) = &seen.state.rollout else { return Ok(None) };
    let Some(champion) = &rollout.champion else { return Ok(Some(finished(rollout, first_sentence(rollout)))) };
    let Some(step) = rollout.step else { return Ok(Some(step_to(rollout, 0, None))) };
    for (at, evidence) in seen.evidence.iter().enumerate() {
        if let Some(breach) = readings(rollout, at, evidence, spec)?.into_iter().find(GuardrailReading::breached) {
            let sentence = format!(
                "{} is surely worse than {champion} by more than the {} allowed: {}; {champion} answers everything again",
                rollout.candidate,
                breach.guardrail.at_most,
                breach.figures()
            );
            return Ok(Some(rolled_back(rollout, champion, sentence)));
        }
    }
    let none = StepEvidence::default();
    let evidence = seen.evidence.get(step as usize).unwrap_or(&none);
    if evidence.candidate.brier.n() < spec.bake_outcomes {
        return Ok(None);
    }
    let figures: Vec<String> =
        readings(rollout, step as usize, evidence, spec)?.iter().map(GuardrailReading::figures).collect();
    let known = evidence.candidate.brier.n();
    let so_far = if figures.is_empty() {
        format!("after {known} known outcomes")
    } else {
        format!("after {known} known outcomes no guardrail is breached ({})", figures.join("; "))
    };
    Ok(Some(step_to(rollout, step + 1, Some(&so_far))))
}

/// The facts' worth of a start: what is recorded, and the first move.
pub fn start(
    state: &DeploymentState,
    deployment: &DeploymentName,
    candidate: &ModelVersionRef,
    spec: &RolloutSpec,
    id: RolloutId,
) -> (RolloutStarted, Shift) {
    let champion = state.champion.as_ref().map(|champion| champion.version.clone());
    // A first version has nobody to be compared with.
    let steps = if champion.is_some() && !spec.steps.is_empty() { spec.steps.clone() } else { vec![Share::ALL] };
    let rollout = RunningRollout::new(id, candidate.clone(), champion.clone(), steps.clone());
    let shift = match &champion {
        Some(_) => step_to(&rollout, 0, None),
        None => finished(&rollout, first_sentence(&rollout)),
    };
    let candidate = candidate.clone();
    (RolloutStarted { rollout: id, deployment: deployment.clone(), candidate, champion, steps }, shift)
}

/// The move that takes the candidate out or, with no rollout running, brings the previous champion back; none when
/// there is neither.
pub fn roll_back(state: &DeploymentState, why: &str) -> Option<Shift> {
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    if let Some(rollout) = &state.rollout {
        let champion = rollout.champion.as_ref()?;
        let sentence = format!("{} was taken out{why}; {champion} answers everything again", rollout.candidate);
        return Some(rolled_back(rollout, champion, sentence));
    }
    let (champion, earlier) = (state.champion.as_ref()?, state.earlier.last()?);
    let sentence = format!("{} was taken out{why}; {earlier} is back in charge", champion.version);
    let traffic = vec![TrafficShare { version: earlier.clone(), share: Share::ALL }];
    Some(Shift { rollout: None, step: None, traffic, reason: TrafficReason::RolledBack, sentence })
}

/// The version that should be rolled out by itself: the newest that is approved, when it is newer than the champion,
/// was never tried on this deployment, and no rollout is running.
pub fn due<'a>(state: &DeploymentState, approved: &'a [ModelVersionRef]) -> Option<&'a ModelVersionRef> {
    let newest = approved.iter().max_by_key(|version| version.version)?;
    let newer = state.champion.as_ref().is_none_or(|champion| champion.version.version < newest.version);
    (state.rollout.is_none() && newer && !state.tried.contains(newest)).then_some(newest)
}

fn first_sentence(rollout: &RunningRollout) -> String {
    format!("{} is the first version here and answers everything", rollout.candidate)
}

fn step_to(rollout: &RunningRollout, step: u32, so_far: Option<&str>) -> Shift {
    let candidate = &rollout.candidate;
    let share = rollout.steps.get(step as usize).copied().unwrap_or(Share::ALL);
    let before = so_far.map(|so_far| format!("{so_far}: ")).unwrap_or_default();
    match &rollout.champion {
        Some(champion) if share < Share::ALL => {
            let rest = Share::new(1.0 - share.fraction()).unwrap_or(Share::NONE);
            let traffic = vec![
                TrafficShare { version: champion.clone(), share: rest },
                TrafficShare { version: candidate.clone(), share },
            ];
            let sentence = format!("{before}{candidate} answers {share} of the requests, {champion} the rest");
            let (rollout, reason) = (Some(rollout.id), TrafficReason::Advanced);
            Shift { rollout, step: Some(step), traffic, reason, sentence }
        }
        Some(champion) => finished(rollout, format!("{before}{candidate} takes over from {champion}")),
        None => finished(rollout, first_sentence(rollout)),
    }
}

fn finished(rollout: &RunningRollout, sentence: String) -> Shift {
    let traffic = vec![TrafficShare { version: rollout.candidate.clone(), share: Share::ALL }];
    Shift { rollout: Some(rollout.id), step: None, traffic, reason: TrafficReason::Finished, sentence }
}

fn rolled_back(rollout: &RunningRollout, champion: &ModelVersionRef, sentence: String) -> Shift {
    let traffic = vec![TrafficShare { version: champion.clone(), share: Share::ALL }];
    Shift { rollout: Some(rollout.id), step: None, traffic, reason: TrafficReason::RolledBack, sentence }
}
