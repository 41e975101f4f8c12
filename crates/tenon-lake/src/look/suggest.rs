//! A contract that rows keep, proposed from their profile.

use indexmap::IndexMap;
use tenon_core::spec::{Column, ColumnType, Contract, Severity};

use crate::look::profile::{ColumnProfile, Profile};

/// With at most this many different texts, each often enough, a column is a list of choices.
const MOST_CHOICES: u64 = 12;
/// How often a choice must come on average.
const TIMES_A_CHOICE: u64 = 20;

/// Proposes the contract of a profiled table. Every row that was profiled keeps it.
pub fn suggest(profile: &Profile) -> Contract {
    let column = |column: &ColumnProfile| (column.name.clone(), suggested(profile, column));
    Contract { columns: profile.columns.iter().map(column).collect::<IndexMap<_, _>>(), ..Contract::default() }
}

fn suggested(profile: &Profile, column: &ColumnProfile) -> Column {
    let data_type = column_type(&column.data_type);
    let is_number =
        matches!(data_type, ColumnType::Int32 | ColumnType::Int64 | ColumnType::Float32 | ColumnType::Float64);
    let bounds = column.least.as_deref().zip(column.greatest.as_deref());
    let range = bounds.filter(|_| is_number).and_then(|(least, greatest)| {
        let (least, greatest): (f64, f64) = (least.parse().ok()?, greatest.parse().ok()?);
        (least.is_finite() && greatest.is_finite()).then_some([least, greatest])
    });
    let values = profile.rows - column.nulls;
    // A sketch may count one more or less: only where every value is named is a list complete.
    let named: u64 = column.top.iter().map(|(_, times)| times).sum();
    let is_choice = data_type == ColumnType::String
        && (1..=MOST_CHOICES).contains(&(column.top.len() as u64))
        && named == values
        && values >= TIMES_A_CHOICE * column.top.len() as u64;
    let one_of = is_choice.then(|| {
        let mut choices: Vec<String> = column.top.iter().map(|(text, _)| text.clone()).collect();
        choices.sort();
        choices
    });
    Column {
        data_type,
        description: None,
        unit: None,
        nullable: column.nulls > 0 || profile.rows == 0,
        range,
        one_of,
        pattern: None,
        references: None,
        class: None,
        severity: Severity::default(),
        unique: false,
    }
}

fn column_type(arrow: &str) -> ColumnType {
    match arrow {
        "Boolean" => ColumnType::Boolean,
        "Int8" | "Int16" | "Int32" | "UInt8" | "UInt16" => ColumnType::Int32,
        "Int64" | "UInt32" | "UInt64" => ColumnType::Int64,
        "Float16" | "Float32" => ColumnType::Float32,
        "Float64" => ColumnType::Float64,
        "Date32" => ColumnType::Date,
        kind if kind.starts_with("Timestamp") => ColumnType::Timestamp,
        kind if kind.starts_with("Decimal") => ColumnType::Float64,
        _ => ColumnType::String,
    }
}
