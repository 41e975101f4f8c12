//! Schemas by their ids, from a registry that speaks Confluent's REST interface.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tenon_core::spec::Registry;

use super::avro::Schema;
use super::batch::Batch;
use super::decode::Poison;
use crate::IngestError;
use crate::secret::reveal;

/// How long the registry may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an id stands for: a schema, or why there is none.
pub(crate) type Known = HashMap<u32, Result<Arc<Schema>, Poison>>;

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

    /// The schemas of all ids that occur in a batch.
    ///
    /// # Errors
    /// [`IngestError::Registry`] when the registry does not answer: nothing is known of the batch then.
    pub(crate) async fn of(&mut self, batch: &Batch) -> Result<Known, IngestError> {
        let mut ids: Vec<u32> =
            batch.messages().filter_map(|message| header(message.value?).ok()).map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut found = Known::new();
        for id in ids {
            if let Some(known) = self.known.get(&id) {
                found.insert(id, known.clone());
                continue;
            }
            let schema = self.ask(id).await?;
            // An id that nobody knows yet may be known to the next batch.
            if schema.is_ok() {
                self.known.insert(id, schema.clone());
            }
            found.insert(id, schema);
        }
        Ok(found)
    }

    async fn ask(&self, id: u32) -> Result<Result<Arc<Schema>, Poison>, IngestError> {
        let failed = |error: reqwest::Error| away(&self.registry, &error);
        let url = format!("{}/schemas/ids/{id}", self.registry.url.trim_end_matches('/'));
        let mut request = self.client.get(url);
        if let Some(username) = &self.registry.username {
            request = request.basic_auth(username, self.password.as_ref());
        }
        let answer = request.send().await.map_err(failed)?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(Err(Poison::new("its schema id is unknown to the registry", format!("it is {id}"))));
        }
        let answer: Value = answer.error_for_status().map_err(failed)?.json().await.map_err(failed)?;
        let kind = answer.get("schemaType").and_then(Value::as_str).unwrap_or("AVRO");
        if kind != "AVRO" {
            return Ok(Err(Poison::new("its schema is not an Avro schema", format!("schema {id} is {kind}"))));
        }
        let schema = answer.get("schema").and_then(Value::as_str).unwrap_or_default();
        let schema = Schema::parse(schema).map(Arc::new);
        Ok(schema.map_err(|why| Poison::new("its schema cannot be followed", format!("schema {id}: {why}"))))
    }
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
    let what = crate::error::chain(error);
    IngestError::Registry { url: registry.url.clone(), what }
}
