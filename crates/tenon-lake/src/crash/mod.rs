//! What a crash leaves between the writes of a commit, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod versions;

use tenon_core::AsOf;
use tenon_core::fact::{DatasetCommitted, Payload};

use crate::commit::Step;
use crate::fixture::{Company, FLIGHTS, flights, specs};
use crate::{LakeError, WriteOutcome};

const ROWS: &str = "SELECT count(*) FROM flights";
const QUARANTINED: &str = "SELECT count(*) FROM flights__quarantine";

fn batch() -> arrow::array::RecordBatch {
    flights(&[("a", None, Some(1)), ("b", None, Some(999)), ("c", None, None)])
}

/// A company in which a batch stopped after `step`.
async fn stopped_after(step: Step) -> Company {
    let company = Company::new().await;
    *company.lake.inner.stop_after.lock() = Some(step);
    let stopped = company.write("flights", "batch", batch()).await;
    assert!(matches!(stopped, Err(LakeError::Interrupted(_))), "{stopped:?}");
    assert_eq!(company.number(ROWS, AsOf::Latest).await, 0, "unsealed rows are not read");
    assert_eq!(company.number(QUARANTINED, AsOf::Latest).await, 0);
    company
}

async fn sealed(company: &Company) -> usize {
    company.ledger.facts_of(&[DatasetCommitted::KIND], 0, 100).unwrap().len()
}

async fn all_is_there_once(company: &Company) {
    assert_eq!(company.number(ROWS, AsOf::Latest).await, 2);
    assert_eq!(company.number(QUARANTINED, AsOf::Latest).await, 1);
    assert_eq!(sealed(company).await, 1);
}

#[tokio::test]
async fn giving_the_batch_again_completes_it_wherever_it_stopped() {
    for step in [Step::Encoded, Step::Quarantined, Step::Landed] {
        for restart in [false, true] {
            let mut company = stopped_after(step).await;
            if restart {
                company.reopen().await;
            }
            let outcome = company.write("flights", "batch", batch()).await.unwrap();
            let was_landed = step == Step::Landed;
            assert_eq!(matches!(outcome, WriteOutcome::Already(_)), was_landed, "{step:?}, restart {restart}");
            all_is_there_once(&company).await;
        }
    }
}

#[tokio::test]
async fn a_start_seals_what_had_landed_and_undoes_what_had_not() {
    let mut company = stopped_after(Step::Landed).await;
    company.reopen().await;
    all_is_there_once(&company).await;

    let mut company = stopped_after(Step::Quarantined).await;
    company.reopen().await;
    assert_eq!(sealed(&company).await, 0);
    // Another batch must not bring the undone rows with it, in this start or a later one.
    company.reopen().await;
    company.committed("flights", "other", flights(&[("x", None, Some(998)), ("y", None, None)])).await;
    assert_eq!(company.number(QUARANTINED, AsOf::Latest).await, 1);
    company.committed("flights", "batch", batch()).await;
    assert_eq!(company.number(ROWS, AsOf::Latest).await, 3);
    assert_eq!(company.number(QUARANTINED, AsOf::Latest).await, 2);
}

#[tokio::test]
async fn the_next_batch_settles_what_the_one_before_left() {
    let company = stopped_after(Step::Quarantined).await;
    company.committed("flights", "other", flights(&[("x", None, Some(998)), ("y", None, None)])).await;
    assert_eq!(company.number(QUARANTINED, AsOf::Latest).await, 1);

    let company = stopped_after(Step::Landed).await;
    company.committed("flights", "other", flights(&[("y", None, None)])).await;
    assert_eq!(sealed(&company).await, 2);
    assert_eq!(company.number(ROWS, AsOf::Latest).await, 3);
}

#[tokio::test]
async fn a_batch_without_good_rows_is_sealed_from_the_quarantines_commit() {
    let mut company = Company::with(specs(&FLIGHTS.replace("60%", "100%"), &[])).await;
    company.committed("flights", "good", flights(&[("a", None, None)])).await;
    *company.lake.inner.stop_after.lock() = Some(Step::Quarantined);
    let bad = || flights(&[("x", None, Some(999))]);
    company.write("flights", "bad", bad()).await.unwrap_err();
    company.reopen().await;
    assert_eq!(sealed(&company).await, 2);
    assert!(matches!(company.write("flights", "bad", bad()).await.unwrap(), WriteOutcome::Already(_)));
    assert_eq!(company.number(QUARANTINED, AsOf::Latest).await, 1);
}

/// The same contract, looser, with rows kept as they came.
fn kept(most: u32) -> String {
    let flights = FLIGHTS.replace("600]", &format!("{most}]")).replace("60%", "100%");
    flights.replace("event_time", "keep_raw = true\nevent_time")
}

const OPEN: &str = "SELECT count(*) FROM flights__quarantine WHERE _resolution IS NULL";
const RAW: &str = "SELECT count(*) FROM flights__raw";

#[tokio::test]
async fn rows_that_are_kept_as_they_came_are_there_once_wherever_a_batch_stopped() {
    for step in [Step::Encoded, Step::Kept, Step::Quarantined, Step::Landed] {
        for restart in [false, true] {
            let mut company = Company::with(specs(&kept(600), &[])).await;
            *company.lake.inner.stop_after.lock() = Some(step);
            company.write("flights", "batch", batch()).await.unwrap_err();
            assert_eq!(company.number("SELECT count(*) FROM planes", AsOf::Latest).await, 0);
            if restart {
                company.reopen().await;
                company.reopen().await;
            }
            company.committed("flights", "other", flights(&[("z", None, None)])).await;
            company.write("flights", "batch", batch()).await.unwrap();
            assert_eq!(company.number(ROWS, AsOf::Latest).await, 3, "{step:?}, restart {restart}");
            assert_eq!(company.number(OPEN, AsOf::Latest).await, 1, "{step:?}, restart {restart}");
            assert_eq!(company.number(RAW, AsOf::Latest).await, 4, "{step:?}, restart {restart}");
        }
    }
}

#[tokio::test]
async fn a_batch_of_which_every_row_is_dropped_is_sealed_from_its_kept_rows() {
    let declared = kept(600).replace("[contract]", "[clean]\ndrop = \"true\"\n[contract]");
    let mut company = Company::with(specs(&declared, &[])).await;
    company.committed("flights", "first", batch()).await;
    *company.lake.inner.stop_after.lock() = Some(Step::Kept);
    company.write("flights", "second", flights(&[("q", None, None)])).await.unwrap_err();
    company.reopen().await;
    assert_eq!(sealed(&company).await, 2);
    assert_eq!(company.number(RAW, AsOf::Latest).await, 4);
    assert_eq!(company.number(ROWS, AsOf::Latest).await, 0);
}

#[tokio::test]
async fn a_replay_and_a_release_are_whole_wherever_they_stop() {
    for step in [Step::Landed, Step::Followed] {
        for restart in [false, true] {
            let mut company = Company::with(specs(&kept(600), &[])).await;
            company.committed("flights", "batch", batch()).await;
            company.catalog.replace(specs(&kept(2_000), &[]));
            *company.lake.inner.stop_after.lock() = Some(step);
            let dataset = crate::fixture::name("flights");
            company.lake.replay(&crate::fixture::ana(), &dataset, 0).await.unwrap_err();
            assert_eq!(company.number(ROWS, AsOf::Latest).await, 2, "unsealed rows are not read");
            if restart {
                company.reopen().await;
                assert_eq!(company.number(ROWS, AsOf::Latest).await, 3, "{step:?}");
            }
            company.committed("flights", "bad", flights(&[("y", None, Some(9_999))])).await;
            assert_eq!(company.number(ROWS, AsOf::Latest).await, 3, "{step:?}, restart {restart}");
            assert_eq!(company.number(OPEN, AsOf::Latest).await, 1, "{step:?}, restart {restart}");

            *company.lake.inner.stop_after.lock() = Some(step);
            let selection = crate::Selection { filter: None, set: vec![("delay".to_owned(), "1".to_owned())] };
            let release =
                async |company: &Company| company.lake.release(&crate::fixture::ana(), &dataset, &selection, "r").await;
            release(&company).await.unwrap_err();
            if restart {
                company.reopen().await;
            }
            let again = release(&company).await.unwrap();
            assert!(again.fact.is_none(), "{step:?}, restart {restart}: released twice");
            assert_eq!(company.number(ROWS, AsOf::Latest).await, 4, "{step:?}, restart {restart}");
            assert_eq!(company.number(OPEN, AsOf::Latest).await, 0, "{step:?}, restart {restart}");
        }
    }
}

#[tokio::test]
async fn positions_land_with_their_rows_or_not_at_all() {
    use crate::fixture::{ana, name, source_of};
    use tenon_core::fact::Stretch;

    for step in [Step::Encoded, Step::Quarantined, Step::Landed] {
        let mut company = Company::new().await;
        let dataset = name("flights");
        let stretch = Stretch { source: "kafka:flights/0".to_owned(), first: 7, next: 10, rows: 3 };
        *company.lake.inner.stop_after.lock() = Some(step);
        let checked = company.lake.check(&dataset, &[batch()]).await.unwrap();
        let source = source_of("7-10");
        let stopped =
            company.lake.commit_stretches(&ana(), &dataset, &source, vec![checked], vec![stretch.clone()]).await;
        assert!(matches!(stopped, Err(LakeError::Interrupted(_))), "{stopped:?}");
        company.reopen().await;
        let landed = step == Step::Landed;
        let position = company.lake.position(&dataset, &stretch.source).await.unwrap();
        assert_eq!(position, landed.then_some(10), "{step:?}");
        assert_eq!(company.number(ROWS, AsOf::Latest).await, if landed { 2 } else { 0 }, "{step:?}");
        let checked = company.lake.check(&dataset, &[batch()]).await.unwrap();
        company.lake.commit_stretches(&ana(), &dataset, &source, vec![checked], vec![stretch]).await.unwrap();
        all_is_there_once(&company).await;
        assert_eq!(company.lake.conservation().await.unwrap().gap, None, "{step:?}");
    }
}
