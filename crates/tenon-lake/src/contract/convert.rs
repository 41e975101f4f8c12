//! From a source's types to the contract's, without losing anything: a value that does not survive is marked as lost.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNumericType, AsArray, BooleanArray, PrimitiveArray, make_array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::aggregate::{max, min};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, is_null, nullif};
use arrow::datatypes::{DataType, Date32Type, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use tenon_core::spec::ColumnType;

use super::legible::legible;
use super::vectors;
use crate::delta::log::{stored_type, utc};

/// The Arrow type in which a column is held.
pub fn arrow_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int32 => DataType::Int32,
        ColumnType::Int64 => DataType::Int64,
        ColumnType::Float32 => DataType::Float32,
        ColumnType::Float64 => DataType::Float64,
        ColumnType::String => DataType::Utf8,
        ColumnType::Timestamp => utc(),
        ColumnType::Date => DataType::Date32,
        ColumnType::Vector(_) => vectors::held(),
    }
}

/// The type in words: `an int64`.
pub(crate) fn in_words(kind: ColumnType) -> String {
    match kind {
        ColumnType::Vector(dimensions) => format!("a vector of {dimensions} finite numbers"),
        ColumnType::Int32 | ColumnType::Int64 => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// Values in the contract's type, and which rows lost theirs on the way (set where a value became none).
///
/// Text is parsed; a moment without a zone is taken as UTC; a number that is whole may become an integer. The one change
/// of a value that is allowed is rounding to `float32`, which is what that type says. A moment has whole microseconds, and a
/// day no time of day; both are of the years 1 to 9999, which is what readers of a table can show. A vector comes as a list of
/// numbers, or as one in JSON.
///
/// # Errors
/// Why no value of the source's type could ever be of the contract's.
pub(crate) fn convert(source: &ArrayRef, kind: ColumnType) -> Result<(ArrayRef, Option<BooleanBuffer>), String> {
    let wanted = arrow_type(kind);
    let failed = |error: ArrowError| error.to_string();
    if let ColumnType::Vector(dimensions) = kind {
        let converted = vectors::convert(source, dimensions).map_err(failed)?;
        let converted = converted.ok_or_else(|| {
            format!("it holds {} there, and the contract says {}", source.data_type(), in_words(kind))
        })?;
        let lost = lost(source, &converted);
        return Ok((converted, lost));
    }
    // Views, dictionaries and large texts hold the same values in another layout. Moments keep their unit for now.
    let plain = match source.data_type() {
        DataType::Null => return Ok((new_null_array(&wanted, source.len()), None)),
        kind if *kind == wanted => source.clone(),
        DataType::Timestamp(unit, None) if wanted == utc() => in_utc(source, *unit).map_err(failed)?,
        DataType::Timestamp(..) => source.clone(),
        other => cast(source, &stored_type(other)).map_err(failed)?,
    };
    let from = plain.data_type();
    if from.is_nested() || !can_cast_types(from, &wanted) || is_ambiguous(from, &wanted) {
        return Err(format!("it holds {from} there, and the contract says {}", in_words(kind)));
    }
    let converted = if *from == wanted { plain.clone() } else { cast_exactly(&plain, &wanted).map_err(failed)? };
    let converted = of_the_calendar(converted).map_err(failed)?;
    let lost = lost(&plain, &converted);
    Ok((converted, lost))
}

/// Casts between two types, and keeps no value that another took the place of.
fn cast_exactly(plain: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    let from = plain.data_type();
    if *wanted == DataType::Utf8 && from.is_temporal() {
        return cast(&legible(plain)?, wanted);
    }
    if must_survive(from, wanted) {
        return exactly(plain, wanted);
    }
    let converted = cast(plain, wanted)?;
    match (from, wanted) {
        (DataType::Utf8, DataType::Int32 | DataType::Int64) if converted.null_count() > plain.null_count() => {
            // `12.0`, as programs write that hold whole numbers with gaps as reals.
            let whole = exactly(&cast(plain, &DataType::Float64)?, wanted)?;
            zip(&is_null(&converted)?, &whole, &converted)
        }
        (DataType::Utf8, DataType::Timestamp(..)) => nullif_any(converted, &finer_than_micros(plain)),
        (DataType::Utf8, DataType::Date32)
            if plain.as_string::<i32>().iter().flatten().any(|text| text.len() > DAY) =>
        {
            // With a time of day, which a day has not.
            let moments = cast(plain, &utc())?;
            zip(&is_null(&moments)?, &converted, &exactly(&moments, wanted)?)
        }
        (DataType::Float64, DataType::Float32) => without_overflow(plain, converted),
        _ => Ok(converted),
    }
}

/// The length of a day in text: `2013-04-01`.
const DAY: usize = 10;
/// And of a moment with microseconds, without a zone.
const MICROS: usize = "2013-04-01T00:00:00.000000".len();

/// Set where a text names a moment more finely than to the microsecond, which parsing it would cut off.
fn finer_than_micros(texts: &ArrayRef) -> BooleanArray {
    let is_finer = |text: &str| {
        let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit);
        text.len() > MICROS && digits.skip(6).any(|digit| digit != b'0')
    };
    texts.as_string::<i32>().iter().map(|text| Some(text.is_some_and(is_finer))).collect()
}

/// Takes out moments and days that readers of a table cannot show: those before the year 1 and after the year 9999.
fn of_the_calendar(values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    /// 0001-01-01 and 9999-12-31, in days from the epoch.
    const DAYS: (i32, i32) = (-719_162, 2_932_896);
    const DAY_MICROS: i64 = 86_400_000_000;
    match values.data_type() {
        DataType::Date32 => within(values.as_primitive::<Date32Type>(), DAYS.0, DAYS.1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let (first, last) = (i64::from(DAYS.0) * DAY_MICROS, (i64::from(DAYS.1) + 1) * DAY_MICROS - 1);
            within(values.as_primitive::<TimestampMicrosecondType>(), first, last)
        }
        _ => Ok(values),
    }
}

/// The values from `first` to `last`, and none in the place of others.
fn within<T: ArrowNumericType>(
    values: &PrimitiveArray<T>,
    first: T::Native,
    last: T::Native,
) -> Result<ArrayRef, ArrowError> {
    let all: ArrayRef = Arc::new(values.clone());
    // Almost always all of them fit, and the two ends are quick to find.
    if min(values).is_none_or(|least| least >= first) && max(values).is_none_or(|most| most <= last) {
        return Ok(all);
    }
    let beyond = values.iter().map(|value| Some(value.is_some_and(|value| value < first || value > last)));
    nullif(&all, &beyond.collect())
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
fn exactly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let there = cast(array, to)?;
    let back = cast(&there, array.data_type())?;
    nullif_any(there, &distinct(&back, array)?)
}

/// Without the values that are set in `out`.
fn nullif_any(values: ArrayRef, out: &BooleanArray) -> Result<ArrayRef, ArrowError> {
    if out.true_count() == 0 { Ok(values) } else { nullif(&values, out) }
}

fn without_overflow(from: &ArrayRef, to: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let (wide, narrow) = (from.as_primitive::<Float64Type>(), to.as_primitive::<Float32Type>());
    let overflows: BooleanArray = wide
        .iter()
        .zip(narrow.iter())
        .map(|(wide, narrow)| Some(wide.is_some_and(f64::is_finite) && narrow.is_some_and(f32::is_infinite)))
        .collect();
    nullif_any(to, &overflows)
}

/// Set where there was a value and is none now.
fn lost(before: &ArrayRef, after: &ArrayRef) -> Option<BooleanBuffer> {
    if after.null_count() <= before.null_count() {
        return None;
    }
    let absent = !after.nulls()?.inner();
    Some(match before.logical_nulls() {
        Some(nulls) => &absent & nulls.inner(),
        None => absent,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::Int64Array;
    use proptest::prelude::*;

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
            let expected = of_the_calendar(exactly(&moments, &utc()).unwrap()).unwrap();
            prop_assert_eq!(&converted, &expected);
            prop_assert_eq!(marked, lost(&moments, &expected));
        }
    }
}
