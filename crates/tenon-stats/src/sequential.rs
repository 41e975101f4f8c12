//! Is the candidate worse? Answers that hold at any time one looks.
//!
//! A fixed-sample interval, checked after every decision, is sure to raise a false alarm sooner or later. A
//! *confidence sequence* holds the true difference at all times at once with probability `1 - alpha`, so a rollout
//! may look as often as it likes, stop when it likes, and be extended when it likes.
//!
//! Two are offered. [`SequenceDesign`] suits any loss and is the narrower one; it is asymptotic, so it starts only
//! after a first look. [`bounded_difference`] needs losses within known bounds, is valid from the first row at any
//! sample size, and is wider.
//!
//! Both compare arms that run *side by side*. When the share of traffic changes while the losses drift, means of the
//! whole run mix times in different proportions: start fresh arms at each step of a rollout.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, open_unit, positive};
use crate::interval::Interval;
use crate::special::{gamma_p_q, ln_gamma};

/// Running count, mean and spread of one arm's losses (Welford 1962); replicas merge (Chan et al. 1979).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmStats {
    n: u64,
    mean: f64,
    m2: f64,
}

impl ArmStats {
    /// Takes one loss.
    ///
    /// # Errors
    /// `NotFinite`; the arm is then as it was.
    pub fn push(&mut self, loss: f64) -> Result<(), StatsError> {
        if !loss.is_finite() {
            return Err(StatsError::NotFinite { what: "loss", row: self.n as usize });
        }
        self.n += 1;
        let before = loss - self.mean;
        self.mean += before / self.n as f64;
        self.m2 += before * (loss - self.mean);
        Ok(())
    }

    /// Takes all losses of another arm.
    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let (mine, theirs) = (self.n as f64, other.n as f64);
        let (total, apart) = (mine + theirs, other.mean - self.mean);
        self.mean += apart * theirs / total;
        self.m2 += other.m2 + apart * apart * mine * theirs / total;
        self.n += other.n;
    }

    /// Losses taken.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Mean loss; 0 before the first.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Sample variance of the losses (`n - 1`); `None` for fewer than two.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        (self.n > 1).then(|| (self.m2 / (self.n - 1) as f64).max(0.0))
    }
}

/// An asymptotic confidence sequence for a difference of means, by the normal mixture of Waudby-Smith, Arbour, Sinha,
/// Kennedy and Ramdas ("Time-uniform central limit theory and asymptotic confidence sequences", 2021), on the
/// influence function of the difference, whose variance is that of the two means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SequenceDesign {
    alpha: f64,
    rho: f64,
    first_look: u64,
}

impl SequenceDesign {
    /// A design that errs with probability `alpha` over all times together. `rho` sets where the sequence is
    /// narrowest (see [`SequenceDesign::tuned`]); `first_look` is the number of losses that *each* arm must have
    /// before anything is said, enough for the central limit theorem: 100, and more for rare or heavy-tailed losses.
    ///
    /// # Errors
    /// `BadParameter` unless `0 < alpha < 1`, `rho > 0` and `first_look >= 2`.
    pub fn new(alpha: f64, rho: f64, first_look: u64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        positive("rho", rho)?;
        if first_look < 2 {
            return Err(StatsError::BadParameter { name: "first_look", value: first_look as f64, rule: "at least 2" });
        }
        Ok(Self { alpha, rho, first_look })
    }

    /// [`SequenceDesign::new`] with the `rho` that makes the sequence about narrowest when both arms together have
    /// `rows` losses.
    ///
    /// # Errors
    /// As [`SequenceDesign::new`], and for no `rows`.
    pub fn tuned(alpha: f64, rows: u64, first_look: u64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        positive("rows", rows as f64)?;
        let doubled = -2.0 * alpha.ln();
        Self::new(alpha, ((doubled + doubled.ln_1p()) / rows as f64).sqrt(), first_look)
    }

    /// The interval for `mean(candidate) - mean(champion)` now. It may be asked for after every loss.
    ///
    /// It is the whole line before the first look, and as long as either arm has shown no spread at all (only
    /// successes so far, say), since an estimated variance of 0 is not to be believed.
    #[must_use]
    pub fn difference(&self, candidate: &ArmStats, champion: &ArmStats) -> Interval {
        let (Some(candidate_variance), Some(champion_variance)) = (candidate.variance(), champion.variance()) else {
            return Interval::WHOLE;
        };
        if candidate.n.min(champion.n) < self.first_look || candidate_variance <= 0.0 || champion_variance <= 0.0 {
            return Interval::WHOLE;
        }
        let (candidate_rows, champion_rows) = (candidate.n as f64, champion.n as f64);
        let variance = candidate_variance / candidate_rows + champion_variance / champion_rows;
        let time = (candidate_rows + champion_rows) * self.rho * self.rho;
        let margin = (variance * 2.0 * (1.0 + 1.0 / time) * ((time + 1.0).sqrt() / self.alpha).ln()).sqrt();
        Interval::around(candidate.mean - champion.mean, margin)
    }
}

/// Running statistics of one arm's losses that are known to lie within bounds.
///
/// Besides the mean it keeps the squared distance of each loss from what the earlier ones predicted, the "empirical
/// variance process" of Howard et al., so the order of losses matters slightly; merged replicas stay valid.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundedArm {
    low: f64,
    high: f64,
    n: u64,
    mean: f64,
    surprise: f64,
}

impl BoundedArm {
    /// An empty arm for losses from `low` to `high`.
    ///
    /// # Errors
    /// `BadParameter` unless both are finite and `low < high`.
    pub fn new(low: f64, high: f64) -> Result<Self, StatsError> {
        positive("high - low", high - low)?;
        Ok(Self { low, high, n: 0, mean: 0.0, surprise: 0.0 })
    }

    /// Takes one loss.
    ///
    /// # Errors
    /// `NotFinite` or `OutOfRange`; the arm is then as it was.
    pub fn push(&mut self, loss: f64) -> Result<(), StatsError> {
        let row = self.n as usize;
        if !loss.is_finite() {
            return Err(StatsError::NotFinite { what: "loss", row });
        }
        if !(self.low..=self.high).contains(&loss) {
            return Err(StatsError::OutOfRange { what: "loss", row, value: loss, low: self.low, high: self.high });
        }
        let predicted = if self.n == 0 { (self.low + self.high) / 2.0 } else { self.mean };
        self.surprise += (loss - predicted).powi(2);
        self.n += 1;
        self.mean += (loss - self.mean) / self.n as f64;
        Ok(())
    }

    /// Takes all losses of another arm.
    ///
    /// # Errors
    /// `DifferentBins` when the bounds differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if (self.low, self.high) != (other.low, other.high) {
            return Err(StatsError::DifferentBins);
        }
        if other.n > 0 {
            self.n += other.n;
            self.mean += (other.mean - self.mean) * other.n as f64 / self.n as f64;
            self.surprise += other.surprise;
        }
        Ok(())
    }

    /// Losses taken.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Mean loss; 0 before the first.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// A confidence sequence for the running mean of the losses' expectations, which may drift: the empirical-
    /// Bernstein bound of Howard, Ramdas, McAuliffe and Sekhon ("Time-uniform, nonparametric, nonasymptotic confidence
    /// sequences", 2021, theorem 4) with their gamma-exponential mixture (proposition 9), `alpha / 2` a side.
    ///
    /// `tuned_for` is the number of losses at which it should be narrow, whatever their variance.
    ///
    /// # Errors
    /// `BadParameter` unless `0 < alpha < 1` and `tuned_for > 0`.
    pub fn mean_sequence(&self, alpha: f64, tuned_for: u64) -> Result<Interval, StatsError> {
        open_unit("alpha", alpha)?;
        positive("tuned_for", tuned_for as f64)?;
        let bounds = Interval { low: self.low, high: self.high };
        if self.n == 0 {
            return Ok(bounds);
        }
        let range = self.high - self.low;
        let ln_bar = (2.0 / alpha).ln();
        // A twentieth of the rows is the variance of losses that are 0 or 1 with a share of about 5%.
        let rho = (tuned_for as f64 * 0.05 / (2.0 * ln_bar + (2.0 * ln_bar).ln_1p())).max(1e-3);
        let reach = gamma_exponential_bound(self.surprise / (range * range), rho, ln_bar);
        Ok(Interval::around(self.mean, range * reach / self.n as f64).clamped(self.low, self.high))
    }
}

/// The interval for `mean(candidate) - mean(champion)` now, for bounded losses: it errs with probability `alpha` over
/// all times together, at any sample size, split evenly between the arms. It may be asked for after every loss.
///
/// # Errors
/// As [`BoundedArm::mean_sequence`].
pub fn bounded_difference(
    candidate: &BoundedArm,
    champion: &BoundedArm,
    alpha: f64,
    tuned_for: u64,
) -> Result<Interval, StatsError> {
    let candidate = candidate.mean_sequence(alpha / 2.0, tuned_for)?;
    let champion = champion.mean_sequence(alpha / 2.0, tuned_for)?;
    Ok(Interval { low: candidate.low - champion.high, high: candidate.high - champion.low })
}

/// The sum that a sub-exponential process of scale 1 stays below for ever with probability `1 - exp(-ln_bar)`, where
/// its variance process is `v`: the root of the log mixture martingale less `ln_bar`, which increases in the sum.
fn gamma_exponential_bound(v: f64, rho: f64, ln_bar: f64) -> f64 {
    let shape = v + rho;
    let prior = rho * rho.ln() - ln_gamma(rho) - gamma_p_q(rho, rho).0.ln() - rho;
    let shape_ln_gamma = ln_gamma(shape);
    let ln_mixture = |sum: f64| {
        let rate = sum + shape;
        prior + shape_ln_gamma + gamma_p_q(shape, rate).0.ln() - shape * rate.ln() + rate
    };
    let (mut low, mut high) = (0.0, 1.0);
    while ln_mixture(high) < ln_bar {
        low = high;
        high *= 2.0;
    }
    while high - low > 1e-9 * high {
        let middle = 0.5 * (low + high);
        if ln_mixture(middle) < ln_bar {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn happens(rng: &mut ChaCha8Rng, probability: f64) -> bool {
        (rng.next_u64() >> 11) as f64 * 2.0_f64.powi(-53) < probability
    }

    fn loss(rng: &mut ChaCha8Rng, probability: f64) -> f64 {
        f64::from(u8::from(happens(rng, probability)))
    }

    /// How many of `runs` canaries, of a tenth of `rows` decisions, ever see an interval above 0, peeking each time,
    /// and after how many decisions on average.
    fn alarms(runs: u64, rows: u32, candidate_loss: f64, champion_loss: f64) -> (u64, f64) {
        let design = SequenceDesign::tuned(0.05, 4000, 100).unwrap();
        let (mut raised, mut decisions) = (0, 0.0);
        for seed in 0..runs {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut candidate, mut champion) = (ArmStats::default(), ArmStats::default());
            for row in 0..rows {
                if happens(&mut rng, 0.1) {
                    candidate.push(loss(&mut rng, candidate_loss)).unwrap();
                } else {
                    champion.push(loss(&mut rng, champion_loss)).unwrap();
                }
                let interval = design.difference(&candidate, &champion);
                if !interval.contains(0.0) {
                    raised += 1;
                    decisions += f64::from(row);
                    break;
                }
            }
        }
        (raised, decisions / raised.max(1) as f64)
    }

    #[test]
    fn peeking_all_the_time_raises_no_more_false_alarms_than_promised() {
        let (raised, _) = alarms(400, 8000, 0.2, 0.2);
        assert!(raised <= 20, "{raised} of 400 at alpha 0.05");
    }

    #[test]
    fn a_worse_candidate_is_found_early() {
        let (raised, decisions) = alarms(100, 8000, 0.35, 0.2);
        assert!(raised == 100 && decisions < 3000.0, "{raised} of 100 after {decisions} decisions");
    }

    #[test]
    fn a_fixed_interval_would_not_do() {
        let mut raised = 0;
        for seed in 0..100 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut a, mut b) = (ArmStats::default(), ArmStats::default());
            raised += u32::from((0..4000).any(|row| {
                a.push(loss(&mut rng, 0.2)).unwrap();
                b.push(loss(&mut rng, 0.2)).unwrap();
                let variance = (a.variance().unwrap_or(0.0) + b.variance().unwrap_or(0.0)) / f64::from(row + 1);
                row >= 100 && (a.mean() - b.mean()).abs() > 1.96 * variance.sqrt()
            }));
        }
        assert!(raised > 15, "the simulation can tell a bad method: {raised} of 100 at 0.05");
    }

    // The formula of the paper, at n = 300 and 700 losses of variance 0.25 * n / (n - 1), alpha = 0.05, rho = 0.1:
    // python: v = 0.25/299 + 0.25/699; t = 1000 * 0.01; sqrt(v * 2 * (t + 1) / t * log(sqrt(t + 1) / 0.05))
    #[test]
    fn the_margin_is_that_of_the_paper() {
        let arm = |n: u64| {
            let mut arm = ArmStats::default();
            (0..n).for_each(|i| arm.push((i % 2) as f64).unwrap());
            arm
        };
        let margin = 0.10495952252542506;
        let found = SequenceDesign::new(0.05, 0.1, 100).unwrap().difference(&arm(300), &arm(700));
        assert!((found.high - margin).abs() < 1e-12 && (found.low + margin).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn nothing_is_said_too_early() {
        let design = SequenceDesign::tuned(0.05, 1000, 50).unwrap();
        let (mut steady, mut varied) = (ArmStats::default(), ArmStats::default());
        assert_eq!(design.difference(&steady, &varied), Interval::WHOLE);
        for i in 0..200 {
            steady.push(0.0).unwrap();
            varied.push(f64::from(i % 2)).unwrap();
        }
        assert_eq!(design.difference(&steady, &varied), Interval::WHOLE, "no spread is no certainty");
        assert!(SequenceDesign::new(0.0, 1.0, 100).is_err() && SequenceDesign::new(0.1, f64::NAN, 100).is_err());
        assert!(SequenceDesign::tuned(0.05, 0, 100).is_err() && SequenceDesign::new(0.1, 1.0, 1).is_err());
    }

    #[test]
    fn a_bad_loss_leaves_the_arm_as_it_was() {
        let mut arm = ArmStats::default();
        arm.push(1.0).unwrap();
        let before = arm;
        assert_eq!(arm.push(f64::NAN), Err(StatsError::NotFinite { what: "loss", row: 1 }));
        assert_eq!(arm, before);
        let mut arm = BoundedArm::new(0.0, 1.0).unwrap();
        assert!(matches!(arm.push(1.5), Err(StatsError::OutOfRange { .. })));
        assert_eq!(arm.n(), 0);
        assert!(BoundedArm::new(1.0, 1.0).is_err());
        assert_eq!(arm.merge(&BoundedArm::new(0.0, 2.0).unwrap()), Err(StatsError::DifferentBins));
    }

    // scipy 1.17.1: optimize.brentq of the log of proposition 9's mixture (c = 1) less ln_bar, with the integral over
    // y done by integrate.quad
    #[test]
    fn the_gamma_exponential_bound_is_that_of_the_paper() {
        for (v, rho, ln_bar, expected) in [
            (4.0, 5.0, 4.38, 11.519406226761182),
            (100.0, 5.0, 4.38, 37.12994163418172),
            (1000.0, 20.0, 3.0, 96.96507459341055),
            (0.25, 1.5, 6.0, 8.718258124741292),
        ] {
            let found = gamma_exponential_bound(v, rho, ln_bar);
            assert!((found / expected - 1.0).abs() < 1e-6, "v={v}: {found} is not {expected}");
        }
    }

    #[test]
    fn the_bounded_sequence_never_errs_more_than_promised_and_finds_a_bad_candidate() {
        let (mut false_alarms, mut found) = (0, 0);
        for seed in 0..60 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut arms = [BoundedArm::new(0.0, 1.0).unwrap(); 3];
            let (mut false_alarm, mut detected) = (false, false);
            for row in 0..3000 {
                for (arm, probability) in arms.iter_mut().zip([0.1, 0.1, 0.3]) {
                    arm.push(loss(&mut rng, probability)).unwrap();
                }
                if row % 10 == 0 {
                    let [champion, same, worse] = &arms;
                    false_alarm |= !bounded_difference(same, champion, 0.05, 1000).unwrap().contains(0.0);
                    detected |= bounded_difference(worse, champion, 0.05, 1000).unwrap().low > 0.0;
                }
            }
            false_alarms += u32::from(false_alarm);
            found += u32::from(detected);
        }
        assert!(false_alarms <= 3, "{false_alarms} of 60");
        assert_eq!(found, 60);
    }

    #[test]
    fn replicas_of_a_bounded_arm_merge() {
        let (mut first, mut second) = (BoundedArm::new(0.0, 10.0).unwrap(), BoundedArm::new(0.0, 10.0).unwrap());
        [1.0, 2.0, 6.0].into_iter().for_each(|loss| first.push(loss).unwrap());
        [3.0, 8.0].into_iter().for_each(|loss| second.push(loss).unwrap());
        first.merge(&second).unwrap();
        assert_eq!((first.n(), first.mean()), (5, 4.0));
        assert!(first.mean_sequence(0.05, 100).unwrap().contains(4.0));
    }
}
