//! Which types can be compared: keys with keys, moments with moments.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::Result;

/// As what two columns of keys are compared; none where their values can never be equal, or only by chance.
pub(super) fn key_type(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::{
        Boolean, Date32, Date64, Decimal128, Dictionary, Int64, LargeUtf8, Null, Timestamp, UInt64, Utf8, Utf8View,
    };
    match (left, right) {
        (Dictionary(_, left), right) => key_type(left, right),
        (left, Dictionary(_, right)) => key_type(left, right),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => Some(Utf8),
        (Boolean, Boolean) => Some(Boolean),
        (Date32 | Date64, Date32 | Date64) => Some(Date32),
        (Timestamp(left, _), Timestamp(right, _)) => Some(Timestamp(finer(*left, *right), None)),
        (left, right) if left.is_integer() && right.is_integer() => match (left, right) {
            (UInt64, UInt64) => Some(UInt64),
            (UInt64, other) | (other, UInt64) if other.is_signed_integer() => Some(Decimal128(20, 0)),
            (UInt64, _) | (_, UInt64) => Some(UInt64),
            _ => Some(Int64),
        },
        (Null, other) | (other, Null) => key_type(other, other),
        _ => None,
    }
}

/// The unit of a column of moments: days are counted in seconds; none where it holds none.
pub(super) fn unit_of(data_type: &DataType) -> Option<TimeUnit> {
    match data_type {
        DataType::Timestamp(unit, _) => Some(*unit),
        DataType::Date32 => Some(TimeUnit::Second),
        DataType::Date64 => Some(TimeUnit::Millisecond),
        _ => None,
    }
}

/// The unit in which moments of both can be told.
pub(super) fn finer(left: TimeUnit, right: TimeUnit) -> TimeUnit {
    if nanos(left) <= nanos(right) { left } else { right }
}

/// The length of a unit in nanoseconds.
pub(super) const fn nanos(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Moments as numbers in a unit, since 1970 in UTC. A moment without a time zone is one in UTC, a date its first moment.
///
/// # Errors
/// When a moment is too far away to be told in the unit.
pub(super) fn moments(array: &ArrayRef, unit: TimeUnit) -> Result<PrimitiveArray<Int64Type>> {
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let array = strict(array, &DataType::Timestamp(unit, zone))?;
    let data = array.to_data();
    let data = data.into_builder().data_type(DataType::Int64).build()?;
    Ok(PrimitiveArray::from(data))
}

/// The same values in another type.
///
/// # Errors
/// When a value does not fit.
pub(super) fn strict(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(ArrayRef::clone(array));
    }
    Ok(cast_with_options(array, data_type, &CastOptions { safe: false, ..CastOptions::default() })?)
}

/// Whether no row of these arrays can be null.
pub(super) fn all_valid(arrays: &[ArrayRef]) -> bool {
    arrays.iter().all(|array| array.null_count() == 0 && *array.data_type() != DataType::Null)
}

/// Text of a key column.
pub(super) fn text(array: &ArrayRef) -> &arrow::array::StringArray {
    array.as_string::<i32>()
}
