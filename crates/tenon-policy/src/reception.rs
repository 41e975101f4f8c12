//! Where codes are given for tokens: tries are limited, and each that fails is on record.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tenon_core::fact::AuthorizationRefused;
use tenon_core::{Clock, Principal};

use crate::error::PolicyError;
use crate::guard::Guard;
use crate::invitations::Redeemed;
use crate::secret::Secret;
use crate::tokens::Tokens;
use crate::tries::Tries;

/// Gives tokens for codes. Cheap to clone; all clones count tries together.
#[derive(Clone)]
pub struct Reception {
    tokens: Tokens,
    guard: Guard,
    clock: Arc<dyn Clock>,
    tries: Arc<Mutex<Tries>>,
}

impl Reception {
    /// A reception of the company that the guard knows.
    pub fn new(tokens: Tokens, guard: Guard, clock: Arc<dyn Clock>) -> Self {
        Self { tokens, guard, clock, tries: Arc::default() }
    }

    /// Makes `token` count for whoever was invited with the code that a caller at an address shows.
    ///
    /// # Errors
    /// [`PolicyError::TooManyTries`], or [`PolicyError::Code`] when the code gives none; that is on record then.
    pub async fn redeem(&self, caller: IpAddr, shown: &str, token: &Secret) -> Result<Redeemed, PolicyError> {
        let admitted = self.tries.lock().admit(self.clock.now(), caller);
        admitted.map_err(|wait| PolicyError::TooManyTries { wait })?;
        let specs = self.guard.specs();
        let given = self.tokens.redeem(&specs, shown, token).await;
        match &given {
            Ok(_) => self.tries.lock().forgive(caller),
            Err(PolicyError::Code { name, fault }) => {
                let resource = name.as_ref().map_or("an invitation".to_owned(), |name| format!("invitation {name}"));
                let refused = AuthorizationRefused {
                    // Who it was is what nobody knows.
                    principal: Principal::service("reception"),
                    action: "invitation.redeem".to_owned(),
                    resource,
                    policies: Vec::new(),
                    sentence: fault.to_string(),
                };
                self.guard.record(None, refused).await?;
            }
            Err(_) => {}
        }
        given
    }
}
