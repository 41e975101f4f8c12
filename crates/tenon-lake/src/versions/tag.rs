//! Tags: names for versions of tables.

use tenon_core::fact::{TableVersion, TagCreated, TagDeleted};
use tenon_core::{AsOf, DatasetName, NewFact, Payload, Principal, TagName, Timestamp};
use tenon_ledger::DocsExt;

use crate::record::records::TAGS;
use crate::{Lake, LakeError, QUARANTINE, TagRecord, quarantine_of};

impl Lake {
    /// Pins versions of datasets under a name: those given, or all that hold rows as of then. What is pinned stays
    /// readable for as long as the tag stands.
    ///
    /// # Errors
    /// [`LakeError::Exists`] for a name that is taken, [`LakeError::NothingThen`] for a dataset without rows, and
    /// [`LakeError::Vacuumed`] for a version that is gone.
    pub async fn create_tag(
        &self,
        by: &Principal,
        tag: TagName,
        datasets: &[DatasetName],
        as_of: AsOf,
        reason: Option<String>,
    ) -> Result<TagRecord, LakeError> {
        let _one = self.inner.versions.lock().await;
        if self.tags()?.iter().any(|known| known.tag.tag == tag) {
            return Err(LakeError::Exists { what: "tag", name: tag.to_string() });
        }
        if matches!(as_of, AsOf::Version(_)) && datasets.len() != 1 {
            let names = datasets.iter().map(ToString::to_string).collect();
            return Err(LakeError::VersionOfMany(names));
        }
        let all: Vec<DatasetName> = self.table_datasets();
        let chosen = if datasets.is_empty() { &all[..] } else { datasets };
        let (mut tables, mut quarantines) = (Vec::new(), Vec::new());
        for dataset in chosen {
            self.table_spec(dataset)?;
            let Some(version) = self.version(dataset.as_str(), as_of.clone()).await? else {
                if datasets.is_empty() {
                    continue;
                }
                let (table, as_of) = (dataset.to_string(), as_of.to_string());
                return Err(LakeError::NothingThen { table, as_of, todo: "tag" });
            };
            if let Some(vacuumed) = self.vacuumed(dataset.as_str(), version)? {
                return Err(vacuumed);
            }
            tables.push(TableVersion { dataset: dataset.clone(), version });
            let then = self.sealed_at(dataset.as_str(), version)?;
            let quarantine = quarantine_of(dataset.as_str());
            if let Some(version) = self.version(&quarantine, AsOf::Time(then)).await? {
                quarantines.push(TableVersion { dataset: dataset.clone(), version });
            }
        }
        if tables.is_empty() {
            return Err(LakeError::NothingThen { table: "the lake".to_owned(), as_of: as_of.to_string(), todo: "tag" });
        }
        let moment = match &as_of {
            AsOf::Time(moment) => *moment,
            AsOf::Tag(other) => self.tag(other)?.tag.moment,
            AsOf::Version(version) => self.sealed_at(tables[0].dataset.as_str(), *version)?,
            AsOf::Latest => self.inner.clock.now(),
        };
        self.record(by, &TagCreated { tag: tag.clone(), tables, quarantines, moment, reason }).await?;
        self.tag(&tag)
    }

    /// Gives a tag up: it pins nothing any more. That it stood stays on record.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`].
    pub async fn delete_tag(&self, by: &Principal, tag: &TagName, reason: Option<String>) -> Result<(), LakeError> {
        let _one = self.inner.versions.lock().await;
        self.tag(tag)?;
        self.record(by, &TagDeleted { tag: tag.clone(), reason }).await
    }

    /// The tags that stand, in the order of their names.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn tags(&self) -> Result<Vec<TagRecord>, LakeError> {
        let tags: Vec<(String, TagRecord)> = self.inner.ledger.docs().list(TAGS, "")?;
        Ok(tags.into_iter().map(|(_, tag)| tag).collect())
    }

    /// One tag.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`].
    pub fn tag(&self, tag: &TagName) -> Result<TagRecord, LakeError> {
        if let Some(found) = self.inner.ledger.docs().read(TAGS, tag.as_str())? {
            return Ok(found);
        }
        let tags = self.tags()?;
        Err(LakeError::no_such("tag", tag.as_str(), tags.iter().map(|known| known.tag.tag.as_str())))
    }

    /// The moment that something to read as of means for what has no versions of its own.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`] for a tag that does not stand, [`LakeError::VersionOfMany`] for a version.
    pub fn moment(&self, as_of: &AsOf) -> Result<Option<Timestamp>, LakeError> {
        Ok(match as_of {
            AsOf::Latest => None,
            AsOf::Time(moment) => Some(*moment),
            AsOf::Tag(tag) => Some(self.tag(tag)?.tag.moment),
            AsOf::Version(_) => return Err(LakeError::VersionOfMany(vec!["the whole company".to_owned()])),
        })
    }

    /// The version of a table that a tag pins; of a quarantine without rows none.
    pub(crate) fn tagged_version(&self, tag: &TagName, table: &str) -> Result<Option<u64>, LakeError> {
        let TagRecord { tag: pins, .. } = self.tag(tag)?;
        let dataset = table.strip_suffix(QUARANTINE).unwrap_or(table);
        let of = |pins: &[TableVersion]| pins.iter().find(|pin| pin.dataset.as_str() == dataset).map(|pin| pin.version);
        match of(&pins.tables) {
            None => Err(LakeError::NotTagged {
                tag: tag.to_string(),
                table: table.to_owned(),
                pinned: pins.tables.iter().map(|pin| pin.dataset.to_string()).collect(),
            }),
            version if dataset == table => Ok(version),
            Some(_) => Ok(of(&pins.quarantines)),
        }
    }

    /// When a version was sealed; one that no fact seals counts as its next sealed one.
    fn sealed_at(&self, table: &str, version: u64) -> Result<Timestamp, LakeError> {
        let history = self.history(table)?;
        // Versions that landed no row of their own share the version that stood: the last of them counts.
        let until = history.partition_point(|commit| commit.version <= version);
        let sealed = until.checked_sub(1).and_then(|at| history.get(at)).or(history.first());
        Ok(sealed.map_or_else(|| self.inner.clock.now(), |commit| commit.at))
    }

    /// Every dataset that holds rows of its own.
    pub fn table_datasets(&self) -> Vec<DatasetName> {
        let specs = self.inner.catalog.specs();
        let tables = specs.datasets.iter().filter(|(_, resource)| resource.spec.source.sql.is_none());
        tables.map(|(name, _)| name.clone()).collect()
    }

    /// Puts something on record that belongs to the company as a whole.
    pub(crate) async fn record<P: Payload>(&self, by: &Principal, payload: &P) -> Result<(), LakeError> {
        let fact =
            NewFact::new(by.clone(), None, payload).map_err(|error| LakeError::Interrupted(error.to_string()))?;
        self.inner.ledger.append(vec![fact]).await?;
        Ok(())
    }
}
