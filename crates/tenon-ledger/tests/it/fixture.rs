//! A small ledger with a clock that stands still and projections that count.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tenon_core::clock::ManualClock;
use tenon_core::id::OperationId;
use tenon_core::{NewFact, PodName, Principal, Timestamp};
use tenon_ledger::{
    DocsExt, DocsMut, DocsMutExt, Ledger, LedgerError, LedgerOptions, Projection, StoredFact, VerifyReport,
};

pub const SEED: [u8; 32] = [42; 32];

pub fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A ledger in a folder of its own, which goes with it.
pub struct Fixture {
    pub ledger: Ledger,
    pub clock: Arc<ManualClock>,
    pub folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(moment("2013-01-01"));
        let ledger = Ledger::create_with_seed(options(folder.path(), &clock), &SEED).unwrap();
        Self { ledger, clock, folder }
    }

    pub fn options(&self) -> LedgerOptions {
        options(self.folder.path(), &self.clock)
    }

    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("ledger.db")).unwrap()
    }

    /// Facts of two kinds with growing numbers, a commit for each `batch`.
    pub async fn fill(&self, count: u64, batch: u64) {
        let mut next = 0;
        while next < count {
            let end = count.min(next + batch);
            self.ledger.append((next..end).map(numbered).collect()).await.unwrap();
            next = end;
        }
    }

    /// The facts of a ledger that is opened anew beside the writer, verified.
    pub fn verify(&self) -> VerifyReport {
        Ledger::open_read_only(self.options()).unwrap().verify(|_, _| ()).unwrap()
    }
}

pub fn options(dir: &Path, clock: &Arc<ManualClock>) -> LedgerOptions {
    LedgerOptions {
        dir: dir.to_owned(),
        origin: "acme".into(),
        clock: Arc::clone(clock) as Arc<dyn tenon_core::Clock>,
        projections: vec![Arc::new(Counts), Arc::new(Latest)],
    }
}

pub fn fact(kind: &str, body: Value) -> NewFact {
    NewFact {
        kind: kind.into(),
        version: 1,
        by: Principal::person("ann"),
        pod: Some(PodName::new("arrivals").unwrap()),
        operation: None,
        body,
    }
}

pub fn numbered(n: u64) -> NewFact {
    let kind = if n.is_multiple_of(3) { "run.finished" } else { "dataset.committed" };
    fact(kind, json!({"n": n, "share": n as f64 / 7.0, "text": "é\"\\\n", "rows": [1, 2.0, null, true]}))
}

pub fn operation(name: &str) -> OperationId {
    OperationId::derive(&[name])
}

/// How many facts there are of each kind. Refuses facts that say so.
struct Counts;

impl Projection for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }
    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        let kind = &stored.fact.kind;
        let count: u64 = docs.read("counts", kind)?.unwrap_or(0);
        docs.write("counts", kind, &(count + 1))?;
        match stored.fact.body.get("refuse").and_then(Value::as_str) {
            Some("panic") => panic!("as the fact says"),
            Some(reason) => Err(LedgerError::Other(reason.to_owned())),
            None => Ok(()),
        }
    }
}

/// The newest fact of each kind, whole; and facts that remove it.
struct Latest;

impl Projection for Latest {
    fn name(&self) -> &'static str {
        "latest"
    }
    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        if stored.fact.kind == "latest.forgotten" {
            return docs.delete("latest", stored.fact.body["kind"].as_str().unwrap_or_default());
        }
        let document = json!({"index": stored.index, "at": stored.fact.at, "body": stored.fact.body});
        docs.put("latest", &stored.fact.kind, document)
    }
}
