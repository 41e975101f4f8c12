//! What a dataset holds, a card a column: how many values, which, and how they are spread.

use maud::{Markup, html};
use tenon_core::Timestamp;

use crate::chart::{Scale, n};
use crate::page::nothing;
use crate::view::{ColumnFigures, ProfileView, Shown, Spread};
use crate::words::{count, percent};

const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 52.0;
/// Room below the bars for the sign of the median.
const BELOW: f64 = 8.0;
/// Values that are named.
const NAMED: usize = 8;
/// Longer values are cut where they are shown; the whole is on hover.
const LONGEST: usize = 20;

/// The card, with the way to other versions.
pub(crate) fn profiled(dataset: &str, profile: &Shown<ProfileView>) -> Markup {
    html! {
        section.card {
            h2 { "What it holds" @if let Shown::Yes(profile) = profile { (stand(dataset, profile)) } }
            @match profile {
                Shown::Yes(profile) => { (told(profile)) (columns(profile)) }
                Shown::No(reason) => (nothing(reason)),
            }
            (ask(dataset, profile))
        }
    }
}

fn stand(dataset: &str, profile: &ProfileView) -> Markup {
    html! { @if profile.as_of.is_some() {
        span.chip.warn { "◷ as of " (profile.as_of.as_deref().unwrap_or_default()) }
        a.more href={ "/console/datasets/" (dataset) } { "as it is now" }
    } }
}

fn told(profile: &ProfileView) -> Markup {
    html! {
        p.muted {
            (count(profile.rows)) " rows" @if let Some(version) = profile.version { " in version " (version) } ". "
            @if profile.looked_at < profile.rows {
                "The figures come from a sample of " (count(profile.looked_at)) " of them; " code { "tenon profile" } " takes all. "
            }
            "▲ marks the median."
        }
    }
}

/// Another version, moment or tag may be asked for.
fn ask(dataset: &str, profile: &Shown<ProfileView>) -> Markup {
    let before = match profile {
        Shown::Yes(profile) => profile.as_of.as_deref().unwrap_or_default(),
        Shown::No(_) => "",
    };
    html! {
        form.ask action={ "/console/datasets/" (dataset) } method="get" {
            label for="as_of" { "As of a version, a moment or a tag" }
            input id="as_of" name="as_of" value=(before) placeholder="12, 2013-04-01 or q1" maxlength="100" size="22" required;
            button { "Show" }
        }
    }
}

fn columns(profile: &ProfileView) -> Markup {
    html! {
        @if profile.looked_at == 0 { (nothing("No rows, so nothing to draw.")) }
        @else { div.columns { @for (at, column) in profile.columns.iter().enumerate() {
            article.column {
                h3 { code { (column.name) } " " span.muted { (column.kind) } }
                (drawn(at, column, profile.looked_at))
                (figures(column, profile.looked_at))
            }
        } } }
    }
}

fn drawn(at: usize, column: &ColumnFigures, looked_at: u64) -> Markup {
    let filled = looked_at.saturating_sub(column.nulls);
    match &column.spread {
        Spread::Numbers(bars, low, high) => {
            let edge = |at: usize| number(low + (high - low) * at as f64 / bars.len().max(1) as f64);
            let median = column.quantiles.map(|quantiles| quantiles[2]);
            let place = Scale { from: *low, to: *high, at_from: 0.0, at_to: WIDTH };
            histogram(at, column, bars, edge, median.map(|median| place.place(median)))
        }
        Spread::Moments(bars, low, high) => {
            let span = (*high - *low).as_micros() as f64;
            let edge = |at: usize| {
                let micros = low.as_micros() as f64 + span * at as f64 / bars.len().max(1) as f64;
                minute(Timestamp::from_micros(micros as i64))
            };
            histogram(at, column, bars, edge, None)
        }
        Spread::Top(values) => top(column, values, filled),
        Spread::Nothing(reason) => nothing(reason),
    }
}

fn histogram(
    at: usize,
    column: &ColumnFigures,
    bars: &[u64],
    edge: impl Fn(usize) -> String,
    median: Option<f64>,
) -> Markup {
    let most = bars.iter().copied().max().unwrap_or(0).max(1);
    let width = WIDTH / bars.len().max(1) as f64;
    // A bar of few rows beside one of many is still there to be seen.
    let height = |rows: u64| if rows == 0 { 0.0 } else { (rows as f64 / most as f64 * HEIGHT).max(1.5) };
    let fullest = bars.iter().position(|rows| *rows == most).unwrap_or(0);
    html! {
        svg.histogram viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + BELOW)) role="img" aria-labelledby=(format!("spread-{at} spread-{at}-in-words")) {
            title id=(format!("spread-{at}")) { "how the values of " (column.name) " are spread" }
            desc id=(format!("spread-{at}-in-words")) {
                "From " (edge(0)) " to " (edge(bars.len())) ", in " (bars.len()) " bars of equal width. The fullest is from "
                (edge(fullest)) " to " (edge(fullest + 1)) ", with " (count(most)) " rows."
            }
            @for (bar, rows) in bars.iter().enumerate() {
                rect.bar x=(n(bar as f64 * width + 0.5)) y=(n(HEIGHT - height(*rows))) width=(n(width - 1.0)) height=(n(height(*rows))) {
                    title { (edge(bar)) " to " (edge(bar + 1)) ": " (count(*rows)) " rows" }
                }
            }
            line.axis x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
            @if let Some(x) = median { path.median d=(format!("M{} {}l4 6h-8z", n(x), HEIGHT + 1.5)) { title { "the median" } } }
        }
        p.ends aria-hidden="true" { span { (edge(0)) } span { (edge(bars.len())) } }
    }
}

fn top(column: &ColumnFigures, values: &[(String, u64)], filled: u64) -> Markup {
    let most = values.iter().map(|(_, rows)| *rows).max().unwrap_or(1).max(1);
    let named: u64 = values.iter().take(NAMED).map(|(_, rows)| *rows).sum();
    let others = filled.saturating_sub(named);
    html! {
        table.bars.values {
            caption.hidden { "the most frequent values of " (column.name) }
            thead.hidden { tr { th scope="col" { "value" } th scope="col" { "how often" } th scope="col" { "rows" } } }
            tbody {
                @for (value, rows) in values.iter().take(NAMED) { tr {
                    th scope="row" { (cut(value)) }
                    td { svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" { rect.champion width=(format!("{:.1}", *rows as f64 / most as f64 * 100.0)) height="8" {} } }
                    td.figure { (count(*rows)) " " span.muted { (percent(*rows as f64 / filled.max(1) as f64)) } }
                } }
                @if others > 0 { tr.others { th scope="row" { "others" } td {} td.figure { (count(others)) " " span.muted { (percent(others as f64 / filled.max(1) as f64)) } } } }
            }
        }
    }
}

fn figures(column: &ColumnFigures, looked_at: u64) -> Markup {
    html! {
        dl.figures {
            dt { "missing" }
            dd { @match column.nulls {
                0 => "none",
                nulls => { (count(nulls)) " (" (percent(nulls as f64 / looked_at.max(1) as f64)) ")" }
            } }
            dt { "different" } dd { "about " (count(column.distinct)) }
            @if let Some([p5, p25, p50, p75, p95]) = column.quantiles {
                dt { "median" } dd { (number(p50)) @if let Some(mean) = column.mean { span.muted { ", mean " (number(mean)) } } }
                dt { "half lie" } dd { (number(p25)) " to " (number(p75)) }
                dt { "90% lie" } dd { (number(p5)) " to " (number(p95)) }
            } @else if let (Some(least), Some(greatest)) = (&column.least, &column.greatest) {
                dt { "from" } dd { (shown(least, &column.spread)) }
                dt { "to" } dd { (shown(greatest, &column.spread)) }
            }
        }
    }
}

/// A value; of moments to the minute.
fn shown(value: &str, spread: &Spread) -> Markup {
    match (spread, value.parse::<Timestamp>()) {
        (Spread::Moments(..), Ok(at)) => crate::words::moment(at),
        _ => cut(value),
    }
}

fn cut(value: &str) -> Markup {
    let short: String = value.chars().take(LONGEST).collect();
    html! {
        @if value.is_empty() { span.muted { "(empty)" } }
        @else if short.len() < value.len() { span title=(value) { (short) "…" } }
        @else { (value) }
    }
}

fn minute(at: Timestamp) -> String {
    at.to_string().get(..16).unwrap_or_default().replace('T', " ")
}

/// A number with the digits that say something.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        return format!("{value:.3e}");
    }
    let text = match size {
        1000.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_say_something() {
        let told = [0.0, -43.0, 1301.0, 12.3456, 0.123_456, 1e-9, 123_456_789.0, 2.5e20].map(number);
        assert_eq!(told, ["0", "−43", "1301", "12.35", "0.1235", "1.000e-9", "123456789", "2.500e20"]);
    }
}
