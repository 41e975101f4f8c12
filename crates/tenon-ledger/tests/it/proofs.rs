//! Proofs out of the stored tiles, and exported logs, checked with nothing but a key.

use proptest::prelude::*;
use tenon_ledger::{Ledger, LedgerError, verify};

use crate::fixture::Fixture;

#[tokio::test]
async fn every_fact_is_provable_to_somebody_with_the_key_alone() {
    let Fixture { ledger, folder: _folder, .. } = &Fixture::new();
    let fixture = Fixture::new();
    assert!(matches!(ledger.inclusion(0), Err(LedgerError::NoSuchFact { index: 0, size: 0 })));
    fixture.fill(700, 97).await;
    let (ledger, key) = (&fixture.ledger, fixture.ledger.verifier_key());
    for index in 0..700 {
        let proof = ledger.inclusion(index).unwrap();
        let leaf = ledger.leaf(index).unwrap();
        assert_eq!(verify::inclusion(&leaf, &proof, &key).unwrap().size, 700);
        let mut forged = leaf;
        let place = index as usize % forged.len();
        forged[place] ^= 1;
        assert!(matches!(verify::inclusion(&forged, &proof, &key), Err(LedgerError::Proof(_))));
    }
    let other = "other".to_owned() + key.strip_prefix("acme").unwrap();
    assert!(verify::inclusion(b"", &ledger.inclusion(0).unwrap(), &other).is_err());
}

#[tokio::test]
async fn older_checkpoints_are_consistent_with_newer_ones() {
    let fixture = Fixture::new();
    let mut kept = Vec::new();
    for _ in 0..12 {
        fixture.fill(83, 40).await;
        kept.push((fixture.ledger.size().unwrap(), fixture.ledger.checkpoint().unwrap()));
    }
    let key = fixture.ledger.verifier_key();
    for (old, old_note) in &kept {
        for (new, new_note) in kept.iter().filter(|(new, _)| new >= old) {
            let proof = fixture.ledger.consistency(*old, *new).unwrap();
            verify::consistency(old_note, new_note, &proof, &key).unwrap();
            assert!(old == new || verify::consistency(new_note, old_note, &proof, &key).is_err());
        }
    }
    for (old, new) in [(0, 5), (5, 4), (1, 10_000)] {
        assert!(matches!(fixture.ledger.consistency(old, new), Err(LedgerError::NoSuchSize { .. })));
    }
}

#[tokio::test]
async fn an_export_verifies_by_itself_and_any_change_in_it_is_found() {
    let fixture = Fixture::new();
    let key = fixture.ledger.verifier_key();
    let out = tempfile::tempdir().unwrap();
    fixture.ledger.export(out.path()).unwrap();
    assert!(verify::verify_export(out.path(), &key).unwrap().ok(), "an empty log is a log");
    fixture.fill(300, 128).await;
    fixture.ledger.export(out.path()).unwrap();
    fixture.fill(300, 128).await;
    fixture.ledger.export(out.path()).unwrap();
    let report = verify::verify_export(out.path(), &key).unwrap();
    assert!(report.ok(), "{:?}", report.findings);
    assert_eq!((report.facts, report.tiles, report.root), (600, 4, fixture.verify().root));

    let stranger = Fixture::new();
    drop(stranger.ledger);
    for file in
        ["checkpoint", "tile/entries/001", "tile/entries/002.p/88", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2"]
    {
        let path = out.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 40 + 1) {
            let mut changed = whole.clone();
            changed[at] ^= 0x04;
            std::fs::write(&path, &changed).unwrap();
            assert!(!verify::verify_export(out.path(), &key).unwrap().ok(), "{file}, byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(!verify::verify_export(out.path(), &key).unwrap().ok(), "{file}, cut");
        std::fs::remove_file(&path).unwrap();
        assert!(!verify::verify_export(out.path(), &key).unwrap().ok(), "{file}, removed");
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(verify::verify_export(out.path(), &key).unwrap().ok());
}

#[tokio::test]
async fn a_changed_entry_of_an_export_is_named() {
    let fixture = Fixture::new();
    fixture.fill(300, 300).await;
    let out = tempfile::tempdir().unwrap();
    fixture.ledger.export(out.path()).unwrap();
    let path = out.path().join("tile/entries/001.p/44");
    let text = std::fs::read(&path).unwrap();
    let at = text.windows(9).position(|window| window == b"\"n\":257,\"").unwrap() + 4;
    let mut changed = text;
    changed[at] = b'9';
    std::fs::write(&path, changed).unwrap();
    let report = verify::verify_export(out.path(), &fixture.ledger.verifier_key()).unwrap();
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings, ["fact 257 (`dataset.committed`) was changed: it is not what the log committed to"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_the_commits_the_tree_is_the_same(batches in prop::collection::vec(1_u64..200, 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let total: u64 = batches.iter().sum();
        let (pieces, whole) = (Fixture::new(), Fixture::new());
        runtime.block_on(async {
            let mut next = 0;
            for batch in batches {
                let facts = (next..next + batch).map(crate::fixture::numbered).collect();
                pieces.ledger.append(facts).await.unwrap();
                next += batch;
            }
            whole.fill(total, total).await;
        });
        prop_assert_eq!(pieces.ledger.checkpoint().unwrap(), whole.ledger.checkpoint().unwrap());
        let report = pieces.verify();
        prop_assert!(report.ok(), "{:?}", report.findings);
    }
}

#[tokio::test]
async fn an_unknown_folder_is_no_ledger() {
    let fixture = Fixture::new();
    let mut options = fixture.options();
    options.dir = fixture.folder.path().join("elsewhere");
    assert!(matches!(Ledger::open(options.clone()), Err(LedgerError::Missing { .. })));
    assert!(matches!(Ledger::open_read_only(options.clone()), Err(LedgerError::Missing { .. })));
    assert!(!options.dir.exists());
    options.origin = "a b".into();
    assert!(matches!(Ledger::create(options), Err(LedgerError::Origin { .. })));
}
