//! Files, pushes and buffers into a lake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{AsOf, Clock, DatasetName, Digest, Principal, Timestamp};
use tenon_ingest::{Feed, FeedError, FileOutcome, Ingest, IngestError, Once};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};

const FLIGHTS: &str = "description = \"d\"\n[source]\nfiles = \"data/*\"\n\
    [contract]\nmax_quarantined = \"50%\"\nkey = [\"id\"]\n\
    [contract.columns.id]\ntype = \"string\"\n\
    [contract.columns.delay]\ntype = \"int64\"\nnullable = true\n";

/// What was fed, in words.
#[derive(Default)]
struct Fed(Mutex<Vec<String>>);

#[async_trait]
impl Feed for Fed {
    async fn feed(&self, dataset: &str, rows: &[RecordBatch], version: u64) -> Result<(), FeedError> {
        self.0.lock().push(format!("{dataset} {} at {version}", rows.iter().map(RecordBatch::num_rows).sum::<usize>()));
        Ok(())
    }
    async fn feed_ahead(&self, dataset: &str, rows: &[RecordBatch]) -> Result<(), FeedError> {
        self.0.lock().push(format!("{dataset} {} ahead", rows.iter().map(RecordBatch::num_rows).sum::<usize>()));
        Ok(())
    }
    async fn committed(&self, dataset: &str, version: u64) -> Result<(), FeedError> {
        self.0.lock().push(format!("{dataset} committed at {version}"));
        Ok(())
    }
    async fn discard_ahead(&self, dataset: &str) -> Result<(), FeedError> {
        self.0.lock().push(format!("{dataset} discarded"));
        Ok(())
    }
    async fn changed(&self, dataset: &str) -> Result<(), FeedError> {
        self.0.lock().push(format!("{dataset} changed"));
        Ok(())
    }
}

struct Company {
    folder: TempDir,
    lake: Lake,
    ingest: Ingest,
    fed: Arc<Fed>,
}

impl Company {
    async fn new() -> Self {
        Self::of(FLIGHTS).await
    }

    /// A company whose dataset `flights` is declared so.
    async fn of(dataset: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("company.toml", "name = \"acme\"\n"),
            ("pods/arrivals/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n"),
            ("pods/arrivals/datasets/flights.toml", dataset),
        ];
        let files: Vec<SpecFile> =
            files.map(|(path, text)| SpecFile { path: path.to_owned(), text: text.to_owned() }).into();
        let catalog = Catalog::fixed(SpecSet::read(&files).unwrap());
        let clock: Arc<dyn Clock> = ManualClock::at(Timestamp::from_micros(0));
        let options = LedgerOptions {
            dir: folder.path().join("ledger"),
            origin: "acme".to_owned(),
            clock: Arc::clone(&clock),
            projections: vec![tenon_lake::projection()],
        };
        let ledger = Ledger::create(options).unwrap();
        let root = folder.path().join("lake");
        let lake = Lake::open(LakeOptions { root, ledger, catalog: catalog.clone(), clock }).await.unwrap();
        let fed = Arc::new(Fed::default());
        let ingest = Ingest::new(lake.clone(), catalog, Some(Arc::clone(&fed) as Arc<dyn Feed>));
        fs::create_dir(folder.path().join("data")).unwrap();
        Self { folder, lake, ingest, fed }
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join("data").join(name), bytes).unwrap();
    }

    async fn files(&self) -> Vec<String> {
        let outcomes = self.ingest.files(&ana(), &flights(), self.folder.path()).await.unwrap();
        outcomes.iter().map(told).collect()
    }

    async fn rows(&self) -> i64 {
        let rows = self.lake.query("SELECT count(*) FROM flights", AsOf::Latest).await.unwrap();
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }
}

fn told(file: &FileOutcome) -> String {
    let outcome = match &file.outcome {
        Ok(WriteOutcome::Committed { fact, .. }) => format!("{} in, {} set aside", fact.accepted, fact.quarantined),
        Ok(WriteOutcome::Already(_)) => "already".to_owned(),
        Ok(WriteOutcome::Refused(refused)) => format!("refused: {}", refused.sentence),
        Err(error) => format!("error: {error}"),
    };
    format!("{}: {outcome}", file.path)
}

fn ana() -> Principal {
    Principal::person("ana")
}

fn flights() -> DatasetName {
    DatasetName::new("flights").unwrap()
}

fn batch(ids: &[&str]) -> RecordBatch {
    let delays = Int64Array::from(vec![Some(1); ids.len()]);
    let ids = StringArray::from(ids.to_vec());
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, true),
        ("delay", Arc::new(delays) as ArrayRef, true),
    ])
    .unwrap()
}

fn parquet(ids: &[&str]) -> Vec<u8> {
    let rows = batch(ids);
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn each_format_is_read_and_each_file_taken_once_by_its_bytes() {
    let company = Company::new().await;
    company.put("a.csv", "\u{feff}id,delay\nc1,5\nc2,abc\nc3,\n");
    company.put("b.ndjson", "{\"id\":\"j1\",\"delay\":5}\n{\"id\":\"j2\",\"delay\":\"late\"}\n{\"id\":\"j3\"}\n");
    company.put("c.parquet", parquet(&["p1", "p2"]));
    assert_eq!(
        company.files().await,
        ["data/a.csv: 2 in, 1 set aside", "data/b.ndjson: 2 in, 1 set aside", "data/c.parquet: 2 in, 0 set aside"]
    );
    let reasons = company.lake.query("SELECT _reason FROM flights__quarantine ORDER BY 1", AsOf::Latest).await.unwrap();
    let reasons: Vec<_> = reasons[0].column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(reasons, ["delay: \"abc\" is not an int64", "delay: \"late\" is not an int64"]);
    assert_eq!(*company.fed.0.lock(), ["flights 2 at 0", "flights 2 at 1", "flights 2 at 2"]);

    // The same bytes under another name are the same file, and a new file does not need the old ones.
    fs::remove_file(company.folder.path().join("data/a.csv")).unwrap();
    company.put("d.parquet", parquet(&["p1", "p2"]));
    company.put("e.csv", "id,delay\nc4,1\n");
    let again = company.files().await;
    assert_eq!(
        again,
        [
            "data/b.ndjson: already",
            "data/c.parquet: already",
            "data/d.parquet: already",
            "data/e.csv: 1 in, 0 set aside"
        ]
    );
    assert_eq!(company.rows().await, 7);
}

#[tokio::test]
async fn bad_files_are_told_one_by_one_and_lose_nothing() {
    let company = Company::new().await;
    let whole = parquet(&["p1", "p2"]);
    company.put("a-half.parquet", &whole[..whole.len() / 2]);
    company.put("b-column.csv", "id,dealy\nx,1\n");
    company.put("c-ragged.csv", "id,delay\nx,1\ny\n");
    company.put("d-bad.csv", "id,delay\nx,a\ny,b\nz,1\n");
    company.put("e-json.ndjson", "{\"id\":\"x\"}\nnot json\n");
    company.put("f.txt", "hello");
    company.put("g-empty.csv", "");
    company.put("h-good.csv", "id,delay\nx,1\n");
    let told = company.files().await;
    let expected = [
        "data/a-half.parquet: refused: this is no whole Parquet file, perhaps it was cut off:",
        "data/b-column.csv: refused: column `delay` is missing: it has `dealy`; is that the one?",
        "data/c-ragged.csv: refused: Csv error: incorrect number of fields for line 3",
        "data/d-bad.csv: refused: 2 of 3 rows (66.7%) break the contract, and at most 50% may",
        "data/e-json.ndjson: refused: line 2 is not a JSON object:",
        "data/f.txt: refused: files that end in `.txt` are not understood: use .parquet, .arrow, .csv or .ndjson",
        "data/g-empty.csv: refused: the file is empty",
        "data/h-good.csv: 1 in, 0 set aside",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\nis not\n{expected}");
    }
    assert_eq!(told.len(), expected.len());
    assert_eq!(company.rows().await, 1);
    // The whole file comes later.
    company.put("a-half.parquet", whole);
    assert!(company.files().await[0].ends_with("2 in, 0 set aside"));
}

#[tokio::test]
async fn a_push_counts_once_by_its_key_or_else_by_its_rows() {
    let company = Company::new().await;
    let push = async |ids: &[&str], key: Option<&str>| {
        let once = key.map(|key| Once { key, body: Digest::of(ids.concat()) });
        company.ingest.push(&ana(), &flights(), vec![batch(ids)], once).await.unwrap()
    };
    assert!(matches!(push(&["a"], Some("k1")).await, WriteOutcome::Committed { .. }));
    assert!(matches!(push(&["a"], Some("k1")).await, WriteOutcome::Already(_)));
    assert!(matches!(push(&["b"], None).await, WriteOutcome::Committed { .. }));
    assert!(matches!(push(&["b"], None).await, WriteOutcome::Already(_)));
    let rows = company.ingest.rows_from_json(&flights(), "{\"id\":\"j\",\"delay\":3}").unwrap();
    let once = |body: &str| Some(Once { key: "k2", body: Digest::of(body) });
    company.ingest.push(&ana(), &flights(), vec![rows.clone()], once("j")).await.unwrap();
    assert_eq!(company.rows().await, 3);
    let other = company.ingest.push(&ana(), &flights(), vec![rows], once("k")).await.unwrap_err();
    assert_eq!(
        other.to_string(),
        "idempotency key `k2` was used for other rows of dataset `flights`, which landed in version 2: these rows have not landed; push them with a key of their own"
    );
    let nobody = DatasetName::new("flihgts").unwrap();
    let error = company.ingest.rows_from_json(&nobody, "{}").unwrap_err();
    assert_eq!(error.to_string(), "there is no dataset `flihgts` (did you mean `flights`?)");
    let nowhere = company.ingest.files(&ana(), &flights(), Path::new("/nowhere")).await;
    assert!(matches!(nowhere, Err(IngestError::Io { .. })));
}

#[tokio::test]
async fn buffered_rows_are_fed_at_once_and_land_together() {
    let company = Company::new().await;
    let mut buffer = company.ingest.buffer(&flights());
    let day = |day: &str| BatchSource::new(format!("replay {day}"), Digest::of(day));
    assert!(buffer.flush(&ana(), &day("empty")).await.unwrap().is_none());
    assert_eq!(buffer.add(&[batch(&["a", "b"])]).await.unwrap().num_rows(), 2);
    assert_eq!(buffer.add(&[batch(&["b", "c"])]).await.unwrap().num_rows(), 1);
    assert_eq!((company.rows().await, buffer.rows()), (0, 4));
    let Some(WriteOutcome::Committed { fact, .. }) = buffer.flush(&ana(), &day("1")).await.unwrap() else { panic!() };
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined), (4, 3, 1));
    // Another day is another batch: its keys are its own. Replayed, it is recognised.
    buffer.add(&[batch(&["a"])]).await.unwrap();
    assert!(matches!(buffer.flush(&ana(), &day("1")).await.unwrap(), Some(WriteOutcome::Already(_))));
    let fed = ["flights 2 ahead", "flights 1 ahead", "flights committed at 0", "flights 1 ahead", "flights discarded"];
    assert_eq!(*company.fed.0.lock(), fed);
    assert_eq!(company.rows().await, 3);
}
