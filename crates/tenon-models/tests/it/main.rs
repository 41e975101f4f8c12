//! Models over a real ledger, lake and feature store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod company;
mod lifecycle;
mod retrain;
