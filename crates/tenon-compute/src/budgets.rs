//! Budgets: what may still be spent, asked before it is.

use tenon_company::Catalog;
use tenon_core::fact::SpendRecorded;
use tenon_core::id::OperationId;
use tenon_core::spec::{Budget, BudgetPeriod, Prices};
use tenon_core::{NewFact, PodName, Principal, Timestamp};
use tenon_ledger::{Docs, DocsExt, Ledger};

use crate::error::ComputeError;
use crate::judge::{BudgetVerdict, judge};
use crate::meter::Spend;
use crate::period::Period;
use crate::spend::{SPEND, Spent, key};

/// The budget of a pod as it stands in one period.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetState {
    /// The limit in US dollars; none where the pod has no budget.
    pub limit_usd: Option<f64>,
    /// What was spent in the period, in US dollars.
    pub spent_usd: f64,
    /// The period.
    pub period: Period,
}

impl BudgetState {
    /// What may still be spent, in US dollars, never less than 0; none where there is no limit.
    pub fn remaining_usd(&self) -> Option<f64> {
        self.limit_usd.map(|limit| (limit - self.spent_usd).max(0.0))
    }

    /// Whether so much more may be spent.
    pub fn judge(&self, asked_usd: f64) -> BudgetVerdict {
        judge(self.limit_usd, self.spent_usd, asked_usd)
    }

    /// The state in plain words, such as `0.42 of 5.00 USD of 2013-04 are spent`.
    pub fn sentence(&self) -> String {
        match self.limit_usd {
            Some(limit) => format!("{:.2} of {limit:.2} USD of {} are spent", self.spent_usd, self.period),
            None => format!("{:.2} USD of {} are spent, and no limit is set", self.spent_usd, self.period),
        }
    }
}

/// What was used for what, and its price.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// On what: `run 0190…`.
    pub subject: String,
    /// What was used: `cpu`.
    pub resource: String,
    /// How much, and what it costs.
    pub spend: Spend,
}

/// Reads budgets and spend, and records spend. The ledger must fold [`SpendProjection`](crate::SpendProjection). Cheap to
/// clone.
#[derive(Clone)]
pub struct Budgets {
    catalog: Catalog,
    ledger: Ledger,
}

impl Budgets {
    /// The budgets that the catalog says are applied, against the spend on this ledger.
    pub fn new(catalog: Catalog, ledger: Ledger) -> Self {
        Self { catalog, ledger }
    }

    /// The prices that are applied.
    pub fn prices(&self) -> Prices {
        self.catalog.specs().company.prices.clone()
    }

    /// How the pod's tightest budget stands at a moment. A pod without a budget has no limit; its month is told.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn remaining(&self, pod: &PodName, now: Timestamp) -> Result<BudgetState, ComputeError> {
        let specs = self.catalog.specs();
        tightest(&specs.budgets.budgets, &self.ledger.docs(), pod, now)
    }

    /// Whether the pod may spend so much more now. A refusal comes before the money is gone, and costs nothing.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn would_exceed(&self, pod: &PodName, now: Timestamp, usd: f64) -> Result<BudgetVerdict, ComputeError> {
        Ok(self.remaining(pod, now)?.judge(usd))
    }

    /// What the pod, or the company itself, spent in the period that holds the moment.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn spent(&self, pod: Option<&PodName>, kind: BudgetPeriod, at: Timestamp) -> Result<Spent, ComputeError> {
        spent(&self.ledger.docs(), pod, kind, at)
    }

    /// The fact that money was spent, for appending together with others.
    ///
    /// # Errors
    /// [`ComputeError::BadAmount`] when an amount is negative or not finite.
    pub fn fact(by: &Principal, pod: Option<&PodName>, cost: &Cost) -> Result<NewFact, ComputeError> {
        let Spend { seconds, usd } = cost.spend;
        for amount in [seconds, usd] {
            if !(amount.is_finite() && amount >= 0.0) {
                return Err(ComputeError::BadAmount(amount));
            }
        }
        let (subject, resource) = (cost.subject.clone(), cost.resource.clone());
        let recorded = SpendRecorded { subject, resource, seconds, usd };
        Ok(NewFact::new(by.clone(), pod.cloned(), &recorded)?)
    }

    /// Records that money was spent. With an operation, it counts once however often it is recorded.
    ///
    /// # Errors
    /// As [`Budgets::fact`], and when the ledger fails.
    pub async fn record(
        &self,
        by: &Principal,
        pod: Option<&PodName>,
        cost: &Cost,
        operation: Option<OperationId>,
    ) -> Result<(), ComputeError> {
        let fact = Self::fact(by, pod, cost)?;
        let fact = match operation {
            Some(operation) => fact.sealing(operation),
            None => fact,
        };
        self.ledger.append(vec![fact]).await?;
        Ok(())
    }
}

/// The budget of the pod of which the least is left.
fn tightest(
    budgets: &[Budget],
    docs: &(impl Docs + ?Sized),
    pod: &PodName,
    now: Timestamp,
) -> Result<BudgetState, ComputeError> {
    let state = |kind: BudgetPeriod, limit_usd: Option<f64>| {
        let spent_usd = spent(docs, Some(pod), kind, now)?.usd;
        Ok::<_, ComputeError>(BudgetState { limit_usd, spent_usd, period: Period::of(kind, now) })
    };
    let own = budgets.iter().filter(|budget| budget.pod == *pod);
    let states = own.map(|budget| state(budget.period, Some(budget.limit_usd))).collect::<Result<Vec<_>, _>>()?;
    let left = |state: &BudgetState| state.limit_usd.unwrap_or(f64::INFINITY) - state.spent_usd;
    match states.into_iter().min_by(|a, b| left(a).total_cmp(&left(b))) {
        Some(tightest) => Ok(tightest),
        None => state(BudgetPeriod::Month, None),
    }
}

fn spent(
    docs: &(impl Docs + ?Sized),
    pod: Option<&PodName>,
    kind: BudgetPeriod,
    at: Timestamp,
) -> Result<Spent, ComputeError> {
    Ok(docs.read(SPEND, &key(pod, kind, at))?.unwrap_or_default())
}
