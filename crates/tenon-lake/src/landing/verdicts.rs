//! Rules over a batch as a whole: how fresh it is, how many rows it has, how its columns are distributed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use tenon_core::fact::TableVerdict;
use tenon_core::spec::{DatasetSpec, Distribution, Freshness, Volume};
use tenon_core::words::count;
use tenon_core::{AsOf, DatasetName, Timestamp};
use tenon_stats::drift::psi_categorical;

use crate::contract::Tally;
use crate::{Checked, Lake, LakeError};

/// The batches whose rows say what is usual, and how many there must be.
pub(crate) const LAST_BATCHES: usize = 64;
const FEWEST_BATCHES: usize = 8;
/// Bins of numbers, and texts that have a bin of their own.
const BINS: usize = 10;
const NAMED: usize = 64;

/// What a column held at a version, in bins; the last two are of other texts and of missing values.
pub(crate) struct Held {
    bins: Bins,
    counts: Vec<u64>,
}

enum Bins {
    /// Upper edges, inclusive; above the last is one bin more.
    Numbers(Vec<f64>),
    Texts(HashMap<String, usize>),
}

impl Lake {
    /// What the contract's rules over whole batches say of one.
    pub(crate) async fn verdicts(
        &self,
        dataset: &DatasetName,
        spec: &DatasetSpec,
        checked: &[Checked],
        tally: &Tally,
    ) -> Result<Vec<TableVerdict>, LakeError> {
        let mut verdicts = Vec::new();
        if let Some(rule) = &spec.contract.freshness {
            verdicts.push(freshness(rule, tally.events.map(|(_, newest)| newest), self.inner.clock.now()));
        }
        if let Some(rule) = &spec.contract.volume {
            let history = self.history(dataset.as_str())?;
            let rows = history.iter().rev().filter(|commit| commit.batch).take(LAST_BATCHES);
            let rows: Vec<u64> = rows.map(|commit| commit.rows + commit.quarantined).collect();
            verdicts.push(volume(rule, tally.rows_in - tally.dropped - tally.duplicates, &rows));
        }
        for rule in &spec.contract.distribution {
            let held = self.held(dataset, rule).await?;
            let columns = checked.iter().filter_map(|piece| piece.accepted.column_by_name(&rule.column));
            verdicts.push(distribution(rule, &held, columns)?);
        }
        Ok(verdicts)
    }

    /// What a column held at a version, computed once.
    async fn held(&self, dataset: &DatasetName, rule: &Distribution) -> Result<Arc<Held>, LakeError> {
        let key = (dataset.to_string(), rule.column.clone(), rule.version);
        if let Some(known) = self.inner.held_before.lock().get(&key) {
            return Ok(Arc::clone(known));
        }
        let (table, column) = (dataset.as_str(), rule.column.replace('"', "\"\""));
        let schema = self.schema(table).await?;
        let kind = schema.field_with_name(&rule.column).map(|field| field.data_type().clone());
        let as_of = AsOf::Version(rule.version);
        let held = match kind {
            Ok(kind) if kind.is_numeric() => {
                let cuts: Vec<String> = (1..BINS)
                    .map(|bin| bin as f64 / BINS as f64)
                    .map(|share| format!("approx_percentile_cont({share:.2}) WITHIN GROUP (ORDER BY v)"))
                    .collect();
                let values = format!("SELECT CAST(\"{column}\" AS DOUBLE) AS v FROM \"{table}\"");
                let sql = format!("SELECT {} FROM ({values}) WHERE v IS NOT NULL", cuts.join(", "));
                let rows = self.query(&sql, as_of.clone()).await?;
                let edge = |at: usize| rows.first().and_then(|rows| number(rows.column(at)));
                let mut edges: Vec<f64> = (0..BINS - 1).filter_map(edge).filter(|edge| edge.is_finite()).collect();
                edges.sort_unstable_by(f64::total_cmp);
                edges.dedup();
                let below = edges.iter().map(|edge| format!("sum(CASE WHEN v <= {edge:e} THEN 1 ELSE 0 END)"));
                let counts = below.chain(["count(v)".to_owned(), "count(*)".to_owned()]).collect::<Vec<_>>();
                let rows = self.query(&format!("SELECT {} FROM ({values})", counts.join(", ")), as_of.clone()).await?;
                let up_to: Vec<u64> =
                    rows.first().map_or_else(Vec::new, |rows| rows.columns().iter().map(whole).collect());
                let mut counts: Vec<u64> = Vec::with_capacity(up_to.len() + 1);
                let mut before = 0;
                for up_to in up_to {
                    counts.push(up_to.saturating_sub(before));
                    before = before.max(up_to);
                }
                // Of numbers there are no others; the count of all rows less those with a value is of the missing.
                let missing = counts.pop().unwrap_or_default();
                counts.extend([0, missing]);
                Held { bins: Bins::Numbers(edges), counts }
            }
            Ok(_) => {
                let text = format!("CAST(\"{column}\" AS VARCHAR)");
                let sql = format!(
                    "SELECT {text} AS v, count(*) AS n FROM \"{table}\" WHERE \"{column}\" IS NOT NULL GROUP BY 1 ORDER BY n DESC, v LIMIT {NAMED}"
                );
                let (mut named, mut counts) = (HashMap::new(), Vec::new());
                for rows in self.query(&sql, as_of.clone()).await? {
                    for (text, n) in
                        rows.column(0).as_string::<i32>().iter().zip(rows.column(1).as_primitive::<Int64Type>())
                    {
                        named.insert(text.unwrap_or_default().to_owned(), counts.len());
                        counts.push(n.unwrap_or_default() as u64);
                    }
                }
                let sql = format!("SELECT count(\"{column}\"), count(*) FROM \"{table}\"");
                let rows = self.query(&sql, as_of.clone()).await?;
                let [values, all] = [0, 1].map(|at| rows.first().map_or(0, |rows| whole(rows.column(at))));
                let others = values - counts.iter().sum::<u64>().min(values);
                counts.extend([others, all - values]);
                Held { bins: Bins::Texts(named), counts }
            }
            Err(_) => {
                let what = format!("`distribution` names column `{}`, which the table does not have", rule.column);
                return Err(LakeError::contract(table, what));
            }
        };
        let held = Arc::new(held);
        self.inner.held_before.lock().insert(key, Arc::clone(&held));
        Ok(held)
    }
}

fn number(column: &ArrayRef) -> Option<f64> {
    let column = cast(column, &DataType::Float64).ok()?;
    let column: &Float64Array = column.as_primitive::<Float64Type>();
    (!column.is_empty() && column.is_valid(0)).then(|| column.value(0))
}

fn whole(column: &ArrayRef) -> u64 {
    let column = cast(column, &DataType::Int64).ok();
    let value = column.as_ref().and_then(|column| {
        let column: &Int64Array = column.as_primitive_opt::<Int64Type>()?;
        (!column.is_empty() && column.is_valid(0)).then(|| column.value(0))
    });
    value.map_or(0, |value| value.max(0) as u64)
}

fn freshness(rule: &Freshness, newest: Option<Timestamp>, now: Timestamp) -> TableVerdict {
    let (kept, sentence) = match newest {
        None => (true, "no row landed".to_owned()),
        Some(newest) => {
            let kept = newest + rule.at_most >= now;
            (
                kept,
                format!("the newest event is of {newest}, and at most {} may lie between it and {now}", rule.at_most),
            )
        }
    };
    TableVerdict { rule: "freshness".to_owned(), severity: rule.severity, kept, sentence }
}

pub(crate) fn volume(rule: &Volume, rows: u64, before: &[u64]) -> TableVerdict {
    let mut broken = Vec::new();
    if let Some(least) = rule.at_least.filter(|least| rows < *least) {
        broken.push(format!("fewer than the {} that it must have", count(least)));
    }
    if let Some(most) = rule.at_most.filter(|most| rows > *most) {
        broken.push(format!("more than the {} that it may have", count(most)));
    }
    if let Some((most, (median, z))) = rule.z.zip(robust_z(rows, before)).filter(|(most, (_, z))| z.abs() > *most) {
        let usual =
            format!("{z:.1} robust standard deviations from the usual {median}, and at most {most} are allowed");
        broken.push(usual);
    }
    let kept = broken.is_empty();
    let sentence = match kept {
        true => format!("it has {} rows", count(rows)),
        false => format!("it has {} rows: {}", count(rows), broken.join("; ")),
    };
    TableVerdict { rule: "volume".to_owned(), severity: rule.severity, kept, sentence }
}

/// The median of what was before, and how far `rows` lies from it in robust standard deviations. Where all were equal, one
/// row counts as a deviation. None where there is too little to tell.
fn robust_z(rows: u64, before: &[u64]) -> Option<(f64, f64)> {
    /// What makes the median distance of normally distributed numbers their standard deviation.
    const NORMAL: f64 = 1.4826;
    if before.len() < FEWEST_BATCHES {
        return None;
    }
    let middle = median(before.iter().map(|rows| *rows as f64).collect());
    let spread = median(before.iter().map(|rows| (*rows as f64 - middle).abs()).collect()) * NORMAL;
    Some((middle, (rows as f64 - middle) / spread.max(1.0)))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let half = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[half] } else { f64::midpoint(numbers[half - 1], numbers[half]) }
}

fn distribution<'a>(
    rule: &Distribution,
    held: &Held,
    columns: impl Iterator<Item = &'a ArrayRef>,
) -> Result<TableVerdict, LakeError> {
    let mut counts = vec![0; held.counts.len()];
    for column in columns {
        held.add(column, &mut counts)
            .map_err(|error| LakeError::Misfit { table: rule.column.clone(), what: error.to_string() })?;
    }
    let (kept, sentence) = match psi_categorical(&held.counts, &counts) {
        Ok(psi) => {
            let (value, version) = (psi.value, rule.version);
            let sentence = format!(
                "its stability index against version {version} is {value:.3}, and at most {} is allowed",
                rule.at_most
            );
            (value <= rule.at_most, sentence)
        }
        // Without rows on one of the sides nothing can have moved.
        Err(error) => (true, format!("it was not measured: {error}")),
    };
    let of = format!("distribution of {}", rule.column);
    Ok(TableVerdict { rule: of, severity: rule.severity, kept, sentence })
}

impl Held {
    fn add(&self, column: &ArrayRef, counts: &mut [u64]) -> Result<(), arrow::error::ArrowError> {
        let (others, missing) = (counts.len() - 2, counts.len() - 1);
        match &self.bins {
            Bins::Numbers(edges) => {
                let numbers = cast(column, &DataType::Float64)?;
                for number in numbers.as_primitive::<Float64Type>() {
                    let bin = number.map_or(missing, |number| edges.partition_point(|edge| *edge < number));
                    counts[bin] += 1;
                }
            }
            Bins::Texts(named) => {
                let texts = cast(column, &DataType::Utf8)?;
                for text in texts.as_string::<i32>() {
                    let bin = text.map_or(missing, |text| named.get(text).copied().unwrap_or(others));
                    counts[bin] += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::StringArray;
    use tenon_core::spec::Severity;

    use super::*;

    #[test]
    fn a_batch_is_held_against_what_is_usual() {
        let rule = |z| Volume { at_least: None, at_most: Some(5_000), z, severity: Severity::Warn };
        let before: Vec<u64> = vec![980, 1_000, 1_020, 990, 1_010, 1_000, 1_005, 995];
        assert!(volume(&rule(Some(4.0)), 1_030, &before).kept);
        assert!(!volume(&rule(Some(4.0)), 100, &before).kept);
        assert!(volume(&rule(Some(4.0)), 100, &before[1..]).kept, "seven batches say too little");
        assert!(volume(&rule(None), 100, &before).kept);
        assert!(!volume(&rule(None), 5_001, &[]).kept);
        // numpy 2.4.6: (1030 - median(x)) / (1.4826 * median(|x - median(x)|))
        let (_, z) = robust_z(1_030, &before).unwrap();
        assert!((z - 30.0 / (1.4826 * 7.5)).abs() < 1e-9, "{z}");
    }

    #[test]
    fn a_moved_column_is_told_from_one_that_stayed() {
        let held = Held {
            bins: Bins::Texts(HashMap::from([("a".to_owned(), 0), ("b".to_owned(), 1)])),
            counts: vec![50, 50, 0, 0],
        };
        let rule = Distribution { column: "x".to_owned(), version: 3, at_most: 0.25, severity: Severity::Refuse };
        let column = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
        let verdict = |column: ArrayRef| distribution(&rule, &held, [&column].into_iter()).unwrap();
        assert!(verdict(column(["a", "b"].repeat(20))).kept);
        assert!(!verdict(column(["a", "a", "a", "c"].repeat(20))).kept);
        assert!(verdict(column(Vec::new())).kept, "no rows, no verdict");
    }

    #[test]
    fn a_late_batch_is_not_fresh() {
        let rule = Freshness { at_most: "2h".parse().unwrap(), severity: Severity::Warn };
        let at = |hours: i64| Timestamp::from_micros(hours * 3_600_000_000);
        assert!(freshness(&rule, Some(at(8)), at(10)).kept);
        assert!(!freshness(&rule, Some(at(7)), at(10)).kept);
    }
}
