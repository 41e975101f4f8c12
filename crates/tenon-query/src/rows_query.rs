//! A query over one table whose rows are handed in, planned once and run over many small batches.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;

use crate::plan::{empty_table, logical, memory_table, plain_texts, require_repeatable};
use crate::{QueryError, fresh};

/// A query over one table, planned. A plain selection of rows and expressions is evaluated directly, in microseconds;
/// anything else (grouping, sorting, joins with itself) is executed by DataFusion from the finished logical plan.
pub struct RowsQuery {
    state: SessionState,
    input: SchemaRef,
    output: SchemaRef,
    optimised: LogicalPlan,
    steps: Option<Vec<Step>>,
}

/// One thing done to a batch.
enum Step {
    Columns(Vec<usize>),
    Filter(Arc<dyn PhysicalExpr>),
    Evaluate(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

impl RowsQuery {
    /// Plans a query that reads `table`, whose rows will have the schema `input`, and nothing else.
    ///
    /// # Errors
    /// [`QueryError`] says what is wrong with the query; it must be repeatable.
    pub async fn plan(session: &SessionContext, sql: &str, table: &str, input: SchemaRef) -> Result<Self, QueryError> {
        let session = fresh(session);
        if let Some(other) = crate::tables(&session, sql)?.into_iter().find(|name| name != table) {
            return Err(QueryError::no_table(other, vec![table.to_owned()]));
        }
        session.register_table(TableReference::bare(table), empty_table(Arc::clone(&input))?)?;
        let state = session.state();
        let plan = logical(&state, sql).await?;
        require_repeatable(&plan)?;
        let output = Arc::clone(plan.schema().inner());
        // The optimiser must not learn that the stand-in has no rows: a memory table promises nothing about its rows
        // to the logical optimiser, so the plan holds for any.
        let optimised = state.optimize(&plan)?;
        let mut steps = Vec::new();
        let direct = lower(&state, &optimised, &mut steps)?;
        Ok(Self { state, input, output, optimised, steps: direct.then_some(steps) })
    }

    /// Whether each row of the answer depends on one row of the input alone.
    pub fn is_row_by_row(&self) -> bool {
        self.steps.is_some()
    }

    /// The schema of the answer.
    pub fn schema(&self) -> &SchemaRef {
        &self.output
    }

    /// Answers over `rows`, which have the input schema.
    ///
    /// # Errors
    /// [`QueryError::Failed`] when the rows have another schema, or a value makes the query fail.
    pub async fn run(&self, rows: &[RecordBatch]) -> Result<Vec<RecordBatch>, QueryError> {
        if let Some(steps) = &self.steps {
            return rows.iter().map(|batch| apply(steps, batch.clone())).collect();
        }
        let table = memory_table(Arc::clone(&self.input), rows.to_vec())?;
        let source = provider_as_source(table);
        let plan = self.optimised.clone().transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                scan.source = Arc::clone(&source);
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let physical = self.state.query_planner().create_physical_plan(&plan.data, &self.state).await?;
        let batches = collect(physical, self.state.task_ctx()).await?;
        batches.into_iter().map(plain_texts).collect()
    }
}

/// Appends what `plan` does to `steps`, in order; false when it does more than select rows and compute columns.
fn lower(state: &SessionState, plan: &LogicalPlan, steps: &mut Vec<Step>) -> Result<bool, QueryError> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
            steps.extend(scan.projection.clone().map(Step::Columns));
            Ok(true)
        }
        LogicalPlan::SubqueryAlias(alias) => lower(state, &alias.input, steps),
        LogicalPlan::Filter(filter) if !holds_subquery(&filter.predicate)? => {
            let direct = lower(state, &filter.input, steps)?;
            steps.push(Step::Filter(state.create_physical_expr(filter.predicate.clone(), filter.input.schema())?));
            Ok(direct)
        }
        LogicalPlan::Projection(projection) => {
            for expr in &projection.expr {
                if holds_subquery(expr)? {
                    return Ok(false);
                }
            }
            let direct = lower(state, &projection.input, steps)?;
            let physical = |expr: &datafusion::logical_expr::Expr| {
                state.create_physical_expr(expr.clone().unalias(), projection.input.schema())
            };
            let exprs = projection.expr.iter().map(physical).collect::<Result<_, _>>()?;
            steps.push(Step::Evaluate(exprs, Arc::clone(projection.schema.inner())));
            Ok(direct)
        }
        _ => Ok(false),
    }
}

fn holds_subquery(expr: &datafusion::logical_expr::Expr) -> Result<bool, QueryError> {
    use datafusion::logical_expr::Expr;
    Ok(expr.exists(|expr| {
        Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    })?)
}

fn apply(steps: &[Step], mut batch: RecordBatch) -> Result<RecordBatch, QueryError> {
    let failed = |error: arrow::error::ArrowError| QueryError::Failed(error.to_string());
    for step in steps {
        batch = match step {
            Step::Columns(columns) => batch.project(columns).map_err(failed)?,
            Step::Filter(predicate) => {
                let keep = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                match keep.as_any().downcast_ref::<BooleanArray>() {
                    Some(keep) => filter_record_batch(&batch, keep).map_err(failed)?,
                    None => return Err(QueryError::Failed("a WHERE clause is neither true nor false".to_owned())),
                }
            }
            Step::Evaluate(exprs, schema) => {
                let rows = batch.num_rows();
                let column = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(&batch)?.into_array(rows);
                let columns = exprs.iter().map(column).collect::<Result<Vec<_>, _>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(failed)?
            }
        };
    }
    plain_texts(batch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::{Expression, run, session};

    fn rows(numbers: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef)]).unwrap()
    }

    fn small() -> SessionContext {
        session(16 << 20, tempfile::tempdir().unwrap().path()).unwrap()
    }

    #[tokio::test]
    async fn a_planned_query_answers_for_each_batch_anew() {
        let session = small();
        for sql in [
            "SELECT sum(n) AS s FROM t",
            "SELECT a.n + b.n AS s FROM t a JOIN t b ON a.n = b.n",
            "SELECT n * 2 AS s FROM t",
        ] {
            let query = RowsQuery::plan(&session, sql, "t", rows(&[]).schema()).await.unwrap();
            for n in [3, 5] {
                let answer = query.run(&[rows(&[n])]).await.unwrap();
                let values: Vec<i64> = answer
                    .iter()
                    .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                    .collect();
                assert_eq!(values, [if sql.contains("sum") { n } else { n * 2 }], "{sql}");
            }
        }
    }

    #[tokio::test]
    async fn a_query_must_be_repeatable_and_stay_with_its_table() {
        let (session, schema) = (small(), rows(&[]).schema());
        let fault = async |sql: &str| RowsQuery::plan(&session, sql, "t", Arc::clone(&schema)).await.err().unwrap();
        assert!(matches!(fault("SELECT n, now() FROM t").await, QueryError::NotRepeatable(_)));
        assert!(matches!(fault("SELECT n FROM t WHERE random() > 0.5").await, QueryError::NotRepeatable(_)));
        assert!(matches!(fault("SELECT n FROM other").await, QueryError::NoTable { .. }));
        assert!(matches!(fault("SELECT m FROM t").await, QueryError::NoColumn { .. }));
    }

    #[test]
    fn an_expression_that_fails_on_a_value_says_so() {
        let expression = Expression::compile(&small(), "10 / n > 1", rows(&[]).schema()).unwrap();
        assert!(expression.evaluate(&rows(&[2])).unwrap().as_boolean().value(0));
        assert!(matches!(expression.evaluate(&rows(&[0])), Err(QueryError::Failed(_))));
    }

    #[test]
    fn an_expression_may_use_what_is_only_there_once_it_is_simplified() {
        let expression = Expression::compile(&small(), "coalesce(nullif(n, 0), 7) > 1", rows(&[]).schema()).unwrap();
        assert_eq!(expression.columns(), ["n"]);
        let answers = expression.evaluate(&rows(&[0, 1, 2])).unwrap();
        assert_eq!(answers.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false), Some(true)]);
        // `n` is declared to have no nulls, and whether that holds is not known yet.
        let expression = Expression::compile(&small(), "n IS NULL", rows(&[]).schema()).unwrap();
        assert_eq!(expression.columns(), ["n"]);
    }

    #[tokio::test]
    async fn a_query_beyond_its_memory_spills_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(4 << 20, folder.path()).unwrap();
        let sorted =
            run(&session, "SELECT value FROM generate_series(1, 2000000) ORDER BY value DESC LIMIT 1").await.unwrap();
        assert_eq!(sorted[0].column(0).as_primitive::<Int64Type>().value(0), 2_000_000);
        let big = "SELECT array_agg(a.value) FROM generate_series(1, 3000000) a";
        assert!(matches!(run(&session, big).await, Err(QueryError::TooBig(_))));
    }
}
