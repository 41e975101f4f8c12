//! Columns.

use tenon_core::Timestamp;
use tenon_core::spec::{Check, Column, ColumnType, DataClass, Severity};

use super::fields::{Fields, Own, own, own_text, unread};
use super::quality::{Rules, column_rules};
use crate::odcs::remark::Notes;
use crate::odcs::tree::{Node, Place, Value};
use crate::odcs::{pattern, sql, words};

const OURS: [&str; 6] = ["tenonSeverity", "tenonRange", "tenonPattern", "tenonReferences", "unit", "tenonUnit"];

/// A column as read, with what its file says beside it.
pub(super) struct Read {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) column: Column,
    /// Conditions over it that a column has no word for.
    pub(super) checks: Vec<Check>,
    /// Its place in the key.
    pub(super) key: Option<u64>,
}

/// Reads one property; none where it cannot be a column.
pub(super) fn property(node: &Node, tables: &[&str], notes: &mut Notes) -> Option<Read> {
    let mut fields = Fields::of(node, "a column", notes)?;
    let name = name(&mut fields, notes)?;
    let custom = own(&mut fields, notes);
    let options = fields.take("logicalTypeOptions");
    let mut options = options.and_then(|(_, node)| Fields::of(node, "a type's options", notes));
    let format = options.as_mut().and_then(|options| options.text("format", notes));
    let data_type = data_type(&mut fields, &name, format.map(|(_, format)| format), notes);
    let description = text_of(&mut fields, "description", notes);
    let description = description.or_else(|| text_of(&mut fields, "businessName", notes));
    let key = primary_key(&mut fields, notes);
    let nullable = fields.flag("required", notes).map_or(key.is_none(), |required| !required);
    let unique = fields.flag("unique", notes).unwrap_or(false);
    let class = class(&mut fields, notes);
    let references = references(&mut fields, notes);
    let rules = fields.list("quality", notes);
    fields.rest(&LOST, notes);
    let mut column = Column {
        data_type: data_type?,
        description,
        unit: None,
        nullable,
        range: None,
        one_of: None,
        pattern: None,
        references,
        class,
        severity: Severity::default(),
        unique,
    };
    ours(&custom, &mut column, notes);
    let mut read = Read { place: node.place, name, column, checks: Vec::new(), key };
    if let Some(options) = options {
        type_options(options, format, &mut read, notes);
    }
    let rules = Rules { nodes: rules, tables };
    column_rules(&rules, &mut read, notes);
    Some(read)
}

const LOST: [&str; 14] = [
    "id",
    "businessName",
    "authoritativeDefinitions",
    "tags",
    "partitioned",
    "partitionKeyPosition",
    "encryptedName",
    "transformSourceObjects",
    "transformLogic",
    "transformDescription",
    "examples",
    "criticalDataElement",
    "properties",
    "items",
];

fn text_of(fields: &mut Fields<'_>, name: &'static str, notes: &mut Notes) -> Option<String> {
    fields.text(name, notes).map(|(_, text)| text.to_owned())
}

/// The column's name: the one that its table has, where that is said.
fn name(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<String> {
    let (name, physical) = (fields.text("name", notes), fields.text("physicalName", notes));
    match (name, physical) {
        (Some((_, name)), Some((place, physical))) if name != physical => {
            notes.lost(place, format!("the column `{name}` is called `{physical}` here, as in its table"));
            Some(physical.to_owned())
        }
        (Some((_, name)), _) => Some(name.to_owned()),
        (None, _) => {
            notes.wrong(fields.place, "a column has a `name`");
            None
        }
    }
}

fn data_type(fields: &mut Fields<'_>, column: &str, format: Option<&str>, notes: &mut Notes) -> Option<ColumnType> {
    let (logical, physical) = (fields.text("logicalType", notes), fields.text("physicalType", notes));
    let known = physical.and_then(|(_, word)| words::type_of_physical(word));
    let decimal = |word: &str| ["decimal", "numeric"].iter().any(|kind| word.to_ascii_lowercase().starts_with(kind));
    if let Some((place, word)) = physical.filter(|(_, word)| decimal(word)) {
        notes.lost(place, format!("`{word}` is held as float64 here, with 15 digits"));
    }
    let place = logical.or(physical).map_or(fields.place, |(place, _)| place);
    let unheld = |notes: &mut Notes| {
        let word = logical.map_or("", |(_, word)| word);
        let hint = "a dataset has no such columns; without it, the column is left out";
        notes.weaker(place, format!("the column `{column}` is of type `{word}`"), hint);
    };
    match logical.map(|(_, word)| word) {
        Some("string") => Some(ColumnType::String),
        Some("boolean") => Some(ColumnType::Boolean),
        Some("date") if physical.is_some_and(|(_, word)| word.to_ascii_lowercase().starts_with("time")) => {
            // What is written as a moment is more than a day; a time of day is something else.
            if known.is_none() {
                unheld(notes);
            }
            known
        }
        Some("date") => Some(ColumnType::Date),
        Some("timestamp") => Some(ColumnType::Timestamp),
        Some("array") if matches!(known, Some(ColumnType::Vector(_))) => known,
        Some("integer") => Some(match format {
            Some("i8" | "i16" | "i32" | "u8" | "u16") => ColumnType::Int32,
            None if known == Some(ColumnType::Int32) => ColumnType::Int32,
            _ => ColumnType::Int64,
        }),
        Some("number") => Some(match format {
            Some("f32") => ColumnType::Float32,
            None => known.filter(|known| is_number(*known)).unwrap_or(ColumnType::Float64),
            _ => ColumnType::Float64,
        }),
        Some(_) => {
            unheld(notes);
            None
        }
        None if known.is_some() => known,
        None => {
            let said = physical.map_or("has no type".to_owned(), |(_, word)| format!("is of a type `{word}`"));
            let hint = "give it a `logicalType`; without it, the column is left out";
            notes.weaker(place, format!("the column `{column}` {said} that is not known here"), hint);
            None
        }
    }
}

/// The position in the key, where the column is part of it.
fn primary_key(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<u64> {
    let is_key = fields.flag("primaryKey", notes).unwrap_or(false);
    let position = fields.number("primaryKeyPosition", notes).map(|(_, position)| position);
    let position = position.filter(|position| (1.0..1e9).contains(position));
    is_key.then_some(position.map_or(u64::MAX, |position| position as u64))
}

fn class(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<DataClass> {
    let (place, word) = fields.text("classification", notes)?;
    Some(words::class_of(word).unwrap_or_else(|| {
        notes.lost(place, format!("`{word}` is no class of ours, and is taken for `personal`, the most careful one"));
        DataClass::Personal
    }))
}

fn references(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<String> {
    let mut found = None;
    let hint = "a column refers to one column of a dataset: `to: planes.tailnum`";
    for node in fields.list("relationships", notes) {
        let Some(mut relationship) = Fields::of(node, "a relationship", notes) else { continue };
        relationship.text("type", notes);
        match relationship.take("to").map(|(place, node)| (place, &node.value)) {
            Some((_, Value::Text(to))) if to.split_once('.').is_some() && !to.contains('/') && found.is_none() => {
                found = Some(to.clone());
            }
            Some((place, _)) => notes.weaker(place, "this relationship cannot be held here", hint),
            None => notes.wrong(relationship.place, "a relationship says what it leads `to`"),
        }
        relationship.rest(&["customProperties", "id"], notes);
    }
    found
}

/// What the standard has no word for.
fn ours(custom: &[Own<'_>], column: &mut Column, notes: &mut Notes) {
    for one in custom {
        let mut text = || own_text(one, notes);
        match one.name {
            "unit" | "tenonUnit" => column.unit = text().or(column.unit.take()),
            "tenonPattern" => column.pattern = text(),
            "tenonReferences" => column.references = text(),
            "tenonSeverity" => {
                let Some(word) = text() else { continue };
                match words::severity_of(&word) {
                    Some(severity) => column.severity = severity,
                    None => {
                        notes.wrong(one.place, format!("`{word}` is no severity: `warning`, `error` or `critical`"))
                    }
                }
            }
            "tenonRange" => match range(&one.value.value) {
                Some(range) => column.range = Some(range),
                None => notes.wrong(one.place, "a range is a list of two numbers written as texts"),
            },
            _ => unread(one, &OURS, notes),
        }
    }
}

fn range(value: &Value) -> Option<[f64; 2]> {
    let Value::List(nodes) = value else { return None };
    let bound = |node: &Node| match &node.value {
        Value::Text(text) => text.parse::<f64>().ok(),
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    let [low, high] = nodes.as_slice() else { return None };
    Some([bound(low)?, bound(high)?])
}

fn type_options(mut options: Fields<'_>, format: Option<(Place, &str)>, read: &mut Read, notes: &mut Notes) {
    match read.column.data_type {
        ColumnType::Int32 | ColumnType::Int64 | ColumnType::Float32 | ColumnType::Float64 => {
            number_options(&mut options, format.map(|(_, format)| format), read, notes);
        }
        ColumnType::String => string_options(&mut options, read, notes),
        ColumnType::Date | ColumnType::Timestamp => moment_options(&mut options, read, notes),
        ColumnType::Boolean | ColumnType::Vector(_) => {}
    }
    if let Some((place, format)) = format.filter(|_| !is_number(read.column.data_type)) {
        notes
            .lost(place, format!("the format `{format}` promises nothing here; how texts are read is said by [clean]"));
    }
    options.rest(&["timezone", "defaultTimezone"], notes);
}

fn is_number(kind: ColumnType) -> bool {
    matches!(kind, ColumnType::Int32 | ColumnType::Int64 | ColumnType::Float32 | ColumnType::Float64)
}

/// What whole numbers of a size can be, where that is less than what the column's type holds.
fn size(format: &str) -> Option<[f64; 2]> {
    Some(match format {
        "i8" => [-128.0, 127.0],
        "i16" => [-32_768.0, 32_767.0],
        "u8" => [0.0, 255.0],
        "u16" => [0.0, 65_535.0],
        "u32" => [0.0, 4_294_967_295.0],
        "u64" | "u128" => [0.0, f64::INFINITY],
        _ => return None,
    })
}

fn number_options(options: &mut Fields<'_>, format: Option<&str>, read: &mut Read, notes: &mut Notes) {
    let is_whole = matches!(read.column.data_type, ColumnType::Int32 | ColumnType::Int64);
    let above = |number: f64| if is_whole { number.floor() + 1.0 } else { number.next_up() };
    let below = |number: f64| if is_whole { number.ceil() - 1.0 } else { number.next_down() };
    let mut bound = |name| options.number(name, notes).map(|(_, number)| number);
    let low = [bound("minimum"), bound("exclusiveMinimum").map(above), format.and_then(size).map(|[low, _]| low)];
    let high = [bound("maximum"), bound("exclusiveMaximum").map(below), format.and_then(size).map(|[_, high]| high)];
    let low = low.into_iter().flatten().reduce(f64::max);
    let high = high.into_iter().flatten().reduce(f64::min);
    if low.is_some() || high.is_some() {
        read.column.range = Some([low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY)]);
    }
    if let Some((_, step)) = options.number("multipleOf", notes) {
        let column = sql::quoted(&read.name);
        read.promise(format!("is a multiple of {step}"), format!("{column} % {step} = 0"));
    }
}

fn string_options(options: &mut Fields<'_>, read: &mut Read, notes: &mut Notes) {
    let column = sql::quoted(&read.name);
    if let Some((_, least)) = options.number("minLength", notes) {
        read.promise(format!("has at least {least} characters"), format!("character_length({column}) >= {least}"));
    }
    if let Some((_, most)) = options.number("maxLength", notes) {
        read.promise(format!("has at most {most} characters"), format!("character_length({column}) <= {most}"));
    }
    if let Some((_, theirs)) = options.text("pattern", notes) {
        read.column.pattern = Some(pattern::whole(theirs));
    }
}

fn moment_options(options: &mut Fields<'_>, read: &mut Read, notes: &mut Notes) {
    let column = sql::quoted(&read.name);
    for (name, sign) in [("minimum", ">="), ("maximum", "<="), ("exclusiveMinimum", ">"), ("exclusiveMaximum", "<")] {
        let Some((place, bound)) = options.text(name, notes) else { continue };
        if bound.parse::<Timestamp>().is_err() {
            let hint = "write the moment as `2013-01-01` or `2013-01-01T00:00:00Z`";
            notes.weaker(place, format!("`{bound}` is no moment that is known here"), hint);
            continue;
        }
        read.promise(format!("is {sign} {bound}"), format!("{column} {sign} {}", sql::literal(bound)));
    }
}

impl Read {
    /// A condition over the column, as strict as the column itself.
    fn promise(&mut self, what: String, condition: String) {
        let check = Check { name: format!("{} {what}", self.name), sql: condition, severity: self.column.severity };
        self.checks.push(check);
    }
}
