//! Schemas by their ids, from a registry that speaks Confluent's REST interface.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tenon_core::spec::{KafkaFormat, KafkaSource, Registry};

use super::batch::Batch;
use super::decode::Poison;
use super::{avro, protobuf};
use crate::IngestError;
use crate::secret::reveal;

/// How long the registry may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most schemas that one may be put together from.
const MOST_REFERENCES: usize = 256;

/// What an id stands for: a schema, or why there is none.
pub(crate) type Known = HashMap<u32, Result<Arc<Schema>, Poison>>;

/// A schema, whatever language it is written in.
#[derive(Debug)]
pub(crate) enum Schema {
    Avro(avro::Schema),
    Protobuf(protobuf::Schema),
}

impl Schema {
    /// Reads what comes after the schema's id.
    pub(crate) fn read(&self, bytes: &[u8], max_depth: u16) -> Result<Map<String, Value>, Poison> {
        match self {
            Self::Avro(schema) => schema.record(bytes, max_depth),
            Self::Protobuf(schema) => schema.message(bytes, max_depth),
        }
    }
}

/// A registry, with the schemas that it told. What an id stands for never changes.
pub(crate) struct Schemas {
    registry: Registry,
    password: Option<String>,
    client: reqwest::Client,
    known: Known,
}

impl Schemas {
    pub(crate) fn new(registry: &Registry, root: &Path) -> Result<Self, IngestError> {
        let password = registry.password.as_ref().map(|secret| reveal(secret, root)).transpose()?;
        let client = reqwest::Client::builder().timeout(PATIENCE).build();
        let client = client.map_err(|error| away(registry, &error))?;
        Ok(Self { registry: registry.clone(), password, client, known: Known::new() })
    }

    /// The schemas of all ids that occur in a batch. Keys are read as well where a delete names its row by one.
    ///
    /// # Errors
    /// [`IngestError::Registry`] when the registry does not answer: nothing is known of the batch then.
    pub(crate) async fn of(&mut self, batch: &Batch, source: &KafkaSource) -> Result<Known, IngestError> {
        if source.format == KafkaFormat::Json {
            return Ok(Known::new());
        }
        let read =
            batch.messages().flat_map(|message| [message.value, message.key.filter(|_| source.changes.is_some())]);
        let mut ids: Vec<u32> = read.flatten().filter_map(|bytes| header(bytes).ok()).map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut found = Known::new();
        for id in ids {
            if let Some(known) = self.known.get(&id) {
                found.insert(id, known.clone());
                continue;
            }
            let schema = self.schema(id, source.format).await?;
            // An id that nobody knows yet may be known to the next batch.
            if schema.is_ok() {
                self.known.insert(id, schema.clone());
            }
            found.insert(id, schema);
        }
        Ok(found)
    }

    async fn schema(&self, id: u32, format: KafkaFormat) -> Result<Result<Arc<Schema>, Poison>, IngestError> {
        let Some(answer) = self.ask(&["schemas", "ids", &id.to_string()]).await? else {
            return Ok(Err(Poison::new("its schema id is unknown to the registry", format!("it is {id}"))));
        };
        let kind = answer.get("schemaType").and_then(Value::as_str).unwrap_or("AVRO");
        if kind != format.word().to_ascii_uppercase() {
            let article = if format == KafkaFormat::Avro { "an" } else { "a" };
            let rule = format!("its schema is not {article} {} schema", format.word());
            return Ok(Err(Poison::new(rule, format!("schema {id} is {kind}"))));
        }
        let text = text_of(&answer);
        let schema = match format {
            KafkaFormat::Protobuf => match self.references(&answer).await? {
                Ok(references) => protobuf::Schema::parse(text, references).map(Schema::Protobuf),
                Err(why) => Err(why),
            },
            _ => avro::Schema::parse(text).map(Schema::Avro),
        };
        let failed = |why| Poison::new("its schema cannot be followed", format!("schema {id}: {why}"));
        Ok(schema.map(Arc::new).map_err(failed))
    }

    /// The schemas that one refers to, and those that these refer to, by the names under which they are imported. The inner
    /// error says which of them is not there.
    async fn references(&self, answer: &Value) -> Result<Result<HashMap<String, String>, String>, IngestError> {
        let (mut found, mut wanted) = (HashMap::new(), references_of(answer));
        let mut seen: HashSet<String> = HashSet::new();
        while let Some((name, subject, version)) = wanted.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if seen.len() > MOST_REFERENCES {
                return Ok(Err(format!("it refers to more than {MOST_REFERENCES} schemas")));
            }
            let Some(answer) = self.ask(&["subjects", &subject, "versions", &version]).await? else {
                return Ok(Err(format!("it refers to version {version} of `{subject}`, which is not there")));
            };
            wanted.extend(references_of(&answer));
            found.insert(name, text_of(&answer).to_owned());
        }
        Ok(Ok(found))
    }

    /// What the registry answers below its address; none where it has no such thing.
    async fn ask(&self, path: &[&str]) -> Result<Option<Value>, IngestError> {
        let failed = |error: reqwest::Error| away(&self.registry, &error);
        let unusable = |what: String| IngestError::Registry { url: self.registry.url.clone(), what };
        let mut url = reqwest::Url::parse(&self.registry.url).map_err(|error| unusable(error.to_string()))?;
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => return Err(unusable("this is no address of a server".to_owned())),
        }
        let mut request = self.client.get(url);
        if let Some(username) = &self.registry.username {
            request = request.basic_auth(username, self.password.as_ref());
        }
        let answer = request.send().await.map_err(failed)?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status().map_err(failed)?.json().await.map_err(failed)?))
    }
}

fn text_of(answer: &Value) -> &str {
    answer.get("schema").and_then(Value::as_str).unwrap_or_default()
}

/// What a schema refers to: the name under which it is imported, its subject, and its version there.
fn references_of(answer: &Value) -> Vec<(String, String, String)> {
    let references = answer.get("references").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let reference = |reference: &Value| {
        let text = |key: &str| Some(reference.get(key)?.as_str()?.to_owned());
        Some((text("name")?, text("subject")?, reference.get("version")?.to_string()))
    };
    references.iter().filter_map(reference).collect()
}

/// The schema's id, and what comes after it: a zero byte, then the id in four.
pub(crate) fn header(value: &[u8]) -> Result<(u32, &[u8]), Poison> {
    match value.split_first_chunk::<5>() {
        Some(([0, id @ ..], rest)) => Ok((u32::from_be_bytes(*id), rest)),
        _ => Err(Poison::new("not in the Confluent wire format", "it does not begin with a zero byte and a schema id")),
    }
}

fn away(registry: &Registry, error: &reqwest::Error) -> IngestError {
    // The address may hold no password; what the library says of it is left out all the same.
    let what = tenon_core::words::chain(error);
    IngestError::Registry { url: registry.url.clone(), what }
}
