//! A deployment: who answers now and over time, what guards it, what was decided.

use maud::{Markup, html};
use tenon_core::fact::TrafficReason;

use crate::activity::activity;
use crate::decisions::decision_table;
use crate::home::{history, standing};
use crate::lanes::lanes;
use crate::page::{nothing, page, table};
use crate::traffic::bar;
use crate::view::{DeployedRow, DeploymentPageView, IncidentRow, PeriodRow, Shown};
use crate::words::{count, moment, percent, prose};

/// Moves of traffic that the page shows.
const MOVES: usize = 100;

/// A deployment with its history.
pub fn deployment(view: &DeploymentPageView) -> String {
    let deployment = &view.deployment;
    let moves = deployment.history.iter();
    let rollbacks: Vec<PeriodRow> = moves.filter(|moved| moved.reason == TrafficReason::RolledBack).cloned().collect();
    let body = html! {
        div.title {
            h1 { "Deployment " (deployment.name) @if view.about_people { " " span.chip.warn { "! decides about people" } } }
            p.lead { (deployment.description) }
            p.muted { "Owned by pod " (view.pod) ". Versions of model " (view.model) " answer; a probability of " (percent(view.threshold)) " or more decides yes. Callers ask at " code { "POST /decide/" (deployment.name) } "." }
        }
        section.card {
            h2 { "Who answers now" @if let Some(rollout) = &deployment.rollout { span.chip.warn { "◐ " (rollout) } } }
            @if deployment.traffic.is_empty() {
                (nothing("No version answers yet. The first one that passes its gates takes over at once."))
            } @else { (bar(&deployment.traffic)) }
            @for (step, sentences) in &view.readings {
                h3 { "What the guardrails see in step " (step + 1) }
                @for sentence in sentences { p { (prose(sentence)) } }
            }
        }
        section.card {
            h2 { "Who answered when" }
            @if deployment.history.is_empty() { (nothing("Traffic has not moved yet.")) } @else {
                @if let Some(chart) = lanes(&deployment.name, &deployment.history, view.frame.now) {
                    ul.legend {
                        li { span.swatch aria-hidden="true" {} "all of the traffic" }
                        li { span.swatch.part aria-hidden="true" {} "a share of it: the lower the bar, the smaller" }
                        li { span.sign aria-hidden="true" { "↩" } "rolled back" }
                    }
                    (chart)
                }
                @if !rollbacks.is_empty() { h3 { "Rolled back" } (history(&rollbacks)) }
                details {
                    summary { "all " (deployment.history.len()) " moves of traffic, newest first" }
                    (history(&deployment.history[..deployment.history.len().min(MOVES)]))
                    @if deployment.history.len() > MOVES { p.muted { (deployment.history.len() - MOVES) " earlier moves are on record." } }
                }
            }
        }
        (versions(&view.versions))
        (takeover(view))
        (incidents(&view.incidents))
        section.card {
            h2 { "Decisions" a.more href={ "/console/decisions?deployment=" (deployment.name) } { "all decisions" } }
            p { (count(deployment.decisions)) " made, " (count(deployment.outcomes)) " with a known outcome." }
            @match &view.activity {
                Shown::No(reason) => (nothing(reason)),
                Shown::Yes(shown) => {
                    (activity(shown))
                    @if !view.decisions.is_empty() { h3 { "The newest" } (decision_table("the newest decisions", &view.decisions, false)) }
                }
            }
        }
    };
    page(&view.frame, &deployment.name, &body)
}

fn versions(versions: &[DeployedRow]) -> Markup {
    let rows: Vec<Vec<Markup>> = versions
        .iter()
        .map(|row| {
            vec![
                html! { a href={ "/console/models/" (row.version.version) } { (row.version.version) } @if row.version.serving { " " span.chip.good { "● answers" } } },
                standing(row.version.approved),
                html! { @match row.version.roc_auc { Some(auc) => (format!("{auc:.3}")), None => "—" } },
                moment(row.first),
                html! { @match row.last { Some(until) => (moment(until)), None => "still" } },
                html! { (percent(row.most)) },
                html! { @if row.rolled_back > 0 { span.chip.bad { "↩ " (row.rolled_back) @if row.rolled_back == 1 { " time" } @else { " times" } } } @else { "never" } },
                prose(&row.version.cause),
            ]
        })
        .collect();
    html! {
        section.card {
            h2 { "Versions that got traffic" }
            @if rows.is_empty() { (nothing("None yet.")) }
            @else { (table("versions that got traffic", &["version, with its model card", "may be deployed", "#ROC AUC", "first", "last", "#largest share", "rolled back", "why it was trained"], &rows)) }
        }
    }
}

fn takeover(view: &DeploymentPageView) -> Markup {
    let steps: Vec<String> = view.steps.iter().map(|share| percent(*share)).collect();
    html! {
        section.card {
            h2 { "How a new version takes over" }
            dl {
                dt { "steps" } dd { (steps.join(" → ")) }
                dt { "each step" } dd { "waits for " (count(view.bake_outcomes)) " known outcomes of the candidate" }
                dt { "guardrails" }
                dd { @for guardrail in &view.guardrails { p { (guardrail) } } @if view.guardrails.is_empty() { "none: only people take a candidate out" } }
            }
        }
    }
}

fn incidents(incidents: &[IncidentRow]) -> Markup {
    let rows: Vec<Vec<Markup>> = incidents
        .iter()
        .map(|incident| {
            vec![
                moment(incident.opened),
                html! { @match incident.closed {
                    Some(closed) => { span.chip.good { "✓ closed" } " " (moment(closed)) }
                    None => span.chip.bad { "● open" },
                } },
                html! { div.told { (prose(&incident.sentence)) @if incident.retrain { ". A new version was asked for." } " " a.fact href={ "/console/facts?from=" (incident.fact) } { "#" (incident.fact) } } },
            ]
        })
        .collect();
    html! {
        section.card {
            h2 { "Incidents" }
            @if rows.is_empty() { (nothing("None. A monitor opens one when what comes in, or the quality, has moved too far.")) }
            @else { (table("incidents", &["seen", "state", "what"], &rows)) }
        }
    }
}
