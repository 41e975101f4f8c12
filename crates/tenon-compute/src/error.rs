//! What can go wrong. An exhausted budget is not among it: see [`BudgetVerdict`](crate::BudgetVerdict).

use tenon_ledger::LedgerError;

/// Why spend could not be recorded or read.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// An amount that no account can hold.
    #[error("`{0}` is not an amount to record; it must be a finite number, 0 or more")]
    BadAmount(f64),
    /// A fact could not be written as JSON.
    #[error("a fact could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The ledger failed.
    #[error("the ledger could not be used")]
    Ledger(#[from] LedgerError),
}
