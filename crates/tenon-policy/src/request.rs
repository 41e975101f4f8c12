//! What is asked: may this principal do this to that, knowing what is known now?

use std::fmt;

use tenon_core::spec::{DataClass, ResourceKind, ResourceRef, SpecSet};
use tenon_core::{PodName, Principal};

use crate::action::Action;

/// One question to the policies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who wants to act.
    pub principal: Principal,
    /// What it wants to do.
    pub action: Action,
    /// To what.
    pub target: Target,
    /// What a changed file says of the target, where that is not applied yet.
    pub declared: Option<Declared>,
    /// What else is known. The default is the cautious one: nothing passed, nobody agreed.
    pub context: Context,
}

impl Request {
    /// The question whether `principal` may do `action` to `target`.
    pub fn new(principal: Principal, action: Action, target: impl Into<Target>) -> Self {
        Self { principal, action, target: target.into(), declared: None, context: Context::default() }
    }

    /// The same about something that a changed file declares. Where the change moves it from one pod to another, both
    /// must permit.
    #[must_use]
    pub fn declared(mut self, declared: Declared) -> Self {
        self.declared = Some(declared);
        self
    }

    /// The same with what is known of a rollout's candidate: whether it passed the fairness gate (a waived one did not),
    /// and whether none of its gates failed.
    #[must_use]
    pub fn candidate(mut self, fairness_gate_passed: bool, approved: bool) -> Self {
        self.context.fairness_gate_passed = fairness_gate_passed;
        self.context.approved = approved;
        self
    }

    /// The same for waiving one kind of gate, and who agrees.
    #[must_use]
    pub fn waiving(mut self, gate: impl Into<String>, approved_by: Option<Principal>) -> Self {
        self.context.gate = gate.into();
        self.context.approved_by = approved_by;
        self
    }
}

/// What something is done to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Something that the company folder declares.
    Resource(ResourceRef),
    /// The ledger.
    Ledger,
    /// A token.
    Token {
        /// Its name.
        name: String,
        /// Whom its bearer acts as.
        acts_as: Principal,
    },
}

impl Target {
    /// The thing of that kind and name.
    pub fn resource(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self::Resource(ResourceRef::new(kind, name))
    }
}

impl From<ResourceRef> for Target {
    fn from(resource: ResourceRef) -> Self {
        Self::Resource(resource)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(resource) => resource.fmt(f),
            Self::Ledger => f.pad("the ledger"),
            Self::Token { name, acts_as } => write!(f, "token {name} of {acts_as}"),
        }
    }
}

/// What is known at the moment of asking, besides who and what. An action sees only its own part: see
/// `schema.cedarschema`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Context {
    /// Rollouts: the candidate passed the fairness gate.
    pub fairness_gate_passed: bool,
    /// Rollouts: no gate of the candidate failed.
    pub approved: bool,
    /// Waivers: the kind of the gate.
    pub gate: String,
    /// Waivers: who agrees. A service is nobody here.
    pub approved_by: Option<Principal>,
}

/// What a file says of a thing, as far as policies care.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Declared {
    /// The pod that owns it; none for the company's own.
    pub pod: Option<PodName>,
    /// It decides about people.
    pub about_people: bool,
    /// It holds something about people.
    pub personal: bool,
}

impl Declared {
    /// What these files say of a thing; none where they do not declare it.
    pub fn of(specs: &SpecSet, resource: &ResourceRef) -> Option<Self> {
        let name = resource.name.as_str();
        let owned = |pod: &PodName| Self { pod: Some(pod.clone()), about_people: false, personal: false };
        match resource.kind {
            ResourceKind::Company | ResourceKind::Budgets | ResourceKind::Policy => {
                Some(Self { pod: None, about_people: false, personal: false })
            }
            ResourceKind::Pod => specs.pods.keys().find(|pod| pod.as_str() == name).map(owned),
            ResourceKind::Dataset => find(&specs.datasets, name).map(|dataset| {
                let mut columns = dataset.spec.contract.columns.values();
                let personal =
                    columns.any(|column| matches!(column.class, Some(DataClass::Personal | DataClass::Protected)));
                Self { personal, ..owned(&dataset.pod) }
            }),
            ResourceKind::FeatureView => {
                specs.views().find(|view| view.name.as_str() == name).map(|view| owned(view.pod))
            }
            ResourceKind::Model => find(&specs.models, name).map(|model| {
                let mut deployments = specs.deployments.values().map(|deployment| &deployment.spec);
                let about_people =
                    deployments.any(|deployment| deployment.model.as_str() == name && deployment.about_people);
                Self { about_people, ..owned(&model.pod) }
            }),
            ResourceKind::Deployment => find(&specs.deployments, name)
                .map(|deployment| Self { about_people: deployment.spec.about_people, ..owned(&deployment.pod) }),
            ResourceKind::Monitor => find(&specs.monitors, name).map(|monitor| owned(&monitor.pod)),
        }
    }
}

/// What lets somebody do `action` to a table of the lake: a quarantine, and rows as they came, are guarded as their dataset;
/// decisions and outcomes as their deployment.
pub fn guard_of_table(specs: &SpecSet, table: &str, action: Action) -> (Action, ResourceRef) {
    let deployment = ["decisions_", "outcomes_"].iter().find_map(|prefix| table.strip_prefix(prefix));
    if let Some(name) = deployment.filter(|name| find(&specs.deployments, name).is_some()) {
        return (Action::DecisionRead, ResourceRef::new(ResourceKind::Deployment, name));
    }
    let dataset = table.split("__").next().unwrap_or(table);
    (action, ResourceRef::new(ResourceKind::Dataset, dataset))
}

fn find<'a, K: Ord + AsRef<str>, V>(of: &'a std::collections::BTreeMap<K, V>, name: &str) -> Option<&'a V> {
    of.iter().find(|(key, _)| key.as_ref() == name).map(|(_, value)| value)
}
