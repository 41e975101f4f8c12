//! A batch of rows as they came, on its way into files.
//!
//! Where cleaning left columns alone, the rows that landed are in the table already, value for value and in the same order:
//! their pages are copied out of the table's files, and only the other columns are encoded. Rows that did not land follow
//! in files of their own, with all their columns.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use tenon_core::Timestamp;

use super::{CALLED, Names, OWN, ROW_NUMBER, Raw};
use crate::BatchSource;
use crate::delta::log::utc;
use crate::encode::{Encoded, Part, encode_parts};

/// A piece of a batch.
#[derive(Debug, Clone)]
pub(crate) struct RawPiece {
    /// The number of its first row in the batch.
    pub first: u64,
    pub raw: Raw,
    /// Set where a row did not land.
    pub gone: Option<BooleanBuffer>,
}

/// A batch's rows as the table with rows as they came takes them.
#[derive(Debug)]
pub(crate) struct RawRows {
    /// Rows that landed, where the table's files can lend columns.
    pub landed: Option<LandedRows>,
    /// All other rows; consecutive pieces of the same columns together.
    pub others: Vec<Vec<RecordBatch>>,
}

/// Rows that landed, in the order of the table's files.
#[derive(Debug)]
pub(crate) struct LandedRows {
    /// The columns that are not lent.
    pub rows: RecordBatch,
    /// All columns.
    schema: SchemaRef,
    /// For each of them, the column of the table's files that it is copied from.
    lent: Vec<Option<usize>>,
}

impl LandedRows {
    /// Encodes a range of the rows, which is that of a file of the table.
    pub(crate) fn encode(&self, range: Range<usize>, clean: &Encoded) -> Result<Encoded, ParquetError> {
        let rows = self.rows.slice(range.start, range.len());
        let mut own = rows.columns().iter();
        let part = |lent: &Option<usize>| match lent {
            Some(column) => Some(Part::Lent(clean, *column)),
            None => own.next().map(Part::Values),
        };
        let parts: Vec<Part<'_>> = self.lent.iter().filter_map(part).collect();
        encode_parts(&self.schema, &parts, range.len(), &[ROW_NUMBER.to_owned()])
    }
}

impl RawRows {
    /// All columns, each of which may be missing in some file.
    pub(crate) fn schema(&self) -> SchemaRef {
        let landed = self.landed.iter().map(|landed| Arc::clone(&landed.schema));
        let others = self.others.iter().filter_map(|group| group.first()).map(file_schema);
        let mut fields: Vec<Arc<Field>> = Vec::new();
        for schema in landed.chain(others) {
            for field in schema.fields() {
                if !fields.iter().any(|known| known.name() == field.name()) {
                    // What a source calls a column, and whether a value may lack, is its file's affair.
                    fields.push(Arc::new(Field::new(field.name(), field.data_type().clone(), true)));
                }
            }
        }
        Arc::new(Schema::new(fields))
    }
}

/// The pieces of a batch as the table `held` takes them; `landed` rows of it landed, of this schema.
///
/// # Errors
/// Arrow's, when a batch is larger than its types can say.
pub(crate) fn raw_rows(
    held: Option<&SchemaRef>,
    pieces: &[RawPiece],
    (landed, clean): (usize, &SchemaRef),
    source: &BatchSource,
    at: Timestamp,
) -> Result<RawRows, ArrowError> {
    let mut names = Names::of(held);
    let stamp = Stamp { source: source.name.clone(), digest: source.digest.to_string(), at };
    let lent = lent(&mut names, pieces, landed);
    let mut others: Vec<Vec<RecordBatch>> = Vec::new();
    let mut first_hand = Vec::new();
    for piece in pieces {
        let fields = placed(&mut names, piece.raw.rows.schema_ref());
        let rows = match &lent {
            None => stamp.rows(piece, &fields, None)?,
            Some(lent) => {
                let own: Vec<usize> = (0..fields.len()).filter(|column| lent[*column].is_none()).collect();
                first_hand.push(stamp.landed(piece, &fields, &own)?);
                match &piece.gone {
                    Some(gone) => stamp.rows(piece, &fields, Some(gone))?,
                    None => continue,
                }
            }
        };
        match others.last_mut().filter(|last| last.iter().all(|known| known.schema_ref() == rows.schema_ref())) {
            Some(last) => last.push(rows),
            None if rows.num_rows() > 0 => others.push(vec![rows]),
            None => {}
        }
    }
    let landed = match (lent, pieces.first(), first_hand.first()) {
        (Some(lent), Some(piece), Some(first)) => {
            let rows = concat_batches(first.schema_ref(), &first_hand)?;
            let placed = placed(&mut names, piece.raw.rows.schema_ref());
            // A column is copied with what its file says of it.
            let field = |(field, lent): (Field, &Option<usize>)| match lent {
                Some(column) => field.with_nullable(clean.field(*column).is_nullable()),
                None => field,
            };
            let fields = own_fields().into_iter().chain(placed.into_iter().zip(&lent).map(field));
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let lent = [None; OWN.len()].into_iter().chain(lent).collect();
            Some(LandedRows { rows, schema, lent })
        }
        _ => None,
    };
    Ok(RawRows { landed, others })
}

/// The types that a file has for rows whose texts are in memory once.
pub(crate) fn file_schema(rows: &RecordBatch) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, text) => Arc::new(field.as_ref().clone().with_data_type(text.as_ref().clone())),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(rows.schema_ref().fields().iter().map(field).collect::<Vec<_>>()))
}

/// For each column of the pieces, that of the table that can lend it; none where no column can.
fn lent(names: &mut Names, pieces: &[RawPiece], landed: usize) -> Option<Vec<Option<usize>>> {
    let first = &pieces.first()?.raw;
    let alike = pieces.iter().all(|piece| piece.raw.rows.schema_ref() == first.rows.schema_ref());
    let gone = |piece: &RawPiece| piece.gone.as_ref().map_or(0, BooleanBuffer::count_set_bits);
    let there: usize = pieces.iter().map(|piece| piece.raw.num_rows() - gone(piece)).sum();
    if !alike || landed == 0 || there != landed {
        return None;
    }
    let placed = placed(names, first.rows.schema_ref());
    let lends = |(at, (field, known)): (usize, (&Field, &Arc<Field>))| {
        // Pages carry their column's name.
        let same = first.same[at].filter(|_| field.name() == known.name())?;
        pieces.iter().all(|piece| piece.raw.same[at] == Some(same)).then_some(same)
    };
    let lent: Vec<Option<usize>> = placed.iter().zip(first.rows.schema_ref().fields()).enumerate().map(lends).collect();
    lent.iter().any(Option::is_some).then_some(lent)
}

/// The columns of a source as they stand in the table.
fn placed(names: &mut Names, source: &SchemaRef) -> Vec<Field> {
    let mut used = BTreeSet::new();
    let place = |field: &Arc<Field>| {
        let name = names.place(field.name(), field.data_type(), &mut used);
        let placed = Field::new(&name, field.data_type().clone(), true);
        match name == *field.name() {
            true => placed,
            false => placed.with_metadata([(CALLED.to_owned(), field.name().clone())].into()),
        }
    };
    source.fields().iter().map(place).collect()
}

fn own_fields() -> Vec<Field> {
    let types = [DataType::Int64, DataType::Utf8, DataType::Utf8, utc()];
    OWN.into_iter().zip(types).map(|(name, kind)| Field::new(name, kind, true)).collect()
}

/// What is added to each row of a batch.
struct Stamp {
    source: String,
    digest: String,
    at: Timestamp,
}

impl Stamp {
    /// All columns of a piece's rows, of those that are `chosen`.
    fn rows(
        &self,
        piece: &RawPiece,
        fields: &[Field],
        chosen: Option<&BooleanBuffer>,
    ) -> Result<RecordBatch, ArrowError> {
        let numbers = numbers(piece);
        let (numbers, rows) = match chosen {
            None => (numbers, piece.raw.rows.clone()),
            Some(chosen) => {
                let chosen = BooleanArray::new(chosen.clone(), None);
                (filter(&numbers, &chosen)?, filter_record_batch(&piece.raw.rows, &chosen)?)
            }
        };
        self.stamped(numbers, fields.to_vec(), rows.columns().to_vec())
    }

    /// The columns `own` of a piece's rows that landed.
    fn landed(&self, piece: &RawPiece, fields: &[Field], own: &[usize]) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = own.iter().map(|column| Arc::clone(piece.raw.rows.column(*column))).collect();
        let mut numbers = numbers(piece);
        if let Some(gone) = &piece.gone {
            let landed = BooleanArray::new(!gone, None);
            numbers = filter(&numbers, &landed)?;
            columns = columns.iter().map(|column| filter(column, &landed)).collect::<Result<_, _>>()?;
        }
        self.stamped(numbers, own.iter().map(|column| fields[*column].clone()).collect(), columns)
    }

    fn stamped(
        &self,
        numbers: ArrayRef,
        fields: Vec<Field>,
        columns: Vec<ArrayRef>,
    ) -> Result<RecordBatch, ArrowError> {
        let count = numbers.len();
        let repeated = |text: &str| -> Result<ArrayRef, ArrowError> {
            let keys = Int32Array::from_value(0, count);
            Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from(vec![text])))?))
        };
        let at = TimestampMicrosecondArray::from_value(self.at.as_micros(), count).with_timezone("UTC");
        let own: [ArrayRef; OWN.len()] = [numbers, repeated(&self.source)?, repeated(&self.digest)?, Arc::new(at)];
        let own_fields = own_fields().into_iter().zip(&own);
        let own_fields = own_fields.map(|(field, column)| field.with_data_type(column.data_type().clone()));
        let schema = Schema::new(own_fields.chain(fields).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), own.into_iter().chain(columns).collect())
    }
}

/// The numbers of a piece's rows in the batch.
fn numbers(piece: &RawPiece) -> ArrayRef {
    let first = piece.first as i64;
    Arc::new(Int64Array::from_iter_values(first..first + piece.raw.num_rows() as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::compute::sort_to_indices;
    use arrow::compute::take_record_batch;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;
    use tenon_core::Digest;

    use super::super::as_they_came;
    use super::*;
    use crate::encode::{encode, file_ranges};

    type Row = (Option<i64>, Option<String>, i64, bool);

    /// A number that cleaning leaves alone, a text that it may trim, and one that only the source has.
    fn source(rows: &[Row]) -> RecordBatch {
        let number: Int64Array = rows.iter().map(|row| row.0).collect();
        let text: StringArray = rows.iter().map(|row| row.1.clone()).collect();
        let more: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
        let columns: Vec<(&str, ArrayRef, bool)> =
            vec![("number", Arc::new(number), true), ("text", Arc::new(text), true), ("more", Arc::new(more), true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn clean(rows: &RecordBatch) -> RecordBatch {
        use arrow::array::AsArray;
        let text: StringArray =
            rows.column(1).as_string::<i32>().iter().map(|text| text.map(|text| text.trim().to_owned())).collect();
        let columns: Vec<(&str, ArrayRef, bool)> =
            vec![("text", Arc::new(text), true), ("number", Arc::clone(rows.column(0)), true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn read(file: &Encoded) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap().build().unwrap();
        reader.map(Result::unwrap).collect()
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_came_whatever_is_copied(
            pieces in prop::collection::vec(
                prop::collection::vec(
                    (prop::option::of(0..5_i64), prop::option::of(prop_oneof!["[ab]", "[ab] "]), 0..9_i64, any::<bool>()),
                    1..40,
                ),
                1..3,
            ),
            is_trimmed in any::<bool>(),
        ) {
            let (mut raw, mut landed, mut came, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0);
            for rows in &pieces {
                let rows: Vec<Row> = rows
                    .iter()
                    .map(|row| (row.0, row.1.as_ref().map(|text| if is_trimmed { text.clone() } else { text.trim().to_owned() }), row.2, row.3))
                    .collect();
                let source = source(&rows);
                let clean = clean(&source);
                let gone: BooleanBuffer = rows.iter().map(|row| row.3).collect();
                let there = BooleanArray::new(!&gone, None);
                landed.push(filter_record_batch(&clean, &there).unwrap());
                let gone = Some(gone).filter(|gone| gone.count_set_bits() > 0);
                raw.push(RawPiece { first, raw: Raw::of(&source, &clean).unwrap(), gone });
                first += rows.len() as u64;
                came.push(source);
            }
            let schema = landed[0].schema();
            let count: usize = landed.iter().map(RecordBatch::num_rows).sum();
            let from = BatchSource::new("s", Digest::of("s"));
            let split = raw_rows(None, &raw, (count, &schema), &from, Timestamp::from_micros(7)).unwrap();
            let files = encode(&schema, &landed, &[]).unwrap();
            let mut rows: Vec<RecordBatch> = Vec::new();
            prop_assert_eq!(split.landed.is_some(), count > 0);
            if let Some(landed) = &split.landed {
                for (range, clean) in file_ranges(count).zip(&files) {
                    rows.extend(read(&landed.encode(range, clean).unwrap()));
                }
            }
            for group in &split.others {
                for file in encode(&file_schema(&group[0]), group, &[ROW_NUMBER.to_owned()]).unwrap() {
                    rows.extend(read(&file));
                }
            }
            let all = concat_batches(&split.schema(), &rows).unwrap();
            let order = sort_to_indices(all.column(0), None, None).unwrap();
            let back = as_they_came(&take_record_batch(&all, &order).unwrap()).unwrap();
            prop_assert_eq!(back, concat_batches(&came[0].schema(), &came).unwrap());
        }
    }
}
