//! What was spent, folded from facts by pod and period.

use serde::{Deserialize, Serialize};
use tenon_core::fact::SpendRecorded;
use tenon_core::spec::BudgetPeriod;
use tenon_core::{PodName, Timestamp};
use tenon_ledger::{DocsExt, DocsMut, LedgerError, Projection, StoredFact};

use crate::period::Period;

pub(crate) const SPEND: &str = "spend";

/// What one pod spent in one period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// US dollars: the recorded amounts added up in the order of their facts, so that a rebuilt sum is the same to the
    /// bit.
    pub usd: f64,
    /// Seconds of all that was used.
    pub seconds: f64,
    /// How many facts it sums.
    pub facts: u64,
}

/// Sums of spend, a document for each pod and period: `arrivals/2013-04` and `arrivals/2013-04-01`. What belongs to no
/// pod counts for the company, whose key starts with `/`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpendProjection;

impl Projection for SpendProjection {
    fn name(&self) -> &'static str {
        SPEND
    }

    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        let fact = &stored.fact;
        if !fact.is::<SpendRecorded>() {
            return Ok(());
        }
        let recorded: SpendRecorded = fact.payload()?;
        for kind in [BudgetPeriod::Month, BudgetPeriod::Day] {
            let key = key(fact.pod.as_ref(), kind, fact.at);
            let mut spent = docs.read::<Spent>(SPEND, &key)?.unwrap_or_default();
            spent.usd += recorded.usd;
            spent.seconds += recorded.seconds;
            spent.facts += 1;
            docs.put(SPEND, &key, serde_json::to_value(spent)?)?;
        }
        Ok(())
    }
}

/// The document of a pod's spend in the period that holds the moment.
pub(crate) fn key(pod: Option<&PodName>, kind: BudgetPeriod, at: Timestamp) -> String {
    format!("{}/{}", pod.map_or("", PodName::as_str), Period::of(kind, at))
}
