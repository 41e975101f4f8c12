//! Who acts.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who does something: a person, or a service such as a subscriber. Every action has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Principal {
    /// A person, by the name that pods list.
    Person(String),
    /// A part of the program that acts by itself, such as `retrain`.
    Service(String),
}

impl Principal {
    /// The person of that name.
    pub fn person(name: impl Into<String>) -> Self {
        Self::Person(name.into())
    }

    /// The service of that name.
    pub fn service(name: impl Into<String>) -> Self {
        Self::Service(name.into())
    }

    /// The bare name.
    pub fn name(&self) -> &str {
        match self {
            Self::Person(name) | Self::Service(name) => name,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) => write!(f, "person:{name}"),
            Self::Service(name) => write!(f, "service:{name}"),
        }
    }
}

/// A text that should have been a principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a principal: write `person:NAME` or `service:NAME`")]
pub struct PrincipalError(String);

impl TryFrom<String> for Principal {
    type Error = PrincipalError;
    fn try_from(text: String) -> Result<Self, PrincipalError> {
        match text.split_once(':') {
            Some(("person", name)) if !name.is_empty() => Ok(Self::person(name)),
            Some(("service", name)) if !name.is_empty() => Ok(Self::service(name)),
            _ => Err(PrincipalError(text)),
        }
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}
