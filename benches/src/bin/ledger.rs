//! The ledger: durable appends, and verification from an empty verifier.
//!
//! Facts are like those of logged decisions. Nothing is folded from them, so that the ledger alone is measured. Durable is
//! SQLite's `COMMIT` with `synchronous=FULL`: the figures are this disk's.

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
const VERIFIED: u64 = 1_000_000;
/// Callers whose batches share commits.
const CALLERS: u64 = 4;
/// Callers that append one fact at a time.
const SINGLE_CALLERS: u64 = 256;
const FACTS_A_CALLER: u64 = 100;
const VERIFICATIONS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = work_folder()?;
    let mut report = Report::of("ledger");

    for (what, seals) in [("sealing an operation each", true), ("sealing none", false)] {
        let ledger = create(&folder.path().join(what))?;
        let (wall, _) = append(&ledger, 100, 1, seals).await?;
        let figure = Figure::speed(format!("the first 100,000 facts, {what}, one caller"), 1e5 / wall, "facts/s");
        report.add(figure.target(20_000.0));
    }
    let ledger = create(&folder.path().join("verified"))?;
    let (wall, processor) = append(&ledger, VERIFIED / BATCH / CALLERS, CALLERS, true).await?;
    let facts = VERIFIED as f64;
    let figure = Figure::speed("the first 1,000,000 facts, sealing, 4 callers", facts / wall, "facts/s");
    report.add(figure.target(20_000.0));
    report.add(Figure::cost("the same, processor time", processor / facts * 1e6, "µs/fact"));
    verify(&ledger, &mut report)?;
    drop(ledger);

    let ledger = create(&folder.path().join("singly"))?;
    let start = Instant::now();
    let callers =
        (0..SINGLE_CALLERS).map(|caller| tokio::spawn(append_singly(ledger.clone(), caller * FACTS_A_CALLER)));
    for ended in futures::future::join_all(callers).await {
        ended??;
    }
    let speed = (SINGLE_CALLERS * FACTS_A_CALLER) as f64 / start.elapsed().as_secs_f64();
    report.add(Figure::speed("one fact at a time, 256 callers that share commits", speed, "facts/s"));
    report.tell()
}

/// Appends in rounds of one batch for each caller; what the appends took, in seconds of wall and processor time. Making
/// the facts is not part of it.
async fn append(ledger: &Ledger, rounds: u64, callers: u64, seals: bool) -> Result<(f64, f64), Fault> {
    let (mut wall, mut processor) = (0.0, 0.0);
    for round in 0..rounds {
        let batch = |caller: u64| {
            let first = (round * callers + caller) * BATCH;
            (first..first + BATCH).map(|number| fact(number, seals)).collect::<Result<Vec<_>, _>>()
        };
        let batches = (0..callers).map(batch).collect::<Result<Vec<_>, _>>()?;
        let (start, used) = (Instant::now(), ProcessTime::now());
        futures::future::try_join_all(batches.into_iter().map(|batch| ledger.append(batch))).await?;
        wall += start.elapsed().as_secs_f64();
        processor += used.elapsed().as_secs_f64();
    }
    Ok((wall, processor))
}

fn verify(ledger: &Ledger, report: &mut Report) -> Result<(), Fault> {
    let (mut walls, mut processors) = (Vec::new(), Vec::new());
    for _ in 0..VERIFICATIONS {
        let (start, used) = (Instant::now(), ProcessTime::now());
        let verified = ledger.verify(|_, _| {})?;
        walls.push(start.elapsed().as_secs_f64());
        processors.push(used.elapsed().as_secs_f64());
        if !verified.ok() || verified.facts != VERIFIED {
            return Err(fault(format!("{} facts were verified; {:?}", verified.facts, verified.findings)));
        }
    }
    report.add(Figure::cost("verify 1,000,000 facts, median of 3", median(&walls), "s").target(10.0));
    report.add(Figure::cost("the same, processor time", median(&processors), "s"));
    Ok(())
}

async fn append_singly(ledger: Ledger, first: u64) -> Result<(), Fault> {
    for number in first..first + FACTS_A_CALLER {
        ledger.append(vec![fact(number, true)?]).await?;
    }
    Ok(())
}

fn create(dir: &Path) -> Result<Ledger, Fault> {
    let (dir, clock) = (dir.to_owned(), Arc::new(SystemClock));
    Ok(Ledger::create(LedgerOptions { dir, origin: "acme".to_owned(), clock, projections: Vec::new() })?)
}

fn fact(number: u64, seals: bool) -> Result<NewFact, Fault> {
    let at = Timestamp::from_micros(1_380_000_000_000_000 + number as i64);
    let payload = DecisionsLogged {
        deployment: "late_arrival".parse()?,
        table_version: number,
        rows: 900,
        merkle_root: Digest::of(number.to_le_bytes()),
        decided: (at, at),
    };
    let operation = OperationId::derive(&["decisions", &number.to_string()]);
    let fact = NewFact::new(Principal::service("serving"), Some("arrivals".parse()?), &payload)?;
    Ok(if seals { fact.sealing(operation) } else { fact })
}
