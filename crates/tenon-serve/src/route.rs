//! How requests for a deployment find their version: the table that is swapped whole when traffic moves.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexSet;
use parking_lot::RwLock;
use tenon_core::id::RolloutId;
use tenon_core::spec::{DeploymentSpec, SpecSet};
use tenon_core::{DeploymentName, Digest, ModelName, PodName};
use tenon_features::{FeatureStore, Selected};

use crate::decision::Variant;
use crate::engine::{Engine, Engines};
use crate::error::ServeError;
use crate::projection::DeploymentState;

/// Where the traffic of one deployment goes.
pub(crate) struct Route {
    pub(crate) champion: Arc<Engine>,
    pub(crate) rollout: Option<RolloutRoute>,
    /// What the specs say about it, computed anew when they change.
    layout: RwLock<Option<Arc<Layout>>>,
}

/// The running rollout of a route.
pub(crate) struct RolloutRoute {
    pub(crate) id: RolloutId,
    pub(crate) step: u32,
    pub(crate) candidate: Arc<Engine>,
    /// The candidate's share of the traffic.
    share: f64,
}

impl Route {
    /// The route of a deployment's state; none while nothing is in charge.
    pub(crate) fn of(state: &DeploymentState, engines: &Engines) -> Result<Option<Self>, ServeError> {
        let Some(champion) = &state.champion else { return Ok(None) };
        let champion = engines.get(&champion.version)?;
        let rollout = match &state.rollout {
            Some(rollout) if rollout.step.is_some() => {
                let share = state.traffic.iter().find(|part| part.version == rollout.candidate);
                Some(RolloutRoute {
                    id: rollout.id,
                    step: rollout.step.unwrap_or(0),
                    candidate: engines.get(&rollout.candidate)?,
                    share: share.map_or(0.0, |part| part.share.fraction()),
                })
            }
            _ => None,
        };
        Ok(Some(Self { champion, rollout, layout: RwLock::default() }))
    }

    /// Which side answers about these entities: always the same one for the same entities and rollout, and the
    /// candidate for its share of them.
    pub(crate) fn variant(&self, entities: &str) -> Variant {
        match &self.rollout {
            Some(rollout) if position(rollout.id, entities) < rollout.share => Variant::Candidate,
            _ => Variant::Champion,
        }
    }

    pub(crate) fn engine(&self, variant: Variant) -> &Arc<Engine> {
        match (&self.rollout, variant) {
            (Some(rollout), Variant::Candidate) => &rollout.candidate,
            _ => &self.champion,
        }
    }

    /// What the specs say about this route.
    pub(crate) async fn layout(
        &self,
        specs: &Arc<SpecSet>,
        name: &DeploymentName,
        features: &FeatureStore,
        engines: &Engines,
    ) -> Result<Arc<Layout>, ServeError> {
        if let Some(layout) = &*self.layout.read()
            && Arc::ptr_eq(&layout.specs, specs)
        {
            return Ok(Arc::clone(layout));
        }
        let layout = Arc::new(Layout::new(specs, name, self, features, engines).await?);
        *self.layout.write() = Some(Arc::clone(&layout));
        Ok(layout)
    }
}

/// Where a request falls between 0 and 1: by the digest of the rollout and the canonical entities.
fn position(rollout: RolloutId, entities: &str) -> f64 {
    let mut digest = Digest::builder();
    digest.update(rollout.uuid().as_bytes());
    digest.update(entities);
    digest.finish().fraction()
}

/// What a deployment's specs say, laid out for the hot path.
pub(crate) struct Layout {
    specs: Arc<SpecSet>,
    pub(crate) deployment: Arc<str>,
    pub(crate) model_text: Arc<str>,
    pub(crate) threshold: f64,
    /// The columns that name who is decided about, of all sides.
    pub(crate) entity_columns: Vec<String>,
    /// What callers may send besides, for features that are computed from it.
    pub(crate) request_columns: Vec<String>,
    pub(crate) usd_per_second: f64,
    champion: Side,
    candidate: Option<Side>,
}

/// How the features of a model become the inputs of one version.
pub(crate) struct Side {
    /// The features, as they were defined when the version learnt.
    pub(crate) service: Arc<Selected>,
    /// For each input: where the feature store has it, what stands in for it, and what it means.
    pub(crate) inputs: Vec<Input>,
}

pub(crate) struct Input {
    pub(crate) name: Arc<str>,
    pub(crate) from: usize,
    pub(crate) fallback: Option<f32>,
    pub(crate) words: FeatureWords,
}

/// What a feature means, in words.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FeatureWords {
    pub(crate) description: Option<String>,
    pub(crate) unit: Option<String>,
}

impl Layout {
    async fn new(
        specs: &Arc<SpecSet>,
        name: &DeploymentName,
        route: &Route,
        features: &FeatureStore,
        engines: &Engines,
    ) -> Result<Self, ServeError> {
        let spec = deployment_spec(specs, name)?.1;
        let champion = Side::new(spec, &route.champion, features, engines).await?;
        let candidate = match &route.rollout {
            Some(rollout) => Some(Side::new(spec, &rollout.candidate, features, engines).await?),
            None => None,
        };
        let services = || [Some(&champion), candidate.as_ref()].into_iter().flatten().map(|side| &side.service);
        Ok(Self {
            specs: Arc::clone(specs),
            deployment: name.as_str().into(),
            model_text: spec.model.as_str().into(),
            threshold: spec.threshold,
            entity_columns: each_once(services().flat_map(|service| service.entities())),
            request_columns: each_once(services().flat_map(|service| service.request())),
            usd_per_second: specs.company.prices.cpu_hour_usd / 3600.0,
            champion,
            candidate,
        })
    }

    /// The candidate's side, where it reads other features than the champion's.
    pub(crate) fn other(&self) -> Option<&Side> {
        self.candidate.as_ref().filter(|candidate| !Arc::ptr_eq(&candidate.service, &self.champion.service))
    }

    pub(crate) fn side(&self, variant: Variant) -> &Side {
        match (&self.candidate, variant) {
            (Some(candidate), Variant::Candidate) => candidate,
            _ => &self.champion,
        }
    }
}

impl Side {
    async fn new(
        spec: &DeploymentSpec,
        engine: &Engine,
        features: &FeatureStore,
        engines: &Engines,
    ) -> Result<Self, ServeError> {
        let learnt = engines.definitions_of(&engine.version)?;
        let service = features.service(&learnt, &spec.model).await.map_err(ServeError::Features)?;
        let places: HashMap<&str, usize> = service.names().enumerate().map(|(at, name)| (name, at)).collect();
        let input = |name: &Arc<str>| {
            let gone = || ServeError::FeatureGone { version: engine.version.clone(), feature: name.to_string() };
            Ok(Input {
                name: Arc::clone(name),
                from: places.get(&**name).copied().ok_or_else(gone)?,
                fallback: spec.fallback.get(&**name).map(|value| *value as f32),
                words: words(&learnt, &spec.model, name),
            })
        };
        let inputs = engine.inputs.iter().map(input).collect::<Result<_, ServeError>>()?;
        Ok(Self { inputs, service })
    }
}

fn each_once<'a>(columns: impl Iterator<Item = &'a str>) -> Vec<String> {
    columns.collect::<IndexSet<_>>().into_iter().map(str::to_owned).collect()
}

/// What a feature of a model means.
pub(crate) fn words(specs: &SpecSet, model: &ModelName, feature: &str) -> FeatureWords {
    let views = specs.models.get(model).map(|model| model.spec.features.as_slice()).unwrap_or_default();
    let meaning = specs.meaning(views, feature).unwrap_or_default();
    FeatureWords { description: meaning.description.map(str::to_owned), unit: meaning.unit.map(str::to_owned) }
}

/// A deployment that is applied, with its owner.
pub(crate) fn deployment_spec<'a>(
    specs: &'a SpecSet,
    name: &DeploymentName,
) -> Result<(&'a PodName, &'a DeploymentSpec), ServeError> {
    let unknown = || ServeError::UnknownDeployment {
        name: name.to_string(),
        known: specs.deployments.keys().map(ToString::to_string).collect(),
    };
    specs.deployments.get(name).map(|resource| (&resource.pod, &resource.spec)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_core::id::OperationId;

    #[test]
    fn requests_fall_evenly_and_anew_for_each_rollout() {
        let rollout = |name| RolloutId::from_uuid(OperationId::derive(&[name]).uuid());
        let share = |rollout, below: f64| {
            let falls = |i: &u32| position(rollout, &format!("{{\"tailnum\":\"N{i}\"}}")) < below;
            (0..20_000).filter(falls).count() as f64 / 20_000.0
        };
        for below in [0.1, 0.5, 0.9] {
            assert!((share(rollout("a"), below) - below).abs() < 0.012, "{below}");
        }
        let (a, b) = (rollout("a"), rollout("b"));
        let both = (0..20_000).filter(|i| position(a, &i.to_string()) < 0.1 && position(b, &i.to_string()) < 0.1);
        let both = both.count();
        assert!((120..280).contains(&both), "the same callers were drawn by both rollouts: {both}");
        assert_eq!(position(a, "x"), position(a, "x"));
    }
}
