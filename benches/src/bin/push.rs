//! Rows pushed over HTTP as Arrow IPC — read, contract checked, digested, files synced, fact sealed, answered — against a bare
//! Parquet write of the same batches by the same library, which checks and syncs nothing. Turn by turn, one caller.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use tenon_benches::{Fault, Figure, Report, Server, fault, median, tenon, work_folder};

const ROUNDS: i64 = 9;
/// Rows of one push: some 20 MB.
const ROWS: i64 = 500_000;
const DATASET: &str = r#"description = "Payments as they are made"
event_time = "at"
[source]
push = true
[contract]
key = ["id"]
[contract.columns]
id = { type = "int64" }
account = { type = "string", pattern = "A[0-9]{6}" }
amount = { type = "float64", range = [0, 10000] }
currency = { type = "string", one_of = ["EUR", "USD"] }
at = { type = "timestamp" }
"#;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = work_folder()?;
    let company = folder.path().join("acme");
    found(&company)?;
    let server = Server::start(&company)?;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    let mut report = Report::of("push");
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let rows = rows(round * ROWS)?;
        let body = stream(&rows)?;
        let start = Instant::now();
        write(&folder.path().join("bare.parquet"), &rows)?;
        let written = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let request = client.post(format!("{}/ingest/payments", server.address)).body(body);
        let reply = request.header("content-type", "application/vnd.apache.arrow.stream").send().await?;
        let answer: Value = reply.json().await?;
        let pushed = start.elapsed().as_secs_f64();
        if answer["accepted"] != ROWS {
            return Err(fault(format!("{ROWS} rows were pushed, and the server answered {answer}")));
        }
        // The first turn warms up.
        if round > 0 {
            own.push(ROWS as f64 / pushed);
            bare.push(ROWS as f64 / written);
        }
    }
    let what = format!("rows pushed, {ROWS} a request, median of {ROUNDS}");
    report.add(Figure::speed(what, median(&own), "rows/s").against("bare Parquet write", median(&bare)));
    report.add(Figure::speed("share of the bare write", median(&own) / median(&bare), "×").target(0.5));
    report.tell()
}

/// A company with one dataset that is pushed.
fn found(company: &Path) -> Result<(), Fault> {
    let datasets = company.join("pods/money/datasets");
    std::fs::create_dir_all(&datasets)?;
    std::fs::write(company.join("company.toml"), "name = \"acme\"\n[identity]\nlocal = \"ana\"\n")?;
    std::fs::write(company.join("pods/money/pod.toml"), "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n")?;
    std::fs::write(datasets.join("payments.toml"), DATASET)?;
    let applied = Command::new(tenon()?).arg("--dir").arg(company).arg("apply").output()?;
    match applied.status.success() {
        true => Ok(()),
        false => Err(fault(String::from_utf8_lossy(&applied.stderr))),
    }
}

fn rows(first: i64) -> Result<RecordBatch, Fault> {
    let ids = || first..first + ROWS;
    let accounts = ids().map(|id| format!("A{:06}", id.wrapping_mul(7919) % 1_000_000));
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids()))),
        ("account", Arc::new(StringArray::from_iter_values(accounts))),
        ("amount", Arc::new(Float64Array::from_iter_values(ids().map(|id| (id * 31 % 999_983) as f64 / 100.0)))),
        ("currency", Arc::new(StringArray::from_iter_values(ids().map(|id| if id % 3 == 0 { "USD" } else { "EUR" })))),
        ("at", Arc::new(moments(ids()))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// One row a millisecond, from the beginning of 2026.
fn moments(ids: std::ops::Range<i64>) -> TimestampMicrosecondArray {
    let moments = TimestampMicrosecondArray::from_iter_values(ids.map(|id| 1_767_225_600_000_000 + id * 1_000));
    moments.with_timezone("UTC")
}

fn stream(rows: &RecordBatch) -> Result<Vec<u8>, Fault> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(rows)?;
    Ok(writer.into_inner()?)
}

fn write(path: &Path, rows: &RecordBatch) -> Result<(), Fault> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, rows.schema(), Some(properties))?;
    writer.write(rows)?;
    writer.close()?;
    Ok(())
}
