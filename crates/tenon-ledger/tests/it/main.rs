//! The ledger as its users see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod append;
mod crash;
mod facts;
mod fixture;
mod golden;
mod processes;
mod proofs;
mod state;
mod subscribers;
mod tamper;
