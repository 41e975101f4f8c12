//! The quarantine after a landing: what is in it, what people decide about it, and what a restore makes of that.

pub(crate) mod resolve;
pub(crate) mod restored;
pub(crate) mod set_aside;
