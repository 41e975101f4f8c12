//! Who may do what: pods, roles, Cedar policies, tokens.
//!
//! Every action, by command line or door, has a principal and passes one check, [`Guard::check`]. What the check says is
//! an [`Authorization`] in plain words, with the policies that decided; a refusal is a fact. The schema of what policies
//! can speak of is [`Policies::SCHEMA`]; the built-in policies, `base.cedar`, give each pod its own things, let the company
//! read, and give each part of the program what its job needs. A company's own policies permit more, or forbid.

mod action;
mod entities;
mod error;
mod guard;
mod invitations;
mod names;
mod policies;
mod reception;
mod refusals;
mod request;
mod rulebook;
mod secret;
mod tokens;
mod tries;

pub use action::Action;
pub use error::PolicyError;
pub use guard::Guard;
pub use invitations::{CodeFault, Invitation, InvitationRecord, InvitationState, Redeemed};
pub use policies::Policies;
pub use reception::Reception;
pub use request::{Context, Declared, Request, Target, guard_of_table};
pub use rulebook::{Authorization, Rulebook};
pub use secret::Secret;
pub use tokens::{TokenRecord, Tokens, TokensProjection};
