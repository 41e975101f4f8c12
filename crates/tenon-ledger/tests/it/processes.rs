//! One writer, any number of readers; the key.

use std::os::unix::fs::PermissionsExt as _;

use tenon_ledger::{DocsExt as _, Ledger, LedgerError};

use crate::fixture::{Fixture, numbered};

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_holds_the_ledger() {
    let fixture = Fixture::new();
    let error = Ledger::open(fixture.options()).err().unwrap();
    let pid = std::process::id().to_string();
    assert!(matches!(&error, LedgerError::Locked { pid: holder, .. } if *holder == pid), "{error}");
    assert!(matches!(Ledger::create(fixture.options()).err(), Some(LedgerError::Locked { .. })));
    let options = fixture.options();
    let clone = fixture.ledger.clone();
    drop(fixture.ledger);
    assert!(Ledger::open(options.clone()).is_err(), "a clone still holds it");
    drop(clone);
    let ledger = Ledger::open(options.clone()).unwrap();
    drop(ledger);
    assert!(matches!(Ledger::create(options).err(), Some(LedgerError::Exists { .. })));
}

#[tokio::test]
async fn a_reader_beside_the_writer_sees_each_commit_and_changes_nothing() {
    let fixture = Fixture::new();
    let reader = Ledger::open_read_only(fixture.options()).unwrap();
    for n in 0..5 {
        fixture.ledger.append(vec![numbered(n)]).await.unwrap();
        assert_eq!(reader.size().unwrap(), n + 1);
        assert_eq!(reader.facts(n..n + 1).unwrap(), fixture.ledger.facts(n..n + 1).unwrap());
        assert_eq!(reader.checkpoint().unwrap(), fixture.ledger.checkpoint().unwrap());
        assert_eq!(reader.inclusion(n).unwrap(), fixture.ledger.inclusion(n).unwrap());
    }
    assert_eq!(reader.docs().read::<u64>("counts", "run.finished").unwrap(), Some(2));
    assert!(reader.verify(|_, _| ()).unwrap().ok());
    assert!(matches!(reader.append(vec![numbered(5)]).await, Err(LedgerError::ReadOnly)));
    let options = fixture.options();
    drop(fixture.ledger);
    assert_eq!(reader.size().unwrap(), 5);
    assert!(Ledger::open_read_only(options).unwrap().verify(|_, _| ()).unwrap().ok(), "also with no writer");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let fixture = Fixture::new();
    let (options, folder) = (fixture.options(), fixture.folder.path().to_owned());
    drop(fixture.ledger);
    let key = folder.join("ledger.key");
    let text = std::fs::read_to_string(&key).unwrap();
    for mode in [0o640, 0o604, 0o666] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Ledger::open(options.clone()).err().unwrap();
        assert!(matches!(error, LedgerError::KeyExposed { .. }), "{error}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "PRIVATE+KEY+acme+00000000+AAAA").unwrap();
    let error = Ledger::open(options.clone()).err().unwrap();
    assert!(matches!(&error, LedgerError::Key { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("AAAA"));
    std::fs::write(&key, text).unwrap();
    let mut other = options.clone();
    other.origin = "umbrella".into();
    assert!(matches!(Ledger::open(other).err(), Some(LedgerError::OtherOrigin { .. })));
    assert!(Ledger::open(options).is_ok());
}

#[tokio::test]
async fn each_ledger_has_a_key_of_its_own() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = tenon_core::clock::ManualClock::at(crate::fixture::moment("2013-01-01"));
    let keys =
        [one, two].map(|dir| Ledger::create(crate::fixture::options(dir.path(), &clock)).unwrap().verifier_key());
    assert_ne!(keys[0], keys[1]);
}
