//! A feature view in the form that the kernel computes.

use tenon_core::Span;
use tenon_core::spec::{Aggregate, FeatureViewSpec};

use super::PointInTimeError;

/// A feature view: which columns of its source mean what, and what to compute of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The columns that together name the entity.
    pub entity: Vec<String>,
    /// The column with the event's moment.
    pub event_time: String,
    /// The column with the moment by which the row was known, where that may be later.
    pub known_at: Option<String>,
    /// The columns that features aggregate, each once.
    pub columns: Vec<String>,
    /// How long after its event a row still counts.
    pub ttl: Span,
    /// The features, in the order of their declaration.
    pub features: Vec<Feature>,
}

/// One feature of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// What to compute.
    pub aggregate: Aggregate,
    /// The index in [`View::columns`] of what it is computed from; none: the rows themselves.
    pub column: Option<usize>,
    /// Over which stretch before the moment; never longer than the view's time to live.
    pub window: Span,
}

impl View {
    /// The view that a file declares.
    ///
    /// # Errors
    /// [`PointInTimeError::NoColumnNamed`] when a feature aggregates values but names no column.
    pub fn new(spec: &FeatureViewSpec) -> Result<Self, PointInTimeError> {
        let mut columns: Vec<String> = Vec::new();
        let mut features = Vec::with_capacity(spec.features.len());
        for (name, feature) in &spec.features {
            let column = feature.column.as_ref().map(|column| {
                columns.iter().position(|known| known == column).unwrap_or_else(|| {
                    columns.push(column.clone());
                    columns.len() - 1
                })
            });
            if column.is_none() && !matches!(feature.aggregate, Aggregate::Count | Aggregate::Age) {
                return Err(PointInTimeError::NoColumnNamed { feature: name.clone() });
            }
            let window = feature.window.unwrap_or(spec.ttl).min(spec.ttl);
            features.push(Feature { name: name.clone(), aggregate: feature.aggregate, column, window });
        }
        Ok(Self {
            entity: spec.entity.clone(),
            event_time: spec.event_time.clone(),
            known_at: spec.known_at.clone(),
            columns,
            ttl: spec.ttl,
            features,
        })
    }
}
