//! `pods/POD/features/NAME.toml`: a feature view, one definition for training and for serving.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SpecFault, VectorSpec, Window};
use crate::{Share, Span};

/// Named features of an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureViewSpec {
    /// What the features say, in a sentence.
    pub description: String,
    /// The columns that together name the entity.
    pub entity: Vec<String>,
    /// The column that says when a row's event happened.
    pub event_time: String,
    /// The column that says when the row could first have been known, where that is later than the event. A join never
    /// uses a row before the later of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<String>,
    /// How long after its event a row still counts; in a window `"lifetime"` it always does.
    pub ttl: Span,
    /// The dataset whose rows feed the view as they arrive.
    pub dataset: crate::DatasetName,
    /// One query over that dataset, row by row, that returns the entity, the event time, and what the features read.
    pub source: String,
    /// The features, by name.
    #[serde(default)]
    pub features: IndexMap<String, FeatureSpec>,
    /// Vector features, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub vectors: IndexMap<String, VectorSpec>,
    /// What those who use the features may count on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
}

/// What those who use a view's features may count on, its own pod and others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// The newest event is never older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Span>,
    /// Of the entities that have rows, so many have a value, of each feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness: Option<Share>,
}

/// One feature: an aggregate of a column of the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// What to compute.
    pub aggregate: Aggregate,
    /// The column to compute it from: numbers or booleans, for `distinct` also text. `count`, `rate`, `age` and `complete` need
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Over which stretch of time; without it, over the time to live before the moment of decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Of `quantile`: which one, from 0 (the least value) to 1 (the greatest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<f64>,
    /// Of `top_k`: which of the most frequent values, from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<i64>,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The unit of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What to compute from the rows of the window, which are ordered by event time. Nulls are left out; of no rows, `count`,
/// `sum`, `distinct` and `rate` are 0, `complete` is as ever, and everything else is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The newest value.
    Last,
    /// The oldest value in the window.
    First,
    /// How many rows (of the column, how many that are not null).
    Count,
    /// The sum.
    Sum,
    /// The arithmetic mean.
    Mean,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The sample standard deviation; null of fewer than two rows.
    Std,
    /// How many different values: exact up to 1024 of them, beyond by HyperLogLog with a standard error of 1.6%.
    Distinct,
    /// The value of rank ⌊q·(n−1)⌋ of n in ascending order: exact up to 1024 values, beyond by DDSketch, within 1% of that
    /// value.
    Quantile,
    /// The k-th most frequent value, exact; of values that are equally frequent the lesser comes first. Null where there
    /// are fewer different values.
    TopK,
    /// Rows (of the column, those that are not null) per second of the window.
    Rate,
    /// Hours from the newest row's event to the moment of decision.
    Age,
    /// 1 where the view's history reaches back to the start of the window, 0 where the window is longer than what is
    /// known of it.
    Complete,
}

impl Aggregate {
    /// Whether it aggregates the values of a column, and not rows.
    pub const fn needs_column(self) -> bool {
        !matches!(self, Self::Count | Self::Rate | Self::Age | Self::Complete)
    }
}

impl FeatureViewSpec {
    /// The window of a feature of this view; a sliding one ends at the time to live.
    pub fn window_of(&self, feature: &FeatureSpec) -> Window {
        match feature.window {
            Some(Window::Sliding(span)) => Window::Sliding(span.min(self.ttl)),
            Some(window) => window,
            None => Window::Sliding(self.ttl),
        }
    }

    /// What the view means: its declaration without what changes no value (the descriptions, the units, the promise).
    #[must_use]
    pub fn meaning(&self) -> Self {
        let mut meaning = Self { description: String::new(), promise: None, ..self.clone() };
        for feature in meaning.features.values_mut() {
            (feature.description, feature.unit) = (None, None);
        }
        for vector in meaning.vectors.values_mut() {
            vector.description = None;
        }
        meaning
    }

    /// What is wrong with the promise.
    pub(super) fn promise_fault(&self, file: &str) -> Option<SpecFault> {
        let freshness = self.promise?.freshness?;
        (freshness.as_micros() <= 0).then(|| {
            let message = "a promise of freshness has a length";
            SpecFault::at(file, &["promise", "freshness"], message).hint("such as \"6h\"")
        })
    }

    /// What is wrong with the features, by themselves and with the view's time to live.
    pub(super) fn feature_faults(&self, file: &str) -> Vec<SpecFault> {
        let of = |(name, feature): (&String, &FeatureSpec)| {
            let told = faults(feature).into_iter().chain(window_fault(self, feature));
            let fault = |(key, message, hint): Told| {
                let fault = SpecFault::at(file, &["features", name, key], message);
                if hint.is_empty() { fault } else { fault.hint(hint) }
            };
            told.map(fault).collect::<Vec<_>>()
        };
        self.features.iter().flat_map(of).collect()
    }
}

/// What is wrong with a value of a feature: its key, what is wrong, and what to do.
type Told = (&'static str, String, &'static str);

/// What of a feature does not go together.
fn faults(feature: &FeatureSpec) -> Vec<Told> {
    let aggregate = feature.aggregate;
    let mut faults = Vec::new();
    let mut fault = |key, message: &str, hint| faults.push((key, message.to_owned(), hint));
    match (&feature.column, aggregate) {
        (None, _) if aggregate.needs_column() => {
            fault("aggregate", "this aggregate needs a `column` to compute from", "")
        }
        (Some(_), Aggregate::Complete) => {
            fault("column", "`complete` tells of the window, and takes no column", "leave `column` out");
        }
        _ => {}
    }
    match (feature.q, aggregate) {
        (None, Aggregate::Quantile) => fault("aggregate", "a quantile needs `q`: which one", "q = 0.5 is the median"),
        (Some(q), Aggregate::Quantile) if !(0.0..=1.0).contains(&q) => {
            fault(
                "q",
                &format!("`q` is {q}, and lies between 0 and 1"),
                "q = 0.9 is the value that nine of ten do not exceed",
            );
        }
        (Some(_), other) if other != Aggregate::Quantile => fault("q", "only `quantile` takes `q`", "leave it out"),
        _ => {}
    }
    match (feature.k, aggregate) {
        (None, Aggregate::TopK) => {
            fault("aggregate", "`top_k` needs `k`: which of the most frequent values", "k = 1 is the most frequent one")
        }
        (Some(k), Aggregate::TopK) if k < 1 => {
            fault("k", &format!("`k` is {k}, and counts from 1"), "k = 1 is the most frequent value");
        }
        (Some(_), other) if other != Aggregate::TopK => fault("k", "only `top_k` takes `k`", "leave it out"),
        _ => {}
    }
    let endless = feature.window.is_some_and(|window| window.span().is_none());
    if aggregate == Aggregate::Rate && endless {
        fault(
            "window",
            "a rate is per second of its window, and this window has no length",
            "take `count`, or a window such as \"1h\"",
        );
    }
    faults
}

/// What is wrong with a feature's window: it is empty, or the view does not keep rows for so long.
fn window_fault(view: &FeatureViewSpec, feature: &FeatureSpec) -> Option<Told> {
    let ttl = view.ttl;
    let (length, needed) = match feature.window? {
        Window::Sliding(span) => (span, span),
        // The last whole stretch begins up to two lengths before the moment.
        Window::Tumbling { every, .. } => (every, Span::from_micros(every.as_micros().saturating_mul(2))),
        Window::Session { gap } => (gap, gap),
        Window::Lifetime => return None,
    };
    if length.as_micros() <= 0 {
        return Some(("window", "a window has a length".to_owned(), "such as \"6h\""));
    }
    let hint = "raise `ttl`: rows older than it no longer count";
    match feature.window? {
        _ if needed <= ttl => None,
        Window::Tumbling { .. } => {
            let message = format!(
                "the last whole window begins up to {needed} before the moment, and the view's time to live is {ttl}"
            );
            Some(("window", message, hint))
        }
        _ => Some(("window", format!("the window is longer than the view's time to live, {ttl}"), hint)),
    }
}
