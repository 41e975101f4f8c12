//! What an online store in Redis must do beyond what every one must: whatever happens to the server, what is read is what the lake
//! says, or it is told that it cannot be read now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cmd;
use serde_json::json;
use tenon_core::clock::SystemClock;
use tenon_core::{Clock, Timestamp};
use tenon_features::{FeatureError, FeatureStatus, FeatureStore, OnlinePlace, OnlineRow, RedisPlace};

use crate::fixture::{HOUR, flights};
use crate::{World, model};

const TAILS: [&str; 4] = ["N1", "N2", "N3", "N99"];

/// As long as a keeper may take to notice that the server is back, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

async fn read(store: &FeatureStore, tail: &str, hour: i64) -> OnlineRow {
    let entities = json!({ "tailnum": tail });
    store.online(&model(), entities.as_object().unwrap(), Timestamp::from_micros(hour * HOUR)).await.unwrap()
}

fn is_unavailable(row: &OnlineRow) -> bool {
    row.statuses.contains(&FeatureStatus::Unavailable)
}

/// What is read as soon as it can be.
async fn read_when_back(store: &FeatureStore, tail: &str, hour: i64) -> OnlineRow {
    let end = Instant::now() + SOON;
    loop {
        let row = read(store, tail, hour).await;
        if !is_unavailable(&row) {
            return row;
        }
        assert!(Instant::now() < end, "it is not back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A company, a store in Redis, and one in a file over the same lake.
struct Both {
    world: World,
    store: FeatureStore,
    file: FeatureStore,
    hour: i64,
}

impl Both {
    /// None where there is no Redis.
    async fn begin(timeout: Duration) -> Option<Self> {
        let mut world = World::in_redis().await?;
        world.timeout = timeout;
        let (store, file) = (world.store("acme").await, world.store_in_a_file("file").await);
        let mut both = Self { world, store, file, hour: 100 };
        both.land().await;
        Some(both)
    }

    /// An hour later rows land, late ones and equal ones among them.
    async fn land(&mut self) {
        self.hour += 1;
        let hour = self.hour;
        let delay = hour as f64;
        let rows = [
            ("N1", hour, hour, delay),
            ("N1", hour, hour, delay),
            ("N2", hour - 3, hour, delay / 3.0),
            ("N3", hour, hour + 1, -delay),
        ];
        self.land_these(&rows).await;
    }

    async fn land_these(&mut self, rows: &[(&str, i64, i64, f64)]) {
        self.world.clock.advance_to(Timestamp::from_micros(self.hour * HOUR));
        let name = format!("{} at {}", rows.len(), self.hour);
        let (version, accepted) = self.world.write("flights", &name, flights(rows)).await;
        self.store.feed("flights", &accepted, version).await.unwrap();
        self.file.feed("flights", &accepted, version).await.unwrap();
    }

    /// Both say the same of all aircraft and the last hours.
    async fn compare(&self) {
        for tail in TAILS {
            for hour in self.hour - 14..=self.hour {
                let (here, there) = (read_when_back(&self.store, tail, hour).await, read(&self.file, tail, hour).await);
                assert_eq!(here, there, "{tail} at {hour}");
            }
        }
    }

    /// The program ends, and begins again.
    async fn restart(mut self) -> Self {
        drop(self.store);
        self.store = self.world.store("acme").await;
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_waited_for_once_and_rows_land_all_the_same() {
    let timeout = Duration::from_millis(200);
    let Some(mut both) = Both::begin(timeout).await else { return };
    both.compare().await;
    both.world.server().hang();
    let began = Instant::now();
    let row = read(&both.store, "N1", both.hour).await;
    let waited = began.elapsed();
    assert_eq!((row.statuses, row.values), (vec![FeatureStatus::Unavailable; 3], vec![None; 3]));
    assert!(waited >= timeout && waited < 5 * timeout, "{waited:?}");
    let began = Instant::now();
    for _ in 0..100 {
        assert!(is_unavailable(&read(&both.store, "N1", both.hour).await));
    }
    assert!(began.elapsed() < timeout, "{:?}", began.elapsed());
    let selected = both.store.select(&both.store.features_of(&model()).unwrap()).unwrap();
    let tails = [json!("N1")];
    let keys = selected.sent(1, |_| Some(&tails[..])).unwrap();
    let told = selected.read(&keys, Timestamp::from_micros(both.hour * HOUR)).await.unwrap_err();
    assert!(matches!(told, FeatureError::Unavailable { .. }), "{told}");
    let told = both.store.search("landings").await.unwrap();
    assert!(told[0].online.is_none() && told[0].not_served.as_ref().unwrap().contains("within 200 ms"), "{told:?}");
    both.land().await;
    both.land().await;
    both.world.server().go_on();
    both.compare().await;
    both.land().await;
    both.compare().await;
    both.restart().await.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_land_while_it_is_down_are_there_when_it_is_back_and_none_twice() {
    let Some(mut both) = Both::begin(Duration::from_secs(1)).await else { return };
    both.world.server().kill();
    assert!(is_unavailable(&read(&both.store, "N1", both.hour).await));
    both.land().await;
    both.land().await;
    let reads = both.world.lake.clone();
    both.world.server().start_again();
    both.compare().await;
    drop(reads);
    both.restart().await.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_given_up_and_came_through_later_counts_once() {
    let Some(mut both) = Both::begin(Duration::from_millis(100)).await else { return };
    // What is asked is answered, and what is written waits for longer than a writer does.
    let mut connection = both.world.server().connection();
    cmd("CLIENT").arg("PAUSE").arg(4_000).arg("WRITE").exec(&mut connection).unwrap();
    let began = Instant::now();
    both.land().await;
    assert!(began.elapsed() < Duration::from_secs(4), "the writer gave up after {:?}", began.elapsed());
    both.land().await;
    both.compare().await;
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(began.elapsed())).await;
    both.compare().await;
    both.land().await;
    both.compare().await;
    both.restart().await.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_the_server_changes_no_answer() {
    let Some(mut both) = Both::begin(Duration::from_secs(5)).await else { return };
    for what in [
        "everything goes",
        "the cursor goes",
        "the cursor is no cursor",
        "another generation",
        "an older version",
        "rows are no rows",
    ] {
        both.land().await;
        both.compare().await;
        let before = both.world.server().all();
        let (cursor, value) = before.iter().find(|(key, _)| key.matches(':').count() == 2).unwrap();
        let mut told: serde_json::Value = serde_json::from_slice(value).unwrap();
        let mut connection = both.world.server().connection();
        let mut set = |key: &str, value: &[u8]| cmd("SET").arg(key).arg(value).exec(&mut connection).unwrap();
        match what {
            "everything goes" => cmd("FLUSHALL").exec(&mut connection).unwrap(),
            "the cursor goes" => cmd("DEL").arg(cursor).exec(&mut connection).unwrap(),
            "the cursor is no cursor" => set(cursor, b"?"),
            "another generation" => {
                told["generation"] = json!(told["generation"].as_u64().unwrap() + 1);
                set(cursor, told.to_string().as_bytes());
            }
            "an older version" => {
                told["applied"] = json!(told["applied"].as_u64().unwrap() - 1);
                set(cursor, told.to_string().as_bytes());
            }
            _ => before.iter().filter(|(key, _)| key != cursor).for_each(|(key, _)| set(key, b"?")),
        }
        for tail in TAILS {
            let row = read(&both.store, tail, both.hour).await;
            assert!(is_unavailable(&row) || row == read(&both.file, tail, both.hour).await, "{what}: {row:?}");
        }
        both.compare().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_up_what_is_there_and_reads_again_what_is_not_all() {
    let Some(mut both) = Both::begin(Duration::from_secs(5)).await else { return };
    both.land().await;
    let before = both.world.server().all();
    assert!(before.iter().all(|(key, _)| key.starts_with("tenon:acme:aircraft_delay@")), "{before:?}");
    both = both.restart().await;
    both.compare().await;
    assert_eq!(both.world.server().all(), before, "it goes on from what is there");
    // Rows land while nobody is there.
    both.hour += 1;
    both.world.clock.advance_to(Timestamp::from_micros(both.hour * HOUR));
    let (version, accepted) =
        both.world.write("flights", "unheard", flights(&[("N1", both.hour, both.hour, 7.0)])).await;
    both.file.feed("flights", &accepted, version).await.unwrap();
    both = both.restart().await;
    both.compare().await;
    let after = both.world.server().all();
    assert_ne!(after, before);
    both.restart().await.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_entities_are_one_round_trip() {
    let Some(mut both) = Both::begin(Duration::from_secs(5)).await else { return };
    let tails: Vec<String> = (0..64).map(|tail| format!("N{tail}")).collect();
    let hour = both.hour;
    let rows: Vec<_> = tails.iter().map(|tail| (tail.as_str(), hour, hour, 1.0)).collect();
    both.land_these(&rows).await;
    let selected = both.store.select(&both.store.features_of(&model()).unwrap()).unwrap();
    let tails: Vec<_> = tails.into_iter().map(|tail| json!(tail)).collect();
    let keys = selected.sent(64, |_| Some(&tails[..])).unwrap();
    let before = both.world.server().executed("mget");
    let columns = selected.read(&keys, Timestamp::from_micros(hour * HOUR)).await.unwrap();
    assert!(columns[0].values.iter().all(Option::is_some));
    assert_eq!(both.world.server().executed("mget") - before, 1);
    assert_eq!(both.world.server().executed("get"), 1, "the cursor, when the store was opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_when_their_rows_can_matter_no_more() {
    let Some(mut world) = World::in_redis().await else { return };
    let now = SystemClock.now();
    world.clock.advance_to(now);
    let store = world.store("acme").await;
    // 12 hours of life, two days of slack, one hour for clocks that differ.
    let life = 61 * HOUR;
    let row = |tail: &str, ago: i64| {
        let rows = flights(&[(tail, 0, 0, 5.0)]);
        let moment = arrow::array::TimestampMicrosecondArray::from(vec![now.as_micros() - ago]).with_timezone("UTC");
        let moment: arrow::array::ArrayRef = Arc::new(moment);
        let columns = vec![Arc::clone(rows.column(0)), Arc::clone(&moment), moment, Arc::clone(rows.column(3))];
        arrow::record_batch::RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    for (tail, ago) in [("N1", life - 3_000_000), ("N2", HOUR), ("N3", life + 1_000_000)] {
        let (version, accepted) = world.write("flights", tail, row(tail, ago)).await;
        store.feed("flights", &accepted, version).await.unwrap();
    }
    let server = world.server();
    let mut connection = server.connection();
    let mut lives = |tail: &str| -> Option<i64> {
        let keys: Vec<Vec<u8>> = cmd("KEYS").arg(format!("tenon:acme:*:*{tail}*")).query(&mut connection).unwrap();
        let key = keys.first()?;
        Some(cmd("PTTL").arg(key).query(&mut connection).unwrap())
    };
    assert!(lives("N1").unwrap_or_default() <= 3_000);
    assert!((60 * 3_600_000 - 60_000..=60 * 3_600_000).contains(&lives("N2").unwrap()));
    assert_eq!(lives("N3"), None, "its rows matter no more");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(lives("N1"), None);
    let read = |tail: &str| {
        let (store, entities) = (store.clone(), json!({ "tailnum": tail }));
        async move { store.online(&model(), entities.as_object().unwrap(), now).await.unwrap() }
    };
    assert_eq!(read("N1").await.values, [None, None, Some(0.0)]);
    assert_eq!(read("N2").await.values, [Some(5.0), Some(5.0), Some(1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_may_wait_are_read_again_when_it_is_back() {
    let Some(mut both) = Both::begin(Duration::from_millis(500)).await else { return };
    both.world.server().kill();
    let tails: Vec<String> = (0..1_500).map(|tail| format!("M{tail}")).collect();
    for _ in 0..10 {
        both.hour += 1;
        let hour = both.hour;
        let rows: Vec<_> = (0..15_000).map(|row| (tails[row % 1_500].as_str(), hour, hour, row as f64)).collect();
        both.land_these(&rows).await;
    }
    both.world.server().start_again();
    both.compare().await;
    for tail in ["M0", "M1499"] {
        assert_eq!(read(&both.store, tail, both.hour).await, read(&both.file, tail, both.hour).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_keeps_only_reads_from_working_and_a_wrong_address_is_told() {
    let Some(mut world) = World::in_redis().await else { return };
    let address = world.server().address();
    let place = |address: &str, password: &str| {
        OnlinePlace::Redis(RedisPlace {
            address: address.to_owned(),
            user: None,
            password: Some(password.to_owned()),
            timeout: Duration::from_secs(5),
            company: "acme".to_owned(),
        })
    };
    let store = world.store_in(place(&address, "close sesame")).await.unwrap();
    let (version, accepted) = world.write("flights", "1", flights(&[("N1", 8, 8, 1.0)])).await;
    store.feed("flights", &accepted, version).await.unwrap();
    assert!(is_unavailable(&read(&store, "N1", 9).await));
    let told = store.search("landings").await.unwrap()[0].not_served.clone().unwrap();
    assert!(told.contains("authentication failed") && !told.contains("sesame"), "{told}");
    for (wrong, why) in [
        ("redis://ana:secret@127.0.0.1:1/0", "a login does not belong into the address"),
        ("redis://127.0.0.1:1/first", "Invalid database number"),
        ("http://127.0.0.1:1", "`http://127.0.0.1:1`"),
    ] {
        let told = world.store_in(place(wrong, "")).await.err().unwrap();
        assert!(matches!(told, FeatureError::Address { .. }), "{told}");
        let told = told.to_string();
        assert!(told.contains(why) && !told.contains("secret"), "{told}");
    }
}
