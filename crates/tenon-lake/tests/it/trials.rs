//! A declaration is tried on what a dataset holds before it is accepted.

use tenon_core::spec::DatasetSpec;
use tenon_lake::{LakeError, Trial};

use crate::fixture::{Company, FLIGHTS, flights, name, specs};

fn declared(text: &str) -> DatasetSpec {
    specs(text, &[]).datasets[&name("flights")].spec.clone()
}

/// Two batches: of the first one row in four waits in the quarantine, of the second none of two.
async fn company() -> Company {
    let company = Company::new().await;
    let first = [("a", None, Some(1)), ("b", None, Some(250)), ("c", None, Some(3)), ("d", None, Some(700))];
    company.committed("flights", "first", flights(&first)).await;
    company.committed("flights", "second", flights(&[("e", None, Some(5)), ("f", None, Some(300))])).await;
    company
}

async fn tried(company: &Company, text: &str) -> Result<Trial, LakeError> {
    Ok(company.lake.try_on_history(&name("flights"), &declared(text)).await?.unwrap())
}

#[tokio::test]
async fn a_trial_counts_rows_that_wait_and_batches_that_would_be_refused() {
    let company = company().await;
    let same = tried(&company, FLIGHTS).await.unwrap();
    assert_eq!((same.rows, same.failing, same.waiting, same.fitting), (5, 0, 1, 0));
    assert_eq!((same.batches, same.refused), (2, 0));

    let tighter = tried(&company, &FLIGHTS.replace("600]", "200]")).await.unwrap();
    assert_eq!((tighter.failing, tighter.reasons[0].rule.as_str()), (2, "delay: outside [-60, 200]"));
    assert_eq!((tighter.waiting, tighter.fitting, tighter.refused), (1, 0, 0));

    // Two of four rows of the first batch would break it: the row that landed, and the one that waits.
    let strict = tried(&company, &FLIGHTS.replace("600]", "200]").replace("60%", "49%")).await.unwrap();
    let first = strict.first_refused.unwrap();
    assert_eq!((strict.refused, first.source.as_str()), (2, "first"));
    assert_eq!(first.sentence, "2 of 4 rows (50.0%) break the contract, and at most 49% may");

    let looser = tried(&company, &FLIGHTS.replace("600]", "800]").replace("60%", "10%")).await.unwrap();
    assert_eq!((looser.failing, looser.waiting, looser.fitting, looser.refused), (0, 1, 1, 0));

    let volume = format!("{FLIGHTS}[contract.volume]\nat_least = 3\nseverity = \"refuse\"\n");
    let few = tried(&company, &volume).await.unwrap();
    assert_eq!((few.refused, few.first_refused.unwrap().source.as_str()), (1, "second"));

    let refusing = FLIGHTS.replace("range = [-60, 600]", "range = [-60, 200]\nseverity = \"refuse\"");
    let refused = tried(&company, &refusing).await.unwrap();
    assert_eq!((refused.refused, refused.batches), (2, 2));
}

#[tokio::test]
async fn a_column_of_another_type_cannot_follow_the_rows_that_are_there() {
    let company = company().await;
    let text =
        FLIGHTS.replace("type = \"int64\"\nnullable = true\nrange = [-60, 600]", "type = \"string\"\nnullable = true");
    let error = tried(&company, &text).await.unwrap_err();
    assert!(matches!(error, LakeError::Contract { .. }), "{error:?}");
    assert!(error.to_string().contains("`delay` is Int64 there and Utf8 here"), "{error}");
}
