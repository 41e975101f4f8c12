//! Figures and moments as people read them.

use maud::{Markup, html};
use tenon_core::Timestamp;
pub(crate) use tenon_core::words::count;

/// `12.5%`, with no more decimals than say something.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if (percent - percent.round()).abs() < 0.05 { format!("{percent:.0}%") } else { format!("{percent:.1}%") }
}

/// `$12.34`; small amounts keep the digits that say something.
pub(crate) fn usd(amount: f64) -> String {
    if amount == 0.0 || amount >= 1.0 {
        format!("${amount:.2}")
    } else if amount >= 0.001 {
        format!("${amount:.4}")
    } else {
        format!("${amount:.9}")
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
    fn figures_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.125, 0.1, 1.0].map(percent), ["0%", "12.5%", "10%", "100%"]);
        assert_eq!([0.0, 12.345, 0.0421, 0.000_000_012].map(usd), ["$0.00", "$12.35", "$0.0421", "$0.000000012"]);
    }
}
