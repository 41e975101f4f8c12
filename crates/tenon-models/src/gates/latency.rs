//! How long one prediction takes.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;
use tenon_onnx::TreeEnsemble;

use super::Decision;
use crate::ModelError;
use crate::table::Table;
use crate::words::count;

/// Predictions before the clock counts.
const WARM_UP: usize = 500;
/// Predictions that are timed, one by one.
const TIMED: usize = 5_000;

/// Seconds of single predictions for held-out rows in turn, on one thread, ascending.
pub(super) fn measure(ensemble: &TreeEnsemble, table: &Table) -> Result<Vec<f64>, ModelError> {
    let rows = table.held_out().values.chunks_exact(table.features.len());
    let mut seconds = Vec::with_capacity(TIMED);
    for (at, row) in rows.cycle().take(WARM_UP + TIMED).enumerate() {
        let start = Instant::now();
        black_box(ensemble.predict_row(black_box(row))?);
        let elapsed = start.elapsed().as_secs_f64();
        if at >= WARM_UP {
            seconds.push(elapsed);
        }
    }
    seconds.sort_unstable_by(f64::total_cmp);
    Ok(seconds)
}

/// Passes when 99 of 100 predictions take at most `p99_ms`. `seconds` are ascending.
pub(super) fn decide(seconds: Vec<f64>, p99_ms: f64) -> Decision {
    let at = |share: f64| {
        let rank = (share * seconds.len() as f64).ceil() as usize;
        seconds.get(rank.max(1) - 1).copied().unwrap_or(f64::INFINITY) * 1e3
    };
    let (p50, p99) = (at(0.5), at(0.99));
    let sentence = format!(
        "99 of 100 predictions take at most {p99:.3} ms on this machine ({} single ones were timed); {p99_ms} ms is allowed.",
        count(seconds.len() as u64),
    );
    let evidence =
        json!({ "p50_ms": p50, "p99_ms": p99, "worst_ms": at(1.0), "at_most_ms": p99_ms, "calls": seconds.len() });
    Decision { passed: p99 <= p99_ms, sentence, evidence }
}
