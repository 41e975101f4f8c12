//! How one thing points at another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{ModelName, TagName};
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
    /// Not a moment, version or tag to read as of.
    #[error(
        "`{0}` is not something to read as of: write a version number, a moment such as 2013-04-01T00:00:00Z, or the name of a tag"
    )]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum AsOf {
    /// The newest.
    #[default]
    Latest,
    /// The one with this table version.
    Version(u64),
    /// The newest that was committed at or before this moment.
    Time(Timestamp),
    /// The one that this tag pins.
    Tag(TagName),
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
        if let Ok(moment) = text.parse() {
            return Ok(Self::Time(moment));
        }
        text.parse().map(Self::Tag).map_err(|_| ReferenceError::NotAnAsOf(text.to_owned()))
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.pad("latest"),
            Self::Version(version) => f.pad(&version.to_string()),
            Self::Time(moment) => f.pad(&moment.to_string()),
            Self::Tag(tag) => f.pad(tag.as_str()),
        }
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
        assert_eq!("q1-report".parse::<AsOf>().unwrap(), AsOf::Tag(TagName::new("q1-report").unwrap()));
        for text in ["latest", "7", "1970-01-01T00:00:00Z", "q1-report"] {
            assert_eq!(text.parse::<AsOf>().unwrap().to_string(), text);
        }
        for bad in ["2013-4-1", "Q1", "-1", ""] {
            assert!(bad.parse::<AsOf>().is_err(), "{bad}");
        }
    }
}
