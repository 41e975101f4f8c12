//! The doors: one module a protocol. Everybody who comes in is somebody, and asks the policies once.
//!
//! [`router`] is built from one table, `routes`, in which each route declares its method, its path and the check that
//! whoever takes it must pass; `way_in` makes every request pass it. A route without a check says why.

mod access;
mod arrow_stream;
mod caller;
mod changes;
mod console;
mod dataset_page;
mod decisions;
mod deployment_page;
mod doors;
mod feast;
mod features;
mod house;
mod ingest;
mod lately;
mod listing;
mod metrics;
mod native;
mod nearest;
mod oip;
mod online;
mod problem;
mod quarantine;
mod query;
mod routes;
mod status;
mod tlog;
mod tokens;
mod told;
mod versions;
mod way_in;

pub use doors::{Doors, router, serve};

#[cfg(test)]
mod tests;
