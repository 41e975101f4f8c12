//! Streams, versions, and rows that are kept as they came, one beside the other.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tenon_core::fact::Stretch;
use tenon_core::{AsOf, BranchName, Timestamp};
use tenon_lake::{Checked, LakeError, MergeOutcome, Selection, SetAside, WriteOutcome};

use crate::fixture::{Company, FLIGHTS, HOUR, ana, flights, name, source_of, specs};

const COUNT: &str = "SELECT count(*) FROM flights";
const IDS: &str = "SELECT id FROM flights ORDER BY id";
const OPEN: &str = "SELECT count(*) FROM flights__quarantine WHERE _resolution IS NULL";
const PARTITION: &str = "kafka:flights/0";

/// Flights that are kept as they came, with delays of at most `most` minutes.
fn declared(most: u32, more: &str) -> String {
    let flights = FLIGHTS.replace("600]", &format!("{most}]")).replace("60%", "100%");
    format!("{}{more}", flights.replace("event_time", "keep_raw = true\nevent_time"))
}

fn ids(ids: &[&str]) -> RecordBatch {
    flights(&ids.iter().map(|id| (*id, None, Some(1))).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_replay_leaves_out_what_is_repeated_and_leaves_alone_what_was_no_row() {
    let dedup = "[dedup]\nwithin = \"48h\"\n";
    let company = Company::with(specs(&declared(600, dedup), &[])).await;
    let (lake, dataset) = (&company.lake, name("flights"));
    let spec = company.catalog.specs().datasets[&dataset].spec.clone();
    let rows = flights(&[("a", None, Some(1)), ("b", None, Some(999))]);
    let poison = SetAside { rule: "not JSON".to_owned(), reason: "r".to_owned(), row: "{\"_offset\":2}".to_owned() };
    let checked = vec![lake.check(&dataset, &[rows]).await.unwrap(), Checked::set_aside(&spec.contract, vec![poison])];
    let stretch = Stretch { source: PARTITION.to_owned(), first: 0, next: 3, rows: 3 };
    let landed = lake.commit_stretches(&ana(), &dataset, &source_of("0-3"), checked, vec![stretch]).await.unwrap();
    let WriteOutcome::Committed { fact, .. } = landed else { panic!("{landed:?}") };
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined, fact.raw_version), (3, 1, 2, Some(0)));
    let fact = company.committed("flights", "two", ids(&["a", "c"])).await;
    assert_eq!((fact.accepted, fact.duplicates), (1, 1));

    company.catalog.replace(specs(&declared(2_000, dedup), &[]));
    let fact = lake.replay(&ana(), &dataset, 0).await.unwrap();
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined, fact.duplicates), (4, 3, 0, 1));
    assert_eq!((fact.replaced.accepted, fact.replaced.quarantined, fact.now_accepted), (2, 1, 1));
    assert_eq!(company.texts(IDS, AsOf::Latest).await, ["a", "b", "c"]);
    assert_eq!(company.number(OPEN, AsOf::Latest).await, 1, "what was no row is still there");
    assert_eq!(lake.position(&dataset, PARTITION).await.unwrap(), Some(3));
    let fact = company.committed("flights", "three", ids(&["b"])).await;
    assert_eq!((fact.accepted, fact.duplicates), (0, 1), "what a replay brought in has landed");
    assert_eq!(lake.conservation().await.unwrap().gap, None);
}

#[tokio::test]
async fn what_a_restore_took_out_is_not_replayed() {
    let company = Company::with(specs(&declared(600, ""), &[])).await;
    let (lake, dataset) = (&company.lake, name("flights"));
    company.committed("flights", "one", ids(&["a"])).await;
    company.committed("flights", "two", ids(&["b"])).await;
    lake.restore(&ana(), &dataset, AsOf::Version(0), "r").await.unwrap().unwrap();
    assert_eq!(lake.replay(&ana(), &dataset, 0).await.unwrap().batches, 1);
    assert_eq!(company.texts(IDS, AsOf::Latest).await, ["a"]);
    lake.restore(&ana(), &dataset, AsOf::Version(1), "r").await.unwrap().unwrap();
    assert_eq!(lake.replay(&ana(), &dataset, 0).await.unwrap().batches, 2);
    assert_eq!(company.texts(IDS, AsOf::Latest).await, ["a", "b"]);
}

#[tokio::test]
async fn rows_of_a_compaction_are_replayed_together_or_not_at_all() {
    let company = Company::with(specs(&declared(600, ""), &[])).await;
    let (lake, dataset) = (&company.lake, name("flights"));
    company.committed("flights", "one", ids(&["a", "b"])).await;
    company.committed("flights", "two", ids(&["a"])).await;
    assert_eq!(lake.compact(&ana(), &dataset, 64 << 20).await.unwrap().len(), 1);
    // The same key in two batches is no fault, wherever their rows stand.
    let spec = company.catalog.specs().datasets[&dataset].spec.clone();
    let trial = lake.try_on_history(&dataset, &spec).await.unwrap().unwrap();
    assert_eq!((trial.rows, trial.failing), (3, 0));
    let part = lake.replay(&ana(), &dataset, 1).await;
    assert!(matches!(part, Err(LakeError::NotPossible(_))), "{part:?}");
    let fact = lake.replay(&ana(), &dataset, 0).await.unwrap();
    assert_eq!((fact.batches, fact.accepted, fact.now_accepted, fact.no_longer_accepted), (2, 3, 0, 0));
    assert_eq!(company.texts(IDS, AsOf::Latest).await, ["a", "a", "b"]);
}

#[tokio::test]
async fn a_row_that_was_late_is_released_and_one_that_has_landed_is_not() {
    let more = "[late]\nallowed = \"2h\"\n[dedup]\nwithin = \"48h\"\n";
    let company = Company::with(specs(&declared(600, more), &[])).await;
    company.clock.advance_to(Timestamp::from_micros(9 * HOUR));
    let (lake, dataset) = (&company.lake, name("flights"));
    company.committed("flights", "one", ids(&["a", "b", "c", "d", "e"])).await;
    let fact = company.committed("flights", "late", ids(&["x", "e"])).await;
    assert_eq!((fact.quarantined, fact.accepted), (2, 0));
    let released = lake.release(&ana(), &dataset, &Selection::default(), "r").await.unwrap();
    assert_eq!((released.chosen, released.fact.unwrap().rows), (2, 1));
    assert_eq!(released.still_broken[0].rule, "key id: has landed already");
    assert_eq!(company.texts(IDS, AsOf::Latest).await, ["a", "b", "c", "d", "e", "x"]);
    assert_eq!(company.number(OPEN, AsOf::Latest).await, 1);
}

#[tokio::test]
async fn a_unique_value_comes_once_on_a_branch_and_over_its_merge() {
    let declared = "description = \"d\"\nkeep_raw = true\n[source]\npush = true\n[contract]\n\
         [contract.columns.n]\ntype = \"int64\"\nunique = true\n";
    let company = Company::with(specs(declared, &[])).await;
    let (lake, dataset) = (&company.lake, name("flights"));
    let rows = |numbers: &[i64]| {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef)]).unwrap()
    };
    company.committed("flights", "one", rows(&[1, 2])).await;
    for (branch, number, merges) in [("audit", 3, false), ("other", 4, true)] {
        let on = BranchName::new(branch).unwrap();
        lake.create_branch(&ana(), &on, std::slice::from_ref(&dataset)).await.unwrap();
        let checked = lake.checker_on(&on, &dataset).unwrap().check(&[rows(&[2, number])]).await.unwrap();
        assert_eq!((checked.accepted().num_rows(), checked.quarantined()), (1, 1), "{branch}");
        lake.commit_checked_on(&on, &ana(), &dataset, &source_of(branch), vec![checked]).await.unwrap();
        company.committed("flights", &format!("beside {branch}"), rows(&[if merges { 5 } else { 3 }])).await;
        match lake.merge_branch(&ana(), &on).await.unwrap() {
            MergeOutcome::Merged(_) => assert!(merges, "{branch}"),
            MergeOutcome::Conflicts(conflicts) => {
                assert!(!merges, "{conflicts:?}");
                assert!(conflicts[0].sentence.contains("unique `n`"), "{conflicts:?}");
            }
        }
    }
    assert_eq!(company.number(COUNT, AsOf::Latest).await, 5);
    // What came by the merge is kept as it came, and replayed with the rest.
    let fact = lake.replay(&ana(), &dataset, 0).await.unwrap();
    assert_eq!((fact.batches, fact.accepted, fact.now_accepted, fact.no_longer_accepted), (4, 5, 0, 0));
    assert_eq!(company.number(COUNT, AsOf::Latest).await, 5);
}

#[tokio::test]
async fn rows_that_were_released_are_open_again_where_a_restore_takes_them_out() {
    let company = Company::with(specs(&declared(10, ""), &[])).await;
    let (lake, dataset) = (&company.lake, name("flights"));
    company
        .committed("flights", "one", flights(&[("a", None, Some(1)), ("x", None, Some(99)), ("y", None, Some(98))]))
        .await;
    let repair =
        |id: &str| Selection { filter: Some(format!("id = '{id}'")), set: vec![("delay".to_owned(), "5".to_owned())] };
    let release =
        async |id: &str| lake.release(&ana(), &dataset, &repair(id), "r").await.unwrap().fact.map(|fact| fact.version);
    assert_eq!((release("x").await, company.number(OPEN, AsOf::Latest).await), (Some(1), 1));
    let restore = async |to: u64| lake.restore(&ana(), &dataset, AsOf::Version(to), "r").await.unwrap().unwrap();
    let back = restore(0).await;
    assert_eq!((back.version, back.reopened, back.released_again, back.quarantine_version), (2, 1, 0, Some(2)));
    assert_eq!(
        (company.texts(IDS, AsOf::Latest).await, company.number(OPEN, AsOf::Latest).await),
        (vec!["a".to_owned()], 2)
    );
    // It is released once more, with other rows beside it, and lands once.
    assert_eq!((release("x").await, release("y").await), (Some(3), Some(4)));
    assert_eq!(release("x").await, None);
    // Whichever version comes back, a row is either in the table or open.
    for (to, ids, open, moved) in [
        (1, &["a", "x"][..], 1, (1, 0)),
        (0, &["a"], 2, (1, 0)),
        (4, &["a", "x", "y"], 0, (0, 2)),
        (3, &["a", "x"], 1, (1, 0)),
    ] {
        let restored = restore(to).await;
        assert_eq!(company.texts(IDS, AsOf::Latest).await, ids, "{to}");
        assert_eq!(company.number(OPEN, AsOf::Latest).await, open, "{to}");
        assert_eq!((restored.reopened, restored.released_again), moved, "{to}");
    }
    assert_eq!(lake.conservation().await.unwrap().gap, None);
    assert!(company.ledger.rebuild(false).unwrap().differences.is_empty());
    // A replay takes the open row by the contract, and leaves alone what people released.
    company.catalog.replace(specs(&declared(600, ""), &[]));
    lake.replay(&ana(), &dataset, 0).await.unwrap();
    assert_eq!(company.texts(IDS, AsOf::Latest).await, ["a", "x", "y"]);
}
