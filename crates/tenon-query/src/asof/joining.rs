//! From the expressions of a join to its tables and the orders of its observations: as a query is planned, and as a plan
//! comes from another machine.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, plan_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::cast;
use datafusion::physical_plan::ExecutionPlan;

use super::condition::TimeToLive;
use super::exec::{AsOfExec, Spread};
use super::kinds::{finer, key_type, unit_of};
use super::table::{Before, Entity, Order, Table, max_age};

/// How a feature table is joined.
pub(super) struct Joining {
    /// Whether observations without a row are left out.
    pub inner: bool,
    /// Pairs of keys, the observation's first.
    pub keys: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    pub moment: Arc<dyn PhysicalExpr>,
    pub event: Before,
    pub known: Option<Before>,
    pub ttl: Option<TimeToLive>,
}

impl Joining {
    /// The table, and the order of the observations that it is joined by.
    fn read(self, observations: &Schema, features: &Schema) -> Result<(Order, Table)> {
        let (mut asked, mut held, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for (of_observation, of_feature) in self.keys {
            let (one, other) = (of_observation.data_type(observations)?, of_feature.data_type(features)?);
            let both = key_type(&one, &other);
            types.push(both.ok_or_else(|| plan_datafusion_err!("keys of {one} and {other} cannot be compared"))?);
            asked.push(of_observation);
            held.push(of_feature);
        }
        let unit = |expr: &Arc<dyn PhysicalExpr>, schema: &Schema| {
            let data_type: DataType = expr.data_type(schema)?;
            unit_of(&data_type).ok_or_else(|| plan_datafusion_err!("`{expr}` holds {data_type}, which is no moment"))
        };
        let mut common = finer(unit(&self.moment, observations)?, unit(&self.event.expr, features)?);
        if let Some(known) = &self.known {
            common = finer(common, unit(&known.expr, features)?);
        }
        let order = Order { entity: Entity { exprs: asked, types: types.clone() }, moment: self.moment, unit: common };
        let table = Table {
            inner: self.inner,
            entity: Entity { exprs: held, types },
            event: self.event,
            known: self.known,
            unit: common,
            max_age: self.ttl.map(|ttl| max_age(ttl, common)),
            order: 0,
        };
        Ok((order, table))
    }
}

/// The join of these tables to observations, in one place or spread over several.
///
/// # Errors
/// When keys or moments have types that cannot be compared.
pub(super) fn join(
    observations: Arc<dyn ExecutionPlan>,
    features: Vec<(Arc<dyn ExecutionPlan>, Joining)>,
    spreads: bool,
) -> Result<AsOfExec> {
    let mut orders: Vec<Order> = Vec::new();
    let mut tables = Vec::with_capacity(features.len());
    for (plan, joining) in features {
        let (order, table) = joining.read(&observations.schema(), &plan.schema())?;
        let place = orders.iter().position(|known| known.is_same(&order)).unwrap_or_else(|| {
            orders.push(order);
            orders.len() - 1
        });
        tables.push((plan, Arc::new(Table { order: place, ..table })));
    }
    let spread = spreads.then(|| spread(&observations.schema(), &tables, &orders)).transpose()?;
    Ok(AsOfExec::new(observations, tables, orders, spread))
}

/// The keys that the observations are asked for by every table, as one type: rows that meet have the same values in them,
/// and the same hash, so that they are in partitions of the same number.
fn spread(observations: &Schema, tables: &[(Arc<dyn ExecutionPlan>, Arc<Table>)], orders: &[Order]) -> Result<Spread> {
    let mut spread: Spread = vec![Vec::new(); tables.len() + 1];
    let Some((_, first)) = tables.first() else { return Ok(spread) };
    for (asked, data_type) in orders[first.order].entity.exprs.iter().zip(&first.entity.types) {
        let held = |(plan, table): &(Arc<dyn ExecutionPlan>, Arc<Table>)| {
            let mut keys = orders[table.order].entity.exprs.iter().zip(&table.entity.types);
            let place = keys.position(|(expr, of)| **expr == **asked && of == data_type)?;
            Some(cast(Arc::clone(&table.entity.exprs[place]), &plan.schema(), data_type.clone()))
        };
        let Some(held) = tables.iter().map(held).collect::<Option<Vec<_>>>() else { continue };
        spread[0].push(cast(Arc::clone(asked), observations, data_type.clone())?);
        for (child, held) in spread[1..].iter_mut().zip(held) {
            child.push(held?);
        }
    }
    Ok(spread)
}
