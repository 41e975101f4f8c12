//! `features`.

use tenon_core::Span;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_features::{FoundFeature, FromRows, OnlineState, Origin};
use tenon_policy::Action;

use super::Context;
use crate::args::FeaturesCommand;
use crate::failure::Failure;
use crate::output::{Answer, table};

/// Finds features.
pub async fn features(context: &Context, what: &FeaturesCommand) -> Result<Answer, Failure> {
    let FeaturesCommand::Search { text } = what;
    let (platform, by) = context.platform().await?;
    platform.allow(&by, Action::CompanyRead, ResourceRef::new(ResourceKind::Company, "company")).await?;
    let found = platform.features.search(&text.join(" "));
    if found.is_empty() {
        return Answer::new(&found, "no feature has all of these words; `tenon get features` lists all");
    }
    let header = ["feature", "view", "pod", "from", "used by", "newest", "complete", "unit", "what"];
    let shown = table(&header, found.iter().map(row));
    Answer::new(&found, shown)
}

fn row(found: &FoundFeature) -> [String; 9] {
    let users = found.models.iter().map(|model| format!("model {model}"));
    let users = users.chain(found.deployments.iter().map(|deployment| format!("deployment {deployment}")));
    let users = users.chain(found.derived.iter().map(|view| format!("view {view}")));
    let users: Vec<String> = users.collect();
    let (newest, complete) = match (&found.online, &found.not_served) {
        (Some(state), _) => {
            (state.age.map_or_else(|| "no rows".to_owned(), |age| format!("{} ago", rough(age))), share(state))
        }
        (None, Some(why)) => ("not served".to_owned(), why.clone()),
        (None, None) => ("when asked".to_owned(), String::new()),
    };
    [
        found.feature.clone(),
        found.view.to_string(),
        found.pod.to_string(),
        match &found.origin {
            Origin::Rows(rows) => format!("{}: {}", rows.dataset, computed(rows)),
            Origin::Derived(derived) => derived.sql.clone(),
        },
        users.join(", "),
        newest,
        complete,
        found.unit.clone().unwrap_or_default(),
        found.description.clone().unwrap_or_else(|| found.view_description.clone()),
    ]
}

/// `mean of dep_delay, 3h`; `quantile 0.9 of dep_delay, 3h`.
fn computed(found: &FromRows) -> String {
    let word = serde_json::to_value(found.aggregate).ok().and_then(|word| word.as_str().map(str::to_owned));
    let which = found.q.map(|q| q.to_string()).or_else(|| found.k.map(|k| k.to_string()));
    let aggregate = [word, which].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let of = found.column.as_ref().map_or_else(String::new, |column| format!(" of {column}"));
    format!("{aggregate}{of}, {}", found.window)
}

fn share(state: &OnlineState) -> String {
    match state.entities {
        0 => String::new(),
        entities => {
            let broken = if state.kept == Some(false) { "; the promise is broken" } else { "" };
            format!("{:.0}% of {entities}{broken}", state.with_value as f64 * 100.0 / entities as f64)
        }
    }
}

/// A span in the largest unit of which there are two.
fn rough(span: Span) -> String {
    let micros = span.as_micros();
    let units = [("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000)];
    let unit = units.into_iter().find(|(_, size)| micros >= 2 * size);
    unit.map_or_else(|| "a second".to_owned(), |(unit, size)| format!("{} {unit}", micros / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rough() {
        let told = [Span::hours(1), Span::hours(2), Span::days(2), Span::hours(0)].map(rough);
        assert_eq!(told, ["60 min", "2 h", "2 d", "a second"]);
    }
}
