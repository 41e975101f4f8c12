//! The one check that every action passes.

use std::sync::Arc;

use parking_lot::RwLock;
use tenon_company::Catalog;
use tenon_core::NewFact;
use tenon_core::fact::AuthorizationRefused;
use tenon_core::spec::SpecSet;
use tenon_ledger::Ledger;

use crate::error::PolicyError;
use crate::policies::Policies;
use crate::request::{Declared, Request, Target};
use crate::rulebook::{Authorization, Rulebook};

/// Checks every action against the policies that are applied at that moment. Cheap to clone.
///
/// A refusal is a fact; a permit is none, since what was permitted becomes facts of its own.
#[derive(Clone)]
pub struct Guard {
    catalog: Catalog,
    ledger: Ledger,
    current: Arc<RwLock<Option<Arc<Rulebook>>>>,
}

impl Guard {
    /// A guard over what the catalog says is applied.
    pub fn new(catalog: Catalog, ledger: Ledger) -> Self {
        Self { catalog, ledger, current: Arc::default() }
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
            let pod = pod.and_then(|of| of.pod);
            self.ledger.append(vec![NewFact::new(request.principal.clone(), pod, &refused)?]).await?;
        }
        Ok(answer)
    }

    /// Answers a request and leaves no trace: for telling beforehand what would be refused.
    ///
    /// # Errors
    /// [`PolicyError`] when the applied policies cannot be used.
    pub fn judge(&self, request: &Request) -> Result<Authorization, PolicyError> {
        self.rulebook()?.judge(request)
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

/// The policies of these specs: those from before where their files say the same.
fn policies(before: Option<&Rulebook>, specs: &SpecSet) -> Result<Arc<Policies>, PolicyError> {
    match before {
        Some(before) if before.specs().policies == specs.policies => Ok(Arc::clone(before.policies())),
        _ => Policies::parse(&specs.policies).map(Arc::new).map_err(PolicyError::Unusable),
    }
}
