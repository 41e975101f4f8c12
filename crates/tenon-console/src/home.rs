//! The whole loop on one page.

use maud::{Markup, html};
use tenon_core::fact::{TrafficReason, Verdict};

use crate::chart::chart;
use crate::facts::fact_table;
use crate::page::{nothing, page, table};
use crate::traffic::{bar, parts};
use crate::view::{
    BudgetRow, DatasetRow, DeploymentView, GateView, HomeView, LedgerView, MonitorView, PeriodRow, SkewMark, VersionRow,
};
use crate::words::{count, moment, percent, prose, shortened, usd};

/// Rows of history that the page shows.
const HISTORY: usize = 8;

/// The home page: data, models, traffic, drift, money, facts.
pub fn home(view: &HomeView) -> String {
    let body = html! {
        div.title {
            h1 { (view.frame.company) }
            @if let Some(description) = &view.description { p.lead { (description) } }
        }
        (figures(view))
        @for deployment in &view.deployments { (deployed(deployment)) }
        @if view.deployments.is_empty() {
            section.card { h2 { "Deployments" } (nothing("Nothing is deployed. A file in a pod's deployments/ folder, applied, opens an address that a model answers at.")) }
        }
        @for monitor in &view.monitors { (watched(monitor)) }
        @if view.monitors.is_empty() {
            section.card { h2 { "Watch" } (nothing("Nothing is watched. A file in a pod's monitors/ folder, applied, has a deployment measured.")) }
        }
        (versions(&view.versions))
        (datasets(&view.datasets))
        div.two {
            (money(&view.budgets))
            (record(&view.ledger))
        }
        @if let Some(facts) = &view.facts {
            section.card {
                h2 { "Last facts" a.more href="/console/facts" { "all facts" } }
                @if facts.is_empty() { (nothing("Nothing has happened yet.")) } @else { (fact_table("the last facts", facts)) }
            }
        }
    };
    page(&view.frame, "The loop", &body)
}

fn figures(view: &HomeView) -> Markup {
    let rows: u64 = view.datasets.iter().map(|dataset| dataset.rows).sum();
    let aside: u64 = view.datasets.iter().map(|dataset| dataset.quarantined).sum();
    let decisions: u64 = view.deployments.iter().map(|deployment| deployment.decisions).sum();
    let outcomes: u64 = view.deployments.iter().map(|deployment| deployment.outcomes).sum();
    let detections: usize = view.monitors.iter().map(|monitor| monitor.detections.len()).sum();
    let approved = view.versions.iter().filter(|version| version.approved == Some(true)).count();
    let tiles = [
        ("data", count(rows), format!("rows landed, {} in quarantine", count(aside))),
        ("models", view.versions.len().to_string(), format!("versions, {approved} approved")),
        ("decisions", count(decisions), format!("made, {} with a known outcome", count(outcomes))),
        ("drift", detections.to_string(), if detections == 1 { "time detected" } else { "times detected" }.to_owned()),
        ("record", count(view.ledger.size), "facts, each provable".to_owned()),
    ];
    html! {
        ol.loop aria-label="the loop in figures" { @for (name, figure, what) in tiles {
            li { span.kicker { (name) } strong { (figure) } span { (what) } }
        } }
    }
}

fn deployed(deployment: &DeploymentView) -> Markup {
    html! {
        section.card {
            h2 { "Deployment " a href={ "/console/deployments/" (deployment.name) } { (deployment.name) } @if let Some(rollout) = &deployment.rollout { span.chip.warn { "◐ " (rollout) } } }
            p.lead { (deployment.description) }
            @if deployment.traffic.is_empty() {
                (nothing("No version answers yet. The first one that passes its gates takes over at once."))
            } @else { (bar(&deployment.traffic)) }
            @if !deployment.history.is_empty() {
                h3 { "Who answered when" }
                (history(&deployment.history[..deployment.history.len().min(HISTORY)]))
                @if deployment.history.len() > HISTORY { p.muted { (deployment.history.len() - HISTORY) " earlier moves are on " a href={ "/console/deployments/" (deployment.name) } { "the deployment's page" } "." } }
            }
            p.links { a href={ "/console/deployments/" (deployment.name) } { "versions, guardrails, incidents, latency" } a href={ "/console/decisions?deployment=" (deployment.name) } { "its decisions" } }
        }
    }
}

pub(crate) fn history(periods: &[PeriodRow]) -> Markup {
    let rows: Vec<Vec<Markup>> = periods
        .iter()
        .map(|period| {
            let reason = match period.reason {
                TrafficReason::Advanced => html! { span.chip { "→ step" } },
                TrafficReason::Finished => html! { span.chip.good { "✓ took over" } },
                TrafficReason::RolledBack => html! { span.chip.bad { "↩ rolled back" } },
            };
            vec![
                moment(period.from),
                parts(&period.traffic),
                reason,
                html! { div.told { (prose(&period.sentence)) " " a.fact href={ "/console/facts?from=" (period.fact) } { "#" (period.fact) } } },
            ]
        })
        .collect();
    table("who answered when", &["from", "traffic", "move", "why"], &rows)
}

fn watched(monitor: &MonitorView) -> Markup {
    html! {
        section.card {
            h2 { "Watch on " (monitor.deployment) }
            p.lead { (monitor.description) }
            @match chart(monitor) {
                Some(chart) => {
                    ul.legend {
                        li { span.key.inputs aria-hidden="true" {} "the input that moved most (population stability index against the training set)" }
                        li { span.key.prediction aria-hidden="true" {} "the prediction" }
                        li { span.sign aria-hidden="true" { "▼" } "drift detected" }
                        li { span.sign aria-hidden="true" { "◆" } "a version took over" }
                    }
                    (chart)
                }
                None => (nothing("Not measured yet: a window needs enough decisions, and a chart two windows.")),
            }
            @if let Some(skew) = &monitor.skew { p { (served_again(skew)) } }
            @if !monitor.detections.is_empty() {
                ul.detections { @for mark in &monitor.detections { li { @if !mark.sentence.contains(&mark.at.to_string()) { (moment(mark.at)) " " } (prose(&mark.sentence)) } } }
            }
        }
    }
}

fn served_again(skew: &SkewMark) -> Markup {
    html! {
        (count(skew.rows)) " decisions until " (moment(skew.at)) " were looked at again: "
        @match &skew.most_often {
            Some((feature, rows)) => { "training sees other values of " code { (feature) } " in " (count(*rows)) " of them." }
            None => { "their features were served as training sees them." }
        }
    }
}

fn versions(versions: &[VersionRow]) -> Markup {
    let rows: Vec<Vec<Markup>> = versions
        .iter()
        .map(|version| {
            vec![
                html! { a href={ "/console/models/" (version.version) } { (version.version) } @if version.serving { " " span.chip.good { "● answers" } } },
                standing(version.approved),
                html! { div.chips { @for gate in &version.gates { (chip(gate)) } } },
                html! { @match version.roc_auc { Some(auc) => (format!("{auc:.3}")), None => "—" } },
                prose(&version.cause),
                moment(version.at),
            ]
        })
        .collect();
    html! {
        section.card {
            h2 { "Model versions" }
            @if rows.is_empty() { (nothing("No version yet. `tenon train MODEL` makes the first.")) }
            @else { (table("model versions", &["version", "may be deployed", "gates", "#ROC AUC", "why it was trained", "registered"], &rows)) }
        }
    }
}

pub(crate) fn standing(approved: Option<bool>) -> Markup {
    html! { @match approved {
        Some(true) => span.chip.good { "✓ yes" },
        Some(false) => span.chip.bad { "✗ no" },
        None => span.chip { "… not judged" },
    } }
}

/// A verdict as a chip: a sign and a word, not a colour alone; the sentence on hover.
pub(crate) fn chip(gate: &GateView) -> Markup {
    let (class, sign, word) = match gate.verdict {
        Verdict::Passed => ("chip good", "✓", "passed"),
        Verdict::Failed => ("chip bad", "✗", "failed"),
        Verdict::Waived => ("chip warn", "≈", "waived"),
    };
    html! { span class=(class) title=(gate.sentence) { span aria-hidden="true" { (sign) } " " (gate.gate) span.hidden { " " (word) } } }
}

fn datasets(datasets: &[DatasetRow]) -> Markup {
    let rows: Vec<Vec<Markup>> = datasets
        .iter()
        .map(|dataset| {
            let taken = dataset.rows + dataset.quarantined;
            let share = if taken == 0 { 0.0 } else { dataset.quarantined as f64 / taken as f64 };
            vec![
                html! { a href={ "/console/datasets/" (dataset.name) } { (dataset.name) } },
                html! { @if dataset.computed { "computed" } @else { @match dataset.version { Some(version) => (version), None => "—" } } },
                html! { (count(dataset.rows)) },
                html! { (count(dataset.quarantined)) @if dataset.quarantined > 0 { span.muted { " (" (percent(share)) ")" } } },
                html! { @match dataset.updated { Some(at) => (moment(at)), None => "—" } },
                html! { (dataset.description) },
            ]
        })
        .collect();
    html! {
        section.card {
            h2 { "Datasets" }
            @if rows.is_empty() { (nothing("No dataset is declared. A file in a pod's datasets/ folder, applied, declares one with its contract.")) }
            @else { (table("datasets", &["dataset", "#version", "#rows", "#quarantined", "last change", "what it holds"], &rows)) }
        }
    }
}

fn money(budgets: &[BudgetRow]) -> Markup {
    html! {
        section.card {
            h2 { "Budgets" }
            @if budgets.is_empty() { (nothing("No pod, so nobody spends.")) }
            @for budget in budgets {
                div.budget {
                    span { strong { (budget.pod) } " " span.muted { (budget.period) } }
                    @match budget.limit_usd {
                        Some(limit) => {
                            span { (usd(budget.spent_usd)) " of " (usd(limit)) }
                            meter min="0" max=(limit) value=(budget.spent_usd) aria-label={ "spend of " (budget.pod) } { (usd(budget.spent_usd)) }
                        }
                        None => { span { (usd(budget.spent_usd)) ", no limit" } }
                    }
                }
            }
        }
    }
}

pub(crate) fn record(ledger: &LedgerView) -> Markup {
    html! {
        section.card {
            h2 { "Record" a.more href="/log/checkpoint" { "signed checkpoint" } }
            dl {
                dt { "log" } dd { (ledger.origin) }
                dt { "facts" } dd { (count(ledger.size)) }
                dt { "root" } dd { (shortened(&ledger.root)) }
                dt { "key" } dd { (shortened(&ledger.key)) }
            }
            p.muted { "Anybody can check it without this program: the log is served as C2SP tiles under /log/." }
        }
    }
}
