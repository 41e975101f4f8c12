//! Names that people give: a letter, then letters, digits, `_` or `-`, at most 63 characters, all lower case.
//!
//! Each kind of thing has its own type, so that a model's name cannot be passed where a dataset's is wanted.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a name: use a lower-case letter, then lower-case letters, digits, `_` or `-`, 63 characters at most"
)]
pub struct NameError {
    /// The text as given.
    pub text: String,
}

fn check(text: &str) -> Result<(), NameError> {
    let mut chars = text.chars();
    let starts_well = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let goes_on_well = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    if starts_well && goes_on_well && text.len() <= 63 { Ok(()) } else { Err(NameError { text: text.to_owned() }) }
}

macro_rules! name_types {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`NameError`] when the text is not a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )+};
}

name_types! {
    /// A pod: the team that owns a folder.
    PodName,
    /// A dataset in the catalog.
    DatasetName,
    /// A feature view.
    FeatureViewName,
    /// A model, that is, a purpose; its results are model versions.
    ModelName,
    /// A deployment: the stable address that callers use.
    DeploymentName,
    /// A monitor: a standing measurement.
    MonitorName,
    /// A tag: a name for versions of tables.
    TagName,
    /// A branch: versions of tables beside those that everybody reads.
    BranchName,
    /// A legal hold.
    HoldName,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_lower_case_and_short() {
        assert!(DatasetName::new("flights").is_ok());
        assert!(DatasetName::new("late_arrival-2").is_ok());
        for bad in ["", "Flights", "2x", "a b", "ä", "a/b", "..", &"a".repeat(64)] {
            assert!(DatasetName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_when_read_from_json() {
        assert!(serde_json::from_str::<ModelName>("\"Not A Name\"").is_err());
        assert_eq!(serde_json::from_str::<ModelName>("\"ok\"").unwrap().as_str(), "ok");
    }
}
