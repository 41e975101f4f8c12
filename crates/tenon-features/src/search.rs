//! Finding features: what there is, whose it is, where it comes from, who uses it, how fresh and how complete it is.

use serde::Serialize;
use tenon_core::spec::{Aggregate, FeatureSpec, FeatureViewSpec, Resource, SpecSet, Window};
use tenon_core::{DatasetName, DeploymentName, Digest, FeatureViewName, ModelName, PodName, Span, Timestamp};
use tenon_query::point_in_time::Kernel;

use crate::online::LiveView;
use crate::{FeatureStore, definition};

/// Completeness is measured on so many entities, or a few more; of more, on those of the first shards, always the same.
const ENOUGH_ENTITIES: usize = 50_000;

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
    /// The columns that name its entity.
    pub entity: Vec<String>,
    /// The pod that owns it.
    pub pod: PodName,
    /// The pod's leads: whom to ask.
    pub leads: Vec<String>,
    /// The dataset that it comes from.
    pub dataset: DatasetName,
    /// The query over it.
    pub source: String,
    /// The digest of the view's declaration: what a change of meaning changes.
    pub definition: Digest,
    /// The models that take it.
    pub models: Vec<ModelName>,
    /// The deployments of those models.
    pub deployments: Vec<DeploymentName>,
    /// How it stands online; none where its view is not served.
    pub online: Option<OnlineState>,
    /// Why its view is not served.
    pub not_served: Option<String>,
}

/// How a feature stands online.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnlineState {
    /// The newest event of its view that is not in the future; none without rows.
    pub newest_event: Option<Timestamp>,
    /// How long ago that was.
    pub age: Option<Span>,
    /// The version of the dataset's table up to which every row is in.
    pub table_version: Option<u64>,
    /// How many entities were looked at, of those that have rows.
    pub entities: usize,
    /// How many of them have a value now.
    pub with_value: usize,
}

impl FeatureStore {
    /// The features of which every word of `text` is in the name, the view, a description, the unit, an entity's column, the
    /// dataset, the pod or its leads, whatever its case; those whose own name has a word come first. Without words, all.
    pub fn search(&self, text: &str) -> Vec<FoundFeature> {
        let specs = self.specs();
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let mut found: Vec<(bool, FoundFeature)> = Vec::new();
        for (name, view) in &specs.feature_views {
            let leads = leads(&specs, view);
            let wanted: Vec<_> = view
                .spec
                .features
                .iter()
                .filter(|(feature, spec)| has(&words, name, view, &leads, feature, spec))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let names: Vec<&str> = wanted.iter().map(|(feature, _)| feature.as_str()).collect();
            let (mut online, not_served) = match self.served(name) {
                Ok(live) => (states(&live, &names, self.clock().now()).into_iter().map(Some).collect(), None),
                Err(why) => (vec![None; names.len()], Some(why)),
            };
            let (models, deployments) = users(&specs, name);
            for ((feature, spec), online) in wanted.iter().zip(online.drain(..)) {
                let named = words.iter().any(|word| feature.to_lowercase().contains(word));
                found.push((
                    !named,
                    FoundFeature {
                        feature: (*feature).clone(),
                        view: name.clone(),
                        description: spec.description.clone(),
                        view_description: view.spec.description.clone(),
                        unit: spec.unit.clone(),
                        aggregate: spec.aggregate,
                        column: spec.column.clone(),
                        window: view.spec.window_of(spec),
                        q: spec.q,
                        k: spec.k,
                        entity: view.spec.entity.clone(),
                        pod: view.pod.clone(),
                        leads: leads.clone(),
                        dataset: view.spec.dataset.clone(),
                        source: view.spec.source.clone(),
                        definition: definition::digest(&view.spec),
                        models: models.clone(),
                        deployments: deployments.clone(),
                        online,
                        not_served: not_served.clone(),
                    },
                ));
            }
        }
        found.sort_by_key(|(rest, _)| *rest);
        found.into_iter().map(|(_, found)| found).collect()
    }
}

fn leads(specs: &SpecSet, view: &Resource<FeatureViewSpec>) -> Vec<String> {
    let members = specs.pods.get(&view.pod).map(|pod| &pod.members);
    members.into_iter().flatten().filter(|(_, member)| member.role == "lead").map(|(name, _)| name.clone()).collect()
}

fn has(
    words: &[String],
    name: &FeatureViewName,
    view: &Resource<FeatureViewSpec>,
    leads: &[String],
    feature: &str,
    spec: &FeatureSpec,
) -> bool {
    let of_view =
        [name.as_str(), view.pod.as_str(), view.spec.dataset.as_str(), view.spec.description.as_str(), feature];
    let of_feature = [spec.description.as_deref(), spec.unit.as_deref(), spec.column.as_deref()];
    let texts = of_view.into_iter().chain(of_feature.into_iter().flatten());
    let texts = texts.chain(view.spec.entity.iter().chain(leads).map(String::as_str));
    let texts: Vec<String> = texts.map(str::to_lowercase).collect();
    words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
}

/// The models that read a view, and their deployments.
fn users(specs: &SpecSet, view: &FeatureViewName) -> (Vec<ModelName>, Vec<DeploymentName>) {
    let reads = |model: &ModelName| specs.models.get(model).is_some_and(|model| model.spec.features.contains(view));
    let models = specs.models.keys().filter(|model| reads(model)).cloned().collect();
    let deployed = specs.deployments.iter().filter(|(_, deployment)| reads(&deployment.spec.model));
    (models, deployed.map(|(name, _)| name.clone()).collect())
}

/// How features of a view stand, in one pass over its entities.
fn states(view: &LiveView, features: &[&str], now: Timestamp) -> Vec<OnlineState> {
    let declared = &view.shape.view;
    let wanted: Vec<_> =
        features.iter().filter_map(|name| declared.features.iter().find(|known| known.name == **name)).collect();
    let (mut entities, mut with_value) = (0, vec![0; wanted.len()]);
    let kernel = Kernel::new(declared.ttl.as_micros(), wanted);
    let mut evaluator = kernel.evaluator();
    let began = view.began();
    view.each_entity(ENOUGH_ENTITIES, |rows| {
        entities += 1;
        let mut counts = with_value.iter_mut();
        evaluator.evaluate(rows, now.as_micros(), began, |feature| {
            if let Some(count) = counts.next() {
                *count += usize::from(feature.value.is_ok());
            }
        });
    });
    let (newest, table_version) = {
        let log = view.log();
        ((log.newest > i64::MIN).then(|| Timestamp::from_micros(log.newest)), log.applied)
    };
    let state = |with_value| OnlineState {
        newest_event: newest,
        age: newest.map(|newest| now - newest),
        table_version,
        entities,
        with_value,
    };
    with_value.into_iter().map(state).collect()
}
