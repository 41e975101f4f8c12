//! Element-wise arithmetic with broadcasting, casts and the logistic function.

use crate::error::{Result, bad_input};
use crate::tensor::{DType, Tensor, TensorData, elements};
use crate::transform::logistic;

/// An operation on two numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// A number type of the operations; integers wrap, and division by zero gives zero as it must give something.
trait Number: Copy {
    fn compute(self, operation: Arithmetic, other: Self) -> Self;
}

macro_rules! number {
    ($type:ty, $add:ident, $sub:ident, $mul:ident, $div:expr) => {
        impl Number for $type {
            fn compute(self, operation: Arithmetic, other: Self) -> Self {
                match operation {
                    Arithmetic::Add => self.$add(other),
                    Arithmetic::Sub => self.$sub(other),
                    Arithmetic::Mul => self.$mul(other),
                    Arithmetic::Div => $div(self, other),
                }
            }
        }
    };
}

use std::ops::{Add, Mul, Sub};
number!(f32, add, sub, mul, |a: f32, b: f32| a / b);
number!(f64, add, sub, mul, |a: f64, b: f64| a / b);
number!(i32, wrapping_add, wrapping_sub, wrapping_mul, |a: i32, b: i32| a.checked_div(b).unwrap_or(0));
number!(i64, wrapping_add, wrapping_sub, wrapping_mul, |a: i64, b: i64| a.checked_div(b).unwrap_or(0));

impl Arithmetic {
    pub(crate) fn run(self, a: &Tensor, b: &Tensor, place: &str) -> Result<Tensor> {
        let shape = broadcast(&a.shape, &b.shape).ok_or_else(|| {
            bad_input(place, format!("the shapes {:?} and {:?} do not go together", a.shape, b.shape))
        })?;
        let (left, right) = (positions(&a.shape, &shape), positions(&b.shape, &shape));
        fn compute<T: Number>(a: &[T], b: &[T], at: (Vec<usize>, Vec<usize>), operation: Arithmetic) -> Vec<T> {
            at.0.into_iter().zip(at.1).map(|(i, j)| a[i].compute(operation, b[j])).collect()
        }
        let at = (left, right);
        let data = match (&a.data, &b.data) {
            (TensorData::F32(a), TensorData::F32(b)) => TensorData::F32(compute(a, b, at, self)),
            (TensorData::F64(a), TensorData::F64(b)) => TensorData::F64(compute(a, b, at, self)),
            (TensorData::I32(a), TensorData::I32(b)) => TensorData::I32(compute(a, b, at, self)),
            (TensorData::I64(a), TensorData::I64(b)) => TensorData::I64(compute(a, b, at, self)),
            (a, b) => {
                let types = format!("numbers of one type are needed, not {:?} and {:?}", a.dtype(), b.dtype());
                return Err(bad_input(place, types));
            }
        };
        Ok(Tensor::unnamed(shape, data))
    }
}

/// The shape of the result, `None` when the operands do not fit or the result would be absurd.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let shape: Option<Vec<_>> = (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect();
    shape.filter(|shape| elements(shape).is_some())
}

/// For each element of `result`, the element of the operand of shape `operand` that takes part in it.
fn positions(operand: &[usize], result: &[usize]) -> Vec<usize> {
    if result.contains(&0) {
        return Vec::new();
    }
    let mut at = vec![0];
    for (axis, &extent) in result.iter().enumerate() {
        let own = (axis + operand.len()).checked_sub(result.len()).map_or(1, |axis| operand[axis]);
        let step = move |start: usize| (0..extent).map(move |i| start * own + if own == 1 { 0 } else { i });
        at = at.into_iter().flat_map(step).collect();
    }
    at
}

pub(crate) fn sigmoid(input: &Tensor, place: &str) -> Result<Tensor> {
    let data = match &input.data {
        TensorData::F32(values) => TensorData::F32(values.iter().map(|&v| logistic(f64::from(v)) as f32).collect()),
        TensorData::F64(values) => TensorData::F64(values.iter().map(|&v| logistic(v)).collect()),
        other => return Err(bad_input(place, format!("floats are needed, these are {:?}", other.dtype()))),
    };
    Ok(Tensor::unnamed(input.shape.clone(), data))
}

/// Converts as a C cast does: floats are cut towards zero, and what is not zero is true.
pub(crate) fn cast(input: &Tensor, to: DType, place: &str) -> Result<Tensor> {
    macro_rules! from {
        ($values:expr, $zero:expr) => {
            match to {
                DType::F32 => TensorData::F32($values.iter().map(|&v| v as f32).collect()),
                DType::F64 => TensorData::F64($values.iter().map(|&v| v as f64).collect()),
                DType::I64 => TensorData::I64($values.iter().map(|&v| v as i64).collect()),
                DType::I32 => TensorData::I32($values.iter().map(|&v| v as i32).collect()),
                DType::Bool => TensorData::Bool($values.iter().map(|&v| v != $zero).collect()),
                DType::String => return Err(bad_input(place, "numbers are not cast to text")),
            }
        };
    }
    let data = match &input.data {
        same if same.dtype() == to => same.clone(),
        TensorData::F32(values) => from!(values, 0.0),
        TensorData::F64(values) => from!(values, 0.0),
        TensorData::I64(values) => from!(values, 0),
        TensorData::I32(values) => from!(values, 0),
        TensorData::Bool(values) => {
            let numbers: Vec<i32> = values.iter().map(|&v| i32::from(v)).collect();
            from!(numbers, 0)
        }
        TensorData::String(_) => return Err(bad_input(place, "text is not cast to numbers")),
    };
    Ok(Tensor::unnamed(input.shape.clone(), data))
}
