//! LinearClassifier and LinearRegressor (ai.onnx.ml 1).

use super::floats;
use crate::attributes::Attributes;
use crate::ensemble::{Labels, highest, read_labels};
use crate::error::{Result, bad_input, invalid, unsupported};
use crate::tensor::{Tensor, TensorData, elements};
use crate::transform::Transform;

/// `scores = rows · coefficientsᵀ + intercepts`, accumulated in float64.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[targets, features]`, row-major.
    coefficients: Vec<f32>,
    /// `[targets]`.
    intercepts: Vec<f32>,
    transform: Transform,
    labels: Option<Labels>,
}

impl Linear {
    pub(crate) fn read_classifier(node: &Attributes) -> Result<Self> {
        let labels = read_labels(node)?;
        let intercepts = node.floats("intercepts").to_vec();
        let linear = Self::read(node, intercepts, Some(labels))?;
        let classes = linear.labels.as_ref().map_or(0, Labels::len);
        match (linear.intercepts.len(), classes) {
            // ONNX Runtime's answers for a single column depend on more than the specification says.
            (1, _) => Err(unsupported("classifier with a single score column", &node.place)),
            (targets, classes) if targets == classes => Ok(linear),
            (targets, classes) => Err(invalid(&node.place, format!("{targets} intercepts for {classes} classes"))),
        }
    }

    pub(crate) fn read_regressor(node: &Attributes) -> Result<Self> {
        let targets = usize::try_from(node.int("targets").unwrap_or(1)).ok().filter(|n| (1..=1 << 16).contains(n));
        let targets = targets.ok_or_else(|| invalid(&node.place, "`targets` is out of range"))?;
        let intercepts = match node.floats("intercepts") {
            [] => vec![0.0; targets],
            given if given.len() == targets => given.to_vec(),
            given => return Err(invalid(&node.place, format!("{} intercepts for {targets} targets", given.len()))),
        };
        Self::read(node, intercepts, None)
    }

    fn read(node: &Attributes, intercepts: Vec<f32>, labels: Option<Labels>) -> Result<Self> {
        let coefficients = node.floats("coefficients").to_vec();
        if intercepts.is_empty() || coefficients.is_empty() || !coefficients.len().is_multiple_of(intercepts.len()) {
            let (have, targets) = (coefficients.len(), intercepts.len());
            return Err(invalid(&node.place, format!("{have} coefficients for {targets} intercepts")));
        }
        let transform = Transform::parse(node.string("post_transform")?, &node.place)?;
        Ok(Self { coefficients, intercepts, transform, labels })
    }

    pub(crate) fn is_classifier(&self) -> bool {
        self.labels.is_some()
    }

    pub(crate) fn run(&self, input: &Tensor, place: &str) -> Result<Vec<Tensor>> {
        let (rows, columns) = input.rows_and_columns(place)?;
        let targets = self.intercepts.len();
        let features = self.coefficients.len() / targets;
        if columns != features {
            return Err(bad_input(place, format!("the model takes {features} features, a row has {columns}")));
        }
        if elements(&[rows, targets]).is_none() {
            return Err(bad_input(place, format!("{rows} rows of {targets} targets are too many at once")));
        }
        let values = floats(input, place)?;
        let mut outputs = Vec::with_capacity(rows * targets);
        let mut classes = Vec::with_capacity(rows);
        let mut scores = vec![0.0; targets];
        for row in values.chunks_exact(features) {
            let weights = self.coefficients.chunks_exact(features).zip(&self.intercepts);
            for (score, (weights, &intercept)) in scores.iter_mut().zip(weights) {
                let products = row.iter().zip(weights).map(|(&x, &w)| f64::from(x) * f64::from(w));
                *score = products.sum::<f64>() + f64::from(intercept);
            }
            classes.push(highest(&scores));
            match self.labels {
                Some(_) => self.transform.apply(&mut scores),
                None => self.transform.apply_to_targets(&mut scores),
            }
            outputs.extend(scores.iter().map(|&score| score as f32));
        }
        let outputs = Tensor::unnamed(vec![rows, targets], TensorData::F32(outputs));
        let labels = match &self.labels {
            None => return Ok(vec![outputs]),
            Some(Labels::Ints(labels)) => TensorData::I64(classes.iter().map(|&class| labels[class]).collect()),
            Some(Labels::Strings(labels)) => {
                TensorData::String(classes.iter().map(|&class| labels[class].clone()).collect())
            }
        };
        Ok(vec![Tensor::unnamed(vec![rows], labels), outputs])
    }
}
