//! The point-in-time join: observations with the newest row of three tables, Parquet to Parquet, on two threads, against
//! DuckDB's `ASOF JOIN` and Polars' `join_asof`, turn by turn; the same in 512 MB; and its cost as the rows grow.
//!
//! Every turn of everybody is a process of its own, which tells its seconds and its peak memory, so that none inherits the
//! other's. Rows lie in the order of their moments, as a log holds them and as Polars needs them. 2 million observations and
//! 3 × 7 million rows; `TENON_BENCH_ASOF_SCALE=0.1` takes a tenth of both.
//!
//! `asof feast` does the same against Feast's offline retrieval with its local engine, which holds each entity's observations
//! times its rows in memory: a tenth of the rows and of the entities, or `TENON_BENCH_FEAST_SCALE`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use cpu_time::ProcessTime;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use rayon::prelude::*;
use serde_json::{Value, json};
use tenon_benches::{Fault, Figure, Report, fault, median, repository, work_folder};

const ROUNDS: usize = 5;
const OBSERVATIONS: f64 = 2e6;
const ROWS: f64 = 7e6;
const ENTITIES: f64 = 1e5;
const TABLES: usize = 3;
const YEAR: i64 = 365 * 24 * 3_600 * 1_000_000;
const BATCH: usize = 65_536;
const GROUP: usize = 1 << 20;
const PLENTY: usize = 8 << 30;
const SCARCE: usize = 512 << 20;
const DUCKDB: &str = "DuckDB";
const POLARS: &str = "Polars";
const PEERS: &str = "benches/peers/asof.py";
const FEAST_OFFLINE: &str = "benches/peers/feast_offline.py";

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => measure(),
        [verb] if verb == "feast" => against_feast(),
        // One turn of ours.
        [verb, folder, bytes] if verb == "join" => {
            let told = join(Path::new(folder), bytes.parse()?).await?;
            std::io::Write::write_all(&mut std::io::stdout(), format!("{told}\n").as_bytes())?;
            Ok(())
        }
        other => Err(fault(format!("`{}` is nothing to do", other.join(" ")))),
    }
}

/// What one turn took.
struct Turn {
    wall: f64,
    processor: f64,
    megabytes: f64,
}

impl Turn {
    fn told(answer: &Value) -> Result<Self, Fault> {
        let number = |what: &str| answer[what].as_f64().ok_or_else(|| fault(format!("no {what} in {answer}")));
        Ok(Self { wall: number("seconds")?, processor: number("processor")?, megabytes: number("peak")? / 1e6 })
    }
}

fn measure() -> Result<(), Fault> {
    let scale: f64 = std::env::var("TENON_BENCH_ASOF_SCALE").map_or(Ok(1.0), |scale| scale.parse())?;
    let folder = work_folder()?;
    let mut report = Report::of("asof");
    let sizes: Vec<(u32, PathBuf)> = [1, 2, 4, 8].map(|times| (times, folder.path().join(format!("{times}x")))).into();
    for (times, path) in &sizes {
        generate(path, scale * f64::from(*times) / 8.0)?;
    }
    let full = &sizes[sizes.len() - 1].1;
    ours(full, PLENTY)?;
    for peer in [DUCKDB, POLARS] {
        theirs(peer, full, PLENTY)?;
        let compared = python(PEERS, &["compare", peer], full, PLENTY)?;
        if compared["different"].as_u64() != Some(0) {
            return Err(fault(format!("{peer} joins other rows: {compared}")));
        }
    }
    against_peers(&mut report, full)?;
    in_little_memory(&mut report, full)?;
    growth(&mut report, &sizes, scale)?;
    report.tell()
}

fn against_peers(report: &mut Report, full: &Path) -> Result<(), Fault> {
    let (mut own, mut duckdb, mut polars) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(ours(full, PLENTY)?);
        duckdb.push(theirs(DUCKDB, full, PLENTY)?);
        polars.push(theirs(POLARS, full, PLENTY)?);
    }
    let of = |turns: &[Turn], what: fn(&Turn) -> f64| median(&turns.iter().map(what).collect::<Vec<_>>());
    for (name, turns) in [(DUCKDB, &duckdb), (POLARS, &polars)] {
        let (wall, theirs) = (of(&own, |turn| turn.wall), of(turns, |turn| turn.wall));
        report.add(Figure::cost(format!("wall clock, median of {ROUNDS}"), wall, "s").against(name, theirs));
        report.add(Figure::speed(format!("× {name}"), theirs / wall, "×").target(1.5));
        let seconds = Figure::cost("processor time", of(&own, |turn| turn.processor), "s");
        report.add(seconds.against(name, of(turns, |turn| turn.processor)));
        let (peak, theirs) = (of(&own, |turn| turn.megabytes), of(turns, |turn| turn.megabytes));
        report.add(Figure::cost("peak memory of the process", peak, "MB").against(name, theirs).target(theirs));
    }
    Ok(())
}

fn against_feast() -> Result<(), Fault> {
    let scale: f64 = std::env::var("TENON_BENCH_FEAST_SCALE").map_or(Ok(0.1), |scale| scale.parse())?;
    let folder = work_folder()?;
    let rows = folder.path().join("rows");
    generate(&rows, scale)?;
    ours(&rows, PLENTY)?;
    let feast = |what: &str| -> Result<Value, Fault> { python(FEAST_OFFLINE, &[what], &rows, PLENTY) };
    let first = Turn::told(&feast("join")?)?;
    let compared = feast("compare")?;
    if compared["different"].as_u64() != Some(0) {
        return Err(fault(format!("Feast joins other rows: {compared}")));
    }
    let (mut own, mut theirs) = (Vec::new(), vec![first]);
    for round in 0..ROUNDS {
        own.push(ours(&rows, PLENTY)?);
        if round > 2 {
            theirs.push(Turn::told(&feast("join")?)?);
        }
    }
    let of = |turns: &[Turn], what: fn(&Turn) -> f64| median(&turns.iter().map(what).collect::<Vec<_>>());
    let mut report = Report::of("asof-feast");
    let (wall, longer) = (of(&own, |turn| turn.wall), of(&theirs, |turn| turn.wall));
    let observations = (OBSERVATIONS * scale) as u64;
    let cost = Figure::cost(format!("{observations} observations, three tables: wall clock"), wall, "s");
    report.add(cost.against("Feast", longer));
    report.add(Figure::speed("× Feast's offline retrieval", longer / wall, "×").target(20.0));
    let peak = Figure::cost("peak memory of the process", of(&own, |turn| turn.megabytes), "MB");
    report.add(peak.against("Feast", of(&theirs, |turn| turn.megabytes)));
    report.tell()
}

fn in_little_memory(report: &mut Report, full: &Path) -> Result<(), Fault> {
    let (mut own, mut duckdb) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(ours(full, SCARCE)?);
        match theirs(DUCKDB, full, SCARCE) {
            Ok(turn) => duckdb.push(turn),
            Err(why) => {
                std::io::Write::write_all(&mut std::io::stderr(), format!("DuckDB in 512 MB: {why}\n").as_bytes())?;
            }
        }
    }
    let of = |turns: &[Turn], what: fn(&Turn) -> f64| median(&turns.iter().map(what).collect::<Vec<_>>());
    let seconds = Figure::cost("in 512 MB: wall clock", of(&own, |turn| turn.wall), "s");
    let peak = Figure::cost("in 512 MB: peak memory of the process", of(&own, |turn| turn.megabytes), "MB");
    if duckdb.is_empty() {
        report.add(seconds);
        report.add(peak);
        return Ok(());
    }
    let theirs = of(&duckdb, |turn| turn.wall);
    report.add(seconds.against(DUCKDB, theirs).target(theirs));
    report.add(peak.against(DUCKDB, of(&duckdb, |turn| turn.megabytes)));
    Ok(())
}

fn growth(report: &mut Report, sizes: &[(u32, PathBuf)], scale: f64) -> Result<(), Fault> {
    let mut turns: Vec<Vec<f64>> = vec![Vec::new(); sizes.len()];
    for _ in 0..ROUNDS {
        for ((_, path), turns) in sizes.iter().zip(&mut turns) {
            turns.push(ours(path, PLENTY)?.wall);
        }
    }
    let work = |times: u32| {
        let rows = scale * f64::from(times) / 8.0 * (OBSERVATIONS + TABLES as f64 * ROWS);
        rows * rows.log2()
    };
    let first = median(&turns[0]) / work(sizes[0].0);
    for ((times, _), turns) in sizes.iter().zip(&turns) {
        let seconds = median(turns);
        report.add(Figure::cost(format!("{times}× the rows: wall clock"), seconds, "s"));
        let share = Figure::cost(format!("{times}× the rows: of n log n from 1×"), seconds / work(*times) / first, "×");
        report.add(share.target(1.15));
    }
    Ok(())
}

fn ours(folder: &Path, bytes: usize) -> Result<Turn, Fault> {
    let mut command = Command::new(std::env::current_exe()?);
    Turn::told(&answer(command.arg("join").arg(folder).arg(bytes.to_string()))?)
}

fn theirs(peer: &str, folder: &Path, bytes: usize) -> Result<Turn, Fault> {
    Turn::told(&python(PEERS, &["join", peer], folder, bytes)?)
}

fn python(script: &str, what: &[&str], folder: &Path, bytes: usize) -> Result<Value, Fault> {
    let python = std::env::var_os("TENON_BENCH_PYTHON")
        .ok_or_else(|| fault("TENON_BENCH_PYTHON names no interpreter; benches/run.sh makes one"))?;
    let mut command = Command::new(python);
    command.arg(repository(script)).args(what).arg(folder).arg(bytes.to_string());
    answer(command.env("POLARS_MAX_THREADS", "2"))
}

fn answer(command: &mut Command) -> Result<Value, Fault> {
    let done = command.output()?;
    if !done.status.success() {
        return Err(fault(String::from_utf8_lossy(&done.stderr)));
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// One turn of ours: the files' rows joined and written.
async fn join(folder: &Path, bytes: usize) -> Result<Value, Fault> {
    let spill = work_folder()?;
    let (start, used) = (Instant::now(), ProcessTime::now());
    let session = tenon_query::session(bytes, spill.path())?;
    for table in std::iter::once("o".to_owned()).chain((0..TABLES).map(|table| format!("t{table}"))) {
        let path = folder.join(format!("{table}.parquet"));
        let path = path.to_str().ok_or_else(|| fault("the work folder is not UTF-8"))?;
        tenon_query::register_parquet(&session, &table, path).await?;
    }
    let columns: Vec<String> = (0..TABLES).map(|table| format!("t{table}.a{table}, t{table}.b{table}")).collect();
    let joins: String = (0..TABLES)
        .map(|table| format!(" ASOF JOIN t{table} MATCH_CONDITION (o.at >= t{table}.at) ON o.k = t{table}.k"))
        .collect();
    let sql = format!("SELECT o.id, o.k, o.at, {} FROM o{joins}", columns.join(", "));
    let mut joined = tenon_query::stream(&session, &sql).await?;
    let mut writer = Groups::new(&folder.join("ours.parquet"), joined.schema())?;
    while let Some(batch) = joined.next().await {
        writer.write(batch?)?;
    }
    let rows = writer.close()?;
    let (seconds, processor) = (start.elapsed().as_secs_f64(), used.elapsed().as_secs_f64());
    Ok(json!({ "seconds": seconds, "processor": processor, "rows": rows, "peak": peak()? }))
}

/// Writes row groups, their columns side by side.
struct Groups {
    writer: SerializedFileWriter<File>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    groups: usize,
    rows: usize,
}

impl Groups {
    fn new(path: &Path, schema: SchemaRef) -> Result<Self, Fault> {
        let writer = ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), Some(properties()))?;
        let (writer, factory) = writer.into_serialized_writer()?;
        Ok(Self { writer, factory, schema, waiting: Vec::new(), waiting_rows: 0, groups: 0, rows: 0 })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<(), Fault> {
        self.waiting_rows += batch.num_rows();
        self.waiting.push(batch);
        if self.waiting_rows >= GROUP / 4 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let waiting = std::mem::take(&mut self.waiting);
        let writers = self.factory.create_column_writers(self.groups)?;
        let columns = writers.into_par_iter().enumerate().map(|(column, mut writer)| {
            for batch in &waiting {
                for leaf in compute_leaves(self.schema.field(column), batch.column(column))? {
                    writer.write(&leaf)?;
                }
            }
            writer.close()
        });
        let columns: Vec<ArrowColumnChunk> = columns.collect::<Result<_, _>>()?;
        let mut group = self.writer.next_row_group()?;
        for column in columns {
            column.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.groups += 1;
        self.rows += std::mem::take(&mut self.waiting_rows);
        Ok(())
    }

    fn close(mut self) -> Result<usize, Fault> {
        if self.waiting_rows > 0 {
            self.flush()?;
        }
        self.writer.close()?;
        Ok(self.rows)
    }
}

fn properties() -> WriterProperties {
    WriterProperties::builder().set_compression(Compression::SNAPPY).set_max_row_group_row_count(Some(GROUP)).build()
}

/// The most memory that this process has had, in bytes.
fn peak() -> Result<f64, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or_else(|| fault("no VmHWM"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024.0)
}

/// Writes observations and tables of this share of the whole.
fn generate(folder: &Path, share: f64) -> Result<(), Fault> {
    std::fs::create_dir_all(folder)?;
    let entities = (ENTITIES * share).max(1.0) as u64;
    let count = |whole: f64| (whole * share).max(1.0) as usize;
    write(&folder.join("o.parquet"), count(OBSERVATIONS), |rows, total| {
        let ids: Int64Array = rows.clone().map(|row| Some(row as i64)).collect();
        Ok(RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as ArrayRef),
            ("k", keys(rows.clone(), 1, entities)),
            ("at", moments(rows, total)),
        ])?)
    })?;
    for table in 0..TABLES {
        let salt = table as u64 + 2;
        write(&folder.join(format!("t{table}.parquet")), count(ROWS), |rows, total| {
            let floats: Float64Array = rows.clone().map(|row| Some(mix(row, salt, 7) as f64 / 1024.0)).collect();
            let numbers: Int64Array = rows.clone().map(|row| Some((mix(row, salt, 9) % 1_000_000) as i64)).collect();
            Ok(RecordBatch::try_from_iter([
                ("k".to_owned(), keys(rows.clone(), salt, entities)),
                ("at".to_owned(), moments(rows, total)),
                (format!("a{table}"), Arc::new(floats) as ArrayRef),
                (format!("b{table}"), Arc::new(numbers) as ArrayRef),
            ])?)
        })?;
    }
    Ok(())
}

fn write(
    path: &Path,
    total: usize,
    rows: impl Fn(std::ops::Range<usize>, usize) -> Result<RecordBatch, Fault>,
) -> Result<(), Fault> {
    let first = rows(0..total.min(BATCH), total)?;
    let mut writer = ArrowWriter::try_new(File::create(path)?, first.schema(), Some(properties()))?;
    for start in (0..total).step_by(BATCH) {
        writer.write(&rows(start..(start + BATCH).min(total), total)?)?;
    }
    writer.close()?;
    Ok(())
}

fn keys(rows: std::ops::Range<usize>, salt: u64, entities: u64) -> ArrayRef {
    let keys: Int64Array = rows.map(|row| Some((mix(row, salt, 3) % entities) as i64)).collect();
    Arc::new(keys)
}

/// Moments over a year, each later than the one before.
fn moments(rows: std::ops::Range<usize>, total: usize) -> ArrayRef {
    let moments: TimestampMicrosecondArray = rows.map(|row| Some(YEAR / total as i64 * row as i64)).collect();
    Arc::new(moments)
}

/// A number that looks like chance (SplitMix64's finish), below 2^44.
fn mix(row: usize, salt: u64, of: u64) -> u64 {
    let mut mixed = (row as u64 ^ (salt << 40)).wrapping_add(of.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) >> 20
}
