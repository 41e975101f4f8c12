//! Reads of 20 features of one entity: over HTTP in Feast's protocol, against Feast's own feature server on its SQLite store
//! with the same values, and in process.
//!
//! The load is a closed loop: each client asks again when it has its answer. The server and its load share the machine, and
//! turns alternate. Feast's server runs with as many workers as there are cores, its access log off, and without the
//! restart of each worker after a thousand requests that is its default.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};
use tenon_benches::{Caller, Fault, Figure, Peer, Report, Server, fault, median, quantile, tenon, work_folder};
use tenon_company::Catalog;
use tenon_core::clock::{ManualClock, SystemClock};
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{Clock, Digest, Principal, Span, Timestamp};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

const ENTITIES: usize = 1_000;
const FEATURES: usize = 20;
const CLIENTS: [usize; 2] = [1, 64];
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(2);
const TURN: Duration = Duration::from_secs(8);
const READS: usize = 200_000;
/// How many times better than Feast's server.
const TARGET: f64 = 20.0;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let mut report = Report::of("online");
    let now = SystemClock.now();
    let folder = work_folder()?;
    let rows = rows(now)?;
    over_http(folder.path(), &rows, &mut report).await?;
    in_process(folder.path(), rows, now, &mut report).await?;
    report.tell()
}

async fn over_http(folder: &Path, rows: &RecordBatch, report: &mut Report) -> Result<(), Fault> {
    let company = folder.join("acme");
    found(&company)?;
    let server = Server::start(&company)?;
    push(&server, rows).await?;
    let mut file = ArrowWriter::try_new(std::fs::File::create(folder.join("rows.parquet"))?, rows.schema(), None)?;
    file.write(rows)?;
    file.close()?;
    let mut peer = Peer::start("feast_server.py", folder, 2)?;
    let started = peer.ask("start")?;
    let theirs = started["address"].as_str().ok_or_else(|| fault(format!("Feast's server said {started}")))?.to_owned();
    let (own, theirs) = (caller(&server.address)?, caller(&theirs)?);
    same_answers(&own, &theirs).await?;
    for clients in CLIENTS {
        let (mut fast, mut slow) = (Turns::default(), Turns::default());
        for _ in 0..ROUNDS {
            slow.add(load(&theirs, clients).await?);
            fast.add(load(&own, clients).await?);
        }
        let (who, what) = ("Feast's server", format!("{clients} clients"));
        let p99 = |turns: &Turns| median(&turns.p99) * 1e3;
        report.add(
            Figure::cost(format!("{what}: median"), median(&fast.median) * 1e3, "ms")
                .against(who, median(&slow.median) * 1e3),
        );
        report.add(Figure::cost(format!("{what}: p99"), p99(&fast), "ms").against(who, p99(&slow)));
        report.add(Figure::speed(format!("{what}: p99, times lower"), p99(&slow) / p99(&fast), "×").target(TARGET));
        let (ours, peers) = (median(&fast.rate), median(&slow.rate));
        report.add(Figure::speed(format!("{what}: answers"), ours, "/s").against(who, peers));
        report.add(Figure::speed(format!("{what}: answers, times more"), ours / peers, "×").target(TARGET));
    }
    Ok(())
}

/// What the turns of one server came to.
#[derive(Default)]
struct Turns {
    median: Vec<f64>,
    p99: Vec<f64>,
    rate: Vec<f64>,
}

impl Turns {
    fn add(&mut self, latencies: Vec<f64>) {
        self.median.push(median(&latencies));
        self.p99.push(quantile(&latencies, 0.99));
        self.rate.push(latencies.len() as f64 / TURN.as_secs_f64());
    }
}

/// Clients of one server.
fn caller(address: &str) -> Result<Caller, Fault> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).tcp_nodelay(true).build()?;
    let features: Vec<String> = (0..FEATURES).map(|feature| format!("sensor:f{feature}")).collect();
    let body = |entity| json!({ "features": features, "entities": { "sensor": [format!("s{entity}")] } }).to_string();
    let bodies = (0..ENTITIES).map(body).collect::<Vec<_>>().into();
    Ok(Caller { client, url: format!("{address}/get-online-features"), bodies })
}

/// The latencies of all answers of a turn, in seconds, after a warm-up.
async fn load(caller: &Caller, clients: usize) -> Result<Vec<f64>, Fault> {
    let begin = Instant::now() + WARM_UP;
    let end = begin + TURN;
    let client = |first: usize| {
        let caller = caller.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            for number in (first * 17..).step_by(7) {
                let start = Instant::now();
                if start >= end {
                    break;
                }
                caller.ask(number).await?;
                if start >= begin {
                    latencies.push(start.elapsed().as_secs_f64());
                }
            }
            Ok::<_, Fault>(latencies)
        })
    };
    let mut latencies = Vec::new();
    for client in (0..clients).map(client).collect::<Vec<_>>() {
        latencies.extend(client.await??);
    }
    Ok(latencies)
}

/// Both say the same of a hundred entities.
async fn same_answers(own: &Caller, theirs: &Caller) -> Result<(), Fault> {
    for number in 0..100 {
        let (ours, peers) = (own.ask(number).await?, theirs.ask(number).await?);
        let values = |bytes: &[u8]| -> Result<Vec<(String, Value, Value)>, Fault> {
            let answer: Value = serde_json::from_slice(bytes)?;
            let (names, results) = (&answer["metadata"]["feature_names"], &answer["results"]);
            let (Some(names), Some(results)) = (names.as_array(), results.as_array()) else {
                return Err(fault(format!("this is no answer: {answer}")));
            };
            let mut values: Vec<_> = names
                .iter()
                .zip(results)
                .map(|(name, result)| (name.to_string(), result["values"][0].clone(), result["statuses"][0].clone()))
                .collect();
            values.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(values)
        };
        let (ours, peers) = (values(&ours)?, values(&peers)?);
        let close = |(a, b): (&(String, Value, Value), &(String, Value, Value))| {
            let near = match (a.1.as_f64(), b.1.as_f64()) {
                (Some(x), Some(y)) => (x - y).abs() < 1e-4,
                _ => a.1 == b.1,
            };
            a.0 == b.0 && a.2 == b.2 && near
        };
        if ours.len() != FEATURES + 1 || peers.len() != ours.len() || !ours.iter().zip(&peers).all(close) {
            return Err(fault(format!("of entity {number} we say {ours:?}, and Feast says {peers:?}")));
        }
    }
    Ok(())
}

/// Two readings of each sensor, the second half an hour ago.
fn rows(now: Timestamp) -> Result<RecordBatch, Fault> {
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

async fn push(server: &Server, rows: &RecordBatch) -> Result<(), Fault> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(rows)?;
    writer.finish()?;
    let client = reqwest::Client::new();
    let request = client.post(format!("{}/ingest/readings", server.address)).body(writer.into_inner()?);
    let reply = request.header("content-type", "application/vnd.apache.arrow.stream").send().await?;
    let answer: Value = reply.json().await?;
    match answer["accepted"] == rows.num_rows() {
        true => Ok(()),
        false => Err(fault(format!("{} rows were pushed, and the server answered {answer}", rows.num_rows()))),
    }
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

fn found(folder: &Path) -> Result<(), Fault> {
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

/// The store alone, as `decide` asks it.
async fn in_process(folder: &Path, rows: RecordBatch, now: Timestamp, report: &mut Report) -> Result<(), Fault> {
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
    let online = OnlinePlace::File(folder.join("online.redb"));
    let store = FeatureStore::open(FeatureStoreOptions { online, lake, catalog, clock }).await?;
    let model = "fault".parse()?;
    let entity = |sensor: usize| Map::from_iter([("sensor".to_owned(), json!(format!("s{sensor}")))]);
    let entities: Vec<_> = (0..ENTITIES).map(entity).collect();
    let mut seconds = Vec::with_capacity(READS);
    for read in 0..READS {
        let start = Instant::now();
        let row = store.online(&model, &entities[read * 7 % ENTITIES], now).await?;
        seconds.push(start.elapsed().as_secs_f64());
        if row.values.len() != FEATURES || row.values.iter().any(Option::is_none) {
            return Err(fault(format!("read {read} found {:?}", row.values)));
        }
    }
    report.add(Figure::cost("in process: median", median(&seconds) * 1e6, "µs").target(10.0));
    report.add(Figure::cost("in process: p99", quantile(&seconds, 0.99) * 1e6, "µs"));
    Ok(())
}
