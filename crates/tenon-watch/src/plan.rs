//! What is due, and what a measurement means, from values alone.

use std::collections::BTreeMap;

use tenon_core::fact::{DriftDetected, FeatureDrift, MonitorMeasured};
use tenon_core::id::{IncidentId, OperationId};
use tenon_core::spec::{MonitorSpec, OnDrift};
use tenon_core::{ModelVersionRef, MonitorName, Timestamp};

/// What a plan knows of the past: when each monitor last looked.
pub type Looked = BTreeMap<MonitorName, Timestamp>;

/// The monitors that should measure at `now`: those that never looked, and those whose last look is `every` ago.
pub fn due<'a>(
    now: Timestamp,
    looked: &Looked,
    monitors: impl IntoIterator<Item = (&'a MonitorName, &'a MonitorSpec)>,
) -> Vec<MonitorName> {
    let is_due =
        |(name, spec): &(&MonitorName, &MonitorSpec)| looked.get(*name).is_none_or(|last| now >= *last + spec.every);
    monitors.into_iter().filter(is_due).map(|(name, _)| name.clone()).collect()
}

/// What a monitor saw before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before<'a> {
    /// The last measurement: its reference, and how many in a row had drifted then.
    pub last: Option<(&'a ModelVersionRef, u32)>,
    /// Whether drift from the version in charge was reported already.
    pub reported: bool,
}

/// What a comparison is about.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// The monitor.
    pub monitor: &'a MonitorName,
    /// What it declares.
    pub spec: &'a MonitorSpec,
    /// The version in charge.
    pub version: &'a ModelVersionRef,
    /// The window, from and until.
    pub window: (Timestamp, Timestamp),
    /// Decisions in it.
    pub rows: u64,
}

/// What a comparison means: the measurement to record and, when enough of them in a row have drifted and nobody knows
/// yet, the drift to report. One report a monitor and version in charge: a new version is measured against its own
/// training set, and until there is one a second report would say nothing new.
pub fn judge(
    compared: Compared<'_>,
    features: Vec<FeatureDrift>,
    before: Before<'_>,
) -> (MonitorMeasured, Option<DriftDetected>) {
    let Compared { monitor, spec, version, window, rows } = compared;
    let drifted: Vec<FeatureDrift> = features.iter().filter(|feature| feature.drifted).cloned().collect();
    let row = before.last.filter(|(reference, _)| *reference == version).map_or(0, |(_, in_a_row)| in_a_row);
    let in_a_row = if drifted.is_empty() { 0 } else { row.saturating_add(1) };
    let detected = in_a_row >= spec.drift.in_a_row.max(1) && !before.reported;
    let measured = MonitorMeasured {
        monitor: monitor.clone(),
        deployment: spec.deployment.clone(),
        reference: version.clone(),
        window,
        rows,
        features,
        in_a_row,
    };
    let detected = detected.then(|| DriftDetected {
        incident: incident(monitor, version),
        monitor: monitor.clone(),
        deployment: spec.deployment.clone(),
        model: version.model.clone(),
        version: version.clone(),
        window,
        sentence: sentence(&compared, &drifted, in_a_row),
        features: drifted,
        retrain: spec.on_drift == OnDrift::Retrain,
    });
    (measured, detected)
}

/// The incident of a monitor and the version in charge.
pub fn incident(monitor: &MonitorName, version: &ModelVersionRef) -> IncidentId {
    IncidentId::from_uuid(OperationId::derive(&["incident", monitor.as_str(), &version.to_string()]).uuid())
}

/// When, what, how sure.
fn sentence(compared: &Compared<'_>, drifted: &[FeatureDrift], in_a_row: u32) -> String {
    let Compared { spec, version, window, rows, .. } = compared;
    let named: Vec<String> =
        drifted.iter().take(3).map(|drift| format!("`{}` (PSI {:.2})", drift.feature, drift.psi)).collect();
    let more = match drifted.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let surest = drifted.iter().map(|drift| drift.p_value).fold(0.0, f64::max);
    let chance = if surest < 1e-12 { "less than 1e-12".to_owned() } else { format!("{surest:.1e}") };
    let times = if in_a_row == 1 { "once".to_owned() } else { format!("{in_a_row} times in a row") };
    format!(
        "on {}, {rows} decisions of `{}` since {} no longer look like what {version} was trained on: {}{more} moved, \
         measured {times}; the chance of seeing this without any change is {chance}",
        window.1,
        spec.deployment,
        window.0,
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_core::Span;
    use tenon_core::spec::DriftRule;

    fn spec() -> MonitorSpec {
        MonitorSpec {
            description: String::new(),
            deployment: "late".parse().unwrap(),
            window: Span::days(14),
            every: Span::days(1),
            drift: DriftRule { in_a_row: 2, ..DriftRule::default() },
            quality: None,
            skew: None,
            on_drift: OnDrift::Retrain,
        }
    }

    fn name() -> MonitorName {
        "late".parse().unwrap()
    }

    fn day(n: i64) -> Timestamp {
        "2013-06-01".parse::<Timestamp>().unwrap() + Span::days(n)
    }

    fn drift(feature: &str, psi: f64, drifted: bool) -> FeatureDrift {
        FeatureDrift { feature: feature.to_owned(), psi, ks: 0.1, p_value: if drifted { 3e-5 } else { 0.4 }, drifted }
    }

    #[test]
    fn a_monitor_looks_as_often_as_it_says() {
        let (spec, name) = (spec(), name());
        let due_at = |now, last: Option<Timestamp>| {
            let looked: Looked = last.map(|last| (name.clone(), last)).into_iter().collect();
            !due(now, &looked, [(&name, &spec)]).is_empty()
        };
        assert!(due_at(day(0), None));
        assert!(!due_at(day(1) - Span::from_micros(1), Some(day(0))));
        assert!(due_at(day(1), Some(day(0))));
        assert!(due_at(day(9), Some(day(0))));
    }

    #[test]
    fn drift_is_reported_once_enough_agree_and_once_for_a_version() {
        let (spec, name) = (spec(), name());
        let versions: [ModelVersionRef; 2] = ["late@1".parse().unwrap(), "late@2".parse().unwrap()];
        // (day, version, drifted?) → (in a row, reported?)
        let steps = [
            (0, 0, true, 1, false),
            (1, 0, false, 0, false),
            (2, 0, true, 1, false),
            (3, 0, true, 2, true),
            (4, 0, true, 3, false),
            (5, 1, true, 1, false),
            (6, 1, true, 2, true),
        ];
        let (mut last, mut reported): (Option<(ModelVersionRef, u32)>, Vec<ModelVersionRef>) = (None, Vec::new());
        for (at, version, drifted, in_a_row, reports) in steps {
            let version = &versions[version];
            let window = (day(at) - spec.window, day(at));
            let compared = Compared { monitor: &name, spec: &spec, version, window, rows: 900 };
            let before = Before {
                last: last.as_ref().map(|(reference, in_a_row)| (reference, *in_a_row)),
                reported: reported.contains(version),
            };
            let (measured, detected) = judge(compared, vec![drift("temp", 0.5, drifted)], before);
            assert_eq!((measured.in_a_row, detected.is_some()), (in_a_row, reports), "day {at}");
            last = Some((version.clone(), measured.in_a_row));
            reported.extend(detected.map(|detected| detected.version));
        }
        assert_eq!(reported, versions);
    }

    #[test]
    fn the_report_says_when_what_and_how_sure() {
        let (spec, name, version) = (spec(), name(), "late@1".parse().unwrap());
        let window = (day(0), day(14));
        let compared = Compared { monitor: &name, spec: &spec, version: &version, window, rows: 12_345 };
        let features = vec![
            drift("temp", 1.234, true),
            drift("wind", 0.5, true),
            drift("a", 0.4, true),
            drift("b", 0.3, true),
            drift("c", 0.1, false),
        ];
        let before = Before { last: Some((&version, 1)), reported: false };
        let detected = judge(compared, features, before).1.unwrap();
        assert_eq!(detected.features.len(), 4);
        assert!(detected.retrain);
        assert_eq!(
            detected.sentence,
            "on 2013-06-15T00:00:00Z, 12345 decisions of `late` since 2013-06-01T00:00:00Z no longer look like what late@1 \
             was trained on: `temp` (PSI 1.23), `wind` (PSI 0.50), `a` (PSI 0.40) and 1 more moved, measured 2 times in a \
             row; the chance of seeing this without any change is 3.0e-5"
        );
    }
}
