//! A log that was exported once and must verify for ever.
//!
//! `tests/golden/` changes only with a new format. `TENON_BLESS=1 cargo test -p tenon-ledger golden` writes it anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use tenon_core::Span;
use tenon_ledger::verify::verify_export;

use crate::fixture::{Fixture, fact, moment, numbered, operation};

const KEY: &str = "acme+ae3b69ef+ARl/ayPhbIUyxqvIOPrNXqeJvgx2spIDNAOb+os9No1h";
const ROOT: &str = "23b574f281ceaab3ed5000eddd71e8b6c44d2aafdbdd8f75c6fafc90f8f8d130";

fn golden() -> PathBuf {
    PathBuf::from("tests/golden")
}

#[test]
fn the_golden_log_verifies() {
    let report = verify_export(&golden(), KEY).unwrap();
    assert!(report.ok(), "{:?}", report.findings);
    assert_eq!((report.facts, report.root.hex().as_str()), (259, ROOT));
}

#[tokio::test]
async fn the_same_facts_key_and_clock_still_give_the_golden_log_to_the_byte() {
    let fixture = Fixture::new();
    for n in 0..257 {
        fixture.clock.advance_to(moment("2013-01-01") + Span::from_micros(1_500_000 * n));
        fixture.ledger.append(vec![numbered(n as u64)]).await.unwrap();
    }
    let odd = json!({"€": "\u{1}\u{7f}\u{1f600}", "a": [1e21, 1e-7, -0.0, 0.1, 9_007_199_254_740_991_u64], "": {}});
    let mut unowned = fact("company.created", odd);
    unowned.pod = None;
    fixture.ledger.append(vec![unowned, fact("run.finished", json!(null)).sealing(operation("golden"))]).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    fixture.ledger.export(out.path()).unwrap();
    if std::env::var_os("TENON_BLESS").is_some() {
        for (path, bytes) in files(out.path()) {
            let path = golden().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let (made, kept) = (files(out.path()), files(&golden()));
    assert_eq!(made.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    for (path, bytes) in made {
        assert!(kept[&path] == bytes, "{} differs", path.display());
    }
}

fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
