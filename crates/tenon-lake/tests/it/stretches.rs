//! Ordered sources: rows and positions land together, once.

use tenon_core::fact::Stretch;
use tenon_core::{AsOf, Timestamp};
use tenon_lake::{Checked, LakeError, SetAside, WriteOutcome};

use crate::fixture::{Company, FLIGHTS, HOUR, ana, flights, name, source_of, specs};

const PARTITION: &str = "kafka:flights/0";

fn stretch(first: u64, next: u64) -> Stretch {
    Stretch { source: PARTITION.to_owned(), first, next, rows: next - first }
}

/// Lands one row for each offset.
async fn land(company: &Company, first: u64, next: u64) -> Result<WriteOutcome, LakeError> {
    let ids: Vec<String> = (first..next).map(|offset| format!("f{offset}")).collect();
    let rows: Vec<(&str, Option<&str>, Option<i64>)> = ids.iter().map(|id| (id.as_str(), None, None)).collect();
    let checked = company.lake.check(&name("flights"), &[flights(&rows)]).await?;
    let source = source_of(&format!("{first}-{next}"));
    company.lake.commit_stretches(&ana(), &name("flights"), &source, vec![checked], vec![stretch(first, next)]).await
}

async fn position(company: &Company) -> Option<u64> {
    company.lake.position(&name("flights"), PARTITION).await.unwrap()
}

#[tokio::test]
async fn the_table_says_how_far_a_source_is_also_after_a_restart() {
    let mut company = Company::new().await;
    assert_eq!(position(&company).await, None);
    land(&company, 0, 3).await.unwrap();
    land(&company, 3, 5).await.unwrap();
    assert_eq!(position(&company).await, Some(5));
    company.reopen().await;
    assert_eq!(position(&company).await, Some(5));
    assert!(matches!(land(&company, 3, 5).await.unwrap(), WriteOutcome::Already(_)));
    assert_eq!(company.number("SELECT count(*) FROM flights", AsOf::Latest).await, 5);
    assert_eq!(company.lake.conservation().await.unwrap().gap, None);
}

#[tokio::test]
async fn a_stretch_that_does_not_begin_where_the_table_stands_is_refused() {
    let company = Company::new().await;
    land(&company, 0, 3).await.unwrap();
    for (first, next) in [(2, 4), (4, 6)] {
        let error = land(&company, first, next).await.unwrap_err();
        assert!(matches!(error, LakeError::Moved { .. }), "{error}");
    }
    assert_eq!(company.number("SELECT count(*) FROM flights", AsOf::Latest).await, 3);
    land(&company, 3, 4).await.unwrap();
}

#[tokio::test]
async fn a_position_is_kept_over_table_checkpoints() {
    let mut company = Company::new().await;
    for offset in 0..205 {
        land(&company, offset, offset + 1).await.unwrap();
    }
    company.reopen().await;
    assert_eq!(position(&company).await, Some(205));
    let found = company.lake.conservation().await.unwrap();
    assert_eq!(found.gap, None);
    let sums = found.datasets.values().next().unwrap();
    assert_eq!((sums.commits, sums.accepted, sums.positions[PARTITION]), (205, 205, 205));
}

#[tokio::test]
async fn a_data_file_that_is_damaged_or_gone_is_found() {
    let company = Company::new().await;
    land(&company, 0, 3).await.unwrap();
    assert_eq!(company.lake.conservation().await.unwrap().gap, None);
    let folder = company.folder.path().join("lake/flights");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let file = files.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "parquet")).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..9]).unwrap();
    let gap = company.lake.conservation().await.unwrap().gap.unwrap();
    assert!(gap.problem.ends_with(&format!("has 9 bytes, and its log says {}", bytes.len())), "{}", gap.problem);
    std::fs::remove_file(&file).unwrap();
    let gap = company.lake.conservation().await.unwrap().gap.unwrap();
    assert!(gap.problem.ends_with("is gone, and version 0 needs it"), "{}", gap.problem);
}

#[tokio::test]
async fn rows_that_were_none_move_the_position_and_are_kept() {
    let company = Company::new().await;
    let poison = |at: u64| SetAside {
        rule: "not JSON".to_owned(),
        reason: format!("flights/0 at {at}: not JSON"),
        row: format!("{{\"_offset\":{at}}}"),
    };
    let dataset = name("flights");
    let spec = toml::from_str::<tenon_core::spec::DatasetSpec>(FLIGHTS).unwrap();
    let checked = Checked::set_aside(&spec.contract, vec![poison(0), poison(1)]);
    let outcome =
        company.lake.commit_stretches(&ana(), &dataset, &source_of("p"), vec![checked], vec![stretch(0, 2)]).await;
    let WriteOutcome::Committed { fact, .. } = outcome.unwrap() else { panic!("it did not land") };
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined, fact.reasons[0].rows), (2, 0, 2, 2));
    assert_eq!(position(&company).await, Some(2));
    let kept = company.texts("SELECT _row FROM flights__quarantine ORDER BY _row_number", AsOf::Latest).await;
    assert_eq!(kept, ["{\"_offset\":0}", "{\"_offset\":1}"]);
    assert_eq!(company.lake.conservation().await.unwrap().gap, None);
}

#[tokio::test]
async fn what_is_late_is_set_aside_and_what_landed_is_left_out() {
    let more = "[late]\nallowed = \"2h\"\n[dedup]\nwithin = \"48h\"\n";
    let mut company = Company::with(specs(&format!("{FLIGHTS}{more}"), &[])).await;
    company.clock.advance_to(Timestamp::from_micros(6 * HOUR));
    // Rows land at the hours 0, 1, 2 and so on of their places in the batch; the whole first batch is on time.
    let ids: Vec<String> = (0..6).map(|id| format!("f{id}")).collect();
    let batch = |ids: &[&str]| flights(&ids.iter().map(|id| (*id, None, None)).collect::<Vec<_>>());
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let first = company.committed("flights", "one", batch(&all)).await;
    assert_eq!((first.accepted, first.duplicates, first.quarantined), (6, 0, 0));
    assert_eq!(first.events.unwrap().1.as_micros(), 5 * HOUR);
    // The watermark is at hour 3 now, for the process that wrote and for one that reads the table.
    for (round, restart) in [false, true].into_iter().enumerate() {
        if restart {
            company.reopen().await;
        }
        let news = [format!("n{round}"), format!("m{round}"), format!("l{round}")];
        let rows = batch(&[&news[0], "f1", "f2", "f3", &news[1], &news[1]]);
        let fact = company.committed("flights", &format!("again {round}"), rows).await;
        // At hours 0, 1 and 2 all are late, known or not; f3 at hour 3 has landed; the new one comes twice.
        assert_eq!((fact.rows_in, fact.quarantined, fact.duplicates, fact.accepted), (6, 3, 2, 1), "{round}");
        assert_eq!(fact.reasons[0].rule, "landed_at: later than is allowed");
    }
    let found = company.lake.conservation().await.unwrap();
    assert_eq!(found.gap, None);
    assert_eq!(found.datasets.values().next().unwrap().duplicates, 4);
}

#[tokio::test]
async fn an_event_from_the_future_makes_no_other_late_and_lets_no_key_be_forgotten() {
    let more = "[late]\nallowed = \"2h\"\n[dedup]\nwithin = \"3h\"\n";
    let mut company = Company::with(specs(&format!("{FLIGHTS}{more}"), &[])).await;
    // It is three o'clock, and the rows of a batch happen at the hours 0, 1, 2 and so on up to 9.
    company.clock.advance_to(Timestamp::from_micros(3 * HOUR));
    let ids = |from: usize| (from..from + 10).map(|id| format!("f{id}")).collect::<Vec<_>>();
    let batch = |ids: &[String]| flights(&ids.iter().map(|id| (id.as_str(), None, None)).collect::<Vec<_>>());
    assert_eq!(company.committed("flights", "one", batch(&ids(0))).await.accepted, 10);
    for (round, restart) in [false, true].into_iter().enumerate() {
        if restart {
            company.reopen().await;
        }
        // The watermark is at one o'clock, not at seven: one row is late. `f2` to `f9` of the first batch are known.
        let again = company.committed("flights", &format!("again {round}"), batch(&ids(0)[..3])).await;
        assert_eq!((again.quarantined, again.duplicates, again.accepted), (1, 2, 0), "{round}");
        let fresh = company.committed("flights", &format!("new {round}"), batch(&ids(10 * (round + 1))[..3])).await;
        assert_eq!((fresh.quarantined, fresh.duplicates, fresh.accepted), (1, 0, 2), "{round}");
    }
}

#[tokio::test]
async fn a_batch_is_checked_ahead_where_the_table_has_no_say_in_it() {
    let plain = FLIGHTS.replace("references = \"planes.tailnum\"\nseverity = \"warn\"\n", "");
    let declared = [
        (plain.clone(), true),
        (FLIGHTS.to_owned(), false),
        (plain.replace("[contract.columns.id]", "[contract.columns.id]\nunique = true"), false),
        (plain.replace("[source]", "[late]\nallowed = \"1h\"\n[source]"), false),
        (plain.replace("[source]", "[dedup]\nwithin = \"1h\"\n[source]"), false),
    ];
    let rows = flights(&[("a", None, Some(1)), ("b", None, Some(1_000)), ("a", None, None)]);
    for (flights, ahead) in declared {
        let company = Company::with(specs(&flights, &[])).await;
        let checked = company.lake.check_ahead(&name("flights"), std::slice::from_ref(&rows)).await.unwrap();
        assert_eq!(checked.is_some(), ahead, "{flights}");
        if let Some(checked) = checked {
            assert_eq!((checked.accepted().num_rows(), checked.quarantined()), (1, 2));
        }
    }
}
