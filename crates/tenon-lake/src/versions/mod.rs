//! Versions of tables: named, compared, brought back, branched and merged.

pub(crate) mod branch;
pub(crate) mod diff;
pub(crate) mod merge;
pub(crate) mod moved;
pub(crate) mod restore;
pub(crate) mod tag;
