//! The distribution of the Kolmogorov-Smirnov statistic.
//!
//! The methods and the borders between them follow Simard and L'Ecuyer (2011), "Computing the two-sided
//! Kolmogorov-Smirnov distribution".

use std::f64::consts::PI;

use crate::special::ln_gamma;

/// Up to this sample size the distribution is computed exactly wherever its tail is not yet one-sided.
const EXACT_ROWS: u64 = 140;

/// Probability that the two-sided one-sample statistic of `n >= 1` rows is at least `d`.
pub(crate) fn one_sample_sf(n: u64, d: f64) -> f64 {
    let rows = n as f64;
    if d <= 0.5 / rows {
        return 1.0;
    }
    if d >= 1.0 {
        return 0.0;
    }
    // From here on the two one-sided events practically exclude each other.
    let n_d_squared = rows * d * d;
    let one_sided = if n <= EXACT_ROWS { 4.0 } else { 2.2 };
    if n_d_squared >= 370.0 {
        0.0
    } else if n_d_squared >= one_sided || d >= 0.5 {
        (2.0 * smirnov_sf(n, d)).min(1.0)
    } else if n <= EXACT_ROWS {
        (1.0 - durbin_cdf(n, d)).clamp(0.0, 1.0)
    } else {
        (1.0 - pelz_good_cdf(n, d)).clamp(0.0, 1.0)
    }
}

/// Probability that a two-sample statistic of `n` and `m` rows without ties is at least `gap / (n * m)`.
///
/// Every order of the pooled rows is equally likely; walking back from the end of a path, its last step is a row of
/// the first sample with probability `i / (i + j)`. The recurrence carries the probability that a path leaves the
/// band, which keeps small p-values exact. O(n m).
pub(crate) fn two_sample_sf(n: usize, m: usize, gap: u128) -> f64 {
    let outside = |i: usize, j: usize| (i as u128 * m as u128).abs_diff(j as u128 * n as u128) >= gap;
    let mut left = vec![0.0; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            left[j] = if outside(i, j) {
                1.0
            } else if i + j == 0 {
                0.0
            } else {
                let from_first = if i > 0 { left[j] * i as f64 } else { 0.0 };
                let from_second = if j > 0 { left[j - 1] * j as f64 } else { 0.0 };
                (from_first + from_second) / (i + j) as f64
            };
        }
    }
    left[m].min(1.0)
}

/// One-sided tail (Birnbaum and Tingey 1951); all terms are positive, so nothing cancels.
fn smirnov_sf(n: u64, d: f64) -> f64 {
    let rows = n as f64;
    let ln_factorial = ln_gamma(rows + 1.0);
    let term = |j: u64| {
        let (j, rest) = (j as f64, rows - j as f64);
        let (up, down) = (d + j / rows, 1.0 - d - j / rows);
        if down <= 0.0 {
            return if rest == 0.0 { (j - 1.0) * up.ln() } else { f64::NEG_INFINITY };
        }
        ln_factorial - ln_gamma(j + 1.0) - ln_gamma(rest + 1.0) + (j - 1.0) * up.ln() + rest * down.ln()
    };
    let last = (rows * (1.0 - d)).floor() as u64;
    d * (0..=last.min(n)).map(|j| term(j).exp()).sum::<f64>()
}

/// Exact distribution by Durbin's (1973) matrix power, in the form of Marsaglia, Tsang and Wang (2003).
fn durbin_cdf(n: u64, d: f64) -> f64 {
    let rows = n as f64;
    let k = (rows * d).floor() as usize + 1;
    let size = 2 * k - 1;
    let h = k as f64 - rows * d;
    let at = |i: usize, j: usize| i * size + j;

    let mut matrix = vec![0.0; size * size];
    for i in 0..size {
        for j in 0..size.min(i + 2) {
            matrix[at(i, j)] = 1.0;
        }
    }
    for i in 0..size {
        matrix[at(i, 0)] -= h.powi(i as i32 + 1);
        matrix[at(size - 1, i)] -= h.powi((size - i) as i32);
    }
    matrix[at(size - 1, 0)] += (2.0 * h - 1.0).max(0.0).powi(size as i32);
    for i in 0..size {
        for j in 0..size.min(i + 1) {
            for factor in 2..=(i - j + 1) {
                matrix[at(i, j)] /= factor as f64;
            }
        }
    }

    let multiply = |a: &[f64], b: &[f64]| {
        let mut product = vec![0.0; size * size];
        for i in 0..size {
            for (l, &factor) in a[i * size..][..size].iter().enumerate() {
                for j in 0..size {
                    product[at(i, j)] += factor * b[at(l, j)];
                }
            }
        }
        product
    };
    let mut power: Vec<f64> = (0..size * size).map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let mut exponent = n;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = multiply(&power, &matrix);
        }
        matrix = multiply(&matrix, &matrix);
        exponent >>= 1;
    }
    (1..=n).fold(power[at(k - 1, k - 1)], |p, i| p * i as f64 / rows)
}

/// Asymptotic expansion in powers of `1/sqrt(n)` (Pelz and Good 1976).
fn pelz_good_cdf(n: u64, d: f64) -> f64 {
    let root = (n as f64).sqrt();
    let z = root * d;
    // Below this all terms vanish in double precision.
    if z < 0.042 {
        return 0.0;
    }
    let (z2, z4, z6) = (z * z, z.powi(4), z.powi(6));
    let (pi2, pi4, pi6) = (PI.powi(2), PI.powi(4), PI.powi(6));
    let mut k = [0.0; 4];
    for odd in (1..64).step_by(2) {
        let m2 = f64::from(odd * odd);
        let weight = (-pi2 / (8.0 * z2) * m2).exp();
        k[0] += weight;
        k[1] += weight * (pi2 / 4.0 * m2 - z2);
        k[2] += weight
            * (6.0 * z6 + 2.0 * z4 + pi2 / 4.0 * (2.0 * z4 - 5.0 * z2) * m2 + pi4 / 16.0 * (1.0 - 2.0 * z2) * m2 * m2);
        k[3] += weight
            * (-30.0 * z6 - 90.0 * z4 * z4
                + pi2 / 4.0 * (135.0 * z4 - 96.0 * z6) * m2
                + pi4 / 16.0 * (212.0 * z4 - 60.0 * z2) * m2 * m2
                + pi6 / 64.0 * (5.0 - 30.0 * z2) * m2 * m2 * m2);
    }
    let (mut even2, mut even3) = (0.0, 0.0);
    for m in 1..32 {
        let m2 = f64::from(m * m);
        let weight = (-pi2 / (2.0 * z2) * m2).exp();
        even2 += weight * m2;
        even3 += weight * m2 * (3.0 * z2 - pi2 * m2);
    }
    let k0 = k[0] / z;
    let k1 = k[1] / (6.0 * z4);
    let k2 = k[2] / (72.0 * z6 * z) - pi2 * even2 / (36.0 * z2 * z);
    let k3 = k[3] / (6480.0 * z6 * z4) + pi2 * even3 / (216.0 * z6);
    (2.0 * PI).sqrt() * (k0 + (k1 + (k2 + k3 / root) / root) / root)
}

#[cfg(test)]
mod tests {
    use super::*;

    // scipy 1.17.1: stats.kstwo.sf(d, n)
    #[test]
    fn tail_agrees_with_scipy_across_all_methods() {
        for (n, d, expected) in [
            (5, 0.15, 0.9988),
            (5, 0.33, 0.545786512),
            (20, 0.05, 0.9999999767980384),
            (20, 0.2, 0.352720173623415),
            (20, 0.45, 0.00032446411409554644),
            (100, 0.08, 0.5182193645480672),
            (100, 0.25, 5.408871776434847e-6),
            (141, 0.06, 0.6677160791348915),
            (3000, 0.01, 0.9220855022879386),
            (3000, 0.02, 0.17889813623188966),
            (3000, 0.04, 0.0001315351297447678),
            (200_000, 0.003, 0.0545369786611305),
            (200_000, 0.009, 1.68672892315296e-14),
        ] {
            let found = one_sample_sf(n, d);
            assert!((found / expected - 1.0).abs() < 1e-8, "n={n} d={d}: {found:e} is not {expected:e}");
        }
        assert_eq!((one_sample_sf(10, 0.01), one_sample_sf(10, 1.0)), (1.0, 0.0));
    }

    #[test]
    fn the_methods_meet_at_their_borders() {
        for (n, d) in [(140, (4.0_f64 / 140.0).sqrt()), (5000, (2.2_f64 / 5000.0).sqrt())] {
            let (below, above) = (one_sample_sf(n, d - 1e-9), one_sample_sf(n, d + 1e-9));
            assert!((below / above - 1.0).abs() < 1e-4, "n={n}: {below} and {above}");
        }
    }
}
