//! Finding features: what there is, whose it is, where it comes from, who uses it, how fresh and how complete it is.

mod state;

use serde::Serialize;
use tenon_core::spec::{
    Aggregate, ColumnType, Dimensions, FeatureViewSpec, Meaning, Promise, SpecSet, VectorSpec, ViewRef, ViewSpec,
    Window,
};
use tenon_core::{DatasetName, DeploymentName, Digest, FeatureViewName, ModelName, MonitorName, PodName, Timestamp};
use tenon_query::point_in_time::number;

pub use state::{Distribution, OnlineState};

use crate::definition::{Definition, meaning};
use crate::{FeatureError, FeatureStore};

/// A feature that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundFeature {
    /// Its name.
    pub feature: String,
    /// Its view.
    pub view: FeatureViewName,
    /// What it means.
    pub description: Option<String>,
    /// What its view says, in a sentence.
    pub view_description: String,
    /// The unit of its values.
    pub unit: Option<String>,
    /// What it is computed from, and how.
    #[serde(flatten)]
    pub origin: Origin,
    /// The pod that owns it.
    pub pod: PodName,
    /// The pod's leads: whom to ask.
    pub leads: Vec<String>,
    /// The digest of what the view means: what a change of meaning changes.
    pub definition: Digest,
    /// The models that take it, also through derived views.
    pub models: Vec<ModelName>,
    /// The deployments of those models.
    pub deployments: Vec<DeploymentName>,
    /// The derived views that read its view.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<FeatureViewName>,
    /// What those who use it may count on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
    /// How it stands online; none where its view is not served, and of a derived feature, which is computed when it is asked
    /// for.
    pub online: Option<OnlineState>,
    /// Why its view is not served.
    pub not_served: Option<String>,
    /// How far its values have moved from those that models learnt from. Monitors know it, which stand above this crate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Moved>,
}

/// What a monitor measured last of a feature: its values in decisions against those in the training set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// The monitor.
    pub monitor: MonitorName,
    /// Whose decisions it watches.
    pub deployment: DeploymentName,
    /// The end of its window.
    pub until: Timestamp,
    /// Population stability index, in nats.
    pub psi: f64,
    /// Whether it moved far enough and surely enough to count.
    pub drifted: bool,
}

/// What a feature is computed from, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Origin {
    /// Rows of a dataset.
    Rows(FromRows),
    /// Other features, and what a caller sends.
    Derived(FromFeatures),
}

/// How a feature is computed from rows of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FromRows {
    /// What is computed.
    pub aggregate: Aggregate,
    /// From which column of the view's source.
    pub column: Option<String>,
    /// Over which stretch.
    pub window: Window,
    /// Which quantile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<f64>,
    /// Which of the most frequent values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<i64>,
    /// Of a vector, how many numbers it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Dimensions>,
    /// The columns that name its entity.
    pub entity: Vec<String>,
    /// The dataset.
    pub dataset: DatasetName,
    /// The query over it.
    pub source: String,
}

/// How a feature is computed when it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FromFeatures {
    /// The expression.
    pub sql: String,
    /// The views whose features it may read.
    pub views: Vec<FeatureViewName>,
    /// What a caller sends, by name.
    pub request: Vec<(String, ColumnType)>,
}

impl FeatureStore {
    /// The features of which every word of `text` is in the name, the view, a description, the unit, what it is computed from,
    /// the pod or its leads, whatever its case; those whose own name has a word come first. Without words, all.
    ///
    /// # Errors
    /// When the work is stopped before its end. A view that cannot be read says so itself.
    pub async fn search(&self, text: &str) -> Result<Vec<FoundFeature>, FeatureError> {
        let specs = self.specs();
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let mut found: Vec<FoundFeature> = Vec::new();
        for view in specs.views() {
            let about = About::of(&specs, view);
            let features = view.spec.readable().into_iter();
            let mut of_view: Vec<_> = features.filter_map(|feature| about.with(feature)).collect();
            of_view.retain(|found| found.has(&words));
            self.stand(&view, &mut of_view).await?;
            found.extend(of_view);
        }
        let named = |found: &FoundFeature| words.iter().any(|word| found.feature.to_lowercase().contains(word));
        found.sort_by_key(|found| !named(found));
        Ok(found)
    }

    /// Says how features of one view stand.
    async fn stand(&self, view: &ViewRef<'_>, found: &mut [FoundFeature]) -> Result<(), FeatureError> {
        if found.is_empty() {
            return Ok(());
        }
        let not_served = match view.spec {
            ViewSpec::Derived(_) => self.not_compiled(view.name),
            ViewSpec::Rows(_) => match self.served(view.name) {
                Ok(live) => {
                    let names = found.iter().map(|found| found.looked_at()).collect();
                    match state::of(live, names, self.clock().now()).await? {
                        Ok(states) => {
                            found.iter_mut().zip(states).for_each(|(found, state)| {
                                let distribution = state.distribution.filter(|_| !found.is_vector());
                                found.online = Some(OnlineState { distribution, ..state }.against(found.promise));
                            });
                            None
                        }
                        Err(why) => Some(why),
                    }
                }
                Err(why) => Some(why),
            },
        };
        found.iter_mut().for_each(|found| found.not_served.clone_from(&not_served));
        Ok(())
    }
}

/// What the files say about a view.
struct About<'a> {
    view: ViewRef<'a>,
    leads: Vec<String>,
    definition: Digest,
    models: Vec<ModelName>,
    deployments: Vec<DeploymentName>,
    derived: Vec<FeatureViewName>,
    promise: Option<Promise>,
}

impl<'a> About<'a> {
    fn of(specs: &'a SpecSet, view: ViewRef<'a>) -> Self {
        let (models, deployments) = users(specs, view.name);
        Self {
            leads: leads(specs, view.pod),
            definition: meaning(&view.spec),
            models,
            deployments,
            derived: readers(specs, view.name),
            promise: match view.spec {
                ViewSpec::Rows(spec) => spec.promise,
                ViewSpec::Derived(_) => None,
            },
            view,
        }
    }

    /// With what they say about one of its features.
    fn with(&self, feature: &str) -> Option<FoundFeature> {
        let vector = match self.view.spec {
            ViewSpec::Rows(spec) => spec.vectors.get(feature),
            ViewSpec::Derived(_) => None,
        };
        let meaning = match vector {
            Some(vector) => Meaning { description: vector.description.as_deref(), unit: None },
            None => self.view.spec.meaning(feature)?,
        };
        Some(FoundFeature {
            feature: feature.to_owned(),
            view: self.view.name.clone(),
            description: meaning.description.map(str::to_owned),
            view_description: self.view.spec.description().to_owned(),
            unit: meaning.unit.map(str::to_owned),
            origin: Origin::of(&self.view, feature)?,
            pod: self.view.pod.clone(),
            leads: self.leads.clone(),
            definition: self.definition,
            models: self.models.clone(),
            deployments: self.deployments.clone(),
            derived: self.derived.clone(),
            promise: self.promise,
            online: None,
            not_served: None,
            drift: Vec::new(),
        })
    }
}

impl Origin {
    fn of(view: &ViewRef<'_>, feature: &str) -> Option<Self> {
        Some(match view.spec {
            ViewSpec::Rows(spec) => Self::Rows(FromRows::of(spec, feature)?),
            ViewSpec::Derived(spec) => Self::Derived(FromFeatures {
                sql: spec.features.get(feature)?.sql.trim().to_owned(),
                views: spec.views.clone(),
                request: spec.request.iter().map(|(name, kind)| (name.clone(), *kind)).collect(),
            }),
        })
    }

    /// What is said of it that a word may be found in.
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Rows(rows) => {
                let named = [Some(rows.dataset.as_str()), rows.column.as_deref()].into_iter().flatten();
                named.chain(rows.entity.iter().map(String::as_str)).collect()
            }
            Self::Derived(derived) => {
                let views = derived.views.iter().map(FeatureViewName::as_str);
                let request = derived.request.iter().map(|(name, _)| name.as_str());
                views.chain(request).chain([derived.sql.as_str()]).collect()
            }
        }
    }
}

impl FromRows {
    fn of(view: &FeatureViewSpec, feature: &str) -> Option<Self> {
        let (entity, dataset, source) = (view.entity.clone(), view.dataset.clone(), view.source.clone());
        if let Some(VectorSpec { column, dimensions, .. }) = view.vectors.get(feature) {
            let (column, dimensions) = (Some(column.clone()), Some(*dimensions));
            let (aggregate, window) = (Aggregate::Last, Window::Sliding(view.ttl));
            return Some(Self { aggregate, column, window, q: None, k: None, dimensions, entity, dataset, source });
        }
        let spec = view.features.get(feature)?;
        let (aggregate, column, window) = (spec.aggregate, spec.column.clone(), view.window_of(spec));
        Some(Self { aggregate, column, window, q: spec.q, k: spec.k, dimensions: None, entity, dataset, source })
    }
}

impl FoundFeature {
    fn is_vector(&self) -> bool {
        matches!(&self.origin, Origin::Rows(FromRows { dimensions: Some(_), .. }))
    }

    /// What is looked at to say how it stands: of a vector, its first number is there where all of them are.
    fn looked_at(&self) -> String {
        if self.is_vector() { number(&self.feature, 0) } else { self.feature.clone() }
    }

    fn has(&self, words: &[String]) -> bool {
        let texts = [self.feature.as_str(), self.view.as_str(), self.pod.as_str(), self.view_description.as_str()];
        let optional = [self.description.as_deref(), self.unit.as_deref()].into_iter().flatten();
        let texts =
            texts.into_iter().chain(optional).chain(self.origin.texts()).chain(self.leads.iter().map(String::as_str));
        let texts: Vec<String> = texts.map(str::to_lowercase).collect();
        words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

/// The derived views that read a view, also through others.
fn readers(specs: &SpecSet, view: &FeatureViewName) -> Vec<FeatureViewName> {
    let reads = |name: &&FeatureViewName| *name != view && specs.with_sources(name).contains(&view);
    specs.derived_views.keys().filter(reads).cloned().collect()
}

fn leads(specs: &SpecSet, pod: &PodName) -> Vec<String> {
    let members = specs.pods.get(pod).map(|pod| &pod.members);
    members.into_iter().flatten().filter(|(_, member)| member.role == "lead").map(|(name, _)| name.clone()).collect()
}

/// The models that read a view, also through derived ones, and their deployments.
fn users(specs: &SpecSet, view: &FeatureViewName) -> (Vec<ModelName>, Vec<DeploymentName>) {
    let reads = |model: &ModelName| Definition::of(specs, model).is_ok_and(|definition| definition.reads(view));
    let models = specs.models.keys().filter(|model| reads(model)).cloned().collect();
    let deployed = specs.deployments.iter().filter(|(_, deployment)| reads(&deployment.spec.model));
    (models, deployed.map(|(name, _)| name.clone()).collect())
}
