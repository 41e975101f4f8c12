//! Operators that move elements without changing them.

use crate::error::{Result, bad_input};
use crate::tensor::{Tensor, TensorData, elements, map_each};

/// An axis counted from the front.
fn axis_of(axis: i64, rank: usize, place: &str) -> Result<usize> {
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    let axis_in_range = usize::try_from(from_front).ok().filter(|&axis| axis < rank);
    axis_in_range.ok_or_else(|| bad_input(place, format!("there is no axis {axis} in a tensor of rank {rank}")))
}

/// The tensors one after the other along `axis`.
pub(crate) fn concat(operands: &[&Tensor], axis: i64, place: &str) -> Result<Tensor> {
    let Some(&first) = operands.first() else { return Err(bad_input(place, "there is nothing to put together")) };
    let axis = axis_of(axis, first.shape.len(), place)?;
    let outer: usize = first.shape[..axis].iter().product();
    let (mut extent, mut widths) = (0, Vec::with_capacity(operands.len()));
    for operand in operands {
        let same = operand.shape.len() == first.shape.len()
            && operand.data.dtype() == first.data.dtype()
            && operand.shape.iter().zip(&first.shape).enumerate().all(|(at, (a, b))| at == axis || a == b);
        if !same {
            let (a, b) = (&first.shape, &operand.shape);
            return Err(bad_input(place, format!("tensors of shapes {a:?} and {b:?}, or of two types, do not join")));
        }
        extent += operand.shape[axis];
        widths.push(operand.shape[axis..].iter().product::<usize>());
    }
    let mut shape = first.shape.clone();
    shape[axis] = extent;
    if elements(&shape).is_none() {
        return Err(bad_input(place, format!("the shape {shape:?} is absurd")));
    }
    macro_rules! join {
        ($variant:ident) => {{
            let mut all = Vec::with_capacity(outer * widths.iter().sum::<usize>());
            for block in 0..outer {
                for (operand, &width) in operands.iter().zip(&widths) {
                    if let TensorData::$variant(values) = &operand.data {
                        all.extend_from_slice(&values[block * width..(block + 1) * width]);
                    }
                }
            }
            TensorData::$variant(all)
        }};
    }
    let data = match first.data {
        TensorData::F32(_) => join!(F32),
        TensorData::F64(_) => join!(F64),
        TensorData::I64(_) => join!(I64),
        TensorData::I32(_) => join!(I32),
        TensorData::Bool(_) => join!(Bool),
        TensorData::String(_) => join!(String),
    };
    Ok(Tensor::unnamed(shape, data))
}

/// The slices of `input` along `axis` that `indices` name.
pub(crate) fn gather(input: &Tensor, indices: &Tensor, axis: i64, place: &str) -> Result<Tensor> {
    let axis = axis_of(axis, input.shape.len(), place)?;
    let shape = [&input.shape[..axis], &indices.shape, &input.shape[axis + 1..]].concat();
    take(input, indices, axis, shape, place)
}

/// The columns of the last axis that `indices` name (ArrayFeatureExtractor).
pub(crate) fn extract(input: &Tensor, indices: &Tensor, place: &str) -> Result<Tensor> {
    let last = axis_of(-1, input.shape.len(), place)?;
    let front = if last == 0 { &[1] } else { &input.shape[..last] };
    let shape = [front, &[indices.data.len()]].concat();
    take(input, indices, last, shape, place)
}

fn take(input: &Tensor, indices: &Tensor, axis: usize, shape: Vec<usize>, place: &str) -> Result<Tensor> {
    let extent = input.shape[axis];
    let named: Vec<i64> = match &indices.data {
        TensorData::I64(values) => values.clone(),
        TensorData::I32(values) => values.iter().map(|&v| i64::from(v)).collect(),
        other => return Err(bad_input(place, format!("indices are integers, these are {:?}", other.dtype()))),
    };
    let from_front = |index: i64| {
        let at = usize::try_from(if index < 0 { index.saturating_add(extent as i64) } else { index }).ok();
        at.filter(|&at| at < extent).ok_or_else(|| bad_input(place, format!("index {index} is not below {extent}")))
    };
    let named = named.into_iter().map(from_front).collect::<Result<Vec<_>>>()?;
    if elements(&shape).is_none() {
        return Err(bad_input(place, format!("the shape {shape:?} is absurd")));
    }
    let outer: usize = input.shape[..axis].iter().product();
    let inner: usize = input.shape[axis + 1..].iter().product();
    let slices = (0..outer).flat_map(|block| named.iter().map(move |&at| (block * extent + at) * inner));
    let data = map_each!(&input.data, v => slices.flat_map(|start| v[start..start + inner].iter().cloned()).collect());
    Ok(Tensor::unnamed(shape, data))
}

/// The same elements in another shape: 0 keeps an extent, one -1 takes what is left.
pub(crate) fn reshape(input: &Tensor, shape: &Tensor, place: &str) -> Result<Tensor> {
    let wanted = shape.as_i64().ok_or_else(|| bad_input(place, "a shape is given as int64"))?;
    let absurd = || bad_input(place, format!("the shape {:?} does not become {wanted:?}", input.shape));
    let mut result = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (at, &extent) in wanted.iter().enumerate() {
        result.push(match extent {
            0 => *input.shape.get(at).ok_or_else(absurd)?,
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            extent => usize::try_from(extent).map_err(|_| absurd())?,
        });
    }
    let known = elements(&result).ok_or_else(absurd)?;
    if let Some(at) = open {
        result[at] = input.data.len().checked_div(known).ok_or_else(absurd)?;
    }
    if elements(&result) != Some(input.data.len()) {
        return Err(absurd());
    }
    Ok(Tensor::unnamed(result, input.data.clone()))
}

/// A matrix whose rows are the axes before `axis`.
pub(crate) fn flatten(input: &Tensor, axis: i64, place: &str) -> Result<Tensor> {
    let rank = input.shape.len();
    let axis = if axis == rank as i64 { rank } else { axis_of(axis, rank, place)? };
    let (rows, columns) = (input.shape[..axis].iter().product(), input.shape[axis..].iter().product());
    Ok(Tensor::unnamed(vec![rows, columns], input.data.clone()))
}
