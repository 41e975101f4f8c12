//! Entities by their keys.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{HashMap, Result};

use super::kinds::{all_valid, strict, text};

/// How many whole numbers from the least to the greatest there may be for each that is a key, so that they lie close together.
const CLOSE: usize = 4;

/// Stands where there is no entity: a part of the key is null, or nobody has it.
pub(super) const NOBODY: u32 = u32::MAX;

/// Numbers entities in the order in which they come.
pub(super) enum Keys {
    /// There is one entity, which has no name.
    Unnamed,
    /// One column of whole numbers, booleans, dates or time stamps.
    Numbers(HashMap<i64, u32>, Close),
    /// One column of text.
    Texts(HashMap<Box<[u8]>, u32>),
    /// Several columns, or one that is compared as bytes.
    Rows(RowConverter, HashMap<Box<[u8]>, u32>),
}

/// The numbers of whole numbers that lie close together, from the least on; empty where they do not.
#[derive(Default)]
pub(super) struct Close {
    least: i64,
    numbers: Vec<u32>,
}

impl Close {
    fn new(known: &HashMap<i64, u32>) -> Self {
        let (Some(least), Some(greatest)) = (known.keys().min(), known.keys().max()) else { return Self::default() };
        let (least, span) = (*least, greatest.wrapping_sub(*least) as u64);
        if span >= (known.len() * CLOSE) as u64 {
            return Self::default();
        }
        let mut numbers = vec![NOBODY; span as usize + 1];
        for (key, number) in known {
            numbers[key.wrapping_sub(least) as usize] = *number;
        }
        Self { least, numbers }
    }

    fn find(&self, key: i64) -> u32 {
        let place = key.wrapping_sub(self.least) as usize;
        self.numbers.get(place).copied().unwrap_or(NOBODY)
    }
}

impl Keys {
    pub fn new(types: &[DataType]) -> Result<Self> {
        Ok(match types {
            [] => Self::Unnamed,
            [DataType::Utf8] => Self::Texts(HashMap::default()),
            [DataType::Decimal128(..)] | [_, _, ..] => {
                let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
                Self::Rows(RowConverter::new(fields)?, HashMap::default())
            }
            [_] => Self::Numbers(HashMap::default(), Close::default()),
        })
    }

    /// How many entities there are, as long as they come.
    pub fn len(&self) -> usize {
        match self {
            Self::Unnamed => 1,
            Self::Numbers(known, _) => known.len(),
            Self::Texts(known) | Self::Rows(_, known) => known.len(),
        }
    }

    /// About how many bytes an entity takes.
    pub fn bytes_an_entity(types: &[DataType]) -> usize {
        match types {
            [] => 0,
            [DataType::Utf8 | DataType::Decimal128(..)] | [_, _, ..] => 80,
            [_] => 24,
        }
    }

    /// Says that all have come, and now they will be looked for.
    pub fn close(&mut self) {
        if let Self::Numbers(known, close) = self {
            *close = Close::new(known);
            if !close.numbers.is_empty() {
                *known = HashMap::default();
            }
        }
    }

    /// The numbers of rows' entities, after what `into` holds; new ones get new numbers.
    pub fn number(&mut self, columns: &[ArrayRef], rows: usize, into: &mut Vec<u32>) -> Result<()> {
        match self {
            Self::Unnamed => into.extend(std::iter::repeat_n(0, rows)),
            Self::Numbers(known, _) => {
                let next = |known: &mut HashMap<i64, u32>, key| {
                    let next = known.len() as u32;
                    *known.entry(key).or_insert(next)
                };
                each_number(&columns[0], into, |key| next(known, key))?;
            }
            Self::Texts(known) => {
                let keys = text(&columns[0]);
                for row in 0..rows {
                    into.push(if keys.is_null(row) { NOBODY } else { number_bytes(known, keys.value(row).as_bytes()) });
                }
            }
            Self::Rows(converter, known) => {
                let keys = converter.convert_columns(columns)?;
                let valid = valid(columns);
                for row in 0..rows {
                    let there = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
                    into.push(if there { number_bytes(known, keys.row(row).as_ref()) } else { NOBODY });
                }
            }
        }
        Ok(())
    }

    /// The numbers of rows' entities.
    pub fn find(&self, columns: &[ArrayRef], rows: usize, into: &mut Vec<u32>) -> Result<()> {
        into.clear();
        match self {
            Self::Unnamed => into.extend(std::iter::repeat_n(0, rows)),
            Self::Numbers(known, close) if close.numbers.is_empty() => {
                each_number(&columns[0], into, |key| known.get(&key).copied().unwrap_or(NOBODY))?;
            }
            Self::Numbers(_, close) => each_number(&columns[0], into, |key| close.find(key))?,
            Self::Texts(known) => {
                let keys = text(&columns[0]);
                let find = |key: &str| known.get(key.as_bytes()).copied().unwrap_or(NOBODY);
                match all_valid(columns) {
                    true => into.extend((0..rows).map(|row| find(keys.value(row)))),
                    false => into.extend(keys.iter().map(|key| key.map_or(NOBODY, find))),
                }
            }
            Self::Rows(converter, known) => {
                let keys = converter.convert_columns(columns)?;
                let valid = valid(columns);
                into.extend((0..rows).map(|row| {
                    let there = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
                    there.then(|| known.get(keys.row(row).as_ref()).copied()).flatten().unwrap_or(NOBODY)
                }));
            }
        }
        Ok(())
    }
}

fn number_bytes(known: &mut HashMap<Box<[u8]>, u32>, key: &[u8]) -> u32 {
    if let Some(number) = known.get(key) {
        return *number;
    }
    let number = known.len() as u32;
    known.insert(key.into(), number);
    number
}

fn valid(columns: &[ArrayRef]) -> Option<NullBuffer> {
    columns.iter().fold(None, |valid, column| NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref()))
}

/// Calls `number` with each key as a number of 64 bits. Rows of one entity often stand together.
fn each_number(column: &ArrayRef, into: &mut Vec<u32>, mut number: impl FnMut(i64) -> u32) -> Result<()> {
    let keys = as_numbers(column)?;
    let mut last: Option<(i64, u32)> = None;
    let mut numbered = |key: i64| match last {
        Some((known, found)) if known == key => found,
        _ => {
            let found = number(key);
            last = Some((key, found));
            found
        }
    };
    match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => into.extend(keys.values().iter().map(|key| numbered(*key))),
        Some(_) => into.extend(keys.iter().map(|key| key.map_or(NOBODY, &mut numbered))),
    }
    Ok(())
}

fn as_numbers(column: &ArrayRef) -> Result<Int64Array> {
    if *column.data_type() == DataType::UInt64 {
        // The same bits: all that counts is that equal keys are equal.
        return Ok(column.to_data().into_builder().data_type(DataType::Int64).build()?.into());
    }
    Ok(strict(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}
