//! How far a window of decisions has moved from the training set of the version in charge, from values alone.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tenon_core::ModelVersionRef;
use tenon_core::fact::{FeatureDrift, FeatureReference};
use tenon_core::spec::DriftRule;
use tenon_models::ReferenceDistributions;
use tenon_stats::drift::{Histogram, KsMethod, chi2_two_sample, holm, ks_two_sample, psi_categorical};

use crate::error::WatchError;

/// The most rows of a window that the two-sample test takes, so that sheer numbers do not make every trifle sure.
const SAMPLE: usize = 5_000;

/// What the version in charge was trained on, prepared for comparing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    columns: Vec<Column>,
}

/// One input, or `prediction`.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    of: FeatureReference,
    /// Values that are not missing, sorted.
    sample: Vec<f64>,
}

impl Reference {
    pub(crate) fn new(version: &ModelVersionRef, given: ReferenceDistributions) -> Result<Self, WatchError> {
        let bad = |reason: String| WatchError::BadReference { version: version.clone(), reason };
        let column = |of: FeatureReference| {
            if of.counts.len() != of.edges.len() + 1 {
                return Err(bad(format!("`{}` has {} bins for {} edges", of.feature, of.counts.len(), of.edges.len())));
            }
            let sample = given.sample.iter().find(|(name, _)| *name == of.feature).map(|(_, sample)| sample);
            let mut sample: Vec<f64> = sample.into_iter().flatten().map(|value| f64::from(*value)).collect();
            sample.retain(|value| !value.is_nan());
            sample.sort_unstable_by(f64::total_cmp);
            Ok(Column { of, sample })
        };
        let columns = given.features.into_iter().map(column).collect::<Result<Vec<_>, _>>()?;
        match columns.last() {
            Some(last) if last.of.feature == "prediction" => Ok(Self { columns }),
            _ => Err(bad("they do not end with `prediction`".to_owned())),
        }
    }

    /// How many inputs it describes.
    fn inputs(&self) -> usize {
        self.columns.len() - 1
    }

    /// Compares the rows of a window, the most moved column first. For each column: the population stability index
    /// over the reference's bins, with the missing values as one more; the Kolmogorov–Smirnov test of a seeded sample
    /// of the values; the chi-squared test of the share of missing values. The lesser of the two p-values counts
    /// double, and all are corrected for the number of columns by Holm's method.
    ///
    /// # Shapes
    /// `features`: one slice a row, `[inputs]`, NaN: missing; `predictions`: `[rows]`.
    pub(crate) fn compare(
        &self,
        version: &ModelVersionRef,
        features: &[&[f32]],
        predictions: &[f64],
        rule: &DriftRule,
        seed: u64,
    ) -> Result<Vec<FeatureDrift>, WatchError> {
        if let Some(row) = features.iter().find(|row| row.len() != self.inputs()) {
            let reason = format!("a decision has {} features, they describe {}", row.len(), self.inputs());
            return Err(WatchError::BadReference { version: version.clone(), reason });
        }
        let picked = sample(predictions.len(), seed);
        let mut drifts = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            let values: Vec<f64> = if at == self.inputs() {
                predictions.to_vec()
            } else {
                features.iter().map(|row| f64::from(row[at])).collect()
            };
            drifts.push(column.compare(&values, &picked)?);
        }
        let p_values: Vec<f64> = drifts.iter().map(|drift| drift.p_value).collect();
        for (drift, p_value) in drifts.iter_mut().zip(holm(&p_values).map_err(WatchError::Stats)?) {
            drift.p_value = p_value;
            drift.drifted = drift.psi >= rule.psi && p_value < rule.alpha;
        }
        drifts.sort_by(|a, b| b.psi.total_cmp(&a.psi).then_with(|| a.feature.cmp(&b.feature)));
        Ok(drifts)
    }
}

impl Column {
    fn compare(&self, values: &[f64], picked: &[usize]) -> Result<FeatureDrift, WatchError> {
        let of = &self.of;
        let live = Histogram::count(values, &of.edges).map_err(WatchError::Stats)?;
        let with_missing = |counts: &[u64], missing| counts.iter().copied().chain([missing]).collect::<Vec<u64>>();
        let (before, now) = (with_missing(&of.counts, of.missing), with_missing(live.counts(), live.missing()));
        let psi = psi_categorical(&before, &now).map_err(WatchError::Stats)?.value;
        let present = |counts: &[u64]| counts.iter().sum::<u64>();
        let missing = chi2_two_sample(&[present(&of.counts), of.missing], &[present(live.counts()), live.missing()]);
        let missing = missing.map_err(WatchError::Stats)?.p_value;
        let sampled: Vec<f64> = picked.iter().map(|&row| values[row]).filter(|value| !value.is_nan()).collect();
        let (ks, of_values) = if sampled.is_empty() || self.sample.is_empty() {
            (0.0, 1.0)
        } else {
            let test = ks_two_sample(&sampled, &self.sample, KsMethod::Asymptotic).map_err(WatchError::Stats)?;
            (test.statistic, test.p_value)
        };
        let p_value = (2.0 * of_values.min(missing)).min(1.0);
        Ok(FeatureDrift { feature: of.feature.clone(), psi, ks, p_value, drifted: false })
    }
}

/// Which rows the test takes: all, or a sample that depends only on the seed.
fn sample(rows: usize, seed: u64) -> Vec<usize> {
    if rows <= SAMPLE {
        return (0..rows).collect();
    }
    let mut picked = rand::seq::index::sample(&mut ChaCha8Rng::seed_from_u64(seed), rows, SAMPLE).into_vec();
    picked.sort_unstable();
    picked
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::Rng;
    use tenon_stats::drift::quantile_edges;

    pub(crate) fn uniform(seed: u64, rows: usize, from: f64, to: f64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..rows).map(|_| from + (to - from) * (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64).collect()
    }

    /// The reference of columns as the models keep it.
    pub(crate) fn distributions(columns: &[(&str, Vec<f64>)]) -> ReferenceDistributions {
        let of = |(name, values): &(&str, Vec<f64>)| {
            let edges = quantile_edges(values, 10).unwrap();
            let counted = Histogram::count(values, &edges).unwrap();
            FeatureReference {
                feature: (*name).to_owned(),
                edges,
                counts: counted.counts().to_vec(),
                missing: counted.missing(),
            }
        };
        let sample = |(name, values): &(&str, Vec<f64>)| {
            let values = values.iter().filter(|value| !value.is_nan()).take(5_000).map(|value| *value as f32);
            ((*name).to_owned(), values.collect())
        };
        ReferenceDistributions {
            features: columns.iter().map(of).collect(),
            sample: columns.iter().map(sample).collect(),
        }
    }

    fn version() -> ModelVersionRef {
        "late@1".parse().unwrap()
    }

    fn reference() -> Reference {
        let with_missing: Vec<f64> =
            uniform(2, 20_000, 0.0, 1.0).into_iter().map(|v| if v < 0.1 { f64::NAN } else { v }).collect();
        let columns = [
            ("temp", uniform(1, 20_000, 0.0, 20.0)),
            ("wind", with_missing),
            ("prediction", uniform(3, 20_000, 0.0, 1.0)),
        ];
        Reference::new(&version(), distributions(&columns)).unwrap()
    }

    fn window(temp: Vec<f64>, wind: Vec<f64>) -> Vec<[f32; 2]> {
        temp.into_iter().zip(wind).map(|(temp, wind)| [temp as f32, wind as f32]).collect()
    }

    fn compare(rows: &[[f32; 2]], seed: u64) -> Vec<FeatureDrift> {
        let rows: Vec<&[f32]> = rows.iter().map(<[f32; 2]>::as_slice).collect();
        let predictions = uniform(seed + 100, rows.len(), 0.0, 1.0);
        reference().compare(&version(), &rows, &predictions, &DriftRule::default(), seed).unwrap()
    }

    fn drifted(found: &[FeatureDrift]) -> Vec<&str> {
        found.iter().filter(|drift| drift.drifted).map(|drift| drift.feature.as_str()).collect()
    }

    #[test]
    fn a_column_that_moved_is_found_and_the_others_are_not_blamed() {
        let wind = || uniform(6, 8_000, 0.0, 1.0).into_iter().map(|v| if v < 0.1 { f64::NAN } else { v }).collect();
        assert!(drifted(&compare(&window(uniform(5, 8_000, 0.0, 20.0), wind()), 1)).is_empty());
        let found = compare(&window(uniform(5, 8_000, 8.0, 28.0), wind()), 1);
        assert_eq!(drifted(&found), ["temp"]);
        assert!(found[0].feature == "temp" && found[0].ks > 0.35 && found[0].p_value < 1e-9, "{:?}", found[0]);
    }

    #[test]
    fn values_that_go_missing_are_drift_too() {
        let gone: Vec<f64> =
            (0..8_000).map(|i| if i % 2 == 0 { f64::NAN } else { 0.1 + 0.9 * f64::from(i) / 8e3 }).collect();
        assert_eq!(drifted(&compare(&window(uniform(5, 8_000, 0.0, 20.0), gone), 1)), ["wind"]);
        let all_gone = vec![f64::NAN; 8_000];
        assert_eq!(drifted(&compare(&window(uniform(5, 8_000, 0.0, 20.0), all_gone), 1)), ["wind"]);
    }

    #[test]
    fn false_alarms_are_as_rare_as_the_rule_says() {
        let rule = DriftRule { psi: 0.0, alpha: 0.05, ..DriftRule::default() };
        let alarms = (0..200_u64).filter(|seed| {
            let wind = uniform(seed * 7 + 2, 600, 0.0, 1.0).into_iter().map(|v| if v < 0.1 { f64::NAN } else { v });
            let rows = window(uniform(seed * 7 + 1, 600, 0.0, 20.0), wind.collect());
            let rows: Vec<&[f32]> = rows.iter().map(<[f32; 2]>::as_slice).collect();
            let predictions = uniform(seed * 7 + 3, 600, 0.0, 1.0);
            let found = reference().compare(&version(), &rows, &predictions, &rule, *seed).unwrap();
            found.iter().any(|drift| drift.drifted)
        });
        let alarms = alarms.count();
        assert!(alarms <= 18, "{alarms} of 200 at 5%");
    }

    #[test]
    fn the_sample_depends_only_on_the_seed() {
        assert_eq!(sample(3, 1), [0, 1, 2]);
        assert_eq!(sample(50_000, 1), sample(50_000, 1));
        assert_ne!(sample(50_000, 1), sample(50_000, 2));
        assert_eq!(sample(50_000, 1).len(), SAMPLE);
    }

    #[test]
    fn a_reference_that_does_not_fit_is_refused() {
        let rows: [&[f32]; 1] = [&[1.0]];
        let error = reference().compare(&version(), &rows, &[0.5], &DriftRule::default(), 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the reference distributions of `late@1` do not fit its decisions: a decision has 1 features, they describe 2"
        );
        assert!(Reference::new(&version(), distributions(&[("temp", vec![1.0, 2.0])])).is_err());
    }
}
