//! One dataset: what it promises, what came, what was set aside.

use maud::{Markup, html};

use crate::page::{nothing, page, table};
use crate::profile::profiled;
use crate::view::{DatasetView, MarkRow, QuarantineView, Shown};
use crate::words::{count, moment, prose};

/// A dataset with its contract and its batches.
pub fn dataset(view: &DatasetView) -> String {
    let columns: Vec<Vec<Markup>> = view
        .columns
        .iter()
        .map(|column| {
            vec![
                html! { code { (column.name) } },
                html! { (column.kind) },
                html! { (column.promises) },
                html! { (column.otherwise) },
            ]
        })
        .collect();
    let checks: Vec<Vec<Markup>> = view
        .checks
        .iter()
        .map(|(name, sql, otherwise)| vec![html! { (name) }, html! { code { (sql) } }, html! { (otherwise) }])
        .collect();
    let commits: Vec<Vec<Markup>> = view
        .commits
        .iter()
        .map(|commit| {
            vec![
                html! { a href={ "/console/datasets/" (view.row.name) "?as_of=" (commit.version) } title="what it held then" { (commit.version) } },
                moment(commit.at),
                html! { (count(commit.rows)) },
                html! { (count(commit.removed)) },
                html! { (count(commit.quarantined)) },
                prose(&commit.source),
                html! { (commit.marks.join(", ")) },
                html! { a href={ "/console/facts?from=" (commit.fact) } { "#" (commit.fact) } },
            ]
        })
        .collect();
    let body = html! {
        div.title {
            h1 { "Dataset " (view.row.name) }
            p.lead { (view.row.description) }
            p.muted { "Owned by pod " (view.row.pod) ". " (count(view.row.rows)) " rows landed, " (count(view.row.quarantined)) " set aside." }
        }
        (profiled(&view.row.name, &view.profile))
        section.card {
            h2 { "Contract" }
            @if let Some(limit) = &view.max_quarantined { p { (limit) } }
            @if columns.is_empty() { (nothing("It is computed from other datasets, and promises what they promise.")) }
            @else { (table("columns", &["column", "type", "promises", "otherwise"], &columns)) }
            @if !checks.is_empty() { h3 { "Rules over whole rows" } (table("rules", &["rule", "condition", "otherwise"], &checks)) }
        }
        div.two {
            (reasons("Why rows were set aside", "Every row kept its promises.", &view.quarantined))
            (reasons("What rows that landed were remarked on for", "Nothing to remark on.", &view.warned))
        }
        (quarantine(&view.quarantine))
        section.card {
            h2 { "Versions" }
            @if commits.is_empty() { (nothing("Nothing has landed. `tenon ingest` takes its files; callers may push to /ingest/.")) }
            @else { (table("versions", &["#version", "at", "#rows came", "#rows went", "#set aside", "from", "pointed at by", "fact"], &commits)) }
        }
        (marks(&view.marks))
    };
    page(&view.frame, &view.row.name, &body)
}

/// The rows themselves, with what became of each.
fn quarantine(quarantine: &Shown<QuarantineView>) -> Markup {
    html! {
        section.card {
            h2 { "Rows that were set aside" }
            @match quarantine {
                Shown::No(reason) => (nothing(reason)),
                Shown::Yes(held) => {
                    @let all = held.open + held.released + held.discarded;
                    @if all == 0 { (nothing("None.")) } @else {
                        p { (count(held.open)) " open, " (count(held.released)) " released, " (count(held.discarded)) " discarded. "
                            span.muted { code { "tenon quarantine" } " repairs and releases them, or discards them, with a reason." } }
                        (quarantined(held))
                        @if all > held.rows.len() as u64 { p.muted { "The newest " (held.rows.len()) " of " (count(all)) "." } }
                    }
                }
            }
        }
    }
}

fn quarantined(held: &QuarantineView) -> Markup {
    let rows: Vec<Vec<Markup>> = held
        .rows
        .iter()
        .map(|row| {
            let state = match row.state.as_str() {
                "released" => html! { span.chip.good { "✓ released" } },
                "discarded" => html! { span.chip { "✗ discarded" } },
                _ => html! { span.chip.warn { "● open" } },
            };
            vec![
                moment(row.at),
                html! { (state) @if let Some(at) = row.resolved_at { " " (moment(at)) } },
                html! { (row.reason) },
                html! { code.row { (row.row) } },
                html! { (row.source) },
            ]
        })
        .collect();
    table("rows that were set aside", &["at", "state", "why", "the row as it came", "from"], &rows)
}

/// What keeps versions, or stands beside them.
fn marks(marks: &[MarkRow]) -> Markup {
    let rows: Vec<Vec<Markup>> = marks
        .iter()
        .map(|mark| {
            vec![
                html! { (mark.kind) " " strong { (mark.name) } },
                html! { @match mark.version { Some(version) => (version), None => "all" } },
                moment(mark.at),
                html! { (mark.by) },
                html! { (mark.reason) },
                html! { a href={ "/console/facts?from=" (mark.fact) } { "#" (mark.fact) } },
            ]
        })
        .collect();
    html! {
        section.card {
            h2 { "Tags, branches and holds" }
            @if rows.is_empty() { (nothing("None. A tag names a version that stays, a branch is written and checked before it is merged, a hold keeps every file.")) }
            @else { (table("tags, branches and holds", &["what", "#version", "since", "by", "what for", "fact"], &rows)) }
        }
    }
}

fn reasons(heading: &str, none: &str, reasons: &[(String, u64)]) -> Markup {
    let rows: Vec<Vec<Markup>> =
        reasons.iter().map(|(rule, rows)| vec![html! { (rule) }, html! { (count(*rows)) }]).collect();
    html! {
        section.card {
            h2 { (heading) }
            @if rows.is_empty() { (nothing(none)) } @else { (table(heading, &["rule", "#rows"], &rows)) }
        }
    }
}
