//! The bootstrap interval of the greatest difference between shares.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{StatsError, open_unit};
use crate::interval::Interval;

/// Simultaneous interval of the greatest difference of shares, each `(part, whole)` with `whole > 0`.
///
/// Rows of a group are exchangeable, so resampling them is drawing the part from a binomial. Shares are smoothed by
/// half a row either way for drawing and for the standard errors, or a share of 0 or 1 would seem certain.
pub(super) fn gap_interval(
    fractions: &[(u64, u64)],
    level: f64,
    replicates: u32,
    seed: u64,
) -> Result<Interval, StatsError> {
    open_unit("level", level)?;
    if replicates < 100 {
        return Err(StatsError::BadParameter {
            name: "replicates",
            value: f64::from(replicates),
            rule: "at least 100",
        });
    }
    let smoothed = |&(part, whole): &(u64, u64)| (part as f64 + 0.5) / (whole as f64 + 1.0);
    let centres: Vec<f64> = fractions.iter().map(smoothed).collect();
    let variances: Vec<f64> = centres.iter().zip(fractions).map(|(p, f)| p * (1.0 - p) / f.1 as f64).collect();
    let pairs = || (0..fractions.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let std_errors: Vec<f64> = pairs().map(|(i, j)| (variances[i] + variances[j]).sqrt()).collect();

    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut worst: Vec<f64> = (0..replicates)
        .map(|_| {
            let strays: Vec<f64> = fractions
                .iter()
                .zip(&centres)
                .map(|(&(_, whole), &p)| binomial(&mut rng, whole, p) as f64 / whole as f64 - p)
                .collect();
            pairs().zip(&std_errors).map(|((i, j), se)| (strays[i] - strays[j]).abs() / se).fold(0.0, f64::max)
        })
        .collect();
    worst.sort_unstable_by(f64::total_cmp);
    // The (replicates + 1)-rule: never too narrow for the finite number of replicates.
    let rank = ((f64::from(replicates) + 1.0) * level).ceil() as usize;
    let reach = worst[rank.clamp(1, worst.len()) - 1];

    let share = |i: usize| fractions[i].0 as f64 / fractions[i].1 as f64;
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for ((i, j), se) in pairs().zip(&std_errors) {
        let difference = (share(i) - share(j)).abs();
        low = low.max(difference - reach * se);
        high = high.max(difference + reach * se);
    }
    Ok(Interval { low, high }.clamped(0.0, 1.0))
}

/// A draw from the binomial distribution, exact to the 64 bits that `p` is rounded to.
///
/// A row succeeds when its uniform number is below `p`, which its first bit that differs from `p`'s decides. Rows
/// still undecided are all alike, so their next bits are only counted: about `n / 32` random words a draw, with no
/// table and no approximation.
fn binomial(rng: &mut impl Rng, n: u64, p: f64) -> u64 {
    let mut bits = (p * 2.0_f64.powi(64)) as u64;
    let (mut undecided, mut successes) = (n, 0);
    while undecided > 0 && bits != 0 {
        let ones = count_ones(rng, undecided);
        if bits >> 63 == 1 {
            successes += undecided - ones;
            undecided = ones;
        } else {
            undecided -= ones;
        }
        bits <<= 1;
    }
    successes
}

/// How many of `n` fair coins show one.
fn count_ones(rng: &mut impl Rng, n: u64) -> u64 {
    let whole: u64 = (0..n / 64).map(|_| u64::from(rng.next_u64().count_ones())).sum();
    let rest = n % 64;
    if rest == 0 { whole } else { whole + u64::from((rng.next_u64() >> (64 - rest)).count_ones()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn draws_have_the_binomial_mean_and_variance() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (n, p) in [(1, 0.3), (63, 0.5), (64, 0.9), (200, 0.015), (5000, 0.37)] {
            let draws: Vec<f64> = (0..20_000).map(|_| binomial(&mut rng, n, p) as f64).collect();
            let mean = draws.iter().sum::<f64>() / 20_000.0;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 20_000.0;
            let (true_mean, true_variance) = (n as f64 * p, n as f64 * p * (1.0 - p));
            assert!((mean - true_mean).abs() < 4.0 * (true_variance / 20_000.0).sqrt(), "n={n} p={p}: mean {mean}");
            assert!((variance / true_variance - 1.0).abs() < 0.08, "n={n} p={p}: variance {variance}");
        }
        assert_eq!((binomial(&mut rng, 9, 0.0), binomial(&mut rng, 0, 0.5)), (0, 0));
    }

    #[test]
    fn the_true_gap_is_covered_with_many_equal_groups_and_with_few_unequal_ones() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        for truth in [vec![0.6; 8], vec![0.6, 0.6, 0.45], vec![0.02, 0.01, 0.01]] {
            let gap = truth.iter().copied().fold(0.0, f64::max) - truth.iter().copied().fold(1.0, f64::min);
            let covered = (0..200)
                .filter(|&seed| {
                    let seen: Vec<_> = truth.iter().map(|&p| (binomial(&mut rng, 300, p), 300)).collect();
                    gap_interval(&seen, 0.9, 200, seed).unwrap().contains(gap)
                })
                .count();
            assert!(covered >= 174, "{truth:?}: {covered} of 200"); // 180 less 1.4 standard deviations
        }
    }

    #[test]
    fn a_real_gap_is_told_from_none() {
        let found = gap_interval(&[(900, 1000), (600, 1000), (880, 1000)], 0.95, 1000, 7).unwrap();
        assert!(found.low > 0.24 && found.high < 0.36, "{found:?}");
        assert_eq!(found, gap_interval(&[(900, 1000), (600, 1000), (880, 1000)], 0.95, 1000, 7).unwrap());
        let none = gap_interval(&[(0, 50), (0, 60)], 0.95, 1000, 7).unwrap();
        assert!(none.low == 0.0 && none.high > 0.01, "no success at all is not certainty: {none:?}");
        assert!(gap_interval(&[(1, 2), (1, 2)], 0.95, 10, 7).is_err());
    }
}
