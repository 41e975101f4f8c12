//! Contracts as others write them: the Open Data Contract Standard (bitol-io), version 3.1.
//!
//! [`export`] writes a dataset's declaration as an ODCS document, [`import`] makes a declaration of one. What comes back
//! from an export is what went out: what the standard has no word for stands in custom properties whose names begin with
//! `tenon`, and in quality rules of the engine `tenon`. In a file that somebody else wrote, what cannot be said here is
//! told with its line and column: as a promise that would be lost, or as a remark that says nothing about rows.

mod document;
mod export;
mod import;
mod pattern;
mod remark;
mod sql;
#[cfg(test)]
mod tests;
mod tree;
mod words;

use tenon_core::DatasetName;

pub use document::Document;
pub use export::{Owner, export};
pub use import::{Imported, import};
pub use remark::Remark;

/// Why a contract could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OdcsError {
    /// It would not come back as it is.
    #[error("the contract of `{0}` cannot be written so that it would come back as it is; please report this")]
    Lossy(DatasetName),
    /// It could not be written as YAML.
    #[error("the contract could not be written as YAML: {0}")]
    Yaml(String),
}
