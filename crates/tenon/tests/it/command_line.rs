//! The command line, as people and scripts meet it.

use std::path::Path;
use std::process::{Command, Output};

fn tenon(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenon"));
    command.arg("--dir").arg(dir).args(arguments).env("USER", "ana").env_remove("TENON_TOKEN");
    command.output().unwrap()
}

fn said(out: &Output) -> String {
    format!(
        "exit {}\n{}{}",
        out.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

#[test]
fn a_company_is_founded_planned_and_applied_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("acme");
    let founded = tenon(&dir, &["init", dir.to_str().unwrap()]);
    assert!(founded.status.success(), "{}", said(&founded));
    let planned = said(&tenon(&dir, &["plan"]));
    assert!(planned.contains("exit 0") && planned.contains("pod first"), "{planned}");
    let applied = said(&tenon(&dir, &["apply"]));
    assert!(applied.contains("exit 0") && applied.contains("applied"), "{applied}");
    assert!(said(&tenon(&dir, &["plan"])).contains("nothing would change"));
    assert!(said(&tenon(&dir, &["audit", "verify"])).contains("the record holds"));
    let again = said(&tenon(&dir, &["init", dir.to_str().unwrap()]));
    assert!(again.contains("exit 1") && again.contains("already"), "{again}");
}

#[test]
fn every_command_shows_an_example() {
    for command in [
        "quickstart",
        "init",
        "plan",
        "apply",
        "schema",
        "ingest",
        "query",
        "train",
        "decide",
        "rollout",
        "rollback",
        "waive",
        "get",
        "describe",
        "history",
        "export",
        "reproduce",
        "why",
        "serve",
    ] {
        let help = said(&tenon(Path::new("."), &[command, "--help"]));
        assert!(help.contains("exit 0") && help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn wrong_usage_and_missing_companies_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = said(&tenon(folder.path(), &["plan"]));
    assert!(nothing.starts_with("exit 2") && nothing.contains("tenon init"), "{nothing}");
    assert!(said(&tenon(folder.path(), &["nonsense"])).starts_with("exit 2"));
    assert!(said(&tenon(folder.path(), &["schema", "nonsense"])).starts_with("exit 2"));
    assert!(said(&tenon(folder.path(), &["schema", "dataset"])).starts_with("exit 0"));
}
