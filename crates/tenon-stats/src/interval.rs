//! Intervals, and the normal distribution that most of them rest on.

use crate::error::{StatsError, open_unit};
use crate::special;

/// A closed interval; `low <= high`, and either end may be infinite where the data say nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The whole line: nothing is known yet.
    pub const WHOLE: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    pub(crate) fn around(centre: f64, margin: f64) -> Self {
        Self { low: centre - margin, high: centre + margin }
    }

    pub(crate) fn clamped(self, low: f64, high: f64) -> Self {
        Self { low: self.low.clamp(low, high), high: self.high.clamp(low, high) }
    }

    /// Whether `value` lies inside, ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// `high - low`.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// Probability that a standard normal variable is at most `z`.
#[must_use]
pub fn normal_cdf(z: f64) -> f64 {
    special::normal_sf(-z)
}

/// The `z` that a standard normal variable stays below with probability `p`.
///
/// # Errors
/// `BadParameter` unless `0 < p < 1`.
pub fn normal_quantile(p: f64) -> Result<f64, StatsError> {
    open_unit("p", p)?;
    Ok(special::normal_quantile(p))
}

/// The half-width, in standard errors, of a two-sided normal interval that holds with probability `level`.
pub(crate) fn two_sided_z(level: f64) -> Result<f64, StatsError> {
    open_unit("level", level)?;
    Ok(-special::normal_quantile((1.0 - level) / 2.0))
}

/// Wilson's score interval for a share of `successes` in `rows` independent rows (Wilson 1927, no continuity
/// correction). Unlike the textbook interval it stays inside 0 to 1 and has a width where the share is 0 or 1.
///
/// # Errors
/// `Empty` without rows; `BadParameter` when there are more successes than rows or `level` isn't within 0 and 1.
pub fn wilson(successes: u64, rows: u64, level: f64) -> Result<Interval, StatsError> {
    let z = two_sided_z(level)?;
    if rows == 0 {
        return Err(StatsError::Empty { what: "rows" });
    }
    if successes > rows {
        return Err(StatsError::BadParameter { name: "successes", value: successes as f64, rule: "at most the rows" });
    }
    let (n, share) = (rows as f64, successes as f64 / rows as f64);
    let shrink = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / shrink;
    let margin = z / shrink * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let mut interval = Interval::around(centre, margin).clamped(0.0, 1.0);
    // Rounding must not exclude the ends that the formula hits exactly.
    if successes == 0 {
        interval.low = 0.0;
    }
    if successes == rows {
        interval.high = 1.0;
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // statsmodels 0.15.0: stats.proportion.proportion_confint(successes, rows, 1 - level, "wilson")
    #[test]
    fn wilson_agrees_with_statsmodels() {
        for (successes, rows, level, low, high) in [
            (7, 20, 0.95, 0.18119182410108206, 0.5671457233147638),
            (0, 30, 0.99, 0.0, 0.1811086482181108),
            (30, 30, 0.9, 0.9172756918749008, 1.0),
            (1200, 5000, 0.95, 0.22836454120723793, 0.2520346638041918),
        ] {
            let found = wilson(successes, rows, level).unwrap();
            assert!((found.low - low).abs() < 1e-12 && (found.high - high).abs() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn impossible_shares_and_levels_are_refused() {
        assert_eq!(wilson(0, 0, 0.95), Err(StatsError::Empty { what: "rows" }));
        assert!(matches!(wilson(3, 2, 0.95), Err(StatsError::BadParameter { name: "successes", .. })));
        assert!(matches!(wilson(1, 2, 1.0), Err(StatsError::BadParameter { name: "level", .. })));
        assert!(matches!(normal_quantile(f64::NAN), Err(StatsError::BadParameter { name: "p", .. })));
    }

    #[test]
    fn the_normal_quantile_undoes_the_cdf() {
        for z in [-8.0, -1.5, 0.0, 0.1, 3.0] {
            assert!((normal_quantile(normal_cdf(z)).unwrap() - z).abs() < 1e-11, "{z}");
        }
    }
}
