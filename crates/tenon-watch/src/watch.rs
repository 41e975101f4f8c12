//! The façade: what the rest of the program sees of watching.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tenon_company::Catalog;
use tenon_core::fact::{DriftDetected, MonitorMeasured, QualityMeasured, SkewDetected, SkewMeasured};
use tenon_core::id::OperationId;
use tenon_core::spec::{MonitorSpec, Resource, SkewRule};
use tenon_core::{
    Clock, DeploymentName, ModelName, ModelVersionRef, MonitorName, NewFact, Payload, PodName, Principal, Timestamp,
};
use tenon_features::{FeatureStore, FoundFeature, Moved};
use tenon_lake::Lake;
use tenon_ledger::{DocsExt, Ledger};
use tenon_models::Models;

use crate::drift::Reference;
use crate::error::WatchError;
use crate::plan::{Before, Compared, Looked, due, judge};
use crate::projection::{
    DRIFT, DriftPoint, IN_CHARGE, INCIDENTS, InCharge, Incident, MONITORS, MonitorState, QUALITY, QualityPoint, SKEW,
    SkewPoint,
};
use crate::quality;
use crate::skew::{self, Looking};
use crate::window::{Decided, Window};

/// What watching needs from outside.
pub struct WatchOptions {
    /// The record. It must fold [`crate::projection()`].
    pub ledger: Ledger,
    /// The monitors.
    pub catalog: Catalog,
    /// Where decisions and outcomes are.
    pub lake: Lake,
    /// What training sees.
    pub features: FeatureStore,
    /// The references.
    pub models: Models,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// Monitors, triggers, incidents. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Ledger,
    catalog: Catalog,
    lake: Lake,
    features: FeatureStore,
    models: Models,
    clock: Arc<dyn Clock>,
    /// When each monitor last looked, also where it saw too little to record.
    looked: Mutex<Looked>,
    references: Mutex<HashMap<ModelVersionRef, Arc<Reference>>>,
    /// Holding the lock is what measuring means.
    windows: tokio::sync::Mutex<BTreeMap<DeploymentName, Window>>,
}

/// What one look of a monitor found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The monitor.
    pub monitor: MonitorName,
    /// The window, from and until.
    pub window: (Timestamp, Timestamp),
    /// The version in charge; none: nothing is deployed, so there was nothing to look at.
    pub version: Option<ModelVersionRef>,
    /// Its decisions in the window.
    pub rows: u64,
    /// The comparison with its training set; none while the window holds fewer rows than the rule asks for.
    pub compared: Option<MonitorMeasured>,
    /// How good its decisions were; none while too few outcomes are known.
    pub quality: Option<QualityMeasured>,
    /// The drift that was reported.
    pub detected: Option<DriftDetected>,
    /// The comparison of what was served with what training sees; none where the monitor does not ask for it, or there is
    /// nothing to look at.
    pub skew: Option<SkewMeasured>,
    /// The skew that was reported.
    pub skewed: Option<SkewDetected>,
}

impl Watch {
    /// Watching over these parts.
    pub fn new(options: WatchOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                ledger: options.ledger,
                catalog: options.catalog,
                lake: options.lake,
                features: options.features,
                models: options.models,
                clock: options.clock,
                looked: Mutex::default(),
                references: Mutex::default(),
                windows: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Measures every monitor that is due now, and returns what they found.
    ///
    /// # Errors
    /// What the parts below say; what was measured by then stays recorded.
    pub async fn tick(&self) -> Result<Vec<Measurement>, WatchError> {
        let now = self.inner.clock.now();
        let specs = self.inner.catalog.specs();
        let looked = self.looked(specs.monitors.keys())?;
        let monitors = specs.monitors.iter().map(|(name, resource)| (name, &resource.spec));
        let mut measurements = Vec::new();
        for monitor in due(now, &looked, monitors) {
            measurements.push(self.measure(&monitor, now).await?);
        }
        Ok(measurements)
    }

    /// Looks at the window that ends at `now`, whether it is due or not: compares the decisions of the version in
    /// charge with its training set and with their outcomes, and records what it finds. Looking again at the same
    /// window records nothing twice.
    ///
    /// # Errors
    /// `UnknownMonitor`; what the parts below say.
    pub async fn measure(&self, monitor: &MonitorName, now: Timestamp) -> Result<Measurement, WatchError> {
        let specs = self.inner.catalog.specs();
        let unknown = || WatchError::UnknownMonitor {
            name: monitor.clone(),
            known: specs.monitors.keys().map(ToString::to_string).collect(),
        };
        let Resource { pod, spec, .. } = specs.monitors.get(monitor).ok_or_else(unknown)?;
        let window = (now - spec.window, now);
        self.inner.looked.lock().insert(monitor.clone(), now);
        let mut found = Measurement {
            monitor: monitor.clone(),
            window,
            version: None,
            rows: 0,
            compared: None,
            quality: None,
            detected: None,
            skew: None,
            skewed: None,
        };
        let docs = self.inner.ledger.docs();
        let in_charge: Option<InCharge> = docs.read(IN_CHARGE, spec.deployment.as_str()).map_err(WatchError::Ledger)?;
        let Some(InCharge { version, .. }) = in_charge else { return Ok(found) };
        let mut windows = self.inner.windows.lock().await;
        let rows = windows.entry(spec.deployment.clone()).or_default();
        // A deployment may have monitors of different windows; all rows that any of them needs are kept.
        let of_deployment = specs.monitors.values().filter(|other| other.spec.deployment == spec.deployment);
        let widest = of_deployment.map(|other| other.spec.window).max().unwrap_or(spec.window);
        rows.follow(&spec.deployment, now - widest, &self.inner.ledger, &self.inner.lake).await?;
        let in_window =
            |decided: &&Decided| decided.version == version.version && decided.at > window.0 && decided.at <= window.1;
        let decided: Vec<&Decided> = rows.rows.values().filter(in_window).collect();
        found.rows = decided.len() as u64;
        let mut facts = Vec::new();
        if found.rows >= spec.drift.min_rows.max(1) {
            let (compared, detected) = self.compare(monitor, spec, &version, window, &decided)?;
            let place = [monitor.as_str(), &now.as_micros().to_string()];
            facts.push(fact(pod, &compared, &place)?);
            if let Some(detected) = &detected {
                facts.push(fact(pod, detected, &[monitor.as_str(), &version.to_string()])?);
            }
            (found.compared, found.detected) = (Some(compared), detected);
        }
        let known = decided.iter().filter_map(|decided| Some((decided.outcome?, decided.probability)));
        let (outcomes, probabilities): (Vec<bool>, Vec<f64>) = known.unzip();
        drop(windows);
        let rule = spec.quality.as_ref();
        found.quality = quality::measure(monitor, &spec.deployment, window, &outcomes, &probabilities, rule)?;
        if let Some(measured) = &found.quality {
            facts.push(fact(pod, measured, &[monitor.as_str(), &now.as_micros().to_string()])?);
        }
        self.append(facts).await?;
        // By itself, and last: a view that cannot be computed again must not hide a drift.
        if let Some(rule) = spec.skew {
            let model = &version.model;
            found.skew = self.look_again(monitor, spec, model, rule, now).await?;
            found.skewed = found.skew.as_ref().and_then(|measured| skew::detected(measured, model));
            let place = [monitor.as_str(), &now.as_micros().to_string()];
            let measured = found.skew.iter().map(|measured| fact(pod, measured, &place));
            let detected = found.skewed.iter().map(|detected| fact(pod, detected, &place));
            self.append(measured.chain(detected).collect::<Result<_, _>>()?).await?;
        }
        found.version = Some(version);
        Ok(found)
    }

    /// Holds decisions that were not looked at yet against what training sees.
    async fn look_again(
        &self,
        monitor: &MonitorName,
        spec: &MonitorSpec,
        model: &ModelName,
        rule: SkewRule,
        now: Timestamp,
    ) -> Result<Option<SkewMeasured>, WatchError> {
        let last = self.state(monitor)?.skew.map(|last| last.window.1);
        let Some(window) = skew::looked_at(now, spec.every, spec.window, last) else { return Ok(None) };
        let Inner { lake, features, models, .. } = &*self.inner;
        Looking { lake, features, models }.compare(monitor, &spec.deployment, model, rule, window).await
    }

    async fn append(&self, facts: Vec<NewFact>) -> Result<(), WatchError> {
        if !facts.is_empty() {
            self.inner.ledger.append(facts).await.map_err(WatchError::Ledger)?;
        }
        Ok(())
    }

    fn compare(
        &self,
        monitor: &MonitorName,
        spec: &MonitorSpec,
        version: &ModelVersionRef,
        window: (Timestamp, Timestamp),
        decided: &[&Decided],
    ) -> Result<(MonitorMeasured, Option<DriftDetected>), WatchError> {
        let features: Vec<&[f32]> = decided.iter().map(|decided| decided.features.as_slice()).collect();
        let predictions: Vec<f64> = decided.iter().map(|decided| decided.probability).collect();
        let seed = window.1.as_micros().unsigned_abs();
        let reference = self.reference(version)?;
        let drifts = reference.compare(version, &features, &predictions, &spec.drift, seed)?;
        let state = self.state(monitor)?;
        // The same window again: what stands before it is what stood before it the first time.
        let last = state.last.as_ref().filter(|last| last.window.1 < window.1);
        let before = Before {
            last: last.map(|last| (&last.reference, last.in_a_row)),
            reported: state.reported.contains(version),
        };
        let compared = Compared { monitor, spec, version, window, rows: decided.len() as u64 };
        Ok(judge(compared, drifts, before))
    }

    fn reference(&self, version: &ModelVersionRef) -> Result<Arc<Reference>, WatchError> {
        if let Some(reference) = self.inner.references.lock().get(version) {
            return Ok(Arc::clone(reference));
        }
        let fault = |source| WatchError::Models { version: version.clone(), source };
        let given = self.inner.models.reference(version).map_err(fault)?;
        let reference = Arc::new(Reference::new(version, given)?);
        self.inner.references.lock().insert(version.clone(), Arc::clone(&reference));
        Ok(reference)
    }

    /// When monitors last looked: in this process, or on record.
    fn looked<'a>(&self, monitors: impl Iterator<Item = &'a MonitorName>) -> Result<Looked, WatchError> {
        let mut looked = self.inner.looked.lock().clone();
        for monitor in monitors {
            if !looked.contains_key(monitor)
                && let Some(last) = self.state(monitor)?.last
            {
                looked.insert(monitor.clone(), last.window.1);
            }
        }
        Ok(looked)
    }

    /// What a monitor saw last.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn state(&self, monitor: &MonitorName) -> Result<MonitorState, WatchError> {
        let state = self.inner.ledger.docs().read(MONITORS, monitor.as_str()).map_err(WatchError::Ledger)?;
        Ok(state.unwrap_or_default())
    }

    /// Says of features that were found how far their values have moved, as each monitor of a model that takes them measured
    /// it last.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn tell_drift(&self, found: &mut [FoundFeature]) -> Result<(), WatchError> {
        for monitor in self.inner.catalog.specs().monitors.keys() {
            let Some(last) = self.state(monitor)?.last else { continue };
            let of_model = |found: &&mut FoundFeature| found.models.contains(&last.reference.model);
            for found in found.iter_mut().filter(of_model) {
                let drift = last.features.iter().find(|drift| drift.feature == found.feature);
                found.drift.extend(drift.map(|drift| Moved {
                    monitor: monitor.clone(),
                    deployment: last.deployment.clone(),
                    until: last.window.1,
                    psi: drift.psi,
                    drifted: drift.drifted,
                }));
            }
        }
        Ok(())
    }

    /// Every comparison of a monitor, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn drift(&self, monitor: &MonitorName) -> Result<Vec<DriftPoint>, WatchError> {
        self.list(DRIFT, &format!("{monitor}/"))
    }

    /// Every measurement of quality of a monitor, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn quality(&self, monitor: &MonitorName) -> Result<Vec<QualityPoint>, WatchError> {
        self.list(QUALITY, &format!("{monitor}/"))
    }

    /// Every comparison of what was served with what training sees, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn skew(&self, monitor: &MonitorName) -> Result<Vec<SkewPoint>, WatchError> {
        self.list(SKEW, &format!("{monitor}/"))
    }

    /// Every incident, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn incidents(&self) -> Result<Vec<Incident>, WatchError> {
        let mut incidents: Vec<Incident> = self.list(INCIDENTS, "")?;
        incidents.sort_by_key(|incident| incident.fact);
        Ok(incidents)
    }

    fn list<T: serde::de::DeserializeOwned>(&self, collection: &str, prefix: &str) -> Result<Vec<T>, WatchError> {
        let found: Vec<(String, T)> = self.inner.ledger.docs().list(collection, prefix).map_err(WatchError::Ledger)?;
        Ok(found.into_iter().map(|(_, document)| document).collect())
    }
}

fn fact<P: Payload>(pod: &PodName, payload: &P, place: &[&str]) -> Result<NewFact, WatchError> {
    let parts: Vec<&str> = [P::KIND].into_iter().chain(place.iter().copied()).collect();
    let fact = NewFact::new(Principal::service("watch"), Some(pod.clone()), payload).map_err(WatchError::Json)?;
    Ok(fact.sealing(OperationId::derive(&parts)))
}
