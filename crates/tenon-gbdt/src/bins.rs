//! Feature values as small whole numbers: a boosted tree only asks on which side of a few hundred cuts a value lies.

use rayon::prelude::*;

/// The bin of a missing value.
pub(crate) const MISSING: u8 = 0;
/// The most bins of values a feature can have, beside the one of missing values.
const MOST: usize = 254;

/// One feature, binned.
pub(crate) struct Column {
    /// The bin of each row: [`MISSING`], or 1 for values below `cuts[0]`, 2 for those from it and below `cuts[1]`, …
    pub(crate) bins: Vec<u8>,
    /// Strictly increasing; every value of a bin is below the cut at its end and at or above the one before.
    pub(crate) cuts: Vec<f32>,
}

/// Bins the features of row-major `rows`, `[rows, features]`, NaN missing. Infinite values are refused before.
pub(crate) fn bin(rows: &[f32], features: usize) -> Vec<Column> {
    (0..features).into_par_iter().map(|feature| Column::of(rows, features, feature)).collect()
}

impl Column {
    fn of(rows: &[f32], features: usize, feature: usize) -> Self {
        let values = || rows.iter().skip(feature).step_by(features).copied();
        let mut sorted: Vec<f32> = values().filter(|value| !value.is_nan()).collect();
        // -0 and +0 compare equal in a tree, so they must not become two bins.
        sorted.iter_mut().for_each(|value| *value += 0.0);
        sorted.sort_unstable_by(f32::total_cmp);
        let cuts = cuts(&sorted);
        let bin = |value: f32| {
            if value.is_nan() { MISSING } else { 1 + cuts.partition_point(|cut| *cut <= value) as u8 }
        };
        Self { bins: values().map(bin).collect(), cuts }
    }
}

/// Cuts between neighbouring distinct values, thinned to bins of about equal rows where there are too many.
fn cuts(sorted: &[f32]) -> Vec<f32> {
    let distinct: Vec<&[f32]> = sorted.chunk_by(|a, b| a == b).collect();
    let mut cuts = Vec::with_capacity(distinct.len().min(MOST).saturating_sub(1));
    let (mut rows_left, mut bins_left, mut in_bin) = (sorted.len(), MOST, 0);
    let thin = distinct.len() > MOST;
    for pair in distinct.windows(2) {
        in_bin += pair[0].len();
        if !thin || in_bin * bins_left >= rows_left {
            cuts.push(between(pair[0][0], pair[1][0]));
            rows_left -= in_bin;
            bins_left = (bins_left - 1).max(1);
            in_bin = 0;
            if cuts.len() == MOST - 1 {
                break;
            }
        }
    }
    cuts
}

/// A cut with `low < cut <= high`, near the middle.
fn between(low: f32, high: f32) -> f32 {
    let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
    if middle > low && middle <= high { middle } else { high }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values that tie, that are missing, that are zero twice, and any others.
    fn value() -> impl Strategy<Value = f32> {
        let few = (-5_i8..5).prop_map(f32::from);
        let any = any::<f32>().prop_filter("finite", |value| value.is_finite());
        prop_oneof![Just(f32::NAN), Just(0.0_f32), Just(-0.0_f32), few, any]
    }

    proptest! {
        #[test]
        fn a_bin_says_on_which_side_of_every_cut_a_value_lies(
            values in prop::collection::vec(value(), 0..900)
        ) {
            let column = &bin(&values, 1)[0];
            prop_assert!(column.cuts.len() < MOST && column.cuts.windows(2).all(|pair| pair[0] < pair[1]));
            for (value, bin) in values.iter().zip(&column.bins) {
                for (at, cut) in column.cuts.iter().enumerate() {
                    prop_assert_eq!(value < cut, *bin != MISSING && usize::from(*bin) <= at + 1, "{} at {}", value, cut);
                }
                prop_assert_eq!(value.is_nan(), *bin == MISSING);
            }
        }
    }

    #[test]
    fn many_values_make_bins_of_about_equal_rows_and_a_common_value_keeps_its_own() {
        let mut values: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
        values.extend(vec![5000.0; 10_000]);
        let column = &bin(&values, 1)[0];
        assert!((200..=253).contains(&column.cuts.len()), "{}", column.cuts.len());
        let common = column.bins[5000];
        let with_it = (0..10_000).filter(|i| column.bins[*i] == common).count();
        assert!(with_it < 200, "{with_it} others share the bin of the common value");
    }
}
