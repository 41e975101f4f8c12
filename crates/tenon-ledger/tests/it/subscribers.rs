//! Subscribers: order, resumption, retries, parking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tenon_core::id::OperationId;
use tenon_ledger::{Ledger, LedgerError, Retries, StoredFact, Subscriber, Subscribers};

use crate::fixture::{Fixture, fact, numbered};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Seen = Arc<Mutex<Vec<(String, u64)>>>;

struct Recorder {
    name: &'static str,
    kinds: Vec<&'static str>,
    seen: Seen,
    at_end: bool,
}

impl Recorder {
    fn shared(name: &'static str, kinds: &[&'static str], seen: &Seen) -> Arc<dyn Subscriber> {
        Arc::new(Self { name, kinds: kinds.to_vec(), seen: Arc::clone(seen), at_end: false })
    }
}

#[async_trait::async_trait]
impl Subscriber for Recorder {
    fn name(&self) -> &str {
        self.name
    }
    fn kinds(&self) -> &[&str] {
        &self.kinds
    }
    fn starts_at_end(&self) -> bool {
        self.at_end
    }
    async fn handle(&self, stored: &StoredFact) -> Result<(), Failure> {
        self.seen.lock().push((self.name.to_owned(), stored.index));
        Ok(())
    }
}

/// Answers each `run.finished` with a `run.judged`, once.
struct Judge(Ledger);

#[async_trait::async_trait]
impl Subscriber for Judge {
    fn name(&self) -> &str {
        "judge"
    }
    fn kinds(&self) -> &[&str] {
        &["run.finished"]
    }
    async fn handle(&self, stored: &StoredFact) -> Result<(), Failure> {
        let operation = OperationId::derive(&["judge", &stored.index.to_string()]);
        self.0.append(vec![fact("run.judged", json!({"of": stored.index})).sealing(operation)]).await?;
        Ok(())
    }
}

/// Fails at one fact, so many times.
struct Stumbler {
    at: u64,
    left: AtomicU32,
    seen: Seen,
}

#[async_trait::async_trait]
impl Subscriber for Stumbler {
    fn name(&self) -> &str {
        "stumbler"
    }
    fn kinds(&self) -> &[&str] {
        &[]
    }
    async fn handle(&self, stored: &StoredFact) -> Result<(), Failure> {
        let fails = |left: u32| if left > 0 && stored.index == self.at { Some(left - 1) } else { None };
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            return Err("the road is blocked".into());
        }
        self.seen.lock().push(("stumbler".to_owned(), stored.index));
        Ok(())
    }
}

const QUICK: Retries =
    Retries { attempts: 3, first_wait: Duration::from_millis(1), longest_wait: Duration::from_millis(4) };

#[tokio::test]
async fn the_oldest_fact_comes_first_and_reactions_to_reactions_are_handled_too() {
    let fixture = Fixture::new();
    fixture.fill(7, 7).await;
    let seen = Seen::default();
    let subscribers = Subscribers::new(
        fixture.ledger.clone(),
        vec![
            Arc::new(Judge(fixture.ledger.clone())),
            Recorder::shared("runs", &["run.finished"], &seen),
            Recorder::shared("judgements", &["run.judged", "dataset.committed"], &seen),
        ],
    );
    let handled = subscribers.run_until_idle().await.unwrap();
    assert_eq!(handled, 3 + 3 + 7);
    let order: Vec<u64> = seen.lock().iter().map(|(_, index)| *index).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(subscribers.run_until_idle().await.unwrap(), 0);
    assert_eq!(fixture.ledger.size().unwrap(), 10);
}

#[tokio::test]
async fn a_subscriber_goes_on_where_it_stopped_and_a_new_one_may_start_at_the_end() {
    let fixture = Fixture::new();
    fixture.fill(100, 100).await;
    let seen = Seen::default();
    let first = Subscribers::new(fixture.ledger.clone(), vec![Recorder::shared("all", &[], &seen)]);
    assert_eq!(first.run_until_idle().await.unwrap(), 100);
    drop(first);
    fixture.fill(3, 1).await;
    let late = Arc::new(Recorder { name: "late", kinds: vec![], seen: Arc::clone(&seen), at_end: true });
    let second = Subscribers::new(fixture.ledger.clone(), vec![late, Recorder::shared("all", &[], &seen)]);
    assert_eq!(second.run_until_idle().await.unwrap(), 3);
    fixture.fill(1, 1).await;
    assert_eq!(second.run_until_idle().await.unwrap(), 2);
    assert_eq!(seen.lock().iter().filter(|(name, _)| name == "all").count(), 104);
    assert_eq!(seen.lock().last(), Some(&("all".to_owned(), 103)));
}

#[tokio::test]
async fn after_a_crash_between_handling_and_moving_on_nothing_is_done_twice() {
    let fixture = Fixture::new();
    fixture.fill(4, 4).await;
    let judge = || Subscribers::new(fixture.ledger.clone(), vec![Arc::new(Judge(fixture.ledger.clone()))]);
    assert_eq!(judge().run_until_idle().await.unwrap(), 2);
    // The crash: the appended fact is there, the cursor is not.
    fixture.database().execute("UPDATE cursors SET next = 0", []).unwrap();
    assert_eq!(judge().run_until_idle().await.unwrap(), 2);
    assert_eq!(fixture.ledger.size().unwrap(), 6);
}

#[tokio::test]
async fn a_stumble_is_tried_again_and_a_poisoned_fact_is_parked() {
    let fixture = Fixture::new();
    fixture.fill(3, 3).await;
    for (fails, parks) in [(2, false), (u32::MAX, true)] {
        let seen = Seen::default();
        let stumbler = Arc::new(Stumbler { at: 1, left: AtomicU32::new(fails), seen: Arc::clone(&seen) });
        let subscribers =
            Subscribers::new(fixture.ledger.clone(), vec![stumbler, Recorder::shared("other", &[], &seen)])
                .with_retries(QUICK);
        let handled = subscribers.run_until_idle().await.unwrap();
        let parked = subscribers.parked().unwrap();
        let stumbler: Vec<u64> =
            seen.lock().iter().filter(|(name, _)| name == "stumbler").map(|(_, index)| *index).collect();
        if parks {
            assert_eq!((handled, stumbler), (5, vec![0, 2]));
            assert_eq!((parked.len(), parked[0].index, &parked[0].error[..]), (1, 1, "the road is blocked"));
            let other = seen.lock().iter().position(|entry| *entry == ("other".to_owned(), 2)).unwrap();
            let after = seen.lock().iter().position(|entry| *entry == ("stumbler".to_owned(), 2)).unwrap();
            assert!(other < after, "the others do not wait");
        } else {
            assert_eq!((handled, stumbler, parked.len()), (6, vec![0, 1, 2], 0));
        }
        fixture.database().execute("DELETE FROM cursors", []).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_subscribers_see_facts_as_they_come_and_stop_when_told() {
    let fixture = Fixture::new();
    let seen = Seen::default();
    let subscribers = Arc::new(Subscribers::new(fixture.ledger.clone(), vec![Recorder::shared("all", &[], &seen)]));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = Arc::clone(&subscribers);
    let task = tokio::spawn(async move { running.run(async { drop(stopped.await) }).await });
    for n in 0..50 {
        fixture.ledger.append(vec![numbered(n)]).await.unwrap();
    }
    for _ in 0..2_000 {
        if seen.lock().len() == 50 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    assert_eq!(seen.lock().iter().map(|(_, index)| *index).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_subscribers_of_one_name_and_read_only_ledgers_are_refused() {
    let fixture = Fixture::new();
    let seen = Seen::default();
    let twins = vec![Recorder::shared("twin", &[], &seen), Recorder::shared("twin", &[], &seen)];
    let twins = Subscribers::new(fixture.ledger.clone(), twins);
    assert!(matches!(twins.run_until_idle().await, Err(LedgerError::SameName(_))));
    let reader = Ledger::open_read_only(fixture.options()).unwrap();
    let reading = Subscribers::new(reader, vec![Recorder::shared("all", &[], &seen)]);
    assert!(matches!(reading.run_until_idle().await, Err(LedgerError::ReadOnly)));
}
