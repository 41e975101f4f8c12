//! Decisions, a page at a time.

use maud::{Markup, html};

use crate::page::{nothing, page, table};
use crate::view::{DecisionRow, DecisionsView};
use crate::words::{moment, percent};

/// A stretch of the decisions, newest first.
pub fn decisions(view: &DecisionsView) -> String {
    let of = |older: &str| match &view.chosen {
        Some(deployment) => format!("/console/decisions?deployment={deployment}&before={older}"),
        None => format!("/console/decisions?before={older}"),
    };
    let first = view.chosen.as_ref().map_or_else(String::new, |deployment| format!("?deployment={deployment}"));
    let body = html! {
        div.title {
            h1 { "Decisions" @if let Some(deployment) = &view.chosen { " of " a href={ "/console/deployments/" (deployment) } { (deployment) } } }
            p.lead { "What was decided, newest first. Each has a receipt: what was known, why it was decided so, and the proof." }
            @if !view.hidden.is_empty() { p.muted { "You may not see those of " (view.hidden.join(", ")) "." } }
        }
        @if view.deployments.len() > 1 || view.chosen.is_some() { nav.filter aria-label="deployments" {
            a href="/console/decisions" aria-current=[view.chosen.is_none().then_some("page")] { "all" }
            @for deployment in &view.deployments {
                a href={ "/console/decisions?deployment=" (deployment) } aria-current=[(view.chosen.as_ref() == Some(deployment)).then_some("page")] { (deployment) }
            }
        } }
        section.card {
            @if view.decisions.is_empty() {
                (nothing(if view.later_pages { "There are no older ones." } else { "Nothing was decided yet. Callers ask at POST /decide/DEPLOYMENT; what was decided is listed seconds later." }))
            } @else { (decision_table("decisions", &view.decisions, view.chosen.is_none())) }
            nav.pager aria-label="more decisions" {
                @if view.later_pages { a href={ "/console/decisions" (first) } { "← newest" } }
                @if let Some(older) = &view.older { a href=(of(older)) { "older →" } }
            }
        }
    };
    page(&view.frame, "Decisions", &body)
}

pub(crate) fn decision_table(caption: &str, decisions: &[DecisionRow], with_deployment: bool) -> Markup {
    let mut headings =
        vec!["about the moment", "about", "decided", "#probability", "what became of it", "by", "receipt"];
    if with_deployment {
        headings.insert(1, "deployment");
    }
    let rows: Vec<Vec<Markup>> = decisions.iter().map(|decision| row(decision, with_deployment)).collect();
    table(caption, &headings, &rows)
}

fn row(decision: &DecisionRow, with_deployment: bool) -> Vec<Markup> {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let mut cells = vec![
        moment(decision.at),
        html! { span.entities { @for (column, value) in &decision.entities { span { span.muted { (column) } " " (value) } " " } } },
        html! { strong { (yes(decision.decision)) } },
        html! { (percent(decision.probability)) },
        html! { @match decision.outcome {
            Some(outcome) if outcome == decision.decision => span.chip.good { "✓ right: " (yes(outcome)) },
            Some(outcome) => span.chip.bad { "✗ wrong: " (yes(outcome)) },
            None => span.muted { "not known yet" },
        } },
        html! { a.whole href={ "/console/models/" (decision.version) } { (decision.version) } @if decision.candidate { " " span.chip.warn { "◐ candidate" } } },
        html! { a.whole href={ "/console/decisions/" (decision.id) } aria-label={ "receipt of " (decision.id) } { (decision.id.get(..8).unwrap_or_default()) "…" } },
    ];
    if with_deployment {
        cells.insert(
            1,
            html! { a.whole href={ "/console/deployments/" (decision.deployment) } { (decision.deployment) } },
        );
    }
    cells
}
