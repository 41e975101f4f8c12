//! The population stability index.

use crate::describe::quantile_sorted;
use crate::drift::reference::Histogram;
use crate::error::StatsError;
use crate::special;

/// How far a live window lies from its reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Psi {
    /// The index in nats, never negative. Common reading: below 0.1 stable, above 0.25 moved.
    pub value: f64,
    /// What each bin adds, in the order of the counts given; the greatest say where the column moved.
    pub bins: Vec<BinShift>,
    /// Probability of an index this great when nothing moved: without drift, the index over
    /// `1/reference + 1/live` rows is nearly chi-squared with one degree of freedom less than there are bins.
    /// It tells noise of a small window from a shift; it is rough where bins hold fewer than about five rows.
    pub p_value: f64,
}

/// One bin of a [`Psi`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinShift {
    /// Share of the reference rows in the bin, before smoothing.
    pub reference: f64,
    /// Share of the live rows in the bin, before smoothing.
    pub live: f64,
    /// What the bin adds to the index, in nats.
    pub contribution: f64,
}

/// Population stability index of `live` against `reference`, in nats, never negative.
///
/// # Shapes
/// `reference`, `live`: `[rows]`, lengths may differ; `NaN` is missing and a bin of its own. `edges`: `[bins - 1]`;
/// bins are closed on the right, the first and the last are open-ended.
///
/// # Errors
/// `Empty` when either side has no rows; `BadEdges` unless `edges` are finite and increase strictly.
pub fn psi(reference: &[f64], live: &[f64], edges: &[f64]) -> Result<f64, StatsError> {
    let reference = Histogram::count(reference, edges)?;
    Ok(reference.psi(&Histogram::count(live, edges)?)?.value)
}

/// Population stability index of counts by category (or by bin): `sum (l - r) ln(l / r)` over the shares `r`, `l`.
///
/// Smoothing: a category empty on one side counts there as half a row, but never as a greater share than the other
/// side has; one that is empty on both sides adds nothing. So the index is finite, is 0 where all shares are equal,
/// is symmetric, and a category too rare to be expected in a small window does not look like drift.
///
/// # Shapes
/// `reference`, `live`: `[categories]`, in the same order.
///
/// # Errors
/// `LengthMismatch`; `Empty` when either side has no rows.
pub fn psi_categorical(reference: &[u64], live: &[u64]) -> Result<Psi, StatsError> {
    crate::error::same_length("live", reference.len(), live.len())?;
    let total = |what, counts: &[u64]| match counts.iter().map(|&c| c as f64).sum::<f64>() {
        0.0 => Err(StatsError::Empty { what }),
        rows => Ok(rows),
    };
    let (reference_rows, live_rows) = (total("reference", reference)?, total("live", live)?);
    let shift = |(&r, &l): (&u64, &u64)| {
        let (reference, live) = (r as f64 / reference_rows, l as f64 / live_rows);
        let (r, l) = match (r, l) {
            (0, 0) => (1.0, 1.0),
            (0, _) => ((0.5 / reference_rows).min(live), live),
            (_, 0) => (reference, (0.5 / live_rows).min(reference)),
            _ => (reference, live),
        };
        BinShift { reference, live, contribution: (l - r) * (l / r).ln() }
    };
    let bins: Vec<BinShift> = reference.iter().zip(live).map(shift).collect();
    let value = bins.iter().map(|bin| bin.contribution).sum();
    let used = reference.iter().zip(live).filter(|&(&r, &l)| r > 0 || l > 0).count();
    let p_value = special::chi2_sf(value / (1.0 / reference_rows + 1.0 / live_rows), used - 1);
    Ok(Psi { value, bins, p_value })
}

/// Edges that cut `reference` into `bins` bins of about equal rows, for [`psi`]. `NaN` is left out.
///
/// A value so common that it would fill a whole bin or more gets a bin of its own (an edge just below it and one at
/// it), so that a column of mostly zeros, or a constant one, shows any departure to either side. The edges increase
/// strictly; there are at most `2 * bins` of them, and fewer than `bins - 1` where values tie.
///
/// # Errors
/// `BadParameter` for fewer than two bins; `Empty` without values; `NotFinite` for an infinite value.
pub fn quantile_edges(reference: &[f64], bins: usize) -> Result<Vec<f64>, StatsError> {
    if bins < 2 {
        return Err(StatsError::BadParameter { name: "bins", value: bins as f64, rule: "at least 2" });
    }
    if let Some(row) = reference.iter().position(|v| v.is_infinite()) {
        return Err(StatsError::NotFinite { what: "reference", row });
    }
    let mut sorted: Vec<f64> = reference.iter().copied().filter(|v| !v.is_nan()).collect();
    if sorted.is_empty() {
        return Err(StatsError::Empty { what: "reference" });
    }
    sorted.sort_unstable_by(f64::total_cmp);
    let cuts: Vec<f64> = (0..=bins).map(|i| quantile_sorted(&sorted, i as f64 / bins as f64)).collect();
    let mut edges: Vec<f64> = cuts[1..bins].to_vec();
    for pair in cuts.windows(2).filter(|pair| pair[0] == pair[1]) {
        edges.extend([pair[0].next_down(), pair[0]]);
    }
    edges.sort_unstable_by(f64::total_cmp);
    edges.dedup();
    edges.retain(|edge| edge.is_finite());
    Ok(edges)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // numpy 2.4.6: sum((l - r) * log(l / r)) over r = [100, 300, 400, 200] / 1000, l = [40, 90, 250, 120] / 500
    #[test]
    fn psi_agrees_with_its_definition() {
        let found = psi_categorical(&[100, 300, 400, 200], &[40, 90, 250, 120]).unwrap();
        assert!((found.value - 0.09536916328138223).abs() < 1e-12, "{}", found.value);
        // scipy 1.17.1: stats.chi2.sf(psi / (1 / 1000 + 1 / 500), 3)
        assert!((found.p_value / 5.795642625737406e-7 - 1.0).abs() < 1e-9, "{}", found.p_value);
        assert_eq!(found.bins[1].live, 0.18);
    }

    #[test]
    fn equal_shares_are_no_drift_whatever_the_sizes() {
        assert_eq!(psi_categorical(&[1000, 3000, 0], &[1, 3, 0]).unwrap().value, 0.0);
    }

    #[test]
    fn a_category_too_rare_for_the_window_is_no_drift() {
        let reference = [99_000, 300, 300, 400];
        assert!(psi_categorical(&reference, &[100, 0, 0, 0]).unwrap().value < 1e-3);
        assert!(psi_categorical(&reference, &[0, 100, 0, 0]).unwrap().value > 5.0, "a real shift is still seen");
    }

    #[test]
    fn missing_values_are_a_bin() {
        let reference = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(psi(&reference, &[1.0, 2.0, 3.0, 4.0], &[2.5]), Ok(0.0));
        // Shares (1/2, 1/2, 0) against (1/4, 1/4, 1/2), the empty bin as 1/8.
        let expected = 2.0 * 0.25 * 2.0_f64.ln() + 0.375 * 4.0_f64.ln();
        let found = psi(&reference, &[1.0, f64::NAN, f64::NAN, 4.0], &[2.5]).unwrap();
        assert!((found - expected).abs() < 1e-12, "{found}");
    }

    #[test]
    fn edges_are_quantiles_where_values_do_not_tie() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile_edges(&values, 4).unwrap(), [25.0, 50.0, 75.0]);
    }

    #[test]
    fn a_common_value_has_its_own_bin() {
        let mostly_zero: Vec<f64> = (0..100).map(|i| f64::from((i - 70).max(0))).collect();
        let edges = quantile_edges(&mostly_zero, 10).unwrap();
        assert_eq!(edges[..2], [0.0_f64.next_down(), 0.0]);
        let below = mostly_zero.iter().map(|v| v - 1.0).collect::<Vec<_>>();
        assert!(psi(&mostly_zero, &below, &edges).unwrap() > 1.0);

        let constant = [5.0; 20];
        let edges = quantile_edges(&constant, 10).unwrap();
        assert_eq!(psi(&constant, &constant, &edges), Ok(0.0));
        assert!(psi(&constant, &[4.9; 20], &edges).unwrap() > 1.0);
        assert!(psi(&constant, &[5.1; 20], &edges).unwrap() > 1.0);
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(psi(&[], &[1.0], &[0.0]), Err(StatsError::Empty { what: "reference" }));
        assert_eq!(psi(&[1.0], &[], &[0.0]), Err(StatsError::Empty { what: "live" }));
        assert_eq!(psi(&[1.0], &[1.0], &[0.0, 0.0]), Err(StatsError::BadEdges { index: 1 }));
        assert_eq!(psi(&[1.0], &[1.0], &[f64::NAN]), Err(StatsError::BadEdges { index: 0 }));
        assert_eq!(quantile_edges(&[f64::NAN], 10), Err(StatsError::Empty { what: "reference" }));
        assert!(matches!(quantile_edges(&[1.0], 1), Err(StatsError::BadParameter { .. })));
    }
}
