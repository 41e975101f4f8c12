//! Whoever can write to the database changes it behind the ledger's back; verification finds it and names it.

use rusqlite::{Connection, params};
use tenon_ledger::{Ledger, LedgerError, VerifyReport};

use crate::fixture::{Fixture, numbered};

fn findings(report: &VerifyReport) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

fn leaf(database: &Connection, index: u64) -> Vec<u8> {
    database.query_row("SELECT leaf FROM facts WHERE idx = ?1", [index as i64], |row| row.get(0)).unwrap()
}

fn set_leaf(database: &Connection, index: u64, leaf: &[u8]) {
    database.execute("UPDATE facts SET leaf = ?2 WHERE idx = ?1", params![index as i64, leaf]).unwrap();
}

#[tokio::test]
async fn any_changed_byte_of_a_fact_is_found_and_the_fact_is_named() {
    let fixture = Fixture::new();
    fixture.fill(5, 2).await;
    let database = fixture.database();
    for index in [0, 2, 4] {
        let whole = leaf(&database, index);
        for at in 0..whole.len() {
            for change in [0x01, 0x20, 0x80] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                set_leaf(&database, index, &changed);
                let report = fixture.ledger.verify(|_, _| ()).unwrap();
                let named = report.findings.iter().find(|finding| finding.index == Some(index));
                let named = named.unwrap_or_else(|| panic!("fact {index}, byte {at}: {:?}", report.findings));
                let kind = if index.is_multiple_of(3) { "run.finished" } else { "dataset.committed" };
                assert_eq!(named.kind.as_deref(), Some(kind));
                assert!(named.problem.starts_with("was changed"), "{}", named.problem);
                let others = report.findings.iter().filter(|finding| finding.index.is_some_and(|other| other != index));
                assert_eq!(others.count(), 0, "only that fact is to blame: {:?}", report.findings);
            }
        }
        set_leaf(&database, index, &whole);
    }
    assert!(fixture.verify().ok());
}

#[tokio::test]
async fn removed_inserted_and_reordered_facts_are_found() {
    let fixture = Fixture::new();
    fixture.fill(600, 50).await;
    let database = fixture.database();
    let check = |change: &str, expected: &str| {
        database.execute_batch(&format!("SAVEPOINT s; {change}")).unwrap();
        database.execute_batch("RELEASE s").unwrap();
        let report = fixture.verify();
        assert!(findings(&report).iter().any(|finding| finding == expected), "{change}: {:#?}", findings(&report));
        report
    };
    let backup = |sql: &str| database.execute_batch(sql).unwrap();
    backup("CREATE TABLE spare AS SELECT * FROM facts");
    let restore = "DELETE FROM facts; INSERT INTO facts SELECT * FROM spare";

    let report = check("DELETE FROM facts WHERE idx = 17", "fact 17 is missing");
    assert_eq!(report.facts, 599);
    backup(restore);
    check("DELETE FROM facts WHERE idx BETWEEN 20 AND 299", "facts 20 to 299 are missing");
    backup(restore);
    check(
        "UPDATE facts SET leaf = (SELECT leaf FROM spare WHERE idx = 31 - facts.idx), kind = (SELECT kind FROM spare WHERE idx = 31 - facts.idx) WHERE idx IN (15, 16)",
        "fact 15 (`dataset.committed`) was changed: it is not what the log committed to",
    );
    backup(restore);
    check(
        "INSERT INTO facts SELECT 600, kind, at, operation, leaf FROM spare WHERE idx = 599",
        "fact 600 (`dataset.committed`) was added: no checkpoint covers it",
    );
    backup(restore);
    check("DELETE FROM facts WHERE idx >= 590", "facts 590 to 599 are missing");
    backup(restore);
    backup("UPDATE facts SET idx = idx + 10000000 WHERE idx > 500");
    let report = fixture.verify();
    assert!(findings(&report).contains(&"facts 501 to 599 are missing".to_owned()), "{:?}", findings(&report));
    backup("DELETE FROM facts; INSERT INTO facts SELECT * FROM spare; DROP TABLE spare");
    let report = fixture.verify();
    assert!(report.ok(), "{:?}", findings(&report));
}

#[tokio::test]
async fn a_log_cut_back_with_its_checkpoints_is_found_by_whoever_kept_one() {
    let fixture = Fixture::new();
    fixture.fill(300, 300).await;
    let short = fixture.ledger.checkpoint().unwrap();
    fixture.fill(300, 300).await;
    let kept = fixture.ledger.checkpoint().unwrap();
    assert!(fixture.ledger.verify_against(&kept, |_, _| ()).unwrap().ok());
    assert!(fixture.ledger.verify_against(&short, |_, _| ()).unwrap().ok());

    // The same company with the same key, but another history.
    let forged = Fixture::new();
    forged.fill(300, 300).await;
    forged.clock.advance_to(crate::fixture::moment("2013-01-02"));
    forged.fill(300, 300).await;
    assert!(forged.verify().ok(), "nothing inside tells");
    let report = forged.ledger.verify_against(&kept, |_, _| ()).unwrap();
    let expected = "the checkpoint that was kept commits to other facts: something among the facts 300 to 599 was changed, removed, inserted or put in another order";
    assert_eq!(findings(&report), [expected]);

    let cut = Fixture::new();
    cut.fill(300, 300).await;
    let report = cut.ledger.verify_against(&kept, |_, _| ()).unwrap();
    assert_eq!(
        findings(&report),
        ["the checkpoint that was kept promises 600 facts, but the log has 300: its end was cut off"]
    );

    let strange = kept.replace("acme\n600", "acme\n601");
    let report = cut.ledger.verify_against(&strange, |_, _| ()).unwrap();
    assert!(findings(&report)[0].starts_with("the checkpoint that was kept does not belong to this ledger"));
}

#[tokio::test]
async fn tiles_checkpoints_and_columns_are_checked_too() {
    let fixture = Fixture::new();
    fixture.fill(600, 100).await;
    let database = fixture.database();
    let hashes = |level: i64, number: i64| -> Vec<u8> {
        let sql = "SELECT hashes FROM tiles WHERE level = ?1 AND number = ?2";
        database.query_row(sql, [level, number], |row| row.get(0)).unwrap()
    };
    let set = |level: i64, number: i64, hashes: &[u8]| {
        let sql = "UPDATE tiles SET hashes = ?3 WHERE level = ?1 AND number = ?2";
        assert_eq!(database.execute(sql, params![level, number, hashes]).unwrap(), 1);
    };
    for (level, number, at, expected) in [
        (0, 0, 5 * 32, "fact 5 (`dataset.committed`) is right, but its stored hash in the tree was changed"),
        (0, 2, 1, "fact 512 (`dataset.committed`) is right, but its stored hash in the tree was changed"),
        (
            1,
            0,
            40,
            "hash 1 of tile 0 on level 1 of the tree does not fit the facts 256 to 511: the hash was changed, or one of these facts together with its own hash",
        ),
    ] {
        let whole = hashes(level, number);
        let mut changed = whole.clone();
        changed[at] ^= 1;
        set(level, number, &changed);
        assert_eq!(findings(&fixture.verify()), [expected]);
        set(level, number, &whole[..whole.len() - 32]);
        assert!(!fixture.verify().ok());
        set(level, number, &whole);
    }
    // A fact together with its hash: the trees above and the signature still tell, to a tile.
    let (whole, tile) = (leaf(&database, 300), hashes(0, 1));
    let mut changed = whole.clone();
    let at = whole.windows(4).position(|window| window == b"\"n\":").unwrap() + 4;
    changed[at] = b'7';
    let mut forged = tile.clone();
    forged[44 * 32..45 * 32].copy_from_slice(tenon_ledger::merkle::leaf_hash(&changed).as_bytes());
    set_leaf(&database, 300, &changed);
    set(0, 1, &forged);
    let report = fixture.verify();
    assert!(findings(&report).iter().any(|f| f.contains("facts 256 to 511")), "{:?}", findings(&report));
    set_leaf(&database, 300, &whole);
    set(0, 1, &tile);

    let note: String =
        database.query_row("SELECT note FROM checkpoints WHERE size = 600", [], |row| row.get(0)).unwrap();
    let sql = "UPDATE checkpoints SET note = ?1 WHERE size = 600";
    database.execute(sql, [note.replace("acme\n600", "acme\n599")]).unwrap();
    assert!(findings(&fixture.verify())[0].starts_with("the newest checkpoint proves nothing: the signature"));
    database.execute(sql, [&note]).unwrap();

    database.execute("UPDATE facts SET kind = 'model.trained', at = at - 1 WHERE idx = 9", []).unwrap();
    let expected = [
        "fact 9 (`run.finished`) is filed under another moment than it says",
        "fact 9 (`run.finished`) is filed under another kind than it says",
    ];
    assert_eq!(findings(&fixture.verify()), expected);
}

#[tokio::test]
async fn a_log_that_does_not_hold_is_read_but_gets_no_more_facts() {
    let fixture = Fixture::new();
    fixture.fill(10, 10).await;
    fixture.database().execute("DELETE FROM facts WHERE idx = 9", []).unwrap();
    let options = fixture.options();
    drop(fixture.ledger);
    let error = Ledger::open(options.clone()).err().unwrap();
    assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
    let ledger = Ledger::open_read_only(options).unwrap();
    assert_eq!(ledger.facts(0..20).unwrap().len(), 9);
    assert_eq!(findings(&ledger.verify(|_, _| ()).unwrap()), ["fact 9 is missing"]);
}

#[tokio::test]
async fn nobody_is_handed_a_fact_that_was_changed_behind_the_open_ledger() {
    let fixture = Fixture::new();
    fixture.fill(600, 100).await;
    let database = fixture.database();
    let whole = leaf(&database, 9);
    let mut changed = whole.clone();
    let at = whole.windows(4).position(|window| window == b"\"n\":").unwrap() + 4;
    changed[at] = b'7';
    set_leaf(&database, 9, &changed);
    let ledger = &fixture.ledger;
    let damaged = |error: LedgerError| {
        let text = error.to_string();
        assert!(matches!(error, LedgerError::Damaged(_)) && text.contains("fact 9 is not"), "{text}");
    };
    damaged(ledger.facts(0..20).unwrap_err());
    damaged(ledger.facts_of(&["run.finished"], 0, 10).unwrap_err());
    damaged(ledger.leaf(9).unwrap_err());
    damaged(ledger.inclusion(9).unwrap_err());
    damaged(ledger.docs_as_of(crate::fixture::moment("2014-01-01")).err().unwrap());
    damaged(ledger.export(&fixture.folder.path().join("export")).unwrap_err());
    assert_eq!(ledger.facts(10..20).unwrap().len(), 10, "others are handed out");
    assert!(ledger.inclusion(8).is_ok() && ledger.consistency(300, 600).is_ok(), "the tree is whole");

    // Together with its hash in the tree: the checkpoint's signature still tells.
    let tile: Vec<u8> =
        database.query_row("SELECT hashes FROM tiles WHERE level = 0 AND number = 0", [], |row| row.get(0)).unwrap();
    let mut forged = tile.clone();
    forged[9 * 32..10 * 32].copy_from_slice(tenon_ledger::merkle::leaf_hash(&changed).as_bytes());
    let set = "UPDATE tiles SET hashes = ?1 WHERE level = 0 AND number = 0";
    database.execute(set, [&forged]).unwrap();
    damaged(ledger.inclusion(9).unwrap_err());
    assert!(matches!(ledger.inclusion(8), Err(LedgerError::Damaged(_))), "its neighbour's proof leads elsewhere");
    assert!(matches!(ledger.consistency(100, 600), Err(LedgerError::Damaged(_))));
    database.execute(set, [&tile]).unwrap();
    set_leaf(&database, 9, &whole);
    assert_eq!(ledger.facts(0..600).unwrap().len(), 600);
    assert!(ledger.inclusion(9).is_ok());
}

#[tokio::test]
async fn nothing_more_is_signed_after_a_stranger_changed_the_database_until_it_holds_again() {
    let fixture = Fixture::new();
    fixture.fill(300, 100).await;
    let database = fixture.database();
    let kept = fixture.ledger.checkpoint().unwrap();
    let append = async || fixture.ledger.append(vec![numbered(1_000)]).await;
    for (change, undo) in [
        (
            "CREATE TABLE spare AS SELECT * FROM facts WHERE idx = 7; DELETE FROM facts WHERE idx = 7",
            "INSERT INTO facts SELECT * FROM spare; DROP TABLE spare",
        ),
        (
            "CREATE TABLE spare AS SELECT * FROM facts WHERE idx >= 250; DELETE FROM facts WHERE idx >= 250",
            "INSERT INTO facts SELECT * FROM spare; DROP TABLE spare",
        ),
        ("UPDATE facts SET kind = 'x' || kind WHERE idx = 3", "UPDATE facts SET kind = substr(kind, 2) WHERE idx = 3"),
    ] {
        database.execute_batch(change).unwrap();
        for attempt in 0..2 {
            let error = append().await.unwrap_err();
            assert!(matches!(error, LedgerError::Damaged(_)), "{change}: {error}");
            let told = error.to_string().contains("another program has changed its database");
            // Where leaves are gone, the tree above them cannot even be read.
            assert!(told || attempt > 0 || error.to_string().contains("is gone"), "{error}");
            assert_eq!(fixture.ledger.checkpoint().unwrap(), kept, "{change}: signed on");
        }
        database.execute_batch(undo).unwrap();
    }
    let appended = append().await.unwrap();
    assert_eq!(appended.indices, [300]);
    assert!(fixture.ledger.verify_against(&kept, |_, _| ()).unwrap().ok());
}

#[tokio::test]
async fn progress_is_told_up_to_the_end() {
    let fixture = Fixture::new();
    fixture.ledger.append((0..9_000).map(numbered).collect()).await.unwrap();
    let mut told = Vec::new();
    let report = fixture.ledger.verify(|done, total| told.push((done, total))).unwrap();
    assert!(report.ok());
    assert_eq!(told, [(8_192, 9_000), (9_000, 9_000)]);
}
