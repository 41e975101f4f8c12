//! Rollouts: who answers which share of the traffic, and what moves it.
//!
//! [`plan`] decides from values alone, [`faults`] refuses a plan that no traffic may follow, and the executor (in
//! [`crate::Serving`]) does nothing but append what was planned and swap the table that requests read.

mod execute;
mod faults;
mod plan;
mod subscriber;
#[cfg(test)]
mod tests;

pub use faults::faults;
pub use plan::{ArmLosses, GuardrailReading, RolloutSeen, Shift, StepEvidence, due, plan, readings, roll_back, start};
pub use subscriber::RolloutOnApproval;
