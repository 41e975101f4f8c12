//! Columns of vectors: lists of so many finite numbers of 32 bits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float32Builder, ListArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type};
use arrow::error::ArrowError;
use tenon_core::spec::Dimensions;

/// The Arrow type in which vectors are held. Delta's arrays have no length of their own, so that the contract alone says it.
pub(super) fn held() -> DataType {
    DataType::List(element())
}

fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}

/// Values as vectors: none in the place of one of another length, with a gap, or with a number that is not finite. None at all
/// where the source's type holds no lists of numbers.
pub(super) fn convert(source: &ArrayRef, dimensions: Dimensions) -> Result<Option<ArrayRef>, ArrowError> {
    let list = DataType::List(Arc::new(Field::new("element", DataType::Float32, true)));
    match source.data_type() {
        DataType::Null => return Ok(Some(new_null_array(&held(), source.len()))),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => return from_texts(source, dimensions).map(Some),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
            if item.data_type().is_numeric() => {}
        _ => return Ok(None),
    }
    if !can_cast_types(source.data_type(), &list) {
        return Ok(None);
    }
    let lists = cast_with_options(source, &list, &CastOptions { safe: true, ..CastOptions::default() })?;
    let lists = lists.as_list::<i32>();
    let numbers = lists.values().as_primitive::<Float32Type>();
    let vector = |row: usize| {
        let (start, end) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
        let vector = &numbers.values()[start..end];
        let whole = numbers.null_count() == 0 || numbers.slice(start, end - start).null_count() == 0;
        (lists.is_valid(row) && whole).then_some(vector).filter(|vector| is_one(vector, dimensions))
    };
    // Mostly all of them are as they must be, and stay where they are.
    let dense = lists.null_count() == 0 && numbers.null_count() == 0;
    if dense && (0..lists.len()).all(|row| vector(row).is_some()) {
        return of(lists.offsets().clone(), numbers.clone(), None).map(Some);
    }
    let mut kept = Float32Builder::with_capacity(numbers.len());
    let vectors = (0..lists.len()).map(|row| vector(row).map(|vector| kept.append_slice(vector)).is_some());
    let present: NullBuffer = vectors.collect::<Vec<bool>>().into();
    of(offsets(&present, dimensions), kept.finish(), Some(present)).map(Some)
}

/// Vectors from texts that are lists of numbers in JSON, as they come in NDJSON and in CSV.
fn from_texts(source: &ArrayRef, dimensions: Dimensions) -> Result<ArrayRef, ArrowError> {
    let texts = cast_with_options(source, &DataType::Utf8, &CastOptions::default())?;
    let mut kept = Float32Builder::with_capacity(source.len() * dimensions.get());
    let vectors = texts.as_string::<i32>().iter().map(|text| {
        // By way of 64 bits, as a number in a column of float32 comes.
        let numbers: Vec<f64> = serde_json::from_str(text?).ok()?;
        let vector: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
        is_one(&vector, dimensions).then(|| kept.append_slice(&vector))
    });
    let present: NullBuffer = vectors.map(|vector| vector.is_some()).collect::<Vec<bool>>().into();
    of(offsets(&present, dimensions), kept.finish(), Some(present))
}

fn is_one(vector: &[f32], dimensions: Dimensions) -> bool {
    vector.len() == dimensions.get() && vector.iter().all(|number| number.is_finite())
}

fn offsets(present: &NullBuffer, dimensions: Dimensions) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths(present.iter().map(|present| if present { dimensions.get() } else { 0 }))
}

fn of(offsets: OffsetBuffer<i32>, numbers: Float32Array, present: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let present = present.filter(|present| present.null_count() > 0);
    let (_, numbers, _) = numbers.into_parts();
    let numbers: ArrayRef = Arc::new(Float32Array::new(numbers, None));
    Ok(Arc::new(ListArray::try_new(element(), offsets, numbers, present)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{FixedSizeListArray, Int64Array, StringArray};
    use arrow::datatypes::{Float64Type, Int64Type};

    use super::*;

    fn three() -> Dimensions {
        Dimensions::new(3).unwrap()
    }

    fn read(vectors: &ArrayRef) -> Vec<Option<Vec<f32>>> {
        let row = |row: Option<ArrayRef>| row.map(|row| row.as_primitive::<Float32Type>().values().to_vec());
        vectors.as_list::<i32>().iter().map(row).collect()
    }

    #[test]
    fn lists_of_any_numbers_become_vectors_and_others_none() {
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(0.1), Some(-2.0), Some(3.0)]),
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(1.0), None, Some(2.0)]),
            Some(vec![Some(1.0), Some(f64::NAN), Some(2.0)]),
            Some(vec![Some(1.0), Some(1e300), Some(2.0)]),
            None,
            Some(vec![Some(4.0), Some(5.0), Some(6.0)]),
        ]);
        let all: ArrayRef = Arc::new(lists);
        let vectors = convert(&all, three()).unwrap().unwrap();
        assert_eq!(*vectors.data_type(), held());
        let expected = [Some(vec![0.1, -2.0, 3.0]), None, None, None, None, None, Some(vec![4.0, 5.0, 6.0])];
        assert_eq!(read(&vectors), expected);
        // A slice is read from where it begins.
        assert_eq!(read(&convert(&all.slice(5, 2), three()).unwrap().unwrap()), expected[5..]);
        assert_eq!(read(&convert(&all.slice(6, 1), three()).unwrap().unwrap()), expected[6..]);
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let fixed = FixedSizeListArray::new(item, 3, Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5, 6])), None);
        let fixed: ArrayRef = Arc::new(fixed);
        assert_eq!(
            read(&convert(&fixed, three()).unwrap().unwrap()),
            [Some(vec![1.0, 2.0, 3.0]), Some(vec![4.0, 5.0, 6.0])]
        );
    }

    #[test]
    fn texts_are_lists_in_json() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some("[0.1, 2, -3e0]"),
            Some("[1,2]"),
            Some("0.1,2,3"),
            Some("[1,2,\"3\"]"),
            Some("[1,2,1e39]"),
            None,
        ]));
        let vectors = convert(&texts, three()).unwrap().unwrap();
        assert_eq!(read(&vectors), [Some(vec![0.1, 2.0, -3.0]), None, None, None, None, None]);
    }

    #[test]
    fn what_holds_no_lists_of_numbers_cannot_be_read() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(convert(&numbers, three()).unwrap().is_none());
        let nested = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)])]);
        let field = Arc::new(Field::new("item", nested.data_type().clone(), true));
        let nested: ArrayRef = Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([1]), Arc::new(nested), None));
        assert!(convert(&nested, three()).unwrap().is_none());
    }
}
