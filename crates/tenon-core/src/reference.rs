//! How one thing points at another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::ModelName;
use crate::time::Timestamp;

/// One version of a model, written `late_arrival@2`. Versions count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ModelVersionRef {
    /// The model.
    pub model: ModelName,
    /// Its version, from 1.
    pub version: u32,
}

/// A text that should have been a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a model version.
    #[error("`{0}` is not a model version: write `NAME@VERSION`, such as `late_arrival@2`")]
    NotAModelVersion(String),
    /// Not a moment or version to read as of.
    #[error("`{0}` is not something to read as of: write a version number, or a moment such as 2013-04-01T00:00:00Z")]
    NotAnAsOf(String),
}

impl FromStr for ModelVersionRef {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let bad = || ReferenceError::NotAModelVersion(text.to_owned());
        let (model, version) = text.split_once('@').ok_or_else(bad)?;
        let model = model.parse().map_err(|_| bad())?;
        let version = version.parse().ok().filter(|version| *version > 0).ok_or_else(bad)?;
        Ok(Self { model, version })
    }
}

impl fmt::Display for ModelVersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}", self.model, self.version))
    }
}

impl TryFrom<String> for ModelVersionRef {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<ModelVersionRef> for String {
    fn from(reference: ModelVersionRef) -> String {
        reference.to_string()
    }
}

/// Which state of a thing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AsOf {
    /// The newest.
    #[default]
    Latest,
    /// The one with this table version.
    Version(u64),
    /// The newest that was committed at or before this moment.
    Time(Timestamp),
}

impl FromStr for AsOf {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        text.parse().map(Self::Time).map_err(|_| ReferenceError::NotAnAsOf(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references_read_back() {
        assert_eq!("late_arrival@2".parse::<ModelVersionRef>().unwrap().to_string(), "late_arrival@2");
        for bad in ["late_arrival", "late_arrival@0", "@1", "late_arrival@-1", "Late@1", "a@1@2"] {
            assert!(bad.parse::<ModelVersionRef>().is_err(), "{bad}");
        }
        assert_eq!("7".parse::<AsOf>().unwrap(), AsOf::Version(7));
        assert_eq!("1970-01-01".parse::<AsOf>().unwrap(), AsOf::Time(Timestamp::from_micros(0)));
    }
}
