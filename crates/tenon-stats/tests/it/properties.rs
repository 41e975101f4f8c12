//! Properties over generated inputs.

use proptest::collection::vec;
use proptest::prelude::*;
use tenon_stats::drift::{
    Histogram, KsMethod, benjamini_hochberg, holm, ks_two_sample, psi, psi_categorical, quantile_edges, wasserstein_1,
};
use tenon_stats::fairness::{GroupFloor, GroupTable, Rate};
use tenon_stats::metrics::{calibration_bins, delong_compare, roc_auc, roc_auc_ci};
use tenon_stats::sequential::{ArmStats, BoundedArm};

/// Labels of both classes with scores of few distinct values, so that ties are common.
fn scored() -> impl Strategy<Value = (Vec<bool>, Vec<f64>)> {
    vec((any::<bool>(), 0..20_u8), 4..60)
        .prop_map(|rows| rows.into_iter().map(|(label, score)| (label, f64::from(score) / 20.0)).unzip())
        .prop_filter("both classes, twice", |(labels, _): &(Vec<bool>, Vec<f64>)| {
            let positives = labels.iter().filter(|l| **l).count();
            positives >= 2 && labels.len() - positives >= 2
        })
}

/// A column with ties, missing values, and now and then an infinity.
fn column(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        6 => -50.0..50.0_f64,
        4 => (-3..4_i8).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
    ];
    vec(value, rows)
}

fn finite(column: &[f64]) -> Vec<f64> {
    column.iter().copied().filter(|v| v.is_finite()).collect()
}

proptest! {
    #[test]
    fn auc_is_the_share_of_pairs_ranked_rightly((labels, scores) in scored()) {
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (i, _) in labels.iter().enumerate().filter(|(_, l)| **l) {
            for (j, _) in labels.iter().enumerate().filter(|(_, l)| !**l) {
                pairs += 1.0;
                wins += if scores[i] > scores[j] { 1.0 } else if scores[i] == scores[j] { 0.5 } else { 0.0 };
            }
        }
        prop_assert!((roc_auc(&labels, &scores).unwrap() - wins / pairs).abs() < 1e-12);
    }

    #[test]
    fn auc_sees_ranks_only((labels, scores) in scored()) {
        let stretched: Vec<f64> = scores.iter().map(|s| (3.0 * s).exp() - 5.0).collect();
        let found = roc_auc_ci(&labels, &scores, 0.9).unwrap();
        prop_assert_eq!(found, roc_auc_ci(&labels, &stretched, 0.9).unwrap());
        prop_assert!(found.interval.contains(found.auc));
        let negated: Vec<f64> = scores.iter().map(|s| -s).collect();
        prop_assert!((roc_auc(&labels, &negated).unwrap() - (1.0 - found.auc)).abs() < 1e-12);
    }

    #[test]
    fn comparing_the_other_way_round_turns_the_sign((labels, scores) in scored(), salt in 1..7_usize) {
        let other: Vec<f64> = scores.iter().enumerate().map(|(i, s)| s + (i * salt % 5) as f64 / 7.0).collect();
        let there = delong_compare(&labels, &scores, &other, 0.95).unwrap();
        let back = delong_compare(&labels, &other, &scores, 0.95).unwrap();
        prop_assert!((there.difference + back.difference).abs() < 1e-12);
        prop_assert!((there.p_value - back.p_value).abs() < 1e-9);
        prop_assert!((0.0..=1.0).contains(&there.p_value));
    }

    #[test]
    fn calibration_bins_hold_every_row((labels, scores) in scored(), bins in 1..12_usize) {
        let table = calibration_bins(&labels, &scores, bins).unwrap();
        prop_assert_eq!(table.iter().map(|b| b.rows).sum::<u64>(), labels.len() as u64);
        prop_assert!(table.iter().all(|b| b.mean_score.is_none_or(|s| b.low - 1e-12 <= s && s <= b.high + 1e-12)));
    }

    #[test]
    fn psi_is_no_less_than_nothing(a in column(1..80), b in column(1..80), bins in 2..12_usize) {
        let values = finite(&a);
        prop_assume!(!values.is_empty());
        let edges = quantile_edges(&values, bins).unwrap();
        prop_assert!(edges.is_sorted_by(|x, y| x < y) && edges.len() <= 2 * bins);
        prop_assert_eq!(psi(&a, &a, &edges).unwrap(), 0.0);
        let there = psi(&a, &b, &edges).unwrap();
        prop_assert!(there >= 0.0 && there.is_finite());
        prop_assert!((there - psi(&b, &a, &edges).unwrap()).abs() < 1e-12, "symmetric");
        let histogram = Histogram::count(&b, &edges).unwrap();
        prop_assert_eq!(histogram.rows(), b.len() as u64);
    }

    #[test]
    fn psi_of_equal_shares_is_nothing(counts in vec(0..50_u64, 1..10), times in 1..40_u64) {
        prop_assume!(counts.iter().sum::<u64>() > 0);
        let more: Vec<u64> = counts.iter().map(|c| c * times).collect();
        let found = psi_categorical(&counts, &more).unwrap();
        prop_assert!(found.value < 1e-12 && found.p_value > 0.999);
    }

    #[test]
    fn ks_is_symmetric_and_a_share(a in column(1..60), b in column(1..60)) {
        prop_assume!(a.iter().any(|v| !v.is_nan()) && b.iter().any(|v| !v.is_nan()));
        for method in [KsMethod::Exact, KsMethod::Asymptotic] {
            let (there, back) = (ks_two_sample(&a, &b, method).unwrap(), ks_two_sample(&b, &a, method).unwrap());
            prop_assert_eq!(there.statistic, back.statistic);
            prop_assert!((there.p_value - back.p_value).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&there.statistic) && (0.0..=1.0).contains(&there.p_value));
        }
        prop_assert_eq!(ks_two_sample(&a, &a, KsMethod::Auto).unwrap().statistic, 0.0);
    }

    #[test]
    fn wasserstein_measures_a_shift(a in vec(-50.0..50.0_f64, 1..60), shift in -10.0..10.0_f64) {
        let moved: Vec<f64> = a.iter().map(|v| v + shift).collect();
        prop_assert!((wasserstein_1(&a, &moved).unwrap() - shift.abs()).abs() < 1e-9);
    }

    #[test]
    fn adjusted_p_values_are_greater_and_keep_their_order(p in vec(0.0..=1.0_f64, 1..20)) {
        for adjusted in [benjamini_hochberg(&p).unwrap(), holm(&p).unwrap()] {
            for i in 0..p.len() {
                prop_assert!(p[i] <= adjusted[i] + 1e-15 && adjusted[i] <= 1.0);
                prop_assert!((0..p.len()).all(|j| p[i] >= p[j] || adjusted[i] <= adjusted[j]));
            }
        }
    }

    #[test]
    fn merged_arms_are_the_whole(losses in vec(-1e3..1e3_f64, 2..100), cut in 0.0..1.0_f64) {
        let cut = (cut * losses.len() as f64) as usize;
        let arm = |losses: &[f64]| {
            let mut arm = ArmStats::default();
            losses.iter().for_each(|l| arm.push(*l).unwrap());
            arm
        };
        let whole = arm(&losses);
        let mut merged = arm(&losses[..cut]);
        merged.merge(&arm(&losses[cut..]));
        prop_assert_eq!(merged.n(), whole.n());
        prop_assert!((merged.mean() - whole.mean()).abs() < 1e-9);
        prop_assert!((merged.variance().unwrap() - whole.variance().unwrap()).abs() < 1e-6);
    }

    #[test]
    fn a_bounded_sequence_holds_its_mean_within_the_bounds(losses in vec(0.0..=1.0_f64, 1..200), n in 1..10_000_u64) {
        let mut arm = BoundedArm::new(0.0, 1.0).unwrap();
        losses.iter().for_each(|l| arm.push(*l).unwrap());
        let found = arm.mean_sequence(0.05, n).unwrap();
        prop_assert!(found.contains(arm.mean()) && found.low >= 0.0 && found.high <= 1.0);
    }

    #[test]
    fn groups_add_up_to_all_rows(rows in vec((any::<bool>(), any::<bool>(), 0..5_usize), 2..120), floor in 1..30_u64) {
        let labels: Vec<bool> = rows.iter().map(|r| r.0).collect();
        let predictions: Vec<bool> = rows.iter().map(|r| r.1).collect();
        let groups: Vec<&str> = rows.iter().map(|r| ["a", "b", "c", "d", "e"][r.2]).collect();
        let floor = GroupFloor { rows: floor, base: 1 };
        let table = GroupTable::count(&labels, &predictions, &groups, floor).unwrap();
        let sum = |count: fn(&tenon_stats::metrics::Confusion) -> u64| {
            table.groups().iter().map(|g| count(&g.counts)).sum::<u64>()
        };
        prop_assert_eq!(sum(|c| c.rows()), rows.len() as u64);
        prop_assert_eq!(sum(|c| c.positives()), labels.iter().filter(|l| **l).count() as u64);
        prop_assert_eq!(sum(|c| c.selected()), predictions.iter().filter(|p| **p).count() as u64);
        for rate in [Rate::Selection, Rate::TruePositive, Rate::FalsePositive, Rate::Precision, Rate::Accuracy] {
            let Ok(gap) = table.gap(rate) else { continue };
            prop_assert!((0.0..=1.0).contains(&gap.difference) && (0.0..=1.0).contains(&gap.ratio));
            prop_assert!(!gap.excluded.contains(&gap.highest.0) && !gap.excluded.contains(&gap.lowest.0));
            let interval = table.gap_interval(rate, 0.9, 100, 1).unwrap();
            prop_assert!(interval.contains(gap.difference), "{interval:?} without {}", gap.difference);
        }
    }
}
