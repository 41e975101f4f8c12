//! The join as a node of a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::condition::{Bound, Match};

/// Observations, and the feature tables that are joined to them in one pass. The columns are those of the observations,
/// then those of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct AsOfNode {
    pub observations: LogicalPlan,
    pub tables: Vec<AsOfTable>,
    schema: DFSchemaRef,
}

/// A feature table and how it is joined.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(super) struct AsOfTable {
    pub plan: LogicalPlan,
    /// Whether observations without a row are left out.
    pub inner: bool,
    /// Pairs of keys, the observation's first.
    pub keys: Vec<(Expr, Expr)>,
    pub matches: Match,
}

impl AsOfNode {
    /// # Errors
    /// When two columns would have one name.
    pub fn new(observations: LogicalPlan, tables: Vec<AsOfTable>) -> Result<Self> {
        let mut fields: Vec<_> =
            observations.schema().iter().map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
        for table in &tables {
            fields.extend(table.plan.schema().iter().map(|(name, field)| {
                let field =
                    if table.inner { Arc::clone(field) } else { Arc::new(field.as_ref().clone().with_nullable(true)) };
                (name.cloned(), field)
            }));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { observations, tables, schema })
    }
}

impl AsOfTable {
    fn expressions(&self) -> Vec<Expr> {
        let Match { moment, event, known, .. } = &self.matches;
        let keys = self.keys.iter().flat_map(|(left, right)| [left.clone(), right.clone()]);
        let moments =
            [moment.clone(), event.expr.clone()].into_iter().chain(known.iter().map(|known| known.expr.clone()));
        keys.chain(moments).collect()
    }

    /// The same with other expressions, as [`AsOfTable::expressions`] tells them.
    fn with(&self, plan: LogicalPlan, exprs: &mut impl Iterator<Item = Expr>) -> Result<Self> {
        let mut next = || exprs.next().map_or_else(|| plan_err!("an ASOF JOIN lost an expression"), Ok);
        let keys = self.keys.iter().map(|_| Ok((next()?, next()?))).collect::<Result<_>>()?;
        let moment = next()?;
        let event = Bound { expr: next()?, strict: self.matches.event.strict };
        let known = match &self.matches.known {
            Some(known) => Some(Bound { expr: next()?, strict: known.strict }),
            None => None,
        };
        let matches = Match { moment, event, known, ttl: self.matches.ttl };
        Ok(Self { plan, inner: self.inner, keys, matches })
    }
}

impl PartialOrd for AsOfNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.observations, &self.tables).partial_cmp(&(&other.observations, &other.tables))
    }
}

impl UserDefinedLogicalNodeCore for AsOfNode {
    fn name(&self) -> &'static str {
        "AsOfJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        std::iter::once(&self.observations).chain(self.tables.iter().map(|table| &table.plan)).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.tables.iter().flat_map(AsOfTable::expressions).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOfJoin:")?;
        for table in &self.tables {
            let Match { moment, event, known, ttl } = &table.matches;
            write!(f, " {}", if table.inner { "inner" } else { "left" })?;
            for (left, right) in &table.keys {
                write!(f, " {left} = {right}")?;
            }
            write!(f, " {moment} {} {}", if event.strict { ">" } else { ">=" }, event.expr)?;
            if let Some(known) = known {
                write!(f, " known {}", known.expr)?;
            }
            if let Some(ttl) = ttl {
                write!(f, " within {} ns", ttl.nanos)?;
            }
            write!(f, ";")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (mut exprs, mut inputs) = (exprs.into_iter(), inputs.into_iter());
        let lost = || plan_err!("an ASOF JOIN lost an input");
        let Some(observations) = inputs.next() else { return lost() };
        let mut tables = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            let Some(plan) = inputs.next() else { return lost() };
            tables.push(table.with(plan, &mut exprs)?);
        }
        Self::new(observations, tables)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut start = 0;
        let of = |input: &LogicalPlan| {
            let columns = start..start + input.schema().fields().len();
            start = columns.end;
            output_columns
                .iter()
                .filter(|column| columns.contains(column))
                .map(|column| column - columns.start)
                .collect()
        };
        Some(self.inputs().into_iter().map(of).collect())
    }
}
