//! Names within SQL.

/// A name in quotes; quotes within it are doubled.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Column names in quotes, with commas between.
pub(crate) fn columns(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// The query for all rows of a table.
pub(crate) fn all_of(table: &str) -> String {
    format!("SELECT * FROM {}", quoted(table))
}
