//! From a text to an answer.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::{MemTable, ViewTable};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;

use crate::QueryError;

/// Answers one query. Nothing but a query is accepted: no `CREATE`, `INSERT`, `COPY` or `SET`.
///
/// # Errors
/// [`QueryError`] says what is wrong with the text, or why the answer could not be computed.
pub async fn run(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    answer(session, logical(&session.state(), sql).await?).await
}

/// Answers one query whose answer depends on the tables alone: `now()` and its like are refused.
///
/// # Errors
/// As [`run`], and [`QueryError::NotRepeatable`].
pub async fn run_repeatable(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    let plan = logical(&session.state(), sql).await?;
    require_repeatable(&plan)?;
    answer(session, plan).await
}

/// The answer piece by piece.
///
/// # Errors
/// As [`run`]; the stream's own errors are DataFusion's, which [`QueryError`] takes.
pub async fn stream(session: &SessionContext, sql: &str) -> Result<SendableRecordBatchStream, QueryError> {
    let plan = logical(&session.state(), sql).await?;
    Ok(session.execute_logical_plan(plan).await?.execute_stream().await?)
}

/// The answer of [`run_repeatable`] piece by piece.
///
/// # Errors
/// As [`run_repeatable`]; the stream's own errors are DataFusion's.
pub async fn stream_repeatable(session: &SessionContext, sql: &str) -> Result<SendableRecordBatchStream, QueryError> {
    let plan = logical(&session.state(), sql).await?;
    require_repeatable(&plan)?;
    Ok(session.execute_logical_plan(plan).await?.execute_stream().await?)
}

/// The columns of the answer, without computing it.
///
/// # Errors
/// As [`run`].
pub async fn schema(session: &SessionContext, sql: &str) -> Result<SchemaRef, QueryError> {
    let plan = logical(&session.state(), sql).await?;
    Ok(plain_texts(RecordBatch::new_empty(Arc::clone(plan.schema().inner())))?.schema())
}

async fn answer(session: &SessionContext, plan: LogicalPlan) -> Result<Vec<RecordBatch>, QueryError> {
    let frame = session.execute_logical_plan(plan).await?;
    let schema = Arc::clone(frame.schema().inner());
    let batches = frame.collect().await?;
    let batches = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
    batches.into_iter().map(plain_texts).collect()
}

/// The tables that a query names, without what it defines itself (`WITH`). Each once, in alphabetical order.
///
/// # Errors
/// [`QueryError::Syntax`] and [`QueryError::NotAQuery`].
pub fn tables(session: &SessionContext, sql: &str) -> Result<Vec<String>, QueryError> {
    let state = session.state();
    let statement = parse(&state, sql)?;
    let references = state.resolve_table_references(&statement)?;
    let mut names: Vec<String> = references.iter().map(|reference| reference.table().to_owned()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Registers a query under a name, expanded wherever it is used.
///
/// # Errors
/// As [`run`].
pub async fn register_view(session: &SessionContext, name: &str, sql: &str) -> Result<(), QueryError> {
    let plan = logical(&session.state(), sql).await?;
    let view = ViewTable::new(plan, Some(sql.to_owned()));
    session.register_table(TableReference::bare(name), Arc::new(view))?;
    Ok(())
}

/// Registers a Parquet file, or a folder of them, under a name.
///
/// # Errors
/// [`QueryError::Failed`] when it cannot be read.
pub async fn register_parquet(session: &SessionContext, name: &str, path: &str) -> Result<(), QueryError> {
    Ok(session.register_parquet(TableReference::bare(name), path, ParquetReadOptions::default()).await?)
}

/// A table that holds given rows.
///
/// # Errors
/// [`QueryError::Failed`] when a batch does not have the schema.
pub fn memory_table(schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>, QueryError> {
    Ok(Arc::new(MemTable::try_new(schema, vec![rows])?))
}

/// A table without rows.
///
/// # Errors
/// None in practice.
pub fn empty_table(schema: SchemaRef) -> Result<Arc<dyn TableProvider>, QueryError> {
    memory_table(schema, Vec::new())
}

pub(crate) fn parse(state: &SessionState, sql: &str) -> Result<Statement, QueryError> {
    let dialect = state.config().options().sql_parser.dialect;
    let plain = crate::asof::plain_words(sql)?;
    let mut statement = state.sql_to_statement(plain.as_deref().unwrap_or(sql), &dialect)?;
    crate::asof::nest(&mut statement);
    match &statement {
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::Query(_) => Ok(statement),
            other => Err(QueryError::NotAQuery(format!("begins with {}", first_words(&other.to_string())))),
        },
        Statement::Explain(_) => Ok(statement),
        other => Err(QueryError::NotAQuery(format!("begins with {}", first_words(&other.to_string())))),
    }
}

fn first_words(statement: &str) -> String {
    statement.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

pub(crate) async fn logical(state: &SessionState, sql: &str) -> Result<LogicalPlan, QueryError> {
    let plan = state.statement_to_plan(parse(state, sql)?).await?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan).map_err(|error| QueryError::NotAQuery(format!("does more: {}", error.message())))?;
    Ok(plan)
}

/// Refuses a plan that would give another answer at another time.
pub(crate) fn require_repeatable(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found = changing_function(expr);
                Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    found.map_or(Ok(()), |name| Err(QueryError::NotRepeatable(name)))
}

pub(crate) fn changing_function(expr: &Expr) -> Option<String> {
    match expr {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            Some(call.func.name().to_owned())
        }
        _ => None,
    }
}

/// The same rows with every kind of text as plain UTF-8.
///
/// # Errors
/// [`QueryError::Failed`] when a column holds more than 2 GiB of text.
pub fn plain_texts(batch: RecordBatch) -> Result<RecordBatch, QueryError> {
    let is_odd = |field: &Arc<Field>| matches!(field.data_type(), DataType::Utf8View | DataType::LargeUtf8);
    if !batch.schema_ref().fields().iter().any(is_odd) {
        return Ok(batch);
    }
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if is_odd(field) {
            fields.push(Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)));
            columns.push(cast(column, &DataType::Utf8).map_err(|error| QueryError::Failed(error.to_string()))?);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone()));
    RecordBatch::try_new(schema, columns).map_err(|error| QueryError::Failed(error.to_string()))
}
