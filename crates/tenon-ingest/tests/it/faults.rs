//! A cluster that does everything wrong that its protocol allows: librdkafka's mock cluster of three brokers.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tenon_core::AsOf;
use tokio_util::sync::CancellationToken;

use super::{Company, ana, flights};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const BROKERS: [i32; 3] = [1, 2, 3];
const PARTITIONS: i32 = 4;

/// A company that reads the cluster's topic, and somebody who writes to it.
struct World {
    cluster: Cluster,
    company: Company,
    producer: BaseProducer,
    written: i64,
}

impl World {
    async fn new() -> Self {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("flights", PARTITIONS, 3).unwrap();
        let brokers = cluster.bootstrap_servers();
        let dataset = format!(
            "description = \"d\"\nlatency = \"100ms\"\n[source.kafka]\nbrokers = \"{brokers}\"\ntopics = [\"flights\"]\n\
             group = \"watchers\"\nbatch_rows = 200\n[contract]\n[contract.columns]\nid = {{ type = \"int64\" }}\n\
             _partition = {{ type = \"int32\" }}\n_offset = {{ type = \"int64\" }}\n"
        );
        let company = Company::of(&dataset).await;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &brokers).set("enable.idempotence", "true").set("linger.ms", "1");
        let producer = config.create().unwrap();
        Self { cluster, company, producer, written: 0 }
    }

    /// Writes numbers, the next ones, over all partitions.
    fn write(&mut self, count: i64) {
        for number in self.written..self.written + count {
            let value = format!("{{\"id\":{number}}}");
            let partition = i32::try_from(number % i64::from(PARTITIONS)).unwrap();
            let record: BaseRecord<'_, (), String> = BaseRecord::to("flights").partition(partition).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
            self.producer.poll(Duration::ZERO);
        }
        self.written += count;
    }

    fn flush(&self) {
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Waits until all that was written has landed.
    async fn landed(&self, because: &str) {
        for _ in 0..600 {
            if self.rows().await == self.written {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{because}: {} of {} rows landed", self.rows().await, self.written);
    }

    async fn rows(&self) -> i64 {
        self.company
            .lake
            .query("SELECT count(*) FROM flights", AsOf::Latest)
            .await
            .map_or(0, |rows| rows.first().map_or(0, |rows| rows.column(0).as_primitive::<Int64Type>().value(0)))
    }

    /// Each number is there once, each place of the topic was taken once, and the books say the same.
    async fn balanced(&self) {
        let sql = "SELECT count(*), count(DISTINCT id), min(id), max(id), count(DISTINCT _partition * 1000000000 + _offset) \
             FROM flights";
        let rows = self.company.lake.query(sql, AsOf::Latest).await.unwrap();
        let told: Vec<i64> = rows[0].columns().iter().map(|c| c.as_primitive::<Int64Type>().value(0)).collect();
        assert_eq!(told, [self.written, self.written, 0, self.written - 1, self.written]);
        let audit = self.company.lake.conservation().await.unwrap();
        assert_eq!(audit.gap, None);
        let mut positions = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let name = format!("kafka:flights/{partition}");
            positions.insert(partition, self.company.lake.position(&flights(), &name).await.unwrap().unwrap());
        }
        let each = u64::try_from(self.written / i64::from(PARTITIONS)).unwrap();
        assert_eq!(positions.into_values().collect::<Vec<_>>(), [each; PARTITIONS as usize]);
    }

    fn errors(&self, key: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(key, errors);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_cluster_does_no_row_is_lost_or_doubled() {
    use RDKafkaRespErr::*;
    let mut world = World::new().await;
    let stop = CancellationToken::new();
    let following = {
        let (ingest, stop, root) = (world.company.ingest.clone(), stop.clone(), world.company.folder.path().to_owned());
        tokio::spawn(async move { ingest.follow_topics(&ana(), &flights(), &root, &stop).await })
    };
    world.write(400);
    world.landed("the cluster is well").await;

    // Fetches are refused, each for another reason, the last of them such that a client may not simply ask again.
    let refusals = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR_UNKNOWN,
    ];
    for _ in 0..3 {
        world.errors(RDKafkaApiKey::Fetch, &refusals);
        world.write(400);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    world.landed("fetches were refused").await;

    // Leaders move while messages are on their way.
    for round in 0..10 {
        for partition in 0..PARTITIONS {
            let leader = BROKERS[usize::try_from((round + partition) % 3).unwrap()];
            world.cluster.partition_leader("flights", partition, Some(leader)).unwrap();
        }
        world.write(200);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    world.landed("leaders moved").await;

    // Brokers go away one by one, then all at once, and come back.
    for broker in BROKERS {
        world.cluster.broker_down(broker).unwrap();
        world.write(200);
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.cluster.broker_up(broker).unwrap();
    }
    BROKERS.iter().for_each(|broker| world.cluster.broker_down(*broker).unwrap());
    world.write(400);
    tokio::time::sleep(Duration::from_secs(3)).await;
    BROKERS.iter().for_each(|broker| world.cluster.broker_up(*broker).unwrap());
    world.landed("brokers were away").await;

    // The network is slow, the group's coordinator moves and refuses, and so does who answers where partitions end.
    BROKERS.iter().for_each(|b| world.cluster.broker_round_trip_time(*b, Duration::from_millis(300)).unwrap());
    world.errors(RDKafkaApiKey::OffsetCommit, &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR_UNKNOWN]);
    world.errors(RDKafkaApiKey::FindCoordinator, &[RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 3]);
    for broker in BROKERS {
        world.cluster.coordinator(MockCoordinator::Group("watchers".to_owned()), broker).unwrap();
        world.write(400);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    BROKERS.iter().for_each(|b| world.cluster.broker_round_trip_time(*b, Duration::ZERO).unwrap());
    world.landed("the coordinator moved").await;

    world.flush();
    stop.cancel();
    following.await.unwrap();
    world.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_is_stopped_and_begun_again_amid_faults_goes_on_where_the_table_stands() {
    use RDKafkaRespErr::*;
    let mut world = World::new().await;
    for round in 0..12 {
        let stop = CancellationToken::new();
        let (ingest, root) = (world.company.ingest.clone(), world.company.folder.path().to_owned());
        let (heard, dataset) = (stop.clone(), flights());
        let following = tokio::spawn(async move { ingest.follow_topics(&ana(), &dataset, &root, &heard).await });
        match round % 4 {
            0 => world.errors(RDKafkaApiKey::Metadata, &[RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; 2]),
            1 => world.errors(RDKafkaApiKey::ListOffsets, &[RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3]),
            2 => world.errors(RDKafkaApiKey::Fetch, &[RD_KAFKA_RESP_ERR__TRANSPORT; 4]),
            _ => world.cluster.partition_leader("flights", round % PARTITIONS, Some(1 + round % 3)).unwrap(),
        }
        world.write(400);
        tokio::time::sleep(Duration::from_millis(200 + 100 * u64::try_from(round).unwrap())).await;
        // Cut off wherever it is, as a crash would; the task never hears of it.
        if round % 2 == 0 {
            following.abort()
        } else {
            stop.cancel()
        }
        following.await.ok();
    }
    world.flush();
    let taken = world.company.ingest.topics(&ana(), &flights(), world.company.folder.path()).await.unwrap();
    assert!(taken.quarantined == 0, "{taken:?}");
    world.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_read_is_told_and_lands_nothing() {
    let mut world = World::new().await;
    world.write(40);
    world.flush();
    world.cluster.topic_error("flights", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let error = world.company.ingest.topics(&ana(), &flights(), world.company.folder.path()).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("flights") && told.to_lowercase().contains("authorization"), "{told}");
    world.cluster.topic_error("flights", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    world.company.ingest.topics(&ana(), &flights(), world.company.folder.path()).await.unwrap();
    world.balanced().await;
}
