//! Features as of a moment: one definition, exact in time, for training and for serving.
//!
//! A [`View`] reads rows of a source ([`SourceRows`] holds what its query returned), each with an entity, an event time
//! and the moment by which it was known. A feature at a moment `at` is an aggregate of the
//! entity's rows whose event lies in its window (never after `at`) and which were known by `at`; nothing later can reach it.
//! Whatever holds the rows, [`History`] for a whole table or [`Timeline`] for one entity in a store, hands the same
//! ordered [`Rows`] to the same [`Kernel`], so that training and serving agree bit by bit.
//!
//! A store need not keep rows for ever for features of a lifetime: rows that were known before the first moment that can still
//! be asked for are folded into a [`Past`]. Sums are exact ([`exact`]), and everything else that rows say together is a
//! function of which rows there are, not of their order; so what is folded gives the bits that the rows would give.
//!
//! A window is complete where it begins no earlier than the view's history: the moment at which its first row, of whatever
//! entity, was known.

mod aggregate;
mod bytes;
mod error;
mod exact;
mod join;
mod key;
mod past;
mod rows;
mod schema;
mod sketch;
mod stretch;
mod tally;
#[cfg(test)]
mod tests;
mod timeline;
mod vectors;
mod view;

pub use aggregate::{Evaluated, Evaluator, Kernel, Missing};
pub use error::PointInTimeError;
pub use join::{History, Joined};
pub use key::{KeyPart, KeyType, Keys};
pub use past::{Folding, Past};
pub use rows::{Rows, SourceRows, asked_moments, moments};
pub use schema::{Session, schema_of};
pub use timeline::Timeline;
pub use vectors::{NewestVector, is_vector};
pub use view::{Feature, VectorColumn, View, number};
