//! Two people let a version through a gate that it failed.

use tenon_core::fact::{GateWaived, Verdict, VersionJudged};
use tenon_core::{ModelVersionRef, NewFact, Principal};

use crate::ModelError;
use crate::models::{Models, resource};
use crate::words::list;

impl Models {
    /// Two people let a version through a gate that it failed. When no other gate is failed, it may be deployed.
    ///
    /// # Errors
    /// [`ModelError::SamePerson`] when one person is both; [`ModelError::NothingToWaive`] when the gate is not failed.
    pub async fn waive(
        &self,
        requested_by: &Principal,
        approved_by: &Principal,
        version: &ModelVersionRef,
        gate: &str,
        reason: &str,
    ) -> Result<VersionJudged, ModelError> {
        if requested_by == approved_by {
            return Err(ModelError::SamePerson(requested_by.name().to_owned()));
        }
        let record = self.version(version)?;
        let mut failed: Vec<String> = Vec::new();
        for of in record.gates.iter().filter(|of| of.verdict == Verdict::Failed) {
            if !failed.contains(&of.gate) {
                failed.push(of.gate.clone());
            }
        }
        if !failed.iter().any(|name| name == gate) {
            let hint =
                if failed.is_empty() { "it failed none".to_owned() } else { format!("it failed {}", list(&failed)) };
            return Err(ModelError::NothingToWaive { version: version.clone(), gate: gate.to_owned(), hint });
        }
        failed.retain(|name| name != gate);
        let waived = GateWaived {
            version: version.clone(),
            gate: gate.to_owned(),
            requested_by: requested_by.clone(),
            approved_by: approved_by.clone(),
            reason: reason.to_owned(),
        };
        let judged = VersionJudged { version: version.clone(), approved: failed.is_empty(), failed };
        let specs = self.inner.catalog.specs();
        let pod = Some(resource(&specs, &version.model)?.pod.clone());
        let facts = vec![
            NewFact::new(approved_by.clone(), pod.clone(), &waived).map_err(ModelError::json("a fact"))?,
            NewFact::new(approved_by.clone(), pod, &judged).map_err(ModelError::json("a fact"))?,
        ];
        self.inner.ledger.append(facts).await?;
        Ok(judged)
    }
}
