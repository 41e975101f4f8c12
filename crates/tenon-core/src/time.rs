//! Moments and lengths of time. Both count microseconds, as Delta and Arrow do.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Timestamp(i64);

/// A text that should have been a moment or a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not a moment.
    #[error("`{0}` is not a moment: write it as 2013-04-01T09:15:00Z, with a time zone, or as a date")]
    NotAMoment(String),
    /// Not a length of time.
    #[error(
        "`{0}` is not a length of time: write a whole number and a unit, one of ms, s, m, h, d, w, y, such as `24h`"
    )]
    NotASpan(String),
}

impl Timestamp {
    /// The moment that lies `micros` microseconds after the epoch. Moments outside chrono's range print as the epoch's
    /// distance in microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded towards the past.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The start of the period of length `span`, counted from the epoch, that holds this moment.
    pub fn floor(self, span: Span) -> Self {
        if span.0 <= 0 { self } else { Self(self.0 - self.0.rem_euclid(span.0)) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_micros(self.0) {
            Some(moment) if self.0 % 1_000_000 == 0 => f.pad(&moment.to_rfc3339_opts(SecondsFormat::Secs, true)),
            Some(moment) => f.pad(&moment.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError::NotAMoment(text.to_owned());
        if let Some(micros) = text.strip_suffix("us") {
            return micros.parse().map(Self).map_err(|_| bad());
        }
        let with_time = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
        let moment = DateTime::parse_from_rfc3339(&with_time).map_err(|_| bad())?;
        Ok(Self(moment.timestamp_micros()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> String {
        moment.to_string()
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Sub<Timestamp> for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in microseconds. A year (`y`) is 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Span(i64);

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000_000),
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("ms", 1_000),
    ("s", 1_000_000),
];

impl Span {
    /// A span of so many microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// A span of so many whole hours.
    pub const fn hours(hours: i64) -> Self {
        Self(hours * 3_600_000_000)
    }

    /// A span of so many days of 24 hours.
    pub const fn days(days: i64) -> Self {
        Self(days * 86_400_000_000)
    }

    /// Its length in microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Its length in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl FromStr for Span {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError::NotASpan(text.to_owned());
        let digits = text.chars().take_while(char::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: i64 = number.parse().map_err(|_| bad())?;
        let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        number.checked_mul(*micros).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().filter(|(unit, _)| *unit != "w").find(|(_, micros)| self.0 % micros == 0);
        match exact {
            Some((unit, micros)) if self.0 != 0 => f.pad(&format!("{}{unit}", self.0 / micros)),
            None => f.pad(&format!("{}us", self.0)),
            Some(_) => f.pad("0s"),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_read_back_as_written() {
        for text in ["2013-04-01T09:15:00Z", "2013-04-01T09:15:00.000250Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!("2013-04-01".parse::<Timestamp>().unwrap().to_string(), "2013-04-01T00:00:00Z");
        assert_eq!("2013-04-01T05:00:00-04:00".parse::<Timestamp>().unwrap().to_string(), "2013-04-01T09:00:00Z");
        assert!("2013-04-01T09:15:00".parse::<Timestamp>().is_err(), "no zone, no moment");
    }

    #[test]
    fn spans_read_back_and_overflow_is_refused() {
        for text in ["24h", "90s", "250ms", "1d", "5y", "0s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!("2w".parse::<Span>().unwrap(), Span::days(14));
        for bad in ["", "h", "24", "24 h", "-1h", "99999999999y", "1.5h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn floor_counts_from_the_epoch_also_before_it() {
        let moment: Timestamp = "1969-12-31T23:30:00Z".parse().unwrap();
        assert_eq!(moment.floor(Span::hours(1)).to_string(), "1969-12-31T23:00:00Z");
    }
}
