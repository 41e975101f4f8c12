//! The company that is measured: readings of many sensors, and a view of their last values.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde_json::{Map, json};
use tenon_benches::{Fault, fault, tenon};
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{Digest, Principal, Span, Timestamp};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

/// How many sensors there are.
pub const ENTITIES: usize = 1_000;
/// How many features each has.
pub const FEATURES: usize = 20;

/// Two readings of each sensor, the second half an hour ago.
pub fn rows(now: Timestamp) -> Result<RecordBatch, Fault> {
    let count = ENTITIES * 2;
    let sensors: StringArray = (0..count).map(|row| Some(format!("s{}", row % ENTITIES))).collect();
    let at = |row: usize| Some((now - Span::hours(if row < ENTITIES { 2 } else { 1 })).as_micros());
    let moments: TimestampMicrosecondArray = (0..count).map(at).collect();
    let mut columns = vec![
        ("sensor".to_owned(), Arc::new(sensors) as ArrayRef),
        ("at".to_owned(), Arc::new(moments.with_timezone("UTC"))),
    ];
    for column in 0..FEATURES {
        let values: Float64Array = (0..count).map(|row| Some(((row * 31 + column * 7) % 1000) as f64 / 8.0)).collect();
        columns.push((format!("c{column}"), Arc::new(values)));
    }
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn company() -> Vec<SpecFile> {
    let columns: String = (0..FEATURES).map(|column| format!("c{column} = {{ type = \"float64\" }}\n")).collect();
    let features: String = (0..FEATURES)
        .map(|column| format!("f{column} = {{ aggregate = \"last\", column = \"c{column}\" }}\n"))
        .collect();
    let names: Vec<String> = (0..FEATURES).map(|column| format!("c{column}")).collect();
    let files = [
        ("company.toml", "name = \"acme\"\n[identity]\nlocal = \"ana\"\n".to_owned()),
        ("pods/heat/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n".to_owned()),
        (
            "pods/heat/datasets/readings.toml",
            format!(
                "description = \"d\"\n[source]\npush = true\n[contract.columns]\nsensor = {{ type = \"string\" }}\n\
                 at = {{ type = \"timestamp\" }}\n{columns}"
            ),
        ),
        (
            "pods/heat/features/sensor.toml",
            format!(
                "description = \"d\"\nentity = [\"sensor\"]\nevent_time = \"at\"\nttl = \"24h\"\ndataset = \"readings\"\n\
                 source = \"SELECT sensor, at, {} FROM readings\"\n[features]\n{features}",
                names.join(", ")
            ),
        ),
        (
            "pods/heat/models/fault.toml",
            "description = \"d\"\nlimits = \"l\"\nkey = \"sensor\"\ndecided_at = \"at\"\nfeatures = [\"sensor\"]\n\
             observations = \"SELECT sensor, at, true AS label FROM readings\"\n\
             split = { by = \"time\", test = \"20%\" }\ntrainer = { kind = \"gbdt\" }\n"
                .to_owned(),
        ),
    ];
    files.map(|(path, text)| SpecFile { path: path.to_owned(), text }).into()
}

/// Lays the company down, for a server.
pub fn found(folder: &Path) -> Result<(), Fault> {
    for SpecFile { path, text } in company() {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(folder))?;
        std::fs::write(file, text)?;
    }
    let applied = Command::new(tenon()?).arg("--dir").arg(folder).arg("apply").output()?;
    match applied.status.success() {
        true => Ok(()),
        false => Err(fault(String::from_utf8_lossy(&applied.stderr))),
    }
}

/// The store alone, in this process.
pub async fn store(
    folder: &Path,
    online: OnlinePlace,
    rows: RecordBatch,
    now: Timestamp,
) -> Result<FeatureStore, Fault> {
    let catalog = Catalog::fixed(SpecSet::read(&company())?);
    let clock = ManualClock::at(now);
    let projections = vec![tenon_lake::projection()];
    let dir = folder.join("ledger");
    let ledger = Ledger::create(LedgerOptions { dir, origin: "acme".to_owned(), clock: clock.clone(), projections })?;
    let root = folder.join("lake");
    let lake = Lake::open(LakeOptions { root, ledger, catalog: catalog.clone(), clock: clock.clone() }).await?;
    let source = BatchSource::new("readings", Digest::of("readings"));
    let written = lake.write(&Principal::person("ana"), &"readings".parse()?, &source, vec![rows]).await?;
    let WriteOutcome::Committed { .. } = written else { return Err(fault("the readings were not taken")) };
    Ok(FeatureStore::open(FeatureStoreOptions { online, lake, catalog, clock }).await?)
}

/// The seconds of each of so many reads of one entity, as `decide` asks.
pub async fn one_by_one(store: &FeatureStore, now: Timestamp, reads: usize) -> Result<Vec<f64>, Fault> {
    let model = "fault".parse()?;
    let entity = |sensor: usize| Map::from_iter([("sensor".to_owned(), json!(format!("s{sensor}")))]);
    let entities: Vec<_> = (0..ENTITIES).map(entity).collect();
    let mut seconds = Vec::with_capacity(reads);
    for read in 0..reads {
        let start = Instant::now();
        let row = store.online(&model, &entities[read * 7 % ENTITIES], now).await?;
        seconds.push(start.elapsed().as_secs_f64());
        if row.values.len() != FEATURES || row.values.iter().any(Option::is_none) {
            return Err(fault(format!("read {read} found {:?}", row.values)));
        }
    }
    Ok(seconds)
}
