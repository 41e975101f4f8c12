//! What a crash leaves of a restore, a compaction, a merge or a vacuum, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tenon_core::fact::{BranchMerged, DatasetCompacted, DatasetRestored, LakeVacuumed, Payload};
use tenon_core::{AsOf, BranchName, Span, Timestamp};

use crate::commit::Step;
use crate::fixture::{Company, ana, flights, name, planes, source_of};
use crate::{LakeError, MergeOutcome};

const ROWS: &str = "SELECT count(*) FROM flights";
const PLANES: &str = "SELECT count(*) FROM planes";
const QUARANTINED: &str = "SELECT count(*) FROM flights__quarantine";

async fn two_versions() -> Company {
    let company = Company::new().await;
    company.committed("flights", "first", flights(&[("a", None, Some(1))])).await;
    company.committed("flights", "second", flights(&[("b", None, Some(2))])).await;
    company
}

fn stop_after(company: &Company, step: Step) {
    *company.lake.inner.stop_after.lock() = Some(step);
}

fn facts<P: Payload>(company: &Company) -> usize {
    company.ledger.facts_of(&[P::KIND], 0, 100).unwrap().len()
}

#[tokio::test]
async fn a_restore_that_was_cut_off_is_sealed() {
    for restart in [false, true] {
        let mut company = two_versions().await;
        stop_after(&company, Step::Landed);
        company.lake.restore(&ana(), &name("flights"), AsOf::Version(0), "r").await.unwrap_err();
        assert_eq!(company.number(ROWS, AsOf::Latest).await, 2, "unsealed versions are not read");
        if restart {
            company.reopen().await;
            assert_eq!(company.number(ROWS, AsOf::Latest).await, 1);
        }
        let again = company.lake.restore(&ana(), &name("flights"), AsOf::Version(0), "r").await.unwrap();
        assert_eq!(again, None, "it is so already");
        assert_eq!((company.number(ROWS, AsOf::Latest).await, facts::<DatasetRestored>(&company)), (1, 1));
    }
}

#[tokio::test]
async fn a_compaction_that_was_cut_off_is_sealed_or_done_again() {
    for step in [Step::Encoded, Step::Landed] {
        let mut company = two_versions().await;
        stop_after(&company, step);
        company.lake.compact(&ana(), &name("flights"), 1 << 20).await.unwrap_err();
        company.reopen().await;
        company.lake.compact(&ana(), &name("flights"), 1 << 20).await.unwrap();
        assert_eq!((company.number(ROWS, AsOf::Latest).await, facts::<DatasetCompacted>(&company)), (2, 1), "{step:?}");
    }
}

#[tokio::test]
async fn a_vacuum_that_was_cut_off_is_on_record_and_the_next_goes_on() {
    for step in [Step::Recorded, Step::Removed] {
        let mut company = two_versions().await;
        company.lake.compact(&ana(), &name("flights"), 1 << 20).await.unwrap();
        company.clock.advance_to(Timestamp::from_micros(0) + Span::days(30));
        let left = step == Step::Recorded;
        stop_after(&company, step);
        company.lake.vacuum(&ana(), &[], Span::days(7), false).await.unwrap_err();
        company.reopen().await;
        let gone = company.lake.query(ROWS, AsOf::Version(1)).await.unwrap_err();
        assert!(matches!(gone, LakeError::Vacuumed { .. }), "{gone}");
        assert_eq!(company.number(ROWS, AsOf::Latest).await, 2);
        let rest = company.lake.vacuum(&ana(), &[], Span::days(7), false).await.unwrap();
        assert_eq!(rest.tables.iter().map(|table| table.removed.len()).sum::<usize>(), if left { 2 } else { 1 });
        assert_eq!(facts::<LakeVacuumed>(&company), 2);
    }
}

/// A branch of two datasets with rows for both and for a quarantine, whose merge stopped after `step`.
async fn merge_stopped_after(step: Step) -> (Company, BranchName) {
    let company = two_versions().await;
    company.committed("planes", "p", planes(&["N1"])).await;
    let on = BranchName::new("audit").unwrap();
    company.lake.create_branch(&ana(), &on, &[name("flights"), name("planes")]).await.unwrap();
    for (dataset, rows) in
        [("flights", flights(&[("c", None, None), ("bad", None, Some(999))])), ("planes", planes(&["N2"]))]
    {
        let checked = company.lake.check(&name(dataset), &[rows]).await.unwrap();
        company
            .lake
            .commit_checked_on(&on, &ana(), &name(dataset), &source_of("on the branch"), vec![checked])
            .await
            .unwrap();
    }
    stop_after(&company, step);
    let stopped = company.lake.merge_branch(&ana(), &on).await;
    assert!(matches!(stopped, Err(LakeError::Interrupted(_))), "{step:?}: {stopped:?}");
    (company, on)
}

async fn counts(company: &Company) -> [i64; 3] {
    [
        company.number(ROWS, AsOf::Latest).await,
        company.number(PLANES, AsOf::Latest).await,
        company.number(QUARANTINED, AsOf::Latest).await,
    ]
}

#[tokio::test]
async fn a_merge_that_was_cut_off_is_in_all_tables_or_in_none() {
    // The parts are: the quarantine of flights, flights, planes; the last one decides.
    for (step, landed) in [
        (Step::Encoded, false),
        (Step::Merged(1), false),
        (Step::Merged(2), false),
        (Step::Merged(3), true),
        (Step::Landed, true),
    ] {
        for restart in [false, true] {
            let (mut company, on) = merge_stopped_after(step).await;
            assert_eq!(counts(&company).await, [2, 1, 0], "{step:?}: nothing is seen of it before the fact");
            if restart {
                company.reopen().await;
                assert_eq!(counts(&company).await, if landed { [3, 2, 1] } else { [2, 1, 0] }, "{step:?}");
                // Another start changes nothing more.
                company.reopen().await;
            } else {
                // The next batch of any of the tables settles it as well.
                company.committed("flights", "next", flights(&[("n", None, None)])).await;
                let seen = counts(&company).await;
                assert_eq!([seen[0] - 1, seen[2]], if landed { [3, 1] } else { [2, 0] }, "{step:?}");
            }
            assert_eq!(facts::<BranchMerged>(&company), usize::from(landed), "{step:?}");
            if landed {
                assert!(matches!(company.lake.merge_branch(&ana(), &on).await, Err(LakeError::NoSuch { .. })));
            } else {
                let merged = company.lake.merge_branch(&ana(), &on).await.unwrap();
                assert!(matches!(merged, MergeOutcome::Merged(_)), "{step:?}: {merged:?}");
            }
            let more = i64::from(!restart);
            assert_eq!(counts(&company).await, [3 + more, 2, 1], "{step:?}, restart {restart}");
            assert!(!company.folder.path().join("lake/_branches/audit").exists() || !restart, "{step:?}");
        }
    }
}

#[tokio::test]
async fn a_branch_whose_making_was_cut_off_leaves_nothing() {
    let mut company = two_versions().await;
    let on = BranchName::new("audit").unwrap();
    stop_after(&company, Step::Landed);
    company.lake.create_branch(&ana(), &on, &[name("flights")]).await.unwrap_err();
    assert!(company.folder.path().join("lake/_branches/audit").exists());
    company.reopen().await;
    assert!(!company.folder.path().join("lake/_branches/audit").exists());
    company.lake.create_branch(&ana(), &on, &[name("flights")]).await.unwrap();
}
