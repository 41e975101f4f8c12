//! Serving over a real ledger, lake, feature store and registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash;
mod decide;
mod engine;
mod listing;
mod receipt;
mod rollout;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use serde_json::{Map, Value, json};
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::fact::{ModelVersionRegistered, RunFinished, RunStarted, TrainingSet, VersionJudged};
use tenon_core::id::{RandomIds, RunId, SeededIds};
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{
    AsOf, Clock, DatasetName, DeploymentName, Digest, ModelVersionRef, NewFact, Payload, PodName, Principal, Span,
    Timestamp,
};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};
use tenon_models::{Models, ModelsOptions};
use tenon_onnx::{ModelMeta, Node, Tree, TreeEnsemble};
use tenon_serve::{DecideRequest, Decision, Serving, ServingOptions};

const HOUR: i64 = 3_600_000_000;

/// A company on disk whose aircraft have landed late or not, and a model of two leaves.
struct World {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    catalog: Catalog,
    lake: Lake,
    features: FeatureStore,
    models: Models,
    serving: Serving,
    opened: AtomicU64,
}

fn company(autonomy: &str) -> SpecSet {
    let column =
        |(name, kind): (&str, &str)| format!("[contract.columns.{name}]\ntype = \"{kind}\"\nnullable = true\n");
    let columns = [("tailnum", "string"), ("landed_at", "timestamp"), ("arr_delay", "float64")].map(column).concat();
    let files = [
        ("company.toml", "name = \"acme\"\n".to_owned()),
        ("pods/p/pod.toml", format!("mission = \"m\"\nautonomy = \"{autonomy}\"\n[members.ana]\nrole = \"lead\"\n")),
        ("pods/p/datasets/flights.toml", format!("description = \"d\"\n[source]\npush = true\n{columns}")),
        (
            "pods/p/features/aircraft.toml",
            "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nttl = \"12h\"\ndataset = \"flights\"\n\
             source = \"SELECT tailnum, landed_at, arr_delay FROM flights\"\n[features]\n\
             last_delay = { aggregate = \"last\", column = \"arr_delay\", description = \"Delay of the last landing\", unit = \"minutes\" }\n\
             mean_delay = { aggregate = \"mean\", column = \"arr_delay\", window = \"6h\" }\n\
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
        (
            "pods/p/deployments/late.toml",
            "description = \"d\"\nmodel = \"late\"\nfallback = { mean_delay = 5.0 }\n\
             [rollout]\nsteps = [\"50%\", \"100%\"]\nbake_outcomes = 250\n\
             guardrails = [{ metric = \"brier\", at_most = 0.01 }]\n"
                .to_owned(),
        ),
    ];
    let files: Vec<SpecFile> = files.map(|(path, text)| SpecFile { path: path.to_owned(), text }).into_iter().collect();
    SpecSet::read(&files).unwrap()
}

fn deployment() -> DeploymentName {
    "late".parse().unwrap()
}

fn ana() -> Principal {
    Principal::person("ana")
}

fn version(n: u32) -> ModelVersionRef {
    ModelVersionRef { model: "late".parse().unwrap(), version: n }
}

/// Yes when the last landing was 15 minutes late or more; `sure` is how sure that makes it, in log-odds.
fn onnx(sure: f64) -> Vec<u8> {
    let root = Node::Split { feature: 0, threshold: 15.0, missing_left: true, left: 1, right: 2, cover: 100.0 };
    let tree = |no: f64, yes: f64| Tree {
        nodes: vec![root, Node::Leaf { value: no, cover: 60.0 }, Node::Leaf { value: yes, cover: 40.0 }],
    };
    let trees = TreeEnsemble::binary_classifier(&[tree(-sure, sure)], 0.25, 3).unwrap();
    trees.to_onnx(&ModelMeta { name: "late".to_owned(), ..ModelMeta::default() })
}

impl World {
    async fn new(autonomy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at("2013-06-01T12:00:00Z".parse().unwrap());
        let ledger = Ledger::create(LedgerOptions {
            dir: folder.path().join("ledger"),
            origin: "acme".to_owned(),
            clock: clock.clone(),
            projections: vec![tenon_lake::projection(), tenon_models::projection(), tenon_serve::projection()],
        })
        .unwrap();
        let catalog = Catalog::fixed(company(autonomy));
        let options = LakeOptions {
            root: folder.path().join("lake"),
            ledger: ledger.clone(),
            catalog: catalog.clone(),
            clock: clock.clone(),
        };
        let lake = Lake::open(options).await.unwrap();
        let features = FeatureStore::open(FeatureStoreOptions {
            online: OnlinePlace::File(folder.path().join("online")),
            lake: lake.clone(),
            catalog: catalog.clone(),
            clock: clock.clone(),
        });
        let features = features.await.unwrap();
        let models = Models::open(ModelsOptions {
            artifacts: folder.path().join("artifacts"),
            ledger: ledger.clone(),
            catalog: catalog.clone(),
            features: features.clone(),
            clock: clock.clone(),
            ids: Arc::new(SeededIds::new(1)),
        })
        .unwrap();
        let parts = (ledger.clone(), catalog.clone(), lake.clone(), features.clone(), models.clone());
        let serving = open(folder.path(), &clock, &parts, 0).await;
        let world = Self { folder, clock, ledger, catalog, lake, features, models, serving, opened: AtomicU64::new(1) };
        world.land().await;
        world
    }

    /// Serving opened again over what is on disk, as another run of the program would.
    async fn reopen(&self) -> Serving {
        open(self.folder.path(), &self.clock, &self.parts(), self.opened.fetch_add(1, Ordering::Relaxed)).await
    }

    /// What serving over another journal needs.
    fn options(&self, journal: PathBuf) -> ServingOptions {
        options(&self.parts(), &self.clock, journal)
    }

    fn parts(&self) -> (Ledger, Catalog, Lake, FeatureStore, Models) {
        (self.ledger.clone(), self.catalog.clone(), self.lake.clone(), self.features.clone(), self.models.clone())
    }

    /// Aircraft N0 to N99 landed an hour ago; those with an odd number were 40 minutes late.
    async fn land(&self) {
        let (tails, delays): (Vec<String>, Vec<f64>) =
            (0..100).map(|i| (format!("N{i}"), if i % 2 == 1 { 40.0 } else { -3.0 })).unzip();
        let landed: TimestampMicrosecondArray = vec![self.clock.now().as_micros() - HOUR; 100].into();
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("tailnum", Arc::new(StringArray::from(tails)) as ArrayRef, true),
            ("landed_at", Arc::new(landed.with_timezone("UTC")) as ArrayRef, true),
            ("arr_delay", Arc::new(Float64Array::from(delays)) as ArrayRef, true),
        ])
        .unwrap();
        let source = BatchSource::new("push", Digest::of("landings"));
        let dataset = DatasetName::new("flights").unwrap();
        match self.lake.write(&ana(), &dataset, &source, vec![rows]).await.unwrap() {
            WriteOutcome::Committed { fact, accepted } => {
                self.features.feed("flights", &accepted, fact.version).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }

    /// Registers a version as the trainer and the gates would.
    async fn register(&self, n: u32, sure: f64, approved: bool) {
        self.register_artifact(n, &onnx(sure), approved).await;
    }

    /// The same for a model from anywhere.
    async fn register_artifact(&self, n: u32, bytes: &[u8], approved: bool) {
        let artifact = Digest::of(bytes);
        let place = self.folder.path().join("artifacts/models");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(format!("{}.onnx", artifact.hex())), bytes).unwrap();
        let run = RunId::new(&SeededIds::new(u64::from(n)), self.clock.now());
        let moment = self.clock.now();
        let training_set = TrainingSet {
            digest: artifact,
            train_rows: 80,
            test_rows: 20,
            decided: (moment, moment, moment),
            unlabelled: 0,
            tables: Vec::new(),
            definition: artifact,
            known_by: moment,
            incomplete: Default::default(),
            views: Default::default(),
            leakage: None,
        };
        let started = RunStarted {
            run,
            model: version(n).model,
            cause: "test".to_owned(),
            training_set,
            trainer: json!({ "kind": "gbdt" }),
            code: "test".to_owned(),
            drill_shuffle_seed: None,
        };
        let finished = RunFinished { run, cpu_seconds: 1.0, usd: 0.1, metrics: Default::default() };
        let registered = ModelVersionRegistered {
            version: version(n),
            run,
            artifact,
            format: "onnx".to_owned(),
            inputs: ["last_delay", "mean_delay", "landings"].map(str::to_owned).into(),
            importance: Default::default(),
            reference: artifact,
        };
        let failed = if approved { Vec::new() } else { vec!["quality".to_owned()] };
        let judged = VersionJudged { version: version(n), approved, failed };
        fn fact<P: Payload>(payload: &P) -> NewFact {
            NewFact::new(Principal::service("test"), Some(PodName::new("p").unwrap()), payload).unwrap()
        }
        self.ledger.append(vec![fact(&started), fact(&finished), fact(&registered), fact(&judged)]).await.unwrap();
    }

    /// With version 1 in charge.
    async fn deployed() -> Self {
        let world = Self::new("supervised").await;
        world.register(1, 2.0, true).await;
        world.serving.start_rollout(&ana(), &deployment(), 1).await.unwrap();
        world
    }

    async fn decide(&self, tailnum: &str) -> Decision {
        self.serving.decide(&deployment(), request(json!(tailnum))).await.unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn pass(&self, span: Span) {
        self.clock.advance_to(self.clock.now() + span);
    }

    async fn count(&self, table: &str) -> i64 {
        if self.lake.version(table, AsOf::Latest).await.unwrap().is_none() {
            return 0;
        }
        let sql = format!("SELECT count(*) AS n, count(DISTINCT decision_id) AS ids FROM {table}");
        let rows = self.lake.query(&sql, AsOf::Latest).await.unwrap();
        let of = |at: usize| rows[0].column(at).as_primitive::<Int64Type>().value(0);
        assert_eq!(of(0), of(1), "a row is there twice");
        of(0)
    }
}

async fn open(
    folder: &Path,
    clock: &Arc<ManualClock>,
    parts: &(Ledger, Catalog, Lake, FeatureStore, Models),
    seed: u64,
) -> Serving {
    let ids = Arc::new(SeededIds::new(100 + seed));
    Serving::open(ServingOptions { ids, ..options(parts, clock, folder.join("journal")) }).await.unwrap()
}

fn options(
    parts: &(Ledger, Catalog, Lake, FeatureStore, Models),
    clock: &Arc<ManualClock>,
    journal: PathBuf,
) -> ServingOptions {
    let (ledger, catalog, lake, features, models) = parts.clone();
    ServingOptions {
        guard: tenon_policy::Guard::new(catalog.clone(), ledger.clone()),
        ledger,
        catalog,
        models,
        features,
        lake,
        journal,
        runtime: tenon_serve::find_runtime,
        clock: clock.clone(),
        ids: Arc::new(RandomIds),
    }
}

fn request(tailnum: Value) -> DecideRequest {
    let entities: Map<String, Value> = [("tailnum".to_owned(), tailnum)].into_iter().collect();
    DecideRequest { entities, explain: false, at: None }
}

/// A batch of requests about these aircraft, all due at `at`.
fn batch(tails: &[String], at: Timestamp) -> RecordBatch {
    let moments: TimestampMicrosecondArray = vec![at.as_micros(); tails.len()].into();
    RecordBatch::try_from_iter_with_nullable([
        ("tailnum", Arc::new(StringArray::from(tails.to_vec())) as ArrayRef, true),
        ("decided_at", Arc::new(moments.with_timezone("UTC")) as ArrayRef, false),
    ])
    .unwrap()
}

fn tails(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("N{}", i % 100)).collect()
}
