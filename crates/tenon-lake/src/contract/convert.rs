//! From a source's types to the contract's, without losing anything: a value that does not survive is marked as lost.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::aggregate::{max, min};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, is_null};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use tenon_core::spec::ColumnType;

use crate::delta::log::{stored_type, utc};

/// The Arrow type in which a column is held.
pub(crate) fn arrow_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int32 => DataType::Int32,
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Float32 => DataType::Float32,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::String => DataType::Utf8,
        ColumnType::Timestamp => utc(),
        ColumnType::Date => DataType::Date32,
    }
}

/// The type in words: `an int64`.
pub(crate) fn in_words(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "a boolean",
        ColumnType::Int32 => "an int32",
        ColumnType::Int64 => "an int64",
        ColumnType::Float32 => "a float32",
        ColumnType::Float64 => "a float64",
        ColumnType::String => "a string",
        ColumnType::Timestamp => "a timestamp",
        ColumnType::Date => "a date",
    }
}

/// Values in the contract's type, and which rows lost theirs on the way (set where a value became none).
///
/// Text is parsed; a moment without a zone is taken as UTC; a number that is whole may become an integer. The one change
/// of a value that is allowed is rounding to `float32`, which is what that type says.
///
/// # Errors
/// Why no value of the source's type could ever be of the contract's.
pub(crate) fn convert(source: &ArrayRef, kind: ColumnType) -> Result<(ArrayRef, Option<BooleanBuffer>), String> {
    let wanted = arrow_type(kind);
    let failed = |error: ArrowError| error.to_string();
    if *source.data_type() == wanted {
        return Ok((source.clone(), None));
    }
    if *source.data_type() == DataType::Null {
        return Ok((new_null_array(&wanted, source.len()), None));
    }
    // Views, dictionaries and large texts hold the same values in another layout. Moments keep their unit for now.
    let plain = match source.data_type() {
        DataType::Timestamp(unit, None) if wanted == utc() => in_utc(source, *unit).map_err(failed)?,
        DataType::Timestamp(..) => source.clone(),
        other => cast(source, &stored_type(other)).map_err(failed)?,
    };
    let from = plain.data_type();
    if *from == wanted {
        return Ok((plain, None));
    }
    if from.is_nested() || !can_cast_types(from, &wanted) || is_ambiguous(from, &wanted) {
        return Err(format!("it holds {from} there, and the contract says {}", in_words(kind)));
    }
    let mut converted = cast(&plain, &wanted).map_err(failed)?;
    if *from == DataType::Utf8 && wanted.is_integer() && converted.null_count() > plain.null_count() {
        // `12.0`, as programs write that hold whole numbers with gaps as reals.
        let reals = cast(&plain, &DataType::Float64).map_err(failed)?;
        let (whole, _) = exactly(&reals, &wanted).map_err(failed)?;
        converted = zip(&is_null(&converted).map_err(failed)?, &whole, &converted).map_err(failed)?;
    } else if must_survive(from, &wanted) {
        let (exact, _) = exactly(&plain, &wanted).map_err(failed)?;
        converted = exact;
    } else if *from == DataType::Float64 && wanted == DataType::Float32 {
        converted = without_overflow(&plain, converted).map_err(failed)?;
    }
    let lost = lost(&plain, &converted);
    Ok((converted, lost))
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}

/// Moments without a zone as those of UTC: the very same numbers under another name. Where one of them lies in no year of the
/// calendar they are left as they are, so that casting finds out which.
fn in_utc(moments: &ArrayRef, unit: TimeUnit) -> Result<ArrayRef, ArrowError> {
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let calendar = match unit {
        TimeUnit::Second => first.timestamp()..=last.timestamp(),
        TimeUnit::Millisecond => first.timestamp_millis()..=last.timestamp_millis(),
        TimeUnit::Microsecond => first.timestamp_micros()..=last.timestamp_micros(),
        TimeUnit::Nanosecond => i64::MIN..=i64::MAX,
    };
    let numbers = cast(moments, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    if [min(numbers), max(numbers)].into_iter().flatten().any(|extreme| !calendar.contains(&extreme)) {
        return Ok(moments.clone());
    }
    let zone = Some("UTC".into());
    let data = moments.to_data().into_builder().data_type(DataType::Timestamp(unit, zone)).build()?;
    Ok(make_array(data))
}

/// Whole numbers name no moment: nobody says whether they count seconds or days.
fn is_ambiguous(from: &DataType, to: &DataType) -> bool {
    (from.is_numeric() || *from == DataType::Boolean) && to.is_temporal()
        || from.is_temporal() && (to.is_numeric() || *to == DataType::Boolean)
}

/// Whether a cast between these types may change a value without saying so.
fn must_survive(from: &DataType, to: &DataType) -> bool {
    let real =
        |kind: &DataType| kind.is_floating() || matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..));
    match (from, to) {
        (_, DataType::Utf8) | (DataType::Utf8 | DataType::Boolean, _) => false,
        (DataType::Timestamp(..), _) | (_, DataType::Boolean) => true,
        (from, to) if real(from) => to.is_integer(),
        (from, to) => from.is_integer() && to.is_floating(),
    }
}

/// Casts, and keeps only values that come back unchanged.
fn exactly(array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, bool), ArrowError> {
    let there = cast(array, to)?;
    let back = cast(&there, array.data_type())?;
    let changed = distinct(&back, array)?;
    if changed.true_count() == 0 {
        return Ok((there, true));
    }
    Ok((arrow::compute::nullif(&there, &changed)?, false))
}

fn without_overflow(from: &ArrayRef, to: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let (wide, narrow) = (from.as_primitive::<Float64Type>(), to.as_primitive::<Float32Type>());
    let overflows: BooleanArray = wide
        .iter()
        .zip(narrow.iter())
        .map(|(wide, narrow)| Some(wide.is_some_and(f64::is_finite) && narrow.is_some_and(f32::is_infinite)))
        .collect();
    arrow::compute::nullif(&to, &overflows)
}

/// Set where there was a value and is none now.
fn lost(before: &ArrayRef, after: &ArrayRef) -> Option<BooleanBuffer> {
    if after.null_count() <= before.null_count() {
        return None;
    }
    let absent = !after.nulls()?.inner();
    Some(match before.nulls() {
        Some(nulls) => &absent & nulls.inner(),
        None => absent,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::Int64Array;
    use proptest::prelude::*;
    use std::sync::Arc;

    use super::*;

    proptest! {
        #[test]
        fn moments_without_a_zone_become_what_arrow_makes_of_them(
            unit in prop::sample::select(vec![TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond]),
            numbers in prop::collection::vec(prop::option::of(prop_oneof![any::<i32>().prop_map(i64::from), any::<i64>()]), 0..4),
        ) {
            let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
            let moments = cast(&numbers, &DataType::Timestamp(unit, None)).unwrap();
            let (converted, marked) = convert(&moments, ColumnType::Timestamp).unwrap();
            let (expected, _) = exactly(&moments, &utc()).unwrap();
            prop_assert_eq!(&converted, &expected);
            prop_assert_eq!(marked, lost(&moments, &expected));
        }
    }
}
