//! Derived features: expressions over other features and what a caller sends, compiled once, the same for training and for
//! serving.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, FixedSizeListBuilder, Float32Array, Float32Builder, RecordBatch,
    RecordBatchOptions,
};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use tenon_core::FeatureViewName;
use tenon_core::spec::{ColumnType, DerivedFeatureSpec, DerivedViewSpec, Dimensions, MOMENT, SpecSet};
use tenon_lake::arrow_type;
use tenon_query::point_in_time::Session;
use tenon_query::{Expression, QueryError};

use crate::{FeatureError, FeatureRef};

/// A derived view, compiled.
#[derive(Debug)]
pub(crate) struct DerivedView {
    pub name: FeatureViewName,
    pub features: Vec<DerivedFeature>,
}

/// One derived feature, compiled for the columns that it reads.
#[derive(Debug)]
pub(crate) struct DerivedFeature {
    pub name: String,
    /// What its expression reads, in the order of its columns.
    pub inputs: Vec<Input>,
    expression: Expression,
    schema: Arc<Schema>,
}

/// What an expression reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    /// A feature of another view: float32.
    Feature(FeatureRef),
    /// A vector feature of another view, of so many numbers.
    Vector(FeatureRef, Dimensions),
    /// What a caller sends, or a column of the observations.
    Request(String, DataType),
    /// The moment of decision.
    Moment,
}

impl DerivedView {
    /// Compiles every expression; one that cannot be is told with its feature.
    pub(crate) fn compile(
        session: &Session,
        specs: &SpecSet,
        name: &FeatureViewName,
        spec: &DerivedViewSpec,
    ) -> Result<Self, (String, QueryError)> {
        let known = inputs(specs, spec);
        let compile = |(feature, declared): (&String, &DerivedFeatureSpec)| {
            DerivedFeature::compile(session, &known, feature, &declared.sql).map_err(|error| (feature.clone(), error))
        };
        let features = spec.features.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { name: name.clone(), features })
    }
}

/// Everything that expressions of a derived view may read, by name.
fn inputs(specs: &SpecSet, spec: &DerivedViewSpec) -> Vec<(String, Input)> {
    let of_view = |view: &FeatureViewName| {
        let reference = |feature: &str| FeatureRef { view: view.clone(), feature: feature.to_owned() };
        let feature = |name: &str| (name.to_owned(), Input::Feature(reference(name)));
        let vector =
            |(name, dimensions): (&str, Dimensions)| (name.to_owned(), Input::Vector(reference(name), dimensions));
        let declared = specs.view(view).map(|view| (view.spec.features(), view.spec.vectors()));
        let (features, vectors) = declared.unwrap_or_default();
        features.into_iter().map(feature).chain(vectors.into_iter().map(vector)).collect::<Vec<_>>()
    };
    let request =
        spec.request.iter().map(|(name, kind)| (name.clone(), Input::Request(name.clone(), request_type(*kind))));
    let features = spec.views.iter().flat_map(of_view);
    features.chain(request).chain([(MOMENT.to_owned(), Input::Moment)]).collect()
}

/// The type of the column that holds the moment of decision.
pub(crate) fn moment_type() -> DataType {
    arrow_type(ColumnType::Timestamp)
}

/// The type of a column that callers send.
fn request_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Vector(dimensions) => vector_type(dimensions),
        plain => arrow_type(plain),
    }
}

/// The type in which expressions read vectors: it says how many numbers they have.
fn vector_type(dimensions: Dimensions) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, true)), i32::from(u16::from(dimensions)))
}

/// Vectors from their numbers: `number` gives the one at a place of a row; a vector of which one is missing is missing.
pub(crate) fn vectors(
    rows: usize,
    dimensions: Dimensions,
    number: impl Fn(usize, usize) -> Option<f32>,
) -> FixedSizeListArray {
    let mut vectors = FixedSizeListBuilder::new(Float32Builder::new(), i32::from(u16::from(dimensions)));
    for row in 0..rows {
        let vector: Option<Vec<f32>> = (0..dimensions.get()).map(|place| number(place, row)).collect();
        match &vector {
            Some(vector) => vectors.values().append_slice(vector),
            None => vectors.values().append_nulls(dimensions.get()),
        }
        vectors.append(vector.is_some());
    }
    vectors.finish()
}

fn field((name, input): &(String, Input)) -> Field {
    let kind = match input {
        Input::Feature(_) => DataType::Float32,
        Input::Vector(_, dimensions) => vector_type(*dimensions),
        Input::Request(_, kind) => kind.clone(),
        Input::Moment => moment_type(),
    };
    Field::new(name, kind, true)
}

impl DerivedFeature {
    fn compile(session: &Session, known: &[(String, Input)], name: &str, sql: &str) -> Result<Self, QueryError> {
        let all = Arc::new(Schema::new(known.iter().map(field).collect::<Vec<_>>()));
        let read = Expression::compile(session, sql, all)?.columns();
        let used: Vec<_> = known.iter().filter(|(name, _)| read.contains(name)).cloned().collect();
        let schema = Arc::new(Schema::new(used.iter().map(field).collect::<Vec<_>>()));
        let expression = Expression::compile(session, sql, Arc::clone(&schema))?;
        let kind = expression.data_type()?;
        if !(kind.is_numeric() || kind == DataType::Boolean) || !can_cast_types(&kind, &DataType::Float32) {
            let sentence = format!("it gives {kind}, and a feature is a number, or true or false");
            return Err(QueryError::Failed(sentence));
        }
        Ok(Self {
            name: name.to_owned(),
            inputs: used.into_iter().map(|(_, input)| input).collect(),
            expression,
            schema,
        })
    }

    /// Its values for rows whose inputs stand in `columns`, in the order of [`DerivedFeature::inputs`]. What is not a finite
    /// number is null.
    ///
    /// # Errors
    /// [`FeatureError::Derived`] when a value makes the expression fail.
    pub(crate) fn evaluate(
        &self,
        view: &DerivedView,
        rows: usize,
        columns: Vec<ArrayRef>,
    ) -> Result<Float32Array, FeatureError> {
        let failed = |source| FeatureError::Derived { view: view.name.clone(), feature: self.name.clone(), source };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let values = cast(&self.expression.evaluate(&batch).map_err(failed)?, &DataType::Float32)?;
        let values = values.as_primitive::<Float32Type>();
        Ok(values.iter().map(|value| value.filter(|value| value.is_finite())).collect())
    }
}
