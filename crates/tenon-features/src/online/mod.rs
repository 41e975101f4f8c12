//! The online store: recent rows of every view in memory, and on disk what is committed.

mod file;
mod read;
mod select;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tenon_core::spec::SpecSet;
use tenon_core::{FeatureViewName, ModelName};
use tenon_query::point_in_time::SourceRows;

pub(crate) use file::{OnlineFile, ViewRecord, ViewWrite};
pub(crate) use read::{many, one};
pub use select::{FeatureRef, OnlineColumn, Selected};
pub(crate) use view::{LiveView, NEVER, Shape, State};

use crate::FeatureError;

/// What is served now: one generation of the applied specs.
#[derive(Default)]
pub(crate) struct Live {
    /// The specs; none: nothing was loaded yet.
    pub specs: Option<Arc<SpecSet>>,
    /// Every applied view; where it cannot be served, why.
    pub views: BTreeMap<FeatureViewName, Result<Arc<LiveView>, String>>,
    pub models: HashMap<ModelName, LiveModel>,
}

/// A model's views, in order; where one cannot be served, which and why.
type LiveModel = Result<Vec<Arc<LiveView>>, (FeatureViewName, String)>;

impl Live {
    pub(crate) fn new(specs: Arc<SpecSet>, views: BTreeMap<FeatureViewName, Result<Arc<LiveView>, String>>) -> Self {
        let model = |name: &ModelName| -> LiveModel {
            // Views that share a feature's name are told where the model is checked and trained.
            let live = specs.models[name].spec.features.iter().map(|view| match views.get(view) {
                Some(Ok(live)) => Ok(Arc::clone(live)),
                Some(Err(reason)) => Err((view.clone(), reason.clone())),
                None => Err((view.clone(), "it is not declared".to_owned())),
            });
            live.collect()
        };
        let models = specs.models.keys().map(|name| (name.clone(), model(name))).collect();
        Self { specs: Some(specs), views, models }
    }

    pub(crate) fn model(&self, name: &ModelName) -> Result<&[Arc<LiveView>], FeatureError> {
        let model = self.models.get(name).ok_or_else(|| FeatureError::NoModel(name.clone()))?;
        match model {
            Ok(views) => Ok(views),
            Err((view, reason)) => Err(FeatureError::NotServed { view: view.clone(), reason: reason.clone() }),
        }
    }

    /// The views that read a dataset.
    pub(crate) fn over(&self, dataset: &str) -> Vec<Arc<LiveView>> {
        self.views.values().flatten().filter(|view| view.shape.dataset == dataset).map(Arc::clone).collect()
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
        for chunk in log.unwritten.drain(..) {
            rows.extend(&chunk, |_| true);
        }
        let record = ViewRecord {
            definition: view.shape.definition,
            applied: log.applied,
            newest: log.newest,
            began: log.began,
            horizon: view.horizon(),
        };
        let replace = std::mem::take(&mut log.replace);
        log.stale = false;
        writes.push(ViewWrite { view: view.shape.name.as_str().to_owned(), record, rows, replace });
    }
    writes
}

/// Returns rows that could not be written to the views' logs.
pub(crate) fn put_back(views: &[Arc<LiveView>], writes: Vec<ViewWrite>) {
    for write in writes {
        if let Some(view) = views.iter().find(|view| view.shape.name.as_str() == write.view) {
            let mut log = view.log();
            log.unwritten.insert(0, write.rows);
            log.replace |= write.replace;
            log.stale = true;
        }
    }
}
