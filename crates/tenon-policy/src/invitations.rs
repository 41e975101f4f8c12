//! Invitations: how somebody who has no token gets a first one.
//!
//! Whoever leads a pod invites a member of it, and hands the code over. The code is shown once and good once; only its
//! digest is kept. Whoever shows it gets a token that acts as the invited person. Whoever invites could use the code as well:
//! that the token was made is on record, and the invited person, whose code is then refused, hears of it.

use serde::{Deserialize, Serialize};
use tenon_core::fact::{InvitationCreated, InvitationRedeemed, InvitationRevoked, TokenCreated};
use tenon_core::id::OperationId;
use tenon_core::spec::SpecSet;
use tenon_core::{Digest, NewFact, PodName, Principal, Timestamp};
use tenon_ledger::{DocsExt, DocsMut, LedgerError, StoredFact};

use crate::error::PolicyError;
use crate::secret::{Secret, equal};
use crate::tokens::{TokenRecord, Tokens};

const INVITATIONS: &str = "invitations";

/// An invitation, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRecord {
    /// Its name, which the token will have.
    pub name: String,
    /// Whom the token's bearer will act as.
    pub principal: Principal,
    /// The pod that the person was invited into.
    pub pod: Option<PodName>,
    /// The digest of the code.
    pub digest: Digest,
    /// Who made it.
    pub created_by: Principal,
    /// When.
    pub created_at: Timestamp,
    /// When the code ends.
    pub expires: Timestamp,
    /// What became of it.
    pub state: InvitationState,
}

/// What became of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvitationState {
    /// The code is good until it ends.
    Open,
    /// The code was used.
    Redeemed,
    /// The code was made worthless.
    Revoked,
}

/// Why a code gives no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeFault {
    /// Nobody was invited with it.
    #[error("nobody was invited with this code")]
    Unknown,
    /// It was used.
    #[error("the code was used already; if it was not by you, tell whoever invited you")]
    Used,
    /// It is past its end.
    #[error("the code is past its end; ask for another")]
    Expired,
    /// It was revoked.
    #[error("the code was made worthless; ask for another")]
    Revoked,
    /// The person has left the pod.
    #[error("the person that was invited is a member of that pod no longer")]
    Left,
}

/// An invitation to be made.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Its name, which the token will have.
    pub name: String,
    /// Who is invited.
    pub person: String,
    /// The pod that lists the person.
    pub pod: PodName,
    /// When the code ends.
    pub expires: Timestamp,
}

/// What a code was given for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// The token's name.
    pub name: String,
    /// Whom its bearer acts as.
    pub principal: Principal,
}

/// Folds invitations in, by the hexadecimal digits of their digest.
pub(crate) fn fold(docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
    let fact = &stored.fact;
    let close = |docs: &mut dyn DocsMut, digest: Digest, state: InvitationState| {
        let key = digest.hex();
        match docs.read::<InvitationRecord>(INVITATIONS, &key)? {
            Some(record) => docs.put(INVITATIONS, &key, serde_json::to_value(InvitationRecord { state, ..record })?),
            None => Ok(()),
        }
    };
    if fact.is::<InvitationCreated>() {
        let InvitationCreated { name, principal, digest, expires } = fact.payload()?;
        let (pod, created_by, created_at) = (fact.pod.clone(), fact.by.clone(), fact.at);
        let state = InvitationState::Open;
        let record = InvitationRecord { name, principal, pod, digest, created_by, created_at, expires, state };
        docs.put(INVITATIONS, &digest.hex(), serde_json::to_value(record)?)
    } else if fact.is::<InvitationRedeemed>() {
        close(docs, fact.payload::<InvitationRedeemed>()?.digest, InvitationState::Redeemed)
    } else if fact.is::<InvitationRevoked>() {
        close(docs, fact.payload::<InvitationRevoked>()?.digest, InvitationState::Revoked)
    } else {
        Ok(())
    }
}

fn is_member(specs: &SpecSet, pod: &PodName, person: &str) -> bool {
    specs.pods.get(pod).is_some_and(|pod| pod.members.contains_key(person))
}

impl Tokens {
    /// Makes an invitation. What the fact keeps is the code's digest.
    ///
    /// # Errors
    /// [`PolicyError::NoMember`] when the pod does not list the person, [`PolicyError::TokenExists`] when the name is in use.
    pub async fn invite(
        &self,
        by: &Principal,
        specs: &SpecSet,
        invitation: Invitation,
        code: &Secret,
    ) -> Result<(), PolicyError> {
        let Invitation { name, person, pod, expires } = invitation;
        if !is_member(specs, &pod, &person) {
            return Err(PolicyError::NoMember { person, pod });
        }
        if self.find(&name)?.is_some() || self.find_invitation(&name)?.is_some() {
            return Err(PolicyError::TokenExists(name));
        }
        let digest = code.digest();
        let created = InvitationCreated { name, principal: Principal::person(person), digest, expires };
        self.ledger.append(vec![NewFact::new(by.clone(), Some(pod), &created)?]).await?;
        Ok(())
    }

    /// The invitations that are good, in the order in which they were made.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn invitations(&self) -> Result<Vec<InvitationRecord>, PolicyError> {
        let now = self.ledger.clock().now();
        let listed = self.ledger.docs().list::<InvitationRecord>(INVITATIONS, "")?.into_iter();
        let is_open = |record: &InvitationRecord| record.state == InvitationState::Open && now < record.expires;
        let mut open: Vec<_> = listed.map(|(_, record)| record).filter(is_open).collect();
        open.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        Ok(open)
    }

    /// The good invitation of that name.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn find_invitation(&self, name: &str) -> Result<Option<InvitationRecord>, PolicyError> {
        Ok(self.invitations()?.into_iter().find(|invitation| invitation.name == name))
    }

    /// Makes the code of an invitation worthless.
    ///
    /// # Errors
    /// [`PolicyError::NoSuchToken`] when there is none of that name.
    pub async fn revoke_invitation(&self, by: &Principal, name: &str) -> Result<(), PolicyError> {
        let open = self.find_invitation(name)?.ok_or_else(|| PolicyError::NoSuchToken(name.to_owned()))?;
        let revoked = InvitationRevoked { name: open.name, digest: open.digest };
        self.ledger.append(vec![NewFact::new(by.clone(), open.pod, &revoked)?]).await?;
        Ok(())
    }

    /// Gives a token for a code, once: of two callers that show it at the same moment, one gets it.
    ///
    /// # Errors
    /// [`PolicyError::Code`] with the invitation's name, where one is known, when the code gives none.
    pub(crate) async fn redeem(&self, specs: &SpecSet, shown: &str, token: &Secret) -> Result<Redeemed, PolicyError> {
        let unknown = || PolicyError::Code { name: None, fault: CodeFault::Unknown };
        let digest = Secret::digest_of_code(shown).ok_or_else(unknown)?;
        let found = self.ledger.docs().read::<InvitationRecord>(INVITATIONS, &digest.hex())?;
        let invitation = found.filter(|record| equal(&record.digest, &digest)).ok_or_else(unknown)?;
        let InvitationRecord { name, principal, pod, .. } = &invitation;
        let refused = |fault| Err(PolicyError::Code { name: Some(name.clone()), fault });
        match invitation.state {
            InvitationState::Redeemed => return refused(CodeFault::Used),
            InvitationState::Revoked => return refused(CodeFault::Revoked),
            InvitationState::Open => {}
        }
        if self.ledger.clock().now() >= invitation.expires {
            return refused(CodeFault::Expired);
        }
        if !pod.as_ref().is_some_and(|pod| is_member(specs, pod, principal.name())) {
            return refused(CodeFault::Left);
        }
        if self.find(name)?.is_some() {
            return Err(PolicyError::TokenExists(name.clone()));
        }
        // The ledger takes the facts of an operation once: whoever comes second finds the first one's token there.
        let operation = OperationId::derive(&["invitation.redeem", &digest.hex()]);
        let redeemed = InvitationRedeemed { name: name.clone(), digest, token: name.clone() };
        let created =
            TokenCreated { name: name.clone(), principal: principal.clone(), digest: token.digest(), expires: None };
        let facts = vec![
            NewFact::new(principal.clone(), pod.clone(), &redeemed)?.sealing(operation),
            NewFact::new(principal.clone(), None, &created)?.sealing(operation),
        ];
        self.ledger.append(facts).await?;
        let ours = self.ledger.docs().read::<TokenRecord>(crate::tokens::TOKENS, &token.digest().hex())?;
        match ours {
            Some(_) => Ok(Redeemed { name: name.clone(), principal: principal.clone() }),
            None => refused(CodeFault::Used),
        }
    }
}
