//! Long histories and many writers: a table of ten thousand commits, and ten writers to one table.
//!
//! Every commit is a batch of its own through the whole way: contract, files synced, log entry, fact sealed. Reading an early
//! version is measured against reading the latest in the same run, late commits against early ones, ten writers against one.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::future::try_join_all;
use tenon_benches::{Fault, Figure, Report, fault, median, work_folder};
use tenon_company::Catalog;
use tenon_core::clock::SystemClock;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{AsOf, DatasetName, Digest, Principal};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

const COMMITS: i64 = 10_000;
/// Commits at either end of the history whose median counts.
const AROUND: usize = 50;
const WRITERS: i64 = 10;
const COMMITS_A_WRITER: i64 = 200;
const READS: usize = 9;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = work_folder()?;
    let mut report = Report::of("versions");
    let clock = Arc::new(SystemClock);
    let projections = vec![tenon_lake::projection()];
    let ledger = LedgerOptions {
        dir: folder.path().join("ledger"),
        origin: "acme".to_owned(),
        clock: clock.clone(),
        projections,
    };
    let (ledger, catalog) = (Ledger::create(ledger)?, Catalog::fixed(specs()?));
    let open = || async {
        let (ledger, catalog, clock) = (ledger.clone(), catalog.clone(), clock.clone());
        Lake::open(LakeOptions { root: folder.path().join("lake"), ledger, catalog, clock }).await
    };
    let lake = open().await?;

    let start = Instant::now();
    for at in 0..WRITERS * COMMITS_A_WRITER {
        land(&lake, "one", at).await?;
    }
    let one = start.elapsed().as_secs_f64();
    let start = Instant::now();
    try_join_all((0..WRITERS).map(|writer| {
        let lake = lake.clone();
        async move {
            for at in 0..COMMITS_A_WRITER {
                land(&lake, "ten", writer * COMMITS_A_WRITER + at).await?;
            }
            Ok::<_, Fault>(())
        }
    }))
    .await?;
    let ten = start.elapsed().as_secs_f64();
    for dataset in ["one", "ten"] {
        let rows = count(&lake, dataset, AsOf::Latest).await?;
        if rows != WRITERS * COMMITS_A_WRITER {
            return Err(fault(format!("commits were lost: `{dataset}` holds {rows} rows")));
        }
    }
    let commits = (WRITERS * COMMITS_A_WRITER) as f64;
    report.add(
        Figure::speed("ten writers to one table", commits / ten, "commits/s").against("one writer", commits / one),
    );
    report.add(Figure::speed("ten writers: × one writer", one / ten, "×").target(1.0));

    let mut took = Vec::new();
    for at in 0..COMMITS {
        let start = Instant::now();
        land(&lake, "long", at).await?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let early = median(&took[10..10 + AROUND]);
    let late = median(&took[took.len() - AROUND..]);
    report.add(Figure::cost("the 10,000th commit, median of the last 50", late, "ms").against("the 10th", early));
    report.add(Figure::cost("the 10,000th commit: × the 10th", late / early, "×").target(2.0));
    drop(lake);

    // Each read opens the lake anew, so that nothing of the table is in memory.
    let (mut first, mut latest) = (Vec::new(), Vec::new());
    for _ in 0..READS {
        for (as_of, rows, took) in [(AsOf::Version(1), 2, &mut first), (AsOf::Latest, COMMITS, &mut latest)] {
            let lake = open().await?;
            let start = Instant::now();
            let found = count(&lake, "long", as_of).await?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
            if found != rows {
                return Err(fault(format!("{found} rows were read instead of {rows}")));
            }
        }
    }
    let figure = Figure::cost("count version 1 of 10,000, lake opened anew", median(&first), "ms");
    report.add(figure.against("the latest", median(&latest)));
    report.add(Figure::cost("version 1: × the latest", median(&first) / median(&latest), "×").target(3.0));
    report.tell()
}

fn specs() -> Result<SpecSet, Fault> {
    let dataset = "description = \"d\"\n[source]\npush = true\n[contract]\nkey = [\"id\"]\n[contract.columns.id]\ntype = \"int64\"\n";
    let mut files = vec![
        SpecFile { path: "company.toml".to_owned(), text: "name = \"acme\"\n".to_owned() },
        SpecFile {
            path: "pods/first/pod.toml".to_owned(),
            text: "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n".to_owned(),
        },
    ];
    for name in ["one", "ten", "long"] {
        files.push(SpecFile { path: format!("pods/first/datasets/{name}.toml"), text: dataset.to_owned() });
    }
    Ok(SpecSet::read(&files)?)
}

async fn land(lake: &Lake, dataset: &str, id: i64) -> Result<(), Fault> {
    let rows = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![id])) as ArrayRef)])?;
    let source = BatchSource::new("push", Digest::of(format!("{dataset}:{id}")));
    let dataset: DatasetName = dataset.parse()?;
    match lake.write(&Principal::person("ana"), &dataset, &source, vec![rows]).await? {
        WriteOutcome::Committed { .. } => Ok(()),
        other => Err(fault(format!("a batch did not land: {other:?}"))),
    }
}

async fn count(lake: &Lake, dataset: &str, as_of: AsOf) -> Result<i64, Fault> {
    let rows = lake.query(&format!("SELECT count(*) FROM {dataset}"), as_of).await?;
    Ok(rows[0].column(0).as_primitive::<Int64Type>().value(0))
}
