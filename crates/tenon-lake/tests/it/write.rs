use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use std::sync::Arc;
use tenon_core::fact::{DatasetCommitted, DatasetRefused, Payload};
use tenon_core::id::OperationId;
use tenon_core::{AsOf, Timestamp};
use tenon_lake::{LakeError, WriteOutcome};

use crate::fixture::{Company, FLIGHTS, HOUR, ana, flights, name, planes, source_of, specs};

#[tokio::test]
async fn a_batch_lands_with_its_numbers_and_once() {
    let company = Company::new().await;
    company.committed("planes", "planes", planes(&["N1"])).await;
    let batch =
        flights(&[("a", Some("N1"), Some(5)), ("b", Some("N9"), None), ("c", None, Some(700)), ("a", None, None)]);
    let fact = company.committed("flights", "january", batch.clone()).await;
    assert_eq!(
        (fact.rows_in, fact.accepted, fact.quarantined, fact.version, fact.quarantine_version),
        (4, 2, 2, 0, Some(0))
    );
    let reasons: Vec<_> = fact.reasons.iter().map(|reason| (reason.rule.as_str(), reason.rows)).collect();
    assert_eq!(reasons, [("delay: outside [-60, 600]", 1), ("key id: not the first", 1)]);
    assert_eq!(fact.warnings[0].rule, "tailnum: not in planes.tailnum");
    assert_eq!(fact.events, Some((Timestamp::from_micros(0), Timestamp::from_micros(HOUR))));

    assert!(
        matches!(company.write("flights", "january", batch).await.unwrap(), WriteOutcome::Already(again) if again == fact)
    );
    assert_eq!(company.texts("SELECT id FROM flights ORDER BY id", AsOf::Latest).await, ["a", "b"]);
    let reasons = company.texts("SELECT _reason FROM flights__quarantine ORDER BY _row_number", AsOf::Latest).await;
    assert_eq!(reasons, ["delay: 700 is outside [-60, 600]", "key id: not the first"]);
    let row = company.texts("SELECT _row FROM flights__quarantine WHERE _row_number = 2", AsOf::Latest).await;
    assert_eq!(
        row,
        ["{\"id\":\"c\",\"tailnum\":null,\"delay\":700,\"landed_at\":\"1970-01-01T02:00:00Z\",\"extra\":\"left out\"}"]
    );
    assert_eq!(company.ledger.facts_of(&[DatasetCommitted::KIND], 0, 10).unwrap().len(), 2);
    let state = company.lake.state("flights").unwrap().unwrap();
    assert_eq!((state.commits, state.rows, state.quarantined), (1, 2, 2));
}

#[tokio::test]
async fn the_digest_of_the_rows_does_not_depend_on_how_they_came() {
    let company = Company::new().await;
    let rows = flights(&[("a", None, Some(5)), ("b", None, None), ("c", None, Some(7))]);
    let whole = company.committed("flights", "whole", rows.clone()).await;
    let pieces = vec![rows.slice(0, 1), rows.slice(1, 2)];
    let outcome = company.lake.write(&ana(), &name("flights"), &source_of("cut"), pieces).await.unwrap();
    let WriteOutcome::Committed { fact: cut, .. } = outcome else { panic!() };
    assert_eq!(whole.rows_digest, cut.rows_digest);
}

#[tokio::test]
async fn a_batch_with_too_many_bad_rows_is_refused_whole_and_recorded_once() {
    let company = Company::new().await;
    let bad = flights(&[("a", None, Some(999)), ("b", None, Some(999)), ("c", None, Some(1))]);
    for _ in 0..2 {
        let WriteOutcome::Refused(refused) = company.write("flights", "bad", bad.clone()).await.unwrap() else {
            panic!()
        };
        assert_eq!(refused.sentence, "2 of 3 rows (66.7%) break the contract, and at most 60% may");
        assert_eq!(refused.reasons[0].rows, 2);
    }
    assert_eq!(company.ledger.facts_of(&[DatasetRefused::KIND], 0, 10).unwrap().len(), 1);
    assert_eq!(company.number("SELECT count(*) FROM flights", AsOf::Latest).await, 0);
    assert_eq!(company.number("SELECT count(*) FROM flights__quarantine", AsOf::Latest).await, 0);
    // Once the contract allows it, the same batch is taken.
    company.catalog.replace(specs(&FLIGHTS.replace("60%", "70%"), &[]));
    assert_eq!(company.committed("flights", "bad", bad).await.accepted, 1);
}

#[tokio::test]
async fn a_rule_may_refuse_the_whole_batch_and_so_does_a_missing_column() {
    let refusing = FLIGHTS.replace("range = [-60, 600]", "range = [-60, 600]\nseverity = \"refuse\"");
    let company = Company::with(specs(&refusing, &[])).await;
    let batch = flights(&[("a", None, Some(999)), ("b", None, Some(1)), ("c", None, Some(1))]);
    let WriteOutcome::Refused(refused) = company.write("flights", "x", batch).await.unwrap() else { panic!() };
    assert_eq!(refused.sentence, "the contract refuses a batch that breaks delay: outside [-60, 600] (1 rows)");
    let wrong = RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]).unwrap();
    let WriteOutcome::Refused(refused) = company.write("flights", "y", wrong).await.unwrap() else { panic!() };
    assert_eq!(refused.sentence, "column `tailnum` is missing: it has id");
}

#[tokio::test]
async fn pieces_that_were_checked_by_the_hour_land_by_the_day() {
    let company = Company::new().await;
    let dataset = name("flights");
    let mut checker = company.lake.checker(&dataset);
    let mut checked = Vec::new();
    for batch in
        [flights(&[("a", None, Some(1)), ("b", None, Some(999))]), flights(&[("a", None, Some(2)), ("c", None, None)])]
    {
        checked.push(checker.check(&[batch]).await.unwrap());
    }
    let outcome = company.lake.commit_checked(&ana(), &dataset, &source_of("day"), checked).await.unwrap();
    let WriteOutcome::Committed { fact, accepted } = outcome else { panic!() };
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined), (4, 2, 2));
    assert_eq!(accepted.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    let numbers =
        company.lake.query("SELECT _row_number FROM flights__quarantine ORDER BY 1", AsOf::Latest).await.unwrap();
    assert_eq!(numbers[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().values(), &[1, 2]);
}

#[tokio::test]
async fn a_batch_without_good_rows_leaves_the_table_as_it_stood() {
    let company = Company::with(specs(&FLIGHTS.replace("60%", "100%"), &[])).await;
    let bad = || flights(&[("x", None, Some(999))]);
    let first = company.committed("flights", "first", bad()).await;
    assert_eq!((first.version, first.quarantine_version), (0, Some(0)));
    company.committed("flights", "good", flights(&[("a", None, None)])).await;
    let last = company.committed("flights", "last", bad()).await;
    assert_eq!((last.version, last.quarantine_version), (1, Some(1)));
    let empty = company.committed("flights", "empty", flights(&[])).await;
    assert_eq!((empty.version, empty.quarantine_version, empty.rows_in), (1, None, 0));
    assert_eq!(company.number("SELECT count(*) FROM flights", AsOf::Latest).await, 1);
}

#[tokio::test]
async fn a_contract_may_gain_columns_and_the_old_rows_have_none() {
    let company = Company::new().await;
    company.committed("flights", "old", flights(&[("a", None, Some(1))])).await;
    let wider = format!("{FLIGHTS}[contract.columns.extra]\ntype = \"string\"\n");
    company.catalog.replace(specs(&wider, &[]));
    let fact = company.committed("flights", "new", flights(&[("b", None, Some(2))])).await;
    assert_eq!(fact.version, 1);
    let extras = company.texts("SELECT coalesce(extra, 'none') FROM flights ORDER BY id", AsOf::Latest).await;
    assert_eq!(extras, ["none", "left out"]);
    company.catalog.replace(specs(&FLIGHTS.replace("type = \"int64\"", "type = \"float64\""), &[]));
    let error = company.write("flights", "other", flights(&[("c", None, None)])).await.unwrap_err();
    assert!(error.to_string().contains("`delay` is Int64 there and Float64 here"), "{error}");
}

#[tokio::test]
async fn the_programs_own_tables_take_an_operation_once() {
    let mut company = Company::new().await;
    let rows =
        |id: i64| RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![id])) as ArrayRef)]).unwrap();
    let operation = |n: &str| OperationId::derive(&["test", n]);
    let append = async |company: &Company, n: &str| {
        company.lake.append_internal("decisions_late_arrival", vec![rows(1)], operation(n)).await.unwrap()
    };
    assert_eq!([append(&company, "1").await, append(&company, "2").await, append(&company, "1").await], [0, 1, 0]);
    company.reopen().await;
    assert_eq!([append(&company, "2").await, append(&company, "3").await], [1, 2]);
    assert_eq!(company.number("SELECT count(*) FROM decisions_late_arrival", AsOf::Latest).await, 3);
    assert!(company.folder.path().join("lake/_decisions_late_arrival").is_dir());
}

#[tokio::test]
async fn writers_to_one_table_queue() {
    let company = Company::new().await;
    let ids: Vec<String> = (0..12).map(|id| id.to_string()).collect();
    let writes = ids.iter().map(|id| company.committed("flights", id, flights(&[(id, None, None)])));
    let mut versions: Vec<u64> = futures::future::join_all(writes).await.iter().map(|fact| fact.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (0..12).collect::<Vec<_>>());
    assert_eq!(company.number("SELECT count(DISTINCT id) FROM flights", AsOf::Latest).await, 12);
}

#[tokio::test]
async fn names_are_suggested_and_views_take_no_rows() {
    let company = Company::with(specs(FLIGHTS, &[("late", "SELECT id FROM flights WHERE delay > 15")])).await;
    let error = company.write("flihgts", "x", flights(&[])).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no dataset `flihgts` (did you mean `flights`?)");
    assert!(matches!(company.write("late", "x", flights(&[])).await, Err(LakeError::View(_))));
}
