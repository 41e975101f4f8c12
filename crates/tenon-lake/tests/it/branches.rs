//! Rows that land on a branch are held against what the branch holds, and against the contract as it is when they are merged.

use tenon_core::{AsOf, BranchName, Timestamp};
use tenon_lake::{MergeOutcome, WriteOutcome};

use crate::fixture::{Company, FLIGHTS, HOUR, ana, flights, name, planes, source_of, specs};

/// Takes flights of these names and delays onto a branch; returns what was accepted, set aside, and left out.
async fn on_branch(company: &Company, on: &BranchName, source: &str, rows: &[(&str, i64)]) -> (u64, u64, u64) {
    let dataset = name("flights");
    let rows = flights(&rows.iter().map(|(id, delay)| (*id, None, Some(*delay))).collect::<Vec<_>>());
    let mut checker = company.lake.checker_on(on, &dataset).unwrap();
    let checked = checker.check(&[rows]).await.unwrap();
    match company.lake.commit_checked_on(on, &ana(), &dataset, &source_of(source), vec![checked]).await.unwrap() {
        WriteOutcome::Committed { fact, .. } => (fact.accepted, fact.quarantined, fact.duplicates),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn late_and_repeated_rows_do_not_come_by_a_branch() {
    let more = "[late]\nallowed = \"2h\"\n[dedup]\nwithin = \"48h\"\n";
    let mut company = Company::with(specs(&format!("{}{more}", FLIGHTS.replace("60%", "100%")), &[])).await;
    company.clock.advance_to(Timestamp::from_micros(9 * HOUR));
    company.committed("flights", "one", flights(&["a", "b", "c", "d"].map(|id| (id, None, Some(1))))).await;
    let on = BranchName::new("audit").unwrap();
    company.lake.create_branch(&ana(), &on, &[name("flights")]).await.unwrap();
    // The watermark is at one o'clock: `x` is late, `d` has landed before the branch was made.
    assert_eq!(on_branch(&company, &on, "two", &[("x", 1), ("y", 1), ("z", 1), ("d", 1)]).await, (2, 1, 1));
    for restart in [false, true] {
        if restart {
            company.reopen().await;
        }
        let source = format!("three {restart}");
        assert_eq!(on_branch(&company, &on, &source, &[("x", 1), ("y", 1), ("z", 1)]).await, (0, 1, 2));
    }
    // What lands in the dataset meanwhile is not on the branch; the merge sees to it.
    company.committed("flights", "beside", flights(&["w", "v", "u", "t"].map(|id| (id, None, Some(1))))).await;
    assert_eq!(on_branch(&company, &on, "four", &[("w", 1), ("v", 1)]).await, (1, 1, 0));
    let MergeOutcome::Conflicts(found) = company.lake.merge_branch(&ana(), &on).await.unwrap() else { panic!() };
    assert_eq!(found[0].keys, [serde_json::json!({"id": "v"})]);
}

#[tokio::test]
async fn rows_that_break_a_contract_which_was_tightened_meanwhile_are_not_merged() {
    let company = Company::new().await;
    company.committed("planes", "p", planes(&["N1"])).await;
    company.committed("flights", "one", flights(&[("a", None, Some(1))])).await;
    let on = BranchName::new("audit").unwrap();
    company.lake.create_branch(&ana(), &on, &[name("flights")]).await.unwrap();
    assert_eq!(on_branch(&company, &on, "two", &[("b", 300), ("c", 1)]).await, (2, 0, 0));
    company.catalog.replace(specs(&FLIGHTS.replace("600]", "200]"), &[]));
    let MergeOutcome::Conflicts(found) = company.lake.merge_branch(&ana(), &on).await.unwrap() else { panic!() };
    assert_eq!(
        found[0].sentence,
        "rows that came on the branch break the contract of `flights` as it is now: delay: outside [-60, 200] (1 rows)"
    );
    company.catalog.replace(specs(FLIGHTS, &[]));
    assert!(matches!(company.lake.merge_branch(&ana(), &on).await.unwrap(), MergeOutcome::Merged(_)));
}

#[tokio::test]
async fn the_books_hold_what_came_by_a_branch() {
    let company = Company::new().await;
    company.committed("flights", "one", flights(&[("a", None, Some(1))])).await;
    let (on, dataset) = (BranchName::new("audit").unwrap(), name("flights"));
    for (source, id, merges) in [("dropped", "x", false), ("merged", "y", true)] {
        company.lake.create_branch(&ana(), &on, std::slice::from_ref(&dataset)).await.unwrap();
        assert_eq!(on_branch(&company, &on, source, &[(id, 1), ("bad", 999)]).await, (1, 1, 0));
        match merges {
            true => drop(company.lake.merge_branch(&ana(), &on).await.unwrap()),
            false => company.lake.drop_branch(&ana(), &on, None).await.unwrap(),
        }
    }
    let found = company.lake.conservation().await.unwrap();
    let sums = &found.datasets[&dataset];
    assert_eq!((&found.gap, sums.commits, sums.merged), (&None, 2, 1));
    assert_eq!((sums.rows_in, sums.accepted, sums.quarantined), (3, 2, 1));
    assert_eq!(company.number("SELECT count(*) FROM flights", AsOf::Latest).await, 2);
}

#[tokio::test]
async fn rows_that_came_by_a_branch_are_replayed_under_a_corrected_contract() {
    let declared = |most: u32| {
        let flights = FLIGHTS.replace("600]", &format!("{most}]")).replace("60%", "100%");
        specs(&flights.replace("event_time", "keep_raw = true\nevent_time"), &[])
    };
    let mut company = Company::with(declared(100)).await;
    company.committed("flights", "one", flights(&[("a", None, Some(1)), ("x", None, Some(150))])).await;
    let on = BranchName::new("audit").unwrap();
    company.lake.create_branch(&ana(), &on, &[name("flights")]).await.unwrap();
    assert_eq!(on_branch(&company, &on, "two", &[("b", 2), ("y", 160)]).await, (1, 1, 0));
    assert_eq!(on_branch(&company, &on, "three", &[("c", 3), ("z", 900)]).await, (1, 1, 0));
    let raw = "SELECT count(*) FROM flights__raw";
    assert_eq!(company.number(raw, AsOf::Latest).await, 2, "the branch's rows are not the dataset's yet");
    let MergeOutcome::Merged(merged) = company.lake.merge_branch(&ana(), &on).await.unwrap() else { panic!() };
    assert_eq!(merged.tables.iter().map(|table| table.rows_added).collect::<Vec<_>>(), [4, 2, 2]);
    assert_eq!(company.number(raw, AsOf::Latest).await, 6);
    company.reopen().await;
    company.catalog.replace(declared(600));
    let fact = company.lake.replay(&ana(), &name("flights"), 0).await.unwrap();
    assert_eq!((fact.batches, fact.rows_in, fact.accepted, fact.quarantined, fact.now_accepted), (3, 6, 5, 1, 2));
    let ids = company.texts("SELECT id FROM flights ORDER BY id", AsOf::Latest).await;
    assert_eq!(ids, ["a", "b", "c", "x", "y"]);
    // From the merge on, only what came with it.
    assert_eq!(company.lake.replay(&ana(), &name("flights"), 1).await.unwrap().batches, 2);
    assert_eq!(company.lake.conservation().await.unwrap().gap, None);
    assert!(company.ledger.rebuild(false).unwrap().differences.is_empty());
}
