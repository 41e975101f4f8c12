//! The mathematics of Tenon: what a gate, a monitor or a rollout decides on, as plain functions over slices.
//!
//! Nothing here reads a file, a clock or the environment, and nothing is random but by a seed that the caller
//! gives, so every number can be computed again from the rows it came from.
//!
//! | module | answers |
//! |---|---|
//! | [`metrics`] | how good are these scores, and how sure is that? |
//! | [`drift`] | is this window distributed like the reference? |
//! | [`fairness`] | how differently are groups treated? |
//! | [`sequential`] | is the candidate worse, judged at any time one looks? |
//! | [`describe`] | what is in this column? |
//! | [`explain`] | which features matter, and do explanations add up? |
//! | [`interval`] | intervals, and the normal distribution under them |
//!
//! # Missing values
//! In columns that are *described or compared* (`drift`, `describe`) `NaN` means missing and is counted as such.
//! In scores, losses and explanations a `NaN` is a fault, and is refused with its row.

mod error;
mod special;

pub mod describe;
pub mod drift;
pub mod explain;
pub mod fairness;
pub mod interval;
pub mod metrics;
pub mod sequential;

pub use error::StatsError;
pub use interval::Interval;
