#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tenon_core::fact::{RolloutStarted, TrafficReason, TrafficShifted};
use tenon_core::id::{OperationId, RolloutId};
use tenon_core::spec::{Guardrail, GuardrailMetric, RolloutSpec};
use tenon_core::{DeploymentName, ModelVersionRef, Share, Timestamp};

use super::{RolloutSeen, Shift, StepEvidence, due, faults, plan, roll_back, start};
use crate::projection::DeploymentState;

fn version(n: u32) -> ModelVersionRef {
    format!("late@{n}").parse().unwrap()
}

fn deployment() -> DeploymentName {
    "late".parse().unwrap()
}

fn id(n: u64) -> RolloutId {
    RolloutId::from_uuid(OperationId::derive(&["test", &n.to_string()]).uuid())
}

fn spec(steps: &[&str], bake_outcomes: u64) -> RolloutSpec {
    let brier = Guardrail { metric: GuardrailMetric::Brier, at_most: 0.01, confidence: "95%".parse().unwrap() };
    RolloutSpec {
        steps: steps.iter().map(|step| step.parse().unwrap()).collect(),
        bake_outcomes,
        guardrails: vec![brier],
    }
}

/// A deployment folded from the facts that the executor would append.
struct World {
    state: DeploymentState,
    evidence: Vec<StepEvidence>,
    moves: Vec<Shift>,
    seconds: i64,
}

impl World {
    fn new() -> Self {
        Self { state: DeploymentState::default(), evidence: Vec::new(), moves: Vec::new(), seconds: 0 }
    }

    fn start(&mut self, candidate: u32, spec: &RolloutSpec) {
        let (started, shift) = start(&self.state, &deployment(), &version(candidate), spec, id(u64::from(candidate)));
        // As the record keeps it.
        let started: RolloutStarted = serde_json::from_value(serde_json::to_value(started).unwrap()).unwrap();
        let now = self.now();
        self.state.start(&started, now);
        self.evidence.clear();
        self.make(shift);
    }

    fn now(&mut self) -> Timestamp {
        self.seconds += 1;
        Timestamp::from_micros(self.seconds * 1_000_000)
    }

    #[track_caller]
    fn make(&mut self, shift: Shift) {
        assert_eq!(faults(&self.state, &shift), Vec::<String>::new());
        self.moves.push(shift.clone());
        let Shift { rollout, traffic, reason, sentence, .. } = shift;
        let fact = TrafficShifted { deployment: deployment(), rollout, traffic, reason, sentence };
        let fact: TrafficShifted = serde_json::from_value(serde_json::to_value(fact).unwrap()).unwrap();
        let now = self.now();
        self.state.shift(&fact, now);
    }

    fn tick(&mut self, spec: &RolloutSpec) -> Option<TrafficReason> {
        let shift = plan(RolloutSeen { state: &self.state, evidence: &self.evidence }, spec).unwrap()?;
        let reason = shift.reason;
        self.make(shift);
        Some(reason)
    }

    /// `n` outcomes at the current step, each side answering so well.
    fn outcomes(&mut self, rng: &mut ChaCha8Rng, n: usize, candidate: f64, champion: f64) {
        let step = self.state.rollout.as_ref().unwrap().step.unwrap() as usize;
        let share = self.state.rollout.as_ref().unwrap().steps[step].fraction();
        self.evidence.resize(self.evidence.len().max(step + 1), StepEvidence::default());
        let mut chance = |p: f64| (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 <= p;
        for _ in 0..n {
            let evidence = &mut self.evidence[step];
            if chance(share) {
                evidence.candidate.brier.push(if chance(candidate) { 0.8 } else { 0.05 }).unwrap();
            } else {
                evidence.champion.brier.push(if chance(champion) { 0.8 } else { 0.05 }).unwrap();
            }
        }
    }

    fn in_charge(&self) -> Option<u32> {
        self.state.champion.as_ref().map(|champion| champion.version.version)
    }
}

#[test]
fn the_first_version_takes_over_at_once() {
    let mut world = World::new();
    world.start(1, &spec(&["10%", "100%"], 5));
    assert_eq!(world.in_charge(), Some(1));
    assert_eq!(world.moves[0].reason, TrafficReason::Finished);
    assert!(world.state.rollout.is_none());
    assert_eq!(world.moves[0].sentence, "late@1 is the first version here and answers everything");
}

#[test]
fn a_good_candidate_takes_its_steps_when_enough_outcomes_are_known() {
    let (spec, mut world, mut rng) = (spec(&["10%", "50%", "100%"], 100), World::new(), ChaCha8Rng::seed_from_u64(1));
    world.start(1, &spec);
    world.start(2, &spec);
    assert_eq!(world.moves[1].sentence, "late@2 answers 10% of the requests, late@1 the rest");
    assert_eq!(world.tick(&spec), None, "nothing is known yet");
    world.outcomes(&mut rng, 700, 0.2, 0.2);
    assert_eq!(world.tick(&spec), None, "{}", world.evidence[0].candidate.brier.n());
    world.outcomes(&mut rng, 700, 0.2, 0.2);
    assert_eq!(world.tick(&spec), Some(TrafficReason::Advanced));
    assert_eq!(world.state.rollout.as_ref().unwrap().step, Some(1));
    assert_eq!(world.tick(&spec), None, "outcomes of the step before do not count");
    world.outcomes(&mut rng, 300, 0.2, 0.2);
    assert_eq!(world.tick(&spec), Some(TrafficReason::Finished));
    assert_eq!((world.in_charge(), world.state.earlier.clone()), (Some(2), vec![version(1)]));
    let sentence = &world.moves.last().unwrap().sentence;
    assert!(sentence.contains("no guardrail is breached (Brier score 0."), "{sentence}");
    assert!(sentence.ends_with("late@2 takes over from late@1"), "{sentence}");
}

#[test]
fn a_bad_candidate_is_sent_back_with_the_figures() {
    let (spec, mut world, mut rng) = (spec(&["10%", "100%"], 2_000), World::new(), ChaCha8Rng::seed_from_u64(2));
    world.start(1, &spec);
    world.start(2, &spec);
    world.outcomes(&mut rng, 4_000, 0.6, 0.2);
    assert_eq!(world.tick(&spec), Some(TrafficReason::RolledBack));
    assert_eq!(world.in_charge(), Some(1));
    let sentence = &world.moves.last().unwrap().sentence;
    assert!(
        sentence.starts_with("late@2 is surely worse than late@1 by more than the 0.01 allowed: Brier"),
        "{sentence}"
    );
    assert!(sentence.contains("with 95% confidence"), "{sentence}");
    assert_eq!(due(&world.state, &[version(1), version(2)]), None, "a version that was sent back is not tried again");
    assert_eq!(due(&world.state, &[version(1), version(2), version(3)]), Some(&version(3)));
}

#[test]
fn what_came_to_light_late_still_counts() {
    let (spec, mut world, mut rng) = (spec(&["30%", "60%", "100%"], 100), World::new(), ChaCha8Rng::seed_from_u64(3));
    world.start(1, &spec);
    world.start(2, &spec);
    world.outcomes(&mut rng, 500, 0.2, 0.2);
    assert_eq!(world.tick(&spec), Some(TrafficReason::Advanced));
    for _ in 0..3_000 {
        world.evidence[0].candidate.brier.push(0.9).unwrap();
    }
    assert_eq!(world.tick(&spec), Some(TrafficReason::RolledBack));
}

#[test]
fn a_good_candidate_is_seldom_sent_back_however_often_one_looks() {
    let spec = spec(&["20%", "100%"], 600);
    let sent_back = (0..100_u64).filter(|seed| {
        let (mut world, mut rng) = (World::new(), ChaCha8Rng::seed_from_u64(*seed));
        world.start(1, &spec);
        world.start(2, &spec);
        loop {
            world.outcomes(&mut rng, 25, 0.2, 0.2);
            if let Some(reason) = world.tick(&spec) {
                return reason == TrafficReason::RolledBack;
            }
        }
    });
    let sent_back = sent_back.count();
    assert!(sent_back <= 5, "{sent_back} of 100 at 95% confidence");
}

#[test]
fn rolling_back_goes_down_the_champions_and_then_ends() {
    let (spec, mut world) = (spec(&["100%"], 1), World::new());
    for candidate in 1..=3 {
        world.start(candidate, &spec);
    }
    assert_eq!(world.in_charge(), Some(3));
    for expected in [2, 1] {
        let shift = roll_back(&world.state, "by hand").unwrap();
        world.make(shift);
        assert_eq!(world.in_charge(), Some(expected));
    }
    assert_eq!(world.moves.last().unwrap().sentence, "late@2 was taken out: by hand; late@1 is back in charge");
    assert_eq!(roll_back(&world.state, "again"), None);
}

#[test]
fn impossible_moves_are_refused() {
    let (spec, mut world) = (spec(&["10%", "50%", "100%"], 1), World::new());
    world.start(1, &spec);
    world.start(2, &spec);
    let good = plan(RolloutSeen { state: &world.state, evidence: &[evidence(9)] }, &spec).unwrap().unwrap();
    assert_eq!(faults(&world.state, &good), Vec::<String>::new());
    let spoilt = |spoil: &dyn Fn(&mut Shift)| {
        let mut shift = good.clone();
        spoil(&mut shift);
        faults(&world.state, &shift).join("; ")
    };
    assert_eq!(spoilt(&|shift| shift.traffic[0].share = Share::NONE), "the shares sum to 50% of the traffic");
    assert_eq!(
        spoilt(&|shift| shift.step = Some(2)),
        "no step of the rollout gives the candidate 50%; a rollout takes its steps one by one"
    );
    assert_eq!(
        spoilt(&|shift| shift.reason = TrafficReason::Finished),
        "a rollout cannot end with the candidate at 50%"
    );
    assert_eq!(spoilt(&|shift| shift.reason = TrafficReason::RolledBack), "a candidate that is sent back keeps 50%");
    assert_eq!(spoilt(&|shift| shift.traffic[0].version = version(7)), "late@7 is neither champion nor candidate");
    assert!(spoilt(&|shift| shift.rollout = Some(id(77))).contains("is running"));
    let idle = DeploymentState { rollout: None, ..world.state.clone() };
    assert!(!faults(&idle, &good).is_empty());
}

fn evidence(candidates: usize) -> StepEvidence {
    let mut evidence = StepEvidence::default();
    (0..candidates).for_each(|_| evidence.candidate.brier.push(0.1).unwrap());
    evidence
}

#[derive(Debug, Clone)]
enum Action {
    Approve,
    Outcomes(usize, f64),
    Tick,
    RollBack,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        2 => Just(Action::Approve),
        4 => (0_usize..400, 0.0_f64..0.9).prop_map(|(n, bad)| Action::Outcomes(n, bad)),
        4 => Just(Action::Tick),
        1 => Just(Action::RollBack),
    ];
    proptest::collection::vec(action, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens, in whatever order: there is never a second rollout, everything is answered by one version or
    /// by champion and candidate, and every rollout can come to its end.
    #[test]
    fn traffic_is_always_whole_and_rollouts_end(actions in actions(), seed in any::<u64>()) {
        let spec = spec(&["5%", "40%", "100%"], 60);
        let (mut world, mut rng) = (World::new(), ChaCha8Rng::seed_from_u64(seed));
        let mut approved = Vec::new();
        for action in actions {
            match action {
                Action::Approve => approved.push(version(approved.len() as u32 + 1)),
                Action::Outcomes(n, bad) => {
                    if world.state.rollout.is_some() {
                        world.outcomes(&mut rng, n, bad, 0.2);
                    }
                }
                Action::Tick => {
                    world.tick(&spec);
                    if let Some(next) = due(&world.state, &approved).cloned() {
                        prop_assert!(world.state.rollout.is_none());
                        world.start(next.version, &spec);
                    }
                }
                Action::RollBack => {
                    if let Some(shift) = roll_back(&world.state, "drill") {
                        world.make(shift);
                    }
                }
            }
            let total: f64 = world.state.traffic.iter().map(|part| part.share.fraction()).sum();
            prop_assert!(world.state.traffic.is_empty() || (total - 1.0).abs() < 1e-9);
            match &world.state.rollout {
                Some(rollout) => prop_assert!(world.state.traffic.len() == 2 && rollout.step.is_some()),
                None => prop_assert!(world.state.traffic.len() <= 1),
            }
        }
        for _ in 0..4 {
            if world.state.rollout.is_some() {
                world.outcomes(&mut rng, 5_000, 0.2, 0.2);
                prop_assert!(world.tick(&spec).is_some(), "enough is known, so something must move");
            }
        }
        prop_assert!(world.state.rollout.is_none());
    }
}
