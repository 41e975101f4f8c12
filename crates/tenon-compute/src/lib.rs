//! What compute costs, what was spent, and what may still be.
//!
//! A [`Meter`] measures, [`Spend`] prices, [`SpendProjection`] sums what is on record by pod and period, and [`Budgets`]
//! answers before money is spent. The judgement itself is the pure function [`judge`].

mod budgets;
mod error;
mod judge;
mod meter;
mod period;
mod spend;

pub use budgets::{BudgetState, Budgets, Cost};
pub use error::ComputeError;
pub use judge::{BudgetVerdict, judge};
pub use meter::{Meter, Spend};
pub use period::Period;
pub use spend::{SpendProjection, Spent};
