//! The online store: recent rows of every view in memory, with what older ones say where they matter for ever, and on disk what
//! is committed; or in Redis, and in memory what is not there yet.

mod cell;
mod fetched;
mod file;
mod past;
mod read;
mod redis;
mod request;
mod select;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use tenon_core::spec::SpecSet;
use tenon_core::{FeatureViewName, ModelName};
use tenon_query::point_in_time::SourceRows;

use fetched::{Fetched, Unread};
pub(crate) use file::{OnlineFile, Stored, ViewRecord, ViewWrite};
pub(crate) use past::Whole;
pub(crate) use read::json_key;
pub use redis::RedisPlace;
pub(crate) use redis::{Down, InRedis, Redis, Wrote};
pub(crate) use request::from_batch;
pub use select::{FeatureRef, OnlineColumn, Selected};
pub(crate) use view::{LiveView, NEVER, Shape, State};

use crate::FeatureError;
use crate::definition::Definition;
use crate::plan::{DerivedViews, Plan};

/// So many choices of features are remembered, then none of them.
const MANY_CHOICES: usize = 1_000;
/// A choice of more features is not remembered.
const LONG_CHOICE: usize = 1_000;

/// What is served now: one generation of the applied specs.
#[derive(Default)]
pub(crate) struct Live {
    /// The specs; none: nothing was loaded yet.
    pub specs: Option<Arc<SpecSet>>,
    /// Every applied view of rows; where it cannot be served, why.
    pub views: BTreeMap<FeatureViewName, Result<Arc<LiveView>, String>>,
    /// Every applied derived view.
    pub derived: DerivedViews,
    models: HashMap<ModelName, Arc<Selected>>,
    /// What callers chose by name, who mostly choose the same again.
    chosen: RwLock<HashMap<Vec<FeatureRef>, Arc<Selected>>>,
    /// Views of definitions that are no longer the applied ones, for as long as somebody reads them.
    pub pinned: Vec<Weak<LiveView>>,
}

impl Live {
    pub(crate) fn new(
        specs: Arc<SpecSet>,
        views: BTreeMap<FeatureViewName, Result<Arc<LiveView>, String>>,
        derived: DerivedViews,
        before: &[Arc<LiveView>],
    ) -> Self {
        let stays = |view: &&Arc<LiveView>| views.values().flatten().all(|applied| !Arc::ptr_eq(applied, view));
        let pinned = before.iter().filter(stays).map(Arc::downgrade).collect();
        let mut live = Self { specs: Some(Arc::clone(&specs)), views, derived, pinned, ..Self::default() };
        // Why a model is not there is said to whoever asks for it.
        let model = |name: &ModelName| Some((name.clone(), Arc::new(live.read_of(&specs, name).ok()?)));
        live.models = specs.models.keys().filter_map(model).collect();
        live
    }

    /// The same generation with these views pinned.
    pub(crate) fn with_pinned(&self, pinned: Vec<Weak<LiveView>>) -> Self {
        let (specs, views, derived) = (self.specs.clone(), self.views.clone(), self.derived.clone());
        Self { specs, views, derived, models: self.models.clone(), chosen: RwLock::default(), pinned }
    }

    /// Whether these specs are what is served.
    pub(crate) fn serves(&self, specs: &Arc<SpecSet>) -> bool {
        self.specs.as_ref().is_some_and(|served| Arc::ptr_eq(served, specs))
    }

    /// Features that a caller chose to be read together.
    pub(crate) fn chosen(&self, features: &[FeatureRef]) -> Result<Arc<Selected>, FeatureError> {
        if let Some(known) = self.chosen.read().get(features) {
            return Ok(Arc::clone(known));
        }
        let selected = Arc::new(self.select(features)?);
        if features.len() <= LONG_CHOICE {
            let mut chosen = self.chosen.write();
            if chosen.len() >= MANY_CHOICES {
                chosen.clear();
            }
            chosen.insert(features.to_vec(), Arc::clone(&selected));
        }
        Ok(selected)
    }

    /// Features to be read together.
    pub(crate) fn select(&self, features: &[FeatureRef]) -> Result<Selected, FeatureError> {
        let Some(specs) = &self.specs else { return Ok(Selected::default()) };
        let live = |name: &FeatureViewName| match self.views.get(name) {
            Some(Ok(view)) => Ok(Arc::clone(view)),
            Some(Err(reason)) => Err(FeatureError::NotServed { view: name.clone(), reason: reason.clone() }),
            None => Err(FeatureError::NoView(name.clone())),
        };
        Selected::of(Plan::of(specs, &self.derived, features)?, live)
    }

    /// All features of a model.
    pub(crate) fn model(&self, name: &ModelName) -> Result<Arc<Selected>, FeatureError> {
        match (self.models.get(name), &self.specs) {
            (Some(model), _) => Ok(Arc::clone(model)),
            (None, Some(specs)) => self.read_of(specs, name).map(Arc::new),
            (None, None) => Err(FeatureError::NoModel(name.clone())),
        }
    }

    fn read_of(&self, specs: &SpecSet, model: &ModelName) -> Result<Selected, FeatureError> {
        self.select(&Definition::of(specs, model)?.refs())
    }

    /// The views of rows that are kept up: those applied, and those of earlier definitions that somebody reads.
    pub(crate) fn kept(&self) -> Vec<Arc<LiveView>> {
        self.views.values().flatten().cloned().chain(self.pinned.iter().filter_map(Weak::upgrade)).collect()
    }

    /// Of those, the views that read a dataset.
    pub(crate) fn over(&self, dataset: &str) -> Vec<Arc<LiveView>> {
        self.kept().into_iter().filter(|view| view.shape.dataset == dataset).collect()
    }
}

/// What is committed of the views and not in the file yet. The rows leave the views' logs; where they cannot be written,
/// [`put_back`] returns them.
pub(crate) fn take_unwritten(views: &[Arc<LiveView>]) -> Vec<ViewWrite> {
    let mut writes = Vec::new();
    for view in views {
        let mut log = view.log();
        if !log.stale && log.unwritten.is_empty() {
            continue;
        }
        let mut rows = SourceRows::default();
        for (_, chunk) in log.unwritten.drain(..) {
            rows.extend(&chunk, |_| true);
        }
        let record = view.record(&log);
        let replace = std::mem::take(&mut log.replace);
        let pasts = view.pasts(&std::mem::take(&mut log.folded));
        log.stale = false;
        writes.push(ViewWrite { view: view.stored_as(), record, rows, pasts, replace });
    }
    writes
}

/// Returns rows that could not be written to the views' logs.
pub(crate) fn put_back(views: &[Arc<LiveView>], writes: Vec<ViewWrite>) {
    for write in writes {
        if let Some(view) = views.iter().find(|view| view.stored_as() == write.view) {
            let mut log = view.log();
            log.unwritten.insert(0, (write.record.applied.unwrap_or_default(), Arc::new(write.rows)));
            log.folded.extend(write.pasts.into_iter().map(|(key, _)| key));
            log.replace |= write.replace;
            log.stale = true;
        }
    }
}
