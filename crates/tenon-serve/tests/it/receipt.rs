//! A receipt proves what it says, and nothing else.

use serde_json::json;
use tenon_core::{Digest, Span};
use tenon_serve::{Receipt, ReceiptFault, ServeError};

use crate::{World, deployment, request};

async fn receipt(world: &World) -> Receipt {
    for tail in ["N1", "N2", "N3", "N4", "N5"] {
        world.decide(tail).await;
        world.pass(Span::from_micros(1_000));
    }
    let id = world.decide("N7").await.id;
    for tail in ["N6", "N8"] {
        world.decide(tail).await;
    }
    world.serving.why(id).await.unwrap()
}

#[tokio::test]
async fn a_receipt_verifies_from_the_row_to_the_checkpoint() {
    let world = World::deployed().await;
    let found = receipt(&world).await;
    found.verify(&world.ledger.verifier_key()).unwrap();
    assert_eq!((found.proof.rows, found.reasons.len()), (8, 1));
    assert_eq!(found.reasons[0].value, Some(40.0));
    assert_eq!(found.model.registered.version, found.version);
    assert_eq!(found.entities["tailnum"], json!("N7"));
    assert!(found.outcome.is_none() && found.usd > 0.0);
}

#[tokio::test]
async fn a_receipt_that_was_changed_does_not_verify() {
    let world = World::deployed().await;
    let (good, key) = (receipt(&world).await, world.ledger.verifier_key());
    let spoilt = |spoil: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        spoil(&mut receipt);
        receipt.verify(&key).unwrap_err()
    };
    let other_row = |fault: &ReceiptFault| matches!(fault, ReceiptFault::OtherRow { .. });
    assert!(other_row(&spoilt(&|receipt| receipt.probability = 0.1)));
    assert!(other_row(&spoilt(&|receipt| receipt.inputs[0].value = Some(1.0))));
    assert!(other_row(&spoilt(&|receipt| drop(receipt.entities.insert("tailnum".to_owned(), json!("N8"))))));
    assert!(other_row(&spoilt(&|receipt| receipt.usd = 0.0)));
    let lied = spoilt(&|receipt| receipt.reasons[0].phi += 0.5);
    assert!(matches!(lied, ReceiptFault::DoesNotAddUp { .. }), "{lied}");
    // A row that was changed everywhere in the receipt is not under the root.
    let forged = spoilt(&|receipt| {
        receipt.latency_us += 1;
        let (from, to) =
            (format!("\"latency_us\":{}", receipt.latency_us - 1), format!("\"latency_us\":{}", receipt.latency_us));
        receipt.proof.row = receipt.proof.row.replace(&from, &to);
    });
    assert_eq!(forged, ReceiptFault::NotInBatch);
    let rerooted = spoilt(&|receipt| receipt.proof.fact.body["merkle_root"] = json!(Digest::of("x").to_string()));
    assert_eq!(rerooted, ReceiptFault::NotInBatch);
    let resealed = spoilt(&|receipt| receipt.proof.fact.at = receipt.proof.fact.at + Span::from_micros(1));
    assert!(matches!(resealed, ReceiptFault::NotInLog { .. }), "{resealed}");
    assert!(good.verify("acme+00000000+AAAA").is_err());
}

#[tokio::test]
async fn a_decision_that_is_not_on_record_is_named() {
    let world = World::deployed().await;
    let decision = world.serving.decide(&deployment(), request(json!("N1"))).await.unwrap();
    assert!(world.serving.why(decision.id).await.is_ok(), "also before anybody flushed");
    let stranger = tenon_core::id::DecisionId::from_uuid(tenon_core::id::OperationId::derive(&["x"]).uuid());
    let error = world.serving.why(stranger).await.unwrap_err();
    assert!(matches!(error, ServeError::UnknownDecision { .. }), "{error}");
}
