//! What a version is, in plain words.

use serde::{Deserialize, Serialize};
use tenon_core::ModelVersionRef;
use tenon_core::fact::{Leakage, RunFinished, RunStarted, TellingFeature, Verdict};
use tenon_core::spec::{ModelSpec, SpecSet};

use crate::ModelError;
use crate::models::Models;
use crate::projection::VersionRecord;
use crate::words::{count, list, percent};

/// How many features are told.
const FEATURES: usize = 5;

/// What a version is, in words that anybody in the company can use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The version.
    pub version: ModelVersionRef,
    /// The question that it answers.
    pub what: String,
    /// What it cannot do.
    pub limits: String,
    /// How good it is, with how sure that is.
    pub quality: String,
    /// What it looks at most.
    pub looks_at: Vec<String>,
    /// How evenly it treats groups; one sentence a fairness gate.
    pub fairness: Vec<String>,
    /// What it learnt from.
    pub data: String,
    /// Whether it may be deployed, and why not.
    pub standing: String,
    /// Whom to ask.
    pub ask: String,
}

impl Models {
    /// What a version is, in plain words.
    ///
    /// # Errors
    /// [`ModelError::NoVersion`]; [`ModelError::NoModel`] when the model is declared no more.
    pub fn describe(&self, version: &ModelVersionRef) -> Result<ModelCard, ModelError> {
        let record = self.version(version)?;
        let specs = self.inner.catalog.specs();
        let declared = crate::models::resource(&specs, &version.model)?;
        let members = specs.pods.get(&declared.pod).map(|pod| pod.members.keys().cloned().collect::<Vec<_>>());
        Ok(ModelCard::of(&record, &declared.spec, &specs, declared.pod.as_str(), &members.unwrap_or_default()))
    }
}

impl ModelCard {
    fn of(record: &VersionRecord, spec: &ModelSpec, specs: &SpecSet, pod: &str, members: &[String]) -> Self {
        let fairness = record.gates.iter().filter(|gate| gate.gate == "fairness");
        let ask = match &spec.owner {
            Some(owner) => format!("{owner} of pod {pod}"),
            None => format!("pod {pod}: {}", list(members)),
        };
        Self {
            version: record.registered.version.clone(),
            what: spec.description.clone(),
            limits: spec.limits.clone(),
            quality: quality(&record.finished),
            looks_at: looks_at(record, spec, specs),
            fairness: fairness.map(|gate| gate.sentence.clone()).collect(),
            data: data(&record.run),
            standing: standing(record),
            ask,
        }
    }
}

fn quality(finished: &RunFinished) -> String {
    let metric = |name: &str| finished.metrics.get(name).copied().unwrap_or(f64::NAN);
    format!(
        "On {} cases that it had not learnt from, it gave the higher probability to the right one of two in {} of pairs (95% sure: {} \
         to {}). Its probabilities were {} away from what happened on average; {} of the cases came true.",
        count(metric("held_out_rows") as u64),
        percent(metric("roc_auc")),
        percent(metric("roc_auc_low")),
        percent(metric("roc_auc_high")),
        percent(metric("calibration_error")),
        percent(metric("positive_rate")),
    )
}

fn looks_at(record: &VersionRecord, spec: &ModelSpec, specs: &SpecSet) -> Vec<String> {
    let importance = &record.registered.importance;
    let total: f64 = importance.values().sum();
    // Canonical JSON orders by name, so the record does not keep the order.
    let mut features: Vec<(&String, &f64)> = importance.iter().collect();
    features.sort_by(|a, b| b.1.total_cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let told = |(name, importance): (&String, &f64)| {
        let share = percent(if total > 0.0 { importance / total } else { 0.0 });
        match specs.meaning(&spec.features, name).and_then(|meaning| meaning.description) {
            Some(description) => format!("{name}, {share}: {description}"),
            None => format!("{name}, {share}"),
        }
    };
    features.into_iter().take(FEATURES).map(told).collect()
}

fn data(run: &RunStarted) -> String {
    let set = &run.training_set;
    let tables: Vec<String> = set.tables.iter().map(|table| format!("{}@{}", table.dataset, table.version)).collect();
    let (first, held_out, last) = set.decided;
    let drill =
        if run.drill_shuffle_seed.is_some() { " Its labels were shuffled on purpose: it is a drill." } else { "" };
    let incomplete: Vec<String> =
        set.incomplete.iter().map(|(feature, rows)| format!("{feature} ({})", count(*rows))).collect();
    let incomplete = match incomplete.is_empty() {
        true => String::new(),
        false => format!(" Windows that begin before the data does, in so many decisions: {}.", list(&incomplete)),
    };
    format!(
        "It learnt from {} decisions from {first} on and was judged by {} from {held_out} to {last}, made from {}.{incomplete}{}{drill}",
        count(set.train_rows),
        count(set.test_rows),
        list(&tables),
        set.leakage.as_ref().map(leakage).unwrap_or_default(),
    )
}

/// Whether the training set knows what a decision could not have known.
fn leakage(signs: &Leakage) -> String {
    let telling = |one: &TellingFeature| format!("{} (in {} of pairs)", one.feature, percent(one.roc_auc));
    let telling: Vec<String> = signs.telling.iter().map(telling).collect();
    let mut told = match telling.is_empty() {
        true => " No feature tells the answer by itself.".to_owned(),
        false => format!(" Look whether these know the answer beforehand: {} tell it almost alone.", list(&telling)),
    };
    for view in &signs.trailing {
        let (trailing, rows) = (count(view.trailing), count(view.rows));
        told.push_str(&format!(
            " Of {rows} rows of {}, {trailing} were known later than they happened (half of them by more than {}), and count from then on.",
            view.view, view.median
        ));
    }
    for entities in &signs.shared {
        let (shared, held_out) = (count(entities.shared), count(entities.held_out));
        told.push_str(&format!(
            " Of {held_out} different {} that judged it, it had learnt from {shared}.",
            entities.columns.join(" and ")
        ));
    }
    told
}

fn standing(record: &VersionRecord) -> String {
    match &record.judged {
        None => "The gates have not judged it yet, so it may not be deployed.".to_owned(),
        Some(judged) if !judged.approved => {
            format!("It may not be deployed: it failed the gates {}.", list(&judged.failed))
        }
        Some(_) => {
            let waived: Vec<&str> = record
                .gates
                .iter()
                .filter(|gate| gate.verdict == Verdict::Waived)
                .map(|gate| gate.gate.as_str())
                .collect();
            match waived.as_slice() {
                [] => "It may be deployed: it passed every gate.".to_owned(),
                waived => {
                    format!("It may be deployed: two people let it through {}, and it passed the rest.", list(waived))
                }
            }
        }
    }
}
