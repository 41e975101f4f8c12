//! Approval starts a rollout, where the pod lets it.

use tenon_core::fact::VersionJudged;
use tenon_ledger::{StoredFact, Subscriber};

use crate::serving::Serving;

/// Rolls an approved version out on every deployment of its model where the policies let that start by itself. While
/// another rollout runs there, [`Serving::advance`] starts it afterwards.
pub struct RolloutOnApproval {
    serving: Serving,
}

impl RolloutOnApproval {
    /// A subscriber that moves the traffic of `serving`.
    pub fn new(serving: Serving) -> Self {
        Self { serving }
    }
}

#[async_trait::async_trait]
impl Subscriber for RolloutOnApproval {
    fn name(&self) -> &str {
        "rollout"
    }

    fn kinds(&self) -> &[&str] {
        &["model_version.judged"]
    }

    async fn handle(&self, stored: &StoredFact) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let judged: VersionJudged = stored.fact.payload()?;
        if !judged.approved {
            return Ok(());
        }
        let specs = self.serving.inner.catalog.specs();
        let of_model = specs.deployments.iter().filter(|(_, resource)| resource.spec.model == judged.version.model);
        for (deployment, _) in of_model {
            self.serving.begin_due(deployment).await?;
        }
        Ok(())
    }
}
