//! What a query would return, known from the schemas of its tables alone.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
/// The session that queries are planned in; [`session`](crate::session()) makes one.
pub use datafusion::prelude::SessionContext as Session;

use crate::plan::{empty_table, logical};
use crate::{QueryError, fresh, register_view};

/// The columns that a query returns over tables of these schemas, and over views, which may read them and each other.
///
/// # Errors
/// [`QueryError`] says what is wrong with the query. A view that does not work is as one that is not there.
pub async fn schema_of(
    session: &Session,
    sql: &str,
    tables: &[(String, SchemaRef)],
    views: &[(String, String)],
) -> Result<SchemaRef, QueryError> {
    let session = fresh(session);
    for (name, schema) in tables {
        session.register_table(TableReference::bare(name.as_str()), empty_table(Arc::clone(schema))?)?;
    }
    // Views may be declared in any order: each round registers those whose tables are all there.
    let mut waiting: Vec<&(String, String)> = views.iter().collect();
    loop {
        let before = waiting.len();
        let mut still = Vec::new();
        for view in waiting {
            if register_view(&session, &view.0, &view.1).await.is_err() {
                still.push(view);
            }
        }
        if still.is_empty() || still.len() == before {
            break;
        }
        waiting = still;
    }
    Ok(Arc::clone(logical(&session.state(), sql).await?.schema().inner()))
}
