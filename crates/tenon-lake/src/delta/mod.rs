//! Delta tables: their logs, their files, and where both are kept.

pub(crate) mod added;
pub(crate) mod files;
pub(crate) mod log;
pub(crate) mod store;
pub(crate) mod table;
