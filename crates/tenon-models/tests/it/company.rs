//! A small company: signals of machines, and whether a job on one of them came late.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use tenon_company::Catalog;
use tenon_compute::SpendProjection;
use tenon_core::clock::ManualClock;
use tenon_core::id::SeededIds;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{DatasetName, Digest, ModelName, Principal, Timestamp};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};
use tenon_models::{Models, ModelsOptions, TrainRequest};

const HOUR: i64 = 3_600_000_000;
const JOBS: usize = 3_000;

pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub ledger: Ledger,
    pub catalog: Catalog,
    pub models: Models,
}

pub fn model() -> ModelName {
    ModelName::new("late_job").unwrap()
}

pub fn ana() -> Principal {
    Principal::person("ana")
}

impl World {
    pub async fn new() -> Self {
        Self::with(|text| text).await
    }

    /// The company with its files changed.
    pub async fn with(change: impl Fn(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_micros(0));
        let ledger = Ledger::create(LedgerOptions {
            dir: folder.path().join("ledger"),
            origin: "acme".to_owned(),
            clock: clock.clone(),
            projections: vec![tenon_lake::projection(), tenon_models::projection(), Arc::new(SpendProjection)],
        })
        .unwrap();
        let files: Vec<SpecFile> =
            files().into_iter().map(|file| SpecFile { text: change(file.text), ..file }).collect();
        let catalog = Catalog::fixed(SpecSet::read(&files).unwrap());
        let options = LakeOptions {
            root: folder.path().join("lake"),
            ledger: ledger.clone(),
            catalog: catalog.clone(),
            clock: clock.clone(),
        };
        let lake = Lake::open(options).await.unwrap();
        let (signals, jobs) = rows();
        for (dataset, rows) in [("signals", signals), ("jobs", jobs)] {
            let source = BatchSource::new(dataset, Digest::of(dataset));
            let name = DatasetName::new(dataset).unwrap();
            let written = lake.write(&ana(), &name, &source, vec![rows]).await.unwrap();
            assert!(matches!(written, WriteOutcome::Committed { .. }), "{written:?}");
        }
        clock.advance_to(Timestamp::from_micros(HOUR * (JOBS as i64 + 100)));
        let options = FeatureStoreOptions {
            online: OnlinePlace::File(folder.path().join("online.redb")),
            lake,
            catalog: catalog.clone(),
            clock: clock.clone(),
        };
        let features = FeatureStore::open(options).await.unwrap();
        let models = Models::open(ModelsOptions {
            artifacts: folder.path().join("artifacts"),
            ledger: ledger.clone(),
            catalog: catalog.clone(),
            features,
            clock: clock.clone(),
            ids: Arc::new(SeededIds::new(1)),
        })
        .unwrap();
        Self { folder, clock, ledger, catalog, models }
    }

    pub fn request(&self, drill_shuffle_seed: Option<u64>) -> TrainRequest {
        use tenon_core::Clock;
        let cause = "asked for by person:ana".to_owned();
        TrainRequest { model: model(), cause, known_by: self.clock.now(), drill_shuffle_seed }
    }

    pub fn kinds(&self) -> Vec<String> {
        let facts = self.ledger.facts(0..self.ledger.size().unwrap()).unwrap();
        facts.into_iter().map(|stored| stored.fact.kind).filter(|kind| !kind.starts_with("dataset.")).collect()
    }
}

fn files() -> Vec<SpecFile> {
    [
        ("company.toml", "name = \"acme\"\n"),
        ("budgets.toml", "[[budgets]]\npod = \"plant\"\nlimit_usd = 1.0\n"),
        ("pods/plant/pod.toml", "mission = \"m\"\nautonomy = \"automatic\"\n[members.ana]\nrole = \"lead\"\n"),
        (
            "pods/plant/datasets/signals.toml",
            "description = \"d\"\nevent_time = \"at\"\n[source]\npush = true\n\
             [contract.columns.machine]\ntype = \"string\"\n[contract.columns.at]\ntype = \"timestamp\"\n\
             [contract.columns.load]\ntype = \"float64\"\n",
        ),
        (
            "pods/plant/datasets/jobs.toml",
            "description = \"d\"\nevent_time = \"decided_at\"\n[source]\npush = true\n\
             [contract.columns.job]\ntype = \"int64\"\n[contract.columns.machine]\ntype = \"string\"\n\
             [contract.columns.hall]\ntype = \"string\"\n[contract.columns.decided_at]\ntype = \"timestamp\"\n\
             [contract.columns.late]\ntype = \"boolean\"\n",
        ),
        (
            "pods/plant/features/machine_load.toml",
            "description = \"d\"\nentity = [\"machine\"]\nevent_time = \"at\"\nttl = \"30d\"\ndataset = \"signals\"\n\
             source = \"SELECT machine, at, load FROM signals\"\n[features]\n\
             last_load = { aggregate = \"last\", column = \"load\", unit = \"percent\", description = \"how busy the machine was last\" }\n\
             mean_load = { aggregate = \"mean\", column = \"load\", window = \"7d\" }\n\
             hours_since_signal = { aggregate = \"age\" }\n",
        ),
        (
            "pods/plant/models/late_job.toml",
            "description = \"Will this job come late?\"\nlimits = \"Knows this plant alone.\"\nkey = \"job\"\n\
             decided_at = \"decided_at\"\nfeatures = [\"machine_load\"]\n\
             observations = \"SELECT job, machine, hall, decided_at, late AS label FROM jobs\"\n\
             split = { by = \"time\", test = \"25%\" }\ntrainer = { kind = \"gbdt\", budget = 0.1, seed = 7 }\n\
             [[gates]]\nkind = \"quality\"\nmetric = \"roc_auc\"\nat_least = 0.7\nmargin_to_champion = -0.02\n\
             [[gates]]\nkind = \"calibration\"\nat_most = 0.2\n\
             [[gates]]\nkind = \"fairness\"\ngroup_by = \"hall\"\nat_most = 0.4\nmin_positives = 20\n\
             [[gates]]\nkind = \"explanation\"\n[[gates]]\nkind = \"latency\"\np99_ms = 1000.0\n[[gates]]\nkind = \"budget\"\n",
        ),
    ]
    .map(|(path, text)| SpecFile { path: path.to_owned(), text: text.to_owned() })
    .into()
}

/// Numbers that look random and never change: a full period of Weyl's sequence.
fn number(at: usize, salt: u64) -> f64 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A signal of one of twenty machines each hour, and a job on it half an hour later, which comes late if it was busy.
fn rows() -> (RecordBatch, RecordBatch) {
    let machine = |at: usize| format!("m{}", at % 20);
    let moments = |offset: i64| -> ArrayRef {
        let moments: TimestampMicrosecondArray = (0..JOBS as i64).map(|at| Some(at * HOUR + offset)).collect();
        Arc::new(moments.with_timezone("UTC"))
    };
    let texts = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new((0..JOBS).map(|at| Some(of(at))).collect::<StringArray>())
    };
    let load = |at: usize| 100.0 * number(at, 1);
    let late = |at: usize| number(at, 2) < 1.0 / (1.0 + (-(load(at) - 60.0) / 12.0).exp());
    let loads: Float64Array = (0..JOBS).map(|at| Some(load(at))).collect();
    let signals = RecordBatch::try_from_iter_with_nullable([
        ("machine", texts(&machine), true),
        ("at", moments(0), true),
        ("load", Arc::new(loads) as ArrayRef, true),
    ]);
    let jobs = RecordBatch::try_from_iter_with_nullable([
        ("job", Arc::new((0..JOBS as i64).map(Some).collect::<Int64Array>()) as ArrayRef, true),
        ("machine", texts(&machine), true),
        ("hall", texts(&|at| if at % 3 == 0 { "north" } else { "south" }.to_owned()), true),
        ("decided_at", moments(HOUR / 2), true),
        ("late", Arc::new((0..JOBS).map(|at| Some(late(at))).collect::<BooleanArray>()) as ArrayRef, true),
    ]);
    (signals.unwrap(), jobs.unwrap())
}
