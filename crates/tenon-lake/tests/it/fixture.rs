//! A company with three datasets and views over them, on a folder of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use tempfile::TempDir;
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::fact::DatasetCommitted;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{AsOf, Clock, DatasetName, Digest, Principal, Timestamp};
use tenon_lake::{BatchSource, Lake, LakeError, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

pub const HOUR: i64 = 3_600_000_000;

pub const FLIGHTS: &str = "description = \"d\"\nevent_time = \"landed_at\"\n[source]\npush = true\n\
    [contract]\nmax_quarantined = \"60%\"\nkey = [\"id\"]\n\
    [contract.columns.id]\ntype = \"string\"\n\
    [contract.columns.tailnum]\ntype = \"string\"\nnullable = true\nreferences = \"planes.tailnum\"\nseverity = \"warn\"\n\
    [contract.columns.delay]\ntype = \"int64\"\nnullable = true\nrange = [-60, 600]\n\
    [contract.columns.landed_at]\ntype = \"timestamp\"\n";

pub fn specs(flights: &str, more: &[(&str, &str)]) -> SpecSet {
    let mut files = vec![
        ("company.toml".to_owned(), "name = \"acme\"\n".to_owned()),
        ("pods/arrivals/pod.toml".to_owned(), "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n".to_owned()),
        ("pods/arrivals/datasets/flights.toml".to_owned(), flights.to_owned()),
        (
            "pods/arrivals/datasets/planes.toml".to_owned(),
            "description = \"d\"\n[source]\npush = true\n[contract.columns.tailnum]\ntype = \"string\"\n".to_owned(),
        ),
    ];
    for (view, sql) in more {
        let text = format!("description = \"d\"\n[source]\nsql = \"{sql}\"\n");
        files.push((format!("pods/arrivals/datasets/{view}.toml"), text));
    }
    let files: Vec<SpecFile> = files.into_iter().map(|(path, text)| SpecFile { path, text }).collect();
    SpecSet::read(&files).unwrap()
}

pub struct Company {
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
    pub catalog: Catalog,
    pub ledger: Ledger,
    pub lake: Lake,
}

impl Company {
    pub async fn new() -> Self {
        Self::with(specs(FLIGHTS, &[])).await
    }

    pub async fn with(specs: SpecSet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_micros(0));
        let catalog = Catalog::fixed(specs);
        let ledger = Ledger::create(ledger_options(folder.path(), &clock)).unwrap();
        let lake = open(folder.path(), &clock, &catalog, &ledger).await.unwrap();
        Self { folder, clock, catalog, ledger, lake }
    }

    /// The lake as another start of the program sees it.
    pub async fn reopen(&mut self) {
        self.lake = open(self.folder.path(), &self.clock, &self.catalog, &self.ledger).await.unwrap();
    }

    pub async fn write(&self, dataset: &str, source: &str, rows: RecordBatch) -> Result<WriteOutcome, LakeError> {
        self.lake.write(&ana(), &name(dataset), &source_of(source), vec![rows]).await
    }

    pub async fn committed(&self, dataset: &str, source: &str, rows: RecordBatch) -> DatasetCommitted {
        match self.write(dataset, source, rows).await.unwrap() {
            WriteOutcome::Committed { fact, .. } => fact,
            other => panic!("{other:?}"),
        }
    }

    pub async fn texts(&self, sql: &str, as_of: AsOf) -> Vec<String> {
        let rows = self.lake.query(sql, as_of).await.unwrap();
        rows.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned)).collect()
    }

    pub async fn number(&self, sql: &str, as_of: AsOf) -> i64 {
        let rows = self.lake.query(sql, as_of).await.unwrap();
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }
}

fn ledger_options(folder: &Path, clock: &Arc<ManualClock>) -> LedgerOptions {
    LedgerOptions {
        dir: folder.join("ledger"),
        origin: "acme".to_owned(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        projections: vec![tenon_lake::projection()],
    }
}

pub async fn open(
    folder: &Path,
    clock: &Arc<ManualClock>,
    catalog: &Catalog,
    ledger: &Ledger,
) -> Result<Lake, LakeError> {
    let (ledger, catalog) = (ledger.clone(), catalog.clone());
    Lake::open(LakeOptions { root: folder.join("lake"), ledger, catalog, clock: Arc::clone(clock) as Arc<dyn Clock> })
        .await
}

pub fn ana() -> Principal {
    Principal::person("ana")
}

pub fn name(dataset: &str) -> DatasetName {
    DatasetName::new(dataset).unwrap()
}

pub fn source_of(source: &str) -> BatchSource {
    BatchSource::new(source, Digest::of(source))
}

/// Flights as (id, tail number, delay); each lands at the hour of its place in the batch.
pub fn flights(rows: &[(&str, Option<&str>, Option<i64>)]) -> RecordBatch {
    let landed: TimestampMicrosecondArray = (0..rows.len()).map(|hour| Some(hour as i64 * HOUR)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()) as ArrayRef, true),
        ("tailnum", Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()) as ArrayRef, true),
        ("delay", Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()) as ArrayRef, true),
        ("landed_at", Arc::new(landed.with_timezone("UTC")) as ArrayRef, true),
        ("extra", Arc::new(StringArray::from(vec!["left out"; rows.len()])) as ArrayRef, true),
    ])
    .unwrap()
}

pub fn planes(tails: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter([("tailnum", Arc::new(StringArray::from(tails.to_vec())) as ArrayRef)]).unwrap()
}
