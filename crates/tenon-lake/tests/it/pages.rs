//! What pages show of a dataset: its profile, quickly, and the rows that were set aside.

use std::sync::Arc;

use tenon_core::AsOf;
use tenon_lake::{Resolution, Selection};

use crate::fixture::{Company, FLIGHTS, HOUR, ana, flights, name, specs};

fn many(from: usize, rows: usize) -> Vec<(String, Option<i64>)> {
    (from..from + rows).map(|row| (format!("f{row:05}"), Some((row % 100) as i64))).collect()
}

async fn give(company: &Company, source: &str, rows: &[(String, Option<i64>)]) {
    let rows: Vec<(&str, Option<&str>, Option<i64>)> =
        rows.iter().map(|(id, delay)| (id.as_str(), None, *delay)).collect();
    company.committed("flights", source, flights(&rows)).await;
}

#[tokio::test]
async fn a_small_table_is_profiled_whole_and_once() {
    let company = Company::new().await;
    give(&company, "1", &many(0, 500)).await;
    let lake = &company.lake;
    let quick = lake.profile_within("flights", AsOf::Latest, 1_000).await.unwrap();
    assert_eq!(*quick, lake.profile("flights", AsOf::Latest).await.unwrap());
    assert_eq!((quick.rows, quick.looked_at, quick.version), (500, 500, Some(0)));
    let again = lake.profile_within("flights", AsOf::Latest, 1_000).await.unwrap();
    assert!(Arc::ptr_eq(&quick, &again), "it is kept");
    give(&company, "2", &many(500, 10)).await;
    let newer = lake.profile_within("flights", AsOf::Latest, 1_000).await.unwrap();
    assert_eq!((newer.rows, newer.version), (510, Some(1)));
    let then = lake.profile_within("flights", AsOf::Version(0), 1_000).await.unwrap();
    assert!(Arc::ptr_eq(&quick, &then), "the same version is the same profile");
    assert!(lake.profile_within("flights", AsOf::Version(9), 1_000).await.is_err());
}

#[tokio::test]
async fn of_a_large_table_a_sample_is_profiled_and_said_to_be_one() {
    let company = Company::new().await;
    for batch in 0..5 {
        give(&company, &batch.to_string(), &many(batch * 1_000, 1_000)).await;
    }
    let profile = company.lake.profile_within("flights", AsOf::Latest, 500).await.unwrap();
    assert_eq!((profile.rows, profile.looked_at), (5_000, 500), "every second row of one file of five");
    let delay = profile.columns.iter().find(|column| column.name == "delay").unwrap();
    assert_eq!((delay.nulls, delay.distinct, delay.histogram.iter().sum::<u64>()), (0, 50, 500));
}

#[tokio::test]
async fn a_view_and_an_empty_table_have_profiles_too() {
    let company = Company::with(specs(FLIGHTS, &[("late", "SELECT id, delay FROM flights WHERE delay > 49")])).await;
    let empty = company.lake.profile_within("flights", AsOf::Latest, 100).await.unwrap();
    assert_eq!((empty.rows, empty.looked_at, empty.version, empty.columns.len()), (0, 0, None, 4));
    give(&company, "1", &many(0, 1_000)).await;
    let view = company.lake.profile_within("late", AsOf::Latest, 100).await.unwrap();
    assert_eq!((view.rows, view.looked_at, view.version), (500, 100, None));
    let names: Vec<&str> = view.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "delay"]);
    give(&company, "2", &many(1_000, 100)).await;
    assert_eq!(company.lake.profile_within("late", AsOf::Latest, 100).await.unwrap().rows, 550, "its table has moved");
}

#[tokio::test]
async fn rows_that_were_set_aside_are_listed_with_what_became_of_them() {
    let company = Company::new().await;
    let lake = &company.lake;
    let dataset = name("flights");
    assert_eq!(lake.quarantine_sums(&dataset).await.unwrap().all(), 0);
    assert!(lake.quarantined_rows(&dataset, None, 10, 100).await.unwrap().is_empty());
    let bad = |id, delay| (id, None, Some(delay));
    company.committed("flights", "1", flights(&[bad("a", 1), bad("b", 900), bad("c", 901), bad("g", 4)])).await;
    company.clock.advance_to(tenon_core::Timestamp::from_micros(HOUR));
    company.committed("flights", "2", flights(&[bad("d", 2), bad("e", 3), bad("f", 902)])).await;

    let of = |id: &str| Selection { filter: Some(format!("id = '{id}'")), set: vec![("delay".into(), "9".into())] };
    lake.release(&ana(), &dataset, &of("b"), "a nine too many").await.unwrap();
    lake.discard_quarantined(&ana(), &dataset, Some("id = 'c'"), "a drill").await.unwrap();
    let sums = lake.quarantine_sums(&dataset).await.unwrap();
    assert_eq!((sums.open, sums.released, sums.discarded), (1, 1, 1));

    let rows = lake.quarantined_rows(&dataset, None, 10, 100).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (&*row.source, row.row_number, row.resolution)).collect();
    assert_eq!(
        told,
        [("2", 2, Resolution::Open), ("1", 2, Resolution::Discarded), ("1", 1, Resolution::Released)],
        "newest first"
    );
    assert!(rows[0].reason.contains("902") && rows[0].row.contains("\"f\"") && rows[0].resolved_at.is_none());
    assert!(rows[1].resolved_at.is_some());
    let short = lake.quarantined_rows(&dataset, Some(Resolution::Open), 10, 5).await.unwrap();
    assert_eq!((short.len(), short[0].row.len(), short[0].cut), (1, 5, true));
}

#[tokio::test]
async fn numbers_with_fractions_have_a_profile_too() {
    let company = Company::with(specs(&FLIGHTS.replace("\"int64\"", "\"float64\""), &[])).await;
    give(&company, "1", &many(0, 200)).await;
    let profile = company.lake.profile("flights", AsOf::Latest).await.unwrap();
    let delay = profile.columns.iter().find(|column| column.name == "delay").unwrap();
    assert_eq!(
        (delay.least.as_deref(), delay.greatest.as_deref(), delay.mean),
        (Some("0.0"), Some("99.0"), Some(49.5))
    );
    assert_eq!((delay.distinct, delay.histogram.iter().sum::<u64>()), (100, 200));
}
