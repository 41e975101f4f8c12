//! A feature view in the form that the kernel computes.

use std::ops::Range;

use tenon_core::Span;
use tenon_core::spec::{Aggregate, FeatureViewSpec, Window};

use super::{Kernel, PointInTimeError};

/// What a vector's number at a place is called, counted from 0: `style[0]`.
pub fn number(vector: &str, at: usize) -> String {
    format!("{vector}[{at}]")
}

/// A feature view: which columns of its source mean what, and what to compute of them.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The columns that together name the entity.
    pub entity: Vec<String>,
    /// The column with the event's moment.
    pub event_time: String,
    /// The column with the moment by which the row was known, where that may be later.
    pub known_at: Option<String>,
    /// What the values of a row are: the columns that features aggregate, each once, then each number of each vector.
    pub columns: Vec<String>,
    /// The columns that hold vectors.
    pub vectors: Vec<VectorColumn>,
    /// How long after its event a row still counts.
    pub ttl: Span,
    /// The features, in the order of their declaration; then each number of each vector feature, as a feature of its own.
    pub features: Vec<Feature>,
}

/// A column of vectors. What is known of one is known of each of its numbers, so that the newest vector is the newest of
/// each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorColumn {
    /// The column of the source.
    pub column: String,
    /// Where its numbers stand in [`View::columns`].
    pub values: Range<usize>,
}

/// One feature of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// What to compute.
    pub aggregate: Aggregate,
    /// The index in [`View::columns`] of what it is computed from; none: the rows themselves.
    pub column: Option<usize>,
    /// Over which stretch; a sliding one is never longer than the view's time to live.
    pub window: Window,
    /// Which quantile, from 0 to 1; only [`Aggregate::Quantile`] has one.
    pub q: Option<f64>,
    /// Which of the most frequent values, from 1 on; only [`Aggregate::TopK`] has one.
    pub k: Option<i64>,
}

impl Feature {
    /// A feature whose aggregate needs nothing else to be said.
    pub fn new(name: &str, aggregate: Aggregate, column: Option<usize>, window: impl Into<Window>) -> Self {
        Self { name: name.to_owned(), aggregate, column, window: window.into(), q: None, k: None }
    }
}

impl View {
    /// The view that a file declares.
    ///
    /// # Errors
    /// [`PointInTimeError::Unsaid`] when a feature aggregates values but names no column, or lacks `q` or `k`.
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
            let aggregate = feature.aggregate;
            let lacks = [
                ("column", column.is_none() && aggregate.needs_column()),
                ("q", feature.q.is_none() && aggregate == Aggregate::Quantile),
                ("k", feature.k.is_none() && aggregate == Aggregate::TopK),
            ];
            if let Some((what, _)) = lacks.into_iter().find(|(_, lacks)| *lacks) {
                return Err(PointInTimeError::Unsaid { feature: name.clone(), what });
            }
            let window = spec.window_of(feature);
            features.push(Feature { name: name.clone(), aggregate, column, window, q: feature.q, k: feature.k });
        }
        let mut vectors: Vec<VectorColumn> = Vec::new();
        for (name, vector) in &spec.vectors {
            let values = columns.len()..columns.len() + vector.dimensions.get();
            for (at, value) in values.clone().enumerate() {
                columns.push(number(&vector.column, at));
                let window = Window::Sliding(spec.ttl);
                features.push(Feature::new(&number(name, at), Aggregate::Last, Some(value), window));
            }
            vectors.push(VectorColumn { column: vector.column.clone(), values });
        }
        Ok(Self {
            entity: spec.entity.clone(),
            event_time: spec.event_time.clone(),
            known_at: spec.known_at.clone(),
            columns,
            vectors,
            ttl: spec.ttl,
            features,
        })
    }

    /// All features, ready to be computed.
    pub fn kernel(&self) -> Kernel {
        Kernel::new(self.ttl.as_micros(), &self.features)
    }

    /// Whether rows count however old they are.
    pub fn is_lifelong(&self) -> bool {
        self.features.iter().any(|feature| feature.window == Window::Lifetime)
    }

    /// Whether a column may hold text: nothing is asked of its values but whether they differ.
    pub(super) fn takes_text(&self, column: usize) -> bool {
        let mut readers = self.features.iter().filter(|feature| feature.column == Some(column));
        readers.all(|feature| feature.aggregate == Aggregate::Distinct)
    }
}
