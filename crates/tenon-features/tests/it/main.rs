//! The feature store over a real lake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../src/fixture.rs"]
#[allow(dead_code)]
mod fixture;

mod derived;
mod property;
mod replay;

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::{DatasetName, Digest, Principal, Timestamp};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

/// A company on disk.
struct World {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    catalog: Catalog,
    lake: Lake,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_micros(0));
        let ledger = Ledger::create(LedgerOptions {
            dir: folder.path().join("ledger"),
            origin: "acme".to_owned(),
            clock: clock.clone(),
            projections: vec![tenon_lake::projection()],
        })
        .unwrap();
        let catalog = Catalog::fixed(fixture::company());
        let options =
            LakeOptions { root: folder.path().join("lake"), ledger, catalog: catalog.clone(), clock: clock.clone() };
        let lake = Lake::open(options).await.unwrap();
        Self { folder, clock, catalog, lake }
    }

    async fn store(&self, file: &str) -> FeatureStore {
        let options = FeatureStoreOptions {
            online: OnlinePlace::File(self.folder.path().join(file)),
            lake: self.lake.clone(),
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
        };
        FeatureStore::open(options).await.unwrap()
    }

    /// Commits rows, and returns the table's version and the rows that landed.
    async fn write(&self, dataset: &str, name: &str, rows: RecordBatch) -> (u64, Vec<RecordBatch>) {
        let source = BatchSource::new(name, Digest::of(format!("{dataset} {name}")));
        let dataset = DatasetName::new(dataset).unwrap();
        let by = Principal::service("test");
        match self.lake.write(&by, &dataset, &source, vec![rows]).await.unwrap() {
            WriteOutcome::Committed { fact, accepted } => (fact.version, accepted),
            other => panic!("{other:?}"),
        }
    }
}
