//! `features`.

use serde_json::Value;
use tenon_core::name::NameError;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{FeatureViewName, Span};
use tenon_features::{Asked, FoundFeature, FromRows, Moved, Neighbour, OnlineState, Origin, To};
use tenon_policy::Action;

use super::{Context, traffic};
use crate::args::FeaturesCommand;
use crate::failure::{Failure, While};
use crate::output::{Answer, table};

/// Finds features, or what is near by them.
pub async fn features(context: &Context, what: &FeaturesCommand) -> Result<Answer, Failure> {
    match what {
        FeaturesCommand::Search { text } => search(context, text).await,
        FeaturesCommand::Nearest { feature, entity, vector, k } => {
            nearest(context, feature, entity, vector.as_deref(), *k).await
        }
    }
}

async fn search(context: &Context, text: &[String]) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    platform.allow(&by, Action::CompanyRead, ResourceRef::new(ResourceKind::Company, "company")).await?;
    let mut found = platform.features.search(&text.join(" ")).await.during("looking for features")?;
    platform.watch.tell_drift(&mut found).during("reading the monitors")?;
    if found.is_empty() {
        return Answer::new(&found, "no feature has all of these words; `tenon get features` lists all");
    }
    let header = ["feature", "view", "pod", "from", "used by", "newest", "complete", "unit", "what"];
    let shown = table(&header, found.iter().map(row));
    Answer::new(&found, shown)
}

async fn nearest(
    context: &Context,
    feature: &str,
    entity: &[String],
    vector: Option<&str>,
    k: usize,
) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let (view, feature) = feature
        .split_once('.')
        .ok_or_else(|| Failure::Usage(format!("`{feature}` is not `VIEW.FEATURE`, such as `track_style.style`")))?;
    platform.allow(&by, Action::FeatureRead, ResourceRef::new(ResourceKind::FeatureView, view)).await?;
    let view: FeatureViewName = view.parse().map_err(|error: NameError| Failure::Usage(error.to_string()))?;
    let to = match vector {
        Some(vector) => {
            let not_numbers = |_| Failure::Usage(format!("`{vector}` is no list of numbers, such as `[0.1, 0.2]`"));
            To::Vector(serde_json::from_str(vector).map_err(not_numbers)?)
        }
        None => {
            let is_no_text = |column: &str| !platform.features.is_named_by_text(&view, column);
            To::Entity(entity.iter().map(|pair| traffic::entity(pair, is_no_text)).collect::<Result<_, _>>()?)
        }
    };
    let asked = Asked { view, feature: feature.to_owned(), to, k };
    let features = platform.features.clone();
    let found = tokio::task::spawn_blocking(move || features.nearest(&asked)).await.during("looking for neighbours")?;
    let found = found.during("looking for neighbours")?;
    if found.neighbours.is_empty() {
        return Answer::new(&found, "no other entity has a vector now");
    }
    let keys: Vec<&str> = found.neighbours[0].entity.keys().map(String::as_str).collect();
    let header: Vec<&str> = keys.into_iter().chain(["distance", "as of"]).collect();
    let row = |neighbour: &Neighbour| {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let told = [format!("{:.6}", neighbour.distance), neighbour.event_at.to_string()];
        neighbour.entity.values().map(text).chain(told).collect::<Vec<_>>()
    };
    let shown = table(&header, found.neighbours.iter().map(row));
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
        [complete].into_iter().chain(found.drift.iter().filter_map(moved)).collect::<Vec<_>>().join("; "),
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
    let numbers = found.dimensions.map_or_else(String::new, |dimensions| format!(" ({dimensions} numbers)"));
    format!("{aggregate}{of}{numbers}, {}", found.window)
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

/// Told where it counts; `--output json` says all that was measured.
fn moved(drift: &Moved) -> Option<String> {
    drift.drifted.then(|| format!("drifted, PSI {:.2}", drift.psi))
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
