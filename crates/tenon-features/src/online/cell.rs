//! One value that is served, with why it is there and how old it is; rows and columns of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use tenon_core::Timestamp;
use tenon_query::point_in_time::Evaluated;

use super::OnlineColumn;
use crate::derived::{Input, vectors};
use crate::plan::Computed;
use crate::{FeatureError, FeatureStatus, OnlineRow};

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    pub value: Option<f32>,
    pub status: FeatureStatus,
    pub event_at: Option<Timestamp>,
    pub known_at: Option<Timestamp>,
}

impl Cell {
    /// Nothing is known.
    pub(super) const NOTHING: Self =
        Self { value: None, status: FeatureStatus::NotFound, event_at: None, known_at: None };

    /// The store does not answer.
    pub(super) const UNAVAILABLE: Self = Self { status: FeatureStatus::Unavailable, ..Self::NOTHING };

    pub(super) fn of(feature: &Evaluated) -> Self {
        Self {
            value: feature.value.ok(),
            status: FeatureStatus::of(feature),
            event_at: feature.event_at.map(Timestamp::from_micros),
            known_at: feature.known_at.map(Timestamp::from_micros),
        }
    }

    /// What came of `read`: as old as the newest of them, known when all of them were, and, where there is no value, for the
    /// reason of the first that has none.
    fn derived(value: Option<f32>, read: impl Iterator<Item = Self> + Clone) -> Self {
        // Whatever an expression makes of a missing value, it is not what it would be.
        if read.clone().any(|cell| cell.status == FeatureStatus::Unavailable) {
            return Self::UNAVAILABLE;
        }
        let status = match value {
            Some(_) if read.clone().any(|cell| cell.status == FeatureStatus::IncompleteWindow) => {
                FeatureStatus::IncompleteWindow
            }
            Some(_) => FeatureStatus::Present,
            None => read.clone().find(|cell| cell.value.is_none()).map_or(FeatureStatus::NullValue, |cell| cell.status),
        };
        let event_at = read.clone().filter_map(|cell| cell.event_at).max();
        Self { value, status, event_at, known_at: read.filter_map(|cell| cell.known_at).max() }
    }
}

impl Computed {
    /// The derived feature in `rows` rows: `cell` gives what stands at a place, `sent` what the caller sends as a column of a
    /// type, `moment` the moment of decision in microseconds. Where that is null, so is the feature.
    pub(super) fn compute(
        &self,
        rows: usize,
        cell: impl Fn(usize, usize) -> Cell,
        sent: impl Fn(&str, &DataType) -> Result<ArrayRef, FeatureError>,
        moment: impl Fn(usize) -> Option<i64>,
    ) -> Result<Vec<Cell>, FeatureError> {
        let feature = &self.view.features[self.feature];
        let mut places = self.reads.iter();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(feature.inputs.len());
        for input in &feature.inputs {
            columns.push(match input {
                Input::Feature(_) => {
                    let place = places.next().copied().unwrap_or_default();
                    Arc::new((0..rows).map(|row| cell(place, row).value).collect::<Float32Array>())
                }
                Input::Vector(_, dimensions) => {
                    let places: Vec<usize> = places.by_ref().take(dimensions.get()).copied().collect();
                    Arc::new(vectors(rows, *dimensions, |at, row| cell(places[at], row).value))
                }
                Input::Request(name, kind) => sent(name, kind)?,
                Input::Moment => {
                    let moments: TimestampMicrosecondArray = (0..rows).map(&moment).collect();
                    Arc::new(moments.with_timezone("UTC"))
                }
            });
        }
        let values = feature.evaluate(&self.view, rows, columns)?;
        let of = |(row, value): (usize, Option<f32>)| match moment(row) {
            Some(_) => Cell::derived(value, self.reads.iter().map(|place| cell(*place, row))),
            None => Cell::NOTHING,
        };
        Ok(values.iter().enumerate().map(of).collect())
    }
}

impl OnlineRow {
    /// A row of nothing.
    pub(super) fn of(places: usize) -> Self {
        Self {
            values: vec![None; places],
            known_at: vec![None; places],
            event_at: vec![None; places],
            statuses: vec![FeatureStatus::NotFound; places],
        }
    }

    pub(super) fn set(&mut self, place: usize, cell: Cell) {
        self.values[place] = cell.value;
        self.known_at[place] = cell.known_at;
        self.event_at[place] = cell.event_at;
        self.statuses[place] = cell.status;
    }

    pub(super) fn get(&self, place: usize) -> Cell {
        Cell {
            value: self.values[place],
            status: self.statuses[place],
            event_at: self.event_at[place],
            known_at: self.known_at[place],
        }
    }

    pub(super) fn truncate(&mut self, places: usize) {
        self.values.truncate(places);
        self.known_at.truncate(places);
        self.event_at.truncate(places);
        self.statuses.truncate(places);
    }
}

impl OnlineColumn {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            values: Vec::with_capacity(rows),
            statuses: Vec::with_capacity(rows),
            event_at: Vec::with_capacity(rows),
            known_at: Vec::with_capacity(rows),
        }
    }

    pub(super) fn push(&mut self, cell: Cell) {
        self.values.push(cell.value);
        self.statuses.push(cell.status);
        self.event_at.push(cell.event_at);
        self.known_at.push(cell.known_at);
    }

    pub(super) fn get(&self, row: usize) -> Cell {
        Cell {
            value: self.values[row],
            status: self.statuses[row],
            event_at: self.event_at[row],
            known_at: self.known_at[row],
        }
    }
}
