//! Documents: folded in the append, as of a moment, and anew.

use serde_json::json;
use tenon_core::Span;
use tenon_ledger::{Docs as _, DocsExt as _, Ledger, LedgerError};

use crate::fixture::{Fixture, fact, moment, numbered};

#[tokio::test]
async fn state_as_of_a_moment_holds_what_was_known_then() {
    let Fixture { ledger, clock, folder: _folder } = Fixture::new();
    for n in 0..10 {
        clock.advance_to(moment("2013-01-01") + Span::days(n));
        ledger.append(vec![numbered(n as u64)]).await.unwrap();
    }
    ledger.append(vec![fact("latest.forgotten", json!({"kind": "run.finished"}))]).await.unwrap();
    assert_eq!(ledger.docs().get("latest", "run.finished").unwrap(), None);
    let then = ledger.docs_as_of(moment("2013-01-05")).unwrap();
    assert_eq!(then.read::<u64>("counts", "dataset.committed").unwrap(), Some(3));
    assert_eq!(then.get("latest", "run.finished").unwrap().unwrap()["index"], 3);
    assert!(ledger.docs_as_of(moment("2012-12-31")).unwrap().is_empty());
    let now = ledger.docs_as_of(moment("2014-01-01")).unwrap();
    for collection in ["counts", "latest"] {
        assert_eq!(now.scan(collection, "").unwrap(), ledger.docs().scan(collection, "").unwrap());
    }
}

#[tokio::test]
async fn a_rebuild_names_what_differs_and_replaces_only_when_asked() {
    let fixture = Fixture::new();
    let ledger = &fixture.ledger;
    fixture.fill(600, 100).await;
    let whole = ledger.rebuild(false).unwrap();
    assert_eq!((whole.facts, whole.documents, whole.differences.len(), whole.replaced), (600, 4, 0, false));

    let database = fixture.database();
    database
        .execute_batch(
            "UPDATE documents SET document = '7' WHERE collection = 'counts' AND key = 'run.finished';
         DELETE FROM documents WHERE collection = 'latest' AND key = 'dataset.committed';
         INSERT INTO documents VALUES ('counts', 'zz', '1');",
        )
        .unwrap();
    let found = ledger.rebuild(false).unwrap();
    let differences: Vec<_> =
        found.differences.iter().map(|d| format!("{}/{} {}", d.collection, d.key, d.problem)).collect();
    let expected = [
        "counts/run.finished is not what the facts say",
        "counts/zz comes from no fact",
        "latest/dataset.committed is missing",
    ];
    assert_eq!(differences, expected);
    assert_eq!(ledger.docs().read::<u64>("counts", "run.finished").unwrap(), Some(7), "only looked");
    let verified: Vec<String> = fixture.verify().findings.iter().map(ToString::to_string).collect();
    assert_eq!(verified[0], "document `run.finished` in `counts` is not what the facts say");
    assert_eq!(verified.len(), 3);

    let replaced = ledger.rebuild(true).unwrap();
    assert_eq!((replaced.differences, replaced.replaced), (found.differences, true));
    assert_eq!(ledger.docs().read::<u64>("counts", "run.finished").unwrap(), Some(200));
    assert!(fixture.verify().ok());
    let beside = Ledger::open_read_only(fixture.options()).unwrap();
    assert!(matches!(beside.rebuild(true), Err(LedgerError::ReadOnly)));
    assert!(beside.rebuild(false).unwrap().differences.is_empty());
}
