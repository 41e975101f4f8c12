//! Looking at a table: its profile, a contract that would fit it, and a contract tried on it.

pub(crate) mod profile;
pub(crate) mod sample;
pub(crate) mod suggest;
pub(crate) mod trial;
