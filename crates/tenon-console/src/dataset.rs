//! One dataset: what it promises, what came, what was set aside.

use maud::{Markup, html};

use crate::page::{nothing, page, table};
use crate::view::DatasetView;
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
                html! { (commit.version) },
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
        section.card {
            h2 { "Versions" }
            @if commits.is_empty() { (nothing("Nothing has landed. `tenon ingest` takes its files; callers may push to /ingest/.")) }
            @else { (table("versions", &["#version", "at", "#rows came", "#rows went", "#set aside", "from", "pointed at by", "fact"], &commits)) }
        }
    };
    page(&view.frame, &view.row.name, &body)
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
