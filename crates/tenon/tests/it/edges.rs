//! Dependencies point downwards only.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Each crate with the crates of the workspace that it may name, from the ground up. A new edge is a decision: see
/// ARCHITECTURE.md.
const ALLOWED: [(&str, &[&str]); 19] = [
    ("core", &[]),
    ("stats", &[]),
    ("onnx", &[]),
    ("gbdt", &["onnx"]),
    ("ledger", &["core"]),
    ("company", &["core", "ledger"]),
    ("policy", &["company", "core", "ledger"]),
    ("query", &["core"]),
    ("cluster", &["core", "query"]),
    ("compute", &["company", "core", "ledger"]),
    ("lake", &["company", "core", "ledger", "query", "stats"]),
    ("ingest", &["company", "core", "lake"]),
    ("features", &["company", "core", "lake", "query", "stats"]),
    ("models", &["company", "compute", "core", "features", "gbdt", "lake", "ledger", "onnx", "policy", "stats"]),
    ("serve", &["company", "core", "features", "lake", "ledger", "models", "onnx", "policy", "stats"]),
    ("watch", &["company", "core", "features", "lake", "ledger", "models", "stats"]),
    ("console", &["core"]),
    (
        "server",
        &[
            "company", "compute", "console", "core", "features", "ingest", "lake", "ledger", "models", "onnx",
            "policy", "serve", "watch",
        ],
    ),
    ("benches", &["company", "core", "features", "ingest", "lake", "ledger", "onnx", "policy", "query"]),
];

/// The only crates that may name the engines.
const ENGINES: [(&str, &[&str]); 3] = [
    ("datafusion", &["tenon-query", "tenon-lake", "tenon-cluster"]),
    ("deltalake", &["tenon-query", "tenon-lake"]),
    ("ballista", &["tenon-cluster"]),
];

#[test]
fn dependencies_point_downwards_and_engines_stay_below() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let dependencies = package["dependencies"].as_array().unwrap();
        // What tests need may reach wider: they build whole companies.
        for dependency in dependencies.iter().filter(|dependency| dependency["kind"].is_null()) {
            let to = dependency["name"].as_str().unwrap();
            if let (Some(from), Some(to)) = (name.strip_prefix("tenon-"), to.strip_prefix("tenon-")) {
                let known = allowed.get(from).unwrap_or_else(|| panic!("{name} is not on the list of edges"));
                if !known.contains(&to) {
                    wrong.push(format!("{name} → tenon-{to}"));
                }
            }
            for (engine, users) in ENGINES {
                if to.starts_with(engine) && !users.contains(&name) {
                    wrong.push(format!("{name} → {to}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let out = cargo.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}
