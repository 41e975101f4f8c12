//! How a dataset's rows are made clean before its contract looks at them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ColumnType;
use super::dataset::{Column, DatasetSpec};
use super::fault::closest;
use super::{SpecFault, units};

/// What is done to every row, in this order: columns are taken from the source and cleaned one by one, derived columns are
/// computed from them, and rows that nobody wants are dropped. What cannot be done to a value is a broken rule: the row
/// goes to the quarantine as it came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cleaning {
    /// A condition in SQL over the cleaned columns, and the source's others. Rows for which it is true are dropped, and
    /// counted as dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
    /// What is done to a column of the contract, by its name there.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub columns: IndexMap<String, CleanColumn>,
}

impl Cleaning {
    /// Whether nothing is cleaned.
    pub fn is_none(&self) -> bool {
        self.drop.is_none() && self.columns.is_empty()
    }
}

/// What is done to one column, in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CleanColumn {
    /// The source's name for it, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether white space around a text goes; a text of nothing else is then missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trim: bool,
    /// How the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse: Option<Parse>,
    /// The unit that the source has it in; the contract's column says which it becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<SourceUnit>,
    /// How a number becomes a whole one. Without it, one that is not whole is no value of an integer column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cast: Option<WholeNumber>,
    /// The value of a row that has none, written as text: `0`, `unknown`, `2013-01-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// An expression in SQL that computes the column, over the cleaned columns, those derived before it, and the source's
    /// others. Stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// How texts are read. Values that are no texts are left as they are, but for `epoch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parse {
    /// The formats of a moment or a day, tried in order: `%d/%m/%Y %H:%M`, as `strftime` writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<String>,
    /// The zone of moments that name none: `America/New_York`, `+02:00`. Without it they are UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What a number counts that names a moment: the time since 1970 in this unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// What stands between a number's whole part and its fraction, where it is no point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// What sets the thousands of a number apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
}

impl Parse {
    /// Whether it says how numbers are written.
    pub fn is_of_numbers(&self) -> bool {
        self.decimal.is_some() || self.thousands.is_some()
    }
}

/// The unit in which time since 1970 is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Epoch {
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
}

/// The unit that a source has a column in: a known one by name, or any with its factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceUnit {
    /// Its name: `seconds`, `miles`, `fahrenheit`.
    pub from: String,
    /// What the source's number is multiplied by, where the units are not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// What is added then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<f64>,
}

/// How a number becomes a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WholeNumber {
    /// The nearest; of two, the one further from zero.
    Round,
    /// The next towards zero.
    Truncate,
}

/// What is wrong with a dataset's cleaning, as far as its file alone can say.
pub(super) fn check(file: &str, spec: &DatasetSpec, faults: &mut Vec<SpecFault>) {
    if spec.source.sql.is_some() {
        if spec.keeps_raw() {
            let message = "a view has no rows of its own: clean them where they come in";
            faults.push(SpecFault::at(file, &["source", "sql"], message));
        }
        return;
    }
    for (name, clean) in &spec.clean.columns {
        let Some(column) = spec.contract.columns.get(name) else {
            let fault =
                SpecFault::at(file, &["clean", "columns", name], format!("the contract has no column `{name}`"));
            faults.push(match closest(name, spec.contract.columns.keys().map(String::as_str)) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint("name the contract's column here, and the source's with `from`"),
            });
            continue;
        };
        let mut wrong = |key: &str, message: String| {
            faults.push(SpecFault::at(file, &["clean", "columns", name, key], message));
        };
        let alone = CleanColumn { sql: clean.sql.clone(), ..CleanColumn::default() };
        if clean.sql.is_some() && *clean != alone {
            wrong("sql", "a derived column is its expression alone: say the rest in SQL".to_owned());
        }
        if let Some(parse) = &clean.parse {
            check_parse(parse, column, &mut wrong);
        }
        if let Some(unit) = &clean.unit {
            check_unit(unit, column, &mut wrong);
        }
        if clean.cast.is_some() && !is_number(column.data_type) {
            wrong("cast", "only numbers are rounded or cut".to_owned());
        }
    }
}

fn check_parse(parse: &Parse, column: &Column, wrong: &mut impl FnMut(&str, String)) {
    let is_moment = matches!(column.data_type, ColumnType::Timestamp | ColumnType::Date);
    let of_moments = !parse.formats.is_empty() || parse.zone.is_some() || parse.epoch.is_some();
    if of_moments && !is_moment {
        wrong("parse", "`formats`, `zone` and `epoch` are for columns of moments and days".to_owned());
    }
    if parse.is_of_numbers() && !is_number(column.data_type) {
        wrong("parse", "`decimal` and `thousands` are for columns of numbers".to_owned());
    }
    if parse.is_of_numbers() && parse.decimal.unwrap_or('.') == parse.thousands.unwrap_or('\0') {
        wrong("parse", "`decimal` and `thousands` are the same sign, so that no number could be read".to_owned());
    }
    if !of_moments && !parse.is_of_numbers() {
        wrong("parse", "it says nothing: give `formats`, `epoch`, `decimal` or `thousands`".to_owned());
    }
}

fn check_unit(unit: &SourceUnit, column: &Column, wrong: &mut impl FnMut(&str, String)) {
    if !is_number(column.data_type) {
        wrong("unit", "only numbers have a unit".to_owned());
    }
    let numbers = [unit.factor.unwrap_or(1.0), unit.offset.unwrap_or(0.0)];
    if numbers.iter().any(|number| !number.is_finite()) || numbers[0] == 0.0 {
        wrong("unit", "a factor and an offset are finite numbers, and the factor is not 0".to_owned());
    }
    if unit.factor.is_some() || unit.offset.is_some() {
        return;
    }
    match column.unit.as_deref() {
        None => wrong("unit", format!("the contract does not say the unit that {} become", unit.from)),
        Some(to) if units::conversion(&unit.from, to).is_none() => {
            let near = closest(&unit.from, units::names()).filter(|near| *near != unit.from);
            let near = near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"));
            let message = format!("how {} become {to} is not known here{near}: give `factor` and `offset`", unit.from);
            wrong("unit", message);
        }
        Some(_) => {}
    }
}

fn is_number(kind: ColumnType) -> bool {
    matches!(kind, ColumnType::Int32 | ColumnType::Int64 | ColumnType::Float32 | ColumnType::Float64)
}
