//! SQL over Arrow: DataFusion sessions, and the point-in-time join.
//!
//! `ASOF JOIN` joins feature tables to observations as of each one's moment, on disk where memory is short. [`session`] makes a session with bounded memory; [`run`] answers one query in it; [`Expression`] and [`RowsQuery`]
//! are compiled once and evaluated over many batches.

mod as_of;
mod asof;
mod error;
mod expression;
mod plan;
pub mod point_in_time;
mod rows_query;
mod session;
mod spill;
mod travel;

pub use as_of::{Stated, StatedTable, stated};
pub use error::QueryError;
pub use expression::Expression;
pub use plan::{
    empty_table, memory_table, plain_texts, register_parquet, register_view, run, run_repeatable, schema, stream,
    stream_repeatable, tables,
};
pub use rows_query::RowsQuery;
pub use session::{fresh, session};
pub use travel::{PlanCodec, nothing, plan_here, plan_to_travel, spread, stays_here};
