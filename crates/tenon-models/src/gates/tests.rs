#![allow(clippy::unwrap_used)]

use tenon_compute::Period;
use tenon_core::spec::{BudgetPeriod, QualityMetric, Trainer};
use tenon_core::{Share, Timestamp};

use super::*;
use crate::table::tests::synthetic;
use crate::trainer::fit;

fn budget(limit_usd: Option<f64>) -> BudgetState {
    let period = Period::of(BudgetPeriod::Month, Timestamp::from_micros(0));
    BudgetState { limit_usd, spent_usd: 1.5, period }
}

/// Trains on synthetic rows and lets one gate decide.
fn check(table: &Table, gate: Gate, champion: Champion) -> GateDecided {
    let trainer = Trainer::Gbdt { budget: 0.2, trees: None, seed: 7 };
    let ensemble = fit(&trainer, table).unwrap();
    let evaluation = Evaluation::of(&ensemble, table).unwrap();
    let case = Case {
        version: &"late_arrival@2".parse().unwrap(),
        table,
        ensemble: &ensemble,
        evaluation: &evaluation,
        champion,
        thresholds: &[0.5, 0.3],
        budget: (&budget(Some(2.0)), 0.01),
    };
    let decided = decide(&[gate], &case).unwrap().remove(0);
    let size = serde_json::to_string(&decided).unwrap().len();
    assert!(size < 20_000, "{size} bytes of evidence");
    decided
}

fn quality(at_least: f64, margin_to_champion: Option<f64>) -> Gate {
    Gate::Quality { metric: QualityMetric::RocAuc, at_least, margin_to_champion }
}

#[test]
fn a_good_model_passes_quality_and_one_of_shuffled_labels_fails() {
    let mut table = synthetic(8_000, 1);
    let good = check(&table, quality(0.65, None), Champion::None);
    assert_eq!(good.verdict, Verdict::Passed, "{}", good.sentence);
    assert!(good.evidence["low"].as_f64().unwrap() < good.evidence["roc_auc"].as_f64().unwrap());
    table.shuffle_labels(1);
    let drilled = check(&table, quality(0.65, None), Champion::None);
    assert_eq!(drilled.verdict, Verdict::Failed);
    assert!(drilled.sentence.contains("at least 65.0% is asked for"), "{}", drilled.sentence);
}

#[test]
fn the_champion_is_met_on_the_same_rows() {
    let table = synthetic(4_000, 2);
    let champion: ModelVersionRef = "late_arrival@1".parse().unwrap();
    let perfect = table.held_out().labels.iter().map(|label| if *label { 0.9 } else { 0.1 }).collect();
    let decided = check(&table, quality(0.6, Some(-0.01)), Champion::Scores(champion.clone(), perfect));
    assert_eq!(decided.verdict, Verdict::Failed);
    assert!(decided.sentence.contains("points below late_arrival@1, which is in charge"), "{}", decided.sentence);
    let guessing = vec![0.5; table.held_out().labels.len()];
    let decided = check(&table, quality(0.6, Some(-0.01)), Champion::Scores(champion.clone(), guessing));
    assert_eq!(decided.verdict, Verdict::Passed, "{}", decided.sentence);
    let decided = check(&table, quality(0.6, Some(-0.01)), Champion::ReadsOtherFeatures(champion));
    assert!(decided.verdict == Verdict::Passed && decided.sentence.contains("not compared"), "{}", decided.sentence);
}

#[test]
fn calibration_is_judged_by_its_error() {
    let table = synthetic(8_000, 3);
    let decided = check(&table, Gate::Calibration { at_most: 0.05 }, Champion::None);
    assert_eq!(decided.verdict, Verdict::Passed, "{}", decided.sentence);
    assert_eq!(decided.evidence["bins"].as_array().unwrap().len(), 10);
    let decided = check(&table, Gate::Calibration { at_most: 1e-6 }, Champion::None);
    assert_eq!(decided.verdict, Verdict::Failed);
}

#[test]
fn fairness_names_the_groups_and_fails_where_nobody_can_be_compared() {
    let gate = |group_by: &str, at_most, min_positives| Gate::Fairness {
        group_by: group_by.to_owned(),
        at_most,
        min_positives,
    };
    let table = synthetic(8_000, 4);
    let decided = check(&table, gate("carrier", 0.2, 50), Champion::None);
    assert_eq!(decided.verdict, Verdict::Passed, "{}", decided.sentence);
    assert!(decided.sentence.contains("`AA`") && decided.sentence.contains("`UA`"), "{}", decided.sentence);
    let alone = check(&table, gate("carrier", 0.2, 100_000), Champion::None);
    assert_eq!(alone.verdict, Verdict::Failed);
    assert!(alone.sentence.contains("could not be judged"), "{}", alone.sentence);
    let unknown = check(&table, gate("colour", 0.2, 50), Champion::None);
    assert!(unknown.sentence.contains("no column `colour`"), "{}", unknown.sentence);
}

#[test]
fn a_group_that_is_never_found_fails_fairness() {
    let labels = vec![true; 400];
    let groups: Vec<String> = (0..400).map(|i| if i % 2 == 0 { "a" } else { "b" }.to_owned()).collect();
    let scores: Vec<f64> = (0..400).map(|i| if i % 2 == 0 { 0.9 } else { 0.1 }).collect();
    let decided = fairness::decide(&labels, &scores, &groups, "team", &[0.95, 0.5], 0.2, 50).unwrap();
    assert!(!decided.passed, "the worst threshold counts");
    assert_eq!(decided.evidence["threshold"], 0.5);
}

#[test]
fn explanations_add_up_and_one_feature_may_not_be_everything() {
    let table = synthetic(4_000, 5);
    let gate = |max_error, max_share: Option<f64>| Gate::Explanation {
        max_error,
        max_share: max_share.map(|share| Share::new(share).unwrap()),
    };
    let decided = check(&table, gate(1e-6, Some(0.9)), Champion::None);
    assert_eq!(decided.verdict, Verdict::Passed, "{}", decided.sentence);
    assert!(decided.evidence["shares"]["c"].as_f64().unwrap() < 0.2, "luck must not matter: {}", decided.evidence);
    let decided = check(&table, gate(1e-6, Some(0.3)), Champion::None);
    assert!(decided.verdict == Verdict::Failed && decided.sentence.contains("alone makes up"), "{}", decided.sentence);
}

#[test]
fn latency_is_the_99th_of_100() {
    let decided = latency::decide((1..=100).map(|ms| f64::from(ms) / 1e3).collect(), 99.0);
    assert!(decided.passed && decided.evidence["p99_ms"] == 99.0);
    assert!(!latency::decide(vec![0.002; 10], 1.9).passed);
    let table = synthetic(1_000, 6);
    let decided = check(&table, Gate::Latency { p99_ms: 1_000.0 }, Champion::None);
    assert_eq!((decided.verdict, decided.evidence["calls"].as_u64()), (Verdict::Passed, Some(5_000)));
}

#[test]
fn a_budget_that_is_overspent_fails_and_none_passes() {
    assert!(budget::decide(&budget(Some(1.5)), 0.1).passed);
    assert!(!budget::decide(&budget(Some(1.4)), 0.1).passed);
    assert!(budget::decide(&budget(None), 0.1).passed);
}

#[test]
fn one_failed_gate_is_enough_and_is_named_once() {
    let table = synthetic(1_000, 7);
    let failed = check(&table, quality(0.99, None), Champion::None);
    let passed = check(&table, Gate::Budget {}, Champion::None);
    let judged = judge(&failed.version.clone(), &[passed.clone(), failed.clone(), failed]);
    assert_eq!((judged.approved, judged.failed), (false, vec!["quality".to_owned()]));
    assert!(judge(&passed.version.clone(), &[passed]).approved);
}
