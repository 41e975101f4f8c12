//! The log, a page at a time.

use maud::{Markup, html};

use crate::home::record;
use crate::page::{nothing, page, table};
use crate::view::{FactRow, FactsView};
use crate::words::{moment, prose};

/// A stretch of the log, newest first.
pub fn facts(view: &FactsView) -> String {
    let body = html! {
        div.title { h1 { "Facts" } p.lead { "Everything that happened, in order. Nothing here is ever changed." } }
        section.card {
            @if view.facts.is_empty() { (nothing("No facts here.")) } @else { (fact_table("facts", &view.facts)) }
            nav.pager aria-label="more facts" {
                @if let Some(from) = view.newer { a href={ "/console/facts?from=" (from) } { "← newer" } }
                @if let Some(from) = view.older { a href={ "/console/facts?from=" (from) } { "older →" } }
            }
        }
        (record(&view.ledger))
    };
    page(&view.frame, "Facts", &body)
}

pub(crate) fn fact_table(caption: &str, facts: &[FactRow]) -> Markup {
    let rows: Vec<Vec<Markup>> = facts
        .iter()
        .map(|fact| {
            vec![
                html! { a href={ "/api/v1/facts/" (fact.index) } { (fact.index) } },
                moment(fact.at),
                html! { code.whole { (fact.kind) } },
                html! { (prose(&fact.what)) @if let Some(link) = &fact.link { " " a href=(link) { "more" } } },
                html! { (fact.by) },
            ]
        })
        .collect();
    table(caption, &["#fact", "at", "kind", "what", "by"], &rows)
}
