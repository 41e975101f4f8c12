//! The company as Cedar sees it: people, services, pods and what they own.

use std::collections::BTreeSet;

use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression as Value};
use tenon_core::spec::{Autonomy, PodSpec, ResourceKind, ResourceRef, SpecSet};
use tenon_core::{PodName, Principal};

use crate::error::PolicyError;
use crate::names::Names;
use crate::policies::Policies;
use crate::request::{Declared, Target};

/// The parts of the program that act by themselves. Nobody holds a token for one.
pub(crate) const BUILT_IN: [&str; 5] = ["compact", "monitor", "replay", "retrain", "rollout"];

/// Makes entities of what is applied.
pub(crate) struct Maker<'a> {
    pub(crate) specs: &'a SpecSet,
    pub(crate) names: &'a Names,
}

impl Maker<'_> {
    /// Everything that is applied, and everyone who is known.
    pub(crate) fn all(&self, policies: &Policies) -> Result<Entities, PolicyError> {
        let specs = self.specs;
        let people: BTreeSet<&String> = specs.pods.values().flat_map(|pod| pod.members.keys()).collect();
        let people = people.into_iter().map(Principal::person);
        let principals = people.chain(BUILT_IN.map(Principal::service));
        let resource = |kind: ResourceKind| move |name: &str| ResourceRef::new(kind, name);
        let datasets = specs.datasets.keys().map(AsRef::as_ref).map(resource(ResourceKind::Dataset));
        let views = specs.views().map(|view| view.name.as_ref()).map(resource(ResourceKind::FeatureView));
        let models = specs.models.keys().map(AsRef::as_ref).map(resource(ResourceKind::Model));
        let deployments = specs.deployments.keys().map(AsRef::as_ref).map(resource(ResourceKind::Deployment));
        let monitors = specs.monitors.keys().map(AsRef::as_ref).map(resource(ResourceKind::Monitor));
        let resources = datasets.chain(views).chain(models).chain(deployments).chain(monitors);
        let mut entities = vec![self.company()?];
        for (name, pod) in &specs.pods {
            entities.push(self.pod(name, Some(pod))?);
        }
        for principal in principals {
            entities.push(self.principal(&principal)?);
        }
        for resource in resources {
            let declared = Declared::of(specs, &resource);
            entities.push(self.target(&Target::Resource(resource), declared.as_ref(), None)?);
        }
        Entities::from_entities(entities, Some(&policies.schema)).map_err(|error| PolicyError::engine("company", error))
    }

    /// A principal, known or not.
    pub(crate) fn principal(&self, principal: &Principal) -> Result<Entity, PolicyError> {
        let uid = self.names.principal(principal);
        match principal {
            Principal::Person(name) => {
                let of = |(pod, spec): (&PodName, &PodSpec)| Some((pod.clone(), spec.members.get(name)?.role.clone()));
                let pods: Vec<(PodName, String)> = self.specs.pods.iter().filter_map(of).collect();
                let roles = pods.iter().map(|(_, role)| Value::new_string(role.clone()));
                let attributes = [
                    ("known", Value::new_bool(!pods.is_empty())),
                    ("founder", Value::new_bool(self.specs.pods.is_empty())),
                    ("roles", Value::new_set(roles)),
                ];
                let parents =
                    pods.iter().map(|(pod, _)| self.names.resource(ResourceKind::Pod, pod.as_str())).collect();
                let tags = pods.iter().map(|(pod, role)| (pod.to_string(), Value::new_string(role.clone()))).collect();
                entity(uid, attributes, parents, tags)
            }
            Principal::Service(name) => {
                let attributes = [
                    ("built_in", Value::new_bool(BUILT_IN.contains(&name.as_str()))),
                    ("replaying", Value::new_bool(self.specs.company.clock.replay)),
                ];
                entity(uid, attributes, Vec::new(), Vec::new())
            }
        }
    }

    /// A target as applied and as declared; a pod that is not applied counts as none. What nothing is known of may be
    /// about people.
    pub(crate) fn target(
        &self,
        target: &Target,
        applied: Option<&Declared>,
        declared: Option<&Declared>,
    ) -> Result<Entity, PolicyError> {
        let uid = self.names.target(target, &self.specs.company.name);
        let company = self.names.resource(ResourceKind::Company, &self.specs.company.name);
        let either = |of: fn(&Declared) -> bool| match (applied, declared) {
            (None, None) => true,
            _ => applied.is_some_and(of) || declared.is_some_and(of),
        };
        let resource = match target {
            Target::Resource(resource) => resource,
            Target::Ledger => return entity(uid, [], vec![company], Vec::new()),
            Target::Token { acts_as, .. } => {
                let key = if matches!(acts_as, Principal::Person(_)) { "person" } else { "service" };
                let holder = Value::new_entity_uid(self.names.principal(acts_as));
                return entity(uid, [(key, holder)], vec![company], Vec::new());
            }
        };
        let pod = applied.or(declared).and_then(|of| of.pod.as_ref());
        let pod = pod.filter(|pod| self.specs.pods.contains_key(*pod));
        match resource.kind {
            ResourceKind::Company => return self.company(),
            ResourceKind::Pod => {
                let name = PodName::new(&resource.name).map_err(|error| PolicyError::engine("pod's name", error))?;
                return self.pod(&name, self.specs.pods.get(&name));
            }
            _ => {}
        }
        let pod = pod.map(|pod| self.names.resource(ResourceKind::Pod, pod.as_str()));
        let mut attributes = Vec::new();
        if let Some(pod) = &pod {
            attributes.push(("pod", Value::new_entity_uid(pod.clone())));
        }
        match resource.kind {
            ResourceKind::Dataset => attributes.push(("personal", Value::new_bool(either(|of| of.personal)))),
            ResourceKind::Model | ResourceKind::Deployment => {
                attributes.push(("about_people", Value::new_bool(either(|of| of.about_people))));
            }
            _ => {}
        }
        entity(uid, attributes, vec![pod.unwrap_or(company)], Vec::new())
    }

    fn company(&self) -> Result<Entity, PolicyError> {
        let company = &self.specs.company;
        let uid = self.names.resource(ResourceKind::Company, &company.name);
        entity(uid, [("replay", Value::new_bool(company.clock.replay))], Vec::new(), Vec::new())
    }

    /// A pod; one that is not applied has no owner, so that founding it is a matter of the company.
    fn pod(&self, name: &PodName, applied: Option<&PodSpec>) -> Result<Entity, PolicyError> {
        let uid = self.names.resource(ResourceKind::Pod, name.as_str());
        let led = applied.is_some_and(|pod| pod.members.values().any(|member| member.role == "lead"));
        let automatic = applied.is_some_and(|pod| pod.autonomy == Autonomy::Automatic);
        let mut attributes = vec![
            ("name", Value::new_string(name.to_string())),
            ("automatic", Value::new_bool(automatic)),
            ("led", Value::new_bool(led)),
        ];
        if applied.is_some() {
            attributes.push(("pod", Value::new_entity_uid(uid.clone())));
        }
        let company = self.names.resource(ResourceKind::Company, &self.specs.company.name);
        entity(uid, attributes, vec![company], Vec::new())
    }
}

fn entity(
    uid: EntityUid,
    attributes: impl IntoIterator<Item = (&'static str, Value)>,
    parents: Vec<EntityUid>,
    tags: Vec<(String, Value)>,
) -> Result<Entity, PolicyError> {
    let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value));
    Entity::new_with_tags(uid, attributes, parents, tags).map_err(|error| PolicyError::engine("entity", error))
}
