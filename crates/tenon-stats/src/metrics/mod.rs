//! Quality of scores and of the yes/no predictions made from them.
//!
//! Shapes: `labels`, `scores`, `predictions` are `[rows]` and belong to the same rows in the same order.

mod auc;
mod calibration;
mod confusion;

pub use auc::{AucComparison, AucEstimate, delong_compare, roc_auc, roc_auc_ci};
pub use calibration::{
    CalibrationBin, CalibrationLine, brier, calibration_bins, calibration_line, expected_calibration_error, log_loss,
};
pub use confusion::Confusion;
