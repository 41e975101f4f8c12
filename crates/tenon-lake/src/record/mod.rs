//! The lake on the record: what facts say of tables, and whether tables keep to it.

pub(crate) mod conservation;
pub(crate) mod digest;
pub(crate) mod projection;
pub(crate) mod records;
