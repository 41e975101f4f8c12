//! The names of entities as Cedar knows them.

use cedar_policy::{EntityId, EntityTypeName, EntityUid, ParseErrors};
use tenon_core::Principal;
use tenon_core::spec::ResourceKind;

use crate::action::Action;
use crate::request::Target;

/// The entity types of the schema, parsed once.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    action: EntityTypeName,
    person: EntityTypeName,
    service: EntityTypeName,
    company: EntityTypeName,
    budgets: EntityTypeName,
    pod: EntityTypeName,
    dataset: EntityTypeName,
    feature_view: EntityTypeName,
    model: EntityTypeName,
    deployment: EntityTypeName,
    monitor: EntityTypeName,
    policy: EntityTypeName,
    ledger: EntityTypeName,
    token: EntityTypeName,
}

impl Names {
    pub(crate) fn parse() -> Result<Self, ParseErrors> {
        let name = |name: &str| format!("Tenon::{name}").parse::<EntityTypeName>();
        Ok(Self {
            action: name("Action")?,
            person: name("Person")?,
            service: name("Service")?,
            company: name("Company")?,
            budgets: name("Budgets")?,
            pod: name("Pod")?,
            dataset: name("Dataset")?,
            feature_view: name("FeatureView")?,
            model: name("Model")?,
            deployment: name("Deployment")?,
            monitor: name("Monitor")?,
            policy: name("Policy")?,
            ledger: name("Ledger")?,
            token: name("Token")?,
        })
    }

    pub(crate) fn action(&self, action: Action) -> EntityUid {
        uid(&self.action, action.as_str())
    }

    pub(crate) fn principal(&self, principal: &Principal) -> EntityUid {
        match principal {
            Principal::Person(name) => uid(&self.person, name),
            Principal::Service(name) => uid(&self.service, name),
        }
    }

    pub(crate) fn resource(&self, kind: ResourceKind, name: &str) -> EntityUid {
        let of = match kind {
            ResourceKind::Company => &self.company,
            ResourceKind::Budgets => &self.budgets,
            ResourceKind::Pod => &self.pod,
            ResourceKind::Dataset => &self.dataset,
            ResourceKind::FeatureView => &self.feature_view,
            ResourceKind::Model => &self.model,
            ResourceKind::Deployment => &self.deployment,
            ResourceKind::Monitor => &self.monitor,
            ResourceKind::Policy => &self.policy,
        };
        uid(of, name)
    }

    /// The target's name; a company has one company, whatever it is called there.
    pub(crate) fn target(&self, target: &Target, company: &str) -> EntityUid {
        match target {
            Target::Resource(resource) if resource.kind == ResourceKind::Company => {
                self.resource(resource.kind, company)
            }
            Target::Resource(resource) => self.resource(resource.kind, &resource.name),
            Target::Ledger => uid(&self.ledger, "ledger"),
            Target::Token { name, .. } => uid(&self.token, name),
        }
    }
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}
