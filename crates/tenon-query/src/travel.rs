//! Plans that run on other machines.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::ViewTable;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::prelude::SessionConfig;

use crate::QueryError;
pub use crate::asof::PlanCodec;
use crate::asof::{AsOfQueries, Spreads, in_order};

/// The configuration of a session whose plans run on several machines: `ASOF JOIN` is split by the hash of the keys.
pub fn spread(config: SessionConfig) -> SessionConfig {
    config.with_extension(Arc::new(Spreads))
}

/// What a query does, step by step, in a session that [`spread`]s: everything in it can travel as [`PlanCodec`] tells it.
/// Observations leave a join as they came, as in one place.
///
/// # Errors
/// As planning in one place.
pub async fn plan_to_travel(plan: LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
    plan_here(&in_order(plan)?.data, session).await?.transform_up(limit_beside).data()
}

/// A merge that ends after so many rows, with a limit of its own above it. Ballista optimizes each stage once more, and that
/// takes a merge away whose order nobody needs, together with its end (<https://github.com/apache/datafusion/pull/25065>).
/// It takes nothing away below a limit.
fn limit_beside(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() else { return Ok(Transformed::no(plan)) };
    let Some(rows) = merge.fetch() else { return Ok(Transformed::no(plan)) };
    let mut limit = GlobalLimitExec::new(Arc::clone(&plan), 0, Some(rows));
    limit.set_required_ordering(Some(merge.expr().clone()));
    Ok(Transformed::yes(Arc::new(limit)))
}

/// What a query does where it is asked.
///
/// # Errors
/// When it does not fit the tables.
pub async fn plan_here(plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
    AsOfQueries.create_physical_plan(plan, session).await
}

/// Whether a plan reads no table, or only tells how one would be read: there is nothing to do elsewhere.
///
/// # Errors
/// None in practice.
pub fn stays_here(plan: &LogicalPlan) -> Result<bool> {
    if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return Ok(true);
    }
    let mut reads = false;
    plan.apply_with_subqueries(|node| {
        reads = reads || matches!(node, LogicalPlan::TableScan(_));
        Ok(if reads { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(!reads)
}

/// A table without rows that can travel.
///
/// # Errors
/// When two columns have one name.
pub fn nothing(schema: SchemaRef) -> Result<Arc<dyn TableProvider>, QueryError> {
    let schema = Arc::new(DFSchema::try_from(schema)?);
    let plan = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
    Ok(Arc::new(ViewTable::new(plan, None)))
}
