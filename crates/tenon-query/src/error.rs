//! What can go wrong with a query, in words for the one who wrote it.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use tenon_core::spec::closest;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is not SQL.
    #[error("this is not valid SQL: {0}")]
    Syntax(String),
    /// It is SQL, but not a query.
    #[error("only queries are answered here, and this {0}: write a SELECT")]
    NotAQuery(String),
    /// It names a table that is not there.
    #[error("there is no table `{table}`{}", suggestion(.nearest, .known))]
    NoTable {
        /// The name in the query.
        table: String,
        /// A name that is there and looks like it.
        nearest: Option<String>,
        /// The names that are there.
        known: Vec<String>,
    },
    /// It names a column that is not there.
    #[error("there is no column `{column}`{}", suggestion(.nearest, .known))]
    NoColumn {
        /// The name in the query.
        column: String,
        /// A column that is there and looks like it.
        nearest: Option<String>,
        /// The columns that are there.
        known: Vec<String>,
    },
    /// It calls a function whose answer depends on when it is asked, where an answer must be repeatable.
    #[error(
        "`{0}()` gives another answer each time, and this query must give the same for ever: take the moment from a column"
    )]
    NotRepeatable(String),
    /// It needs more memory than it may take.
    #[error("the query needs more memory than it may take: {0}")]
    TooBig(String),
    /// The engine that it is to run on has no answer: it cannot be reached, or fails.
    #[error("{0}")]
    Engine(String),
    /// It does not fit the tables, or a value made it fail.
    #[error("the query fails: {0}")]
    Failed(String),
}

fn suggestion(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!(" (did you mean `{nearest}`?)"),
        None if known.is_empty() => String::new(),
        None => format!(": there are {}", known.join(", ")),
    }
}

impl QueryError {
    /// The error of a query that names a table which is not there.
    pub fn no_table(table: impl Into<String>, known: Vec<String>) -> Self {
        let table = table.into();
        let nearest = closest(&table, known.iter().map(String::as_str)).map(str::to_owned);
        Self::NoTable { table, nearest, known }
    }

    fn no_column(column: &str, known: Vec<String>) -> Self {
        let nearest = closest(column, known.iter().map(String::as_str)).map(str::to_owned);
        Self::NoColumn { column: column.to_owned(), nearest, known }
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::External(other) if let Some(Self::Engine(what)) = other.downcast_ref() => {
                Self::Engine(what.clone())
            }
            DataFusionError::SQL(parser, _) => Self::Syntax(parser.to_string()),
            DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let known = valid_fields.iter().map(|column| column.name.clone()).collect();
                    Self::no_column(&field.name, known)
                }
                other => Self::Failed(other.to_string()),
            },
            DataFusionError::ResourcesExhausted(message) => Self::TooBig(message.clone()),
            // The kind of error that the message begins with is DataFusion's own business.
            root => Self::Failed(root.message().into_owned()),
        }
    }
}
