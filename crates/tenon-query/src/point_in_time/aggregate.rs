//! The kernel: the features of one entity at one moment.

use tenon_core::spec::{Aggregate, Window};

use super::rows::{Row, order};
use super::stretch::Stretch;
use super::tally::{Tally, Wanted};
use super::{Feature, Folding, Past, Rows};

/// A feature at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluated {
    /// Its value, or why there is none.
    pub value: Result<f32, Missing>,
    /// The event time of the newest row that it used, in microseconds.
    pub event_at: Option<i64>,
    /// The moment by which all rows that it used were known, in microseconds; never after the moment of decision.
    pub known_at: Option<i64>,
    /// Whether the view's history reaches back to the start of its window. What looks for the newest row and finds one
    /// needs no more.
    pub complete: bool,
}

/// Why a feature has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// There are rows in the window, and what they say is null.
    Null,
    /// There are no rows at all by that moment.
    NotFound,
    /// There are rows, all of them outside the window.
    OutsideWindow,
}

const MICROS_PER_HOUR: f64 = 3_600e6;

/// Features that are computed together: what reads the same column over the same window shares a tally, and one pass over
/// the rows fills all tallies.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// How long before the moment a row still counts, in microseconds.
    ttl: i64,
    features: Vec<Planned>,
    /// The windows, each once.
    windows: Vec<Window>,
    tallies: Vec<Wanted>,
}

#[derive(Debug, Clone)]
struct Planned {
    aggregate: Aggregate,
    column: Option<usize>,
    window: usize,
    /// None: it needs no pass over the rows.
    tally: Option<usize>,
    q: f64,
    k: usize,
}

impl Kernel {
    /// Features of one view whose time to live is `ttl` microseconds, in the order in which they will be handed over.
    pub fn new<'a>(ttl: i64, features: impl IntoIterator<Item = &'a Feature>) -> Self {
        let mut kernel = Self { ttl, features: Vec::new(), windows: Vec::new(), tallies: Vec::new() };
        for feature in features {
            let window = place(&mut kernel.windows, feature.window);
            let tally = needs_tally(feature.aggregate).then(|| kernel.tally(window, feature));
            kernel.features.push(Planned {
                aggregate: feature.aggregate,
                column: feature.column,
                window,
                tally,
                q: feature.q.unwrap_or_default(),
                k: feature.k.and_then(|k| usize::try_from(k).ok()).unwrap_or_default(),
            });
        }
        kernel
    }

    fn tally(&mut self, window: usize, feature: &Feature) -> usize {
        let column = feature.column;
        let known = self.tallies.iter().position(|tally| tally.window == window && tally.column == column);
        let at = known.unwrap_or_else(|| {
            self.tallies.push(Wanted { window, column, ..Wanted::default() });
            self.tallies.len() - 1
        });
        self.tallies[at].want(feature.aggregate);
        at
    }

    /// What features of a lifetime need of rows that are not kept; none: there are no such features.
    pub fn folding(&self) -> Option<Folding> {
        let lifetime = self.windows.iter().position(|window| *window == Window::Lifetime)?;
        let tallies = self.tallies.iter().filter(|tally| tally.window == lifetime).cloned().collect();
        let mut ends = Vec::new();
        for feature in self.features.iter().filter(|feature| feature.window == lifetime && feature.tally.is_none()) {
            if feature.aggregate != Aggregate::Complete && !ends.contains(&feature.column) {
                ends.push(feature.column);
            }
        }
        Some(Folding { tallies, ends })
    }

    /// What evaluates the features, again and again without asking for memory anew.
    pub fn evaluator(&self) -> Evaluator<'_> {
        Evaluator { kernel: self, stretches: Vec::new(), tallies: Vec::new() }
    }
}

fn needs_tally(aggregate: Aggregate) -> bool {
    !matches!(aggregate, Aggregate::Last | Aggregate::First | Aggregate::Age | Aggregate::Complete)
}

fn place(windows: &mut Vec<Window>, window: Window) -> usize {
    windows.iter().position(|known| *known == window).unwrap_or_else(|| {
        windows.push(window);
        windows.len() - 1
    })
}

/// A [`Kernel`] at work.
pub struct Evaluator<'a> {
    kernel: &'a Kernel,
    stretches: Vec<Stretch>,
    tallies: Vec<Tally>,
}

impl Evaluator<'_> {
    /// Hands over each feature of the entity that `rows` belong to, as of `at`. `began`: when the view's first row was
    /// known; none: it has no rows. Both in microseconds.
    ///
    /// Rows are used whose event lies in the window, which were known by `at`, and whose value is not null. Sums are exact;
    /// what is computed of them is in `f64`, and rounded to `f32` at the end. Nothing depends on the order in which rows
    /// arrived; a result that is not a number is null. Of no rows, `count`, `sum`, `distinct` and `rate` are 0, and everything else is
    /// null but `complete`.
    pub fn evaluate(&mut self, rows: Rows<'_>, at: i64, began: Option<i64>, mut push: impl FnMut(Evaluated)) {
        let kernel = self.kernel;
        let stretch = |window: &Window| Stretch::of(*window, rows, at, kernel.ttl, began);
        self.stretches.clear();
        self.stretches.extend(kernel.windows.iter().map(stretch));
        self.tally(rows, at);
        for feature in &kernel.features {
            let stretch = &self.stretches[feature.window];
            let seen = Seen { rows, at, window: kernel.windows[feature.window], stretch, column: feature.column };
            push(match feature.tally {
                Some(tally) => seen.tallied(feature, &mut self.tallies[tally]),
                None => seen.found(feature.aggregate),
            });
        }
    }

    /// One pass over the rows from the first to the last that any window holds.
    fn tally(&mut self, rows: Rows<'_>, at: i64) {
        let wanted = &self.kernel.tallies;
        self.tallies.clear();
        self.tallies.extend(wanted.iter().map(Tally::new));
        if let Some(past) = rows.past() {
            for (wanted, tally) in wanted.iter().zip(&mut self.tallies) {
                let lifelong = self.kernel.windows[wanted.window] == Window::Lifetime;
                if let Some(past) = past.tally(wanted.column).filter(|_| lifelong) {
                    tally.merge(past);
                }
            }
        }
        let (mut first, mut last) = (usize::MAX, 0);
        for tally in wanted {
            let held = &self.stretches[tally.window].rows;
            (first, last) = (first.min(held.start), last.max(held.end));
        }
        for row in (first..last).filter(|row| rows.known()[*row] <= at) {
            let (event, known) = (rows.events()[row], rows.known()[row]);
            for (wanted, tally) in wanted.iter().zip(&mut self.tallies) {
                if self.stretches[wanted.window].rows.contains(&row) {
                    tally.add(wanted, event, known, wanted.column.map_or(0.0, |column| rows.value(row, column)));
                }
            }
        }
    }
}

/// One feature's look at the rows.
struct Seen<'a> {
    rows: Rows<'a>,
    at: i64,
    window: Window,
    stretch: &'a Stretch,
    column: Option<usize>,
}

impl Seen<'_> {
    /// What one row says, or none at all.
    fn found(&self, aggregate: Aggregate) -> Evaluated {
        let row = match aggregate {
            Aggregate::Complete => {
                let value = f32::from(u8::from(self.stretch.complete));
                return Evaluated { value: Ok(value), event_at: None, known_at: None, complete: true };
            }
            Aggregate::First => self.first(),
            _ => self.last(),
        };
        let Some((event, known, values)) = row else { return self.nothing() };
        let value = match aggregate {
            Aggregate::Age => (self.at - event) as f64 / MICROS_PER_HOUR,
            _ => self.column.map_or(f64::NAN, |column| values[column]),
        };
        let complete = aggregate != Aggregate::First || self.stretch.complete;
        Evaluated { complete, ..self.result(value, event, known) }
    }

    /// The first row of the window whose value is not null.
    fn first(&self) -> Option<Row<'_>> {
        let row = self.stretch.rows.clone().find(|row| self.is_usable(*row)).map(|row| self.rows.row(row));
        let past = self.past().and_then(|past| past.ends(self.column)).map(|ends| ends.first.row());
        match (row, past) {
            (Some(row), Some(past)) if order(row, past).is_lt() => Some(row),
            (row, past) => past.or(row),
        }
    }

    /// The last such row.
    fn last(&self) -> Option<Row<'_>> {
        let row = self.stretch.rows.clone().rfind(|row| self.is_usable(*row)).map(|row| self.rows.row(row));
        let past = self.past().and_then(|past| past.ends(self.column)).map(|ends| ends.last.row());
        match (row, past) {
            (Some(row), Some(past)) if order(row, past).is_gt() => Some(row),
            (row, past) => past.or(row),
        }
    }

    fn is_usable(&self, row: usize) -> bool {
        self.rows.known()[row] <= self.at && self.column.is_none_or(|column| !self.rows.value(row, column).is_nan())
    }

    /// The rows of the window that are not kept.
    fn past(&self) -> Option<&Past> {
        self.rows.past().filter(|_| self.window == Window::Lifetime)
    }

    /// What the rows of the window say together.
    fn tallied(&self, feature: &Planned, tally: &mut Tally) -> Evaluated {
        let Some((newest, known)) = tally.moments() else {
            let zero =
                matches!(feature.aggregate, Aggregate::Count | Aggregate::Sum | Aggregate::Distinct | Aggregate::Rate);
            let value = if zero { Ok(0.0) } else { Err(self.why_nothing()) };
            return Evaluated { value, event_at: None, known_at: None, complete: self.stretch.complete };
        };
        self.result(tally.value(feature.aggregate, self.window, feature.q, feature.k), newest, known)
    }

    fn result(&self, value: f64, event: i64, known: i64) -> Evaluated {
        debug_assert!(event <= known && known <= self.at);
        let value = value as f32;
        let value = if value.is_nan() { Err(Missing::Null) } else { Ok(value) };
        Evaluated { value, event_at: Some(event), known_at: Some(known), complete: self.stretch.complete }
    }

    fn nothing(&self) -> Evaluated {
        Evaluated { value: Err(self.why_nothing()), event_at: None, known_at: None, complete: self.stretch.complete }
    }

    fn why_nothing(&self) -> Missing {
        let known = |row: usize| self.rows.known()[row] <= self.at;
        let by_now = self.rows.events().partition_point(|event| *event <= self.at);
        if self.past().is_some() || self.stretch.rows.clone().any(known) {
            Missing::Null
        } else if self.rows.past().is_some() || (0..by_now).rev().any(known) {
            Missing::OutsideWindow
        } else {
            Missing::NotFound
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_core::{Span, Timestamp};

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
        one(&Feature::new("x", aggregate, Some(0), Span::hours(window)), rows, at).value
    }

    /// One feature of a history that began at hour 0.
    fn one(feature: &Feature, rows: &[(i64, i64, f64)], at: i64) -> Evaluated {
        let mut told = Vec::new();
        let kernel = Kernel::new(1000 * HOUR, [feature]);
        kernel.evaluator().evaluate(timeline(rows).rows(), at * HOUR, Some(0), |feature| told.push(feature));
        assert_eq!(told.len(), 1);
        told[0]
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
        let rows = [(1, 5, 1.0), (2, 2, 1.0), (3, 9, 1.0)];
        let seen = one(&Feature::new("x", Aggregate::Mean, Some(0), Span::hours(9)), &rows, 6);
        assert_eq!((seen.event_at, seen.known_at), (Some(2 * HOUR), Some(5 * HOUR)));
    }

    #[test]
    fn every_aggregate_of_one_window_says_its_own() {
        let rows = [(1, 1, 5.0), (2, 2, 2.0), (3, 3, 5.0), (4, 4, 9.0)];
        let parameters = |aggregate, q, k| Feature { q, k, ..Feature::new("x", aggregate, Some(0), Span::hours(4)) };
        let plain = |aggregate| parameters(aggregate, None, None);
        let quantile = |q| parameters(Aggregate::Quantile, Some(q), None);
        let top = |k| parameters(Aggregate::TopK, None, Some(k));
        let told = |feature: Feature| one(&feature, &rows, 4).value;
        assert_eq!(told(plain(Aggregate::First)), Ok(5.0));
        assert_eq!(told(plain(Aggregate::Distinct)), Ok(3.0));
        assert_eq!(told(plain(Aggregate::Rate)), Ok((4.0 / 14_400.0) as f32), "a second");
        assert_eq!([0.0, 0.34, 0.9, 1.0].map(|q| told(quantile(q))), [Ok(2.0), Ok(5.0), Ok(5.0), Ok(9.0)]);
        assert_eq!([1, 2, 3].map(|k| told(top(k))), [Ok(5.0), Ok(2.0), Ok(9.0)]);
        assert_eq!(told(top(4)), Err(Missing::Null), "there are no four different values");
        assert_eq!(told(plain(Aggregate::Complete)), Ok(1.0));
        let none = |aggregate| one(&plain(aggregate), &rows, 9).value;
        assert_eq!([Aggregate::Distinct, Aggregate::Rate].map(none), [Ok(0.0); 2]);
        assert_eq!([Aggregate::First, Aggregate::Quantile].map(none), [Err(Missing::OutsideWindow); 2]);
    }

    #[test]
    fn what_the_history_cannot_fill_is_marked() {
        let rows = [(1, 1, 5.0), (2, 2, 2.0)];
        let complete =
            |aggregate, window: Window, at| one(&Feature::new("x", aggregate, Some(0), window), &rows, at).complete;
        let hours = |hours| Window::from(Span::hours(hours));
        assert!(complete(Aggregate::Mean, hours(2), 2));
        assert!(!complete(Aggregate::Mean, hours(3), 2));
        assert!(!complete(Aggregate::First, hours(3), 2));
        assert!(complete(Aggregate::Last, hours(3), 2), "whatever was before, this is the last");
        let filled = |window: Window, at| one(&Feature::new("x", Aggregate::Complete, None, window), &rows, at).value;
        assert_eq!((filled(hours(2), 2), filled(hours(3), 2)), (Ok(1.0), Ok(0.0)));
        let daily = Window::Tumbling { every: Span::hours(2), origin: Timestamp::from_micros(HOUR) };
        assert_eq!((filled(daily, 2), filled(daily, 3)), (Ok(0.0), Ok(1.0)));
        let begun = Kernel::new(HOUR, &[Feature::new("x", Aggregate::Complete, None, Window::Lifetime)]);
        begun.evaluator().evaluate(Rows::none(), 0, None, |told| assert_eq!(told.value, Ok(0.0)));
    }

    #[test]
    fn windows_and_columns_of_one_view_are_apart() {
        let rows = [(1, 1, 1.0), (5, 5, 10.0), (8, 8, 100.0)];
        let features = [9, 4, 1].map(|window| Feature::new("x", Aggregate::Sum, Some(0), Span::hours(window)));
        let mut told = Vec::new();
        let kernel = Kernel::new(9 * HOUR, &features);
        let mut evaluator = kernel.evaluator();
        for at in [8, 9] {
            evaluator.evaluate(timeline(&rows).rows(), at * HOUR, Some(0), |feature| told.push(feature.value));
        }
        assert_eq!(told, [Ok(111.0), Ok(110.0), Ok(100.0), Ok(111.0), Ok(100.0), Ok(0.0)]);
    }
}
