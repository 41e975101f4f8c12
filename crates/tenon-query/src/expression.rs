//! One expression, compiled once and evaluated over many batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::prelude::SessionContext;

use crate::QueryError;
use crate::plan::changing_function;

/// An expression in SQL over the columns of one schema, such as `air_time IS NULL OR air_time > 0`.
#[derive(Debug, Clone)]
pub struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

impl Expression {
    /// Compiles an expression that gives the same answer for the same row, always.
    ///
    /// # Errors
    /// [`QueryError`] when it is not SQL, names no column of the schema, or is not repeatable.
    pub fn compile(session: &SessionContext, sql: &str, schema: SchemaRef) -> Result<Self, QueryError> {
        // Rows may be evaluated before anybody has looked whether what must not be null is.
        let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let columns = DFSchema::try_from(Schema::new(nullable.collect::<Vec<_>>()))?;
        let state = session.state();
        let logical = state.create_logical_expr(sql, &columns)?;
        let mut changing = None;
        logical.apply(|expr| {
            changing = changing_function(expr);
            Ok(if changing.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if let Some(function) = changing {
            return Err(QueryError::NotRepeatable(function));
        }
        // Some functions, such as `coalesce`, are only there once they are simplified to what they mean.
        let about = SimplifyContext::builder()
            .with_schema(Arc::new(columns.clone()))
            .with_config_options(Arc::clone(state.config_options()))
            .build();
        let simplifier = ExprSimplifier::new(about);
        let logical = simplifier.simplify(simplifier.coerce(logical, &columns)?)?;
        let physical = state.create_physical_expr(logical, &columns)?;
        Ok(Self { physical, schema })
    }

    /// The type of its values.
    ///
    /// # Errors
    /// [`QueryError::Failed`] when it has none over this schema.
    pub fn data_type(&self) -> Result<DataType, QueryError> {
        Ok(self.physical.data_type(&self.schema)?)
    }

    /// The columns that it reads, in alphabetical order.
    pub fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> =
            collect_columns(&self.physical).into_iter().map(|column| column.name().to_owned()).collect();
        names.sort();
        names
    }

    /// Its values, one a row; `rows` have the schema that it was compiled for.
    ///
    /// # Errors
    /// [`QueryError::Failed`] when a value makes it fail, such as a division by zero.
    pub fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, QueryError> {
        Ok(self.physical.evaluate(rows)?.into_array(rows.num_rows())?)
    }
}
