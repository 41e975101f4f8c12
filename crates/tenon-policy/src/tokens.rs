//! Tokens: who a caller is. Only digests are kept; a token is shown once, when it is made.

use serde::{Deserialize, Serialize};
use tenon_core::fact::{TokenCreated, TokenRevoked};
use tenon_core::spec::Identity;
use tenon_core::{Digest, NewFact, Principal, Timestamp};
use tenon_ledger::{Docs, DocsExt, DocsMut, Ledger, LedgerError, Projection, StoredFact};

use crate::error::PolicyError;
use crate::invitations;
use crate::secret::{Secret, equal};

pub(crate) const TOKENS: &str = "tokens";

/// A token that counts, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its name, for revoking it.
    pub name: String,
    /// Whom its bearer acts as.
    pub principal: Principal,
    /// The digest of the token.
    pub digest: Digest,
    /// Who made it.
    pub created_by: Principal,
    /// When.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// The tokens that count, by the hexadecimal digits of their digest; and the invitations to get one.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokensProjection;

impl Projection for TokensProjection {
    fn name(&self) -> &'static str {
        TOKENS
    }

    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        let fact = &stored.fact;
        if fact.is::<TokenCreated>() {
            let TokenCreated { name, principal, digest, expires } = fact.payload()?;
            let (created_by, created_at) = (fact.by.clone(), fact.at);
            let key = digest.hex();
            let record = TokenRecord { name, principal, digest, created_by, created_at, expires };
            docs.put(TOKENS, &key, serde_json::to_value(record)?)?;
        } else if fact.is::<TokenRevoked>() {
            let TokenRevoked { name } = fact.payload()?;
            for (key, record) in docs.list::<TokenRecord>(TOKENS, "")? {
                if record.name == name {
                    docs.delete(TOKENS, &key)?;
                }
            }
        }
        invitations::fold(docs, stored)
    }
}

/// Makes, revokes and recognises tokens. The ledger must fold [`TokensProjection`].
#[derive(Clone)]
pub struct Tokens {
    pub(crate) ledger: Ledger,
}

impl Tokens {
    /// The tokens of this ledger.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Makes a token whose bearer acts as `principal`. What the fact keeps is its digest.
    ///
    /// # Errors
    /// [`PolicyError::TokenExists`] when the name is in use.
    pub async fn create(
        &self,
        by: &Principal,
        name: &str,
        principal: Principal,
        expires: Option<Timestamp>,
        secret: &Secret,
    ) -> Result<(), PolicyError> {
        if self.find(name)?.is_some() {
            return Err(PolicyError::TokenExists(name.to_owned()));
        }
        let created = TokenCreated { name: name.to_owned(), principal, digest: secret.digest(), expires };
        self.ledger.append(vec![NewFact::new(by.clone(), None, &created)?]).await?;
        Ok(())
    }

    /// Revokes the token of that name. It counts for nothing from then on, in every process.
    ///
    /// # Errors
    /// [`PolicyError::NoSuchToken`] when there is none.
    pub async fn revoke(&self, by: &Principal, name: &str) -> Result<(), PolicyError> {
        if self.find(name)?.is_none() {
            return Err(PolicyError::NoSuchToken(name.to_owned()));
        }
        let revoked = TokenRevoked { name: name.to_owned() };
        self.ledger.append(vec![NewFact::new(by.clone(), None, &revoked)?]).await?;
        Ok(())
    }

    /// The token of that name.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn find(&self, name: &str) -> Result<Option<TokenRecord>, PolicyError> {
        Ok(self.list()?.into_iter().find(|token| token.name == name))
    }

    /// The tokens that were made and not revoked, in the order in which they were made.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn list(&self) -> Result<Vec<TokenRecord>, PolicyError> {
        let listed = self.ledger.docs().list::<TokenRecord>(TOKENS, "")?;
        let mut tokens: Vec<TokenRecord> = listed.into_iter().map(|(_, token)| token).collect();
        tokens.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        Ok(tokens)
    }

    /// Whom the bearer of a token acts as; none where the token is unknown, revoked or past its end.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn authenticate(&self, bearer: &str) -> Result<Option<Principal>, PolicyError> {
        authenticate(&self.ledger.docs(), bearer, self.ledger.clock().now())
    }

    /// Who a caller is. A token always counts, also on loopback; one that counts for nothing is refused, and never falls
    /// back to the local person.
    ///
    /// # Errors
    /// [`PolicyError::TokenRefused`], [`PolicyError::TokenNeeded`] or [`PolicyError::Nobody`], which say what is missing.
    pub fn identify(
        &self,
        identity: &Identity,
        bearer: Option<&str>,
        loopback: bool,
    ) -> Result<Principal, PolicyError> {
        match bearer {
            Some(bearer) => self.authenticate(bearer)?.ok_or(PolicyError::TokenRefused),
            None => local(identity, loopback),
        }
    }
}

fn authenticate(docs: &dyn Docs, bearer: &str, now: Timestamp) -> Result<Option<Principal>, PolicyError> {
    let Some(shown) = Secret::digest_of(bearer) else { return Ok(None) };
    // How long the look-up takes can tell something of digests at most, and a digest opens nothing.
    let found = docs.read::<TokenRecord>(TOKENS, &shown.hex())?;
    let counts = |token: &TokenRecord| equal(&token.digest, &shown) && token.expires.is_none_or(|end| now < end);
    Ok(found.filter(counts).map(|token| token.principal))
}

/// Who a caller without a token is.
fn local(identity: &Identity, loopback: bool) -> Result<Principal, PolicyError> {
    match &identity.local {
        _ if identity.require_token || !loopback => Err(PolicyError::TokenNeeded),
        Some(person) => Ok(Principal::person(person)),
        None => Err(PolicyError::Nobody),
    }
}
