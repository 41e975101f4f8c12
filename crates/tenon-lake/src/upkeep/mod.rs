//! Upkeep: small files together, old ones gone, and what must stay.

pub(crate) mod compact;
pub(crate) mod hold;
pub(crate) mod vacuum;
