//! Rules that rows broke, and the sums over a batch.

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use tenon_core::Timestamp;
use tenon_core::fact::Reason;
use tenon_core::spec::Severity;

/// One rule that some rows broke.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// The rule, in words that name no value: facts are for ever.
    pub rule: String,
    pub severity: Severity,
    /// Set where a row broke it.
    pub rows: BooleanBuffer,
    /// The value to show for each such row in the quarantine.
    pub value: Option<ShownValue>,
}

/// A value that broke a rule: `arr_delay: "abc" is not an int64`.
#[derive(Debug, Clone)]
pub(crate) struct ShownValue {
    pub column: String,
    pub values: ArrayRef,
    /// What comes after the value.
    pub verdict: String,
}

impl Broken {
    /// The rule, unless no row broke it.
    pub(crate) fn some(
        rule: impl Into<String>,
        severity: Severity,
        rows: BooleanBuffer,
        value: Option<ShownValue>,
    ) -> Option<Self> {
        (rows.count_set_bits() > 0).then(|| Self { rule: rule.into(), severity, rows, value })
    }

    /// The rule without the rows that are not set in `counting`, unless no row broke it then.
    pub(crate) fn among(self, counting: &BooleanBuffer) -> Option<Self> {
        let rows = &self.rows & counting;
        (rows.count_set_bits() > 0).then_some(Self { rows, ..self })
    }

    pub(crate) fn reason(&self) -> Reason {
        Reason { rule: self.rule.clone(), rows: self.rows.count_set_bits() as u64 }
    }
}

/// The sums over a batch, or over several that are committed as one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub rows_in: u64,
    pub quarantined: u64,
    /// Rows that the dataset's cleaning drops.
    pub dropped: u64,
    /// Rows whose key has landed already; they are left out.
    pub duplicates: u64,
    pub reasons: Vec<Reason>,
    pub warnings: Vec<Reason>,
    /// Rules that refuse the whole batch.
    pub refusals: Vec<Reason>,
    pub events: Option<(Timestamp, Timestamp)>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.quarantined += other.quarantined;
        self.dropped += other.dropped;
        self.duplicates += other.duplicates;
        add_reasons(&mut self.reasons, &other.reasons);
        add_reasons(&mut self.warnings, &other.warnings);
        add_reasons(&mut self.refusals, &other.refusals);
        self.events = match (self.events, other.events) {
            (Some((low, high)), Some((other_low, other_high))) => Some((low.min(other_low), high.max(other_high))),
            (one, other) => one.or(other),
        };
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.rows_in - self.quarantined - self.dropped - self.duplicates
    }
}

/// Broken rules in a row, with how many rows broke each.
pub(crate) fn with_rows(reasons: &[Reason]) -> String {
    let told: Vec<String> = reasons.iter().map(|reason| format!("{} ({} rows)", reason.rule, reason.rows)).collect();
    told.join(", ")
}

fn add_reasons(sum: &mut Vec<Reason>, more: &[Reason]) {
    for reason in more {
        match sum.iter_mut().find(|known| known.rule == reason.rule) {
            Some(known) => known.rows += reason.rows,
            None => sum.push(reason.clone()),
        }
    }
}
