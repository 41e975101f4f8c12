//! Some places, and the best row that each has seen.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::cells::{Arriving, Column, Held, Winner, column};

/// The event of a place that has seen no row.
pub(super) const NO_EVENT: i64 = i64::MIN;

/// Places beside each other. Each holds the best of the rows that may be seen from it on, and from none before.
pub(super) struct Shard {
    /// Its first place.
    first: usize,
    events: Vec<i64>,
    /// When the best rows were known; empty where the table does not say.
    known: Vec<i64>,
    columns: Vec<Box<dyn Column>>,
    winners: Vec<Winner>,
}

/// Rows of a feature table that arrive.
pub(super) struct Rows<'a> {
    pub events: &'a [i64],
    pub known: Option<&'a [i64]>,
    pub columns: &'a [Arriving],
}

impl Shard {
    pub fn new(places: Range<usize>, has_known: bool, columns: &[DataType]) -> Self {
        let count = places.len();
        Self {
            first: places.start,
            events: vec![NO_EVENT; count],
            known: if has_known { vec![NO_EVENT; count] } else { Vec::new() },
            columns: columns.iter().map(|data_type| column(data_type, count)).collect(),
            winners: Vec::new(),
        }
    }

    /// Takes in rows, each at a place. Returns by how many bytes what is held grew or shrank.
    pub fn take_in(&mut self, at: &[(u32, u32)], rows: &Rows<'_>) -> Result<isize> {
        let mut grown = 0;
        for (row, place) in at {
            let (new, place) = (*row as usize, *place as usize - self.first);
            let event = rows.events[new];
            if event < self.events[place] {
                continue;
            }
            let order = event.cmp(&self.events[place]).then_with(|| match rows.known {
                Some(known) => known[new].cmp(&self.known[place]),
                None => Ordering::Equal,
            });
            let wins = match order {
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal => {
                    // The row that holds the place may be one of those that wait.
                    grown += self.keep(rows)?;
                    self.loses(place, rows, new)?
                }
            };
            if wins {
                self.events[place] = event;
                if let Some(known) = rows.known {
                    self.known[place] = known[new];
                }
                self.winners.push(Winner { row: *row, place: place as u32 });
            }
        }
        Ok(grown + self.keep(rows)?)
    }

    /// Whether what a place holds is less than a row.
    fn loses(&self, place: usize, rows: &Rows<'_>, new: usize) -> Result<bool> {
        for (column, arriving) in self.columns.iter().zip(rows.columns) {
            let order = column.order(place, arriving, new)?;
            if order.is_ne() {
                return Ok(order.is_lt());
            }
        }
        Ok(false)
    }

    fn keep(&mut self, rows: &Rows<'_>) -> Result<isize> {
        let mut grown = 0;
        if !self.winners.is_empty() {
            for (column, arriving) in self.columns.iter_mut().zip(rows.columns) {
                grown += column.keep(arriving, &self.winners)?;
            }
            self.winners.clear();
        }
        Ok(grown)
    }

    /// The event and the knowledge of the best row at each of its places, [`NO_EVENT`] where there is none.
    pub fn ranks(&self) -> impl Iterator<Item = (i64, i64)> {
        self.events.iter().enumerate().map(|(at, event)| (*event, self.known.get(at).copied().unwrap_or(0)))
    }

    /// What its places hold, column by column.
    pub fn finish(self) -> Result<Vec<Held>> {
        self.columns.into_iter().map(Column::finish).collect()
    }
}
