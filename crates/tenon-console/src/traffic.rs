//! Who answers, as a bar and as words.

use maud::{Markup, html};

use crate::view::Part;
use crate::words::percent;

/// The split as a bar with its words below; the pattern differs as well as the colour.
pub(crate) fn bar(traffic: &[Part]) -> Markup {
    let said = words(traffic);
    let mut left = 0.0;
    let places: Vec<(usize, f64, f64)> = traffic
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let place = (at, left * 100.0, part.share * 100.0);
            left += part.share;
            place
        })
        .collect();
    html! {
        svg.split role="img" aria-label={ "traffic: " (said) } viewBox="0 0 100 5" preserveAspectRatio="none" {
            defs {
                pattern id="stripes" width="1.2" height="5" patternUnits="userSpaceOnUse" patternTransform="skewX(-30)" {
                    rect.candidate width="1.2" height="5" {}
                    rect.stripe width="0.5" height="5" {}
                }
            }
            @for (at, x, width) in places {
                rect class=(if at == 0 { "champion" } else { "striped" }) x=(format!("{x:.2}")) width=(format!("{width:.2}")) height="5" {}
            }
        }
        ul.parts { @for (at, part) in traffic.iter().enumerate() {
            li { span.swatch.other[at > 0] aria-hidden="true" {} a href={ "/console/models/" (part.version) } { (part.version) } " " strong { (percent(part.share)) } }
        } }
    }
}

/// The same in words, a version to a line where there is no room for all.
pub(crate) fn parts(traffic: &[Part]) -> Markup {
    let last = traffic.len().saturating_sub(1);
    html! { @for (at, part) in traffic.iter().enumerate() {
        span.whole { (part.version) " " (percent(part.share)) @if at < last { "," } } " "
    } }
}

/// `late_arrival@1 90%, late_arrival@2 10%`.
fn words(traffic: &[Part]) -> String {
    let parts: Vec<String> = traffic.iter().map(|part| format!("{} {}", part.version, percent(part.share))).collect();
    parts.join(", ")
}
