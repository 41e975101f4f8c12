//! The feature store over a real lake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../src/fixture.rs"]
#[allow(dead_code)]
mod fixture;

/// Tests of what every online store must do: each takes a world, and is run over all of them.
macro_rules! contract {
    ($($test:ident)*) => {
        mod in_a_file {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::World::new().await).await;
            })*
        }
        mod in_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(world) = crate::World::in_redis().await {
                    super::$test(world).await;
                }
            })*
        }
    };
}

mod derived;
mod property;
mod redis;
mod redis_server;
mod replay;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::{DatasetName, Digest, ModelName, Principal, Timestamp};
use tenon_features::{FeatureError, FeatureStore, FeatureStoreOptions, OnlinePlace, RedisPlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

/// A company on disk.
struct World {
    online: Online,
    /// How long a read may take in Redis.
    timeout: Duration,
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    catalog: Catalog,
    lake: Lake,
}

/// Where a company's online stores are.
enum Online {
    Files,
    Redis(redis_server::Server),
}

impl World {
    async fn new() -> Self {
        Self::of(Online::Files).await
    }

    /// None where there is no Redis, which is said aloud.
    async fn in_redis() -> Option<Self> {
        Some(Self::of(Online::Redis(redis_server::Server::start()?)).await)
    }

    async fn of(online: Online) -> Self {
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
        // On a busy machine nothing must be down that is only slow.
        let timeout = Duration::from_secs(5);
        Self { online, timeout, folder, clock, catalog, lake }
    }

    /// An online store of this name, empty the first time.
    async fn store(&self, name: &str) -> FeatureStore {
        let place = match &self.online {
            Online::Files => OnlinePlace::File(self.folder.path().join(name)),
            Online::Redis(server) => OnlinePlace::Redis(RedisPlace {
                address: server.address(),
                user: None,
                password: Some(redis_server::PASSWORD.to_owned()),
                timeout: self.timeout,
                company: name.to_owned(),
            }),
        };
        self.store_in(place).await.unwrap()
    }

    /// A store in a file, whatever others are in.
    async fn store_in_a_file(&self, name: &str) -> FeatureStore {
        self.store_in(OnlinePlace::File(self.folder.path().join(name))).await.unwrap()
    }

    async fn store_in(&self, online: OnlinePlace) -> Result<FeatureStore, FeatureError> {
        let options = FeatureStoreOptions {
            online,
            lake: self.lake.clone(),
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
        };
        FeatureStore::open(options).await
    }

    /// The Redis that the stores are in.
    fn server(&mut self) -> &mut redis_server::Server {
        match &mut self.online {
            Online::Redis(server) => server,
            Online::Files => panic!("the stores are in files"),
        }
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

/// The model of the fixture.
fn model() -> ModelName {
    ModelName::new("late_arrival").unwrap()
}

/// So many hours after the beginning.
fn moment(hours: i64) -> Timestamp {
    Timestamp::from_micros(hours * fixture::HOUR)
}
