//! Landing a year of flights: contract checked, what breaks it in quarantine, files synced, the fact sealed; and the same with
//! cleaning, which keeps every row as it came beside the clean one — against Python `deltalake.write_deltalake` and DuckDB's
//! `COPY` to Parquet, which write the same rows with no checks and sync nothing.
//!
//! All have the rows in memory and write them into a table of its own that does not exist yet, turn by turn. Reading the
//! source is on no side.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use cpu_time::ProcessTime;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tenon_benches::{Fault, Figure, Peer, Report, fault, median, repository, work_folder};
use tenon_company::{Catalog, read_folder};
use tenon_core::clock::SystemClock;
use tenon_core::fact::DatasetCommitted;
use tenon_core::spec::SpecSet;
use tenon_core::{Digest, Principal};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

const ROUNDS: usize = 9;
const CHECKED: &str = "contract";
const CLEANED: &str = "contract and cleaning, rows kept as they came";
const DELTALAKE: &str = "write_deltalake";
const DUCKDB: &str = "DuckDB COPY";
/// Four columns cleaned, one derived.
const CLEANING: &str = r#"
[contract.columns.made_up]
type = "int64"
nullable = true
[clean.columns.carrier]
trim = true
[clean.columns.dest]
trim = true
[clean.columns.tailnum]
trim = true
[clean.columns.plane]
trim = true
[clean.columns.made_up]
sql = "dep_delay - arr_delay"
"#;
/// The record's flights with their moments, as the quickstart tells them.
const MOMENTS: &str = include_str!("../../../examples/flights/moments.sql");
const FLIGHTS: &str =
    "SELECT flight_id, carrier, tailnum, plane, origin, dest, departed_at, landed_at, dep_delay, arr_delay, air_time,
  COALESCE(landed_at, departed_at + INTERVAL '12 hours', sched_dep_at + INTERVAL '3 hours') AS closed_at
FROM flights ORDER BY closed_at, flight_id";
const PLANES: &str = "SELECT tailnum, year, manufacturer, model, engines, seats FROM planes ORDER BY tailnum";

/// What one turn took, in seconds.
struct Turn {
    wall: f64,
    processor: f64,
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = work_folder()?;
    let mut report = Report::of("ingest");
    let (flights, planes) = tell(folder.path()).await?;
    let mut file = ArrowWriter::try_new(File::create(folder.path().join("rows.parquet"))?, flights.schema(), None)?;
    file.write(&flights)?;
    file.close()?;
    let mut peer = Peer::start("ingest.py", folder.path(), 2)?;
    let mut turns: BTreeMap<&str, Vec<Turn>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for (how, cleaning) in [(CHECKED, ""), (CLEANED, CLEANING)] {
            let dir = folder.path().join("ours");
            let lake = lake(&dir, &planes, cleaning).await?;
            let (start, used) = (Instant::now(), ProcessTime::now());
            let landed = land(&lake, "flights", &flights).await?;
            let turn = Turn { wall: start.elapsed().as_secs_f64(), processor: used.elapsed().as_secs_f64() };
            drop(lake);
            std::fs::remove_dir_all(&dir)?;
            if landed.rows_in as usize != flights.num_rows() || landed.accepted + landed.quarantined != landed.rows_in {
                return Err(fault(format!("rows are missing: {landed:?}")));
            }
            match round {
                // The first turn warms up.
                0 => report.add(Figure::cost(format!("{how}: rows in quarantine"), landed.quarantined as f64, "rows")),
                _ => turns.entry(how).or_default().push(turn),
            }
        }
        for name in [DELTALAKE, DUCKDB] {
            let answer = peer.ask(name)?;
            let told = |what: &str| answer[what].as_f64().ok_or_else(|| fault(format!("{name} told no {what}")));
            if told("rows")? as usize != flights.num_rows() {
                return Err(fault(format!("rows are missing: {answer}")));
            }
            let turn = Turn { wall: told("seconds")?, processor: told("processor")? };
            if round > 0 {
                turns.entry(name).or_default().push(turn);
            }
        }
    }
    let wall = |who: &str| median(&turns[who].iter().map(|turn| turn.wall).collect::<Vec<_>>());
    let processor = |who: &str| median(&turns[who].iter().map(|turn| turn.processor).collect::<Vec<_>>());
    let rows = flights.num_rows() as f64;
    for how in [CHECKED, CLEANED] {
        for (name, target) in [(DELTALAKE, 1.0), (DUCKDB, 0.7)] {
            let what = format!("{how}: landed, median of {ROUNDS}");
            report.add(Figure::speed(what, rows / wall(how), "rows/s").against(name, rows / wall(name)));
            report.add(Figure::speed(format!("{how}: × {name}"), wall(name) / wall(how), "×").target(target));
        }
        let cost = Figure::cost(format!("{how}: processor time"), processor(how), "s");
        report.add(cost.against(DELTALAKE, processor(DELTALAKE)));
    }
    report.tell()
}

/// The year's flights and the register of planes, as datasets of the example company.
async fn tell(scratch: &Path) -> Result<(RecordBatch, RecordBatch), Fault> {
    let session = tenon_query::session(1 << 30, scratch)?;
    for (table, file) in [("record", "flights"), ("planes", "planes"), ("airports", "airports")] {
        let file = File::open(repository(&format!("examples/flights/{file}.parquet")))?;
        let rows = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?.collect::<Result<Vec<_>, _>>()?;
        let schema = rows.first().map(RecordBatch::schema).ok_or_else(|| fault("the example is empty"))?;
        session.register_table(table, tenon_query::memory_table(schema, rows)?)?;
    }
    tenon_query::register_view(&session, "flights", MOMENTS).await?;
    let mut told = Vec::new();
    for sql in [FLIGHTS, PLANES] {
        let rows = tenon_query::run(&session, sql).await?;
        let schema = rows.first().map(RecordBatch::schema).ok_or_else(|| fault("the example is empty"))?;
        told.push(concat_batches(&schema, &rows)?);
    }
    let planes = told.pop().ok_or_else(|| fault("no planes"))?;
    Ok((told.pop().ok_or_else(|| fault("no flights"))?, planes))
}

/// A lake of the example company with a ledger of its own and the planes that flights refer to.
async fn lake(dir: &Path, planes: &RecordBatch, cleaning: &str) -> Result<Lake, Fault> {
    let mut files = read_folder(&repository("examples/acme"))?;
    for file in files.iter_mut().filter(|file| file.path.ends_with("datasets/flights.toml")) {
        file.text.push_str(cleaning);
    }
    let catalog = Catalog::fixed(SpecSet::read(&files)?);
    let clock = Arc::new(SystemClock);
    let projections = vec![tenon_lake::projection()];
    let ledger =
        LedgerOptions { dir: dir.join("ledger"), origin: "acme".to_owned(), clock: clock.clone(), projections };
    let ledger = Ledger::create(ledger)?;
    let lake = Lake::open(LakeOptions { root: dir.join("lake"), ledger, catalog, clock }).await?;
    land(&lake, "planes", planes).await?;
    Ok(lake)
}

async fn land(lake: &Lake, dataset: &str, rows: &RecordBatch) -> Result<DatasetCommitted, Fault> {
    let source = BatchSource::new(dataset, Digest::of(dataset));
    match lake.write(&Principal::person("ana"), &dataset.parse()?, &source, vec![rows.clone()]).await? {
        WriteOutcome::Committed { fact, .. } => Ok(fact),
        WriteOutcome::Already(_) => Err(fault(format!("{dataset} had landed before"))),
        WriteOutcome::Refused(fact) => Err(fault(fact.sentence)),
    }
}
