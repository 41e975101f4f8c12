//! The company folder: what its files declare, what of that is applied, and what a change would do.
//!
//! People edit files; `plan` compares them with what the ledger says is applied; `apply` records the difference. The rest
//! of the program reads only what is applied, through the [`Catalog`].

mod apply;
mod catalog;
mod error;
mod evolution;
mod folder;
mod graph;
pub mod odcs;
mod plan;
mod projection;
mod schema;

pub use apply::{applied, apply};
pub use catalog::Catalog;
pub use error::CompanyError;
pub use evolution::{Difference, differences};
pub use folder::read_folder;
pub use graph::Graph;
pub use plan::{Change, ChangeKind, Plan, plan};
pub use projection::projection;
pub use schema::{SCHEMA_KINDS, schema};
