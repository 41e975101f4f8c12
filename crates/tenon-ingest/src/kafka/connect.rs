//! A consumer of the declared cluster, and what the cluster says of its topics.

use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tenon_core::spec::{KafkaSource, SaslMechanism};

use crate::IngestError;
use crate::secret::reveal;

/// How long a cluster may take to answer one question.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to hear why there was no answer.
const SAID_WITHIN: Duration = Duration::from_millis(500);
/// What all messages together may take that were fetched ahead.
const AHEAD_KILOBYTES: usize = 64 << 10;

/// A consumer that tells the log, and nobody else, what its library says.
pub(crate) type Reader = BaseConsumer<Quiet>;

/// Takes what the library says to the program's log, and remembers why a connection failed.
#[derive(Default)]
pub(crate) struct Quiet {
    /// What is never said.
    secrets: Vec<String>,
    failure: Mutex<Option<String>>,
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "kafka");
        if facility == "FAIL" {
            *self.failure.lock() = Some(without_thread(message).to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Quiet {}

impl Quiet {
    fn failure(&self) -> Option<String> {
        let said = self.failure.lock().clone()?;
        let secrets = self.secrets.iter().filter(|secret| !secret.is_empty());
        Some(secrets.fold(said, |said, secret| said.replace(secret.as_str(), "…")))
    }
}

/// The library's words without the name of its thread: `[thrd:…]: ssl://…: it failed`.
fn without_thread(message: &str) -> &str {
    message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(message, |(_, said)| said)
}

/// Whether a connection failed for a reason that waiting does not heal: who we are, or who they are.
fn is_refusal(failure: &str) -> bool {
    ["SASL authentication error", "certificate", "SSL alert"].iter().any(|sign| failure.contains(sign))
}

/// One partition of a topic, and what the cluster has of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Partition {
    pub topic: String,
    pub number: i32,
    /// The offset of the oldest message.
    pub begin: u64,
    /// The offset that the next message will have.
    pub end: u64,
}

/// Makes a consumer; nothing is connected yet.
pub(crate) fn consumer(source: &KafkaSource, dataset: &str, root: &Path) -> Result<Reader, IngestError> {
    let mut config = ClientConfig::new();
    let group = source.group.clone().unwrap_or_else(|| format!("tenon-{dataset}"));
    let ahead = (AHEAD_KILOBYTES / source.topics.len().max(1)).to_string();
    config
        .set("bootstrap.servers", &source.brokers)
        .set("client.id", "tenon")
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        // A place that is not there is for people to decide about, never for the library.
        .set("auto.offset.reset", "error")
        .set("queued.max.messages.kbytes", ahead)
        // The library stops fetching at 100,000 messages, which are gone in a moment, and would then rest for a second.
        .set("fetch.queue.backoff.ms", "100")
        .set("fetch.wait.max.ms", "100")
        .set("reconnect.backoff.max.ms", "5000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set_log_level(RDKafkaLogLevel::Info);
    let context = Quiet { secrets: secure(&mut config, source, root)?, failure: Mutex::default() };
    config.create_with_context(context).map_err(|error| failed(source, &error))
}

/// Says who we are and whom we believe. Returns the secrets that the library was told.
fn secure(config: &mut ClientConfig, source: &KafkaSource, root: &Path) -> Result<Vec<String>, IngestError> {
    let mut secrets = Vec::new();
    let security = &source.security;
    let protocol = match (security.tls, security.sasl.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(ca) = &security.ca {
        config.set("ssl.ca.location", root.join(ca).display().to_string());
    }
    if let Some(certificate) = &security.certificate {
        config.set("ssl.certificate.location", root.join(certificate).display().to_string());
    }
    if let Some(key) = &security.key {
        let key = reveal(key, root)?;
        config.set("ssl.key.pem", &key);
        secrets.push(key);
    }
    if let Some(sasl) = &security.sasl {
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        config.set("sasl.mechanisms", mechanism).set("sasl.username", &sasl.username);
        let password = reveal(&sasl.password, root)?;
        config.set("sasl.password", &password);
        secrets.push(password);
    }
    Ok(secrets)
}

/// All partitions of the declared topics. Waits for the cluster's answer.
pub(crate) fn partitions(consumer: &Reader, source: &KafkaSource) -> Result<Vec<Partition>, IngestError> {
    let mut partitions = Vec::new();
    for topic in &source.topics {
        let no_topic = || IngestError::NoTopic { brokers: source.brokers.clone(), topic: topic.clone() };
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE);
        let metadata = metadata.map_err(|error| unanswered(consumer, source, &error))?;
        let known = metadata.topics().iter().find(|known| known.name() == topic).ok_or_else(no_topic)?;
        // A topic that is there and may not be read, or has no leader just now, is not one that is missing.
        if let Some(error) = known.error().filter(|error| *error != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
            let what = format!("topic `{topic}`: {}", RDKafkaErrorCode::from(error));
            return Err(IngestError::Kafka { brokers: source.brokers.clone(), what });
        }
        if known.partitions().is_empty() {
            return Err(no_topic());
        }
        for partition in known.partitions() {
            let watermarks = consumer.fetch_watermarks(topic, partition.id(), PATIENCE);
            let (begin, end) = watermarks.map_err(|error| unanswered(consumer, source, &error))?;
            partitions.push(Partition {
                topic: topic.clone(),
                number: partition.id(),
                begin: u64::try_from(begin).unwrap_or(0),
                end: u64::try_from(end).unwrap_or(0),
            });
        }
    }
    partitions.sort();
    Ok(partitions)
}

/// Has the consumer read partitions from these places on.
pub(crate) fn assign<'a>(
    consumer: &Reader,
    source: &KafkaSource,
    places: impl IntoIterator<Item = (&'a str, i32, u64)>,
) -> Result<(), IngestError> {
    let list = list(places).map_err(|error| failed(source, &error))?;
    consumer.assign(&list).map_err(|error| failed(source, &error))
}

/// Places in partitions, as the library wants them.
pub(crate) fn list<'a>(
    places: impl IntoIterator<Item = (&'a str, i32, u64)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in places {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}

/// A question that the cluster did not answer, with what became of the connection.
fn unanswered(consumer: &Reader, source: &KafkaSource, error: &KafkaError) -> IngestError {
    // What the library says of its connections waits until somebody asks for messages, of which there are none yet.
    let asked = Instant::now();
    while consumer.context().failure().is_none() && asked.elapsed() < SAID_WITHIN {
        consumer.poll(Duration::from_millis(10));
    }
    let brokers = source.brokers.clone();
    match consumer.context().failure() {
        Some(what) if is_refusal(&what) => IngestError::KafkaRefused { brokers, what },
        Some(what) => IngestError::Kafka { brokers, what: format!("{error}: {what}") },
        None => failed(source, error),
    }
}

pub(crate) fn failed(source: &KafkaSource, error: &KafkaError) -> IngestError {
    IngestError::Kafka { brokers: source.brokers.clone(), what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str) -> Option<String> {
        let quiet = Quiet { secrets: vec!["hunter2".to_owned(), String::new()], failure: Mutex::default() };
        quiet.log(RDKafkaLogLevel::Error, "FAIL", message);
        quiet.log(RDKafkaLogLevel::Info, "CONNECTED", "something else");
        quiet.failure()
    }

    #[test]
    fn why_a_connection_failed_is_remembered_without_secrets() {
        let message = "[thrd:sasl_plaintext://b:9092/bootstrap]: sasl_plaintext://b:9092/bootstrap: SASL authentication \
            error: hunter2 is wrong (after 3ms in state AUTH_REQ)";
        let failure = told(message).unwrap_or_default();
        assert!(
            failure.starts_with("sasl_plaintext://b:9092/bootstrap: SASL authentication error: … is wrong"),
            "{failure}"
        );
        assert!(is_refusal(&failure));
        assert!(!is_refusal("b:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused"));
    }
}
