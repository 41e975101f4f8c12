//! From the logical node to the physical one.

use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, Result, plan_datafusion_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::condition::Match;
use super::exec::AsOfExec;
use super::kinds::{finer, key_type, unit_of};
use super::node::{AsOfNode, AsOfTable};
use super::table::{Before, Entity, Order, Table, max_age};

/// Plans queries in which the join may stand.
#[derive(Debug)]
pub(super) struct AsOfQueries;

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
        let mut orders: Vec<Order> = Vec::new();
        let mut tables = Vec::with_capacity(features.len());
        for (table, plan) in node.tables.iter().zip(features) {
            let (order, table) = read(table, node.observations.schema(), &physical, observations, plan)?;
            let place = orders.iter().position(|known| known.is_same(&order)).unwrap_or_else(|| {
                orders.push(order);
                orders.len() - 1
            });
            tables.push((Arc::clone(plan), Arc::new(Table { order: place, ..table })));
        }
        Ok(Some(Arc::new(AsOfExec::new(Arc::clone(observations), tables, orders))))
    }
}

/// A table, and the order of the observations that it is joined by.
fn read(
    table: &AsOfTable,
    observations: &DFSchemaRef,
    physical: &impl Fn(&Expr, &DFSchemaRef) -> Result<Arc<dyn PhysicalExpr>>,
    left: &Arc<dyn ExecutionPlan>,
    right: &Arc<dyn ExecutionPlan>,
) -> Result<(Order, Table)> {
    let features = table.plan.schema();
    let Match { moment, event, known, ttl } = &table.matches;
    let (mut asked, mut held, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for (of_observation, of_feature) in &table.keys {
        let (of_observation, of_feature) = (physical(of_observation, observations)?, physical(of_feature, features)?);
        let (one, other) = (of_observation.data_type(&left.schema())?, of_feature.data_type(&right.schema())?);
        let both = key_type(&one, &other);
        types.push(both.ok_or_else(|| plan_datafusion_err!("keys of {one} and {other} cannot be compared"))?);
        asked.push(of_observation);
        held.push(of_feature);
    }
    let unit = |expr: &Arc<dyn PhysicalExpr>, plan: &Arc<dyn ExecutionPlan>| {
        let data_type: DataType = expr.data_type(&plan.schema())?;
        unit_of(&data_type).ok_or_else(|| plan_datafusion_err!("`{expr}` holds {data_type}, which is no moment"))
    };
    let moment = physical(moment, observations)?;
    let event = Before { expr: physical(&event.expr, features)?, strict: event.strict };
    let mut common = finer(unit(&moment, left)?, unit(&event.expr, right)?);
    let known = match known {
        Some(known) => {
            let known = Before { expr: physical(&known.expr, features)?, strict: known.strict };
            common = finer(common, unit(&known.expr, right)?);
            Some(known)
        }
        None => None,
    };
    let order = Order { entity: Entity { exprs: asked, types: types.clone() }, moment, unit: common };
    let table = Table {
        inner: table.inner,
        entity: Entity { exprs: held, types },
        event,
        known,
        unit: common,
        max_age: ttl.map(|ttl| max_age(ttl, common)),
        order: 0,
    };
    Ok((order, table))
}
