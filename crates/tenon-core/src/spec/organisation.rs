//! `company.toml`, `budgets.toml` and each pod's `pod.toml`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use super::engine::EngineAddress;
use crate::{PodName, Span};

/// `company.toml`: the company's name and where its stores are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompanySpec {
    /// The company's name; also the origin of its ledger's checkpoints.
    pub name: String,
    /// What the company does, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the ledger is.
    #[serde(default)]
    pub ledger: Ledger,
    /// Where the lake is.
    #[serde(default)]
    pub lake: Lake,
    /// Where the online store is.
    #[serde(default)]
    pub online: Online,
    /// Which engine answers what people ask in SQL, `ballista://HOST:PORT`; without it, this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineAddress>,
    /// Who callers are.
    #[serde(default)]
    pub identity: Identity,
    /// What compute costs.
    #[serde(default)]
    pub prices: Prices,
    /// Which time the company lives in.
    #[serde(default)]
    pub clock: ClockSpec,
}

/// Where the ledger is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// A folder, from the company folder.
    pub address: String,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { address: ".tenon/ledger".to_owned() }
    }
}

/// Where the lake is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lake {
    /// A folder, from the company folder.
    pub address: String,
}

impl Default for Lake {
    fn default() -> Self {
        Self { address: ".tenon/lake".to_owned() }
    }
}

/// Where the online store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Online {
    /// A file, from the company folder, or `redis://HOST:PORT/DATABASE` (`rediss://` with TLS), which Redis and Valkey
    /// answer.
    #[serde(default = "Online::default_address")]
    pub address: String,
    /// The user of a Redis that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of a Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// How long a read of a Redis may take before it counts as down.
    #[serde(default = "Online::default_timeout")]
    pub timeout: Span,
}

impl Online {
    fn default_address() -> String {
        ".tenon/online.redb".to_owned()
    }
    fn default_timeout() -> Span {
        Span::from_micros(100_000)
    }
}

impl Default for Online {
    fn default() -> Self {
        Self { address: Self::default_address(), user: None, password: None, timeout: Self::default_timeout() }
    }
}

/// Who callers are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The person that commands and loopback callers without a token act as. Without it, both need a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// Refuse callers without a token, also on loopback. Needed to listen on any other address.
    #[serde(default)]
    pub require_token: bool,
}

/// What compute costs, in US dollars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// One hour of one processor core.
    pub cpu_hour_usd: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self { cpu_hour_usd: 0.048 }
    }
}

/// Which time the company lives in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockSpec {
    /// The company replays the past: its time continues from its newest fact instead of the machine's clock.
    #[serde(default)]
    pub replay: bool,
}

/// `pods/NAME/pod.toml`: a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodSpec {
    /// What the pod is there for.
    pub mission: String,
    /// How much it may let happen without a person.
    #[serde(default)]
    pub autonomy: Autonomy,
    /// Its people, by name.
    pub members: IndexMap<String, Member>,
}

/// How much a pod lets happen without a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Autonomy {
    /// A person starts each rollout and each retraining.
    #[default]
    Supervised,
    /// Retraining and rollouts start by themselves; gates and guardrails decide.
    Automatic,
}

/// One member of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What the member does in the pod, such as `lead`, `engineer`, `auditor`.
    pub role: String,
}

/// `budgets.toml`: limits by pod and period.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetsSpec {
    /// The limits.
    #[serde(default)]
    pub budgets: Vec<Budget>,
}

/// An amount of money for a pod and a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Whose spend is limited.
    pub pod: PodName,
    /// Over which period.
    #[serde(default)]
    pub period: BudgetPeriod,
    /// The limit in US dollars.
    pub limit_usd: f64,
}

/// The period of a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// A calendar month in UTC.
    #[default]
    Month,
    /// A day in UTC.
    Day,
}
