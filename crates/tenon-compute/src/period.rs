//! Calendar months and days in UTC, by which money is counted.

use std::fmt;

use serde::{Deserialize, Serialize};
use tenon_core::Timestamp;
use tenon_core::spec::BudgetPeriod;

/// One calendar month or day in UTC, written `2013-04` or `2013-04-01`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(String);

impl Period {
    /// The period of that kind which holds the moment.
    pub fn of(kind: BudgetPeriod, at: Timestamp) -> Self {
        let length = match kind {
            BudgetPeriod::Month => "2013-04".len(),
            BudgetPeriod::Day => "2013-04-01".len(),
        };
        // Moments print in UTC and from the year on; those outside the calendar print as a count and are a period each.
        let text = at.to_string();
        Self(if text.ends_with('Z') { text.chars().take(length).collect() } else { text })
    }

    /// The period as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn periods_end_at_midnight_utc() {
        let check = |at: &str, month: &str, day: &str| {
            let at = at.parse().unwrap();
            assert_eq!(Period::of(BudgetPeriod::Month, at).as_str(), month);
            assert_eq!(Period::of(BudgetPeriod::Day, at).as_str(), day);
        };
        check("2013-03-31T23:59:59.999999Z", "2013-03", "2013-03-31");
        check("2013-04-01T00:00:00Z", "2013-04", "2013-04-01");
        check("2013-03-31T20:00:00-04:00", "2013-04", "2013-04-01");
    }
}
