//! The one check that every action passes.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tenon_company::Catalog;
use tenon_core::fact::{AuthorizationRefused, RefusalsCounted};
use tenon_core::spec::{ResourceKind, ResourceRef, SpecSet, closest};
use tenon_core::{NewFact, PodName, Principal};
use tenon_ledger::Ledger;

use crate::action::Action;
use crate::error::PolicyError;
use crate::policies::Policies;
use crate::refusals::Tally;
use crate::request::{Declared, Request, Target};
use crate::rulebook::{Authorization, Rulebook};

/// Checks every action against the policies that are applied at that moment. Cheap to clone.
///
/// A refusal is a fact, and a flood of them a few and a count; a permit is none, since what was permitted becomes facts of its own.
#[derive(Clone)]
pub struct Guard {
    catalog: Catalog,
    ledger: Ledger,
    current: Arc<RwLock<Option<Arc<Rulebook>>>>,
    tally: Arc<Mutex<Tally>>,
}

impl Guard {
    /// A guard over what the catalog says is applied.
    pub fn new(catalog: Catalog, ledger: Ledger) -> Self {
        Self { catalog, ledger, current: Arc::default(), tally: Arc::default() }
    }

    /// Answers a request, and puts a refusal on record.
    ///
    /// # Errors
    /// [`PolicyError`] when the applied policies cannot be used or the ledger fails; the action must not happen then.
    pub async fn check(&self, request: &Request) -> Result<Authorization, PolicyError> {
        let rulebook = self.rulebook()?;
        let answer = rulebook.judge(request)?;
        if !answer.allowed {
            let refused = AuthorizationRefused {
                principal: request.principal.clone(),
                action: request.action.to_string(),
                resource: request.target.to_string(),
                policies: answer.policies.clone(),
                sentence: answer.sentence.clone(),
            };
            let pod = match &request.target {
                Target::Resource(resource) => {
                    Declared::of(rulebook.specs(), resource).or_else(|| request.declared.clone())
                }
                Target::Ledger | Target::Token { .. } => None,
            };
            self.record(pod.and_then(|of| of.pod), refused).await?;
        }
        Ok(answer)
    }

    /// Puts a refusal on record: as a fact of its own, or, where its like came before within a minute, in a count that
    /// becomes a fact when the minute is over. See [`Guard::settle`].
    pub(crate) async fn record(&self, pod: Option<PodName>, refused: AuthorizationRefused) -> Result<(), PolicyError> {
        let now = self.ledger.clock().now();
        let (counts, is_new) = {
            let mut tally = self.tally.lock();
            let counts = tally.over(Some(now));
            (counts, tally.refused(now, &refused.principal, &refused.action, &refused.resource))
        };
        let mut facts = counted(counts)?;
        if is_new {
            facts.push(NewFact::new(refused.principal.clone(), pod, &refused)?);
        }
        self.append(facts).await
    }

    /// Makes facts of the counts of refusals whose minute is over, or of all of them. To be called now and then, and at
    /// the end.
    ///
    /// # Errors
    /// When the ledger fails.
    pub async fn settle(&self, all: bool) -> Result<(), PolicyError> {
        let now = (!all).then(|| self.ledger.clock().now());
        let counts = self.tally.lock().over(now);
        self.append(counted(counts)?).await
    }

    async fn append(&self, facts: Vec<NewFact>) -> Result<(), PolicyError> {
        if !facts.is_empty() {
            self.ledger.append(facts).await?;
        }
        Ok(())
    }

    /// What is applied now.
    pub(crate) fn specs(&self) -> Arc<SpecSet> {
        self.catalog.specs()
    }

    /// Answers a request and leaves no trace: for telling beforehand what would be refused.
    ///
    /// # Errors
    /// [`PolicyError`] when the applied policies cannot be used.
    pub fn judge(&self, request: &Request) -> Result<Authorization, PolicyError> {
        self.rulebook()?.judge(request)
    }

    /// That a thing is not declared, in words, for whoever may look at the company. To others it is not told what there is:
    /// they hear only whether they may.
    ///
    /// # Errors
    /// [`PolicyError`] when the applied policies cannot be used.
    pub fn missing(&self, principal: &Principal, resource: &ResourceRef) -> Result<Option<String>, PolicyError> {
        let rulebook = self.rulebook()?;
        let specs = rulebook.specs();
        if Declared::of(specs, resource).is_some() {
            return Ok(None);
        }
        let company = ResourceRef::new(ResourceKind::Company, "company");
        if !rulebook.judge(&Request::new(principal.clone(), Action::CompanyRead, company))?.allowed {
            return Ok(None);
        }
        let near = closest(&resource.name, names(specs, resource.kind).into_iter());
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Ok(Some(format!("there is no {} `{}`{near}", resource.kind, resource.name)))
    }

    /// The policies that hold now.
    ///
    /// # Errors
    /// [`PolicyError::Unusable`] when the applied policies cannot be used.
    pub fn policies(&self) -> Result<Arc<Policies>, PolicyError> {
        Ok(Arc::clone(self.rulebook()?.policies()))
    }

    /// The rulebook of what is applied now; a new one whenever the catalog holds other specs.
    fn rulebook(&self) -> Result<Arc<Rulebook>, PolicyError> {
        let specs = self.catalog.specs();
        let current = self.current.read().clone();
        match current {
            Some(rulebook) if Arc::ptr_eq(rulebook.specs(), &specs) => Ok(rulebook),
            before => {
                let rulebook = Arc::new(Rulebook::new(Arc::clone(&specs), policies(before.as_deref(), &specs)?)?);
                *self.current.write() = Some(Arc::clone(&rulebook));
                Ok(rulebook)
            }
        }
    }
}

/// The names that are declared of a kind of thing.
fn names(specs: &SpecSet, kind: ResourceKind) -> Vec<&str> {
    fn of<K: AsRef<str>, V>(declared: &std::collections::BTreeMap<K, V>) -> Vec<&str> {
        declared.keys().map(AsRef::as_ref).collect()
    }
    match kind {
        ResourceKind::Pod => of(&specs.pods),
        ResourceKind::Dataset => of(&specs.datasets),
        ResourceKind::FeatureView => specs.views().map(|view| view.name.as_str()).collect(),
        ResourceKind::Model => of(&specs.models),
        ResourceKind::Deployment => of(&specs.deployments),
        ResourceKind::Monitor => of(&specs.monitors),
        ResourceKind::Company | ResourceKind::Budgets | ResourceKind::Policy => Vec::new(),
    }
}

fn counted(counts: Vec<RefusalsCounted>) -> Result<Vec<NewFact>, PolicyError> {
    counts.into_iter().map(|count| Ok(NewFact::new(count.principal.clone(), None, &count)?)).collect()
}

/// The policies of these specs: those from before where their files say the same.
fn policies(before: Option<&Rulebook>, specs: &SpecSet) -> Result<Arc<Policies>, PolicyError> {
    match before {
        Some(before) if before.specs().policies == specs.policies => Ok(Arc::clone(before.policies())),
        _ => Policies::parse(&specs.policies).map(Arc::new).map_err(PolicyError::Unusable),
    }
}
