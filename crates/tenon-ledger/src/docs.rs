//! Current state: documents by collection and key, folded from the facts.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::LedgerError;
use crate::ledger::StoredFact;
use crate::store::{Pool, Store};

/// Current state, folded from facts: documents by collection and key.
pub trait Docs {
    /// One document.
    fn get(&self, collection: &str, key: &str) -> Result<Option<Value>, LedgerError>;
    /// The documents whose key starts with `prefix`, in key order.
    fn scan(&self, collection: &str, prefix: &str) -> Result<Vec<(String, Value)>, LedgerError>;
}

/// Typed reading of documents.
pub trait DocsExt: Docs {
    /// One document as `T`.
    fn read<T: DeserializeOwned>(&self, collection: &str, key: &str) -> Result<Option<T>, LedgerError>;
    /// All documents of a collection whose key starts with `prefix`, as `T`, in key order.
    fn list<T: DeserializeOwned>(&self, collection: &str, prefix: &str) -> Result<Vec<(String, T)>, LedgerError>;
}

impl<D: Docs + ?Sized> DocsExt for D {
    fn read<T: DeserializeOwned>(&self, collection: &str, key: &str) -> Result<Option<T>, LedgerError> {
        self.get(collection, key)?.map(|document| typed(collection, key, document)).transpose()
    }

    fn list<T: DeserializeOwned>(&self, collection: &str, prefix: &str) -> Result<Vec<(String, T)>, LedgerError> {
        let documents = self.scan(collection, prefix)?.into_iter();
        documents.map(|(key, document)| typed(collection, &key, document).map(|document| (key, document))).collect()
    }
}

fn typed<T: DeserializeOwned>(collection: &str, key: &str, document: Value) -> Result<T, LedgerError> {
    serde_json::from_value(document).map_err(|source| misshapen(collection, key, source))
}

fn misshapen(collection: &str, key: &str, source: serde_json::Error) -> LedgerError {
    LedgerError::Document { collection: collection.to_owned(), key: key.to_owned(), source }
}

/// State that a projection may change.
pub trait DocsMut: Docs {
    /// Writes a document.
    fn put(&mut self, collection: &str, key: &str, document: Value) -> Result<(), LedgerError>;
    /// Removes a document; one that isn't there is no error.
    fn delete(&mut self, collection: &str, key: &str) -> Result<(), LedgerError>;
}

/// Typed writing of documents.
pub trait DocsMutExt: DocsMut {
    /// Writes a document.
    fn write<T: Serialize>(&mut self, collection: &str, key: &str, document: &T) -> Result<(), LedgerError>;
}

impl<D: DocsMut + ?Sized> DocsMutExt for D {
    fn write<T: Serialize>(&mut self, collection: &str, key: &str, document: &T) -> Result<(), LedgerError> {
        self.put(collection, key, serde_json::to_value(document)?)
    }
}

/// A fold of facts into documents. Pure: the same facts give the same documents.
pub trait Projection: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Folds one fact in. Facts of kinds that it does not know are none of its business.
    ///
    /// # Errors
    /// Any error refuses the fact: the append that brought it writes nothing.
    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError>;
}

/// Folds one fact in with every projection.
pub(crate) fn fold(
    projections: &[Arc<dyn Projection>],
    docs: &mut dyn DocsMut,
    stored: &StoredFact,
) -> Result<(), LedgerError> {
    for projection in projections {
        // A projection that panics must not take the writer down, and with it everybody else's facts.
        let applied = catch_unwind(AssertUnwindSafe(|| projection.apply(docs, stored)));
        applied.unwrap_or(Err(LedgerError::Panicked)).map_err(|source| LedgerError::Projection {
            name: projection.name(),
            kind: stored.fact.kind.clone(),
            source: Box::new(source),
        })?;
    }
    Ok(())
}

/// State in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryDocs {
    collections: BTreeMap<String, BTreeMap<String, Value>>,
}

impl MemoryDocs {
    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.collections.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every document, in the order of collections and keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.collections.iter().flat_map(|(collection, documents)| {
            documents.iter().map(|(key, document)| (collection.as_str(), key.as_str(), document))
        })
    }
}

impl Docs for MemoryDocs {
    fn get(&self, collection: &str, key: &str) -> Result<Option<Value>, LedgerError> {
        Ok(self.collections.get(collection).and_then(|documents| documents.get(key)).cloned())
    }

    fn scan(&self, collection: &str, prefix: &str) -> Result<Vec<(String, Value)>, LedgerError> {
        let Some(documents) = self.collections.get(collection) else { return Ok(Vec::new()) };
        let from = documents.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let matching = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(matching.map(|(key, document)| (key.clone(), document.clone())).collect())
    }
}

impl DocsMut for MemoryDocs {
    fn put(&mut self, collection: &str, key: &str, document: Value) -> Result<(), LedgerError> {
        if !self.collections.contains_key(collection) {
            self.collections.insert(collection.to_owned(), BTreeMap::new());
        }
        if let Some(documents) = self.collections.get_mut(collection) {
            documents.insert(key.to_owned(), document);
        }
        Ok(())
    }

    fn delete(&mut self, collection: &str, key: &str) -> Result<(), LedgerError> {
        if let Some(documents) = self.collections.get_mut(collection) {
            documents.remove(key);
        }
        Ok(())
    }
}

/// Current state of a ledger, read from its database. Each read sees the newest commit.
#[derive(Clone)]
pub struct LedgerDocs {
    pub(crate) pool: Arc<Pool>,
}

impl Docs for LedgerDocs {
    fn get(&self, collection: &str, key: &str) -> Result<Option<Value>, LedgerError> {
        self.pool.with(|store| store.get(collection, key))
    }

    fn scan(&self, collection: &str, prefix: &str) -> Result<Vec<(String, Value)>, LedgerError> {
        self.pool.with(|store| store.scan(collection, prefix))
    }
}

impl Docs for Store {
    fn get(&self, collection: &str, key: &str) -> Result<Option<Value>, LedgerError> {
        let text = self.document(collection, key)?;
        text.map(|text| serde_json::from_str(&text).map_err(|source| misshapen(collection, key, source))).transpose()
    }

    fn scan(&self, collection: &str, prefix: &str) -> Result<Vec<(String, Value)>, LedgerError> {
        let texts = self.documents(collection, prefix)?.into_iter();
        let parsed = texts.map(|(key, text)| match serde_json::from_str(&text) {
            Ok(document) => Ok((key, document)),
            Err(source) => Err(misshapen(collection, &key, source)),
        });
        parsed.collect()
    }
}

impl DocsMut for Store {
    fn put(&mut self, collection: &str, key: &str, document: Value) -> Result<(), LedgerError> {
        self.put_document(collection, key, &document.to_string())
    }

    fn delete(&mut self, collection: &str, key: &str) -> Result<(), LedgerError> {
        self.delete_document(collection, key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn scans_take_a_prefix_in_key_order() {
        let mut docs = MemoryDocs::default();
        for key in ["b/2", "a/1", "b", "b/10", "c"] {
            docs.put("things", key, json!(key)).unwrap();
        }
        docs.delete("things", "c").unwrap();
        docs.delete("nothing", "c").unwrap();
        let keys: Vec<String> = docs.scan("things", "b/").unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["b/10", "b/2"]);
        assert_eq!(docs.scan("things", "").unwrap().len(), 4);
        assert_eq!(docs.read::<String>("things", "a/1").unwrap().unwrap(), "a/1");
        assert!(matches!(docs.read::<u32>("things", "a/1"), Err(LedgerError::Document { .. })));
    }
}
