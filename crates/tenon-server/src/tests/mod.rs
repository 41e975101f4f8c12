//! The doors of a small company, knocked on in process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod console;
mod decide;
mod feast;
mod ingest;
mod oip;
mod online;
mod routes;
mod tlog;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tenon_company::Catalog;
use tenon_compute::Budgets;
use tenon_core::clock::ManualClock;
use tenon_core::fact::{ModelVersionRegistered, RunFinished, RunStarted, TrainingSet, VersionJudged};
use tenon_core::id::{RunId, SeededIds};
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{Clock, DeploymentName, Digest, NewFact, Payload, PodName, Principal};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_ingest::{Feed, FeedError, Ingest};
use tenon_lake::{Lake, LakeOptions};
use tenon_ledger::{Ledger, LedgerOptions};
use tenon_models::{Models, ModelsOptions};
use tenon_onnx::{ModelMeta, Node, Tree, TreeEnsemble};
use tenon_policy::{Guard, Secret, Tokens, TokensProjection};
use tenon_serve::{Serving, ServingOptions};
use tenon_watch::{Watch, WatchOptions};
use tower::ServiceExt;

use crate::Doors;

/// Somebody who is no member of the company.
const STRANGER: [u8; 32] = [7; 32];

/// A company on disk with a model of two leaves in charge, and its doors.
struct World {
    doors: Doors,
    router: Router,
    /// Whether the next requests come from this machine.
    loopback: bool,
    token: Option<String>,
    _folder: tempfile::TempDir,
}

fn company() -> SpecSet {
    let column =
        |(name, kind): (&str, &str)| format!("[contract.columns.{name}]\ntype = \"{kind}\"\nnullable = true\n");
    let columns = [("tailnum", "string"), ("landed_at", "timestamp"), ("arr_delay", "float64")].map(column).concat();
    let files = [
        ("company.toml", "name = \"acme\"\n[identity]\nlocal = \"ana\"\n".to_owned()),
        ("pods/p/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n".to_owned()),
        (
            "pods/p/datasets/flights.toml",
            format!("description = \"d\"\n[source]\npush = true\n[contract]\nmax_quarantined = \"50%\"\n{columns}range = [-120, 1500]\n"),
        ),
        (
            "pods/p/features/aircraft.toml",
            "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nttl = \"12h\"\ndataset = \"flights\"\n\
             source = \"SELECT tailnum, landed_at, arr_delay FROM flights\"\n[features]\n\
             last_delay = { aggregate = \"last\", column = \"arr_delay\", description = \"Delay of the last landing\", unit = \"minutes\" }\n\
             landings = { aggregate = \"count\" }\n"
                .to_owned(),
        ),
        (
            "pods/p/models/late.toml",
            "description = \"d\"\nlimits = \"l\"\nkey = \"tailnum\"\ndecided_at = \"landed_at\"\nfeatures = [\"aircraft\"]\n\
             observations = \"SELECT tailnum, landed_at, true AS label FROM flights\"\n\
             split = { by = \"time\", test = \"20%\" }\ntrainer = { kind = \"gbdt\" }\n"
                .to_owned(),
        ),
        ("pods/p/deployments/late.toml", "description = \"d\"\nmodel = \"late\"\n".to_owned()),
        ("pods/p/deployments/idle.toml", "description = \"d\"\nmodel = \"late\"\n".to_owned()),
        (
            "pods/p/monitors/late.toml",
            "description = \"d\"\ndeployment = \"late\"\nwindow = \"7d\"\nevery = \"1d\"\n".to_owned(),
        ),
    ];
    SpecSet::read(&files.map(|(path, text)| SpecFile { path: path.to_owned(), text })).unwrap()
}

struct ToFeatures(FeatureStore);

#[async_trait::async_trait]
impl Feed for ToFeatures {
    async fn feed(&self, dataset: &str, rows: &[RecordBatch], version: u64) -> Result<(), FeedError> {
        Ok(self.0.feed(dataset, rows, version).await?)
    }

    async fn feed_ahead(&self, dataset: &str, rows: &[RecordBatch]) -> Result<(), FeedError> {
        Ok(self.0.feed_ahead(dataset, rows).await?)
    }

    async fn committed(&self, dataset: &str, version: u64) -> Result<(), FeedError> {
        Ok(self.0.committed(dataset, version).await?)
    }

    async fn discard_ahead(&self, dataset: &str) -> Result<(), FeedError> {
        Ok(self.0.discard_ahead(dataset).await?)
    }

    async fn changed(&self, dataset: &str) -> Result<(), FeedError> {
        Ok(self.0.read_anew(dataset).await?)
    }
}

fn ana() -> Principal {
    Principal::person("ana")
}

fn fact<P: Payload>(payload: &P) -> NewFact {
    NewFact::new(Principal::service("test"), Some(PodName::new("p").unwrap()), payload).unwrap()
}

/// Yes when the last landing was 15 minutes late or more.
fn onnx() -> Vec<u8> {
    let root = Node::Split { feature: 0, threshold: 15.0, missing_left: true, left: 1, right: 2, cover: 100.0 };
    let tree =
        Tree { nodes: vec![root, Node::Leaf { value: -2.0, cover: 60.0 }, Node::Leaf { value: 2.0, cover: 40.0 }] };
    let trees = TreeEnsemble::binary_classifier(&[tree], 0.25, 2).unwrap();
    trees.to_onnx(&ModelMeta { name: "late".to_owned(), ..ModelMeta::default() })
}

async fn register(ledger: &Ledger, clock: &dyn Clock, folder: &std::path::Path) {
    let bytes = onnx();
    let artifact = Digest::of(&bytes);
    let place = folder.join("artifacts/models");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join(format!("{}.onnx", artifact.hex())), &bytes).unwrap();
    let (run, now) = (RunId::new(&SeededIds::new(1), clock.now()), clock.now());
    let version = "late@1".parse::<tenon_core::ModelVersionRef>().unwrap();
    let training_set = TrainingSet {
        digest: artifact,
        train_rows: 80,
        test_rows: 20,
        decided: (now, now, now),
        unlabelled: 0,
        tables: Vec::new(),
        definition: artifact,
        known_by: now,
        incomplete: Default::default(),
        views: Default::default(),
        leakage: None,
    };
    let started = RunStarted {
        run,
        model: version.model.clone(),
        cause: "test".to_owned(),
        training_set,
        trainer: json!({ "kind": "gbdt" }),
        code: "test".to_owned(),
        drill_shuffle_seed: None,
    };
    let registered = ModelVersionRegistered {
        version: version.clone(),
        run,
        artifact,
        format: "onnx".to_owned(),
        inputs: ["last_delay", "landings"].map(str::to_owned).into(),
        importance: Default::default(),
        reference: artifact,
    };
    let finished = RunFinished { run, cpu_seconds: 1.0, usd: 0.1, metrics: Default::default() };
    let judged = VersionJudged { version, approved: true, failed: Vec::new() };
    ledger.append(vec![fact(&started), fact(&finished), fact(&registered), fact(&judged)]).await.unwrap();
}

/// What a door answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text()))
    }

    /// The status with the sentence of the error.
    #[track_caller]
    fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self
    }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let clock = ManualClock::at("2013-06-01T12:00:00Z".parse().unwrap());
        let projections = vec![
            tenon_company::projection(),
            Arc::new(TokensProjection),
            Arc::new(tenon_compute::SpendProjection),
            tenon_lake::projection(),
            tenon_models::projection(),
            tenon_serve::projection(),
            tenon_watch::projection(),
        ];
        let options = LedgerOptions { dir: at("ledger"), origin: "acme".to_owned(), clock: clock.clone(), projections };
        let ledger = Ledger::create_with_seed(options, &[1; 32]).unwrap();
        let catalog = Catalog::fixed(company());
        let (c, k) = (|| catalog.clone(), || ledger.clone());
        let options = LakeOptions { root: at("lake"), ledger: k(), catalog: c(), clock: clock.clone() };
        let lake = Lake::open(options).await.unwrap();
        let options = FeatureStoreOptions {
            online: OnlinePlace::File(at("online")),
            lake: lake.clone(),
            catalog: c(),
            clock: clock.clone(),
        };
        let features = FeatureStore::open(options).await.unwrap();
        let models = Models::open(ModelsOptions {
            artifacts: at("artifacts"),
            ledger: k(),
            catalog: c(),
            features: features.clone(),
            clock: clock.clone(),
            ids: Arc::new(SeededIds::new(2)),
        });
        let models = models.unwrap();
        let serving = Serving::open(ServingOptions {
            ledger: k(),
            catalog: c(),
            models: models.clone(),
            features: features.clone(),
            lake: lake.clone(),
            guard: Guard::new(c(), k()),
            journal: at("journal"),
            runtime: tenon_serve::find_runtime,
            clock: clock.clone(),
            ids: Arc::new(SeededIds::new(3)),
        });
        let serving = serving.await.unwrap();
        let watch = Watch::new(WatchOptions {
            ledger: k(),
            catalog: c(),
            lake: lake.clone(),
            features: features.clone(),
            models: models.clone(),
            clock: clock.clone(),
        });
        register(&ledger, &*clock, folder.path()).await;
        let late: DeploymentName = "late".parse().unwrap();
        serving.start_rollout(&ana(), &late, 1).await.unwrap();
        let tokens = Tokens::new(k());
        let stranger = Principal::person("eve");
        tokens.create(&ana(), "stranger", stranger, None, &Secret::from_bytes(STRANGER)).await.unwrap();
        let doors = Doors {
            identity: catalog.specs().company.identity.clone(),
            clock,
            guard: Guard::new(c(), k()),
            tokens,
            budgets: Budgets::new(c(), k()),
            ingest: Ingest::new(lake.clone(), c(), Some(Arc::new(ToFeatures(features.clone())))),
            catalog,
            ledger,
            lake,
            features,
            models,
            serving,
            watch,
        };
        Self { router: crate::router(doors.clone()), doors, loopback: true, token: None, _folder: folder }
    }

    /// With aircraft N1, which landed 40 minutes late an hour ago, and N2, which was early.
    async fn with_rows() -> Self {
        let world = Self::new().await;
        let rows = "{\"tailnum\":\"N1\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":40}\n\
                    {\"tailnum\":\"N2\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":-3}\n";
        world.call("POST", "/ingest/flights", &[("idempotency-key", "first")], rows).await.ok();
        world
    }

    fn stranger(mut self) -> Self {
        self.token = Some(Secret::from_bytes(STRANGER).reveal().to_owned());
        self
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:8080");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let peer: SocketAddr = if self.loopback { "127.0.0.1:9" } else { "192.0.2.1:9" }.parse().unwrap();
        let mut request = request.body(body.into()).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }
}
