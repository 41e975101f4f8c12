//! The quarantine after a landing: what is in it, and what people decide about it.

pub(crate) mod resolve;
pub(crate) mod set_aside;
