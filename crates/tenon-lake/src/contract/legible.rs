//! Values as people read them, also those for which there is no text: a moment that no calendar shows is its number.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// How values are shown.
pub(crate) const SHOWN: FormatOptions<'static> = FormatOptions::new().with_null("null");

/// The value in a row as text; one that the calendar does not have, as its number.
///
/// # Errors
/// Arrow's, for a value that is no number either.
pub(crate) fn text(values: &ArrayRef, shown: &ArrayFormatter<'_>, row: usize) -> Result<String, ArrowError> {
    let value = shown.value(row).try_to_string();
    value.or_else(|error| match values.data_type().is_temporal() {
        true => Ok(cast(&values.slice(row, 1), &DataType::Int64)?.as_primitive::<Int64Type>().value(0).to_string()),
        false => Err(error),
    })
}

/// The same values, as texts where one of them is a moment that has no text of its own, or a number for which JSON has no
/// word: NaN and the infinities. What values hold within them is looked at as well.
///
/// # Errors
/// Arrow's, for values that cannot be shown.
pub(crate) fn legible(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let odd = match values.data_type() {
        DataType::Float64 => values.as_primitive::<Float64Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float32 => values.as_primitive::<Float32Type>().iter().flatten().any(|value| !value.is_finite()),
        kind if kind.is_temporal() => {
            let shown = ArrayFormatter::try_new(values.as_ref(), &SHOWN)?;
            (0..values.len()).any(|row| values.is_valid(row) && shown.value(row).try_to_string().is_err())
        }
        _ => return within(values),
    };
    if odd { texts(values) } else { Ok(Arc::clone(values)) }
}

/// Each value as text.
///
/// # Errors
/// As [`text`].
pub(crate) fn texts(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let shown = ArrayFormatter::try_new(values.as_ref(), &SHOWN)?;
    let text = |row| values.is_valid(row).then(|| text(values, &shown, row)).transpose();
    Ok(Arc::new((0..values.len()).map(text).collect::<Result<StringArray, _>>()?))
}

/// The same values with legible ones within them.
fn within(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let data = values.to_data();
    let parts = data.child_data().iter().map(|part| legible(&make_array(part.clone())));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let same = parts.iter().zip(data.child_data()).all(|(part, before)| part.data_type() == before.data_type());
    let of = |field: &Arc<Field>, at: usize| {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(parts.get(at).map_or(DataType::Null, |part| part.data_type().clone())),
        )
    };
    let kind = match values.data_type() {
        _ if same => return Ok(Arc::clone(values)),
        DataType::List(field) => DataType::List(of(field, 0)),
        DataType::LargeList(field) => DataType::LargeList(of(field, 0)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(of(field, 0), *length),
        DataType::Map(field, sorted) => DataType::Map(of(field, 0), *sorted),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().enumerate().map(|(at, field)| of(field, at)).collect())
        }
        DataType::Dictionary(keys, _) => DataType::Dictionary(keys.clone(), Box::new(parts[0].data_type().clone())),
        _ => return Ok(Arc::clone(values)),
    };
    let parts = parts.iter().map(|part| part.to_data()).collect();
    Ok(make_array(data.into_builder().data_type(kind).child_data(parts).build()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{
        Date32Array, DictionaryArray, DurationSecondArray, Float64Array, Int8Array, Int32Array, ListArray, StructArray,
        Time64NanosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    };
    use arrow::buffer::OffsetBuffer;

    use super::*;

    fn read(values: ArrayRef) -> Vec<String> {
        let legible = legible(&values).unwrap();
        let shown = ArrayFormatter::try_new(legible.as_ref(), &SHOWN).unwrap();
        (0..legible.len()).map(|row| shown.value(row).try_to_string().unwrap()).collect()
    }

    #[test]
    fn what_no_calendar_shows_is_its_number() {
        let far = 1_i64 << 62;
        let moments = TimestampMillisecondArray::from(vec![Some(0), Some(far), None]);
        assert_eq!(read(Arc::new(moments.clone())), ["1970-01-01T00:00:00", "4611686018427387904", "null"]);
        assert_eq!(
            read(Arc::new(moments.with_timezone("UTC"))),
            ["1970-01-01T00:00:00Z", "4611686018427387904", "null"]
        );
        assert_eq!(read(Arc::new(TimestampNanosecondArray::from(vec![1]))), ["1970-01-01T00:00:00.000000001"]);
        assert_eq!(read(Arc::new(Date32Array::from(vec![0, i32::MAX]))), ["1970-01-01", "2147483647"]);
        assert_eq!(read(Arc::new(Time64NanosecondArray::from(vec![-1]))), ["-1"]);
        assert_eq!(read(Arc::new(DurationSecondArray::from(vec![i64::MAX]))).len(), 1);
        assert_eq!(read(Arc::new(Float64Array::from(vec![f64::NAN, 0.5]))), ["NaN", "0.5"]);
    }

    #[test]
    fn also_within_other_values() {
        let far: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![0, 1 << 62]));
        let field = Arc::new(Field::new("at", far.data_type().clone(), true));
        let list = ListArray::new(Arc::clone(&field), OffsetBuffer::from_lengths([2, 0]), Arc::clone(&far), None);
        assert_eq!(read(Arc::new(list)), ["[1970-01-01T00:00:00, 4611686018427387904]", "[]"]);
        let pair = StructArray::from(vec![
            (Arc::new(Field::new("n", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
            (field, Arc::clone(&far)),
        ]);
        assert_eq!(read(Arc::new(pair))[1], "{n: 2, at: 4611686018427387904}");
        let named = DictionaryArray::new(Int8Array::from(vec![1, 0]), far);
        assert_eq!(read(Arc::new(named)), ["4611686018427387904", "1970-01-01T00:00:00"]);
    }
}
