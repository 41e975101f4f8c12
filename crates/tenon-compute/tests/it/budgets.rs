//! Budgets over a ledger: spend is summed by pod and period, and asked for before it is made.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tenon_company::Catalog;
use tenon_compute::{BudgetVerdict, Budgets, ComputeError, Cost, Spend, SpendProjection};
use tenon_core::clock::ManualClock;
use tenon_core::id::OperationId;
use tenon_core::spec::{BudgetPeriod, SpecFile, SpecSet};
use tenon_core::{Clock, PodName, Principal, Timestamp};
use tenon_ledger::{Ledger, LedgerOptions, Projection};

struct World {
    budgets: Budgets,
    clock: Arc<ManualClock>,
    by: Principal,
}

impl World {
    fn new(dir: &Path, budgets: &str) -> Self {
        let file = |path: &str, text: &str| SpecFile { path: path.to_owned(), text: text.to_owned() };
        let pod = "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n";
        let specs = SpecSet::read(&[
            file("company.toml", "name = \"acme\"\n"),
            file("budgets.toml", budgets),
            file("pods/arrivals/pod.toml", pod),
            file("pods/weather/pod.toml", pod),
        ]);
        let clock = ManualClock::at("2013-03-31T12:00:00Z".parse().unwrap());
        let projections: Vec<Arc<dyn Projection>> = vec![Arc::new(SpendProjection)];
        let options =
            LedgerOptions { dir: dir.to_owned(), origin: "acme".to_owned(), clock: clock.clone(), projections };
        let budgets = Budgets::new(Catalog::fixed(specs.unwrap()), Ledger::create(options).unwrap());
        Self { budgets, clock, by: Principal::service("retrain") }
    }

    async fn spend(&self, pod: Option<&PodName>, usd: f64, operation: Option<OperationId>) -> Result<(), ComputeError> {
        let cost =
            Cost { subject: "run 1".to_owned(), resource: "cpu".to_owned(), spend: Spend { seconds: 60.0, usd } };
        self.budgets.record(&self.by, pod, &cost, operation).await
    }

    fn left(&self, pod: &PodName) -> String {
        self.budgets.remaining(pod, self.clock.now()).unwrap().sentence()
    }
}

fn pod(name: &str) -> PodName {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn spend_counts_for_its_pod_and_its_period() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), "[[budgets]]\npod = \"arrivals\"\nlimit_usd = 1.0\n");
    let (arrivals, weather) = (pod("arrivals"), pod("weather"));
    world.spend(Some(&arrivals), 0.75, None).await.unwrap();
    world.spend(Some(&weather), 0.5, None).await.unwrap();
    world.spend(None, 2.0, None).await.unwrap();
    assert_eq!(world.left(&arrivals), "0.75 of 1.00 USD of 2013-03 are spent");
    assert_eq!(world.left(&weather), "0.50 USD of 2013-03 are spent, and no limit is set");
    let company = world.budgets.spent(None, BudgetPeriod::Day, world.clock.now()).unwrap();
    assert_eq!((company.usd, company.seconds, company.facts), (2.0, 60.0, 1));

    let now = world.clock.now();
    assert_eq!(world.budgets.would_exceed(&arrivals, now, 0.25).unwrap(), BudgetVerdict::Within { left_usd: 0.0 });
    assert_eq!(world.budgets.would_exceed(&arrivals, now, 0.5).unwrap(), BudgetVerdict::Exceeded { over_usd: 0.25 });
    world.clock.advance_to(at("2013-04-01T00:00:00Z"));
    assert_eq!(world.left(&arrivals), "0.00 of 1.00 USD of 2013-04 are spent");
    assert_eq!(world.budgets.spent(Some(&arrivals), BudgetPeriod::Month, now).unwrap().usd, 0.75, "March stays");
}

#[tokio::test]
async fn the_tightest_of_several_budgets_counts() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(
        dir.path(),
        "[[budgets]]\npod = \"arrivals\"\nlimit_usd = 3.0\n[[budgets]]\npod = \"arrivals\"\nperiod = \"day\"\nlimit_usd = 2.0\n",
    );
    let arrivals = pod("arrivals");
    world.clock.advance_to(at("2013-04-01T12:00:00Z"));
    world.spend(Some(&arrivals), 1.5, None).await.unwrap();
    assert_eq!(world.left(&arrivals), "1.50 of 2.00 USD of 2013-04-01 are spent");
    world.clock.advance_to(at("2013-04-02T12:00:00Z"));
    assert_eq!(world.left(&arrivals), "1.50 of 3.00 USD of 2013-04 are spent");
}

#[tokio::test]
async fn an_operation_is_paid_once_and_nonsense_never() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), "");
    let (arrivals, operation) = (pod("arrivals"), OperationId::derive(&["train", "1"]));
    world.spend(Some(&arrivals), 0.25, Some(operation)).await.unwrap();
    world.spend(Some(&arrivals), 0.25, Some(operation)).await.unwrap();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(world.spend(Some(&arrivals), bad, None).await, Err(ComputeError::BadAmount(_))));
    }
    let spent = world.budgets.spent(Some(&arrivals), BudgetPeriod::Month, world.clock.now()).unwrap();
    assert_eq!((spent.usd, spent.facts), (0.25, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// A month's spend is its days', and each is the sum of its facts in their order, to the bit.
    #[test]
    fn days_sum_to_their_month(amounts in prop::collection::vec((0..4_i64, 0.0..10.0_f64), 1..12)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let world = World::new(dir.path(), "");
            let arrivals = pod("arrivals");
            world.clock.advance_to(at("2013-05-01T00:00:00Z"));
            let (mut now, mut total, mut days) = (world.clock.now(), 0.0, std::collections::BTreeMap::new());
            for (later, usd) in amounts {
                now = now + tenon_core::Span::hours(8 * later);
                world.clock.advance_to(now);
                world.spend(Some(&arrivals), usd, None).await.unwrap();
                total += usd;
                *days.entry(now.floor(tenon_core::Span::days(1))).or_insert(0.0) += usd;
            }
            assert_eq!(world.budgets.spent(Some(&arrivals), BudgetPeriod::Month, now).unwrap().usd, total);
            for (day, usd) in days {
                assert_eq!(world.budgets.spent(Some(&arrivals), BudgetPeriod::Day, day).unwrap().usd, usd);
            }
        });
    }
}
