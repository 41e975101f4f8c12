//! The kernel: one feature of one entity at one moment.

use tenon_core::spec::Aggregate;

use super::{Feature, Rows};

/// A feature at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluated {
    /// Its value, or why there is none.
    pub value: Result<f32, Missing>,
    /// The event time of the newest row that it used, in microseconds.
    pub event_at: Option<i64>,
    /// The moment by which all rows that it used were known, in microseconds; never after the moment of decision.
    pub known_at: Option<i64>,
}

/// Why a feature has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// There are rows in the window, and what they say is null.
    Null,
    /// There are no rows at all by that moment.
    NotFound,
    /// There are rows, all of them older than the window.
    OutsideWindow,
}

const MICROS_PER_HOUR: f64 = 3_600e6;

/// A feature of the entity that `rows` belong to, as of `at` (microseconds).
///
/// Rows are used whose event lies in `(at - window, at]`, which were known by `at`, and whose value is not null. The
/// arithmetic is in `f64` in the order of the rows, and rounded to `f32` once, at the end; a result that is not a number
/// is null. Of no rows, `count` and `sum` are 0 and everything else is null.
pub fn evaluate(feature: &Feature, rows: Rows<'_>, at: i64) -> Evaluated {
    let end = rows.events().partition_point(|event| *event <= at);
    let after = at.saturating_sub(feature.window.as_micros());
    let start = rows.events()[..end].partition_point(|event| *event <= after);
    let usable = |row: &usize| {
        rows.known()[*row] <= at && feature.column.is_none_or(|column| !rows.value(*row, column).is_nan())
    };
    let used = Used { rows, at, column: feature.column };
    let nothing = || Evaluated { value: Err(why_nothing(rows, start..end, at)), event_at: None, known_at: None };
    match feature.aggregate {
        Aggregate::Last | Aggregate::Age => match (start..end).rev().find(usable) {
            Some(row) if feature.aggregate == Aggregate::Last => used.result(used.value(row), row, rows.known()[row]),
            Some(row) => used.result((at - rows.events()[row]) as f64 / MICROS_PER_HOUR, row, rows.known()[row]),
            None => nothing(),
        },
        Aggregate::Std => {
            let sum = Sum::of((start..end).filter(usable), &used);
            let (Some(newest), true) = (sum.newest, sum.count > 1.0) else { return nothing() };
            let mean = sum.sum / sum.count;
            let squares = (start..end).filter(usable).fold(0.0, |squares, row| {
                let distance = used.value(row) - mean;
                squares + distance * distance
            });
            used.result((squares / (sum.count - 1.0)).sqrt(), newest, sum.known)
        }
        aggregate => {
            let sum = Sum::of((start..end).filter(usable), &used);
            let value = match aggregate {
                Aggregate::Count => sum.count,
                Aggregate::Sum => sum.sum,
                Aggregate::Min => sum.least,
                Aggregate::Max => sum.greatest,
                _ => sum.sum / sum.count,
            };
            match sum.newest {
                Some(newest) => used.result(value, newest, sum.known),
                None if matches!(aggregate, Aggregate::Count | Aggregate::Sum) => {
                    Evaluated { value: Ok(0.0), event_at: None, known_at: None }
                }
                None => nothing(),
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Used<'a> {
    rows: Rows<'a>,
    at: i64,
    column: Option<usize>,
}

impl Used<'_> {
    fn value(&self, row: usize) -> f64 {
        self.column.map_or(0.0, |column| self.rows.value(row, column))
    }

    fn result(&self, value: f64, newest: usize, known: i64) -> Evaluated {
        debug_assert!(known <= self.at && self.rows.events()[newest] <= self.at);
        let value = value as f32;
        let value = if value.is_nan() { Err(Missing::Null) } else { Ok(value) };
        Evaluated { value, event_at: Some(self.rows.events()[newest]), known_at: Some(known) }
    }
}

/// What one pass over the rows finds.
struct Sum {
    count: f64,
    sum: f64,
    least: f64,
    greatest: f64,
    known: i64,
    newest: Option<usize>,
}

impl Sum {
    fn of(rows: impl Iterator<Item = usize>, used: &Used<'_>) -> Self {
        let none = Self {
            count: 0.0,
            sum: 0.0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            known: i64::MIN,
            newest: None,
        };
        rows.fold(none, |seen, row| {
            let value = used.value(row);
            Self {
                count: seen.count + 1.0,
                sum: seen.sum + value,
                least: if value < seen.least { value } else { seen.least },
                greatest: if value > seen.greatest { value } else { seen.greatest },
                known: seen.known.max(used.rows.known()[row]),
                newest: Some(row),
            }
        })
    }
}

fn why_nothing(rows: Rows<'_>, window: std::ops::Range<usize>, at: i64) -> Missing {
    let known = |row: usize| rows.known()[row] <= at;
    if window.clone().any(known) {
        Missing::Null
    } else if (0..window.start).rev().any(known) {
        Missing::OutsideWindow
    } else {
        Missing::NotFound
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_core::Span;

    use super::super::Timeline;
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    /// Rows as (event, known, value), in hours.
    fn timeline(rows: &[(i64, i64, f64)]) -> Timeline {
        let mut timeline = Timeline::new(1);
        for (event, known, value) in rows {
            timeline.insert(event * HOUR, known * HOUR, &[*value]);
        }
        timeline
    }

    fn at(aggregate: Aggregate, window: i64, rows: &[(i64, i64, f64)], at: i64) -> Result<f32, Missing> {
        let feature = Feature { name: "x".into(), aggregate, column: Some(0), window: Span::hours(window) };
        evaluate(&feature, timeline(rows).rows(), at * HOUR).value
    }

    #[test]
    fn what_is_later_than_the_moment_cannot_win() {
        // The later rows would all be the better answers, if they could be known.
        let tempting = [(8, 8, 1.0), (9, 9, 2.0), (9, 12, 99.0), (10, 10, 98.0)];
        assert_eq!(at(Aggregate::Last, 12, &tempting, 9), Ok(2.0), "equal to the moment counts, later does not");
        assert_eq!(at(Aggregate::Max, 12, &tempting, 9), Ok(2.0));
        assert_eq!(at(Aggregate::Last, 12, &tempting, 10), Ok(98.0));
        assert_eq!(at(Aggregate::Max, 12, &tempting, 11), Ok(98.0), "known later than the moment");
        assert_eq!(at(Aggregate::Max, 12, &tempting, 12), Ok(99.0));
    }

    #[test]
    fn the_window_is_open_at_its_start_and_closed_at_its_end() {
        let rows = [(6, 6, 1.0), (7, 7, 10.0), (9, 9, 100.0)];
        assert_eq!(at(Aggregate::Sum, 3, &rows, 9), Ok(110.0));
        assert_eq!(at(Aggregate::Count, 3, &rows, 12), Ok(0.0));
        assert_eq!(at(Aggregate::Last, 3, &rows, 12), Err(Missing::OutsideWindow));
        assert_eq!(at(Aggregate::Last, 3, &rows, 5), Err(Missing::NotFound));
    }

    #[test]
    fn nulls_are_left_out() {
        let null = f64::NAN;
        let rows = [(1, 1, 4.0), (2, 2, 6.0), (3, 3, null)];
        assert_eq!(at(Aggregate::Last, 9, &rows, 3), Ok(6.0));
        assert_eq!(at(Aggregate::Age, 9, &rows, 4), Ok(2.0));
        assert_eq!(at(Aggregate::Count, 9, &rows, 3), Ok(2.0));
        assert_eq!(at(Aggregate::Mean, 9, &rows, 3), Ok(5.0));
        assert_eq!(at(Aggregate::Min, 9, &rows, 3), Ok(4.0));
        assert_eq!(at(Aggregate::Std, 9, &rows, 3), Ok(2.0_f32.sqrt()));
        assert_eq!(at(Aggregate::Std, 9, &rows[1..], 3), Err(Missing::Null), "one value has no deviation");
        assert_eq!(at(Aggregate::Last, 9, &rows[2..], 3), Err(Missing::Null));
        assert_eq!(at(Aggregate::Sum, 9, &rows[2..], 3), Ok(0.0));
    }

    #[test]
    fn the_moment_when_a_value_was_known_is_that_of_its_last_known_row() {
        let rows = timeline(&[(1, 5, 1.0), (2, 2, 1.0), (3, 9, 1.0)]);
        let mean = Feature { name: "x".into(), aggregate: Aggregate::Mean, column: Some(0), window: Span::hours(9) };
        let seen = evaluate(&mean, rows.rows(), 6 * HOUR);
        assert_eq!((seen.event_at, seen.known_at), (Some(2 * HOUR), Some(5 * HOUR)));
    }
}
