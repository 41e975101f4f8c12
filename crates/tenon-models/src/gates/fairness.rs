//! How differently a version treats groups.

use serde_json::{Value, json};
use tenon_stats::fairness::{GroupFloor, GroupMetrics, GroupTable, Rate};

use super::Decision;
use crate::ModelError;
use crate::evaluation::LEVEL;
use crate::words::{list, percent};

/// Resamples for the interval.
const REPLICATES: u32 = 1_000;
/// The most groups that the evidence lists.
const LISTED: usize = 60;

/// Passes when, at every threshold in use, the true-positive rates of any two groups with at least `min_positives`
/// positive rows differ by at most `at_most` (equal opportunity; Hardt et al. 2016). With fewer than two such groups
/// there is nobody to compare, which is no proof of fairness: the gate fails.
pub(super) fn decide(
    labels: &[bool],
    scores: &[f64],
    groups: &[String],
    group_by: &str,
    thresholds: &[f64],
    at_most: f64,
    min_positives: u32,
) -> Result<Decision, ModelError> {
    let mut worst: Option<(f64, Decision)> = None;
    for threshold in thresholds {
        let (difference, decision) = at(labels, scores, groups, group_by, *threshold, at_most, min_positives)?;
        if worst.as_ref().is_none_or(|(most, _)| difference > *most) {
            worst = Some((difference, decision));
        }
    }
    let none = || ModelError::Unlearnable("no threshold to judge at".to_owned());
    worst.map(|(_, decision)| decision).ok_or_else(none)
}

fn at(
    labels: &[bool],
    scores: &[f64],
    groups: &[String],
    group_by: &str,
    threshold: f64,
    at_most: f64,
    min_positives: u32,
) -> Result<(f64, Decision), ModelError> {
    let said_yes: Vec<bool> = scores.iter().map(|score| *score >= threshold).collect();
    let floor = GroupFloor { rows: 0, base: u64::from(min_positives) };
    let table = GroupTable::count(labels, &said_yes, groups, floor)?;
    let gap = table.equal_opportunity()?;
    let interval = table.gap_interval(Rate::TruePositive, LEVEL, REPLICATES, 0)?;
    let (highest, lowest) = (percent(gap.highest.1), percent(gap.lowest.1));
    let finds = if gap.highest.0 == gap.lowest.0 {
        format!("{highest} in every group by {group_by}")
    } else {
        let (most, least) = (&gap.highest.0, &gap.lowest.0);
        format!("{highest} for `{most}` and {lowest} for `{least}`, the groups by {group_by} that differ most")
    };
    let mut sentence = format!(
        "Of the cases that come true, it finds {finds}: {:.1} points \
         ({} sure: {:.1} to {:.1}); at most {:.1} are allowed. It says yes from a probability of {} on.",
        gap.difference * 100.0,
        percent(LEVEL),
        interval.low * 100.0,
        interval.high * 100.0,
        at_most * 100.0,
        percent(threshold),
    );
    if !gap.excluded.is_empty() {
        let shown: Vec<&str> = gap.excluded.iter().take(8).map(String::as_str).collect();
        let more = gap.excluded.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let why = format!("fewer than {min_positives} cases that came true");
        sentence.push_str(&format!(" Too small to judge, with {why}: {}{more}.", list(&shown)));
    }
    let group = |of: &GroupMetrics| -> Value {
        json!({
            "group": of.group, "rows": of.counts.rows(), "positives": of.counts.positives(),
            "true_positive_rate": of.rate(Rate::TruePositive), "selection_rate": of.rate(Rate::Selection),
            "judged": !gap.excluded.contains(&of.group),
        })
    };
    let evidence = json!({
        "difference": gap.difference, "low": interval.low, "high": interval.high, "level": LEVEL, "at_most": at_most,
        "highest": gap.highest, "lowest": gap.lowest, "group_by": group_by, "threshold": threshold,
        "min_positives": min_positives, "groups": table.groups().iter().take(LISTED).map(group).collect::<Vec<_>>(),
        "groups_not_listed": table.groups().len().saturating_sub(LISTED),
    });
    Ok((gap.difference, Decision { passed: gap.difference <= at_most, sentence, evidence }))
}
