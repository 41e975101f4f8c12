//! From brackets of joins to a logical node.

use std::sync::Arc;

use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{Join, JoinConstraint, JoinOperator, TableFactor, TableWithJoins};

use super::condition::Sides;
use super::node::{AsOfNode, AsOfTable};
use super::syntax::is_as_of;

/// Plans the brackets that [`nest`](super::nest) makes.
#[derive(Debug)]
pub(super) struct AsOfRelations;

impl RelationPlanner for AsOfRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (from, alias) = match relation {
            TableFactor::NestedJoin { table_with_joins, alias }
                if !table_with_joins.joins.is_empty() && table_with_joins.joins.iter().all(is_as_of) =>
            {
                (*table_with_joins, alias)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let TableWithJoins { relation, joins } = from;
        let mut row = Row { observations: context.plan(relation)?, tables: Vec::new() };
        for join in joins {
            row = row.join(join, context)?;
        }
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(row.plan()?, alias))))
    }
}

/// Joins in a row over the same observations.
struct Row {
    observations: LogicalPlan,
    tables: Vec<AsOfTable>,
}

impl Row {
    fn plan(self) -> Result<LogicalPlan> {
        if self.tables.is_empty() {
            return Ok(self.observations);
        }
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(AsOfNode::new(self.observations, self.tables)?) }))
    }

    /// One join more. It goes into the row where it asks for columns of the observations alone; else the row is finished,
    /// and is itself the observations of a new one.
    fn join(mut self, join: Join, context: &mut dyn RelationPlannerContext) -> Result<Self> {
        let Join { relation, global: inner, join_operator } = join;
        let JoinOperator::AsOf { match_condition, constraint } = join_operator else {
            return plan_err!("a join of another kind stands among ASOF JOINs");
        };
        let plan = context.plan(relation)?;
        let mut so_far: DFSchema = self.observations.schema().as_ref().clone();
        for table in &self.tables {
            so_far = so_far.join(table.plan.schema())?;
        }
        let all = so_far.join(plan.schema())?;
        let sides = Sides { observations: &so_far, features: plan.schema().as_ref() };
        let matches = sides.read_match(context.sql_to_expr(match_condition, &all)?)?;
        let keys = match constraint {
            JoinConstraint::On(on) => sides.read_on(context.sql_to_expr(on, &all)?)?,
            JoinConstraint::None => Vec::new(),
            JoinConstraint::Using(_) | JoinConstraint::Natural => {
                return plan_err!("an ASOF JOIN names its keys by ON: write `ON observations.k = features.k`");
            }
        };
        let of_observations = |expr: &datafusion::logical_expr::Expr| {
            let schema = self.observations.schema();
            expr.column_refs().iter().all(|column| schema.maybe_index_of_column(column).is_some())
        };
        let shares = of_observations(&matches.moment) && keys.iter().all(|(key, _)| of_observations(key));
        let table = AsOfTable { plan, inner, keys, matches };
        if shares {
            self.tables.push(table);
            return Ok(self);
        }
        Ok(Self { observations: self.plan()?, tables: vec![table] })
    }
}
