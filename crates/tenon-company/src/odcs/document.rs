//! An ODCS document as this program writes it.

use serde::Serialize;
use serde_json::{Number, Value};

/// A data contract, version 3.1 of the standard.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) tenant: String,
    pub(super) domain: String,
    pub(super) description: Description,
    pub(super) schema: Vec<Object>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sla_properties: Vec<Sla>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) team: Option<Team>,
    pub(super) roles: Vec<Role>,
    /// Last, so that the file ends with a plain word.
    pub(super) status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Description {
    pub(super) purpose: String,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) physical_name: String,
    pub(super) logical_type: &'static str,
    pub(super) physical_type: &'static str,
    pub(super) description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) properties: Vec<Property>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) quality: Vec<Quality>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) custom_properties: Vec<Custom>,
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Property {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) logical_type: &'static str,
    pub(super) physical_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logical_type_options: Option<TypeOptions>,
    pub(super) required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) unique: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) primary_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) primary_key_position: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) classification: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) relationships: Vec<Relationship>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) quality: Vec<Quality>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) custom_properties: Vec<Custom>,
}

/// More about a logical type.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct TypeOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minimum: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maximum: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<String>,
}

/// A column of another dataset in which each value must occur.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Relationship {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) to: String,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quality {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metric: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) engine: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) implementation: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) must_be: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) must_be_greater_or_equal_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) must_be_less_or_equal_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) must_be_between: Option<[u64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dimension: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) custom_properties: Vec<Custom>,
}

/// A promise of service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Sla {
    pub(super) property: &'static str,
    pub(super) value: i64,
    pub(super) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) element: Option<String>,
    pub(super) description: &'static str,
}

/// The pod that owns the dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Team {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Member {
    pub(super) username: String,
    pub(super) role: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Role {
    pub(super) role: String,
    pub(super) access: &'static str,
    pub(super) description: &'static str,
}

/// What the standard has no word for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Custom {
    pub(super) property: &'static str,
    pub(super) value: Value,
}
