//! Appending: order, time, operations, refusals, group commit.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tenon_core::Span;
use tenon_ledger::{Docs as _, DocsExt as _, Ledger, LedgerError};

use crate::fixture::{Fixture, fact, moment, numbered, operation};

#[tokio::test]
async fn facts_come_back_as_they_were_appended_and_survive_a_reopening() {
    let fixture = Fixture::new();
    let appended = fixture.ledger.append(vec![numbered(0), numbered(1)]).await.unwrap();
    assert_eq!((appended.indices, appended.size), (vec![0, 1], 2));
    let options = fixture.options();
    let Fixture { ledger, folder, .. } = fixture;
    let key = ledger.verifier_key();
    drop(ledger);
    let ledger = Ledger::open(options).unwrap();
    let facts = ledger.facts(0..10).unwrap();
    assert_eq!(facts.len(), 2);
    assert_eq!((facts[1].index, &facts[1].fact.kind[..]), (1, "dataset.committed"));
    // Canonical JSON has one kind of number: 2.0 comes back as 2, for everybody and from the first moment.
    assert_eq!(facts[1].fact.body["rows"], json!([1, 2, null, true]));
    assert_eq!(ledger.append(vec![numbered(2)]).await.unwrap().indices, [2]);
    assert_eq!(ledger.verifier_key(), key);
    assert!(ledger.verify(|_, _| ()).unwrap().ok());
    assert!(key.starts_with("acme+"));
    let mode = std::fs::metadata(folder.path().join("ledger.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn time_never_goes_backwards() {
    let fixture = Fixture::new();
    fixture.clock.advance_to(moment("2013-06-01"));
    fixture.fill(1, 1).await;
    let mut options = fixture.options();
    options.clock = tenon_core::clock::ManualClock::at(moment("2012-01-01"));
    drop(fixture.ledger);
    let ledger = Ledger::open(options).unwrap();
    ledger.append(vec![numbered(1)]).await.unwrap();
    let at: Vec<String> = ledger.facts(0..2).unwrap().iter().map(|stored| stored.fact.at.to_string()).collect();
    assert_eq!(at, ["2013-06-01T00:00:00Z", "2013-06-01T00:00:00Z"]);
}

#[tokio::test]
async fn an_operation_is_sealed_once_for_each_kind() {
    let Fixture { ledger, folder: _folder, .. } = Fixture::new();
    let sealing = |kind: &str| fact(kind, json!({})).sealing(operation("ingest january"));
    let first =
        ledger.append(vec![numbered(0), sealing("a.done"), sealing("a.done"), sealing("b.done")]).await.unwrap();
    assert_eq!((first.indices, first.size), (vec![0, 1, 1, 2], 3));
    let again = ledger.append(vec![sealing("a.done"), numbered(1)]).await.unwrap();
    assert_eq!((again.indices, again.size), (vec![1, 3], 4));
    assert_eq!(ledger.sealed("b.done", operation("ingest january")).unwrap().unwrap().index, 2);
    assert_eq!(ledger.sealed("b.done", operation("ingest february")).unwrap(), None);
    assert_eq!(ledger.docs().read::<u64>("counts", "a.done").unwrap(), Some(1));
}

#[tokio::test]
async fn a_refused_fact_takes_its_whole_append_with_it_and_no_other() {
    let Fixture { ledger, folder: _folder, .. } = Fixture::new();
    for reason in ["too late", "panic"] {
        let refused = vec![numbered(1), fact("bad.thing", json!({"refuse": reason}))];
        let (good, bad, better) =
            tokio::join!(ledger.append(vec![numbered(0)]), ledger.append(refused), ledger.append(vec![numbered(2)]),);
        let error = bad.unwrap_err();
        assert!(
            matches!(&error, LedgerError::Projection { name: "counts", kind, .. } if kind == "bad.thing"),
            "{error}"
        );
        assert!(good.is_ok() && better.is_ok());
    }
    assert_eq!(ledger.size().unwrap(), 4);
    assert_eq!(ledger.docs().get("counts", "bad.thing").unwrap(), None);
    assert!(ledger.verify(|_, _| ()).unwrap().ok());
}

#[tokio::test]
async fn facts_that_cannot_be_kept_as_they_are_are_refused() {
    let Fixture { ledger, folder: _folder, .. } = Fixture::new();
    let too_long = ledger.append(vec![numbered(0), fact("a.b", json!("x".repeat(65_536)))]).await;
    assert!(matches!(too_long, Err(LedgerError::TooLong { bytes: 65_537.., .. })));
    let unsafe_integer = ledger.append(vec![numbered(0), fact("a.b", json!({"id": u64::MAX}))]).await.unwrap_err();
    assert_eq!(
        unsafe_integer.to_string(),
        "a fact of kind `a.b` holds 18446744073709551615 at `/id`, which JSON numbers cannot hold exactly; write it as text"
    );
    assert_eq!(ledger.size().unwrap(), 0);
    // The longest fact that fits, also at a moment with microseconds, which takes seven characters more than this one.
    let envelope = |length: usize| fact("a.b", json!("x".repeat(length)));
    ledger.append(vec![envelope(0)]).await.unwrap();
    let empty = ledger.leaf(0).unwrap().len();
    ledger.append(vec![envelope(65_528 - empty)]).await.unwrap();
    assert!(ledger.append(vec![envelope(65_529 - empty)]).await.is_err());
    assert!(ledger.verify(|_, _| ()).unwrap().ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_share_commits_and_each_fact_lands_once() {
    let Fixture { ledger, folder: _folder, .. } = Fixture::new();
    let mut commits = ledger.watch();
    let counting = tokio::spawn(async move {
        let mut count = 0;
        while commits.changed().await.is_ok() && *commits.borrow_and_update() < 1_000 {
            count += 1;
        }
        count
    });
    let tasks: Vec<_> = (0..500_u64)
        .map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(
                async move { ledger.append(vec![numbered(2 * n), numbered(2 * n + 1)]).await.unwrap().indices },
            )
        })
        .collect();
    let mut indices = BTreeSet::new();
    for task in tasks {
        let pair = task.await.unwrap();
        assert_eq!(pair[1], pair[0] + 1, "an append is not torn apart");
        indices.extend(pair);
    }
    assert_eq!(indices, (0..1_000).collect());
    assert!(counting.await.unwrap() < 400, "a commit for each append is no group commit");
    let report = ledger.verify(|_, _| ()).unwrap();
    assert!(report.ok(), "{:?}", report.findings);
    assert_eq!((report.facts, report.documents), (1_000, 4));
}

#[tokio::test]
async fn facts_are_found_by_kind_from_both_ends() {
    let Fixture { ledger, clock, folder: _folder } = Fixture::new();
    for n in 0..20 {
        clock.advance_to(moment("2013-01-01") + Span::hours(n));
        ledger.append(vec![numbered(n as u64)]).await.unwrap();
    }
    let indices = |facts: Vec<tenon_ledger::StoredFact>| facts.iter().map(|stored| stored.index).collect::<Vec<_>>();
    assert_eq!(indices(ledger.newest(&["run.finished"], 3).unwrap()), [18, 15, 12]);
    assert_eq!(indices(ledger.newest(&[], 2).unwrap()), [19, 18]);
    assert_eq!(
        indices(ledger.newest(&["run.finished", "dataset.committed", "run.finished"], 4).unwrap()),
        [19, 18, 17, 16]
    );
    assert_eq!(indices(ledger.facts_of(&["run.finished"], 4, 2).unwrap()), [6, 9]);
    assert_eq!(indices(ledger.facts_of(&["no.such", "run.finished"], 16, 9).unwrap()), [18]);
    assert_eq!(ledger.size_as_of(moment("2013-01-01T04:30:00Z")).unwrap(), 5);
}
