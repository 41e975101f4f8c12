//! What can go wrong. A refusal is not among it: see [`Authorization`](crate::Authorization).

use tenon_core::spec::SpecFault;
use tenon_core::{PodName, Span};
use tenon_ledger::LedgerError;

use crate::invitations::CodeFault;

/// Why a check, a token or an identity could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policies that are applied cannot be used, so that nothing can be permitted.
    #[error("the applied policies cannot be used, {} (`tenon plan` shows where)", first(.0))]
    Unusable(Vec<SpecFault>),
    /// The engine did not take what it was given about the company.
    #[error("the policy engine does not take the {what}")]
    Engine {
        /// What it was given.
        what: &'static str,
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The caller shows no token where one is needed.
    #[error(
        "a token is needed here; `tenon token create` makes one, and who has none is invited: `tenon token invite`"
    )]
    TokenNeeded,
    /// The caller's token counts for nothing.
    #[error("the token is unknown, revoked or past its end; `tenon token create` makes a new one")]
    TokenRefused,
    /// There is no token, and the company does not say who local callers are.
    #[error("nobody is known to be calling; set `identity.local` in company.toml, or show a token")]
    Nobody,
    /// The name is in use.
    #[error("there is a token named `{0}` already; choose another name, or revoke it first")]
    TokenExists(String),
    /// The name is not in use.
    #[error("there is no token named `{0}`")]
    NoSuchToken(String),
    /// The pod does not list the person.
    #[error("{person} is no member of pod `{pod}`; list them in pods/{pod}/pod.toml and apply it first")]
    NoMember {
        /// The person.
        person: String,
        /// The pod.
        pod: PodName,
    },
    /// A code gives no token.
    #[error("{fault}")]
    Code {
        /// The invitation's name, where there is one.
        name: Option<String>,
        /// Why.
        fault: CodeFault,
    },
    /// A caller has tried too many codes.
    #[error("too many codes were tried from here; try again in {} s", .wait.as_secs_f64().ceil())]
    TooManyTries {
        /// How long to wait.
        wait: Span,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes for a token")]
    Randomness(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fact could not be written as JSON.
    #[error("a fact could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The ledger failed.
    #[error("the ledger could not be used")]
    Ledger(#[from] LedgerError),
}

impl PolicyError {
    pub(crate) fn engine(what: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Engine { what, source: Box::new(source) }
    }
}

fn first(faults: &[SpecFault]) -> String {
    match faults {
        [] => "for no known reason".to_owned(),
        [fault, ..] => format!("{}: {}", fault.file, fault.message),
    }
}
