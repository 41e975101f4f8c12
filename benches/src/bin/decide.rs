//! One decision end to end over HTTP, at 500 requests a second, against `tenon serve`.
//!
//! The load is an open loop: requests start on a fixed schedule, whether or not earlier ones have returned, and a latency
//! counts from the moment of the schedule to the last byte of the answer, so that a stall is felt by everybody who would
//! have waited in it. Connections are kept alive. The server and its load share the machine.
//!
//! `decide FOLDER` takes a company that the quickstart made, and adds decisions to it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenon_benches::{Caller, Fault, Figure, Report, Server, fault, quantile, tenon};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

const A_SECOND: u32 = 500;
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);
/// The newest flights of the schedule: each request asks about another one.
const ENTITIES: &str =
    "SELECT flight_id, tailnum, origin, carrier, dest FROM schedule ORDER BY published_at DESC, flight_id LIMIT 5000";

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| fault("usage: decide FOLDER"))?;
    let mut report = Report::of("decide");
    let entities = entities(Path::new(&folder))?;
    let synced = synced_writes(Path::new(&folder))?;
    report.add(Figure::cost("a synced write of 1.5 KB, alone: median", quantile(&synced, 0.5) * 1e3, "ms"));
    report.add(Figure::cost("a synced write of 1.5 KB, alone: p99", quantile(&synced, 0.99) * 1e3, "ms"));
    let server = Server::start(Path::new(&folder))?;
    let url = format!("{}/decide/late_arrival", server.address);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    for (explain, how) in [(false, "plain"), (true, "explained")] {
        let bodies = entities.iter().map(|entities| json!({ "entities": entities, "explain": explain }).to_string());
        let caller = Caller { client: client.clone(), url: url.clone(), bodies: bodies.collect::<Vec<_>>().into() };
        report.add(Figure::speed(format!("{how}: features known"), known(&caller).await? * 100.0, "%"));
        load(&caller, WARM_UP).await?;
        let latencies = load(&caller, MEASURED).await?;
        let figure =
            |name: &str, share| Figure::cost(format!("{how}: {name}"), quantile(&latencies, share) * 1e3, "ms");
        report.add(figure("median", 0.5));
        report.add(figure("p99", 0.99).target(5.0));
        report.add(figure("p99.9", 0.999));
        report.add(figure("slowest", 1.0));
        report.add(Figure::speed(format!("{how}: requests"), latencies.len() as f64, ""));
    }
    report.tell()
}

fn entities(folder: &Path) -> Result<Vec<Value>, Fault> {
    let mut command = Command::new(tenon()?);
    command.arg("--dir").arg(folder).args(["--output", "json", "query", ENTITIES, "--limit", "5000"]);
    let done = command.stderr(Stdio::inherit()).output()?;
    let rows: Vec<Value> = serde_json::from_slice(&done.stdout)?;
    // A null is left out of a row of JSON, and a request must name every key.
    let whole = |row: &Value| {
        let keys = ["flight_id", "tailnum", "origin", "carrier", "dest"];
        json!(keys.map(|key| (key.to_owned(), row[key].clone())).into_iter().collect::<serde_json::Map<_, _>>())
    };
    if rows.is_empty() { Err(fault("the company has no schedule")) } else { Ok(rows.iter().map(whole).collect()) }
}

/// What this disk takes to make one decision's bytes durable, in seconds, before anybody asks: on a quiet
/// machine no decision is faster, and on a busy one it says how busy.
fn synced_writes(folder: &Path) -> Result<Vec<f64>, Fault> {
    let mut file = tempfile::tempfile_in(folder)?;
    let write = |_| {
        let start = Instant::now();
        file.write_all(&[b' '; 1536])?;
        file.sync_data()?;
        Ok(start.elapsed().as_secs_f64())
    };
    (0..1000).map(write).collect()
}

/// Calls at a fixed rate for so long; the latencies in seconds. Any answer but a decision is a fault.
async fn load(caller: &Caller, length: Duration) -> Result<Vec<f64>, Fault> {
    let (caller, handle) = (caller.clone(), Handle::current());
    // The schedule is kept by a thread of its own: the runtime's timers count whole milliseconds.
    let started = tokio::task::spawn_blocking(move || keep_schedule(&caller, length, &handle)).await?;
    let mut latencies = Vec::with_capacity(started.len());
    for answered in started {
        latencies.push(answered.await??);
    }
    Ok(latencies)
}

fn keep_schedule(caller: &Caller, length: Duration, handle: &Handle) -> Vec<JoinHandle<Result<f64, Fault>>> {
    let start = Instant::now() + Duration::from_millis(10);
    let requests = (length.as_secs_f64() * f64::from(A_SECOND)) as u32;
    let ask = |number: u32| {
        let due = start + Duration::from_secs(1) * number / A_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let caller = caller.clone();
        handle.spawn(async move {
            caller.ask(number as usize).await?;
            Ok(due.elapsed().as_secs_f64())
        })
    };
    (0..requests).map(ask).collect()
}

/// The share of features that were known to the first thousand requests: a load of strangers would be too easy.
async fn known(caller: &Caller) -> Result<f64, Fault> {
    let (mut known, mut all) = (0, 0);
    for number in 0..1000 {
        let decision: Value = serde_json::from_slice(&caller.ask(number).await?)?;
        let features = decision["features"].as_array().ok_or_else(|| fault("a decision without features"))?;
        known += features.iter().filter(|feature| feature["status"] == "known").count();
        all += features.len();
    }
    Ok(f64::from(u32::try_from(known)?) / f64::from(u32::try_from(all)?))
}
