//! Landing a year of flights: contract checked, what breaks it in quarantine, files synced, the fact sealed — against
//! Python `deltalake.write_deltalake`, which writes the same rows with no checks and syncs nothing.
//!
//! Both have the rows in memory and write them into a table of its own that does not exist yet, turn by turn. Reading the
//! source is on neither side.

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
/// The record's flights with their moments, as the quickstart tells them.
const MOMENTS: &str = include_str!("../../../examples/flights/moments.sql");
const FLIGHTS: &str =
    "SELECT flight_id, carrier, tailnum, plane, origin, dest, departed_at, landed_at, dep_delay, arr_delay, air_time,
  COALESCE(landed_at, departed_at + INTERVAL '12 hours', sched_dep_at + INTERVAL '3 hours') AS closed_at
FROM flights ORDER BY closed_at, flight_id";
const PLANES: &str = "SELECT tailnum, year, manufacturer, model, engines, seats FROM planes ORDER BY tailnum";

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = work_folder()?;
    let mut report = Report::of("ingest");
    let (flights, planes) = tell(folder.path()).await?;
    let mut file = ArrowWriter::try_new(File::create(folder.path().join("rows.parquet"))?, flights.schema(), None)?;
    file.write(&flights)?;
    file.close()?;
    let mut peer = Peer::start("ingest.py", folder.path(), 2)?;

    let (mut own, mut theirs, mut own_processor, mut their_processor) = (vec![], vec![], vec![], vec![]);
    for round in 0..=ROUNDS {
        let dir = folder.path().join("ours");
        let lake = lake(&dir, &planes).await?;
        let (start, used) = (Instant::now(), ProcessTime::now());
        let landed = land(&lake, "flights", &flights).await?;
        let (wall, processor) = (start.elapsed().as_secs_f64(), used.elapsed().as_secs_f64());
        drop(lake);
        std::fs::remove_dir_all(&dir)?;
        let answer = peer.ask("write")?;
        let told = |name: &str| answer[name].as_f64().ok_or_else(|| fault(format!("the peer told no {name}")));
        if told("rows")? as usize != flights.num_rows() || landed.accepted + landed.quarantined != landed.rows_in {
            return Err(fault(format!("rows are missing: {answer}, {landed:?}")));
        }
        if round == 0 {
            report.add(Figure::speed("rows that landed", landed.accepted as f64, "rows"));
            report.add(Figure::cost("rows in quarantine", landed.quarantined as f64, "rows"));
            continue; // the first turn warms up
        }
        own.push(wall);
        own_processor.push(processor);
        theirs.push(told("seconds")?);
        their_processor.push(told("processor")?);
    }
    let what = format!("land all rows, median of {ROUNDS}");
    report.add(Figure::cost(what, median(&own), "s").against("write_deltalake", median(&theirs)));
    let processor = Figure::cost("the same, processor time", median(&own_processor), "s");
    report.add(processor.against("write_deltalake", median(&their_processor)));
    let rows = flights.num_rows() as f64;
    report.add(
        Figure::speed("the same", rows / median(&own), "rows/s").against("write_deltalake", rows / median(&theirs)),
    );
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
async fn lake(dir: &Path, planes: &RecordBatch) -> Result<Lake, Fault> {
    let catalog = Catalog::fixed(SpecSet::read(&read_folder(&repository("examples/acme"))?)?);
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
    let source = BatchSource { name: dataset.to_owned(), digest: Digest::of(dataset) };
    match lake.write(&Principal::person("ana"), &dataset.parse()?, &source, vec![rows.clone()]).await? {
        WriteOutcome::Committed { fact, .. } => Ok(fact),
        WriteOutcome::Already(_) => Err(fault(format!("{dataset} had landed before"))),
        WriteOutcome::Refused(fact) => Err(fault(fact.sentence)),
    }
}
