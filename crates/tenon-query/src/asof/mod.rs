//! `ASOF JOIN`: for each observation the newest row of its entity that had happened, and was known, by its moment.
//!
//! ```sql
//! SELECT o.*, f.balance, g.score
//! FROM observations o
//! ASOF JOIN balances f
//!   MATCH_CONDITION (o.decided_at >= f.event_time AND o.decided_at - f.event_time <= INTERVAL '12 hours')
//!   ON o.account = f.account
//! ASOF INNER JOIN scores g
//!   MATCH_CONDITION (o.decided_at >= g.scored_at AND o.decided_at >= g.known_at)
//!   ON o.account = g.account AND o.country = g.country
//! ```
//!
//! `ASOF JOIN` and `ASOF LEFT JOIN` keep every observation, in its order, with nulls where there is nothing to join; `ASOF
//! INNER JOIN` leaves those out. In `MATCH_CONDITION` the first comparison says which column is the event's time; a second
//! one says by when a row was known; a bound on their distance is the time to live. Of rows with one event time the one
//! known last counts, and of those the one with the greatest values in the columns that the query takes, one after the other
//! in the table's order, so that the answer never depends on how the rows lie. A null is the least; nulls match nothing.
//!
//! The way from text to rows: [`syntax`] brings the words into a form that the SQL parser has, [`relation`] and
//! [`condition`] make the logical [`node`] of them (joins in a row over the same observations are one node), [`planner`]
//! makes the physical [`exec`], and [`run`] runs it. The observations are put in order once ([`timelines`]); the rows of the
//! feature tables are never sorted: each is brought to the first observation that may see it ([`bring`]), held there if it is
//! the best ([`shard`]), and the best of each observation is carried on to those of its entity after it. Memory is for the
//! observations and what they take; where they are too many, they are joined part by part against feature rows that are
//! kept on disk meanwhile.
//!
//! Where several machines share a query, the inputs are split by the hash of the entities' keys, partition `i` of the
//! observations meets partition `i` of each table ([`joining`]), the order of the observations is brought back by a number
//! that each is given before ([`in_order`]), and the node travels as [`wire`] has it.

mod bring;
mod cells;
mod condition;
mod exec;
mod fingers;
mod heap;
mod in_order;
mod joining;
mod keys;
mod kinds;
mod node;
mod observations;
mod planner;
mod relation;
mod run;
mod shard;
mod syntax;
mod table;
mod timelines;
mod wire;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;

pub(crate) use in_order::in_order;
pub(crate) use planner::{AsOfQueries, Spreads};
pub(crate) use syntax::{nest, plain_words};
pub use wire::PlanCodec;

/// A session that knows the join.
pub(crate) fn install(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.with_relation_planners(vec![Arc::new(relation::AsOfRelations)]).with_query_planner(Arc::new(AsOfQueries))
}
