//! Rows as they came, and what a corrected declaration makes of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tenon_core::AsOf;
use tenon_lake::{LakeError, Selection, WriteOutcome};

use crate::fixture::{Company, ana, name, specs};

const COUNT: &str = "SELECT count(*) FROM flights";
const OPEN: &str = "SELECT count(*) FROM flights__quarantine WHERE _resolution IS NULL";
const RAW: &str = "SELECT count(*) FROM flights__raw";

/// Flights whose delay comes in seconds, and is at most `most` minutes.
fn declared(most: i64, more: &str) -> String {
    format!(
        "description = \"d\"\n[source]\npush = true\n[contract]\nkey = [\"id\"]\nmax_quarantined = \"100%\"\n\
         [contract.columns.id]\ntype = \"string\"\n\
         [contract.columns.delay]\ntype = \"int64\"\nunit = \"minutes\"\nrange = [0, {most}]\n\
         [clean]\ndrop = \"id LIKE 'test%'\"\n\
         [clean.columns.id]\nfrom = \"ID\"\ntrim = true\n\
         [clean.columns.delay]\nunit = {{ from = \"seconds\" }}\n{more}"
    )
}

fn rows(rows: &[(&str, &str)]) -> RecordBatch {
    let (ids, delays): (Vec<&str>, Vec<&str>) = rows.iter().copied().unzip();
    RecordBatch::try_from_iter([
        ("ID", Arc::new(StringArray::from(ids)) as ArrayRef),
        ("delay", Arc::new(StringArray::from(delays)) as ArrayRef),
    ])
    .unwrap()
}

async fn company() -> Company {
    let company = Company::with(specs(&declared(10, ""), &[])).await;
    let fact =
        company.committed("flights", "one", rows(&[(" a", "60"), ("b ", "1200"), ("test1", "9"), ("c", "x")])).await;
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined, fact.dropped), (4, 1, 2, 1));
    assert_eq!(fact.raw_version, Some(0));
    company.committed("flights", "two", rows(&[("d", "120"), ("e", "600")])).await;
    company
}

#[tokio::test]
async fn a_corrected_rule_is_replayed_over_history() {
    let company = company().await;
    assert_eq!(company.number(RAW, AsOf::Latest).await, 6);
    assert_eq!(company.number(COUNT, AsOf::Latest).await, 3);
    let before = company.lake.version("flights", AsOf::Latest).await.unwrap().unwrap();

    company.catalog.replace(specs(&declared(30, ""), &[]));
    let fact = company.lake.replay(&ana(), &name("flights"), 0).await.unwrap();
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined, fact.dropped), (6, 4, 1, 1));
    assert_eq!((fact.now_accepted, fact.no_longer_accepted), (1, 0));
    assert_eq!((fact.replaced.accepted, fact.replaced.quarantined), (3, 2));
    assert_eq!(company.number(COUNT, AsOf::Latest).await, 4);
    assert_eq!(company.number(OPEN, AsOf::Latest).await, 1);
    assert_eq!(company.number(COUNT, AsOf::Version(before)).await, 3, "the old version stays as it was");
    let state = company.lake.state("flights").unwrap().unwrap();
    assert_eq!((state.rows, state.quarantined), (4, 1));

    // A stricter rule takes rows out again, also of a part of the history.
    company.catalog.replace(specs(&declared(5, ""), &[]));
    let fact = company.lake.replay(&ana(), &name("flights"), 1).await.unwrap();
    assert_eq!((fact.batches, fact.accepted, fact.quarantined, fact.no_longer_accepted), (1, 1, 1, 1));
    assert_eq!(company.texts("SELECT id FROM flights ORDER BY id", AsOf::Latest).await, ["a", "b", "d"]);
    // What came in stays known by its digest, and later batches land after it.
    let again = company.write("flights", "two", rows(&[("d", "120")])).await.unwrap();
    assert!(matches!(again, WriteOutcome::Already(_)));
    company.committed("flights", "three", rows(&[("f", "60")])).await;
    assert_eq!(company.number(COUNT, AsOf::Latest).await, 4);
}

#[tokio::test]
async fn released_rows_stay_released_and_are_released_once() {
    let company = company().await;
    let select = |filter: &str, set: &[(&str, &str)]| Selection {
        filter: Some(filter.to_owned()),
        set: set.iter().map(|(column, sql)| ((*column).to_owned(), (*sql).to_owned())).collect(),
    };
    let flights = name("flights");
    let release = async |selection: Selection| company.lake.release(&ana(), &flights, &selection, "r").await;
    // Without a repair the row still breaks its rule.
    let told = release(select("\"ID\" = 'c'", &[])).await.unwrap();
    assert!(told.fact.is_none());
    assert_eq!((told.chosen, told.still_broken[0].rule.as_str()), (1, "delay: not a float64"));
    let told = release(select("\"ID\" = 'c'", &[("delay", "'300'")])).await.unwrap();
    let fact = told.fact.unwrap();
    assert_eq!((fact.rows, fact.repaired), (1, vec!["delay".to_owned()]));
    assert_eq!(company.texts("SELECT id FROM flights WHERE delay = 5", AsOf::Latest).await, ["c"]);
    let again = release(select("\"ID\" = 'c'", &[("delay", "'300'")])).await.unwrap();
    assert_eq!((again.chosen, again.fact), (0, None), "a released row is not open any more");
    assert_eq!(company.number(OPEN, AsOf::Latest).await, 1);
    assert!(matches!(release(select("nothing = 1", &[])).await, Err(LakeError::Query(_))));

    let discarded = company.lake.discard_quarantined(&ana(), &flights, None, "d").await.unwrap().unwrap();
    assert_eq!((discarded.rows, company.number(OPEN, AsOf::Latest).await), (1, 0));
    assert_eq!(company.number("SELECT count(*) FROM flights__quarantine", AsOf::Latest).await, 2, "nothing is lost");

    // A replay leaves both as people decided.
    company.catalog.replace(specs(&declared(30, ""), &[]));
    let fact = company.lake.replay(&ana(), &flights, 0).await.unwrap();
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined), (4, 3, 0));
    let ids = company.texts("SELECT id FROM flights ORDER BY id", AsOf::Latest).await;
    assert_eq!(ids, ["a", "c", "d", "e"]);
    assert_eq!(company.number("SELECT count(*) FROM flights__quarantine", AsOf::Latest).await, 2);
}

#[tokio::test]
async fn a_dataset_that_keeps_nothing_cannot_be_replayed() {
    let company = Company::new().await;
    let told = company.lake.replay(&ana(), &name("flights"), 0).await.unwrap_err();
    assert!(told.to_string().contains("keep_raw = true"), "{told}");
}

#[tokio::test]
async fn a_unique_value_comes_once_in_the_whole_table() {
    let declared = "description = \"d\"\n[source]\npush = true\n[contract]\nmax_quarantined = \"100%\"\n\
         [contract.columns.n]\ntype = \"int64\"\nnullable = true\nunique = true\n";
    let company = Company::with(specs(declared, &[])).await;
    let rows = |numbers: &[Option<i64>]| {
        RecordBatch::try_from_iter_with_nullable([(
            "n",
            Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef,
            true,
        )])
        .unwrap()
    };
    let fact = company.committed("flights", "one", rows(&[Some(1), None, Some(2), Some(1), None])).await;
    assert_eq!((fact.accepted, fact.quarantined), (4, 1));
    let fact = company.committed("flights", "two", rows(&[Some(2), Some(3), None])).await;
    assert_eq!((fact.accepted, fact.reasons[0].rule.as_str()), (2, "n: not unique"));
    // Writers at once: each value lands once, whoever was first.
    let writes = (0..8).map(|writer| {
        let rows = rows(&[Some(100), Some(200 + writer), Some(101)]);
        let (lake, source) = (company.lake.clone(), crate::fixture::source_of(&format!("w{writer}")));
        tokio::spawn(async move { lake.write(&ana(), &name("flights"), &source, vec![rows]).await.unwrap() })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    let twice = "SELECT count(*) FROM (SELECT n FROM flights WHERE n IS NOT NULL GROUP BY n HAVING count(*) > 1)";
    assert_eq!(company.number(twice, AsOf::Latest).await, 0);
    assert_eq!(company.number("SELECT count(*) FROM flights WHERE n >= 100", AsOf::Latest).await, 10);
}

#[tokio::test]
async fn rules_over_a_whole_batch_warn_or_refuse() {
    let declared = "description = \"d\"\n[source]\npush = true\n\
         [contract.columns.n]\ntype = \"int64\"\n[contract.volume]\nat_least = 2\nseverity = \"refuse\"\n\
         [[contract.distribution]]\ncolumn = \"n\"\nversion = 0\nat_most = 0.25\n";
    let plain = "description = \"d\"\n[source]\npush = true\n[contract.columns.n]\ntype = \"int64\"\n";
    let company = Company::with(specs(plain, &[])).await;
    let rows = |numbers: Vec<i64>| {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers)) as ArrayRef)]).unwrap()
    };
    company.committed("flights", "reference", rows((0..1_000).collect())).await;
    company.catalog.replace(specs(declared, &[]));
    let fact = company.committed("flights", "same", rows((0..1_000).rev().collect())).await;
    assert!(fact.verdicts.iter().all(|verdict| verdict.kept), "{:?}", fact.verdicts);
    let fact = company.committed("flights", "moved", rows((0..1_000).map(|n| n / 10).collect())).await;
    let told: Vec<(&str, bool)> = fact.verdicts.iter().map(|verdict| (verdict.rule.as_str(), verdict.kept)).collect();
    assert_eq!(told, [("volume", true), ("distribution of n", false)]);
    let refused = company.write("flights", "small", rows(vec![1])).await.unwrap();
    let WriteOutcome::Refused(refused) = refused else { panic!("{refused:?}") };
    assert!(refused.sentence.contains("fewer than the 2"), "{}", refused.sentence);
}
