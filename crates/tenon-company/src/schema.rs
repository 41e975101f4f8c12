//! JSON Schemas of the files, for completion and checking in an editor.

use schemars::{Schema, schema_for};
use tenon_core::spec::{
    BudgetsSpec, CompanySpec, DatasetSpec, DeploymentSpec, DerivedViewSpec, FeatureViewSpec, ModelSpec, MonitorSpec,
    PodSpec,
};

/// The kinds of file that have a schema.
pub const SCHEMA_KINDS: [&str; 9] =
    ["company", "budgets", "pod", "dataset", "feature_view", "derived_view", "model", "deployment", "monitor"];

/// The JSON Schema (2020-12) of a kind of file; none for an unknown kind.
pub fn schema(kind: &str) -> Option<Schema> {
    Some(match kind {
        "company" => schema_for!(CompanySpec),
        "budgets" => schema_for!(BudgetsSpec),
        "pod" => schema_for!(PodSpec),
        "dataset" => schema_for!(DatasetSpec),
        "feature_view" => schema_for!(FeatureViewSpec),
        "derived_view" => schema_for!(DerivedViewSpec),
        "model" => schema_for!(ModelSpec),
        "deployment" => schema_for!(DeploymentSpec),
        "monitor" => schema_for!(MonitorSpec),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_that_refuses_unknown_fields() {
        for kind in SCHEMA_KINDS {
            let schema = schema(kind).map(Schema::to_value).unwrap_or_default();
            assert_eq!(schema["additionalProperties"], false, "{kind}");
        }
    }
}
