//! Aggregates over a stream: rows that land are fed to the online store, which holds three windows of each of up to two million
//! keys, and writes what is committed to its file as it goes.
//!
//! Each number of keys is measured by a process of its own (`stream KEYS`), so that its memory is its own. There is no peer that
//! is embedded and does the same; whether the cost is linear in the keys is what the figures are about.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use cpu_time::ProcessTime;
use serde_json::{Map, Value, json};
use tenon_benches::{Fault, Figure, Report, fault, median, work_folder};
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{Digest, Principal, Span, Timestamp};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

const KEYS: [usize; 4] = [250_000, 500_000, 1_000_000, 2_000_000];
/// How many rows each key has in the end, over the hours of the longest window.
const ROWS_A_KEY: usize = 4;
const HOURS: i64 = 24;
/// How many rows land together.
const BATCH: usize = 100_000;
const READS: usize = 100_000;
/// The seconds of eight times the keys, divided by eight times those of the keys: so far from one counts as linear.
const LINEAR: f64 = 1.15;

const COMPANY: [(&str, &str); 5] = [
    ("company.toml", "name = \"acme\"\n[identity]\nlocal = \"ana\"\n"),
    ("pods/cards/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n"),
    (
        "pods/cards/datasets/payments.toml",
        "description = \"d\"\n[source]\npush = true\n[contract.columns]\ncard = { type = \"int64\" }\n\
         at = { type = \"timestamp\" }\namount = { type = \"float64\" }\n",
    ),
    (
        "pods/cards/features/spending.toml",
        "description = \"d\"\nentity = [\"card\"]\nevent_time = \"at\"\nttl = \"24h\"\ndataset = \"payments\"\n\
         source = \"SELECT card, at, amount FROM payments\"\n[features]\n\
         count_1h = { aggregate = \"count\", window = \"1h\" }\n\
         sum_1h = { aggregate = \"sum\", column = \"amount\", window = \"1h\" }\n\
         count_6h = { aggregate = \"count\", window = \"6h\" }\n\
         mean_6h = { aggregate = \"mean\", column = \"amount\", window = \"6h\" }\n\
         count_24h = { aggregate = \"count\", window = \"24h\" }\n\
         std_24h = { aggregate = \"std\", column = \"amount\", window = \"24h\" }\n",
    ),
    (
        "pods/cards/models/fraud.toml",
        "description = \"d\"\nlimits = \"l\"\nkey = \"card\"\ndecided_at = \"at\"\nfeatures = [\"spending\"]\n\
         observations = \"SELECT card, at, true AS label FROM payments\"\nsplit = { by = \"time\", test = \"20%\" }\n\
         trainer = { kind = \"gbdt\" }\n",
    ),
];

fn main() -> Result<(), Fault> {
    let runtime = tokio::runtime::Runtime::new()?;
    match std::env::args().nth(1) {
        Some(keys) => {
            let told = runtime.block_on(measure(keys.parse()?))?;
            Ok(writeln!(std::io::stdout(), "{told}")?)
        }
        None => all(),
    }
}

fn all() -> Result<(), Fault> {
    let mut report = Report::of("stream");
    let mut seconds = Vec::new();
    for keys in KEYS {
        let run = Command::new(std::env::current_exe()?).arg(keys.to_string()).output()?;
        if !run.status.success() {
            return Err(fault(format!("{keys} keys: {}", String::from_utf8_lossy(&run.stderr))));
        }
        let told: Value = serde_json::from_slice(&run.stdout)?;
        let figure = |name: &str| told[name].as_f64().ok_or_else(|| fault(format!("{keys} keys: no {name} in {told}")));
        let what = format!("{keys} keys, three windows");
        report.add(Figure::speed(format!("{what}: events"), figure("events_per_second")?, "/s"));
        report.add(Figure::speed(format!("{what}: events, of processor time"), figure("events_per_cpu_second")?, "/s"));
        report.add(Figure::cost(format!("{what}: memory"), figure("bytes_a_key")?, "B/key"));
        report.add(Figure::cost(format!("{what}: on disk"), figure("disk_bytes_a_key")?, "B/key"));
        report.add(Figure::cost(format!("{what}: restart from the file"), figure("restart_seconds")?, "s"));
        report.add(Figure::cost(format!("{what}: one read of six features"), figure("read_micros")?, "µs"));
        seconds.push((keys * ROWS_A_KEY) as f64 / figure("events_per_second")?);
    }
    for (keys, taken) in KEYS.iter().zip(&seconds).skip(1) {
        let times = keys / KEYS[0];
        let share = taken / seconds[0] / times as f64;
        report.add(Figure::cost(format!("{times}× the keys: of linear from 1×"), share, "×").target(LINEAR));
    }
    report.tell()
}

/// Feeds every row of so many keys, and says what it took.
async fn measure(keys: usize) -> Result<Value, Fault> {
    let folder = work_folder()?;
    let began = Timestamp::from_micros(1_700_000_000_000_000);
    let clock = ManualClock::at(began + Span::hours(HOURS));
    let files = COMPANY.map(|(path, text)| SpecFile { path: path.to_owned(), text: text.to_owned() });
    let catalog = Catalog::fixed(SpecSet::read(&files)?);
    let (dir, projections) = (folder.path().join("ledger"), vec![tenon_lake::projection()]);
    let ledger = Ledger::create(LedgerOptions { dir, origin: "acme".to_owned(), clock: clock.clone(), projections })?;
    let root = folder.path().join("lake");
    let lake = Lake::open(LakeOptions { root, ledger, catalog: catalog.clone(), clock: clock.clone() }).await?;
    let file = folder.path().join("online");
    let options = || FeatureStoreOptions {
        online: OnlinePlace::File(file.clone()),
        lake: lake.clone(),
        catalog: catalog.clone(),
        clock: clock.clone(),
    };
    let store = FeatureStore::open(options()).await?;
    let before = resident_bytes()?;
    let rows = keys * ROWS_A_KEY;
    let (mut wall, mut processor) = (0.0, 0.0);
    for first in (0..rows).step_by(BATCH) {
        let batch = payments(keys, first..rows.min(first + BATCH), rows, began)?;
        let source = BatchSource::new("payments", Digest::of(first.to_string()));
        let written = lake.write(&Principal::person("ana"), &"payments".parse()?, &source, vec![batch]).await?;
        let WriteOutcome::Committed { fact, accepted } = written else { return Err(fault("rows were not taken")) };
        let (start, used) = (Instant::now(), ProcessTime::now());
        store.feed("payments", &accepted, fact.version).await?;
        wall += start.elapsed().as_secs_f64();
        processor += used.elapsed().as_secs_f64();
    }
    let (start, used) = (Instant::now(), ProcessTime::now());
    store.flush().await?;
    wall += start.elapsed().as_secs_f64();
    processor += used.elapsed().as_secs_f64();
    let memory = resident_bytes()?.saturating_sub(before);
    let (read, first) = reads(&store, keys, &clock).await?;
    drop(store);
    let start = Instant::now();
    let store = FeatureStore::open(options()).await?;
    let restart = start.elapsed().as_secs_f64();
    if reads(&store, keys, &clock).await?.1 != first {
        return Err(fault("after a restart other values are read"));
    }
    Ok(json!({
        "events_per_second": rows as f64 / wall,
        "events_per_cpu_second": rows as f64 / processor,
        "bytes_a_key": memory as f64 / keys as f64,
        "disk_bytes_a_key": on_disk(&file)? as f64 / keys as f64,
        "restart_seconds": restart,
        "read_micros": read,
    }))
}

/// Rows in the order of their events, of keys in no order.
fn payments(keys: usize, of: std::ops::Range<usize>, rows: usize, began: Timestamp) -> Result<RecordBatch, Fault> {
    // A step that shares no divisor with the number of keys comes by each of them, once a round.
    let cards: Int64Array = of.clone().map(|row| Some((row * 7_368_787 % keys) as i64)).collect();
    let length = Span::hours(HOURS).as_micros();
    let at = |row: usize| began.as_micros() + ((row + 1) as i128 * i128::from(length) / rows as i128) as i64;
    let moments: TimestampMicrosecondArray = of.clone().map(|row| Some(at(row))).collect();
    let amounts: Float64Array = of.map(|row| Some((row * 31 % 10_007) as f64 / 100.0)).collect();
    let columns: [(&str, ArrayRef); 3] =
        [("card", Arc::new(cards)), ("at", Arc::new(moments.with_timezone("UTC"))), ("amount", Arc::new(amounts))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// The median of reads, in microseconds, and a digest of what was read.
async fn reads(store: &FeatureStore, keys: usize, clock: &ManualClock) -> Result<(f64, Digest), Fault> {
    use tenon_core::Clock;
    let (model, now) = ("fraud".parse()?, clock.now());
    let (mut micros, mut digest) = (Vec::with_capacity(READS), Digest::builder());
    for read in 0..READS {
        let entity = Map::from_iter([("card".to_owned(), json!(read * 7_919 % keys))]);
        let start = Instant::now();
        let row = store.online(&model, &entity, now).await?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
        digest.update(format!("{:?}", row.values));
        if row.values.get(4) != Some(&Some(ROWS_A_KEY as f32)) {
            return Err(fault(format!("card {} has {:?}", read * 7_919 % keys, row.values)));
        }
    }
    Ok((median(&micros), digest.finish()))
}

/// What this process holds in memory.
fn resident_bytes() -> Result<u64, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| fault("/proc/self/status does not tell what is resident"))? << 10)
}

fn on_disk(path: &Path) -> Result<u64, Fault> {
    Ok(std::fs::metadata(path)?.len())
}
