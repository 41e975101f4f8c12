use std::time::{Duration, Instant};

use tenon_core::AsOf;

use crate::fixture::{Company, flights};

/// The thousandth commit costs what the tenth did: nothing is listed, replayed or rewritten on the way.
#[tokio::test]
async fn the_cost_of_a_commit_does_not_grow_with_their_number() {
    let company = Company::new().await;
    let mut costs = Vec::new();
    for commit in 0..320 {
        let id = commit.to_string();
        let start = Instant::now();
        company.committed("flights", &id, flights(&[(&id, None, Some(1)), ("bad", None, Some(999))])).await;
        costs.push(start.elapsed());
    }
    let median = |window: &[Duration]| {
        let mut window = window.to_vec();
        window.sort_unstable();
        window[window.len() / 2]
    };
    let (early, late) = (median(&costs[5..45]), median(&costs[280..320]));
    assert!(late < early * 2 + Duration::from_millis(2), "{early:?} at first, {late:?} at the end");
    assert_eq!(company.number("SELECT count(*) FROM flights", AsOf::Latest).await, 320);
}
