//! A part of a whole, written as a percentage.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A share between 0 and 1, written `5%` or `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Share(f64);

/// A text or number that should have been a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a share: write a percentage from 0% to 100%, such as `5%`")]
pub struct ShareError(String);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0.0);
    /// The whole.
    pub const ALL: Self = Self(1.0);

    /// A share from a fraction.
    ///
    /// # Errors
    /// [`ShareError`] unless the fraction lies between 0 and 1.
    pub fn new(fraction: f64) -> Result<Self, ShareError> {
        if (0.0..=1.0).contains(&fraction) { Ok(Self(fraction)) } else { Err(ShareError(fraction.to_string())) }
    }

    /// Between 0 and 1.
    pub const fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = ShareError;
    fn from_str(text: &str) -> Result<Self, ShareError> {
        let bad = || ShareError(text.to_owned());
        let percent: f64 = text.strip_suffix('%').ok_or_else(bad)?.trim().parse().map_err(|_| bad())?;
        Self::new(percent / 100.0).map_err(|_| bad())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Twelve digits hide what dividing and multiplying by 100 does to the last bit.
        let percent = (self.0 * 100.0 * 1e10).round() / 1e10;
        f.pad(&format!("{percent}%"))
    }
}

impl TryFrom<String> for Share {
    type Error = ShareError;
    fn try_from(text: String) -> Result<Self, ShareError> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_read_back_and_stay_within_the_whole() {
        for text in ["0%", "5%", "12.5%", "29%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for bad in ["101%", "-1%", "5", "x%", "NaN%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }
}
