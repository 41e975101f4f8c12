//! One column made clean: trim, parse, unit, cast, default, in this order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_null, or};
use arrow::datatypes::{DataType, Float64Type};
use tenon_core::spec::units::{Conversion, conversion};
use tenon_core::spec::{CleanColumn, Column, ColumnType, WholeNumber};

use super::parse::Parser;
use crate::contract::{arrow_type, convert, in_words};
use crate::delta::log::stored_type;

/// A step that could not be applied to some rows.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// The rule, in words that name no value: `delay: not written as %d/%m/%Y`.
    pub rule: String,
    /// What comes after the value in a reason: `is not written as %d/%m/%Y`.
    pub verdict: String,
    /// Set where it failed.
    pub rows: BooleanBuffer,
    /// The values to show in a reason, where a later step has made others of them.
    pub shown: Option<ArrayRef>,
}

impl Failed {
    /// The value is none of the contract's type.
    pub(crate) fn not_of(name: &str, kind: ColumnType, rows: BooleanBuffer) -> Self {
        let words = in_words(kind);
        Self { rule: format!("{name}: not {words}"), verdict: format!("is not {words}"), rows, shown: None }
    }
}

/// A column after its steps.
pub(super) struct Applied {
    pub values: ArrayRef,
    pub shown: ArrayRef,
    pub failed: Vec<Failed>,
}

/// What is done to one column, compiled.
pub(super) struct ColumnCleaner {
    kind: ColumnType,
    trim: bool,
    parser: Option<Parser>,
    unit: Option<Conversion>,
    cast: Option<WholeNumber>,
    /// One value in the contract's type.
    default: Option<ArrayRef>,
}

impl ColumnCleaner {
    /// Compiles what is declared for a column.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub(super) fn compile(clean: &CleanColumn, column: &Column) -> Result<Self, String> {
        let kind = column.data_type;
        let unit = clean.unit.as_ref().map(|unit| match (unit.factor, unit.offset) {
            (None, None) => column
                .unit
                .as_deref()
                .and_then(|to| conversion(&unit.from, to))
                .ok_or_else(|| format!("how {} become the contract's unit is not known", unit.from)),
            (factor, offset) => {
                let (by, after) = (factor.unwrap_or(1.0), offset.unwrap_or(0.0));
                Ok(Conversion { before: 0.0, by, over: 1.0, after })
            }
        });
        let default = clean.default.as_ref().map(|text| {
            let value: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
            let (value, _) = convert(&value, kind)?;
            match value.null_count() {
                0 => Ok(value),
                _ => Err(format!("its default, `{text}`, is not {}", in_words(kind))),
            }
        });
        Ok(Self {
            kind,
            trim: clean.trim,
            parser: clean.parse.as_ref().map(|parse| Parser::compile(parse, kind)).transpose()?,
            unit: unit.transpose()?,
            cast: clean.cast,
            default: default.transpose()?,
        })
    }

    pub(super) fn has_default(&self) -> bool {
        self.default.is_some()
    }

    /// Cleans one column.
    ///
    /// # Errors
    /// Why no value of the source's type could ever be cleaned so.
    pub(super) fn apply(&self, name: &str, source: &ArrayRef) -> Result<Applied, String> {
        let failed = |error: arrow::error::ArrowError| error.to_string();
        let mut values = match source.data_type() {
            DataType::Timestamp(..) => Arc::clone(source),
            kind if *kind == stored_type(kind) => Arc::clone(source),
            kind => cast(source, &stored_type(kind)).map_err(failed)?,
        };
        let mut shown = Arc::clone(source);
        let mut faults = Vec::new();
        if self.trim && *values.data_type() == DataType::Utf8 {
            values = trimmed(values.as_string());
        }
        if let Some(parser) = &self.parser {
            let parsed = parser.parse(&values)?;
            faults.extend(fault(name, &values, &parsed, parser.rule()));
            values = parsed;
        }
        if self.unit.is_some() || self.cast.is_some() {
            let (numbers, lost) = convert(&values, ColumnType::Float64)?;
            faults.extend(lost.map(|rows| Failed::not_of(name, ColumnType::Float64, rows)));
            values = self.computed(numbers.as_primitive());
            // What the contract then finds wrong is the number that came of it; of what failed before, none came.
            faults.iter_mut().for_each(|failed| failed.shown = Some(Arc::clone(source)));
            shown = Arc::clone(&values);
        }
        if let Some(default) = &self.default {
            let (converted, lost) = convert(&values, self.kind)?;
            faults.extend(lost.map(|rows| Failed::not_of(name, self.kind, rows)));
            values = self.filled(&converted, default, &faults).map_err(failed)?;
        }
        Ok(Applied { values, shown, failed: faults })
    }

    fn computed(&self, numbers: &Float64Array) -> ArrayRef {
        let (unit, whole) = (self.unit, self.cast);
        Arc::new(numbers.unary::<_, Float64Type>(|number| {
            let number = unit.map_or(number, |unit| unit.apply(number));
            match whole {
                None => number,
                Some(WholeNumber::Round) => number.round(),
                Some(WholeNumber::Truncate) => number.trunc(),
            }
        }))
    }

    /// The values, and the default where there is none and never was: a value that was lost stays lost.
    fn filled(
        &self,
        values: &ArrayRef,
        default: &ArrayRef,
        faults: &[Failed],
    ) -> Result<ArrayRef, arrow::error::ArrowError> {
        if values.null_count() == 0 {
            return Ok(Arc::clone(values));
        }
        let mut present = arrow::compute::not(&is_null(values)?)?;
        for fault in faults {
            present = or(&present, &arrow::array::BooleanArray::new(fault.rows.clone(), None))?;
        }
        let default = arrow::array::Scalar::new(cast(default, &arrow_type(self.kind))?);
        zip(&present, values, &default)
    }
}

/// The texts without white space around them; a text of nothing else is missing.
fn trimmed(texts: &StringArray) -> ArrayRef {
    let is_clean = |text: &str| {
        let bytes = text.as_bytes();
        let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
        is_plain(bytes.first()) && is_plain(bytes.last())
    };
    if texts.iter().flatten().all(is_clean) {
        return Arc::new(texts.clone());
    }
    fn trim(text: &str) -> Option<&str> {
        Some(text.trim()).filter(|text| !text.is_empty())
    }
    Arc::new(texts.iter().map(|text| text.and_then(trim)).collect::<StringArray>())
}

/// The rule that rows broke whose value was lost between `before` and `after`.
fn fault(name: &str, before: &ArrayRef, after: &ArrayRef, rule: &str) -> Option<Failed> {
    if after.null_count() <= before.null_count() {
        return None;
    }
    let absent = !after.nulls()?.inner();
    let rows = match before.nulls() {
        Some(nulls) => &absent & nulls.inner(),
        None => absent,
    };
    Some(Failed { rule: format!("{name}: not {rule}"), verdict: format!("is not {rule}"), rows, shown: None })
}
