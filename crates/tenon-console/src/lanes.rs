//! Who answered when, as a chart: a lane a version, as high as its share.

use maud::{Markup, html};
use tenon_core::Timestamp;
use tenon_core::fact::TrafficReason;

use crate::chart::{AXIS, RIGHT, Scale, WIDTH, micros, months, n};
use crate::view::PeriodRow;
use crate::words::percent;

const LEFT: f64 = 64.0;
const TOP: f64 = 26.0;
const LANE: f64 = 26.0;
/// The height of the whole traffic.
const WHOLE: f64 = 18.0;
/// The newest versions that the chart shows.
const MOST: usize = 12;

/// The chart of `history`, newest first, until `now`; nothing before the first move.
pub(crate) fn lanes(deployment: &str, history: &[PeriodRow], now: Timestamp) -> Option<Markup> {
    let from = history.last()?.from;
    if from >= now {
        return None;
    }
    let versions = versions(history);
    let time = Scale { from: micros(from), to: micros(now), at_from: LEFT, at_to: WIDTH - RIGHT };
    let end = TOP + versions.len() as f64 * LANE;
    Some(html! {
        div.scroll tabindex="0" role="region" aria-label={ "traffic of " (deployment) " over time" } {
            svg.chart viewBox=(format!("0 0 {WIDTH} {}", end + AXIS)) role="img" aria-labelledby="lanes lanes-in-words" {
                title id="lanes" { "which version answered when" }
                desc id="lanes-in-words" { (in_words(history)) }
                (months(time, (from, now), (TOP, end)))
                @for (lane, version) in versions.iter().enumerate() {
                    @let middle = TOP + (lane as f64 + 0.5) * LANE;
                    text.name x=(n(LEFT - 8.0)) y=(n(middle + 4.0)) text-anchor="end" { (short(version)) }
                    line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(middle)) y2=(n(middle)) {}
                    @for period in history { (stretch(period, version, time, now, middle)) }
                }
                @for period in history.iter().filter(|period| period.reason == TrafficReason::RolledBack) {
                    @let x = time.place(micros(period.from));
                    g.detection {
                        title { (period.sentence) }
                        line x1=(n(x)) x2=(n(x)) y1=(n(TOP - 4.0)) y2=(n(end)) {}
                        text.note x=(n(x)) y=(n(TOP - 8.0)) text-anchor=(if x > WIDTH - 60.0 { "end" } else { "middle" }) { "↩" }
                    }
                }
            }
        }
    })
}

/// The versions that got traffic, each once, the newest first.
fn versions(history: &[PeriodRow]) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for part in history.iter().flat_map(|period| &period.traffic) {
        if !versions.contains(&part.version) && versions.len() < MOST {
            versions.push(part.version.clone());
        }
    }
    versions.sort_by_key(|version| std::cmp::Reverse(number(version)));
    versions
}

fn number(version: &str) -> u32 {
    version.rsplit('@').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// `@2` of `late_arrival@2`.
fn short(version: &str) -> &str {
    version.find('@').map_or(version, |at| &version[at..])
}

fn stretch(period: &PeriodRow, version: &str, time: Scale, now: Timestamp, middle: f64) -> Markup {
    let until = period.until.unwrap_or(now);
    let (start, end) = (time.place(micros(period.from)), time.place(micros(until)));
    html! { @if let Some(part) = period.traffic.iter().find(|part| part.version == version) {
        @let height = (part.share * WHOLE).max(2.0);
        rect class=(if part.share >= 1.0 { "champion" } else { "part" }) x=(n(start)) y=(n(middle - height / 2.0)) width=(n((end - start).max(1.0))) height=(n(height)) {
            title { (version) " " (percent(part.share)) ", from " (minute(period.from)) @if let Some(until) = period.until { " to " (minute(until)) } " — " (period.sentence) }
        }
    } }
}

fn in_words(history: &[PeriodRow]) -> String {
    let told: Vec<String> = history
        .iter()
        .rev()
        .map(|period| {
            let parts: Vec<String> =
                period.traffic.iter().map(|part| format!("{} {}", part.version, percent(part.share))).collect();
            format!("from {} {}", minute(period.from), parts.join(" and "))
        })
        .collect();
    told.join("; ")
}

fn minute(at: Timestamp) -> String {
    at.to_string().get(..16).unwrap_or_default().replace('T', " ")
}
