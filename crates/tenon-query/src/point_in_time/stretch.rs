//! Which rows of an entity a window holds at a moment, and whether the history reaches back to its start.

use std::ops::Range;

use tenon_core::spec::Window;

use super::Rows;

/// A window at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The places of the rows whose events it holds; of these, rows that were not known yet are still to be left out.
    pub rows: Range<usize>,
    /// Whether the history reaches back to its start.
    pub complete: bool,
}

impl Stretch {
    /// # Shapes
    /// All moments and spans in microseconds. `ttl`: how long before `at` a row still counts, which bounds a session.
    /// `began`: when the view's first row was known; none: it has no rows.
    pub(super) fn of(window: Window, rows: Rows<'_>, at: i64, ttl: i64, began: Option<i64>) -> Self {
        let events = rows.events();
        let by = |moment: i64| events.partition_point(|event| *event <= moment);
        let complete = |from: i64| began.is_some_and(|began| began <= from);
        match window {
            Window::Sliding(span) => {
                let start = at.saturating_sub(span.as_micros());
                Self { rows: by(start)..by(at), complete: complete(start) }
            }
            Window::Tumbling { every, origin } => {
                let every = every.as_micros().max(1);
                let end = at.saturating_sub(at.saturating_sub(origin.as_micros()).rem_euclid(every));
                let start = end.saturating_sub(every);
                let before = |moment: i64| events.partition_point(|event| *event < moment);
                Self { rows: before(start)..before(end), complete: complete(start) }
            }
            Window::Session { gap } => {
                let (gap, oldest) = (gap.as_micros(), at.saturating_sub(ttl));
                let end = by(at);
                // Rows beyond the time to live are not looked at: a store may have forgotten them.
                let (mut start, mut first) = (end, at);
                for row in (by(oldest)..end).rev().filter(|row| rows.known()[*row] <= at) {
                    if first.saturating_sub(events[row]) > gap {
                        break;
                    }
                    (start, first) = (row, events[row]);
                }
                let from = first.saturating_sub(gap);
                Self { rows: start..end, complete: from >= oldest && complete(from) }
            }
            Window::Lifetime => Self { rows: 0..by(at), complete: complete(at) },
        }
    }
}

#[cfg(test)]
mod tests {
    use tenon_core::{Span, Timestamp};

    use super::super::Timeline;
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn stretch(window: Window, rows: &[(i64, i64)], at: i64, began: i64) -> (Range<usize>, bool) {
        let mut timeline = Timeline::new(0);
        rows.iter().for_each(|(event, known)| timeline.insert(event * HOUR, known * HOUR, &[]));
        let stretch = Stretch::of(window, timeline.rows(), at * HOUR, 12 * HOUR, Some(began * HOUR));
        (stretch.rows, stretch.complete)
    }

    #[test]
    fn a_tumbling_window_is_the_last_one_that_is_over() {
        let rows = [(0, 0), (3, 3), (5, 5), (6, 6), (8, 8)];
        let of =
            |origin: i64| Window::Tumbling { every: Span::hours(3), origin: Timestamp::from_micros(origin * HOUR) };
        assert_eq!(stretch(of(0), &rows, 8, 0), (1..3, true), "[3, 6)");
        assert_eq!(stretch(of(0), &rows, 6, 0), (1..3, true), "it is over at its end");
        assert_eq!(stretch(of(0), &rows, 5, 0), (0..1, true));
        assert_eq!(stretch(of(1), &rows, 8, 0), (2..4, true), "[4, 7)");
        assert_eq!(stretch(of(100), &rows, 8, 0), (2..4, true), "the origin may lie ahead");
        assert!(!stretch(of(0), &rows, 8, 4).1);
    }

    #[test]
    fn a_session_reaches_back_to_a_gap() {
        let rows = [(1, 1), (4, 4), (5, 20), (6, 6), (7, 7)];
        let session = Window::Session { gap: Span::hours(2) };
        assert_eq!(stretch(session, &rows, 8, 0), (1..5, true), "what is not known yet bridges nothing");
        assert_eq!(stretch(session, &rows, 10, 0), (5..5, true), "it is over");
        assert_eq!(stretch(session, &rows, 3, 0), (0..1, false), "it may have begun before the history");
        assert_eq!(stretch(session, &rows, 3, -1), (0..1, true));
        let long: Vec<_> = (0..30).map(|hour| (hour, hour)).collect();
        assert_eq!(stretch(session, &long, 29, -9), (18..30, false), "it is cut at the time to live");
    }

    #[test]
    fn a_window_before_the_first_row_is_not_complete() {
        let rows = [(5, 5)];
        assert_eq!(stretch(Window::Sliding(Span::hours(2)), &rows, 6, 5), (0..1, false));
        assert_eq!(stretch(Window::Sliding(Span::hours(2)), &rows, 7, 5), (1..1, true));
        assert_eq!(stretch(Window::Lifetime, &rows, 900, 5), (0..1, true));
        assert_eq!(stretch(Window::Lifetime, &rows, 4, 5), (0..0, false));
        assert!(!Stretch::of(Window::Lifetime, Rows::none(), 0, 0, None).complete);
    }
}
