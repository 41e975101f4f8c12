//! A dataset that follows changes, through the façade and stopped at every step of a commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use tenon_core::AsOf;
use tenon_core::fact::{DatasetCommitted, RowChanges, Stretch};

use super::*;
use crate::fixture::{Company, ana, flights, name, open, source_of, specs};

const ACCOUNTS: &str = "description = \"d\"\n[source.kafka]\nbrokers = \"b:9092\"\ntopics = [\"t\"]\nchanges = \"debezium\"\n\
    [contract]\nkey = [\"id\"]\n[contract.columns.id]\ntype = \"int64\"\n\
    [contract.columns.balance]\ntype = \"int64\"\nnullable = true\nrange = [0, 1000]\n";
const PARTITION: &str = "kafka:t/0";

/// One change of the row of a key.
#[derive(Debug, Clone, Copy)]
enum Say {
    Is(i64, Option<i64>),
    Gone(i64),
    /// A delete whose key is missing.
    GoneWithoutKey,
    Poison,
}

fn column(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

fn changes(said: &[Say]) -> Changes {
    let (mut rows, mut upserts_at, mut gone, mut deletes_at) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut set_aside, mut set_aside_at) = (Vec::new(), Vec::new());
    for (say, at) in said.iter().zip(0..) {
        match *say {
            Is(id, balance) => {
                rows.push((id, balance));
                upserts_at.push(at);
            }
            Gone(id) => {
                gone.push(Some(id));
                deletes_at.push(at);
            }
            GoneWithoutKey => {
                gone.push(None);
                deletes_at.push(at);
            }
            Poison => {
                let (rule, reason) = ("not JSON".to_owned(), format!("t/0 at {at}: not JSON"));
                set_aside.push(SetAside { rule, reason, row: format!("{{\"_offset\":{at}}}") });
                set_aside_at.push(at);
            }
        }
    }
    let upserts = [
        ("id", column(rows.iter().map(|row| Some(row.0))), true),
        ("balance", column(rows.iter().map(|row| row.1)), true),
    ];
    let deletes = [("id", column(gone), true)];
    Changes {
        upserts: RecordBatch::try_from_iter_with_nullable(upserts).unwrap(),
        upserts_at,
        deletes: RecordBatch::try_from_iter_with_nullable(deletes).unwrap(),
        deletes_at,
        set_aside,
        set_aside_at,
    }
}

async fn give(lake: &Lake, first: u64, said: &[Say]) -> Result<WriteOutcome, LakeError> {
    let next = first + said.len() as u64;
    let stretch = Stretch { source: PARTITION.to_owned(), first, next, rows: said.len() as u64 };
    let source = source_of(&format!("{first}-{next}"));
    lake.commit_changes(&ana(), &name("flights"), &source, changes(said), vec![stretch]).await
}

async fn landed(company: &Company, first: u64, said: &[Say]) -> DatasetCommitted {
    match give(&company.lake, first, said).await.unwrap() {
        WriteOutcome::Committed { fact, .. } => fact,
        other => panic!("{other:?}"),
    }
}

async fn table(company: &Company, as_of: AsOf) -> BTreeMap<i64, Option<i64>> {
    let rows = company.lake.query("SELECT id, balance FROM flights", as_of).await.unwrap();
    let (mut found, mut count) = (BTreeMap::new(), 0);
    for batch in rows {
        let [ids, balances] = [0, 1].map(|at| batch.column(at).as_primitive::<Int64Type>().clone());
        found.extend(ids.values().iter().copied().zip(balances.iter()));
        count += batch.num_rows();
    }
    assert_eq!(found.len(), count, "a key stands twice");
    found
}

async fn company() -> Company {
    Company::with(specs(ACCOUNTS, &[])).await
}

async fn balances(company: &Company) {
    assert_eq!(company.lake.conservation().await.unwrap().gap, None);
}

use Say::{Gone, GoneWithoutKey, Is, Poison};

#[tokio::test]
async fn a_table_has_one_row_a_key_as_it_is_now() {
    let company = company().await;
    let fact = landed(&company, 0, &[Is(1, Some(10)), Is(2, Some(20)), Is(1, Some(11)), Is(3, None), Gone(9)]).await;
    assert_eq!((fact.rows_in, fact.accepted), (5, 3));
    assert_eq!(fact.changes, Some(RowChanges { absent: 1, superseded: 1, ..RowChanges::default() }));
    // 1 changes, 2 goes, 3 goes and comes again, 4 comes and goes.
    let said = [Is(1, Some(12)), Gone(2), Gone(3), Is(3, Some(33)), Is(4, Some(40)), Gone(4), Gone(4)];
    let fact = landed(&company, 5, &said).await;
    assert_eq!((fact.rows_in, fact.accepted), (7, 2));
    let expected = RowChanges { updated: 2, deleted: 1, absent: 1, superseded: 3, ..RowChanges::default() };
    assert_eq!(fact.changes, Some(expected));
    assert_eq!(table(&company, AsOf::Latest).await, BTreeMap::from([(1, Some(12)), (3, Some(33))]));
    let before = BTreeMap::from([(1, Some(11)), (2, Some(20)), (3, None)]);
    assert_eq!(table(&company, AsOf::Version(0)).await, before);
    assert_eq!(company.lake.state("flights").unwrap().unwrap().rows, 2);
    let diff = company.lake.diff(&name("flights"), AsOf::Version(0), AsOf::Latest, &[], 5).await.unwrap();
    assert_eq!((diff.added, diff.removed, diff.changed), (0, 1, 2));
    balances(&company).await;
}

#[tokio::test]
async fn what_breaks_the_contract_changes_nothing_and_waits_in_the_quarantine() {
    let company = company().await;
    landed(&company, 0, &[Is(1, Some(10)), Is(2, Some(20))]).await;
    let said = [Is(1, Some(5_000)), Poison, GoneWithoutKey, Is(2, Some(21)), Is(2, Some(-1))];
    let fact = landed(&company, 2, &said).await;
    assert_eq!((fact.rows_in, fact.accepted, fact.quarantined), (5, 1, 4));
    let mut rules: Vec<(&str, u64)> = fact.reasons.iter().map(|reason| (reason.rule.as_str(), reason.rows)).collect();
    rules.sort_unstable();
    assert_eq!(rules, [("balance: outside [0, 1000]", 2), ("id: missing", 1), ("not JSON", 1)]);
    assert_eq!(table(&company, AsOf::Latest).await, BTreeMap::from([(1, Some(10)), (2, Some(21))]));
    let numbers = "SELECT CAST(_row_number AS VARCHAR) AS n FROM flights__quarantine ORDER BY _row_number";
    assert_eq!(company.texts(numbers, AsOf::Latest).await, ["0", "1", "2", "4"]);
    balances(&company).await;
    // Rows that came some other way could have a key twice.
    let other = company.write("flights", "push", flights(&[("a", None, None)])).await;
    assert!(matches!(&other, Err(LakeError::NotPossible(why)) if why.contains("its topics alone")), "{other:?}");
    let released = company.lake.release(&ana(), &name("flights"), &crate::Selection::default(), "r").await;
    assert!(matches!(released, Err(LakeError::NotPossible(_))), "{released:?}");
    let replayed = company.lake.replay(&ana(), &name("flights"), 0).await;
    assert!(matches!(replayed, Err(LakeError::NotPossible(_))), "{replayed:?}");
}

#[tokio::test]
async fn changes_are_there_once_wherever_a_batch_stopped() {
    for step in [Step::Encoded, Step::Quarantined, Step::Landed] {
        for restart in [false, true] {
            let mut company = company().await;
            landed(&company, 0, &[Is(1, Some(10)), Is(2, Some(20)), Is(3, Some(30))]).await;
            let before = table(&company, AsOf::Latest).await;
            let said = [Is(1, Some(11)), Gone(2), Poison, Is(4, Some(40))];
            *company.lake.inner.stop_after.lock() = Some(step);
            give(&company.lake, 3, &said).await.unwrap_err();
            assert_eq!(table(&company, AsOf::Latest).await, before, "unsealed changes are not read");
            if restart {
                company.reopen().await;
                company.reopen().await;
                let is_there = step == Step::Landed;
                assert_eq!(table(&company, AsOf::Latest).await != before, is_there, "{step:?}");
                let position = company.lake.position(&name("flights"), PARTITION).await.unwrap();
                assert_eq!(position, Some(if is_there { 7 } else { 3 }), "{step:?}");
            }
            give(&company.lake, 3, &said).await.unwrap();
            let expected = BTreeMap::from([(1, Some(11)), (3, Some(30)), (4, Some(40))]);
            assert_eq!(table(&company, AsOf::Latest).await, expected, "{step:?}, restart {restart}");
            let open = company.number("SELECT count(*) FROM flights__quarantine", AsOf::Latest).await;
            assert_eq!(open, 1, "{step:?}, restart {restart}");
            balances(&company).await;
            let moved = give(&company.lake, 5, &[Gone(1)]).await;
            assert!(matches!(moved, Err(LakeError::Moved { .. })), "{moved:?}");
        }
    }
}

#[tokio::test]
async fn a_table_is_what_its_changes_say_through_compactions_restarts_and_table_checkpoints() {
    let mut company = company().await;
    let (mut expected, mut offset, mut dice) = (BTreeMap::new(), 0_u64, 20_261_124_u64);
    let mut roll = move |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    for round in 0..110 {
        let mut said = Vec::new();
        for _ in 0..1 + roll(12) {
            let id = roll(40) as i64;
            if roll(3) == 0 {
                said.push(Gone(id));
                expected.remove(&id);
            } else {
                let balance = (roll(5) > 0).then(|| roll(1_000) as i64);
                said.push(Is(id, balance));
                expected.insert(id, balance);
            }
        }
        landed(&company, offset, &said).await;
        offset += said.len() as u64;
        match round % 20 {
            7 => drop(company.lake.compact(&ana(), &name("flights"), 1 << 20).await.unwrap()),
            13 => company.reopen().await,
            _ => {}
        }
        if round % 10 == 0 {
            assert_eq!(table(&company, AsOf::Latest).await, expected, "round {round}");
        }
    }
    assert_eq!(table(&company, AsOf::Latest).await, expected);
    assert_eq!(company.lake.state("flights").unwrap().unwrap().rows, expected.len() as u64);
    balances(&company).await;
}

#[tokio::test]
async fn files_without_a_changed_key_are_left_alone() {
    let company = company().await;
    for batch in 0..4_i64 {
        let said: Vec<Say> = (0..100).map(|id| Is(batch * 100 + id, Some(1))).collect();
        landed(&company, batch as u64 * 100, &said).await;
    }
    let fact = landed(&company, 400, &[Is(150, Some(2)), Gone(151), Is(1_000, Some(3))]).await;
    let expected = RowChanges { updated: 1, deleted: 1, rewritten: 98, ..RowChanges::default() };
    assert_eq!(fact.changes, Some(expected));
    let handle = company.lake.table("flights").await.unwrap();
    assert_eq!(handle.files(fact.version).await.unwrap().len(), 4, "three stay, and one takes all that is new");
    balances(&company).await;
}

#[tokio::test]
async fn a_column_that_comes_later_is_missing_in_rows_that_were_there() {
    let company = company().await;
    landed(&company, 0, &[Is(1, Some(10)), Is(2, Some(20))]).await;
    let wider = format!("{ACCOUNTS}[contract.columns.name]\ntype = \"string\"\nnullable = true\n");
    company.catalog.replace(specs(&wider, &[]));
    let mut said = changes(&[Is(1, Some(11))]);
    let texts: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["ana"]));
    let columns = [("id", 0), ("balance", 1)].map(|(name, at)| (name, Arc::clone(said.upserts.column(at)), true));
    let columns = columns.into_iter().chain([("name", texts, true)]);
    said.upserts = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let stretch = Stretch { source: PARTITION.to_owned(), first: 2, next: 3, rows: 1 };
    company.lake.commit_changes(&ana(), &name("flights"), &source_of("w"), said, vec![stretch]).await.unwrap();
    assert_eq!(company.texts("SELECT name FROM flights WHERE id = 1", AsOf::Latest).await, ["ana"]);
    assert_eq!(company.number("SELECT count(*) FROM flights WHERE name IS NULL", AsOf::Latest).await, 1);
    balances(&company).await;
}

#[tokio::test]
async fn a_writer_that_looked_at_an_older_version_looks_again() {
    let mut company = company().await;
    landed(&company, 0, &[Is(1, Some(10))]).await;
    let other = open(company.folder.path(), &company.clock, &company.catalog, &company.ledger).await.unwrap();
    assert_eq!(other.position(&name("flights"), PARTITION).await.unwrap(), Some(1));
    landed(&company, 1, &[Is(1, Some(11)), Is(2, Some(20))]).await;
    let raced = give(&other, 1, &[Is(2, Some(21))]).await;
    assert!(matches!(raced, Err(LakeError::Raced(_))), "{raced:?}");
    give(&other, 3, &[Is(2, Some(21))]).await.unwrap();
    drop(other);
    company.reopen().await;
    assert_eq!(table(&company, AsOf::Latest).await, BTreeMap::from([(1, Some(11)), (2, Some(21))]));
    balances(&company).await;
}

#[tokio::test]
async fn a_key_that_stands_twice_is_found() {
    let appended = ACCOUNTS.replace(
        "[source.kafka]\nbrokers = \"b:9092\"\ntopics = [\"t\"]\nchanges = \"debezium\"",
        "[source]\npush = true",
    );
    let company = Company::with(specs(&appended, &[])).await;
    let rows = || changes(&[Is(1, Some(1))]).upserts;
    company.committed("flights", "one", rows()).await;
    company.committed("flights", "two", rows()).await;
    balances(&company).await;
    company.catalog.replace(specs(ACCOUNTS, &[]));
    let gap = company.lake.conservation().await.unwrap().gap.unwrap();
    assert_eq!(gap.problem, "the table holds 1 keys more than once");
    // The next change of the key leaves one row of it.
    let fact = landed(&company, 0, &[Is(1, Some(2))]).await;
    assert_eq!(fact.changes.unwrap().repeated, 1);
    assert_eq!(table(&company, AsOf::Latest).await, BTreeMap::from([(1, Some(2))]));
    balances(&company).await;
}
