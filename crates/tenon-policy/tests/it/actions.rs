//! The golden list of actions: what can be done to what, and in which group.

use std::collections::BTreeSet;

use cedar_policy::{EntityUid, Schema};
use tenon_policy::{Action, Policies};

fn schema() -> Schema {
    Schema::from_cedarschema_str(Policies::SCHEMA).unwrap().0
}

fn action(name: &str) -> EntityUid {
    format!("Tenon::Action::\"{name}\"").parse().unwrap()
}

#[test]
fn the_schema_knows_every_action_and_no_other() {
    let groups = ["read", "change", "use"];
    let declared: BTreeSet<String> = schema().actions().map(|uid| uid.id().unescaped().to_owned()).collect();
    let known: BTreeSet<String> =
        Action::ALL.iter().map(ToString::to_string).chain(groups.map(str::to_owned)).collect();
    assert_eq!(declared, known);
    let phrases: BTreeSet<&str> = Action::ALL.iter().map(|action| action.phrase()).collect();
    assert!(phrases.iter().all(|phrase| !phrase.is_empty()));
}

#[test]
fn the_golden_list() {
    let schema = schema();
    let entities = schema.action_entities().unwrap();
    let line = |known: &Action| {
        let uid = action(known.as_str());
        let group = ["read", "change", "use"].into_iter().find(|group| entities.is_ancestor_of(&action(group), &uid));
        let short = |names: Vec<String>| names.join(" ");
        let mut resources: Vec<String> =
            schema.resources_for_action(&uid).unwrap().map(|name| name.basename().to_owned()).collect();
        resources.sort();
        let mut principals: Vec<String> =
            schema.principals_for_action(&uid).unwrap().map(|name| name.basename().to_owned()).collect();
        principals.sort();
        format!("{known:18} {:6} {:14} {}", group.unwrap_or("-"), short(principals), short(resources))
    };
    let lines: Vec<String> = Action::ALL.iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    company.read       read   Person Service Budgets Company Dataset Deployment FeatureView Model Monitor Pod Policy
    company.apply      change Person Service Budgets Company Dataset Deployment FeatureView Model Monitor Pod Policy
    spec.plan          read   Person Service Budgets Company Dataset Deployment FeatureView Model Monitor Pod Policy
    dataset.read       read   Person Service Dataset
    dataset.query      read   Person Service Dataset
    dataset.write      change Person Service Dataset
    feature.read       read   Person Service FeatureView
    model.read         read   Person Service Model
    model.reproduce    read   Person Service Model
    model.train        change Person Service Model
    gate.waive         change Person         Model
    rollout.start      change Person Service Deployment
    rollout.advance    change Person Service Deployment
    rollout.stop       change Person Service Deployment
    deployment.decide  use    Person Service Deployment
    deployment.infer   use    Person Service Deployment
    decision.read      read   Person Service Deployment
    outcome.record     use    Person Service Deployment
    monitor.measure    change Person Service Monitor
    ledger.read        read   Person Service Ledger
    ledger.export      read   Person Service Ledger
    ledger.rebuild     change Person Service Ledger
    token.create       -      Person         Token
    token.revoke       -      Person         Token
    token.invite       -      Person         Pod
    dataset.tag        change Person Service Dataset
    dataset.restore    change Person Service Dataset
    dataset.replay     change Person Service Dataset
    dataset.compact    change Person Service Dataset
    dataset.vacuum     change Person Service Dataset
    dataset.hold       change Person Service Dataset
    branch.merge       change Person Service Dataset
    quarantine.release change Person Service Dataset
    quarantine.discard change Person Service Dataset
    ");
}
