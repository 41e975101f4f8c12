//! Decisions as lists and over time.

use serde_json::json;
use tenon_core::{Span, Timestamp};
use tenon_serve::{Outcome, ServeError};

use crate::{World, ana, batch, deployment, tails};

#[tokio::test]
async fn decisions_are_listed_newest_first_page_by_page() {
    let world = World::deployed().await;
    let mut made = Vec::new();
    for days in [0, 1, 30, 400] {
        world.pass(Span::days(days));
        made.push(world.decide("N7").await);
    }
    let known = Outcome { decision: made[3].id, outcome: false, known_at: world.now() };
    world.serving.flush().await.unwrap();
    let list = async |before, limit| {
        let listed = world.serving.decisions(&[deployment()], before, limit).await.unwrap();
        listed.into_iter().map(|decision| decision.id).collect::<Vec<_>>()
    };
    let ids: Vec<_> = made.iter().rev().map(|decision| decision.id).collect();
    assert_eq!(list(None, 10).await, ids, "however far apart");
    assert_eq!(list(None, 2).await, ids[..2]);
    assert_eq!(list(Some(ids[1]), 2).await, ids[2..]);
    assert_eq!(list(Some(ids[3]), 2).await, []);

    world.serving.record_outcomes(&deployment(), &[known]).await.unwrap();
    world.serving.flush().await.unwrap();
    let listed = world.serving.decisions(&[deployment()], None, 10).await.unwrap();
    let outcomes: Vec<Option<bool>> = listed.iter().map(|decision| decision.outcome).collect();
    assert_eq!(outcomes, [Some(false), None, None, None]);
    let (listed, made) = (&listed[0], &made[3]);
    assert_eq!((&listed.version, listed.at, listed.decision), (&made.version, made.at, made.decision));
    assert_eq!((listed.probability, &listed.entities["tailnum"]), (made.probability, &json!("N7")));

    let error = world.serving.decisions(&["lat".parse().unwrap()], None, 1).await.unwrap_err();
    assert!(matches!(error, ServeError::UnknownDeployment { .. }), "{error}");
}

#[tokio::test]
async fn nothing_decided_is_an_empty_list() {
    let world = World::new("supervised").await;
    world.register(1, 2.0, true).await;
    world.serving.start_rollout(&ana(), &deployment(), 1).await.unwrap();
    assert_eq!(world.serving.decisions(&[deployment()], None, 10).await.unwrap(), []);
    let all = (Timestamp::from_micros(0), world.now() + Span::hours(1));
    assert_eq!(world.serving.activity(&deployment(), all, Span::hours(1)).await.unwrap(), []);
}

#[tokio::test]
async fn activity_counts_by_the_hour_and_leaves_empty_hours_out() {
    let world = World::deployed().await;
    let begin = (world.now() + Span::hours(1)).floor(Span::hours(1));
    world.pass(begin - world.now());
    world.serving.decide_many(&deployment(), &batch(&tails(0..40), world.now()), "decided_at", false).await.unwrap();
    world.pass(Span::hours(3));
    world.serving.decide_many(&deployment(), &batch(&tails(0..10), world.now()), "decided_at", false).await.unwrap();
    world.serving.flush().await.unwrap();
    let until = begin + Span::hours(24);
    let hours = world.serving.activity(&deployment(), (begin, until), Span::hours(1)).await.unwrap();
    let told: Vec<_> = hours.iter().map(|hour| (hour.from, hour.decisions)).collect();
    assert_eq!(told, [(begin, 40), (begin + Span::hours(3), 10)]);
    assert!(hours.iter().all(|hour| hour.yes <= hour.decisions && hour.latency_p50_us <= hour.latency_p99_us));
    let early = world.serving.activity(&deployment(), (begin, begin + Span::hours(3)), Span::hours(1)).await.unwrap();
    assert_eq!(early.len(), 1, "the end is not part of it");
}
