//! From the logical node to the physical one.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, Result, plan_datafusion_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::condition::{Bound, Match};
use super::joining::{Joining, join};
use super::node::{AsOfNode, AsOfTable};
use super::table::Before;

/// Plans queries in which the join may stand.
#[derive(Debug)]
pub(crate) struct AsOfQueries;

/// In a session's configuration: its plans run on several machines.
pub(crate) struct Spreads;

#[async_trait]
impl QueryPlanner for AsOfQueries {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(AsOfNodes)]);
        planner.create_physical_plan(plan, session).await
    }
}

#[derive(Debug)]
struct AsOfNodes;

#[async_trait]
impl ExtensionPlanner for AsOfNodes {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<AsOfNode>() else { return Ok(None) };
        let physical =
            |expr: &Expr, schema: &DFSchemaRef| planner.create_physical_expr(expr, schema, session, planning);
        let [observations, features @ ..] = inputs else {
            return Err(plan_datafusion_err!("an ASOF JOIN has no observations"));
        };
        let mut tables = Vec::with_capacity(features.len());
        for (table, plan) in node.tables.iter().zip(features) {
            tables.push((Arc::clone(plan), joining(table, node.observations.schema(), &physical)?));
        }
        let spreads = session.config().get_extension::<Spreads>().is_some();
        Ok(Some(Arc::new(join(Arc::clone(observations), tables, spreads)?)))
    }
}

fn joining(
    table: &AsOfTable,
    observations: &DFSchemaRef,
    physical: &impl Fn(&Expr, &DFSchemaRef) -> Result<Arc<dyn PhysicalExpr>>,
) -> Result<Joining> {
    let features = table.plan.schema();
    let Match { moment, event, known, ttl } = &table.matches;
    let keys = table.keys.iter().map(|(of_observation, of_feature)| {
        Ok((physical(of_observation, observations)?, physical(of_feature, features)?))
    });
    let before = |bound: &Bound| -> Result<Before> {
        Ok(Before { expr: physical(&bound.expr, features)?, strict: bound.strict })
    };
    Ok(Joining {
        inner: table.inner,
        keys: keys.collect::<Result<_>>()?,
        moment: physical(moment, observations)?,
        event: before(event)?,
        known: known.as_ref().map(before).transpose()?,
        ttl: *ttl,
    })
}
