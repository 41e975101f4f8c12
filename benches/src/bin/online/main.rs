//! Reads of 20 features of one entity: over HTTP in Feast's protocol, against Feast's own feature server on its SQLite store
//! with the same values; in process; and from Redis, against a bare read of the same keys (`online redis` does only that).
//!
//! The load is a closed loop: each client asks again when it has its answer. The server and its load share the machine, and
//! turns alternate. Feast's server runs with as many workers as there are cores, its access log off, and without the
//! restart of each worker after a thousand requests that is its default.

mod client;
mod company;
mod in_redis;

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use tenon_benches::{Fault, Figure, Peer, Report, Server, fault, median, quantile, work_folder};
use tenon_core::clock::SystemClock;
use tenon_core::{Clock, Timestamp};
use tenon_features::OnlinePlace;

use client::{Clients, TURN};
use company::{FEATURES, found, rows};

const CLIENTS: [usize; 2] = [1, 64];
const ROUNDS: usize = 3;
const READS: usize = 200_000;
/// How many times better than Feast's server.
const TARGET: f64 = 20.0;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let now = SystemClock.now();
    let folder = work_folder()?;
    let rows = rows(now)?;
    if std::env::args().nth(1).as_deref() == Some("redis") {
        let mut report = Report::of("online-redis");
        in_redis::reads(folder.path(), rows, now, &mut report).await?;
        return report.tell();
    }
    let mut report = Report::of("online");
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
    let (own, theirs) = (Clients::of(&server.address), Clients::of(&theirs));
    same_answers(&own, &theirs)?;
    for clients in CLIENTS {
        let (mut fast, mut slow) = (Turns::default(), Turns::default());
        for _ in 0..ROUNDS {
            slow.add(theirs.load(clients)?);
            fast.add(own.load(clients)?);
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

/// Both say the same of a hundred entities.
fn same_answers(own: &Clients, theirs: &Clients) -> Result<(), Fault> {
    let (mut own, mut theirs) = (own.connect()?, theirs.connect()?);
    for number in 0..100 {
        let (ours, peers) = (own.ask(number)?, theirs.ask(number)?);
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
        let (ours, peers) = (values(ours)?, values(peers)?);
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

/// The store alone, as `decide` asks it.
async fn in_process(folder: &Path, rows: RecordBatch, now: Timestamp, report: &mut Report) -> Result<(), Fault> {
    let online = OnlinePlace::File(folder.join("online.redb"));
    let store = company::store(folder, online, rows, now).await?;
    let seconds = company::one_by_one(&store, now, READS).await?;
    report.add(Figure::cost("in process: median", median(&seconds) * 1e6, "µs").target(10.0));
    report.add(Figure::cost("in process: p99", quantile(&seconds, 0.99) * 1e6, "µs"));
    Ok(())
}
