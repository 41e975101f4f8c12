//! A decision as it is kept: as canonical JSON in the journal, where its bytes are the leaf that proofs start from, and
//! as a row of the table `decisions_DEPLOYMENT` in the lake, from which the same bytes are written again.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_core::id::{DecisionId, RolloutId};
use tenon_core::{ModelVersionRef, Timestamp};

use crate::decision::{FeatureStatus, Variant};

/// One decision as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionRecord {
    /// Its id.
    pub id: DecisionId,
    /// Who was asked.
    pub deployment: Arc<str>,
    /// The model.
    pub model: Arc<str>,
    /// The version that answered.
    pub version: u32,
    /// Which side of a rollout that is.
    pub variant: Variant,
    /// The rollout that was running, and its step.
    pub rollout: Option<(RolloutId, u32)>,
    /// The moment that it is about.
    pub at: Timestamp,
    /// The entity columns of the request, as canonical JSON.
    pub entities: String,
    /// The features in the version's order, fallbacks filled in; NaN: missing.
    pub features: Vec<f32>,
    /// Where each came from.
    pub status: Vec<FeatureStatus>,
    /// When the newest row behind each happened.
    pub known_at: Vec<Option<Timestamp>>,
    /// The predicted probability of yes.
    pub probability: f64,
    /// Whether it is at or above the threshold.
    pub decision: bool,
    /// The log-odds before anything is known of the entity, where it was explained.
    pub base: Option<f64>,
    /// The SHAP value of each feature in log-odds, where it was explained.
    pub phi: Option<Vec<f32>>,
    /// How long it took, in microseconds.
    pub latency_us: i64,
    /// What it cost, in US dollars.
    pub usd: f64,
}

/// The same with the names and types of the table's columns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    base: Option<f64>,
    decided_at: i64,
    decision: bool,
    decision_id: DecisionId,
    deployment: Arc<str>,
    entities: String,
    features: Vec<Option<f32>>,
    known_at: Vec<Option<i64>>,
    latency_us: i64,
    model: Arc<str>,
    phi: Option<Vec<f32>>,
    probability: f64,
    rollout: Option<RolloutId>,
    status: String,
    step: Option<u32>,
    usd: f64,
    variant: Variant,
    version: u32,
}

impl DecisionRecord {
    /// The record as canonical JSON (RFC 8785): one member a column of the table except `batch`, under the column's
    /// name; moments in microseconds since the epoch; a missing feature is null. Its RFC 6962 leaf hash is what the
    /// Merkle root of a batch is built from.
    pub fn canonical_json(&self) -> String {
        let mut out = String::with_capacity(512 + 32 * self.features.len());
        out.push_str("{\"base\":");
        optional(&mut out, self.base);
        integer(&mut out, ",\"decided_at\":", self.at.as_micros());
        let _ = write!(out, ",\"decision\":{},\"decision_id\":\"{}\"", self.decision, self.id);
        text(&mut out, ",\"deployment\":", &self.deployment);
        text(&mut out, ",\"entities\":", &self.entities);
        out.push_str(",\"features\":");
        array(&mut out, &self.features, |out, value| number(out, f64::from(*value)));
        out.push_str(",\"known_at\":");
        array(&mut out, &self.known_at, |out, moment| match moment {
            Some(moment) => integer(out, "", moment.as_micros()),
            None => out.push_str("null"),
        });
        integer(&mut out, ",\"latency_us\":", self.latency_us);
        text(&mut out, ",\"model\":", &self.model);
        out.push_str(",\"phi\":");
        match &self.phi {
            Some(phi) => array(&mut out, phi, |out, value| number(out, f64::from(*value))),
            None => out.push_str("null"),
        }
        out.push_str(",\"probability\":");
        number(&mut out, self.probability);
        out.push_str(",\"rollout\":");
        match &self.rollout {
            Some((id, _)) => drop(write!(out, "\"{id}\"")),
            None => out.push_str("null"),
        }
        let _ = write!(out, ",\"status\":\"{}\",\"step\":", self.status_letters());
        match &self.rollout {
            Some((_, step)) => integer(&mut out, "", i64::from(*step)),
            None => out.push_str("null"),
        }
        out.push_str(",\"usd\":");
        number(&mut out, self.usd);
        let _ = write!(out, ",\"variant\":\"{}\",\"version\":{}}}", self.variant.word(), self.version);
        out
    }

    /// Reads what [`DecisionRecord::canonical_json`] wrote.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, String> {
        let row: Columns = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok(Self {
            id: row.decision_id,
            deployment: row.deployment,
            model: row.model,
            version: row.version,
            variant: row.variant,
            rollout: row.rollout.zip(row.step),
            at: Timestamp::from_micros(row.decided_at),
            entities: row.entities,
            features: row.features.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect(),
            status: statuses(&row.status)?,
            known_at: row.known_at.into_iter().map(|moment| moment.map(Timestamp::from_micros)).collect(),
            probability: row.probability,
            decision: row.decision,
            base: row.base,
            phi: row.phi,
            latency_us: row.latency_us,
            usd: row.usd,
        })
    }

    /// The version that answered.
    pub fn version_ref(&self) -> Option<ModelVersionRef> {
        let model = self.model.parse().ok()?;
        Some(ModelVersionRef { model, version: self.version })
    }

    pub(crate) fn status_letters(&self) -> String {
        self.status.iter().map(|status| status.letter()).collect()
    }
}

pub(crate) fn statuses(letters: &str) -> Result<Vec<FeatureStatus>, String> {
    let status =
        |letter| FeatureStatus::from_letter(letter).ok_or_else(|| format!("no feature has the status `{letter}`"));
    letters.chars().map(status).collect()
}

fn text(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    // JSON strings as serde_json writes them are those of RFC 8785.
    out.push_str(&serde_json::Value::from(value).to_string());
}

fn integer(out: &mut String, key: &str, value: i64) {
    let _ = write!(out, "{key}{value}");
}

fn optional(out: &mut String, value: Option<f64>) {
    match value {
        Some(value) => number(out, value),
        None => out.push_str("null"),
    }
}

fn array<T>(out: &mut String, values: &[T], write: impl Fn(&mut String, &T)) {
    for (at, value) in values.iter().enumerate() {
        out.push(if at == 0 { '[' } else { ',' });
        write(out, value);
    }
    out.push_str(if values.is_empty() { "[]" } else { "]" });
}

/// A number as ECMAScript writes it, which RFC 8785 asks for; what JSON lacks is null. Rust's own digits will not do: where
/// two shortest forms are equally near, as for 1 + 2⁻¹⁷, ECMAScript takes the even one.
fn number(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(&serde_json_canonicalizer::to_string(&value).unwrap_or_else(|_| "null".to_owned()));
    } else {
        out.push_str("null");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use tenon_core::id::{IdSource, SeededIds};

    pub(crate) fn record(seed: u64) -> DecisionRecord {
        let at = Timestamp::from_micros(1_370_000_000_000_000 + i64::try_from(seed).unwrap() * 1_000);
        let uuid = SeededIds::new(seed).next(at);
        DecisionRecord {
            id: DecisionId::from_uuid(uuid),
            deployment: "late_arrival".into(),
            model: "late_arrival".into(),
            version: 2,
            variant: Variant::Candidate,
            rollout: seed.is_multiple_of(2).then(|| (RolloutId::from_uuid(uuid), 1)),
            at,
            entities: r#"{"carrier":"UA","tailnum":"N\u00fc \"1\""}"#.to_owned(),
            features: vec![12.5, f32::NAN, 0.1, -3.0],
            status: vec![FeatureStatus::Known, FeatureStatus::Missing, FeatureStatus::Fallback, FeatureStatus::Known],
            known_at: vec![Some(at), None, None, Some(at)],
            probability: f64::from(0.3_f32),
            decision: false,
            base: seed.is_multiple_of(3).then_some(-1.25),
            phi: seed.is_multiple_of(3).then(|| vec![0.25, -0.125, 1e-9, 3.0]),
            latency_us: 130,
            usd: 1.7e-9,
        }
    }

    /// NaN is equal to nothing, so records are compared by what they are written as.
    #[track_caller]
    pub(crate) fn same(found: &DecisionRecord, expected: &DecisionRecord) {
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }

    #[test]
    fn the_canonical_form_is_that_of_rfc_8785() {
        for seed in 0..6 {
            let json = record(seed).canonical_json();
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json, serde_json_canonicalizer::to_string(&value).unwrap());
            same(&DecisionRecord::from_json(json.as_bytes()).unwrap(), &record(seed));
        }
    }

    #[test]
    #[allow(clippy::excessive_precision, reason = "the value is exactly this one, between two forms")]
    fn of_two_forms_that_are_equally_near_the_even_one_is_written() {
        for (value, expected) in [
            (1.0 + 2.0_f64.powi(-17), "1.0000076293945312"),
            (-244555589764283.625, "-244555589764283.62"),
            (-0.0, "0"),
        ] {
            let mut found = String::new();
            number(&mut found, value);
            assert_eq!(found, expected);
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_ecmascript_does(bits in any::<u64>(), small in -1e7_f64..1e7) {
            for value in [f64::from_bits(bits), small, small.round(), small * 1e-12, small * 1e14] {
                if value.is_finite() {
                    let mut found = String::new();
                    number(&mut found, value);
                    prop_assert_eq!(found, serde_json_canonicalizer::to_string(&value).unwrap());
                }
            }
        }
    }

    #[test]
    fn a_stored_record_of_another_shape_is_refused() {
        let json = record(1).canonical_json();
        assert!(DecisionRecord::from_json(json.replace("\"usd\"", "\"eur\"").as_bytes()).is_err());
        assert!(DecisionRecord::from_json(json.replace("kmfk", "kmxk").as_bytes()).is_err());
    }
}
