//! Decisions per hour above, their latency beneath, one time axis.

use maud::{Markup, html};

use crate::chart::{AXIS, LEFT, RIGHT, Scale, WIDTH, grid, line, micros, months, n, steps};
use crate::page::nothing;
use crate::view::{ActivityMark, ActivityView};
use crate::words::{count, percent};

const TOP: f64 = 24.0;
const COUNTS: f64 = 110.0;
const GAP: f64 = 34.0;
const LATENCY: f64 = 80.0;
const HOUR_MICROS: f64 = 3.6e9;

/// The chart with its legend.
pub(crate) fn activity(view: &ActivityView) -> Markup {
    html! {
        @if view.hours.is_empty() { (nothing("Nothing was decided yet.")) }
        @else {
            ul.legend {
                li { span.swatch aria-hidden="true" {} "decisions an hour" }
                li { span.key.inputs aria-hidden="true" {} "the median latency" }
                li { span.key.prediction aria-hidden="true" {} "the latency that 99% stay below" }
            }
            (chart(view))
        }
    }
}

fn chart(view: &ActivityView) -> Markup {
    let time = Scale { from: micros(view.from), to: micros(view.until), at_from: LEFT, at_to: WIDTH - RIGHT };
    let most = view.hours.iter().map(|hour| hour.decisions).max().unwrap_or(0);
    let (count_step, count_top) = steps(0.0, (most as f64).max(4.0));
    let counts = Scale { from: 0.0, to: count_top, at_from: TOP + COUNTS, at_to: TOP };
    let slowest = view.hours.iter().map(|hour| hour.p99_us).fold(1.0, f64::max);
    let (unit, of) = if slowest < 10_000.0 { ("µs", 1.0) } else { ("ms", 1000.0) };
    let (latency_step, latency_top) = steps(0.0, slowest / of);
    let top = TOP + COUNTS + GAP;
    let latencies = Scale { from: 0.0, to: latency_top, at_from: top + LATENCY, at_to: top };
    let end = top + LATENCY;
    let width = ((WIDTH - RIGHT - LEFT) * HOUR_MICROS / (time.to - time.from).max(1.0) - 0.4).max(0.8);
    html! {
        div.scroll tabindex="0" role="region" aria-label="decisions and latency over time" {
            svg.chart viewBox=(format!("0 0 {WIDTH} {}", end + AXIS)) role="img" aria-labelledby="activity activity-in-words" {
                title id="activity" { "decisions an hour, and their latency" }
                desc id="activity-in-words" { (in_words(view)) }
                (months(time, (view.from, view.until), (TOP, end)))
                (grid(counts, count_step))
                text.name x=(LEFT + 4.0) y=(n(TOP - 9.0)) { "decisions an hour" }
                @for hour in &view.hours {
                    @let height = (counts.at_from - counts.place(hour.decisions as f64)).max(1.0);
                    rect.champion x=(n(time.place(micros(hour.at)))) y=(n(counts.at_from - height)) width=(n(width)) height=(n(height)) {
                        title { (told(hour)) }
                    }
                }
                (grid(latencies, latency_step))
                text.name x=(LEFT + 4.0) y=(n(top - 9.0)) { "latency, " (unit) }
                @for run in runs(&view.hours) {
                    path.line.inputs d=(line(&points(run, time, latencies, |hour| hour.p50_us / of))) {}
                    path.line.prediction d=(line(&points(run, time, latencies, |hour| hour.p99_us / of))) {}
                }
                @for hour in &view.hours {
                    circle.point cx=(n(middle(hour, time))) cy=(n(latencies.place(hour.p99_us / of))) r="5" { title { (told(hour)) } }
                }
            }
        }
    }
}

fn points(run: &[ActivityMark], time: Scale, y: Scale, value: impl Fn(&ActivityMark) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = run.iter().map(|hour| (middle(hour, time), y.place(value(hour)))).collect();
    // One hour alone is a short line, so that it is there to be seen.
    if let [(x, y)] = points[..] {
        points = vec![(x - 1.0, y), (x + 1.0, y)];
    }
    points
}

fn middle(hour: &ActivityMark, time: Scale) -> f64 {
    time.place(micros(hour.at) + HOUR_MICROS / 2.0)
}

/// Hours that follow each other: a line is not drawn over hours without decisions.
fn runs(hours: &[ActivityMark]) -> impl Iterator<Item = &[ActivityMark]> {
    hours.chunk_by(|one, next| micros(next.at) - micros(one.at) <= HOUR_MICROS)
}

fn told(hour: &ActivityMark) -> String {
    let at = hour.at.to_string().get(..16).unwrap_or_default().replace('T', " ");
    let share = percent(hour.yes as f64 / hour.decisions.max(1) as f64);
    format!(
        "{at}: {} decisions, {share} of them yes; median {:.0} µs, 99% below {:.0} µs",
        count(hour.decisions),
        hour.p50_us,
        hour.p99_us
    )
}

fn in_words(view: &ActivityView) -> String {
    let all: u64 = view.hours.iter().map(|hour| hour.decisions).sum();
    let busiest = view.hours.iter().max_by_key(|hour| hour.decisions).map(told).unwrap_or_default();
    let slowest = view.hours.iter().max_by(|a, b| a.p99_us.total_cmp(&b.p99_us)).map(told).unwrap_or_default();
    format!(
        "{} decisions in {} hours. The busiest hour, {busiest}. The slowest, {slowest}.",
        count(all),
        view.hours.len()
    )
}
