//! Which features are computed from which, and in what order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::DataType;
use indexmap::IndexSet;
use tenon_core::FeatureViewName;
use tenon_core::spec::{SpecSet, ViewSpec};
use tenon_query::point_in_time::number;

use crate::derived::{DerivedView, Input};
use crate::{FeatureError, FeatureRef};

/// The derived views of some specs, compiled; where one cannot be, why.
pub(crate) type DerivedViews = BTreeMap<FeatureViewName, Result<Arc<DerivedView>, String>>;

/// How features are computed that were asked for together. Every value has a place: the answers come first, in the order in
/// which they were asked for, then what derived features read besides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// What views of rows are asked for, each view once.
    pub rows: Vec<(FeatureViewName, Vec<Asked>)>,
    /// Derived features, each after what it reads.
    pub computed: Vec<Computed>,
    /// How many values there are.
    pub places: usize,
    /// What was asked for: the answers.
    pub answers: Vec<FeatureRef>,
}

/// A feature of a view of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Its position in its view.
    pub feature: usize,
    pub place: usize,
}

/// A derived feature.
#[derive(Debug, Clone)]
pub(crate) struct Computed {
    pub view: Arc<DerivedView>,
    /// Its position in its view.
    pub feature: usize,
    /// The places of the features that it reads, in the order of its inputs; of a vector, of each of its numbers.
    pub reads: Vec<usize>,
    pub place: usize,
}

impl Plan {
    /// The plan for features, in their order.
    ///
    /// # Errors
    /// [`FeatureError::NoView`], [`FeatureError::NoFeature`], [`FeatureError::NotServed`].
    pub(crate) fn of(specs: &SpecSet, derived: &DerivedViews, features: &[FeatureRef]) -> Result<Self, FeatureError> {
        let plan = Self { places: features.len(), answers: features.to_vec(), ..Self::default() };
        let mut planner = Planner { specs, derived, plan, known: HashMap::new() };
        for (place, feature) in features.iter().enumerate() {
            planner.want(feature, place)?;
        }
        Ok(planner.plan)
    }

    /// What callers may send, by name and type.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (&str, &DataType)> {
        let inputs = self.computed.iter().flat_map(|computed| &computed.view.features[computed.feature].inputs);
        inputs.filter_map(|input| match input {
            Input::Request(name, kind) => Some((name.as_str(), kind)),
            _ => None,
        })
    }

    /// The names of what callers may send, each once.
    pub(crate) fn request(&self) -> IndexSet<&str> {
        self.sent().map(|(name, _)| name).collect()
    }
}

/// Where a feature stands among those of its view: the features, then the numbers of the vectors, one after the other.
fn position(view: ViewSpec<'_>, feature: &str) -> Option<usize> {
    let features = view.features();
    let mut start = features.len();
    for (vector, dimensions) in view.vectors() {
        let at = feature
            .strip_prefix(vector)
            .and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok());
        if let Some(at) = at.filter(|at| *at < dimensions.get() && number(vector, *at) == feature) {
            return Some(start + at);
        }
        start += dimensions.get();
    }
    features.iter().position(|known| *known == feature)
}

struct Planner<'a> {
    specs: &'a SpecSet,
    derived: &'a DerivedViews,
    plan: Plan,
    known: HashMap<FeatureRef, usize>,
}

impl Planner<'_> {
    fn want(&mut self, feature: &FeatureRef, place: usize) -> Result<(), FeatureError> {
        self.known.entry(feature.clone()).or_insert(place);
        let view = self.specs.view(&feature.view).ok_or_else(|| FeatureError::NoView(feature.view.clone()))?;
        let at = position(view.spec, &feature.feature).ok_or_else(|| FeatureError::NoFeature {
            view: feature.view.clone(),
            feature: feature.feature.clone(),
            known: view.spec.features().into_iter().map(str::to_owned).collect(),
        })?;
        match view.spec {
            ViewSpec::Rows(_) => {
                let asked = Asked { feature: at, place };
                match self.plan.rows.iter_mut().find(|(known, _)| *known == feature.view) {
                    Some((_, features)) => features.push(asked),
                    None => self.plan.rows.push((feature.view.clone(), vec![asked])),
                }
            }
            ViewSpec::Derived(_) => self.derive(&feature.view, at, place)?,
        }
        Ok(())
    }

    fn derive(&mut self, name: &FeatureViewName, feature: usize, place: usize) -> Result<(), FeatureError> {
        let view = match self.derived.get(name) {
            Some(Ok(view)) => Arc::clone(view),
            Some(Err(reason)) => {
                return Err(FeatureError::NotServed { view: name.clone(), reason: reason.clone() });
            }
            None => return Err(FeatureError::NoView(name.clone())),
        };
        let mut reads = Vec::new();
        for input in &view.features[feature].inputs {
            match input {
                Input::Feature(read) => reads.push(self.place_of(read)?),
                Input::Vector(FeatureRef { view, feature }, dimensions) => {
                    for at in 0..dimensions.get() {
                        reads.push(self.place_of(&FeatureRef { view: view.clone(), feature: number(feature, at) })?);
                    }
                }
                Input::Request(..) | Input::Moment => {}
            }
        }
        self.plan.computed.push(Computed { view, feature, reads, place });
        Ok(())
    }

    /// The place of a feature that a derived one reads.
    fn place_of(&mut self, feature: &FeatureRef) -> Result<usize, FeatureError> {
        if let Some(place) = self.known.get(feature) {
            return Ok(*place);
        }
        let place = self.plan.places;
        self.plan.places += 1;
        self.want(feature, place)?;
        Ok(place)
    }
}
