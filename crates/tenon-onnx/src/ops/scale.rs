//! Scaler, Normalizer and Imputer (ai.onnx.ml 1): what happens to features before, and probabilities after, a model.

use super::floats;
use crate::attributes::Attributes;
use crate::error::{Result, bad_input, invalid, unsupported};
use crate::tensor::{Tensor, TensorData};

/// `(x - offset) * scale`, with one offset and scale for all columns or one each.
#[derive(Debug)]
pub(crate) struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

impl Scaler {
    pub(crate) fn read(node: &Attributes) -> Result<Self> {
        let (offset, scale) = (node.floats("offset").to_vec(), node.floats("scale").to_vec());
        if offset.is_empty() || offset.len() != scale.len() {
            return Err(invalid(&node.place, "`offset` and `scale` differ in length, or are empty"));
        }
        Ok(Self { offset, scale })
    }

    pub(crate) fn run(&self, input: &Tensor, place: &str) -> Result<Tensor> {
        let columns = columns_for(input, self.offset.len(), place)?;
        let mut values = floats(input, place)?;
        for row in values.chunks_mut(columns) {
            for (x, (offset, scale)) in row.iter_mut().zip(self.offset.iter().zip(&self.scale).cycle()) {
                *x = (*x - offset) * scale;
            }
        }
        Ok(Tensor::unnamed(input.shape.clone(), TensorData::F32(values)))
    }
}

/// What a row is divided by; a row whose norm is zero stays as it is.
#[derive(Debug)]
pub(crate) enum Norm {
    Max,
    L1,
    L2,
}

impl Norm {
    pub(crate) fn read(node: &Attributes) -> Result<Self> {
        match node.string("norm")? {
            None | Some("MAX") => Ok(Self::Max),
            Some("L1") => Ok(Self::L1),
            Some("L2") => Ok(Self::L2),
            Some(other) => Err(unsupported(format!("norm {other}"), &node.place)),
        }
    }

    pub(crate) fn run(&self, input: &Tensor, place: &str) -> Result<Tensor> {
        let (_, columns) = input.rows_and_columns(place)?;
        let mut values = floats(input, place)?;
        for row in values.chunks_mut(columns.max(1)) {
            let wide = row.iter().map(|&x| f64::from(x));
            let norm = match self {
                Self::Max => wide.fold(f64::NEG_INFINITY, f64::max),
                Self::L1 => wide.map(f64::abs).sum(),
                Self::L2 => wide.map(|x| x * x).sum::<f64>().sqrt(),
            };
            if norm != 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
        }
        Ok(Tensor::unnamed(input.shape.clone(), TensorData::F32(values)))
    }
}

/// Puts a column's value where the row has the value that stands for "missing".
#[derive(Debug)]
pub(crate) struct Imputer {
    missing: f32,
    values: Vec<f32>,
}

impl Imputer {
    pub(crate) fn read(node: &Attributes) -> Result<Self> {
        let values = node.floats("imputed_value_floats").to_vec();
        if values.is_empty() {
            return Err(unsupported("Imputer of integers", &node.place));
        }
        Ok(Self { missing: node.float("replaced_value_float").unwrap_or(0.0), values })
    }

    pub(crate) fn run(&self, input: &Tensor, place: &str) -> Result<Tensor> {
        let columns = columns_for(input, self.values.len(), place)?;
        let mut values = floats(input, place)?;
        for row in values.chunks_mut(columns) {
            for (x, value) in row.iter_mut().zip(self.values.iter().cycle()) {
                if *x == self.missing || x.is_nan() && self.missing.is_nan() {
                    *x = *value;
                }
            }
        }
        Ok(Tensor::unnamed(input.shape.clone(), TensorData::F32(values)))
    }
}

/// The number of columns, which must be that of the constants unless there is one for all.
fn columns_for(input: &Tensor, constants: usize, place: &str) -> Result<usize> {
    let (_, columns) = input.rows_and_columns(place)?;
    if constants != 1 && constants != columns {
        return Err(bad_input(place, format!("the model takes {constants} features, a row has {columns}")));
    }
    Ok(columns.max(1))
}
