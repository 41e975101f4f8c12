//! Tags, states in SQL, restores, differences, branches, compaction, vacuum.

use std::collections::BTreeSet;

use tenon_core::fact::{DatasetCommitted, LakeVacuumed, Payload, RunStarted, TableVersion, TrainingSet};
use tenon_core::id::RunId;
use tenon_core::{AsOf, BranchName, Digest, HoldName, NewFact, Span, TagName, Timestamp};
use tenon_lake::{LakeError, MergeOutcome, WriteOutcome};

use crate::fixture::{Company, FLIGHTS, ana, flights, name, planes, source_of, specs};

const COUNT: &str = "SELECT count(*) FROM flights";
const IDS: &str = "SELECT id FROM flights ORDER BY id";

/// Three versions: `a` in 0; `b` and a row set aside in 1; `c` in 2, a day apart each.
async fn three() -> Company {
    let company = Company::new().await;
    for (day, rows) in [
        flights(&[("a", None, Some(1))]),
        flights(&[("b", None, Some(2)), ("x", None, Some(999))]),
        flights(&[("c", None, Some(3))]),
    ]
    .into_iter()
    .enumerate()
    {
        company.clock.advance_to(Timestamp::from_micros(0) + Span::days(day as i64));
        company.committed("flights", &day.to_string(), rows).await;
    }
    company
}

fn tag(text: &str) -> TagName {
    TagName::new(text).unwrap()
}

fn branch(text: &str) -> BranchName {
    BranchName::new(text).unwrap()
}

async fn ids(company: &Company, as_of: AsOf) -> Vec<String> {
    company.texts(IDS, as_of).await
}

#[tokio::test]
async fn a_tag_pins_versions_of_datasets_and_their_quarantines() {
    let company = three().await;
    company.committed("planes", "p", planes(&["N1"])).await;
    let lake = &company.lake;
    let made = lake.create_tag(&ana(), tag("q1"), &[name("flights")], AsOf::Version(1), None).await.unwrap();
    assert_eq!(made.tag.tables, [TableVersion { dataset: name("flights"), version: 1 }]);
    assert_eq!(ids(&company, AsOf::Tag(tag("q1"))).await, ["a", "b"]);
    let aside = "SELECT count(*) FROM flights__quarantine";
    assert_eq!(company.number(aside, AsOf::Tag(tag("q1"))).await, 1);
    let all = lake.create_tag(&ana(), tag("all"), &[], AsOf::Latest, Some("r".to_owned())).await.unwrap();
    assert_eq!(all.tag.tables.len(), 2);
    lake.create_tag(&ana(), tag("first"), &[name("flights")], AsOf::Version(0), None).await.unwrap();
    assert_eq!(company.number(aside, AsOf::Tag(tag("first"))).await, 0);

    let said = |error: LakeError| error.to_string();
    let taken = lake.create_tag(&ana(), tag("q1"), &[], AsOf::Latest, None).await.unwrap_err();
    assert_eq!(said(taken), "there is a tag `q1` already: choose another name, or end that one first");
    let other = lake.query("SELECT * FROM planes", AsOf::Tag(tag("q1"))).await.unwrap_err();
    assert_eq!(said(other), "tag `q1` does not pin `planes`: it pins flights");
    let typo = lake.query(COUNT, AsOf::Tag(tag("q2"))).await.unwrap_err();
    assert_eq!(said(typo), "there is no tag `q2` (did you mean `q1`?)");
    lake.delete_tag(&ana(), &tag("q1"), None).await.unwrap();
    assert!(matches!(lake.query(COUNT, AsOf::Tag(tag("q1"))).await, Err(LakeError::NoSuch { .. })));
    // The name is free again.
    lake.create_tag(&ana(), tag("q1"), &[], AsOf::Latest, None).await.unwrap();
}

#[tokio::test]
async fn a_query_may_say_of_each_table_as_of_what() {
    let mut company = three().await;
    company.lake.create_tag(&ana(), tag("q1"), &[name("flights")], AsOf::Version(1), None).await.unwrap();
    company.catalog.replace(specs(FLIGHTS, &[("late", "SELECT id FROM flights WHERE delay > 1")]));
    company.reopen().await;
    let texts = async |sql: &str| company.texts(sql, AsOf::Latest).await;
    assert_eq!(texts("SELECT id FROM flights FOR VERSION AS OF 0").await, ["a"]);
    assert_eq!(texts("SELECT flights.id FROM flights FOR VERSION AS OF 'q1' ORDER BY 1").await, ["a", "b"]);
    let new = "SELECT id FROM flights EXCEPT SELECT id FROM flights FOR SYSTEM_TIME AS OF '1970-01-02'";
    assert_eq!(texts(new).await, ["c"]);
    // A view as of a state is made of its tables as of that state.
    assert_eq!(texts("SELECT id FROM late ORDER BY 1").await, ["b", "c"]);
    assert_eq!(texts("SELECT id FROM late VERSION AS OF 1").await, ["b"]);
    let both = "SELECT n.id FROM late n LEFT JOIN late FOR VERSION AS OF 'q1' o ON n.id = o.id WHERE o.id IS NULL";
    assert_eq!(texts(both).await, ["c"]);
    // What a query reads is named whatever the state, for whoever guards it.
    assert_eq!(company.lake.tables_of("SELECT * FROM late VERSION AS OF 1").await.unwrap(), ["flights"]);
    let pinned = company.lake.query_at("SELECT * FROM flights VERSION AS OF 0", &[]).await.unwrap_err();
    assert!(pinned.to_string().contains("says `AS OF` of `flights` itself"), "{pinned}");
    let none = company.lake.query("SELECT * FROM flights VERSION AS OF 9", AsOf::Latest).await.unwrap_err();
    assert_eq!(none.to_string(), "`flights` has no version 9: the newest is 2");
    for sly in ["SELECT * FROM \"audit/flights\"", "SELECT * FROM \"flights@0\""] {
        let error = company.lake.query(sly, AsOf::Latest).await.unwrap_err();
        assert!(error.to_string().starts_with("there is no table"), "{error}");
    }
}

#[tokio::test]
async fn a_restore_is_a_version_of_its_own_and_can_be_undone() {
    let company = three().await;
    let dataset = name("flights");
    let restored = company.lake.restore(&ana(), &dataset, AsOf::Version(0), "broken").await.unwrap().unwrap();
    assert_eq!((restored.version, restored.from, restored.to), (3, 2, 0));
    assert_eq!((restored.rows_added, restored.rows_removed), (0, 2));
    assert_eq!(ids(&company, AsOf::Latest).await, ["a"]);
    assert_eq!(ids(&company, AsOf::Version(2)).await, ["a", "b", "c"]);
    assert_eq!(company.lake.state("flights").unwrap().unwrap().rows, 1);
    assert_eq!(company.lake.restore(&ana(), &dataset, AsOf::Version(0), "again").await.unwrap(), None);
    company.committed("flights", "more", flights(&[("d", None, None)])).await;
    let back = company.lake.restore(&ana(), &dataset, AsOf::Version(2), "undo").await.unwrap().unwrap();
    assert_eq!((back.version, back.rows_added, back.rows_removed), (5, 2, 1));
    assert_eq!(ids(&company, AsOf::Latest).await, ["a", "b", "c"]);
    assert_eq!(company.lake.state("flights").unwrap().unwrap().rows, 3);
    // What a restore took out was taken in once: the same batch does not come again by itself.
    let again = company.write("flights", "more", flights(&[("d", None, None)])).await.unwrap();
    assert!(matches!(again, WriteOutcome::Already(_)));
    let never = company.lake.restore(&ana(), &name("planes"), AsOf::Latest, "r").await.unwrap_err();
    assert!(matches!(never, LakeError::NothingThen { .. }), "{never}");
    assert!(matches!(
        company.lake.restore(&ana(), &dataset, AsOf::Version(99), "r").await,
        Err(LakeError::NoVersion { .. })
    ));
}

#[tokio::test]
async fn a_difference_counts_rows_by_key_and_says_which_columns() {
    let company = Company::new().await;
    let first = flights(&[("a", None, Some(1)), ("b", Some("N1"), Some(2)), ("c", None, None), ("d", None, Some(4))]);
    company.committed("flights", "first", first).await;
    let lake = &company.lake;
    let dataset = name("flights");
    // Another state of the same table: `a` as it was, `b` and `c` changed, `d` gone, `e` new.
    let empty = lake.create_branch(&ana(), &branch("x"), std::slice::from_ref(&dataset)).await;
    empty.unwrap();
    lake.drop_branch(&ana(), &branch("x"), None).await.unwrap();
    let second = flights(&[("a", None, Some(1)), ("b", Some("N2"), Some(3)), ("c", None, Some(5)), ("e", None, None)]);
    company.committed("flights", "second", second).await;
    let both = lake.diff(&dataset, AsOf::Version(0), AsOf::Version(1), &[], 9).await.unwrap();
    // A key may come again: the rows of version 1 are rows beside those of version 0.
    assert_eq!((both.added, both.removed, both.changed), (4, 0, 0));
    let same = lake.diff(&dataset, AsOf::Latest, AsOf::Latest, &[], 9).await.unwrap();
    assert_eq!((same.added, same.removed, same.changed), (0, 0, 0));
    assert!(same.moved.iter().all(|moved| moved.psi == Some(0.0)), "{:?}", same.moved);

    // The rows of the second batch alone, against those of the first: restoring cannot make that, a merge of two can.
    lake.restore(&ana(), &dataset, AsOf::Version(0), "only the first").await.unwrap();
    let back = lake.diff(&dataset, AsOf::Version(1), AsOf::Version(2), &[], 2).await.unwrap();
    assert_eq!((back.added, back.removed, back.changed), (0, 4, 0));
    assert_eq!(back.samples.len(), 2);
    assert_eq!(back.samples[0].change, "removed");
    let by_tail = lake.diff(&dataset, AsOf::Version(0), AsOf::Version(1), &["delay".to_owned()], 9).await.unwrap();
    assert_eq!(by_tail.key, ["delay"]);
    let keyless = lake.diff(&name("planes"), AsOf::Latest, AsOf::Latest, &[], 1).await.unwrap_err();
    assert!(matches!(keyless, LakeError::NothingThen { .. }), "{keyless}");
    company.committed("planes", "p", planes(&["N1"])).await;
    let keyless = lake.diff(&name("planes"), AsOf::Latest, AsOf::Latest, &[], 1).await.unwrap_err();
    assert!(matches!(keyless, LakeError::NoKey(_)), "{keyless}");
}

/// Takes a batch onto a branch.
async fn on_branch(
    company: &Company,
    on: &str,
    dataset: &str,
    source: &str,
    rows: arrow::array::RecordBatch,
) -> DatasetCommitted {
    let (lake, on, dataset) = (&company.lake, branch(on), name(dataset));
    let checked = lake.checker_on(&on, &dataset).unwrap().check(&[rows]).await.unwrap();
    match lake.commit_checked_on(&on, &ana(), &dataset, &source_of(source), vec![checked]).await.unwrap() {
        WriteOutcome::Committed { fact, .. } => fact,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_branch_is_seen_by_who_asks_for_it_and_merged_into_all_its_tables() {
    let mut company = three().await;
    company.committed("planes", "p", planes(&["N1"])).await;
    let (on, both) = (branch("audit"), [name("planes"), name("flights")]);
    company.lake.create_branch(&ana(), &on, &both).await.unwrap();
    on_branch(&company, "audit", "planes", "q", planes(&["N2"])).await;
    // References look at what the branch holds: `N2` is known there, and nowhere else.
    let rows = flights(&[("d", Some("N2"), Some(4)), ("bad", None, Some(999))]);
    assert!(on_branch(&company, "audit", "flights", "d", rows).await.warnings.is_empty());
    company.reopen().await;
    let lake = &company.lake;
    assert_eq!(company.number(COUNT, AsOf::Latest).await, 3);
    let on_it = async |sql: &str| {
        let rows = lake.ask(Some(&on), sql, AsOf::Latest).await.unwrap();
        arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string()
    };
    assert!(on_it(COUNT).await.contains(" 4 "));
    assert!(on_it("SELECT count(*) FROM flights__quarantine").await.contains(" 1 "));
    assert_eq!(lake.history("flights").unwrap().len(), 3);
    let diff = lake.diff_branch(&on, &name("flights"), 5).await.unwrap();
    assert_eq!((diff.added, diff.removed, diff.changed), (1, 0, 0));
    assert_eq!(diff.samples[0].key["id"], "d");
    // The dataset goes on meanwhile, with other keys.
    company.committed("flights", "main", flights(&[("m", None, None)])).await;
    let MergeOutcome::Merged(merged) = lake.merge_branch(&ana(), &on).await.unwrap() else { panic!() };
    let told: Vec<_> = merged.tables.iter().map(|t| (t.table.as_str(), t.version, t.rows_added)).collect();
    assert_eq!(told, [("flights__quarantine", 1, 1), ("flights", 4, 1), ("planes", 1, 1)]);
    assert_eq!(ids(&company, AsOf::Latest).await, ["a", "b", "c", "d", "m"]);
    assert_eq!(company.number("SELECT count(*) FROM planes", AsOf::Latest).await, 2);
    assert_eq!(company.number("SELECT count(*) FROM flights__quarantine", AsOf::Latest).await, 2);
    assert!(!company.folder.path().join("lake/_branches/audit").exists());
    assert!(matches!(lake.branch(&on), Err(LakeError::NoSuch { .. })));
    // What came in by the merge does not come in again by its file.
    let again = company.write("flights", "d", flights(&[("d", None, Some(4))])).await.unwrap();
    assert!(matches!(again, WriteOutcome::Already(fact) if fact.version == 4));
    // Nor does it by a branch that began with it.
    let next = branch("next");
    company.lake.create_branch(&ana(), &next, &[name("flights")]).await.unwrap();
    let there = company.lake.sealed_batch_on(&next, &name("flights"), &source_of("d")).unwrap();
    assert_eq!(there.unwrap().version, 4);
    let (now, rebuilt) = (company.lake.list().unwrap(), company.ledger.rebuild(false).unwrap());
    assert!(rebuilt.differences.is_empty(), "{:?} {now:?}", rebuilt.differences);
}

#[tokio::test]
async fn a_merge_that_conflicts_says_where_and_changes_nothing() {
    let company = three().await;
    let on = branch("audit");
    let begin = async || company.lake.create_branch(&ana(), &on, &[name("flights")]).await.unwrap();
    let conflict = async || match company.lake.merge_branch(&ana(), &on).await.unwrap() {
        MergeOutcome::Conflicts(mut found) => {
            assert_eq!(found.len(), 1);
            company.lake.drop_branch(&ana(), &on, None).await.unwrap();
            found.remove(0)
        }
        MergeOutcome::Merged(merged) => panic!("{merged:?}"),
    };
    begin().await;
    on_branch(&company, "audit", "flights", "ours", flights(&[("k", None, Some(1)), ("l", None, None)])).await;
    company.committed("flights", "theirs", flights(&[("k", None, Some(2)), ("m", None, None)])).await;
    let found = conflict().await;
    assert_eq!(found.sentence, "1 keys were written to `flights` and on the branch since it began");
    assert_eq!(found.keys, [serde_json::json!({"id": "k"})]);
    assert_eq!(company.number(COUNT, AsOf::Latest).await, 5);

    begin().await;
    on_branch(&company, "audit", "flights", "twice", flights(&[("p", None, None)])).await;
    company.committed("flights", "twice", flights(&[("p", None, None)])).await;
    assert_eq!(conflict().await.sentence, "`twice` landed in `flights` and on the branch");

    begin().await;
    on_branch(&company, "audit", "flights", "late", flights(&[("q", None, None)])).await;
    company.lake.restore(&ana(), &name("flights"), AsOf::Version(0), "broken").await.unwrap();
    assert!(
        conflict().await.sentence.starts_with("rows of `flights` went in version 5 (restored to version 0: broken)")
    );
}

#[tokio::test]
async fn compaction_keeps_rows_and_a_branch_from_before_it_merges() {
    let company = three().await;
    let on = branch("audit");
    company.lake.create_branch(&ana(), &on, &[name("flights")]).await.unwrap();
    // The same key as a row from before the branch is no conflict.
    on_branch(&company, "audit", "flights", "ours", flights(&[("a", None, Some(7))])).await;
    let done = company.lake.compact(&ana(), &name("flights"), 1 << 20).await.unwrap();
    assert_eq!((done[0].version, done[0].files_before, done[0].files_after, done[0].rows), (3, 3, 1, 3));
    assert_eq!(ids(&company, AsOf::Latest).await, ["a", "b", "c"]);
    assert_eq!(company.lake.state("flights").unwrap().unwrap().rows, 3);
    assert!(company.lake.added("flights", 3, &[]).await.unwrap().is_empty(), "no row came");
    assert!(company.lake.compact(&ana(), &name("flights"), 1 << 20).await.unwrap().is_empty());
    assert!(matches!(company.lake.merge_branch(&ana(), &on).await.unwrap(), MergeOutcome::Merged(_)));
    assert_eq!(ids(&company, AsOf::Latest).await, ["a", "a", "b", "c"]);
}

fn files(company: &Company, table: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(company.folder.path().join("lake").join(table)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".parquet")).collect()
}

#[tokio::test]
async fn a_vacuum_removes_what_nothing_needs_and_names_itself_to_who_asks_for_it() {
    let company = three().await;
    let (lake, dataset) = (&company.lake, name("flights"));
    lake.compact(&ana(), &dataset, 1 << 20).await.unwrap();
    let vacuum = async |dry_run| lake.vacuum(&ana(), &[name("flights")], Span::days(7), dry_run).await.unwrap();
    assert!(vacuum(false).await.tables[0].removed.is_empty(), "all of it stood within seven days");
    company.clock.advance_to(Timestamp::from_micros(0) + Span::days(30));

    lake.create_hold(&ana(), HoldName::new("case").unwrap(), &[name("flights")], "court".to_owned()).await.unwrap();
    let held = vacuum(false).await;
    assert!(held.fact.is_none() && held.tables[0].kept[0].why == "hold case", "{held:?}");
    lake.release_hold(&ana(), &HoldName::new("case").unwrap(), "settled".to_owned()).await.unwrap();
    lake.create_tag(&ana(), tag("q1"), &[name("flights")], AsOf::Version(1), None).await.unwrap();

    let before = files(&company, "flights");
    let planned = vacuum(true).await;
    assert_eq!(files(&company, "flights"), before, "a dry run removes nothing");
    assert_eq!((planned.tables[0].removed.len(), planned.fact), (1, None));
    assert!(planned.tables[0].kept.iter().any(|kept| kept.version == Some(1) && kept.why == "tag q1"));
    let done = vacuum(false).await;
    assert_eq!(done.tables[0].removed, planned.tables[0].removed);
    assert_eq!(done.tables[0].unreadable, [(2, 2)]);
    assert_eq!(files(&company, "flights").len(), before.len() - 1);
    assert_eq!(ids(&company, AsOf::Version(1)).await, ["a", "b"]);
    assert_eq!(ids(&company, AsOf::Latest).await, ["a", "b", "c"]);
    let gone = lake.query(COUNT, AsOf::Version(2)).await.unwrap_err().to_string();
    assert!(gone.starts_with("version 2 of `flights` cannot be read any more: the vacuum of 1970-01-31"), "{gone}");
    for error in [
        lake.restore(&ana(), &dataset, AsOf::Version(2), "r").await.unwrap_err(),
        lake.create_tag(&ana(), tag("t"), &[name("flights")], AsOf::Version(2), None).await.unwrap_err(),
        lake.diff(&dataset, AsOf::Version(2), AsOf::Latest, &[], 1).await.unwrap_err(),
        lake.added("flights", 2, &[]).await.unwrap_err(),
    ] {
        assert!(matches!(error, LakeError::Vacuumed { version: 2, .. }), "{error}");
    }
    lake.delete_tag(&ana(), &tag("q1"), None).await.unwrap();
    assert_eq!(vacuum(false).await.tables[0].removed.len(), 2);
    assert_eq!(company.ledger.facts_of(&[LakeVacuumed::KIND], 0, 9).unwrap().len(), 2);
}

#[tokio::test]
async fn a_vacuum_keeps_what_models_learnt_from_and_what_branches_began_with() {
    let company = three().await;
    let lake = &company.lake;
    let run = RunStarted {
        run: RunId::from_uuid(tenon_core::id::OperationId::derive(&["r"]).uuid()),
        model: "late_arrival".parse().unwrap(),
        cause: "test".to_owned(),
        training_set: TrainingSet {
            digest: Digest::of("x"),
            train_rows: 1,
            test_rows: 1,
            decided: (Timestamp::from_micros(0), Timestamp::from_micros(0), Timestamp::from_micros(0)),
            unlabelled: 0,
            tables: vec![TableVersion { dataset: name("flights"), version: 0 }],
            definition: Digest::of("y"),
            known_by: Timestamp::from_micros(0),
            incomplete: Default::default(),
            views: Default::default(),
            leakage: None,
        },
        trainer: serde_json::json!({}),
        code: "gbdt".to_owned(),
        drill_shuffle_seed: None,
    };
    company.ledger.append(vec![NewFact::new(ana(), None, &run).unwrap()]).await.unwrap();
    lake.create_branch(&ana(), &branch("audit"), &[name("flights")]).await.unwrap();
    lake.compact(&ana(), &name("flights"), 1 << 20).await.unwrap();
    company.clock.advance_to(Timestamp::from_micros(0) + Span::days(30));
    let vacuum = async || lake.vacuum(&ana(), &[], Span::days(7), false).await.unwrap().tables[0].clone();
    let kept = vacuum().await;
    assert!(kept.removed.is_empty(), "{kept:?}");
    assert!(kept.kept.iter().any(|kept| kept.version == Some(2) && kept.why == "branch audit began with it"));
    assert!(kept.kept.iter().any(|kept| kept.version == Some(0) && kept.why.starts_with("training set of run ")));
    lake.drop_branch(&ana(), &branch("audit"), None).await.unwrap();
    assert_eq!(vacuum().await.unreadable, [(1, 2)]);
    assert_eq!(ids(&company, AsOf::Version(0)).await, ["a"]);
}

#[tokio::test]
async fn a_dataset_that_declares_it_is_due_once_it_has_enough_small_files() {
    let company = three().await;
    assert!(company.lake.due_for_compaction().await.unwrap().is_empty());
    let declared = |files: u32| FLIGHTS.replace("[source]", &format!("[compaction]\nsmall_files = {files}\n[source]"));
    company.catalog.replace(specs(&declared(4), &[]));
    assert!(company.lake.due_for_compaction().await.unwrap().is_empty());
    company.catalog.replace(specs(&declared(3), &[]));
    let due = company.lake.due_for_compaction().await.unwrap();
    assert_eq!(due, [(name("flights"), 64 << 20)]);
    company.lake.compact(&ana(), &due[0].0, due[0].1).await.unwrap();
    assert!(company.lake.due_for_compaction().await.unwrap().is_empty());
}
