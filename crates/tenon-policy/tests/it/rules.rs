//! Who may do what to what, and which policy says so: a table for the built-in policies, one for the framework.

use std::sync::Arc;

use tenon_core::spec::{ResourceKind, SpecFile, SpecSet};
use tenon_policy::{Action, Declared, Policies, Request, Rulebook, Target};

use crate::company::{FRAMEWORK, rulebook, specs, what, who};

fn action(name: &str) -> Action {
    *Action::ALL.iter().find(|action| action.as_str() == name).unwrap()
}

fn request(principal: &str, act: &str, target: &str) -> Request {
    Request::new(who(principal), action(act), what(target))
}

/// Each row: who, what, to what, and the answer: `+` or `-` and the policies that decided.
#[track_caller]
fn check(rules: &Rulebook, table: &str) {
    let rows = table.lines().map(str::trim).filter(|row| !row.is_empty());
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let answer = rules.judge(&request(cells[0], cells[1], cells[2])).unwrap();
        let sign = if answer.allowed { "+" } else { "-" };
        let told = format!("{sign} {}", answer.policies.join(" "));
        assert_eq!(told.trim(), cells[3], "{row}\n{}", answer.sentence);
    }
}

#[test]
fn what_holds_where_the_policies_folder_says_nothing() {
    check(
        &rulebook(specs(&[])),
        r"
        ben          | model.train       | model arrivals_model      | + members-act
        ben          | dataset.write     | dataset arrivals_rows     | + members-act
        ben          | rollout.stop      | deployment arrivals_live  | + members-act
        ben          | deployment.decide | deployment arrivals_live  | + members-act
        ben          | company.apply     | model arrivals_model      | + members-act
        ben          | model.train       | model hiring_model        | -
        ben          | deployment.decide | deployment hiring_live    | -
        ben          | company.apply     | dataset hiring_rows       | -
        ana          | company.apply     | dataset hiring_rows       | -

        ben          | model.read        | model hiring_model        | + everyone-known-reads
        ben          | company.read      | company acme              | + everyone-known-reads
        ben          | company.read      | company company           | + everyone-known-reads
        ben          | ledger.export     | ledger                    | + everyone-known-reads
        ida          | dataset.query     | dataset arrivals_rows     | + everyone-known-reads
        ben          | dataset.query     | dataset hiring_rows       | -
        ben          | decision.read     | deployment hiring_live    | -
        ida          | dataset.query     | dataset hiring_rows       | + members-act
        ida          | decision.read     | deployment hiring_live    | + members-act
        eve          | company.read      | company acme              | -
        eve          | ledger.read       | ledger                    | -
        eve          | dataset.query     | dataset arrivals_rows     | -
        ben          | dataset.query     | dataset of_nobody         | -

        aud          | model.reproduce   | model arrivals_model      | + everyone-known-reads members-act
        aud          | model.train       | model arrivals_model      | - auditors-only-read
        aud          | deployment.decide | deployment arrivals_live  | - auditors-only-read
        aud          | company.apply     | pod arrivals              | - auditors-only-read

        ana          | company.apply     | company acme              | + leads-act-for-the-company
        ana          | company.apply     | policy framework          | + leads-act-for-the-company
        ana          | company.apply     | budgets budgets           | + leads-act-for-the-company
        ben          | company.apply     | budgets budgets           | -
        ana          | ledger.rebuild    | ledger                    | + leads-act-for-the-company
        ana          | company.apply     | pod arrivals              | + leads-choose-members
        ben          | company.apply     | pod arrivals              | -
        dan          | company.apply     | pod drifters              | + leads-choose-members
        ana          | company.apply     | pod drifters              | -

        ben          | token.create      | token t of ben            | + own-tokens
        ben          | token.create      | token t of ana            | -
        eve          | token.create      | token t of eve            | -
        ana          | token.create      | token t of service:shop   | + leads-keep-service-tokens
        ben          | token.create      | token t of service:shop   | -
        ana          | token.create      | token t of service:rollout | - no-token-for-the-program
        ana          | token.revoke      | token t of ben            | + leads-revoke-any-token

        service:monitor | monitor.measure   | monitor hiring_watch      | + monitor-measures
        service:monitor | model.train       | model arrivals_model      | -
        service:retrain | model.train       | model arrivals_model      | + retrain-trains
        service:retrain | model.train       | model hiring_model        | - supervised-pods-start-themselves
        service:retrain | rollout.start     | deployment arrivals_live  | -
        service:rollout | rollout.start     | deployment arrivals_live  | + rollout-moves-traffic
        service:rollout | rollout.start     | deployment hiring_live    | - supervised-pods-start-themselves
        service:rollout | rollout.stop      | deployment hiring_live    | + rollout-moves-traffic
        service:rollout | dataset.write     | dataset arrivals_rows     | -
        service:replay  | dataset.write     | dataset arrivals_rows     | + replay-brings-the-past
        service:compact | dataset.compact   | dataset arrivals_rows     | + compact-compacts
        service:compact | dataset.write     | dataset arrivals_rows     | -
        service:compact | dataset.vacuum    | dataset arrivals_rows     | -
        ben          | dataset.restore   | dataset arrivals_rows     | + members-act
        ben          | branch.merge      | dataset arrivals_rows     | + members-act
        ida          | dataset.vacuum    | dataset arrivals_rows     | -
        aud          | quarantine.release| dataset arrivals_rows     | - auditors-only-read
        service:replay  | deployment.decide | deployment arrivals_live  | + replay-brings-the-past
        service:replay  | company.apply     | company acme              | -
        service:shop    | deployment.decide | deployment arrivals_live  | -
        service:shop    | company.read      | company acme              | -
        ",
    );
}

#[test]
fn what_the_framework_adds() {
    let rules = rulebook(specs(&[("framework.cedar", FRAMEWORK)]));
    check(
        &rules,
        r"
        ana          | company.apply     | dataset hiring_rows       | - only-the-owning-pod
        ana          | model.train       | model hiring_model        | - only-the-owning-pod
        ana          | model.train       | model arrivals_model      | + members-act
        ana          | model.read        | model hiring_model        | + everyone-known-reads
        ana          | company.apply     | company acme              | + leads-act-for-the-company
        ida          | rollout.start     | deployment hiring_live    | - fairness-gate
        ida          | rollout.stop      | deployment hiring_live    | + members-act
        ben          | rollout.start     | deployment arrivals_live  | + members-act
        ana          | gate.waive        | model arrivals_model      | - nobody-waives-alone
        service:rollout | rollout.advance | deployment hiring_live   | - fairness-gate
        ",
    );
    let allowed = |request: &Request| rules.judge(request).unwrap().allowed;
    let start = request("ida", "rollout.start", "deployment hiring_live");
    assert!(allowed(&start.clone().candidate(true, true)));
    assert!(!allowed(&start.candidate(false, true)), "approved by other gates is not enough");
    let waive = |approved_by: Option<&str>| {
        request("ana", "gate.waive", "model arrivals_model").waiving("quality", approved_by.map(who))
    };
    assert!(allowed(&waive(Some("ben"))));
    for alone in [None, Some("ana"), Some("eve"), Some("service:rollout")] {
        assert!(!allowed(&waive(alone)), "{alone:?}");
    }
}

#[test]
fn there_is_one_company_whatever_it_is_called() {
    let policy = "@id(\"closed\")\n@says(\"s\")\nforbid (principal, action == Tenon::Action::\"company.apply\", \
        resource == Tenon::Company::\"acme\");";
    check(
        &rulebook(specs(&[("closed.cedar", policy)])),
        r"
        ana | company.apply | company acme    | - closed
        ana | company.apply | company company | - closed
        ana | company.apply | budgets budgets | + leads-act-for-the-company
        ",
    );
}

#[test]
fn what_a_company_permits_is_permitted() {
    let shop = "@id(\"shop-asks\")\n@says(\"the shop asks when flights will arrive\")\n\
        permit (principal == Tenon::Service::\"shop\", action == Tenon::Action::\"deployment.decide\", \
        resource == Tenon::Deployment::\"arrivals_live\");";
    check(
        &rulebook(specs(&[("shop.cedar", shop)])),
        r"
        service:shop | deployment.decide | deployment arrivals_live | + shop-asks
        service:shop | deployment.decide | deployment hiring_live   | -
        service:shop | deployment.infer  | deployment arrivals_live | -
        ",
    );
}

#[test]
fn answers_are_told_in_plain_words() {
    let rules = rulebook(specs(&[("framework.cedar", FRAMEWORK)]));
    let questions = [
        request("ben", "model.train", "model arrivals_model"),
        request("ana", "model.train", "model hiring_model"),
        request("ida", "rollout.start", "deployment hiring_live"),
        request("ben", "deployment.decide", "deployment hiring_live"),
        request("eve", "company.read", "company acme"),
        request("service:shop", "deployment.decide", "deployment arrivals_live"),
        request("service:rollout", "gate.waive", "model arrivals_model"),
        request("ana", "model.train", "dataset arrivals_rows"),
    ];
    let told: Vec<String> = questions.iter().map(|question| rules.judge(question).unwrap().sentence).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    person:ben may train model arrivals_model: members of a pod act on what the pod owns (policy `members-act`)
    person:ana may not train model hiring_model: only the pod that owns a resource changes it (policy `only-the-owning-pod`)
    person:ida may not start a rollout of deployment hiring_live: a deployment that decides about people needs a version that passed the fairness gate (policy `fairness-gate`)
    person:ben may not ask for a decision of deployment hiring_live: no policy permits it; it belongs to pod hiring, and ben is engineer of arrivals
    person:eve may not look at company acme: no policy permits it; it belongs to no pod, and eve is in no pod
    service:shop may not ask for a decision of deployment arrivals_live: no policy permits it; it belongs to pod arrivals
    service:rollout may not waive a gate of model arrivals_model: that is for people alone
    person:ana may not train dataset arrivals_rows: `model.train` is nothing that is done to it
    ");
}

fn declared(pod: &str, about_people: bool) -> Declared {
    Declared { pod: Some(pod.parse().unwrap()), about_people, personal: false }
}

#[test]
fn what_is_only_declared_is_judged_by_where_it_is_declared() {
    let rules = rulebook(specs(&[("framework.cedar", FRAMEWORK)]));
    let apply = |principal: &str, target: &str, pod: &str| {
        let request = request(principal, "company.apply", target).declared(declared(pod, false));
        let answer = rules.judge(&request).unwrap();
        format!("{} {}", if answer.allowed { "+" } else { "-" }, answer.policies.join(" "))
    };
    assert_eq!(apply("ben", "dataset brand_new", "arrivals"), "+ members-act");
    assert_eq!(apply("ben", "dataset brand_new", "hiring"), "- only-the-owning-pod");
    assert_eq!(apply("ana", "pod founded", "founded"), "+ leads-act-for-the-company");
    assert_eq!(apply("ana", "dataset brand_new", "founded"), "+ leads-act-for-the-company");
    assert_eq!(apply("ben", "pod founded", "founded"), "- ");
    // A move needs both pods: neither may take it, and neither may foist it on the other.
    assert_eq!(apply("ben", "dataset arrivals_rows", "hiring"), "- only-the-owning-pod");
    assert_eq!(apply("ida", "dataset arrivals_rows", "hiring"), "- only-the-owning-pod");
}

#[test]
fn a_change_cannot_talk_itself_out_of_being_about_people() {
    let policy = "@id(\"careful\")\n@says(\"s\")\nforbid (principal, action == Tenon::Action::\"company.apply\", \
        resource is Tenon::Deployment) when { resource.about_people };";
    let rules = rulebook(specs(&[("p.cedar", policy)]));
    let allowed = |target: &str, principal: &str, change: Option<Declared>| {
        let request = Request { declared: change, ..request(principal, "company.apply", target) };
        rules.judge(&request).unwrap().allowed
    };
    assert!(!allowed("deployment hiring_live", "hal", Some(declared("hiring", false))), "it still is about people");
    assert!(!allowed("deployment arrivals_live", "ana", Some(declared("arrivals", true))), "it will be");
    assert!(allowed("deployment arrivals_live", "ana", Some(declared("arrivals", false))));
    assert!(!allowed("deployment of_nobody", "ana", None), "what is not known may be about people");
}

#[test]
fn whoever_comes_first_founds_the_company() {
    let files = [SpecFile { path: "company.toml".to_owned(), text: "name = \"acme\"\n".to_owned() }];
    let rules = rulebook(SpecSet::read(&files).unwrap());
    check(
        &rules,
        r"
        ana            | company.apply | company acme       | + founders-begin
        ana            | company.apply | pod arrivals       | + founders-begin
        ana            | company.read  | company acme       | + founders-begin
        service:shop   | company.apply | company acme       | -
        service:replay | dataset.write | dataset flights    | -
        ",
    );
}

#[test]
fn an_answer_does_not_depend_on_what_was_asked_before() {
    let rules = rulebook(specs(&[("framework.cedar", FRAMEWORK)]));
    let mut questions: Vec<Request> = Vec::new();
    for act in Action::ALL {
        for principal in ["ana", "ida", "aud", "eve", "service:replay"] {
            for target in ["model hiring_model", "deployment arrivals_live", "ledger", "dataset hiring_rows"] {
                questions.push(Request::new(who(principal), act, what(target)));
            }
        }
    }
    let first: Vec<_> = questions.iter().map(|question| rules.judge(question).unwrap()).collect();
    let fresh = rulebook(specs(&[("framework.cedar", FRAMEWORK)]));
    for (question, before) in questions.iter().zip(&first).rev() {
        assert_eq!(rules.judge(question).unwrap(), *before);
        assert_eq!(fresh.judge(question).unwrap(), *before);
    }
}

#[test]
fn a_policy_that_cannot_be_evaluated_refuses() {
    // Fits the schema, and overflows when it is evaluated: the forbid must not silently fall away.
    let policy = "@id(\"broken\")\n@says(\"s\")\nforbid (principal, action == Tenon::Action::\"model.train\", resource) \
        when { 9223372036854775807 + 1 > 0 };";
    let specs = specs(&[("broken.cedar", policy)]);
    let policies = Arc::new(Policies::parse(&specs.policies).unwrap());
    let rules = Rulebook::new(Arc::new(specs), policies).unwrap();
    let answer = rules.judge(&request("ana", "model.train", "model arrivals_model")).unwrap();
    assert!(!answer.allowed);
    assert!(answer.sentence.contains("a policy could not be evaluated"), "{}", answer.sentence);
}

#[test]
fn strange_names_are_only_names() {
    let rules = rulebook(specs(&[]));
    for name in ["\"", "\\", "a\"; permit(principal, action, resource);", "", "\u{0}", &"x".repeat(10_000)] {
        let read = Request::new(who(name), Action::CompanyRead, Target::resource(ResourceKind::Model, name));
        assert!(!rules.judge(&read).unwrap().allowed, "{name}");
    }
}

#[test]
fn a_policy_about_writing_is_about_every_part_of_it() {
    // As a company may have written them before the parts had names of their own: nobody loses a right, or gains one.
    let before = "@id(\"etl-writes\")\n@says(\"s\")\npermit (principal == Tenon::Service::\"etl\", \
        action == Tenon::Action::\"dataset.write\", resource == Tenon::Dataset::\"arrivals_rows\");\n\
        @id(\"frozen\")\n@says(\"s\")\nforbid (principal, action == Tenon::Action::\"dataset.write\", \
        resource == Tenon::Dataset::\"hiring_rows\");";
    // As one may write them now.
    let now = "@id(\"clerk-releases\")\n@says(\"s\")\npermit (principal == Tenon::Service::\"clerk\", \
        action == Tenon::Action::\"quarantine.release\", resource);\n\
        @id(\"leads-restore\")\n@says(\"s\")\nforbid (principal, action == Tenon::Action::\"dataset.restore\", resource) \
        unless { principal is Tenon::Person && principal.roles.contains(\"lead\") };";
    let parts = Action::ALL.iter().filter(|action| action.part_of() == Some(Action::DatasetWrite));
    let told = |rules: &Rulebook, who: &str, act: &str, dataset: &str| {
        let answer = rules.judge(&request(who, act, dataset)).unwrap();
        format!("{} {}", if answer.allowed { "+" } else { "-" }, answer.policies.join(" "))
    };
    let rules = rulebook(specs(&[("before.cedar", before)]));
    for part in parts.clone() {
        assert_eq!(told(&rules, "service:etl", part.as_str(), "dataset arrivals_rows"), "+ etl-writes", "{part}");
        assert_eq!(told(&rules, "service:etl", part.as_str(), "dataset hiring_rows"), "- frozen", "{part}");
        assert_eq!(told(&rules, "hal", part.as_str(), "dataset hiring_rows"), "- frozen", "{part}");
    }
    assert_eq!(parts.count(), 9);
    let rules = rulebook(specs(&[("before.cedar", before), ("now.cedar", now)]));
    check(
        &rules,
        r"
        service:clerk | quarantine.release | dataset arrivals_rows | + clerk-releases
        service:clerk | quarantine.discard | dataset arrivals_rows | -
        service:clerk | dataset.write      | dataset arrivals_rows | -
        service:clerk | quarantine.release | dataset hiring_rows   | - frozen
        service:etl   | dataset.restore    | dataset arrivals_rows | - leads-restore
        service:etl   | dataset.vacuum     | dataset arrivals_rows | + etl-writes
        ben           | dataset.restore    | dataset arrivals_rows | - leads-restore
        ana           | dataset.restore    | dataset arrivals_rows | + members-act
        ben           | dataset.write      | dataset arrivals_rows | + members-act
        ",
    );
}
