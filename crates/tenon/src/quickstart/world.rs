//! The world of the example: a year of flights from New York, told as the events that a company would hear of.
//!
//! The record says local times of day; the company hears moments in UTC. What it hears, and when:
//! a flight's plan a day before it leaves; its departure when it leaves; its record when it has landed, or three hours after
//! its time when it was cancelled, or twelve hours after it left when it never reached its destination; the weather of each
//! hour.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tenon_core::Timestamp;

use crate::failure::{Failure, While};

const FILES: [(&str, &[u8]); 4] = [
    ("record", include_bytes!("../../../../examples/flights/flights.parquet")),
    ("weather", include_bytes!("../../../../examples/flights/weather.parquet")),
    ("planes", include_bytes!("../../../../examples/flights/planes.parquet")),
    ("airports", include_bytes!("../../../../examples/flights/airports.parquet")),
];

/// Flights with their moments. The record lacks the moment of landing: it has local times of day at both ends. Their
/// difference less the difference of the time zones is the time from gate to gate; where the zones' difference is off by an
/// hour (summer time, and four airports that the list does not know) the result would be shorter than the time in the air,
/// which tells.
const FLIGHTS: &str = include_str!("../../../../examples/flights/moments.sql");

const FEEDS: [(&str, &str, &str); 5] = [
    ("planes", "", "SELECT tailnum, year, manufacturer, model, engines, seats FROM planes ORDER BY tailnum"),
    (
        "weather",
        "time_hour",
        "SELECT origin, time_hour, temp, humid, wind_speed, precip, pressure, visib FROM weather ORDER BY time_hour, origin",
    ),
    (
        "schedule",
        "published_at",
        "SELECT flight_id, carrier, flight, tailnum, origin, dest, distance, sched_dep_hour, sched_dep_at, published_at
         FROM flights ORDER BY published_at, flight_id",
    ),
    (
        "departures",
        "departed_at",
        "SELECT flight_id, carrier, tailnum, origin, departed_at, dep_delay
         FROM flights WHERE departed_at IS NOT NULL ORDER BY departed_at, flight_id",
    ),
    (
        "flights",
        "closed_at",
        "SELECT flight_id, carrier, tailnum, plane, origin, dest, departed_at, landed_at, dep_delay, arr_delay, air_time,
           COALESCE(landed_at, departed_at + INTERVAL '12 hours', sched_dep_at + INTERVAL '3 hours') AS closed_at
         FROM flights ORDER BY closed_at, flight_id",
    ),
];

/// The events of a year, by dataset, in the order in which they become known.
pub struct World {
    feeds: BTreeMap<&'static str, Feed>,
}

/// The events of one dataset.
pub struct Feed {
    rows: RecordBatch,
    /// When each row becomes known, in microseconds, rising; empty for what is known from the start.
    moments: Vec<i64>,
}

impl World {
    /// Tells the year.
    ///
    /// # Errors
    /// When the example data cannot be read.
    pub async fn tell(scratch: &std::path::Path) -> Result<Self, Failure> {
        let session = tenon_query::session(1 << 30, scratch).during("preparing the example data")?;
        for (name, bytes) in FILES {
            let rows = read(bytes)?;
            let schema = rows.schema();
            let table = tenon_query::memory_table(schema, vec![rows]).during("reading the example data")?;
            session.register_table(name, table).during("reading the example data")?;
        }
        let flights = one(tenon_query::run(&session, FLIGHTS).await.during("telling the flights")?)?;
        let table = tenon_query::memory_table(flights.schema(), vec![flights]).during("telling the flights")?;
        session.register_table("flights", table).during("telling the flights")?;
        let mut feeds = BTreeMap::new();
        for (name, moment, sql) in FEEDS {
            let rows = one(tenon_query::run(&session, sql).await.during("telling the events")?)?;
            let moments = moments(&rows, moment)?;
            feeds.insert(name, Feed { rows, moments });
        }
        Ok(Self { feeds })
    }

    /// One dataset's events.
    pub fn feed(&self, dataset: &str) -> Result<&Feed, Failure> {
        self.feeds.get(dataset).ok_or_else(|| Failure::Usage(format!("the example has no dataset `{dataset}`")))
    }
}

impl Feed {
    /// The rows that become known from `from` until before `until`; all of them where rows have no moment.
    pub fn between(&self, from: Timestamp, until: Timestamp) -> RecordBatch {
        if self.moments.is_empty() {
            return self.rows.clone();
        }
        let start = self.moments.partition_point(|moment| *moment < from.as_micros());
        let end = self.moments.partition_point(|moment| *moment < until.as_micros());
        self.rows.slice(start, end - start)
    }

    /// All rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }
}

fn read(bytes: &'static [u8]) -> Result<RecordBatch, Failure> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(Bytes::from_static(bytes)).during("reading the example data")?;
    let reader = reader.with_batch_size(1 << 20).build().during("reading the example data")?;
    one(reader.collect::<Result<Vec<_>, _>>().during("reading the example data")?)
}

fn one(batches: Vec<RecordBatch>) -> Result<RecordBatch, Failure> {
    let schema =
        batches.first().map(RecordBatch::schema).unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
    concat_batches(&schema, &batches).during("reading the example data")
}

fn moments(rows: &RecordBatch, column: &str) -> Result<Vec<i64>, Failure> {
    let Some(column) = rows.column_by_name(column) else { return Ok(Vec::new()) };
    let zone = arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let column = arrow::compute::cast(column, &zone).during("telling the events")?;
    Ok(column.as_primitive::<TimestampMicrosecondType>().values().to_vec())
}
