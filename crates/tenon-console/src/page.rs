//! The frame around every page.

use maud::{DOCTYPE, Markup, html};

use crate::view::Frame;
use crate::words::{moment, prose};

/// A page: `title` for the window, `body` below the head.
pub(crate) fn page(frame: &Frame, title: &str, body: &Markup) -> String {
    let head = html! {
        header.top {
            a.brand href="/" aria-label={ (frame.company) ", home" } {
                svg aria-hidden="true" viewBox="0 0 20 20" width="18" height="18" {
                    path d="M1 5h7v4h4V5h7v10h-7v-2H8v2H1z" fill="currentColor" {}
                }
                span { (frame.company) }
            }
            nav aria-label="pages" {
                a href="/" { "The loop" }
                a href="/console/decisions" { "Decisions" }
                a href="/console/facts" { "Facts" }
            }
            span.now { "company time " (moment(frame.now)) " UTC" }
        }
    };
    document(&format!("{title} · {}", frame.company), &head, body)
}

/// A page that says why there is no other: `title` in a few words, `sentence` in one or two.
pub fn trouble(title: &str, sentence: &str) -> String {
    let head = html! { header.top { a.brand href="/" { "tenon" } } };
    document(
        title,
        &head,
        &html! {
            section.card { h1 { (title) } p { (prose(sentence)) } p.muted { a href="/" { "Back to the loop" } } }
        },
    )
}

fn document(title: &str, head: &Markup, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href="/console/style.css";
                link rel="icon" href="data:,";
            }
            body {
                (head)
                main { (body) }
                footer { "Every figure here is folded from the facts on the ledger." }
            }
        }
    };
    page.into_string()
}

/// A table that scrolls sideways on a narrow screen. Columns whose heading starts with `#` hold figures.
pub(crate) fn table(caption: &str, headings: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption.hidden { (caption) }
                thead { tr { @for heading in headings {
                    @match heading.strip_prefix('#') {
                        Some(heading) => th.figure scope="col" { (heading) },
                        None => th scope="col" { (heading) },
                    }
                } } }
                tbody { @for row in rows { tr {
                    @for (at, cell) in row.iter().enumerate() {
                        @let figure = headings.get(at).is_some_and(|heading| heading.starts_with('#'));
                        @if at == 0 { th.figure[figure] scope="row" { (cell) } }
                        @else { td.figure[figure] { (cell) } }
                    }
                } } }
            }
        }
    }
}

/// Says in plain words that there is nothing yet, and what would change that.
pub(crate) fn nothing(sentence: &str) -> Markup {
    html! { p.empty { (prose(sentence)) } }
}
