#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod actions;
mod company;
mod faults;
mod guard;
mod invitations;
mod rules;
mod tokens;
