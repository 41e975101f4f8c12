//! What is wrong in a policy file is told with its place, like what is wrong in a TOML file.

use std::collections::BTreeMap;

use tenon_core::spec::{FileFaults, SpecFile};
use tenon_policy::Policies;

use crate::company::FRAMEWORK;

/// Each fault as `file [what it points at] message (hint)`.
fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let map: BTreeMap<String, String> =
        files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    let told = match Policies::parse(&map) {
        Ok(_) => Vec::new(),
        Err(faults) => faults,
    };
    told.into_iter()
        .map(|fault| {
            let at = fault.span.and_then(|span| map.get(&fault.file)?.get(span)).unwrap_or_default();
            let at = at.lines().next().unwrap_or_default();
            let hint = fault.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{} [{at}] {}{hint}", fault.file, fault.message)
        })
        .collect()
}

const HEAD: &str = "@id(\"p\")\n@says(\"s\")\n";

/// One of the faults of this policy is the expected one; the engine may add what follows from it.
#[track_caller]
fn check(policy: &str, expected: &str) {
    let told = faults(&[("p.cedar", &format!("{HEAD}{policy}"))]);
    assert!(told.iter().any(|fault| fault.starts_with(expected)), "{told:#?}");
}

#[test]
fn sound_policies_have_none_and_a_digest_of_their_own() {
    let example = include_str!("../../../../examples/acme/policies/framework.cedar");
    for sound in [FRAMEWORK, example] {
        assert_eq!(faults(&[("framework.cedar", sound)]), [""; 0]);
    }
    let digest =
        |file: &str, text: &str| Policies::parse(&[(file.to_owned(), text.to_owned())].into()).unwrap().digest();
    assert_eq!(digest("f.cedar", FRAMEWORK), digest("f.cedar", FRAMEWORK));
    assert_ne!(digest("f.cedar", FRAMEWORK), digest("f.cedar", &FRAMEWORK.replace("two people", "2 people")));
    assert_ne!(digest("f.cedar", FRAMEWORK), Policies::parse(&BTreeMap::new()).unwrap().digest());
}

#[test]
fn every_built_in_policy_says_itself() {
    let policies = Policies::parse(&BTreeMap::new()).unwrap();
    assert!(policies.list().count() >= 12);
    for (id, says) in policies.list() {
        assert!(!says.ends_with('.') && says.len() > 10, "{id}: {says}");
    }
}

#[test]
fn malformed_cedar() {
    check("permit (principal, action, resource)", "p.cedar [] unexpected end of input");
}

#[test]
fn a_policy_without_a_name_or_words() {
    let told = faults(&[("a.cedar", "permit (principal, action == Tenon::Action::\"model.read\", resource);")]);
    insta::assert_snapshot!(told.join("\n"), @r#"
    a.cedar [permit (principal, action == Tenon::Action::"model.read", resource);] the policy has no `@id` (write `@id("a-short-name")` before it; refusals name it)
    a.cedar [permit (principal, action == Tenon::Action::"model.read", resource);] the policy has no `@says` (write `@says("what it means, in plain words")` before it; refusals say it)
    "#);
}

#[test]
fn an_id_is_used_once() {
    let policy = format!("{HEAD}permit (principal, action == Tenon::Action::\"model.read\", resource);");
    let built_in = policy.replace("\"p\"", "\"members-act\"");
    let told = faults(&[("a.cedar", &policy), ("b.cedar", &policy), ("c.cedar", &built_in)]);
    insta::assert_snapshot!(told.join("\n"), @r#"
    b.cedar [@id("p")] the id `p` is taken by a policy in a.cedar (choose another id)
    c.cedar [@id("members-act")] the id `members-act` is taken by a policy in (built in) base.cedar (choose another id)
    "#);
}

#[test]
fn words_that_the_schema_does_not_know() {
    check(
        "permit (principal, action == Tenon::Action::\"model.trian\", resource);",
        "p.cedar [Tenon::Action::\"model.trian\"] unrecognized action",
    );
    check(
        "permit (principal is Tenon::Persn, action == Tenon::Action::\"model.train\", resource);",
        "p.cedar [Tenon::Persn] unrecognized entity type `Tenon::Persn` (did you mean `Tenon::Person`?)",
    );
    check(
        "forbid (principal, action == Tenon::Action::\"rollout.start\", resource) when { resource.about_peple };",
        "p.cedar [resource.about_peple] attribute `about_peple` on entity type `Tenon::Deployment` not found \
         (did you mean `about_people`?)",
    );
}

#[test]
fn an_attribute_that_may_be_absent() {
    check(
        "forbid (principal, action == Tenon::Action::\"model.train\", resource) unless { principal in resource.pod };",
        "p.cedar [resource.pod] unable to guarantee safety of access to optional attribute `pod` on entity type \
         `Tenon::Model`",
    );
}

#[test]
fn a_policy_that_can_never_apply() {
    check(
        "permit (principal, action == Tenon::Action::\"model.train\", resource is Tenon::Dataset);",
        "p.cedar [@id(\"p\")] policy is impossible",
    );
}

#[test]
fn a_template() {
    check(
        "permit (principal == ?principal, action == Tenon::Action::\"model.train\", resource);",
        "p.cedar [@id(\"p\")] a policy with `?principal` or `?resource` is a template",
    );
}

#[test]
fn a_fault_is_shown_at_its_place() {
    let text = format!("{HEAD}permit (principal, action == Tenon::Action::\"model.trian\", resource);");
    let faults = Policies::parse(&[("policies/p.cedar".to_owned(), text.clone())].into()).unwrap_err();
    let files = [SpecFile { path: "policies/p.cedar".to_owned(), text }];
    let mut shown = String::new();
    let located = FileFaults::locate(faults, &files);
    miette::NarratableReportHandler::new().render_report(&mut shown, &located).unwrap();
    assert!(shown.contains("policies/p.cedar") && shown.contains("line 3"), "{shown}");
}
