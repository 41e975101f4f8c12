//! Columns, built from JSON objects one after the other.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder,
};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use serde_json::{Deserializer, Map, Number, Value};
use tenon_core::spec::{ColumnType, Contract};

use super::object::Fields;

/// Rows on their way into columns. A column has its own JSON kind until a value of another turns up: see [`JsonRows::fill`].
pub(crate) struct JsonRows<'c> {
    contract: &'c Contract,
    /// The contract's columns, and then others as they turn up.
    columns: Vec<Column>,
    at: HashMap<String, usize>,
    rows: usize,
    /// The fields of the row that is being read, in its order: those of the row before are looked at first.
    pub(super) cells: Vec<(usize, Cell)>,
    before: Vec<usize>,
    /// The texts of these fields.
    pub(super) text: String,
    /// Counts the rows that were begun.
    begun: u64,
}

/// A value of the row that is being read.
#[derive(Debug)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Number(Number),
    /// A text; or an object or a list, as JSON.
    Text(Range<usize>),
}

struct Column {
    name: String,
    values: Values,
    /// Whether a row has it, and be it as null.
    seen: bool,
    /// Whether a value is of another kind.
    misfit: bool,
    /// The row that had it last.
    mark: u64,
}

enum Values {
    Bools(BooleanBuilder),
    Ints(Int64Builder),
    Floats(Float64Builder),
    Texts(StringBuilder),
}

impl<'c> JsonRows<'c> {
    /// Lets `read` push all rows. Where a value is not of its column's kind, once more with that column as text, so that the
    /// contract sets the one row aside with the value in its reason.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn fill<E>(contract: &'c Contract, mut read: impl FnMut(&mut Self) -> Result<(), E>) -> Result<Self, E> {
        let mut as_text = HashSet::new();
        loop {
            let mut rows = Self::new(contract, &as_text);
            read(&mut rows)?;
            let misfits = rows.columns.iter().filter(|column| column.misfit);
            let found = as_text.len();
            as_text.extend(misfits.map(|column| column.name.clone()));
            if as_text.len() == found {
                return Ok(rows);
            }
        }
    }

    fn new(contract: &'c Contract, as_text: &HashSet<String>) -> Self {
        let values = |name: &String, kind| if as_text.contains(name) { Values::texts() } else { Values::of(kind) };
        let columns = contract.columns.iter();
        let columns: Vec<Column> =
            columns.map(|(name, column)| Column::new(name, values(name, column.data_type))).collect();
        let at = columns.iter().enumerate().map(|(at, column)| (column.name.clone(), at)).collect();
        let (cells, before) = (Vec::new(), Vec::new());
        Self { contract, columns, at, rows: 0, cells, before, text: String::new(), begun: 0 }
    }

    /// Takes an object. Of two fields with one name, which other readers take the last of or the first, nobody could tell
    /// which was meant.
    ///
    /// # Errors
    /// When it is none (an error of data), has a field twice (the same), or is no JSON; nothing of it is kept.
    pub(crate) fn push(&mut self, json: &str) -> Result<(), serde_json::Error> {
        self.begin();
        let mut deserializer = Deserializer::from_str(json);
        serde::Deserializer::deserialize_map(&mut deserializer, Fields(self))?;
        deserializer.end()?;
        self.take();
        Ok(())
    }

    /// Takes an object that was read already.
    pub(crate) fn push_object(&mut self, object: &Map<String, Value>) {
        self.begin();
        for (name, value) in object {
            // An object has no name twice.
            if let Some(at) = self.field(name) {
                let cell = self.cell(value);
                self.cells.push((at, cell));
            }
        }
        self.take();
    }

    fn begin(&mut self) {
        self.before.clear();
        self.before.extend(self.cells.iter().map(|(at, _)| *at));
        self.cells.clear();
        self.text.clear();
        self.begun += 1;
    }

    /// The column of a field of the row that is being read; none where the row has it already.
    pub(super) fn field(&mut self, name: &str) -> Option<usize> {
        let guess = self.before.get(self.cells.len()).copied();
        let guess = guess.filter(|at| self.columns[*at].name == name).or_else(|| self.at.get(name).copied());
        let at = guess.unwrap_or_else(|| {
            self.columns.push(Column::new(name, Values::texts()));
            self.at.insert(name.to_owned(), self.columns.len() - 1);
            self.columns.len() - 1
        });
        let column = &mut self.columns[at];
        let first = column.mark != self.begun;
        column.mark = self.begun;
        first.then_some(at)
    }

    fn cell(&mut self, value: &Value) -> Cell {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(flag) => Cell::Bool(*flag),
            Value::Number(number) => number.as_i64().map_or_else(|| Cell::Number(number.clone()), Cell::Int),
            Value::String(text) => self.written(text),
            nested => self.written(&nested.to_string()),
        }
    }

    pub(super) fn written(&mut self, text: &str) -> Cell {
        let start = self.text.len();
        self.text.push_str(text);
        Cell::Text(start..self.text.len())
    }

    fn take(&mut self) {
        for (at, cell) in &self.cells {
            let column = &mut self.columns[*at];
            column.seen = true;
            column.values.pad(self.rows);
            column.misfit |= !column.values.append(cell, &self.text);
        }
        self.rows += 1;
    }

    /// The rows, with columns that their source knows of them beside; those step back before a field of the same name. Where
    /// `each_alone`, rows that came together by chance, a field that none of them has is missing in each.
    ///
    /// # Errors
    /// Arrow's, when the columns beside have another length.
    pub(crate) fn finish(mut self, beside: Vec<(&str, ArrayRef)>, each_alone: bool) -> Result<RecordBatch, ArrowError> {
        let seen = |name: &str| self.at.get(name).is_some_and(|at| self.columns[*at].seen);
        let beside: Vec<_> = beside.into_iter().filter(|(name, _)| !seen(name)).collect();
        let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        let mut add = |name: &str, column: ArrayRef| {
            fields.push(Field::new(name, column.data_type().clone(), true));
            arrays.push(column);
        };
        for (at, column) in self.columns.iter_mut().enumerate() {
            let there = match self.contract.columns.get_index(at) {
                Some((name, _)) if beside.iter().any(|(known, _)| known == name) => false,
                // A field that no row has: where it may be missing it is, and where not the contract says so once.
                Some((_, promised)) => each_alone || promised.nullable || column.seen || self.rows == 0,
                None => column.seen,
            };
            if there {
                column.values.pad(self.rows);
                add(&column.name, column.values.finish());
            }
        }
        beside.into_iter().for_each(|(name, column)| add(name, column));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }
}

impl Column {
    fn new(name: &str, values: Values) -> Self {
        Self { name: name.to_owned(), values, seen: false, misfit: false, mark: 0 }
    }
}

impl Values {
    fn texts() -> Self {
        Self::Texts(StringBuilder::new())
    }

    fn of(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Boolean => Self::Bools(BooleanBuilder::new()),
            ColumnType::Int32 | ColumnType::Int64 => Self::Ints(Int64Builder::new()),
            ColumnType::Float32 | ColumnType::Float64 => Self::Floats(Float64Builder::new()),
            _ => Self::texts(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bools(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// Nulls up to a row.
    fn pad(&mut self, rows: usize) {
        let missing = rows - self.len();
        // Arrow makes room for nulls also where none is appended, and then everybody looks for them.
        if missing == 0 {
            return;
        }
        match self {
            Self::Bools(values) => values.append_nulls(missing),
            Self::Ints(values) => values.append_nulls(missing),
            Self::Floats(values) => values.append_nulls(missing),
            Self::Texts(values) => values.append_nulls(missing),
        }
    }

    /// Whether the value is of this kind; a null stands for one that is not.
    fn append(&mut self, cell: &Cell, text: &str) -> bool {
        match (&mut *self, cell) {
            (Self::Bools(values), Cell::Bool(flag)) => values.append_value(*flag),
            (Self::Ints(values), Cell::Int(number)) => values.append_value(*number),
            (Self::Floats(values), Cell::Int(number)) => values.append_value(*number as f64),
            (Self::Floats(values), Cell::Number(number)) => values.append_option(number.as_f64()),
            (Self::Texts(values), Cell::Text(range)) => values.append_value(&text[range.clone()]),
            (Self::Texts(values), Cell::Bool(flag)) => values.append_value(if *flag { "true" } else { "false" }),
            (Self::Texts(values), Cell::Int(number)) => shown(values, number),
            (Self::Texts(values), Cell::Number(number)) => shown(values, number),
            (values, cell) => {
                values.append_null();
                return matches!(cell, Cell::Null);
            }
        }
        true
    }

    fn append_null(&mut self) {
        match self {
            Self::Bools(values) => values.append_null(),
            Self::Ints(values) => values.append_null(),
            Self::Floats(values) => values.append_null(),
            Self::Texts(values) => values.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bools(values) => Arc::new(values.finish()),
            Self::Ints(values) => Arc::new(values.finish()),
            Self::Floats(values) => Arc::new(values.finish()),
            Self::Texts(values) => Arc::new(values.finish()),
        }
    }
}

fn shown(values: &mut StringBuilder, number: &impl std::fmt::Display) {
    // Writing into memory cannot fail.
    write!(values, "{number}").ok();
    values.append_value("");
}
