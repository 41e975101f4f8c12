//! A model's features, as its views declare them.

use std::collections::{BTreeMap, HashMap};

use indexmap::IndexSet;
use serde::Serialize;
use tenon_core::spec::{ColumnType, DerivedViewSpec, FeatureViewSpec, ModelSpec, Resource, SpecSet, ViewRef, ViewSpec};
use tenon_core::{Digest, FeatureViewName, ModelName};

use crate::{FeatureError, FeatureRef};

/// A model with the views that it reads.
pub(crate) struct Definition<'a> {
    pub model: &'a Resource<ModelSpec>,
    /// The model's own views, in order.
    named: Vec<ViewRef<'a>>,
    /// The views of rows that the model reads, also through derived ones, each once.
    pub views: Vec<(&'a FeatureViewName, &'a FeatureViewSpec)>,
    /// The derived views, each once.
    pub derived: Vec<(&'a FeatureViewName, &'a DerivedViewSpec)>,
}

impl<'a> Definition<'a> {
    pub(crate) fn of(specs: &'a SpecSet, model: &ModelName) -> Result<Self, FeatureError> {
        let found = specs.models.get_key_value(model);
        let (name, model) = found.ok_or_else(|| FeatureError::NoModel(model.clone()))?;
        let mut definition = Self { model, named: Vec::new(), views: Vec::new(), derived: Vec::new() };
        for view in &model.spec.features {
            let view = self::view(specs, view)?;
            definition.named.push(view);
            for read in specs.with_sources(view.name) {
                definition.read(self::view(specs, read)?);
            }
        }
        definition.names_differ(name)?;
        Ok(definition)
    }

    /// Takes in a view, unless another that the model names reads it as well.
    fn read(&mut self, view: ViewRef<'a>) {
        if self.reads(view.name) {
            return;
        }
        match view.spec {
            ViewSpec::Rows(spec) => self.views.push((view.name, spec)),
            ViewSpec::Derived(spec) => self.derived.push((view.name, spec)),
        }
    }

    fn names_differ(&self, model: &ModelName) -> Result<(), FeatureError> {
        let mut first: HashMap<&str, &FeatureViewName> = HashMap::new();
        for view in &self.named {
            for feature in view.spec.features() {
                if let Some(before) = first.insert(feature, view.name) {
                    return Err(FeatureError::SharedName {
                        model: model.clone(),
                        feature: feature.to_owned(),
                        first: before.clone(),
                        second: view.name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The features, in order.
    pub(crate) fn refs(&self) -> Vec<FeatureRef> {
        self.named.iter().flat_map(refs).collect()
    }

    /// The features' names, in order.
    pub(crate) fn features(&self) -> Vec<String> {
        self.named.iter().flat_map(|view| view.spec.features()).map(str::to_owned).collect()
    }

    /// The columns that name the entities, each once, in order.
    pub(crate) fn entities(&self) -> Vec<String> {
        each_once(self.views.iter().flat_map(|(_, view)| &view.entity))
    }

    /// Whether the model reads a view, itself or through others.
    pub(crate) fn reads(&self, view: &FeatureViewName) -> bool {
        self.views.iter().any(|(name, _)| *name == view) || self.derived.iter().any(|(name, _)| *name == view)
    }

    /// What callers send besides, each once, in order.
    pub(crate) fn request(&self) -> Vec<String> {
        each_once(self.sent().map(|(name, _)| name))
    }

    /// What callers send besides, with its type.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (&'a String, &'a ColumnType)> {
        self.derived.iter().flat_map(|(_, view)| &view.request)
    }

    /// The digest of everything that the files say about the model and its views. The features' order, which canonical
    /// JSON leaves out, is part of it.
    pub(crate) fn digest(&self) -> Digest {
        match self.derived.is_empty() {
            true => digest(&(&self.model.spec, &self.views, self.features())),
            false => digest(&(&self.model.spec, &self.views, &self.derived, self.features())),
        }
    }

    /// What each view means.
    pub(crate) fn meanings(&self) -> BTreeMap<FeatureViewName, Digest> {
        let of_rows = self.views.iter().map(|(name, view)| (*name, ViewSpec::Rows(view)));
        let derived = self.derived.iter().map(|(name, view)| (*name, ViewSpec::Derived(view)));
        of_rows.chain(derived).map(|(name, view)| (name.clone(), meaning(&view))).collect()
    }
}

fn each_once<'a>(columns: impl Iterator<Item = &'a String>) -> Vec<String> {
    columns.collect::<IndexSet<_>>().into_iter().cloned().collect()
}

/// The features of a view, in order.
pub(crate) fn refs(view: &ViewRef<'_>) -> Vec<FeatureRef> {
    let of = |feature: &str| FeatureRef { view: view.name.clone(), feature: feature.to_owned() };
    view.spec.features().into_iter().map(of).collect()
}

/// A view by its name.
pub(crate) fn view<'a>(specs: &'a SpecSet, view: &FeatureViewName) -> Result<ViewRef<'a>, FeatureError> {
    specs.view(view).ok_or_else(|| FeatureError::NoView(view.clone()))
}

/// The digest of what a view means, without descriptions, units and promises.
pub(crate) fn meaning(view: &ViewSpec<'_>) -> Digest {
    match view {
        ViewSpec::Rows(view) => digest(&view.meaning()),
        ViewSpec::Derived(view) => digest(&view.meaning()),
    }
}

/// The digest of a value as canonical JSON (RFC 8785).
pub(crate) fn digest(value: &impl Serialize) -> Digest {
    // A spec holds no map with keys other than text and no number beyond JSON, so that writing it cannot fail.
    Digest::of(serde_json_canonicalizer::to_vec(value).unwrap_or_default())
}
