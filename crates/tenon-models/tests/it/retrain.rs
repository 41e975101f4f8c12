//! Drift starts a training: once an incident, also after a crash.

use std::sync::Arc;

use tenon_core::fact::{AuthorizationRefused, DriftDetected, RunStarted};
use tenon_core::id::{IncidentId, OperationId, RandomIds, RunId};
use tenon_core::{Clock, DeploymentName, MonitorName, NewFact, Payload, Principal, Timestamp};
use tenon_ledger::{Subscriber, Subscribers};
use tenon_models::RetrainOnDrift;
use tenon_policy::Guard;

use crate::company::{World, ana, model};

async fn drift(world: &World, retrain: bool) -> DriftDetected {
    let now = world.clock.now();
    let drift = DriftDetected {
        incident: IncidentId::new(&RandomIds, now),
        monitor: MonitorName::new("late_job").unwrap(),
        deployment: DeploymentName::new("late_job").unwrap(),
        model: model(),
        version: "late_job@1".parse().unwrap(),
        window: (Timestamp::from_micros(0), now),
        features: Vec::new(),
        retrain,
        sentence: "it has moved".to_owned(),
    };
    world.ledger.append(vec![NewFact::new(Principal::service("watch"), None, &drift).unwrap()]).await.unwrap();
    drift
}

fn retrain(world: &World) -> RetrainOnDrift {
    RetrainOnDrift::new(world.models.clone(), Guard::new(world.catalog.clone(), world.ledger.clone()))
}

fn operation(drift: &DriftDetected, attempt: u32) -> OperationId {
    OperationId::derive(&["retrain", &drift.incident.to_string(), &attempt.to_string()])
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_trains_one_version_however_often_it_is_told() {
    let world = World::new().await;
    world.models.train(&ana(), world.request(None)).await.unwrap();
    let drift = drift(&world, true).await;
    let retrain = Arc::new(retrain(&world));
    Subscribers::new(world.ledger.clone(), vec![retrain.clone()]).run_until_idle().await.unwrap();
    let versions = world.models.versions(&model()).unwrap();
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[1].run.cause, format!("drift of late_job (incident {})", drift.incident));
    assert!(versions[1].judged.is_some());
    let told = world.ledger.newest(&["drift.detected"], 1).unwrap().remove(0);
    retrain.handle(&told).await.unwrap();
    assert_eq!(world.models.versions(&model()).unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_a_crash_ended_is_marked_and_done_anew() {
    let world = World::new().await;
    world.models.train(&ana(), world.request(None)).await.unwrap();
    let drift = drift(&world, true).await;
    // What a crash right after the start of the first attempt leaves.
    let first = world.models.versions(&model()).unwrap().remove(0).run;
    let run = RunId::new(&RandomIds, world.clock.now());
    let started = RunStarted { run, ..first };
    let fact = NewFact::new(Principal::service("retrain"), None, &started).unwrap().sealing(operation(&drift, 1));
    world.ledger.append(vec![fact]).await.unwrap();
    let told = world.ledger.newest(&["drift.detected"], 1).unwrap().remove(0);
    retrain(&world).handle(&told).await.unwrap();
    let runs = world.models.runs(Some(&model())).unwrap();
    let crashed = runs.iter().find(|of| of.started.run == run).unwrap();
    assert_eq!(crashed.failed.as_deref(), Some("the program ended before the training did"));
    assert_eq!(world.models.versions(&model()).unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervised_pod_is_asked_first() {
    let world = World::with(|text| text.replace("autonomy = \"automatic\"", "autonomy = \"supervised\"")).await;
    drift(&world, true).await;
    let told = world.ledger.newest(&["drift.detected"], 1).unwrap().remove(0);
    retrain(&world).handle(&told).await.unwrap();
    assert!(world.models.versions(&model()).unwrap().is_empty());
    let refused = world.ledger.newest(&[AuthorizationRefused::KIND], 10).unwrap();
    let [refused] = &refused[..] else { panic!("{} refusals", refused.len()) };
    let refused: AuthorizationRefused = refused.fact.payload().unwrap();
    assert_eq!((&*refused.action, &*refused.policies[0]), ("model.train", "supervised-pods-start-themselves"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_ends_open_runs_and_judges_what_nobody_judged() {
    let world = World::new().await;
    let version = world.models.train(&ana(), world.request(None)).await.unwrap();
    let record = world.models.version(&version).unwrap();
    assert_eq!(world.models.sweep(&Principal::service("sweep")).await.unwrap(), (0, 0));
    let run = RunId::new(&RandomIds, world.clock.now());
    let open = RunStarted { run, ..record.run };
    // A version that was registered and not judged, by a run that has ended, and a run that has not.
    let mut registered = record.registered;
    registered.version.version = 2;
    let by = Principal::service("retrain");
    let facts = vec![NewFact::new(by.clone(), None, &open).unwrap(), NewFact::new(by, None, &registered).unwrap()];
    world.ledger.append(facts).await.unwrap();
    assert_eq!(world.models.sweep(&Principal::service("sweep")).await.unwrap(), (1, 1));
    let swept = world.models.version(&registered.version).unwrap();
    assert!(swept.judged.unwrap().approved && swept.gates.len() == 6);
    assert!(world.models.runs(None).unwrap().iter().all(|run| !run.is_open()));
}
