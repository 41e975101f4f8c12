//! The guard with a ledger: refusals are facts, and what is applied next counts at once.

use std::sync::Arc;

use tenon_company::Catalog;
use tenon_core::Timestamp;
use tenon_core::clock::ManualClock;
use tenon_core::fact::AuthorizationRefused;
use tenon_ledger::{Ledger, LedgerOptions};
use tenon_policy::{Action, Guard, PolicyError, Request, TokensProjection};

use crate::company::{FRAMEWORK, specs, what, who};

pub fn ledger(dir: &std::path::Path) -> (Ledger, Arc<ManualClock>) {
    let clock = ManualClock::at(Timestamp::from_micros(1_357_000_000_000_000));
    let projections: Vec<Arc<dyn tenon_ledger::Projection>> = vec![Arc::new(TokensProjection)];
    let options = LedgerOptions { dir: dir.to_owned(), origin: "acme".to_owned(), clock: clock.clone(), projections };
    (Ledger::create(options).unwrap(), clock)
}

#[tokio::test]
async fn a_refusal_is_a_fact_and_a_permit_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger(dir.path());
    let guard = Guard::new(Catalog::fixed(specs(&[("f.cedar", FRAMEWORK)])), ledger.clone());
    let before = ledger.size().unwrap();
    assert!(
        guard.check(&Request::new(who("ana"), Action::ModelTrain, what("model arrivals_model"))).await.unwrap().allowed
    );
    assert_eq!(ledger.size().unwrap(), before);

    let request = Request::new(who("ana"), Action::ModelTrain, what("model hiring_model"));
    let answer = guard.check(&request).await.unwrap();
    assert!(!answer.allowed);
    let fact = ledger.facts(before..before + 1).unwrap().remove(0).fact;
    assert_eq!((fact.by.to_string(), fact.pod.unwrap().to_string()), ("person:ana".to_owned(), "hiring".to_owned()));
    let refused: AuthorizationRefused = serde_json::from_value(fact.body).unwrap();
    assert_eq!((refused.action.as_str(), refused.resource.as_str()), ("model.train", "model hiring_model"));
    assert_eq!(refused.policies, ["only-the-owning-pod"]);
    assert_eq!(refused.sentence, answer.sentence);

    assert!(!guard.judge(&request).unwrap().allowed);
    assert_eq!(ledger.size().unwrap(), before + 1, "to judge leaves no trace");
}

#[tokio::test]
async fn what_is_applied_next_counts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger(dir.path());
    let catalog = Catalog::fixed(specs(&[]));
    let guard = Guard::new(catalog.clone(), ledger);
    let start = Request::new(who("ida"), Action::RolloutStart, what("deployment hiring_live"));
    assert!(guard.clone().check(&start).await.unwrap().allowed);
    let before = guard.policies().unwrap().digest();
    catalog.replace(specs(&[("f.cedar", FRAMEWORK)]));
    assert!(!guard.check(&start).await.unwrap().allowed);
    assert_ne!(guard.policies().unwrap().digest(), before);

    let mut smaller = specs(&[("f.cedar", FRAMEWORK)]);
    smaller.pods.values_mut().for_each(|pod| pod.members.clear());
    catalog.replace(smaller);
    let read = Request::new(who("ida"), Action::ModelRead, what("model hiring_model"));
    assert!(!guard.check(&read).await.unwrap().allowed, "who has left knows nothing more");

    catalog.replace(specs(&[("f.cedar", "permit (principal")]));
    assert!(matches!(guard.check(&read).await, Err(PolicyError::Unusable(_))), "broken policies permit nothing");
}
