//! The monitor's chart: drift above, quality beneath, one time axis.

use maud::{Markup, html};
use tenon_core::{Span, Timestamp};

use crate::view::{Mark, MonitorView};

pub(crate) const WIDTH: f64 = 1080.0;
pub(crate) const LEFT: f64 = 44.0;
pub(crate) const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const DRIFT_HEIGHT: f64 = 190.0;
const GAP: f64 = 52.0;
const QUALITY_HEIGHT: f64 = 110.0;
pub(crate) const AXIS: f64 = 24.0;
/// The width of a character, on average.
const A_CHARACTER: f64 = 6.9;

/// Maps values to places along one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) at_from: f64,
    pub(crate) at_to: f64,
}

impl Scale {
    pub(crate) fn place(self, value: f64) -> f64 {
        let span = self.to - self.from;
        let share = if span > 0.0 { ((value - self.from) / span).clamp(0.0, 1.0) } else { 0.5 };
        self.at_from + share * (self.at_to - self.at_from)
    }
}

/// The chart; nothing when the monitor has not measured twice.
pub(crate) fn chart(monitor: &MonitorView) -> Option<Markup> {
    let moments = || monitor.drift.iter().map(|mark| mark.at).chain(monitor.quality.iter().map(|mark| mark.at));
    let (from, until) = (moments().min()?, moments().max()?);
    if from == until {
        return None;
    }
    let time = Scale { from: micros(from), to: micros(until), at_from: LEFT, at_to: WIDTH - RIGHT };
    let with_quality = !monitor.quality.is_empty();
    let drift_end = TOP + DRIFT_HEIGHT;
    let end = if with_quality { drift_end + GAP + QUALITY_HEIGHT } else { drift_end };
    let height = end + AXIS;
    Some(html! {
        div.scroll tabindex="0" role="region" aria-label={ "chart of " (monitor.name) } {
            svg.chart viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(label(monitor)) {
                (months(time, (from, until), (TOP, end)))
                (marks(monitor, time, end))
                (drift(monitor, time))
                @if with_quality { (quality(monitor, time, drift_end + GAP)) }
            }
        }
    })
}

/// The chart in words, for those who do not see it.
fn label(monitor: &MonitorView) -> String {
    let peak = monitor.drift.iter().max_by(|a, b| a.psi.total_cmp(&b.psi));
    let peak = peak.map(|mark| {
        let most = mark.most_moved.as_deref().unwrap_or("an input");
        format!("the index of {most} peaked at {:.2} on {}", mark.psi, day(mark.at))
    });
    let found: Vec<String> =
        monitor.detections.iter().map(|mark| format!("drift detected on {}", day(mark.at))).collect();
    let took: Vec<String> =
        monitor.takeovers.iter().map(|mark| format!("{} took over on {}", mark.label, day(mark.at))).collect();
    let parts: Vec<String> = peak.into_iter().chain(found).chain(took).collect();
    format!("drift and quality of {} over time: {}", monitor.deployment, parts.join("; "))
}

fn drift(monitor: &MonitorView, time: Scale) -> Markup {
    let highest =
        monitor.drift.iter().flat_map(|mark| [mark.psi, mark.prediction_psi]).fold(monitor.threshold * 1.4, f64::max);
    let (step, top) = steps(0.0, highest);
    let y = Scale { from: 0.0, to: top, at_from: TOP + DRIFT_HEIGHT, at_to: TOP };
    let inputs: Vec<(f64, f64)> =
        monitor.drift.iter().map(|mark| (time.place(micros(mark.at)), y.place(mark.psi))).collect();
    let prediction: Vec<(f64, f64)> =
        monitor.drift.iter().map(|mark| (time.place(micros(mark.at)), y.place(mark.prediction_psi))).collect();
    let threshold = y.place(monitor.threshold);
    html! {
        (grid(y, step))
        line.threshold x1=(LEFT) x2=(WIDTH - RIGHT) y1=(n(threshold)) y2=(n(threshold)) {}
        path.line.prediction d=(line(&prediction)) {}
        path.line.inputs d=(line(&inputs)) {}
        text.note x=(LEFT + 4.0) y=(n(threshold - 4.0)) { "counts as moved: " (monitor.threshold) }
        @for (mark, (x, y)) in monitor.drift.iter().zip(&inputs) {
            circle.point cx=(n(*x)) cy=(n(*y)) r="5" {
                title { (day(mark.at)) ": " (mark.most_moved.as_deref().unwrap_or("inputs")) " moved most, PSI " (format!("{:.3}", mark.psi))
                    "; prediction " (format!("{:.3}", mark.prediction_psi)) }
            }
        }
    }
}

fn quality(monitor: &MonitorView, time: Scale, top: f64) -> Markup {
    let lowest = monitor.quality.iter().map(|mark| mark.interval.0).chain(monitor.quality_at_least).fold(1.0, f64::min);
    let highest = monitor.quality.iter().map(|mark| mark.interval.1).fold(lowest, f64::max);
    let (step, _) = steps(lowest, highest);
    let (low, high) = ((lowest / step).floor() * step, ((highest / step).ceil() * step).min(1.0));
    let y = Scale { from: low, to: high, at_from: top + QUALITY_HEIGHT, at_to: top };
    let at = |value: fn(&crate::view::QualityMark) -> f64| -> Vec<(f64, f64)> {
        monitor.quality.iter().map(|mark| (time.place(micros(mark.at)), y.place(value(mark)))).collect()
    };
    let mut band = at(|mark| mark.interval.1);
    band.extend(at(|mark| mark.interval.0).into_iter().rev());
    html! {
        (grid(y, step))
        text.name x=(LEFT + 4.0) y=(n(top - 9.0)) { "quality: ROC AUC where outcomes are known, with its 95% interval" }
        path.band d={ (line(&band)) "Z" } {}
        @if let Some(at_least) = monitor.quality_at_least {
            line.threshold x1=(LEFT) x2=(WIDTH - RIGHT) y1=(n(y.place(at_least))) y2=(n(y.place(at_least))) {}
        }
        path.line.auc d=(line(&at(|mark| mark.auc))) {}
        @if let Some(at_least) = monitor.quality_at_least {
            text.note x=(LEFT + 4.0) y=(n(y.place(at_least) - 4.0)) { "promised: " (at_least) }
        }
        @for mark in &monitor.quality {
            circle.point cx=(n(time.place(micros(mark.at)))) cy=(n(y.place(mark.auc))) r="5" {
                title { (day(mark.at)) ": ROC AUC " (format!("{:.3} ({:.3} to {:.3})", mark.auc, mark.interval.0, mark.interval.1)) }
            }
        }
    }
}

/// Detections point down from the top, takeovers stand on diamonds; both carry words.
fn marks(monitor: &MonitorView, time: Scale, end: f64) -> Markup {
    let inside = |marks: &[Mark]| -> Vec<(f64, Mark)> {
        let within = marks.iter().filter(|mark| (time.from..=time.to).contains(&micros(mark.at)));
        within.map(|mark| (time.place(micros(mark.at)), mark.clone())).collect()
    };
    let (detections, takeovers) = (inside(&monitor.detections), inside(&monitor.takeovers));
    let found = captions(&detections, |label| [format!("drift {label}"), label.to_owned()]);
    let took = captions(&takeovers, |label| [format!("{label} takes over"), label.to_owned()]);
    html! {
        @for ((x, mark), caption) in detections.iter().zip(&found) {
            @let x = *x;
            g.detection {
                title { (mark.sentence) }
                line x1=(n(x)) x2=(n(x)) y1=(TOP - 6.0) y2=(n(end)) {}
                path d=(format!("M{} {}h10l-5 8z", n(x - 5.0), TOP - 12.0)) {}
                @if let Some((x, words)) = caption { text.note x=(n(*x)) y=(n(TOP - 18.0)) { (words) } }
            }
        }
        @for ((x, mark), caption) in takeovers.iter().zip(&took) {
            @let x = *x;
            g.takeover {
                title { (mark.sentence) }
                line x1=(n(x)) x2=(n(x)) y1=(TOP) y2=(n(end)) {}
                path d=(format!("M{} {}l5 5l-5 5l-5 -5z", n(x), n(end - 5.0))) {}
                @if let Some((x, words)) = caption { text.note x=(n(*x)) y=(n(TOP + DRIFT_HEIGHT + 15.0)) { (words) } }
            }
        }
    }
}

/// Words beside each mark, as many as there is room for: the newest mark gets the most, one without room none. What a
/// mark means is on hover in any case.
fn captions(marks: &[(f64, Mark)], wordings: impl Fn(&str) -> [String; 2]) -> Vec<Option<(f64, String)>> {
    let mut taken: Vec<(f64, f64)> = Vec::new();
    let mut captions = vec![None; marks.len()];
    for (at, (x, mark)) in marks.iter().enumerate().rev() {
        let places = wordings(&mark.label).into_iter().flat_map(|words| {
            let width = words.chars().count() as f64 * A_CHARACTER;
            [(x + 4.0, width, words.clone()), (x - 4.0 - width, width, words)]
        });
        let free = |start: f64, end: f64| {
            start >= LEFT && end <= WIDTH && taken.iter().all(|(from, to)| end + 4.0 < *from || start > *to + 4.0)
        };
        if let Some((start, width, words)) = places.into_iter().find(|(start, width, _)| free(*start, start + width)) {
            taken.push((start, start + width));
            captions[at] = Some((start, words));
        }
    }
    captions
}

pub(crate) fn grid(y: Scale, step: f64) -> Markup {
    let lines = ((y.to - y.from) / step).round() as usize;
    let values = (0..=lines).map(|at| y.from + at as f64 * step);
    html! { @for value in values {
        @let place = y.place(value);
        line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(n(place)) y2=(n(place)) {}
        text.tick x=(LEFT - 6.0) y=(n(place + 3.5)) text-anchor="end" { (figure(value, step)) }
    } }
}

/// The time axis: lines from `top` to `end`, and words below.
pub(crate) fn months(time: Scale, (from, until): (Timestamp, Timestamp), (top, end): (f64, f64)) -> Markup {
    html! { @for (at, label) in ticks(from, until) {
        @let x = time.place(micros(at));
        line.grid x1=(n(x)) x2=(n(x)) y1=(n(top)) y2=(n(end)) {}
        text.tick x=(n(x)) y=(n(end + 15.0)) text-anchor="middle" { (label) }
    } }
}

/// Where the time axis is marked: the first of each month, or whole days when it is short.
fn ticks(from: Timestamp, until: Timestamp) -> Vec<(Timestamp, String)> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = (until - from).as_micros() / Span::days(1).as_micros();
    if days <= 75 {
        let step = Span::days((days / 8).max(1));
        let mut at = from.floor(Span::days(1));
        let mut ticks = Vec::new();
        while at <= until {
            if at >= from {
                ticks.push((at, day(at).get(5..).unwrap_or_default().to_owned()));
            }
            at = at + step;
        }
        return ticks;
    }
    let text = from.to_string();
    let year: i64 = text.get(..4).and_then(|year| year.parse().ok()).unwrap_or(1970);
    let month: i64 = text.get(5..7).and_then(|month| month.parse().ok()).unwrap_or(1);
    let every = (days / 365).max(1);
    (year * 12 + month - 1..)
        .map_while(|month| {
            let (year, index) = (month.div_euclid(12), month.rem_euclid(12));
            let first: Timestamp = format!("{year:04}-{:02}-01T00:00:00Z", index + 1).parse().ok()?;
            let name = MONTHS.get(usize::try_from(index).ok()?)?;
            let label = if index == 0 { format!("{name} {year}") } else { (*name).to_owned() };
            (first <= until).then_some((index, first, label))
        })
        .filter(|(index, first, _)| *first >= from && index % every == 0)
        .map(|(_, first, label)| (first, label))
        .collect()
}

/// A step of 1, 2 or 5 by a power of ten that divides a range in about four, and the multiple of it that covers the range.
pub(crate) fn steps(from: f64, to: f64) -> (f64, f64) {
    let rough = ((to - from) / 4.0).max(1e-6);
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough).unwrap_or(rough);
    (step, (to / step).ceil() * step)
}

fn figure(value: f64, step: f64) -> String {
    if step >= 1.0 {
        format!("{value:.0}")
    } else if step >= 0.1 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

pub(crate) fn line(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        path.push(if at == 0 { 'M' } else { 'L' });
        path.push_str(&format!("{} {}", n(*x), n(*y)));
    }
    path
}

pub(crate) fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

pub(crate) fn day(at: Timestamp) -> String {
    at.to_string().get(..10).unwrap_or_default().to_owned()
}

pub(crate) fn micros(at: Timestamp) -> f64 {
    at.as_micros() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_steps_are_round_and_cover_the_range() {
        for (to, expected) in [(0.35, (0.1, 0.4)), (1.0, (0.5, 1.0)), (3.2, (1.0, 4.0)), (0.02, (0.005, 0.02))] {
            let (step, top) = steps(0.0, to);
            assert!((step - expected.0).abs() < 1e-9 && (top - expected.1).abs() < 1e-9, "{to}: {step} {top}");
        }
    }

    #[test]
    fn a_long_axis_is_marked_by_months_and_a_short_one_by_days() {
        let at = |text: &str| text.parse().unwrap();
        let labels = |from, until| ticks(at(from), at(until)).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels("2012-11-15T00:00:00Z", "2013-02-20T00:00:00Z"), ["Dec", "Jan 2013", "Feb"]);
        assert_eq!(labels("2013-04-01T06:00:00Z", "2013-04-04T00:00:00Z"), ["04-02", "04-03", "04-04"]);
    }

    #[test]
    fn captions_give_way_to_each_other() {
        let mark =
            |label: &str| Mark { at: Timestamp::from_micros(0), label: label.to_owned(), sentence: String::new() };
        let marks = [(500.0, mark("@1")), (900.0, mark("@7")), (1040.0, mark("@9"))];
        let told = captions(&marks, |label| [format!("{label} takes over"), label.to_owned()]);
        let words: Vec<_> = told.iter().flatten().map(|(_, words)| words.as_str()).collect();
        assert_eq!(words, ["@1 takes over", "@7 takes over", "@9 takes over"]);
        // The last has no room on the right, and takes it from the one before.
        let start = |at: usize| told[at].as_ref().unwrap().0;
        assert!(start(0) > 500.0 && start(1) < 900.0 && (900.0..1040.0).contains(&start(2)));
        let close = captions(&[(1000.0, mark("@7")), (1040.0, mark("@9"))], |label| {
            [format!("{label} takes over"), label.to_owned()]
        });
        assert_eq!(close[0], None);
    }

    #[test]
    fn a_value_outside_the_range_stays_on_the_chart() {
        let scale = Scale { from: 0.0, to: 1.0, at_from: 10.0, at_to: 20.0 };
        assert_eq!([-5.0, 0.5, 9.0].map(|value| scale.place(value)), [10.0, 15.0, 20.0]);
    }
}
