//! What monitors saw, folded from facts.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenon_core::fact::{
    DriftDetected, FeatureDrift, FeatureSkew, MonitorMeasured, QualityMeasured, SkewDetected, SkewMeasured,
    TrafficReason, TrafficShifted,
};
use tenon_core::id::IncidentId;
use tenon_core::{DeploymentName, ModelVersionRef, MonitorName, Share, Timestamp};
use tenon_ledger::{DocsMut, LedgerError, Projection, StoredFact};

/// Collection of [`MonitorState`], by monitor.
pub(crate) const MONITORS: &str = "watch_monitor";
/// Collection of [`DriftPoint`], by `monitor/end of the window`.
pub(crate) const DRIFT: &str = "watch_drift";
/// Collection of [`QualityPoint`], by `monitor/end of the window`.
pub(crate) const QUALITY: &str = "watch_quality";
/// Collection of [`SkewPoint`], by `monitor/end of the window`.
pub(crate) const SKEW: &str = "watch_skew";
/// Collection of [`Incident`], by id.
pub(crate) const INCIDENTS: &str = "watch_incident";
/// Collection of the version in charge, by deployment.
pub(crate) const IN_CHARGE: &str = "watch_in_charge";

/// What a monitor saw last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MonitorState {
    /// What it watches.
    pub deployment: Option<DeploymentName>,
    /// The last comparison, whole.
    pub last: Option<MonitorMeasured>,
    /// The last measurement of quality.
    pub quality: Option<QualityMeasured>,
    /// The last comparison of what was served with what training sees.
    #[serde(default)]
    pub skew: Option<SkewMeasured>,
    /// The incident of drift that is open.
    pub incident: Option<IncidentId>,
    /// The incident of skew that is open.
    #[serde(default)]
    pub skewed: Option<IncidentId>,
    /// The versions whose drift was reported.
    pub reported: Vec<ModelVersionRef>,
}

/// One comparison, small enough to keep them all for a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftPoint {
    /// The end of the window.
    pub until: Timestamp,
    /// Decisions in it.
    pub rows: u64,
    /// The version whose training set is the reference.
    pub reference: ModelVersionRef,
    /// The input that moved most, with its index in nats; none when there are no inputs.
    pub most_moved: Option<(String, f64)>,
    /// The same of the prediction.
    pub prediction_psi: f64,
    /// How many columns moved far and surely enough.
    pub drifted: u32,
    /// How many comparisons in a row had such columns.
    pub in_a_row: u32,
}

/// One measurement of quality, small enough to keep them all for a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityPoint {
    /// The end of the window.
    pub until: Timestamp,
    /// Decisions of the window whose outcome is known.
    pub rows: u64,
    /// Area under the ROC curve, with the ends of its 95% interval.
    pub roc_auc: (f64, f64, f64),
    /// Mean squared distance of probability and outcome.
    pub brier: f64,
    /// Whether the declared quality is surely lost.
    pub lost: bool,
}

/// One comparison of what was served with what training sees, small enough to keep them all for a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkewPoint {
    /// The end of the window.
    pub until: Timestamp,
    /// Decisions that were looked at.
    pub rows: u64,
    /// The feature that differs most often, and in how many of them; none: all are the same.
    pub most_often: Option<(String, u64)>,
}

/// Something that people handle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The monitor that saw it.
    pub monitor: MonitorName,
    /// What it is about.
    pub deployment: DeploymentName,
    /// The version that was in charge.
    pub version: ModelVersionRef,
    /// When it was seen.
    pub opened: Timestamp,
    /// When another version took over or, of skew, nothing differed any more; none: still open.
    pub closed: Option<Timestamp>,
    /// In plain words.
    pub sentence: String,
    /// What moved, the most moved first.
    pub features: Vec<FeatureDrift>,
    /// What was served otherwise than training sees it, the most often first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skew: Vec<FeatureSkew>,
    /// Whether a new version was asked for.
    pub retrain: bool,
    /// Index of the fact.
    pub fact: u64,
}

/// The version in charge of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InCharge {
    pub(crate) version: ModelVersionRef,
    pub(crate) since: Timestamp,
}

/// The projection that [`crate::Watch`] reads; a ledger that it is given must fold it.
pub fn projection() -> Arc<dyn Projection> {
    Arc::new(WatchProjection)
}

struct WatchProjection;

impl Projection for WatchProjection {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        // A fact of a newer shape than this program knows is for a newer program to fold.
        if let Ok(measured) = stored.fact.payload::<MonitorMeasured>() {
            compared(docs, measured)
        } else if let Ok(measured) = stored.fact.payload::<QualityMeasured>() {
            quality(docs, measured)
        } else if let Ok(detected) = stored.fact.payload::<DriftDetected>() {
            reported(docs, detected, stored)
        } else if let Ok(measured) = stored.fact.payload::<SkewMeasured>() {
            skew(docs, measured, stored.fact.at)
        } else if let Ok(detected) = stored.fact.payload::<SkewDetected>() {
            skewed(docs, detected, stored)
        } else if let Ok(shifted) = stored.fact.payload::<TrafficShifted>() {
            moved(docs, &shifted, stored.fact.at)
        } else {
            Ok(())
        }
    }
}

fn compared(docs: &mut dyn DocsMut, measured: MonitorMeasured) -> Result<(), LedgerError> {
    let prediction = measured.features.iter().find(|drift| drift.feature == "prediction");
    let most_moved = measured.features.iter().find(|drift| drift.feature != "prediction");
    let point = DriftPoint {
        until: measured.window.1,
        rows: measured.rows,
        reference: measured.reference.clone(),
        most_moved: most_moved.map(|drift| (drift.feature.clone(), drift.psi)),
        prediction_psi: prediction.map_or(0.0, |drift| drift.psi),
        drifted: u32::try_from(measured.features.iter().filter(|drift| drift.drifted).count()).unwrap_or(u32::MAX),
        in_a_row: measured.in_a_row,
    };
    docs.put(DRIFT, &series_key(&measured.monitor, measured.window.1), document(&point))?;
    let (monitor, deployment) = (measured.monitor.clone(), measured.deployment.clone());
    change(docs, &monitor, &deployment, |state| state.last = Some(measured))
}

fn quality(docs: &mut dyn DocsMut, measured: QualityMeasured) -> Result<(), LedgerError> {
    let point = QualityPoint {
        until: measured.window.1,
        rows: measured.rows,
        roc_auc: measured.roc_auc,
        brier: measured.brier,
        lost: measured.lost,
    };
    docs.put(QUALITY, &series_key(&measured.monitor, measured.window.1), document(&point))?;
    let (monitor, deployment) = (measured.monitor.clone(), measured.deployment.clone());
    change(docs, &monitor, &deployment, |state| state.quality = Some(measured))
}

fn reported(docs: &mut dyn DocsMut, detected: DriftDetected, stored: &StoredFact) -> Result<(), LedgerError> {
    change(docs, &detected.monitor, &detected.deployment, |state| {
        state.incident = Some(detected.incident);
        if !state.reported.contains(&detected.version) {
            state.reported.push(detected.version.clone());
        }
    })?;
    let incident = Incident {
        id: detected.incident,
        monitor: detected.monitor,
        deployment: detected.deployment,
        version: detected.version,
        opened: stored.fact.at,
        closed: None,
        sentence: detected.sentence,
        features: detected.features,
        skew: Vec::new(),
        retrain: detected.retrain,
        fact: stored.index,
    };
    docs.put(INCIDENTS, &incident.id.to_string(), document(&incident))
}

fn skew(docs: &mut dyn DocsMut, measured: SkewMeasured, at: Timestamp) -> Result<(), LedgerError> {
    let most_often = measured.features.first().map(|skew| (skew.feature.clone(), skew.rows));
    let point = SkewPoint { until: measured.window.1, rows: measured.rows, most_often };
    docs.put(SKEW, &series_key(&measured.monitor, measured.window.1), document(&point))?;
    let (monitor, deployment) = (measured.monitor.clone(), measured.deployment.clone());
    let over = change(docs, &monitor, &deployment, |state| {
        let over = if measured.features.is_empty() { state.skewed.take() } else { None };
        state.skew = Some(measured);
        over
    })?;
    over.map_or(Ok(()), |over| close(docs, over, at))
}

/// One incident for as long as something differs: what is found meanwhile is in the measurements.
fn skewed(docs: &mut dyn DocsMut, detected: SkewDetected, stored: &StoredFact) -> Result<(), LedgerError> {
    let in_charge: Option<InCharge> = read(docs, IN_CHARGE, detected.deployment.as_str())?;
    let Some(in_charge) = in_charge else { return Ok(()) };
    let open = change(docs, &detected.monitor, &detected.deployment, |state| {
        let open = state.skewed;
        state.skewed = open.or(Some(detected.incident));
        open
    })?;
    if open.is_some() {
        return Ok(());
    }
    let incident = Incident {
        id: detected.incident,
        monitor: detected.monitor,
        deployment: detected.deployment,
        version: in_charge.version,
        opened: stored.fact.at,
        closed: None,
        sentence: detected.sentence,
        features: Vec::new(),
        skew: detected.features,
        retrain: false,
        fact: stored.index,
    };
    docs.put(INCIDENTS, &incident.id.to_string(), document(&incident))
}

fn close(docs: &mut dyn DocsMut, incident: IncidentId, at: Timestamp) -> Result<(), LedgerError> {
    let key = incident.to_string();
    let Some(mut incident) = read::<Incident>(docs, INCIDENTS, &key)? else { return Ok(()) };
    incident.closed = Some(at);
    docs.put(INCIDENTS, &key, document(&incident))
}

fn moved(docs: &mut dyn DocsMut, shifted: &TrafficShifted, at: Timestamp) -> Result<(), LedgerError> {
    let whole = shifted.traffic.iter().find(|part| part.share == Share::ALL).map(|part| &part.version);
    let (Some(version), TrafficReason::Finished | TrafficReason::RolledBack) = (whole, shifted.reason) else {
        return Ok(());
    };
    let key = shifted.deployment.to_string();
    let before: Option<InCharge> = read(docs, IN_CHARGE, &key)?;
    if before.is_some_and(|before| before.version == *version) {
        return Ok(());
    }
    docs.put(IN_CHARGE, &key, document(&InCharge { version: version.clone(), since: at }))?;
    // Another version answers now, with a training set of its own: what was wrong with the old one is over.
    for (monitor, state) in docs.scan(MONITORS, "")? {
        let Ok(mut state) = serde_json::from_value::<MonitorState>(state) else { continue };
        if state.deployment.as_ref() != Some(&shifted.deployment) {
            continue;
        }
        let Some(open) = state.incident.take() else { continue };
        docs.put(MONITORS, &monitor, document(&state))?;
        close(docs, open, at)?;
    }
    Ok(())
}

/// Changes what is known of a monitor, and returns what the change returns.
fn change<T>(
    docs: &mut dyn DocsMut,
    monitor: &MonitorName,
    deployment: &DeploymentName,
    change: impl FnOnce(&mut MonitorState) -> T,
) -> Result<T, LedgerError> {
    let key = monitor.to_string();
    let mut state: MonitorState = read(docs, MONITORS, &key)?.unwrap_or_default();
    state.deployment = Some(deployment.clone());
    let returned = change(&mut state);
    docs.put(MONITORS, &key, document(&state))?;
    Ok(returned)
}

fn series_key(monitor: &MonitorName, until: Timestamp) -> String {
    format!("{monitor}/{:020}", until.as_micros())
}

fn read<T: DeserializeOwned>(docs: &dyn DocsMut, collection: &str, key: &str) -> Result<Option<T>, LedgerError> {
    Ok(docs.get(collection, key)?.and_then(|document| serde_json::from_value(document).ok()))
}

fn document(of: &impl Serialize) -> serde_json::Value {
    // These types hold no map with keys other than strings; a figure that JSON lacks becomes null.
    serde_json::to_value(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_core::{Fact, Payload, Principal};
    use tenon_ledger::{Docs, MemoryDocs};

    fn fold(docs: &mut MemoryDocs, index: u64, kind: &str, body: serde_json::Value) {
        let at = Timestamp::from_micros(i64::try_from(index).unwrap() * 1_000_000);
        let by = Principal::service("watch");
        let fact = Fact { kind: kind.to_owned(), version: 1, at, by, pod: None, operation: None, body };
        projection().apply(docs, &StoredFact { index, fact }).unwrap();
    }

    fn fold_payload<P: Payload>(docs: &mut MemoryDocs, index: u64, payload: &P) {
        fold(docs, index, P::KIND, serde_json::to_value(payload).unwrap());
    }

    #[test]
    fn an_incident_closes_when_another_version_takes_over() {
        let mut docs = MemoryDocs::default();
        let version: ModelVersionRef = "late@1".parse().unwrap();
        let window = (Timestamp::from_micros(0), Timestamp::from_micros(5));
        let drift = |feature: &str, psi| FeatureDrift {
            feature: feature.to_owned(),
            psi,
            ks: 0.3,
            p_value: 0.0,
            drifted: true,
        };
        let shifted = |version: &str, reason| TrafficShifted {
            deployment: "late".parse().unwrap(),
            rollout: None,
            traffic: vec![tenon_core::fact::TrafficShare { version: version.parse().unwrap(), share: Share::ALL }],
            reason,
            sentence: String::new(),
        };
        fold_payload(&mut docs, 1, &shifted("late@1", TrafficReason::Finished));
        let measured = MonitorMeasured {
            monitor: "late".parse().unwrap(),
            deployment: "late".parse().unwrap(),
            reference: version.clone(),
            window,
            rows: 900,
            features: vec![drift("prediction", 0.9), drift("temp", 0.5)],
            in_a_row: 2,
        };
        fold_payload(&mut docs, 2, &measured);
        let incident = crate::plan::incident(&measured.monitor, &version);
        let detected = DriftDetected {
            incident,
            monitor: measured.monitor.clone(),
            deployment: measured.deployment.clone(),
            model: version.model.clone(),
            version: version.clone(),
            window,
            features: measured.features.clone(),
            retrain: true,
            sentence: "moved".to_owned(),
        };
        fold_payload(&mut docs, 3, &detected);
        fold(&mut docs, 4, "monitor.measured", serde_json::json!({ "monitor": 1 }));
        let point: DriftPoint = serde_json::from_value(docs.scan(DRIFT, "late/").unwrap()[0].1.clone()).unwrap();
        assert_eq!((point.most_moved, point.prediction_psi, point.drifted), (Some(("temp".to_owned(), 0.5)), 0.9, 2));

        fold_payload(&mut docs, 5, &shifted("late@1", TrafficReason::RolledBack));
        let open: Incident = read(&docs, INCIDENTS, &incident.to_string()).unwrap().unwrap();
        assert_eq!(open.closed, None, "the version in charge is the same");
        fold_payload(&mut docs, 6, &shifted("late@2", TrafficReason::Finished));
        let closed: Incident = read(&docs, INCIDENTS, &incident.to_string()).unwrap().unwrap();
        assert_eq!(closed.closed, Some(Timestamp::from_micros(6_000_000)));
        let state: MonitorState = read(&docs, MONITORS, "late").unwrap().unwrap();
        assert_eq!((state.incident, state.reported), (None, vec![version]));
    }

    #[test]
    fn an_incident_of_skew_is_open_until_a_look_finds_nothing() {
        let mut docs = MemoryDocs::default();
        let shifted = TrafficShifted {
            deployment: "late".parse().unwrap(),
            rollout: None,
            traffic: vec![tenon_core::fact::TrafficShare { version: "late@1".parse().unwrap(), share: Share::ALL }],
            reason: TrafficReason::Finished,
            sentence: String::new(),
        };
        fold_payload(&mut docs, 1, &shifted);
        let differs = |rows| FeatureSkew {
            feature: "mean".to_owned(),
            rows,
            decision: "0140c75e-9800-725e-a94a-24a80250de10".parse().unwrap(),
            served: Some(1.0),
            recomputed: None,
        };
        let mut look = |index: u64, features: Vec<FeatureSkew>| {
            let measured = SkewMeasured {
                monitor: "late".parse().unwrap(),
                deployment: "late".parse().unwrap(),
                window: (Timestamp::from_micros(0), Timestamp::from_micros(i64::try_from(index).unwrap())),
                tables: Vec::new(),
                rows: 84,
                features,
            };
            fold_payload(&mut docs, index, &measured);
            if let Some(detected) = crate::skew::detected(&measured, &"late".parse().unwrap()) {
                fold_payload(&mut docs, index + 1, &detected);
            }
            let incidents = docs.scan(INCIDENTS, "").unwrap();
            let incidents =
                incidents.into_iter().map(|(_, incident)| serde_json::from_value::<Incident>(incident).unwrap());
            let mut incidents: Vec<Incident> = incidents.collect();
            incidents.sort_by_key(|incident| incident.fact);
            incidents.iter().map(|incident| (incident.fact, incident.closed.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(look(2, Vec::new()), []);
        assert_eq!(look(4, vec![differs(3)]), [(5, false)]);
        assert_eq!(look(6, vec![differs(1)]), [(5, false)], "the same incident for as long as something differs");
        assert_eq!(look(8, Vec::new()), [(5, true)]);
        assert_eq!(look(10, vec![differs(1)]), [(5, true), (11, false)]);
        let point: SkewPoint = serde_json::from_value(docs.scan(SKEW, "late/").unwrap()[1].1.clone()).unwrap();
        assert_eq!((point.rows, point.most_often), (84, Some(("mean".to_owned(), 3))));
    }
}
