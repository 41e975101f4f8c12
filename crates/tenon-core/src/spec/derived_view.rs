//! `pods/POD/derived/NAME.toml`: features that are computed from other features and from the request, one definition for
//! training and for serving.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ColumnType, Dimensions, FeatureViewSpec, SpecFault, SpecSet};
use crate::{FeatureViewName, PodName};

/// The column that holds the moment of decision, in every derived view.
pub const MOMENT: &str = "moment";

/// Features that are computed row by row when they are asked for: from features of other views, from values that the caller
/// sends, and from the moment of decision (the column `moment`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedViewSpec {
    /// What the features say, in a sentence.
    pub description: String,
    /// The views whose features the expressions may read; derived ones as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<FeatureViewName>,
    /// What a caller sends with each request, by name; in training, columns of the observations. What is not sent is null.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub request: IndexMap<String, ColumnType>,
    /// The features, by name.
    pub features: IndexMap<String, DerivedFeatureSpec>,
}

/// One derived feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedFeatureSpec {
    /// An expression in SQL, the same in training and in serving: a number, or true or false.
    pub sql: String,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The unit of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl DerivedViewSpec {
    /// What the view means: its declaration without what changes no value (the descriptions, the units).
    #[must_use]
    pub fn meaning(&self) -> Self {
        let mut meaning = Self { description: String::new(), ..self.clone() };
        for feature in meaning.features.values_mut() {
            (feature.description, feature.unit) = (None, None);
        }
        meaning
    }
}

/// A feature view of either kind, as models name them.
#[derive(Debug, Clone, Copy)]
pub struct ViewRef<'a> {
    /// Its name.
    pub name: &'a FeatureViewName,
    /// The pod that owns it.
    pub pod: &'a PodName,
    /// The file that declares it.
    pub file: &'a str,
    /// What it says.
    pub spec: ViewSpec<'a>,
}

/// What a feature view says.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum ViewSpec<'a> {
    /// It aggregates rows of a dataset.
    Rows(&'a FeatureViewSpec),
    /// It computes from other features and from the request.
    Derived(&'a DerivedViewSpec),
}

/// What a feature means, in words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// What it means.
    pub description: Option<&'a str>,
    /// The unit of its values.
    pub unit: Option<&'a str>,
}

impl<'a> ViewSpec<'a> {
    /// What it says of its features, in a sentence.
    pub fn description(self) -> &'a str {
        match self {
            Self::Rows(spec) => &spec.description,
            Self::Derived(spec) => &spec.description,
        }
    }

    /// What names its entity, or is sent with the request.
    pub fn keys(self) -> Vec<&'a str> {
        match self {
            Self::Rows(spec) => spec.entity.iter().map(String::as_str).collect(),
            Self::Derived(spec) => spec.request.keys().map(String::as_str).collect(),
        }
    }

    /// The names of its features, in order.
    pub fn features(self) -> Vec<&'a str> {
        match self {
            Self::Rows(spec) => spec.features.keys().map(String::as_str).collect(),
            Self::Derived(spec) => spec.features.keys().map(String::as_str).collect(),
        }
    }

    /// The names of its vector features with how many numbers each has, in order.
    pub fn vectors(self) -> Vec<(&'a str, Dimensions)> {
        match self {
            Self::Rows(spec) => spec.vectors.iter().map(|(name, vector)| (name.as_str(), vector.dimensions)).collect(),
            Self::Derived(_) => Vec::new(),
        }
    }

    /// What expressions of derived views may read of it: its features, then its vector features.
    pub fn readable(self) -> Vec<&'a str> {
        let vectors = self.vectors().into_iter().map(|(name, _)| name);
        self.features().into_iter().chain(vectors).collect()
    }

    /// What one of its features means; none: it has no such feature.
    pub fn meaning(self, feature: &str) -> Option<Meaning<'a>> {
        let (description, unit) = match self {
            Self::Rows(spec) => spec.features.get(feature).map(|feature| (&feature.description, &feature.unit))?,
            Self::Derived(spec) => spec.features.get(feature).map(|feature| (&feature.description, &feature.unit))?,
        };
        Some(Meaning { description: description.as_deref(), unit: unit.as_deref() })
    }
}

impl SpecSet {
    /// A feature view of either kind.
    pub fn view(&self, name: &FeatureViewName) -> Option<ViewRef<'_>> {
        let of_rows = self.feature_views.get_key_value(name).map(|(name, view)| ViewRef {
            name,
            pod: &view.pod,
            file: &view.file,
            spec: ViewSpec::Rows(&view.spec),
        });
        of_rows.or_else(|| {
            self.derived_views.get_key_value(name).map(|(name, view)| ViewRef {
                name,
                pod: &view.pod,
                file: &view.file,
                spec: ViewSpec::Derived(&view.spec),
            })
        })
    }

    /// All feature views, those of rows first.
    pub fn views(&self) -> impl Iterator<Item = ViewRef<'_>> {
        self.feature_views.keys().chain(self.derived_views.keys()).filter_map(|name| self.view(name))
    }

    /// A view and what it reads, itself and through others, each once.
    pub fn with_sources<'a>(&'a self, view: &'a FeatureViewName) -> Vec<&'a FeatureViewName> {
        let mut sources = vec![view];
        let mut at = 0;
        while let Some(next) = sources.get(at).copied() {
            at += 1;
            for read in self.derived_views.get(next).into_iter().flat_map(|derived| &derived.spec.views) {
                if !sources.contains(&read) {
                    sources.push(read);
                }
            }
        }
        sources
    }

    /// What a feature means that one of these views has.
    pub fn meaning(&self, views: &[FeatureViewName], feature: &str) -> Option<Meaning<'_>> {
        views.iter().find_map(|view| self.view(view)?.spec.meaning(feature))
    }

    /// What is wrong with a derived view by itself and with what it names.
    pub(super) fn derived_faults(&self, name: &FeatureViewName) -> Vec<SpecFault> {
        let Some(view) = self.derived_views.get(name) else { return Vec::new() };
        let (file, spec) = (view.file.as_str(), &view.spec);
        let mut faults = Vec::new();
        if let Some(other) = self.feature_views.get(name) {
            let message = format!("the name `{name}` is taken by {}", other.file);
            faults.push(SpecFault::at(file, &[], message).hint("a derived view is a feature view, by another name"));
        }
        for (at, used) in spec.views.iter().enumerate() {
            faults.extend(self.view_fault(used, file, &["views", &at.to_string()]));
        }
        if spec.features.is_empty() {
            faults.push(SpecFault::at(file, &["features"], "the view has no features"));
        }
        // What an expression could mean by a name, each once.
        let mut names = BTreeSet::from([MOMENT]);
        let used = spec.views.iter().filter_map(|used| self.view(used));
        for (feature, view) in used.flat_map(|view| view.spec.readable().into_iter().map(move |name| (name, view.name)))
        {
            if !names.insert(feature) {
                let message = format!("two of its `views` have a feature `{feature}`; one is of `{view}`");
                faults.push(SpecFault::at(file, &["views"], message).hint("rename one of them"));
            }
        }
        for column in spec.request.keys() {
            if !names.insert(column) {
                let what = if column == MOMENT { "the moment of decision" } else { "a feature of its `views`" };
                let message = format!("`{column}` is {what} already");
                faults.push(SpecFault::at(file, &["request", column], message).hint("give it another name"));
            }
        }
        for feature in spec.features.keys().filter(|feature| names.contains(feature.as_str())) {
            let message =
                format!("`{feature}` is what the expressions read already, so it cannot be a feature as well");
            faults.push(SpecFault::at(file, &["features", feature], message).hint("give it another name"));
        }
        faults.extend(self.round(name).map(|way| {
            let way: Vec<String> = way.iter().map(|view| format!("`{view}`")).collect();
            let message = format!("derived features go round in a circle: {}", way.join(" reads "));
            SpecFault::at(file, &["views"], message).hint("a view may only read what does not depend on it")
        }));
        faults
    }

    /// The way along `views` from a derived view back to itself; none: there is none.
    fn round(&self, start: &FeatureViewName) -> Option<Vec<FeatureViewName>> {
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![start.clone()]];
        while let Some(way) = ways.pop() {
            let used = way.last().and_then(|last| self.derived_views.get(last)).map(|view| &view.spec.views);
            for next in used.into_iter().flatten() {
                let mut way = way.clone();
                way.push(next.clone());
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    ways.push(way);
                }
            }
        }
        None
    }
}
