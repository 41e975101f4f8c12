//! Figures and moments as people read them.

use maud::{Markup, html};
use tenon_core::Timestamp;
pub(crate) use tenon_core::words::count;

/// `12.5%`, with no more decimals than say something.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.05 {
        return "<0.1%".to_owned();
    }
    if (percent - percent.round()).abs() < 0.05 { format!("{percent:.0}%") } else { format!("{percent:.1}%") }
}

/// `$12.34`; small amounts keep the digits that say something.
pub(crate) fn usd(amount: f64) -> String {
    if amount == 0.0 || amount >= 1.0 {
        format!("${amount:.2}")
    } else if amount >= 0.001 {
        format!("${amount:.4}")
    } else if amount >= 0.000_000_001 {
        format!("${amount:.9}")
    } else {
        "less than $0.000000001".to_owned()
    }
}

/// A sentence of the record as people read it: names in backticks are set as code, moments are shortened to the minute
/// and ids to their beginning, each with the whole on hover.
pub(crate) fn prose(sentence: &str) -> Markup {
    html! { @for (at, part) in sentence.split('`').enumerate() {
        @if at % 2 == 1 { code { (part) } } @else { @for word in part.split_inclusive(' ') { (told(word)) } }
    } }
}

/// One word with the spaces and signs around it.
fn told(word: &str) -> Markup {
    let inside = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | ':' | '.');
    let start = word.find(inside).unwrap_or(0);
    let end = word.rfind(|sign: char| sign.is_ascii_alphanumeric()).map_or(word.len(), |end| end + 1);
    let (before, core, after) = match word.get(start..end) {
        Some(core) => (&word[..start], core, &word[end..]),
        None => ("", word, ""),
    };
    if core.len() >= 20
        && core.ends_with('Z')
        && let Ok(at) = core.parse::<Timestamp>()
    {
        return html! { (before) (moment(at)) (after) };
    }
    let is_id = core.len() == 36 && core.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    match core.get(..8).filter(|_| is_id) {
        Some(beginning) => html! { (before) code title=(core) { (beginning) "…" } (after) },
        None => html! { (word) },
    }
}

/// A moment to the minute in UTC, the exact one on hover and for machines.
pub(crate) fn moment(at: Timestamp) -> Markup {
    let exact = at.to_string();
    let short = match exact.get(..16) {
        Some(minute) => minute.replace('T', " "),
        None => exact.clone(),
    };
    html! { time datetime=(exact) title=(exact) { (short) } }
}

/// A digest's or key's beginning, the whole on hover; words as they are.
pub(crate) fn shortened(text: &str) -> Markup {
    if text.contains(' ') {
        return html! { (text) };
    }
    if text.chars().count() <= 22 {
        return html! { code { (text) } };
    }
    let start: String = text.chars().take(18).collect();
    html! { code title=(text) { (start) "…" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_s_own_signs_are_set_for_people() {
        let told =
            prose("on 2013-04-18T00:00:00Z, `temp` moved (incident 5e96e435-af1f-5e7e-a931-69a84121f6a2); a-b <i>");
        let expected = "on <time datetime=\"2013-04-18T00:00:00Z\" title=\"2013-04-18T00:00:00Z\">2013-04-18 00:00</time>, \
            <code>temp</code> moved (incident <code title=\"5e96e435-af1f-5e7e-a931-69a84121f6a2\">5e96e435…</code>); a-b &lt;i&gt;";
        assert_eq!(told.into_string(), expected);
        assert_eq!(prose("é").into_string() + &prose("").into_string(), "é");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.125, 0.1, 1.0, 0.0001].map(percent), ["0%", "12.5%", "10%", "100%", "<0.1%"]);
        assert_eq!(usd(0.000_000_000_19), "less than $0.000000001");
        assert_eq!([0.0, 12.345, 0.0421, 0.000_000_012].map(usd), ["$0.00", "$12.35", "$0.0421", "$0.000000012"]);
    }
}
