//! How differently a model's yes/no predictions treat groups of people or things.
//!
//! [`GroupTable`] counts each group once; a [`Gap`] is the distance between the group with the highest and the group
//! with the lowest rate, as fairlearn defines it, with the groups named; [`GroupTable::gap_interval`] says how sure
//! that distance is.

mod bootstrap;

use std::collections::HashMap;

use crate::error::{StatsError, same_length};
use crate::interval::{Interval, wilson};
use crate::metrics::Confusion;

/// A rate by which groups are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Share of all rows predicted true; compared by demographic parity.
    Selection,
    /// Share of the true rows predicted true; compared by equal opportunity.
    TruePositive,
    /// Share of the false rows predicted true; with the true-positive rate, compared by equalized odds.
    FalsePositive,
    /// Share of the predicted rows that are true; compared by predictive parity.
    Precision,
    /// Share of all rows predicted rightly.
    Accuracy,
}

impl Rate {
    /// The name that messages and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Selection => "selection rate",
            Self::TruePositive => "true-positive rate",
            Self::FalsePositive => "false-positive rate",
            Self::Precision => "precision",
            Self::Accuracy => "accuracy",
        }
    }

    /// The rate as a fraction: how many of how many rows.
    fn parts(self, counts: &Confusion) -> (u64, u64) {
        match self {
            Self::Selection => (counts.selected(), counts.rows()),
            Self::TruePositive => (counts.true_positives, counts.positives()),
            Self::FalsePositive => (counts.false_positives, counts.negatives()),
            Self::Precision => (counts.true_positives, counts.selected()),
            Self::Accuracy => (counts.true_positives + counts.true_negatives, counts.rows()),
        }
    }
}

/// The size below which a group is reported, but not compared: a rate of a handful of rows is noise, and the
/// greatest difference would be found there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupFloor {
    /// Least rows of a group.
    pub rows: u64,
    /// Least rows that the compared rate is a share of (the true ones, for the true-positive rate); 0 acts as 1.
    pub base: u64,
}

/// One group's counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetrics {
    /// Name of the group.
    pub group: String,
    /// Its predictions against its labels; rows, positives and all rates.
    pub counts: Confusion,
}

impl GroupMetrics {
    /// The group's rate; `None` where it is a share of no rows.
    #[must_use]
    pub fn rate(&self, rate: Rate) -> Option<f64> {
        let (part, whole) = rate.parts(&self.counts);
        (whole > 0).then(|| part as f64 / whole as f64)
    }

    /// Wilson's interval of the group's rate.
    ///
    /// # Errors
    /// `Empty` where the rate is a share of no rows; `BadParameter` for a bad level.
    pub fn rate_interval(&self, rate: Rate, level: f64) -> Result<Interval, StatsError> {
        let (part, whole) = rate.parts(&self.counts);
        wilson(part, whole, level)
    }
}

/// The greatest difference of a rate between groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap {
    /// The rate compared.
    pub rate: Rate,
    /// Highest rate less lowest rate, 0 to 1.
    pub difference: f64,
    /// Lowest rate over highest rate, 0 to 1; the four-fifths rule asks for 0.8. It is 1 when all rates are 0.
    pub ratio: f64,
    /// The group with the highest rate, and the rate.
    pub highest: (String, f64),
    /// The group with the lowest rate, and the rate.
    pub lowest: (String, f64),
    /// Groups that were too small to compare, or whose rate is undefined.
    pub excluded: Vec<String>,
}

/// Labels and predictions counted by group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupTable {
    groups: Vec<GroupMetrics>,
    floor: GroupFloor,
}

impl GroupTable {
    /// Counts `predictions` against `labels` by group.
    ///
    /// # Shapes
    /// `labels`, `predictions`, `groups`: `[rows]`. The table has one row a group, in the order of the names.
    ///
    /// # Errors
    /// `LengthMismatch` or `Empty`.
    pub fn count<S: AsRef<str>>(
        labels: &[bool],
        predictions: &[bool],
        groups: &[S],
        floor: GroupFloor,
    ) -> Result<Self, StatsError> {
        same_length("predictions", labels.len(), predictions.len())?;
        same_length("groups", labels.len(), groups.len())?;
        if labels.is_empty() {
            return Err(StatsError::Empty { what: "labels" });
        }
        let mut counts: HashMap<&str, Confusion> = HashMap::new();
        for ((&label, &predicted), group) in labels.iter().zip(predictions).zip(groups) {
            counts.entry(group.as_ref()).or_default().add(label, predicted);
        }
        let mut groups: Vec<GroupMetrics> =
            counts.into_iter().map(|(group, counts)| GroupMetrics { group: group.to_owned(), counts }).collect();
        groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        Ok(Self { groups, floor })
    }

    /// All groups, the small ones too.
    #[must_use]
    pub fn groups(&self) -> &[GroupMetrics] {
        &self.groups
    }

    /// The greatest difference of `rate` between groups that are large enough.
    ///
    /// Unlike fairlearn, which takes an undefined rate as 0, a group without a base for the rate is left out and
    /// named: nobody was treated unequally in it.
    ///
    /// # Errors
    /// `TooFewGroups` when fewer than two groups are left.
    pub fn gap(&self, rate: Rate) -> Result<Gap, StatsError> {
        let (compared, excluded) = self.compared(rate)?;
        let rates = || compared.iter().filter_map(|g| g.rate(rate).map(|value| (g.group.clone(), value)));
        let fewest = StatsError::TooFewGroups { rate: rate.name(), usable: 0 };
        // Of groups that tie, the first by name, so that a report is the same every time.
        let highest = rates().reduce(|best, g| if g.1 > best.1 { g } else { best }).ok_or(fewest.clone())?;
        let lowest = rates().reduce(|best, g| if g.1 < best.1 { g } else { best }).ok_or(fewest)?;
        let ratio = if highest.1 > 0.0 { lowest.1 / highest.1 } else { 1.0 };
        let excluded = excluded.iter().map(|g| g.group.clone()).collect();
        Ok(Gap { rate, difference: highest.1 - lowest.1, ratio, highest, lowest, excluded })
    }

    /// Demographic parity: the gap of the selection rate.
    ///
    /// # Errors
    /// As [`GroupTable::gap`].
    pub fn demographic_parity(&self) -> Result<Gap, StatsError> {
        self.gap(Rate::Selection)
    }

    /// Equal opportunity: the gap of the true-positive rate.
    ///
    /// # Errors
    /// As [`GroupTable::gap`].
    pub fn equal_opportunity(&self) -> Result<Gap, StatsError> {
        self.gap(Rate::TruePositive)
    }

    /// Equalized odds by difference: of the gaps of true-positive and false-positive rate, the one with the greater
    /// difference.
    ///
    /// # Errors
    /// As [`GroupTable::gap`].
    pub fn equalized_odds_difference(&self) -> Result<Gap, StatsError> {
        let (tpr, fpr) = (self.gap(Rate::TruePositive)?, self.gap(Rate::FalsePositive)?);
        Ok(if fpr.difference > tpr.difference { fpr } else { tpr })
    }

    /// Equalized odds by ratio: of the gaps of true-positive and false-positive rate, the one with the lesser ratio.
    ///
    /// # Errors
    /// As [`GroupTable::gap`].
    pub fn equalized_odds_ratio(&self) -> Result<Gap, StatsError> {
        let (tpr, fpr) = (self.gap(Rate::TruePositive)?, self.gap(Rate::FalsePositive)?);
        Ok(if fpr.ratio < tpr.ratio { fpr } else { tpr })
    }

    /// An interval that holds the true gap of `rate` with probability `level` or more, by a seeded bootstrap.
    ///
    /// The observed gap leans upwards: among many groups some pair differs by chance, and resampling it adds chance
    /// to chance, so percentiles of the resampled gap miss the truth. Instead, all pairs of groups get simultaneous
    /// intervals, as wide in their own standard errors as the worst pair of a resample strays (the bootstrap form of
    /// Tukey and Kramer's method). The interval's low end is then above 0 only where some pair surely differs.
    ///
    /// Same counts, level, replicates and seed give the same interval. 1000 replicates are a good number.
    ///
    /// # Errors
    /// `TooFewGroups`; `BadParameter` for a bad level or fewer than 100 replicates.
    pub fn gap_interval(&self, rate: Rate, level: f64, replicates: u32, seed: u64) -> Result<Interval, StatsError> {
        let (compared, _) = self.compared(rate)?;
        let fractions: Vec<(u64, u64)> = compared.iter().map(|g| rate.parts(&g.counts)).collect();
        bootstrap::gap_interval(&fractions, level, replicates, seed)
    }

    /// The groups large enough to be compared, at least two, and the others.
    fn compared(&self, rate: Rate) -> Result<(Vec<&GroupMetrics>, Vec<&GroupMetrics>), StatsError> {
        let large =
            |g: &&GroupMetrics| g.counts.rows() >= self.floor.rows && rate.parts(&g.counts).1 >= self.floor.base.max(1);
        let (compared, excluded): (Vec<_>, Vec<_>) = self.groups.iter().partition(large);
        match compared.len() {
            usable @ (0 | 1) => Err(StatsError::TooFewGroups { rate: rate.name(), usable }),
            _ => Ok((compared, excluded)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ANY: GroupFloor = GroupFloor { rows: 1, base: 1 };

    /// 240 rows of four groups, by arithmetic that is easy to repeat elsewhere.
    fn table(floor: GroupFloor) -> GroupTable {
        let labels: Vec<bool> = (0..240).map(|i| i * 7 % 10 < 4).collect();
        let predictions: Vec<bool> =
            (0..240).map(|i| i * 13 % 17 < 4 + 2 * ((i + i / 7) % 4) || i * 7 % 10 < 2).collect();
        let groups: Vec<&str> = (0..240).map(|i| ["AA", "B6", "DL", "UA"][(i + i / 7) % 4]).collect();
        GroupTable::count(&labels, &predictions, &groups, floor).unwrap()
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    // fairlearn 0.15.0: metrics.demographic_parity_difference(labels, predictions, sensitive_features=groups), and
    // demographic_parity_ratio, equal_opportunity_{difference,ratio}, equalized_odds_{difference,ratio}
    #[test]
    fn gaps_agree_with_fairlearn() {
        let table = table(ANY);
        let parity = table.demographic_parity().unwrap();
        near(parity.difference, 0.32907075873827796);
        near(parity.ratio, 0.5338164251207729);
        let opportunity = table.equal_opportunity().unwrap();
        near(opportunity.difference, 0.3285714285714286);
        near(opportunity.ratio, 0.6461538461538461);
        assert_eq!((opportunity.highest.0.as_str(), opportunity.lowest.0.as_str()), ("UA", "AA"));
        near(table.equalized_odds_difference().unwrap().difference, 0.3285714285714286);
        let odds = table.equalized_odds_ratio().unwrap();
        near(odds.ratio, 0.45454545454545453);
        assert_eq!(odds.rate, Rate::FalsePositive);
    }

    // fairlearn 0.15.0: metrics.MetricFrame(...).by_group of count, selection_rate, true_positive_rate,
    // false_positive_rate and scikit-learn's precision_score
    #[test]
    fn rates_agree_with_fairlearn() {
        let expected = [
            ("AA", 69, [0.37681159420289856, 0.6, 0.25, 0.5769230769230769]),
            ("B6", 69, [0.4492753623188406, 0.6296296296296297, 0.3333333333333333, 0.5483870967741935]),
            ("DL", 68, [0.6029411764705882, 0.7, 0.5263157894736842, 0.5121951219512195]),
            ("UA", 34, [0.7058823529411765, 0.9285714285714286, 0.55, 0.5416666666666666]),
        ];
        let table = table(ANY);
        for (found, (group, rows, rates)) in table.groups().iter().zip(expected) {
            assert_eq!((found.group.as_str(), found.counts.rows()), (group, rows));
            let order = [Rate::Selection, Rate::TruePositive, Rate::FalsePositive, Rate::Precision];
            order.into_iter().zip(rates).for_each(|(rate, value)| near(found.rate(rate).unwrap(), value));
        }
    }

    #[test]
    fn the_floor_counts_the_base_of_the_rate_too() {
        let table = table(GroupFloor { rows: 30, base: 20 });
        assert_eq!(table.equal_opportunity().unwrap().excluded, ["UA"], "34 rows, but 14 positives");
        assert_eq!(table.demographic_parity().unwrap().excluded, Vec::<String>::new());
    }

    #[test]
    fn small_groups_are_shown_but_not_compared() {
        let labels = [true, true, false, true, true, false, true];
        let predictions = [true, false, false, true, true, true, false];
        let groups = ["a", "a", "a", "b", "b", "b", "tiny"];
        let table = GroupTable::count(&labels, &predictions, &groups, GroupFloor { rows: 2, base: 1 }).unwrap();
        let gap = table.equal_opportunity().unwrap();
        assert_eq!((gap.difference, gap.excluded), (0.5, vec!["tiny".to_owned()]));
        assert_eq!(gap.lowest.0, "a", "`tiny`, with a rate of 0, is not the lowest");
        assert_eq!(table.groups().len(), 3);
        assert_eq!(table.groups()[2].counts.rows(), 1);
    }

    #[test]
    fn an_undefined_rate_is_not_zero() {
        let groups = ["a", "a", "b", "b", "no positives", "no positives"];
        let labels = [true, false, true, false, false, false];
        let table = GroupTable::count(&labels, &[true, false, true, true, false, false], &groups, ANY).unwrap();
        let gap = table.equal_opportunity().unwrap();
        assert_eq!((gap.difference, gap.ratio), (0.0, 1.0));
        assert_eq!(gap.excluded, ["no positives"]);
        assert_eq!(table.groups()[2].rate(Rate::TruePositive), None);
        assert!(table.groups()[2].rate_interval(Rate::TruePositive, 0.95).is_err());
    }

    #[test]
    fn one_group_can_not_be_compared() {
        let table = GroupTable::count(&[true, false], &[true, true], &["a", "a"], ANY).unwrap();
        let few = StatsError::TooFewGroups { rate: "selection rate", usable: 1 };
        assert_eq!(table.demographic_parity(), Err(few));
        let mismatch = StatsError::LengthMismatch { what: "groups", expected: 1, found: 2 };
        assert_eq!(GroupTable::count(&[true], &[true], &["a", "b"], ANY), Err(mismatch));
        assert!(GroupTable::count::<&str>(&[], &[], &[], ANY).is_err());
    }

    #[test]
    fn nobody_selected_is_equal_treatment() {
        let table = GroupTable::count(&[true, false], &[false, false], &["a", "b"], ANY).unwrap();
        assert_eq!(table.demographic_parity().unwrap().ratio, 1.0);
    }
}
