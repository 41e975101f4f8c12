//! The ledger: durable appends, and verification from an empty verifier.
//!
//! Facts are like those of served decisions, and each seals an operation. Nothing is folded from them, so that the ledger
//! alone is measured. Durable is SQLite's `COMMIT` with `synchronous=FULL`: the figures are this disk's.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cpu_time::ProcessTime;
use tenon_benches::{Fault, Figure, Report, fault, median, work_folder};
use tenon_core::clock::SystemClock;
use tenon_core::fact::DecisionsLogged;
use tenon_core::id::OperationId;
use tenon_core::{Digest, NewFact, Principal, Timestamp};
use tenon_ledger::{Ledger, LedgerOptions};

const BATCH: u64 = 1_000;
const BATCHES: u64 = 1_000;
/// Callers that append one fact at a time and share commits.
const CALLERS: u64 = 256;
const FACTS_A_CALLER: u64 = 100;
const VERIFICATIONS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = work_folder()?;
    let mut report = Report::of("ledger");

    let ledger = create(&folder.path().join("batches"))?;
    let (mut wall, mut processor) = (0.0, 0.0);
    for batch in 0..BATCHES {
        let facts = (batch * BATCH..(batch + 1) * BATCH).map(fact).collect::<Result<Vec<_>, _>>()?;
        let (start, used) = (Instant::now(), ProcessTime::now());
        ledger.append(facts).await?;
        wall += start.elapsed().as_secs_f64();
        processor += used.elapsed().as_secs_f64();
    }
    let facts = (BATCH * BATCHES) as f64;
    report.add(Figure::speed("durable, batches of 1,000, one caller", facts / wall, "facts/s").target(20_000.0));
    report.add(Figure::cost("the same, processor time", processor / facts * 1e6, "µs/fact"));

    let (mut walls, mut processors) = (Vec::new(), Vec::new());
    for _ in 0..VERIFICATIONS {
        let (start, used) = (Instant::now(), ProcessTime::now());
        let verified = ledger.verify(|_, _| {})?;
        walls.push(start.elapsed().as_secs_f64());
        processors.push(used.elapsed().as_secs_f64());
        if !verified.ok() || verified.facts != BATCH * BATCHES {
            return Err(fault(format!("{} facts were verified; {:?}", verified.facts, verified.findings)));
        }
    }
    report.add(Figure::cost("verify 1,000,000 facts, median of 3", median(&walls), "s").target(10.0));
    report.add(Figure::cost("the same, processor time", median(&processors), "s"));
    drop(ledger);

    let ledger = create(&folder.path().join("callers"))?;
    let start = Instant::now();
    let callers = (0..CALLERS).map(|caller| tokio::spawn(append_one_by_one(ledger.clone(), caller * FACTS_A_CALLER)));
    for ended in futures::future::join_all(callers).await {
        ended??;
    }
    let speed = (CALLERS * FACTS_A_CALLER) as f64 / start.elapsed().as_secs_f64();
    report.add(Figure::speed("durable, one at a time, 256 callers that share commits", speed, "facts/s"));
    report.tell()
}

async fn append_one_by_one(ledger: Ledger, first: u64) -> Result<(), Fault> {
    for number in first..first + FACTS_A_CALLER {
        ledger.append(vec![fact(number)?]).await?;
    }
    Ok(())
}

fn create(dir: &Path) -> Result<Ledger, Fault> {
    let (dir, clock) = (dir.to_owned(), Arc::new(SystemClock));
    Ok(Ledger::create(LedgerOptions { dir, origin: "acme".to_owned(), clock, projections: Vec::new() })?)
}

fn fact(number: u64) -> Result<NewFact, Fault> {
    let at = Timestamp::from_micros(1_380_000_000_000_000 + number as i64);
    let payload = DecisionsLogged {
        deployment: "late_arrival".parse()?,
        table_version: number,
        rows: 900,
        merkle_root: Digest::of(number.to_le_bytes()),
        decided: (at, at),
    };
    let operation = OperationId::derive(&["decisions", &number.to_string()]);
    Ok(NewFact::new(Principal::service("serving"), Some("arrivals".parse()?), &payload)?.sealing(operation))
}
