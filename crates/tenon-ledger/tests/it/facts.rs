//! Every kind and version of fact, as a ledger stored it, must be read for ever.
//!
//! `tests/facts/KIND/vN.json` at the root of the repository holds one fact whole, `vN-bare.json` the same kind without
//! its optional fields, `vN-WORD.json` another case of it; `tests/facts/leaves.txt` pins the leaf hash of each. Files that
//! are there never change. `TENON_BLESS=1 cargo test -p tenon-ledger facts` pins the hashes of new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, schema_for};
use serde_json::Value;
use tenon_core::fact::{self, Fact, KINDS, Payload};
use tenon_core::{NewFact, Timestamp};
use tenon_ledger::{is_canonical, merkle};

use crate::fixture::Fixture;

/// A kind of fact at a version, with how it is read.
struct Reader {
    kind: &'static str,
    version: u32,
    /// Reads the payload, and says it again.
    again: fn(&Fact) -> Result<Value, fact::PayloadError>,
    schema: fn() -> Schema,
}

fn reader<P: Payload + JsonSchema>() -> Reader {
    Reader {
        kind: P::KIND,
        version: P::VERSION,
        again: |fact| Ok(serde_json::to_value(fact.payload::<P>()?).unwrap()),
        schema: || schema_for!(P),
    }
}

/// What reads every kind and version that was ever written. A version that is no longer the newest stays here.
fn readers() -> Vec<Reader> {
    vec![
        reader::<fact::AuthorizationRefused>(),
        reader::<fact::CompanyCreated>(),
        reader::<fact::ContractBreakAllowed>(),
        reader::<fact::DatasetCommitted>(),
        reader::<fact::DatasetRefused>(),
        reader::<fact::DatasetReplayed>(),
        reader::<fact::DecisionsLogged>(),
        reader::<fact::DriftDetected>(),
        reader::<fact::GateDecided>(),
        reader::<fact::GateWaived>(),
        reader::<fact::ModelVersionRegistered>(),
        reader::<fact::VersionJudged>(),
        reader::<fact::MonitorMeasured>(),
        reader::<fact::OutcomesRecorded>(),
        reader::<fact::QualityMeasured>(),
        reader::<fact::QuarantineDiscarded>(),
        reader::<fact::QuarantineReleased>(),
        reader::<fact::RolloutStarted>(),
        reader::<fact::RunFailed>(),
        reader::<fact::RunFinished>(),
        reader::<fact::RunStarted>(),
        reader::<fact::SpecApplied>(),
        reader::<fact::SpecRemoved>(),
        reader::<fact::SpendRecorded>(),
        reader::<fact::TokenCreated>(),
        reader::<fact::TokenRevoked>(),
        reader::<fact::TrafficShifted>(),
        reader::<fact::BranchCommitted>(),
        reader::<fact::BranchCreated>(),
        reader::<fact::BranchDropped>(),
        reader::<fact::BranchMerged>(),
        reader::<fact::DatasetCompacted>(),
        reader::<fact::DatasetRestored>(),
        reader::<fact::HoldCreated>(),
        reader::<fact::HoldReleased>(),
        reader::<fact::LakeVacuumed>(),
        reader::<fact::TagCreated>(),
        reader::<fact::TagDeleted>(),
        reader::<fact::InvitationCreated>(),
        reader::<fact::InvitationRedeemed>(),
        reader::<fact::InvitationRevoked>(),
        reader::<fact::RefusalsCounted>(),
        reader::<fact::SkewDetected>(),
        reader::<fact::SkewMeasured>(),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from("../../tests/facts")
}

/// One file: `dataset.committed/v1-bare.json` and its bytes.
struct Kept {
    name: String,
    kind: String,
    version: u32,
    bytes: Vec<u8>,
}

impl Kept {
    fn fact(&self) -> Fact {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{} is no fact any more: {error}", self.name))
    }
}

fn kept() -> Vec<Kept> {
    let mut kept = Vec::new();
    for kind in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&kind).unwrap().map(|entry| entry.unwrap().path()) {
            let (kind, file_name) = (name_of(&kind), name_of(&file));
            let version = file_name.strip_prefix('v').and_then(|name| name.strip_suffix(".json"));
            let version = version.and_then(|name| name.split('-').next()?.parse().ok());
            let version = version.unwrap_or_else(|| panic!("{file_name} should be named vN.json or vN-WORD.json"));
            let bytes = std::fs::read(&file).unwrap();
            kept.push(Kept { name: format!("{kind}/{file_name}"), kind, version, bytes });
        }
    }
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    kept
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn reader_of(kept: &Kept) -> Reader {
    let found = readers().into_iter().find(|reader| (reader.kind, reader.version) == (&kept.kind, kept.version));
    found.unwrap_or_else(|| panic!("nothing reads {} any more", kept.name))
}

#[test]
fn every_kind_is_read_and_kept() {
    let newest: BTreeSet<(&str, u32)> = KINDS.into_iter().collect();
    let read: BTreeSet<(&str, u32)> = readers().iter().map(|reader| (reader.kind, reader.version)).collect();
    let unread: Vec<_> = newest.difference(&read).collect();
    assert!(unread.is_empty(), "add a reader and a fixture for {unread:?}: see CONTRIBUTING.md");
    let kept = kept();
    let whole: BTreeSet<(&str, u32)> = kept.iter().map(|kept| (kept.kind.as_str(), kept.version)).collect();
    let missing: Vec<_> = read.difference(&whole).collect();
    assert!(missing.is_empty(), "tests/facts has no fact of {missing:?}: see CONTRIBUTING.md");
    for kept in &kept {
        reader_of(kept);
    }
    let kinds: BTreeSet<&str> = newest.iter().map(|(kind, _)| *kind).collect();
    let gone: Vec<_> = read.iter().filter(|(kind, _)| !kinds.contains(kind)).collect();
    assert!(gone.is_empty(), "{gone:?} are kinds no longer");
}

#[test]
fn the_leaf_hash_of_every_fact_is_the_one_that_was_pinned() {
    let pins = folder().join("leaves.txt");
    let pinned = std::fs::read_to_string(&pins).unwrap_or_default();
    let mut pinned: BTreeMap<String, String> = pinned
        .lines()
        .map(|line| line.split_once("  ").expect("a hash, two spaces, a file"))
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect();
    let kept = kept();
    if std::env::var_os("TENON_BLESS").is_some() {
        for kept in &kept {
            pinned.entry(kept.name.clone()).or_insert_with(|| merkle::leaf_hash(&kept.bytes).hex());
        }
        let lines: Vec<String> = pinned.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
        std::fs::write(&pins, lines.concat()).unwrap();
    }
    let names: BTreeSet<&String> = kept.iter().map(|kept| &kept.name).collect();
    assert_eq!(names, pinned.keys().collect(), "a fact was taken away, or is not pinned: see CONTRIBUTING.md");
    for kept in &kept {
        assert_eq!(merkle::leaf_hash(&kept.bytes).hex(), pinned[&kept.name], "{} was changed", kept.name);
    }
}

#[tokio::test]
async fn every_fact_is_read_and_stored_again_to_the_byte() {
    let fixture = Fixture::new();
    let mut kept = kept();
    kept.sort_by_key(|kept| kept.fact().at);
    for kept in &kept {
        assert!(is_canonical(&kept.bytes), "{} is not canonical JSON", kept.name);
        let fact = kept.fact();
        assert_eq!((fact.kind.as_str(), fact.version), (kept.kind.as_str(), kept.version), "{}", kept.name);
        let body = (reader_of(kept).again)(&fact).unwrap_or_else(|error| {
            panic!("{} cannot be read: {error}: {:?}", kept.name, std::error::Error::source(&error))
        });
        let again = NewFact {
            kind: fact.kind,
            version: fact.version,
            by: fact.by,
            pod: fact.pod,
            operation: fact.operation,
            body,
        };
        fixture.clock.advance_to(fact.at);
        let index = fixture.ledger.append(vec![again]).await.unwrap().indices[0];
        let stored = fixture.ledger.leaf(index).unwrap();
        let (stored, kept_text) = (String::from_utf8_lossy(&stored), String::from_utf8_lossy(&kept.bytes));
        assert_eq!(stored, kept_text, "{} lost something", kept.name);
    }
    let report = fixture.verify();
    assert!(report.ok(), "{:?}", report.findings);
    assert_eq!(report.facts, kept.len() as u64);
}

#[test]
fn every_field_is_there_once_and_every_optional_one_is_missing_once() {
    let (mut possible, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let kept = kept();
    for reader in readers() {
        let schema = (reader.schema)().to_value();
        let walk = Walk { root: &schema, name: schema["title"].as_str().unwrap() };
        walk.possible(&schema, &mut possible, &mut BTreeSet::new());
        for kept in kept.iter().filter(|kept| (kept.kind.as_str(), kept.version) == (reader.kind, reader.version)) {
            walk.seen(&schema, &kept.fact().body, &mut seen);
        }
    }
    let missing: Vec<_> = possible.difference(&seen).collect();
    assert!(missing.is_empty(), "no fact in tests/facts has {missing:#?}");
}

#[test]
fn a_field_that_disappeared_would_be_noticed() {
    let now: Timestamp = "2013-01-01".parse().unwrap();
    let mut fact = kept().into_iter().find(|kept| kept.kind == "tag.deleted").unwrap().fact();
    fact.at = now;
    fact.body["once"] = Value::from("there was such a field");
    let again = (readers().into_iter().find(|reader| reader.kind == "tag.deleted").unwrap().again)(&fact).unwrap();
    assert_ne!(again, fact.body, "a payload that kept unknown fields would hide what it lost");
}

/// A walk through a payload's JSON Schema: which fields and which words there can be, and which a fact has.
struct Walk<'a> {
    root: &'a Value,
    name: &'a str,
}

impl Walk<'_> {
    /// The schema that a reference leads to, with its name.
    fn follow<'s>(&'s self, schema: &'s Value) -> Option<(Walk<'s>, &'s Value)> {
        let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        Some((Walk { root: self.root, name }, &self.root["$defs"][name]))
    }

    /// The schemas inside that hold a value of this one in its place, or a part of it.
    fn inside(schema: &Value) -> Vec<&Value> {
        let mut inside: Vec<&Value> = Vec::new();
        for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
            inside.extend(schema[key].as_array().into_iter().flatten());
        }
        inside
            .extend(["items", "additionalProperties"].map(|key| &schema[key]).into_iter().filter(|of| of.is_object()));
        inside
    }

    fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
        schema["properties"].as_object().into_iter().flatten()
    }

    fn is_required(schema: &Value, field: &str) -> bool {
        schema["required"].as_array().into_iter().flatten().any(|required| required == field)
    }

    fn possible(&self, schema: &Value, into: &mut BTreeSet<String>, walked: &mut BTreeSet<String>) {
        if let Some((walk, schema)) = self.follow(schema) {
            if walked.insert(walk.name.to_owned()) {
                walk.possible(schema, into, walked);
            }
            return;
        }
        for word in schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")) {
            into.insert(format!("{} {word}", self.name));
        }
        for (field, inner) in Self::fields(schema) {
            into.insert(format!("{}.{field}", self.name));
            if !Self::is_required(schema, field) {
                into.insert(format!("{}, without {field}", self.name));
            }
            self.possible(inner, into, walked);
        }
        Self::inside(schema).into_iter().for_each(|inner| self.possible(inner, into, walked));
    }

    fn seen(&self, schema: &Value, value: &Value, into: &mut BTreeSet<String>) {
        if let Some((walk, schema)) = self.follow(schema) {
            return walk.seen(schema, value, into);
        }
        if value.is_string() {
            into.insert(format!("{} {value}", self.name));
        }
        for (field, inner) in Self::fields(schema).filter(|_| value.is_object()) {
            match value.get(field) {
                Some(value) => {
                    into.insert(format!("{}.{field}", self.name));
                    self.seen(inner, value, into);
                }
                None => {
                    into.insert(format!("{}, without {field}", self.name));
                }
            }
        }
        for inner in Self::inside(schema) {
            match value {
                Value::Array(values) => values.iter().for_each(|value| self.seen(inner, value, into)),
                value => self.seen(inner, value, into),
            }
        }
    }
}
