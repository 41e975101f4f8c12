//! Requests and answers.

use serde_json::json;
use tenon_core::Span;
use tenon_onnx::{Tensor, TensorData};
use tenon_serve::{DecideRequest, FeatureStatus, InferRequest, Outcome, OutcomesTaken, ServeError, Variant};

use crate::{World, ana, batch, deployment, request, tails};

#[tokio::test]
async fn a_decision_looks_its_features_up_and_explains_itself() {
    let world = World::deployed().await;
    let request = DecideRequest { explain: true, ..request(json!("N7")) };
    let decision = world.serving.decide(&deployment(), request).await.unwrap();
    assert!(decision.decision && (decision.probability - 1.0 / (1.0 + (-2.25_f64).exp())).abs() < 1e-6);
    assert_eq!((decision.variant, decision.version.version, decision.at), (Variant::Champion, 1, world.now()));
    let values: Vec<Option<f32>> = decision.features.iter().map(|feature| feature.value).collect();
    assert_eq!(values, [Some(40.0), Some(40.0), Some(1.0)]);
    assert!(decision.features.iter().all(|feature| feature.known_at.is_some_and(|at| at < decision.at)));
    let phi = decision.phi.unwrap();
    let margin = decision.base.unwrap() + phi.iter().sum::<f64>();
    assert!((margin - 2.25).abs() < 1e-6, "{margin}");
    assert_eq!(decision.reasons.len(), 1);
    assert_eq!(
        decision.reasons[0].sentence,
        "Delay of the last landing (`last_delay`) is 40 minutes, which multiplies the odds by 11.02"
    );
    assert!(decision.usd > 0.0 && decision.latency_us > 0);
}

#[tokio::test]
async fn what_is_not_known_falls_back_or_is_missing_and_is_marked() {
    let world = World::deployed().await;
    for stranger in [json!("N999"), json!(null)] {
        let decision = world.serving.decide(&deployment(), request(stranger)).await.unwrap();
        let status = |name: &str| decision.features.iter().find(|f| &*f.name == name).unwrap();
        assert_eq!(status("last_delay").status, FeatureStatus::Missing);
        assert_eq!((status("mean_delay").status, status("mean_delay").value), (FeatureStatus::Fallback, Some(5.0)));
        assert!(!decision.decision && decision.reasons.is_empty() && decision.base.is_none());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let world = World::new("supervised").await;
    let says = async |deployment: &str, request: DecideRequest| {
        let error = world.serving.decide(&deployment.parse().unwrap(), request).await.unwrap_err();
        error.to_string()
    };
    assert_eq!(says("lat", request(json!("N1"))).await, "there is no deployment `lat`; there is: `late`");
    assert_eq!(
        says("late", request(json!("N1"))).await,
        "nothing is deployed as `late` yet: start a rollout of an approved version of `late`"
    );
    world.register(1, 2.0, true).await;
    world.serving.start_rollout(&ana(), &deployment(), 1).await.unwrap();
    assert_eq!(says("late", DecideRequest::default()).await, "the request names no `tailnum`; `late` needs `tailnum`");
    assert_eq!(
        says("late", request(json!(["N1"]))).await,
        "`tailnum` is an array; an entity is named by a string, a whole number or a boolean, or is null"
    );
    let unchanged = batch(&tails(0..2), world.now()).project(&[1]).unwrap();
    let error = world.serving.decide_many(&deployment(), &unchanged, "decided_at", false).await.unwrap_err();
    assert!(matches!(error, ServeError::MissingEntity { .. }), "{error}");
}

#[tokio::test]
async fn a_batch_decides_as_single_requests_do() {
    let world = World::deployed().await;
    let tails = tails(0..30);
    let many = world.serving.decide_many(&deployment(), &batch(&tails, world.now()), "decided_at", true).await.unwrap();
    for (at, tail) in tails.iter().enumerate() {
        let one = world.decide(tail).await;
        assert_eq!((one.probability, one.decision), (many.probabilities[at], many.decisions[at]), "{tail}");
        assert_eq!(one.version.version, many.versions[at]);
    }
    assert_eq!(world.serving.flush().await.unwrap().decisions, 60);
    let (from_batch, single) = (many.ids[7], world.decide("N7").await.id);
    let (from_batch, single) = (world.serving.why(from_batch).await.unwrap(), world.serving.why(single).await.unwrap());
    assert_eq!((from_batch.entities, from_batch.inputs), (single.entities, single.inputs));
}

#[tokio::test]
async fn bare_inference_checks_its_tensors() {
    let world = World::deployed().await;
    world.register(2, 3.0, false).await;
    let rows = Tensor::matrix("features", vec![40.0, 1.0, 1.0, 0.0, 1.0, 1.0], 3).unwrap();
    let request = InferRequest { inputs: vec![rows], outputs: vec!["probabilities".to_owned()] };
    let answer = world.serving.infer("late", None, &request).unwrap();
    assert_eq!((answer.version.version, answer.outputs.len()), (1, 1));
    assert_eq!(answer.outputs[0].shape, [2, 2]);
    let says = |model: &str, version, request: &InferRequest| {
        world.serving.infer(model, version, request).unwrap_err().to_string()
    };
    assert_eq!(says("lat", None, &request), "there is no model `lat`; there is: `late`");
    assert_eq!(says("late", Some(2), &request), "`late` has no version 2");
    let narrow = Tensor { name: "features".to_owned(), shape: vec![1, 2], data: TensorData::F32(vec![1.0, 2.0]) };
    assert_eq!(
        says("late", None, &InferRequest { inputs: vec![narrow], outputs: Vec::new() }),
        "the input `features` has the shape [1, 2], the model takes [-1, 3] (-1: any)"
    );
    let metadata = world.serving.metadata("late", None).unwrap();
    assert_eq!((metadata.versions, metadata.inputs[0].shape.clone()), (vec![1], vec![-1, 3]));
    assert_eq!(metadata.feature_names, ["last_delay", "mean_delay", "landings"]);
    assert!(world.serving.ready("late", Some(1)).unwrap() && !world.serving.ready("late", Some(2)).unwrap());
    assert!(world.serving.ready("x", None).is_err());
}

#[tokio::test]
async fn outcomes_join_once_also_after_a_restart() {
    let world = World::deployed().await;
    let (first, second) = (world.decide("N1").await.id, world.decide("N2").await.id);
    let outcome = |decision, outcome| Outcome { decision, outcome, known_at: world.now() };
    let taken = |joined, ignored| OutcomesTaken { joined, ignored };
    let stranger = tenon_core::id::DecisionId::from_uuid(first.uuid());
    let both = [outcome(first, true), outcome(stranger, false)];
    assert_eq!(world.serving.record_outcomes(&deployment(), &both).await.unwrap(), taken(1, 1));
    world.serving.flush().await.unwrap();
    world.pass(Span::hours(1));
    let again = world.reopen().await;
    let all = [outcome(first, true), outcome(second, false)];
    assert_eq!(again.record_outcomes(&deployment(), &all).await.unwrap(), taken(1, 1));
    assert_eq!(again.record_outcomes(&deployment(), &all).await.unwrap(), taken(0, 2));
    again.flush().await.unwrap();
    assert_eq!((world.count("decisions_late").await, world.count("outcomes_late").await), (2, 2));
    assert_eq!(again.why(second).await.unwrap().outcome.map(|outcome| outcome.outcome), Some(false));
    let recorded = world.ledger.newest(&["outcomes.recorded"], 9).unwrap();
    assert_eq!(recorded[1].fact.body["ignored"], json!(1));
}
