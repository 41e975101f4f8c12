//! Traffic that moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use tenon_core::fact::{AuthorizationRefused, Payload, TrafficReason};
use tenon_core::spec::SpecSet;
use tenon_core::{Principal, Span};
use tenon_ledger::Subscribers;
use tenon_serve::{DecisionBatch, Outcome, RolloutOnApproval, ServeError, Serving};

use crate::{World, ana, batch, deployment, request, tails, version};

/// Decides about every aircraft and says what became of it: as the model of `World` expects in three of four cases.
async fn live(world: &World, serving: &Serving) -> DecisionBatch {
    let tails = tails(0..400);
    let made = serving.decide_many(&deployment(), &batch(&tails, world.now()), "decided_at", false).await.unwrap();
    world.pass(Span::hours(1));
    let outcome = |(at, id): (usize, &_)| Outcome {
        decision: *id,
        outcome: (at % 2 == 1) == (at % 8 < 6),
        known_at: world.now(),
    };
    let outcomes: Vec<Outcome> = made.ids.iter().enumerate().map(outcome).collect();
    assert_eq!(serving.record_outcomes(&deployment(), &outcomes).await.unwrap().joined, 400);
    made
}

#[tokio::test]
async fn a_rollout_is_refused_for_each_reason() {
    let world = World::deployed().await;
    world.register(2, 1.0, false).await;
    world.register(3, 1.0, true).await;
    world.register(4, 1.0, true).await;
    let says = async |n| world.serving.start_rollout(&ana(), &deployment(), n).await.unwrap_err().to_string();
    assert_eq!(says(1).await, "`late@1` is in charge of `late` already");
    assert_eq!(says(2).await, "`late@2` may not be deployed: it failed the gates `quality`");
    assert!(matches!(world.serving.start_rollout(&ana(), &deployment(), 9).await, Err(ServeError::Models(_))));
    world.serving.start_rollout(&ana(), &deployment(), 3).await.unwrap();
    assert_eq!(says(4).await, "a rollout of `late@3` is under way on `late`; let it end, or roll it back first");
}

#[tokio::test]
async fn a_good_candidate_takes_over_and_a_bad_one_goes_back() {
    let world = World::deployed().await;
    world.register(2, 1.0, true).await;
    world.serving.start_rollout(&ana(), &deployment(), 2).await.unwrap();
    let made = live(&world, &world.serving).await;
    let candidate = made.versions.iter().filter(|version| **version == 2).count();
    assert!((125..250).contains(&candidate), "{candidate} of 400 at 50%");
    assert!(world.serving.advance().await.unwrap().is_empty(), "250 outcomes of the candidate are not known yet");
    live(&world, &world.serving).await;
    let moved = world.serving.advance().await.unwrap();
    assert_eq!(moved[0].reason, TrafficReason::Finished, "{}", moved[0].sentence);
    assert_eq!(world.decide("N1").await.version.version, 2);

    // Sure of the wrong answer.
    world.register(3, -3.0, true).await;
    world.serving.start_rollout(&ana(), &deployment(), 3).await.unwrap();
    live(&world, &world.serving).await;
    let moved = world.serving.advance().await.unwrap();
    assert_eq!(moved[0].reason, TrafficReason::RolledBack);
    assert!(moved[0].sentence.starts_with("late@3 is surely worse than late@2"), "{}", moved[0].sentence);
    let history = world.serving.history(&deployment()).unwrap();
    let reasons: Vec<TrafficReason> = history.iter().map(|period| period.reason).collect();
    let words = serde_json::to_value(&reasons).unwrap();
    assert_eq!(words, json!(["finished", "advanced", "finished", "advanced", "rolled_back"]));
    assert!(history.windows(2).all(|pair| pair[0].until == Some(pair[1].from)));
}

#[tokio::test]
async fn what_is_known_of_a_rollout_survives_a_restart() {
    let world = World::deployed().await;
    world.register(2, -3.0, true).await;
    world.serving.start_rollout(&ana(), &deployment(), 2).await.unwrap();
    live(&world, &world.serving).await;
    world.serving.flush().await.unwrap();
    let again = world.reopen().await;
    let readings = again.guardrails(&deployment()).await.unwrap();
    assert_eq!(readings[0][0].candidate.1 + readings[0][0].champion.1, 400);
    assert_eq!(again.advance().await.unwrap()[0].reason, TrafficReason::RolledBack);
    assert_eq!(again.state(&deployment()).unwrap().champion.unwrap().version, version(1));
}

#[tokio::test]
async fn a_rollback_takes_one_call_and_goes_to_the_version_before() {
    let world = World::deployed().await;
    world.register(2, 1.0, true).await;
    let nothing = world.serving.rollback(&ana(), &deployment(), "why not").await.unwrap_err();
    assert!(matches!(nothing, ServeError::NothingToRollBackTo { .. }));
    world.serving.start_rollout(&ana(), &deployment(), 2).await.unwrap();
    let started = Instant::now();
    let moved = world.serving.rollback(&ana(), &deployment(), "looks odd").await.unwrap();
    assert!(started.elapsed().as_secs_f64() < 1.0);
    assert_eq!(moved.sentence, "late@2 was taken out: looks odd; late@1 answers everything again");
    world.pass(Span::hours(1));
    world.serving.start_rollout(&ana(), &deployment(), 2).await.unwrap();
    live(&world, &world.serving).await;
    live(&world, &world.serving).await;
    world.serving.advance().await.unwrap();
    assert_eq!(world.decide("N1").await.version.version, 2);
    let moved = world.serving.rollback(&ana(), &deployment(), "").await.unwrap();
    assert_eq!(moved.sentence, "late@2 was taken out; late@1 is back in charge");
    assert_eq!(world.decide("N1").await.version.version, 1);
}

#[tokio::test]
async fn approval_starts_a_rollout_where_the_pod_is_automatic_and_once() {
    let world = World::new("automatic").await;
    let subscriber = Arc::new(RolloutOnApproval::new(world.serving.clone()));
    let run = async || {
        Subscribers::new(world.ledger.clone(), vec![subscriber.clone()]).run_until_idle().await.unwrap();
    };
    world.register(1, 2.0, true).await;
    run().await;
    assert_eq!(world.serving.state(&deployment()).unwrap().champion.unwrap().version, version(1));
    world.register(2, 1.0, false).await;
    run().await;
    assert!(world.serving.state(&deployment()).unwrap().rollout.is_none(), "a version that failed its gates stays out");
    world.register(3, 1.0, true).await;
    run().await;
    world.register(4, 1.5, true).await;
    run().await;
    let running = world.serving.state(&deployment()).unwrap().rollout.unwrap();
    assert_eq!(running.candidate, version(3), "one rollout at a time");
    world.serving.rollback(&ana(), &deployment(), "enough").await.unwrap();
    world.serving.advance().await.unwrap();
    let running = world.serving.state(&deployment()).unwrap().rollout.unwrap();
    assert_eq!(running.candidate, version(4), "what was approved meanwhile comes next");
    run().await;
    world.serving.rollback(&ana(), &deployment(), "enough").await.unwrap();
    world.serving.advance().await.unwrap();
    assert!(world.serving.state(&deployment()).unwrap().rollout.is_none(), "nothing is tried twice by itself");

    let supervised = World::new("supervised").await;
    let subscriber = RolloutOnApproval::new(supervised.serving.clone());
    supervised.register(1, 2.0, true).await;
    let subscribers = Subscribers::new(supervised.ledger.clone(), vec![Arc::new(subscriber)]);
    subscribers.run_until_idle().await.unwrap();
    assert!(supervised.serving.state(&deployment()).unwrap().champion.is_none(), "a person starts it");
    supervised.serving.advance().await.unwrap();
    let refusals = supervised.ledger.newest(&[AuthorizationRefused::KIND], 10).unwrap();
    let [refused] = &refusals[..] else { panic!("{} refusals", refusals.len()) };
    let refused: AuthorizationRefused = refused.fact.payload().unwrap();
    assert_eq!(refused.policies, ["supervised-pods-start-themselves"], "said once, however often it is due");
}

#[tokio::test]
async fn the_program_starts_no_rollout_that_the_policies_refuse_and_says_so_once() {
    let world = World::new("automatic").await;
    let mut specs = SpecSet::clone(&world.catalog.specs());
    let framework = "@id(\"people-need-fairness\") @says(\"it decides about people\")\n\
                     forbid (principal, action == Tenon::Action::\"rollout.start\", resource is Tenon::Deployment)\n\
                     when { !context.fairness_gate_passed };";
    specs.policies.insert("policies/framework.cedar".to_owned(), framework.to_owned());
    world.catalog.replace(specs);
    world.register(1, 2.0, true).await;
    let subscriber = Arc::new(RolloutOnApproval::new(world.serving.clone()));
    Subscribers::new(world.ledger.clone(), vec![subscriber]).run_until_idle().await.unwrap();
    world.serving.advance().await.unwrap();
    assert!(world.serving.state(&deployment()).unwrap().champion.is_none());
    let refusals = world.ledger.newest(&[AuthorizationRefused::KIND], 10).unwrap();
    assert_eq!(refusals.len(), 1, "once, however often it is due");
    let refused: AuthorizationRefused = refusals[0].fact.payload().unwrap();
    assert_eq!((refused.action.as_str(), refused.policies[0].as_str()), ("rollout.start", "people-need-fairness"));
    assert_eq!(refused.principal, Principal::service("rollout"));

    let mut specs = SpecSet::clone(&world.catalog.specs());
    specs.policies.clear();
    world.catalog.replace(specs);
    world.serving.advance().await.unwrap();
    assert_eq!(world.serving.state(&deployment()).unwrap().champion.unwrap().version, version(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_traffic_moves() {
    let world = World::deployed().await;
    world.register(2, 1.0, true).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (serving, stop) = (world.serving.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut made, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let request = request(json!(format!("N{}", (made + caller) % 100)));
                    match serving.decide(&deployment(), request).await {
                        Ok(_) => made += 1,
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                (made, failed)
            })
        })
        .collect();
    for _ in 0..5 {
        world.pass(Span::hours(1));
        world.serving.start_rollout(&ana(), &deployment(), 2).await.unwrap();
        world.serving.flush().await.unwrap();
        world.serving.rollback(&ana(), &deployment(), "drill").await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut made = 0;
    for caller in callers {
        let (of_caller, failed) = caller.await.unwrap();
        assert_eq!(failed, Vec::<String>::new());
        made += of_caller;
    }
    world.serving.flush().await.unwrap();
    assert_eq!(world.count("decisions_late").await, i64::from(made));
    assert!(made > 0);
}
