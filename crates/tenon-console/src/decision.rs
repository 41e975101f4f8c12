//! The receipt of one decision.

use maud::{Markup, html};

use crate::page::{nothing, page, table};
use crate::view::DecisionView;
use crate::words::{moment, percent, prose, shortened, usd};

/// A decision: what was decided, why, from what, and the proof.
pub fn decision(view: &DecisionView) -> String {
    let inputs: Vec<Vec<Markup>> = view
        .inputs
        .iter()
        .map(|(name, value, known)| {
            vec![
                html! { code { (name) } },
                html! { @match value { Some(value) => (value), None => span.muted { "missing" } } },
                html! { @match known { Some(at) => (moment(*at)), None => "—" } },
            ]
        })
        .collect();
    let body = html! {
        div.title {
            h1 { (view.deployment) ": " (if view.decision { "yes" } else { "no" }) " " span.muted { (percent(view.probability)) } }
            p.lead { "Decided for " (moment(view.at)) " by " a href={ "/console/models/" (view.version) } { (view.version) } ", the " (view.variant) " of its deployment." }
            p { @match &view.fault {
                None => span.chip.good { "✓ proven: row, batch, fact, signed checkpoint" },
                Some(fault) => span.chip.bad { "✗ not proven: " (fault) },
            } }
        }
        div.two {
            section.card {
                h2 { "Because" }
                @if view.reasons.is_empty() { (nothing("No explanation was asked for when it was made.")) } @else { (reasons(&view.reasons)) }
            }
            section.card {
                h2 { "About" }
                dl {
                    @for (column, value) in &view.entities { dt { (column) } dd { (value) } }
                    dt { "outcome" }
                    dd { @match view.outcome {
                        Some((yes, at)) => { (if yes { "yes" } else { "no" }) ", known " (moment(at)) " " @if yes == view.decision { span.chip.good { "✓ right" } } @else { span.chip.bad { "✗ wrong" } } }
                        None => "not known yet",
                    } }
                    dt { "took" } dd { (view.latency_us) " µs" }
                    dt { "cost" } dd { (usd(view.usd)) }
                    dt { "decision" } dd { code { (view.id) } }
                }
            }
        }
        section.card { h2 { "From what was known" } (table("inputs", &["input", "#value", "known at"], &inputs)) }
        section.card {
            h2 { "Proof" a.more href={ "/decisions/" (view.id) } { "receipt as JSON" } }
            dl { @for (name, value) in &view.proof { dt { (name) } dd { (shortened(value)) } } }
        }
    };
    page(&view.frame, &view.id, &body)
}

/// Bars to the right push towards yes, bars to the left towards no; the sign says so as well.
fn reasons(reasons: &[(String, f64)]) -> Markup {
    let greatest = reasons.iter().map(|(_, weight)| weight.abs()).fold(f64::MIN_POSITIVE, f64::max);
    html! {
        p.muted { "Log-odds towards yes (+) and towards no (−)." }
        table.bars {
            caption.hidden { "reasons, the strongest first" }
            thead.hidden { tr { th scope="col" { "reason" } th scope="col" { "direction" } th scope="col" { "weight" } } }
            tbody { @for (sentence, weight) in reasons {
                @let width = weight.abs() / greatest * 50.0;
                tr {
                    th scope="row" { (prose(sentence)) }
                    td { svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                        line.middle x1="50" x2="50" y1="0" y2="8" {}
                        rect class=(if *weight < 0.0 { "against" } else { "champion" }) x=(format!("{:.1}", if *weight < 0.0 { 50.0 - width } else { 50.0 })) width=(format!("{width:.1}")) height="8" {}
                    } }
                    td.figure { (format!("{weight:+.3}")) }
                }
            } }
        }
    }
}
