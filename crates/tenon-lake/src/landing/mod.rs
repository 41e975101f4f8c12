//! What a landing looks up beside its own rows: rows that landed, values that are taken, rules over the batch.

pub(crate) mod landed;
pub(crate) mod place;
pub(crate) mod unique;
pub(crate) mod verdicts;
