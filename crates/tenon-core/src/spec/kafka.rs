//! `[source] kafka = { … }`: topics that a dataset reads.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpecFault;

/// Topics of a Kafka cluster. Where reading goes on is said by the dataset's own table, whose commits carry the offsets:
/// a row is never lost and never taken twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    /// Addresses to begin with: `kafka-1:9092,kafka-2:9092`.
    pub brokers: String,
    /// The topics, all their partitions.
    pub topics: Vec<String>,
    /// A consumer group that is told after each commit how far the table is, for tools that watch the lag. Nothing is
    /// ever read back from it, and nothing is shared out by it: one process writes a company's tables, and reads all
    /// partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How a message's value is written.
    #[serde(default)]
    pub format: KafkaFormat,
    /// The schema registry, for formats that need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
    /// Where a partition begins that the table has nothing of.
    #[serde(default)]
    pub start: KafkaStart,
    /// Raise it to begin anew at `start`, such as after a topic was deleted and made again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// A message with more bytes goes to the quarantine.
    #[serde(default = "most_bytes")]
    pub max_bytes: u32,
    /// A message nested deeper goes to the quarantine.
    #[serde(default = "most_levels")]
    pub max_depth: u16,
    /// The most rows of one commit.
    #[serde(default = "batch_rows")]
    pub batch_rows: u32,
    /// Encryption and who we are.
    #[serde(default, skip_serializing_if = "KafkaSecurity::is_none")]
    pub security: KafkaSecurity,
    /// Messages that say how rows of another database changed: the dataset then holds one row a key, as it is there now.
    /// The contract's key is the primary key there, by which the topic's messages are spread over its partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangeFormat>,
}

/// How messages say what became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeFormat {
    /// As Debezium writes them: `op`, `before` and `after`, with or without `schema` and `payload` around them. A message
    /// without a value deletes the row of its key.
    Debezium,
    /// As Debezium's `ExtractNewRecordState` leaves them: the row itself. One with `__deleted`, or no value, is deleted.
    DebeziumFlattened,
}

/// How a message's value is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaFormat {
    /// A JSON object.
    #[default]
    Json,
    /// Avro in the Confluent wire format: a zero byte, the schema's id, the record.
    Avro,
    /// Protobuf in the Confluent wire format: a zero byte, the schema's id, which of its messages it is, the message.
    Protobuf,
}

impl KafkaFormat {
    /// What it is called.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Avro => "Avro",
            Self::Protobuf => "Protobuf",
        }
    }
}

/// Where a partition begins that the table has nothing of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaStart {
    /// With the oldest message that the cluster still has.
    #[default]
    Earliest,
    /// With the next message.
    Latest,
}

/// A schema registry that speaks Confluent's REST interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Its address: `http://registry:8081`.
    pub url: String,
    /// The user's name, where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Encryption and identity towards a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSecurity {
    /// Whether connections are encrypted.
    #[serde(default)]
    pub tls: bool,
    /// A file of certificates (PEM) to trust, from the company folder; without it, those that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Our certificate (PEM file, from the company folder), where the cluster asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The key of our certificate, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A user and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How they are shown.
    pub mechanism: SaslMechanism,
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

/// How a user and a password are shown to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// As they are; only with TLS is that safe.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted and hashed with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted and hashed with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// Where a secret is: `env:NAME` or `file:PATH`. The secret itself never stands in a file that is in git, in a fact or in
/// a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Secret {
    /// In an environment variable.
    Env(String),
    /// In a file, from the company folder.
    File(String),
}

/// A text that is no reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a secret is never written here: say where it is, as `env:NAME` or `file:PATH`")]
pub struct SecretError;

impl FromStr for Secret {
    type Err = SecretError;
    fn from_str(text: &str) -> Result<Self, SecretError> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            _ => Err(SecretError),
        }
    }
}

impl TryFrom<String> for Secret {
    type Error = SecretError;
    fn try_from(text: String) -> Result<Self, SecretError> {
        text.parse()
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.to_string()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl KafkaSecurity {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl KafkaSource {
    /// What is wrong with the declaration in `file`.
    pub(crate) fn check(&self, file: &str) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: &str, hint: &str| {
            let fault = SpecFault::at(file, &["source", "kafka", key], message);
            faults.push(if hint.is_empty() { fault } else { fault.hint(hint) });
        };
        if self.brokers.trim().is_empty() {
            fault("brokers", "no broker is named", "such as \"kafka-1:9092,kafka-2:9092\"");
        }
        if self.topics.is_empty() || self.topics.iter().any(|topic| topic.trim().is_empty()) {
            fault("topics", "no topic is named", "such as [\"flights\"]");
        }
        if self.format != KafkaFormat::Json && self.registry.is_none() {
            let message = format!("{} needs a schema registry", self.format.word());
            fault("format", &message, "such as registry = { url = \"http://registry:8081\" }");
        }
        if self.batch_rows == 0 {
            fault("batch_rows", "a commit of no rows would never end", "");
        }
        if self.security.ca.is_some() && !self.security.tls {
            fault("security", "certificates are of use with `tls = true` only", "");
        }
        faults
    }

    /// The name under which the table keeps a partition's position.
    pub fn position_name(&self, topic: &str, partition: i32) -> String {
        match self.generation {
            0 => format!("kafka:{topic}/{partition}"),
            generation => format!("kafka:{topic}/{partition}#{generation}"),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn most_bytes() -> u32 {
    1 << 20
}

fn most_levels() -> u16 {
    32
}

fn batch_rows() -> u32 {
    100_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(more: &str) -> Result<KafkaSource, toml::de::Error> {
        toml::from_str(&format!("brokers = \"b:9092\"\ntopics = [\"flights\"]\n{more}"))
    }

    #[test]
    fn a_secret_is_a_reference_and_never_a_value() {
        let sasl = |password: &str| {
            source(&format!("[security.sasl]\nmechanism = \"PLAIN\"\nusername = \"ana\"\npassword = \"{password}\"\n"))
        };
        let read = sasl("env:KAFKA_PASSWORD").unwrap();
        assert_eq!(read.security.sasl.unwrap().password, Secret::Env("KAFKA_PASSWORD".to_owned()));
        let error = sasl("hunter2").unwrap_err().to_string();
        assert!(error.contains("env:NAME"), "{error}");
        assert!(!error.replace("password = \"hunter2\"", "").contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_missing_is_told() {
        let told = |more: &str| {
            let faults = source(more).unwrap().check("d.toml");
            faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>()
        };
        assert_eq!(told(""), Vec::<String>::new());
        assert_eq!(told("format = \"avro\""), ["Avro needs a schema registry"]);
        assert_eq!(told("format = \"protobuf\""), ["Protobuf needs a schema registry"]);
        assert_eq!(told("batch_rows = 0"), ["a commit of no rows would never end"]);
        assert_eq!(told("security = { ca = \"ca.pem\" }"), ["certificates are of use with `tls = true` only"]);
    }

    #[test]
    fn a_new_generation_has_positions_of_its_own() {
        let source = |more| source(more).unwrap().position_name("flights", 3);
        assert_eq!(source(""), "kafka:flights/3");
        assert_eq!(source("generation = 2"), "kafka:flights/3#2");
    }
}
