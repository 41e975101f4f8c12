//! One model version in plain words.

use maud::{Markup, html};

use crate::home::{chip, standing};
use crate::page::{nothing, page, table};
use crate::view::ModelView;
use crate::words::{count, moment, percent, prose, shortened};

/// Inputs that the page shows.
const INPUTS: usize = 20;

/// A model version: its card, its gates, what it looks at, what it is made of.
pub fn model(view: &ModelView) -> String {
    let gates: Vec<Vec<Markup>> = view.row.gates.iter().map(|gate| vec![chip(gate), prose(&gate.sentence)]).collect();
    let metrics: Vec<Vec<Markup>> = view.metrics.iter().map(|(name, value)| measure(name, *value)).collect();
    let body = html! {
        div.title {
            h1 { (view.row.version) " " @if view.row.serving { span.chip.good { "● answers" } } }
            p.lead { "Registered " (moment(view.row.at)) ", " (prose(&view.row.cause)) ". May it be deployed? " (standing(view.row.approved)) }
        }
        section.card.card-words {
            h2 { "In plain words" }
            dl { @for (heading, sentences) in &view.card {
                dt { (heading) }
                dd { @for sentence in sentences { p { (prose(sentence)) } } @if sentences.is_empty() { "not measured" } }
            } }
        }
        section.card {
            h2 { "Gates" }
            @if gates.is_empty() { (nothing("No gate has judged it yet.")) } @else { (table("gates", &["gate", "why"], &gates)) }
        }
        div.two {
            section.card { h2 { "What it looks at" } (importance(&view.importance)) }
            section.card {
                h2 { "On rows it had not seen" }
                @if metrics.is_empty() { (nothing("Nothing was measured.")) } @else { (table("measures on held-out rows", &["measure", "#value"], &metrics)) }
                h3 { "Evidence" }
                dl { @for (name, value) in &view.evidence { dt { (name) } dd { (shortened(value)) } } dt { "fact" } dd { a href={ "/console/facts?from=" (view.fact) } { "#" (view.fact) } } }
            }
        }
    };
    page(&view.frame, &view.row.version, &body)
}

/// A measure by the name that people know it by.
fn measure(name: &str, value: f64) -> Vec<Markup> {
    let name = match name {
        "brier" => "Brier score",
        "calibration_error" => "calibration error",
        "held_out_rows" => "rows",
        "log_loss" => "log loss",
        "positive_rate" => "share that came true",
        "roc_auc" => "ROC AUC",
        "roc_auc_low" => "ROC AUC, 95% sure from",
        "roc_auc_high" => "ROC AUC, 95% sure to",
        other => other,
    };
    let figure = match name {
        "rows" => count(value as u64),
        "share that came true" => percent(value),
        _ => format!("{value:.4}"),
    };
    vec![html! { (name) }, html! { (figure) }]
}

fn importance(inputs: &[(String, f64)]) -> Markup {
    let greatest = inputs.iter().map(|(_, weight)| *weight).fold(f64::MIN_POSITIVE, f64::max);
    html! {
        @if inputs.is_empty() { (nothing("It has no exact explanation.")) }
        @else {
            p.muted { "How far each input moves the estimate on average, in log-odds (mean absolute SHAP value)." }
            table.bars {
                caption.hidden { "importance of the inputs" }
                thead.hidden { tr { th scope="col" { "input" } th scope="col" { "share" } th scope="col" { "importance" } } }
                tbody { @for (name, weight) in inputs.iter().take(INPUTS) { tr {
                    th scope="row" { (name) }
                    td { svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" { rect.champion width=(format!("{:.1}", weight / greatest * 100.0)) height="8" {} } }
                    td.figure { (format!("{weight:.3}")) }
                } } }
            }
            @if inputs.len() > INPUTS { p.muted { "and " (inputs.len() - INPUTS) " more" } }
        }
    }
}
