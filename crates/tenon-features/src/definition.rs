//! A model's features, as its views declare them.

use std::collections::HashMap;

use serde::Serialize;
use tenon_core::spec::{FeatureViewSpec, ModelSpec, Resource, SpecSet};
use tenon_core::{Digest, FeatureViewName, ModelName};

use crate::FeatureError;

/// A model with the views that it reads.
pub(crate) struct Definition<'a> {
    pub model: &'a Resource<ModelSpec>,
    pub views: Vec<(&'a FeatureViewName, &'a FeatureViewSpec)>,
}

impl<'a> Definition<'a> {
    pub(crate) fn of(specs: &'a SpecSet, model: &ModelName) -> Result<Self, FeatureError> {
        let found = specs.models.get_key_value(model);
        let (name, model) = found.ok_or_else(|| FeatureError::NoModel(model.clone()))?;
        let views = model.spec.features.iter().map(|view| self::view(specs, view)).collect::<Result<Vec<_>, _>>()?;
        let mut first: HashMap<&str, &FeatureViewName> = HashMap::new();
        for (view, spec) in &views {
            for feature in spec.features.keys() {
                if let Some(before) = first.insert(feature, view) {
                    return Err(FeatureError::SharedName {
                        model: name.clone(),
                        feature: feature.clone(),
                        first: before.clone(),
                        second: (*view).clone(),
                    });
                }
            }
        }
        Ok(Self { model, views })
    }

    /// The features' names, in order.
    pub(crate) fn features(&self) -> Vec<String> {
        self.views.iter().flat_map(|(_, view)| view.features.keys().cloned()).collect()
    }

    /// The columns that name the entities, each once, in order.
    pub(crate) fn entities(&self) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for column in self.views.iter().flat_map(|(_, view)| &view.entity) {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        columns
    }

    /// The digest of everything that the files say about the model and its views. The features' order, which canonical
    /// JSON leaves out, is part of it.
    pub(crate) fn digest(&self) -> Digest {
        digest(&(&self.model.spec, &self.views, self.features()))
    }
}

/// A view by its name.
pub(crate) fn view<'a>(
    specs: &'a SpecSet,
    view: &FeatureViewName,
) -> Result<(&'a FeatureViewName, &'a FeatureViewSpec), FeatureError> {
    let found = specs.feature_views.get_key_value(view);
    found.map(|(name, resource)| (name, &resource.spec)).ok_or_else(|| FeatureError::NoView(view.clone()))
}

/// The digest of a value as canonical JSON (RFC 8785).
pub(crate) fn digest(value: &impl Serialize) -> Digest {
    // A spec holds no map with keys other than text and no number beyond JSON, so that writing it cannot fail.
    Digest::of(serde_json_canonicalizer::to_vec(value).unwrap_or_default())
}
