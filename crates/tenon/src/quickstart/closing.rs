//! What came of the quickstart: the closing table.

use serde::Serialize;
use tenon_core::fact::{DatasetCommitted, TrafficReason, Verdict};
use tenon_core::id::DecisionId;
use tenon_core::{Digest, Timestamp};
use tenon_models::VersionRecord;

use crate::output::{count, table};

/// What came of it all.
#[derive(Debug, Default, Serialize)]
pub struct Closing {
    /// The folder.
    pub company: String,
    /// Rows by dataset.
    pub datasets: Vec<DatasetLine>,
    /// Batches that were refused whole.
    pub refused_batches: u64,
    /// Features of the model.
    pub features: u64,
    /// Decisions of the past that they were joined to.
    pub training_rows: u64,
    /// Versions, in order.
    pub versions: Vec<VersionLine>,
    /// Versions that took over, in order.
    pub champions: Vec<String>,
    /// Decisions made live.
    pub decisions: u64,
    /// Those asked for over HTTP, with reasons.
    pub http_decisions: u64,
    /// Outcomes that came back.
    pub outcomes: u64,
    /// Drift that was met.
    pub drift: Vec<DriftLine>,
    /// Moves of traffic.
    pub moves: Vec<MoveLine>,
    /// Rollouts that were rolled back.
    pub rollbacks: u64,
    /// Facts on the ledger.
    pub facts: u64,
    /// The root of the log.
    pub root: Option<Digest>,
    /// The version that was made again byte for byte.
    pub reproduced: Option<String>,
    /// A decision to ask `why` about.
    pub example_decision: Option<DecisionId>,
    /// Its receipt in plain words.
    pub receipt: Option<String>,
    /// How long it all took, in seconds.
    pub run_seconds: f64,
    /// The most memory held.
    pub peak_memory_bytes: Option<u64>,
    /// Where it is served.
    pub address: Option<String>,
}

/// Rows of one dataset.
#[derive(Debug, Serialize)]
pub struct DatasetLine {
    /// The dataset.
    pub dataset: String,
    /// Rows that landed.
    pub accepted: u64,
    /// Rows in quarantine.
    pub quarantined: u64,
    /// Rows that landed and were remarked on.
    pub warned: u64,
}

/// One version.
#[derive(Debug, Serialize)]
pub struct VersionLine {
    /// The version.
    pub version: String,
    /// When it was registered.
    pub at: Timestamp,
    /// Area under the ROC curve on held-out rows.
    pub roc_auc: f64,
    /// What the gates said.
    pub gates: String,
    /// Why it was trained.
    pub cause: String,
}

/// One drift.
#[derive(Debug, Serialize)]
pub struct DriftLine {
    /// When it was detected.
    pub at: Timestamp,
    /// The version in charge.
    pub version: String,
    /// In plain words.
    pub sentence: String,
}

/// One move of traffic.
#[derive(Debug, Serialize)]
pub struct MoveLine {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: TrafficReason,
    /// In plain words.
    pub sentence: String,
}

impl DatasetLine {
    /// What one commit brought.
    pub fn of(fact: &DatasetCommitted) -> Self {
        Self {
            dataset: fact.dataset.to_string(),
            accepted: fact.accepted,
            quarantined: fact.quarantined,
            warned: fact.warnings.iter().map(|reason| reason.rows).sum(),
        }
    }
}

impl Closing {
    /// Adds a commit to its dataset's line.
    pub fn add(&mut self, line: DatasetLine) {
        match self.datasets.iter_mut().find(|known| known.dataset == line.dataset) {
            Some(known) => {
                known.accepted += line.accepted;
                known.quarantined += line.quarantined;
                known.warned += line.warned;
            }
            None => self.datasets.push(line),
        }
    }

    /// Adds a version.
    pub fn version(&mut self, record: &VersionRecord) {
        let of = |verdict| {
            let gates = record.gates.iter().filter(move |gate| gate.verdict == verdict);
            gates.map(|gate| gate.gate.as_str()).collect::<Vec<_>>().join(", ")
        };
        let gates = match (of(Verdict::Failed), of(Verdict::Waived)) {
            (failed, _) if !failed.is_empty() => format!("failed {failed}"),
            (_, waived) if !waived.is_empty() => format!("waived {waived}"),
            _ => "all passed".to_owned(),
        };
        self.versions.push(VersionLine {
            version: record.registered.version.to_string(),
            at: record.at,
            roc_auc: record.finished.metrics.get("roc_auc").copied().unwrap_or_default(),
            gates,
            cause: record.run.cause.clone(),
        });
    }

    /// The closing table.
    pub fn table(&self) -> String {
        let datasets = self
            .datasets
            .iter()
            .map(|line| [line.dataset.clone(), count(line.accepted), count(line.quarantined), count(line.warned)]);
        let versions = self.versions.iter().map(|line| {
            [
                line.version.clone(),
                line.at.to_string(),
                format!("{:.4}", line.roc_auc),
                line.gates.clone(),
                line.cause.clone(),
            ]
        });
        let moves = self.moves.iter().map(|line| [line.at.to_string(), line.sentence.clone()]);
        let drift = self.drift.iter().map(|line| [line.at.to_string(), line.version.clone(), line.sentence.clone()]);
        let memory =
            self.peak_memory_bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        let sums = [
            ("decisions served", count(self.decisions)),
            ("of them over HTTP, explained", count(self.http_decisions)),
            ("outcomes joined", count(self.outcomes)),
            ("rolled back by guardrails", count(self.rollbacks)),
            ("facts on the ledger, all verified", count(self.facts)),
            ("made again byte for byte", self.reproduced.clone().unwrap_or_default()),
            ("took", format!("{:.0} s, {memory} of memory at the most", self.run_seconds)),
        ];
        let example = self.example_decision.map_or_else(String::new, |decision| {
            format!("\nask yourself: tenon --dir {} why {decision}\n", self.company)
        });
        format!(
            "\ndata\n{}\n\nmodel versions\n{}\n\ndrift\n{}\n\ntraffic\n{}\n\none decision\n{}\n{example}\n{}",
            table(&["dataset", "rows", "quarantined", "remarked on"], datasets),
            table(&["version", "registered", "ROC AUC", "gates", "why it was trained"], versions),
            table(&["detected", "version", "what"], drift),
            table(&["when", "what"], moves),
            self.receipt.clone().unwrap_or_default(),
            table(&["the whole loop", ""], sums.map(|(what, value)| [what.to_owned(), value])),
        )
    }
}
