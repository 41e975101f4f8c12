//! Walking the trees.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{Aggregate, FlatNode, Head, Labels, TreeEnsemble};
use crate::error::{Result, bad_input};
use crate::tensor::{TensorData, elements};
use crate::transform::{Transform, logistic};

/// Walks in lock-step: enough to hide the latency of one step behind the others'.
const LANES: usize = 8;
/// Rows that share a pass over the trees, so that a tree is read from memory once for all of them.
const BLOCK: usize = 64;
/// Row × tree visits from which a batch is worth spreading over threads.
const PARALLEL_FROM: usize = 1 << 20;

impl TreeEnsemble {
    /// Scores before the post transform, base included: `[rows, n_outputs]`, row-major.
    ///
    /// # Shapes
    /// `rows`: `[rows, n_features]`, row-major; NaN is a missing value.
    /// # Errors
    /// `Input` when the rows are not whole or narrower than the trees need.
    pub fn margins(&self, rows: &[f32], n_features: usize) -> Result<Vec<f64>> {
        self.check_rows(rows, n_features)?;
        let mut scores = vec![0.0; rows.len() / n_features * self.n_outputs];
        let score = |(rows, scores): (&[f32], &mut [f64])| match self.has_equalities {
            true => self.score_block::<true>(rows, n_features, scores),
            false => self.score_block::<false>(rows, n_features, scores),
        };
        let (row_block, score_block) = (BLOCK * n_features, BLOCK * self.n_outputs);
        if rows.len() / n_features * self.n_trees() >= PARALLEL_FROM {
            rows.par_chunks(row_block).zip(scores.par_chunks_mut(score_block)).for_each(score);
        } else {
            rows.chunks(row_block).zip(scores.chunks_mut(score_block)).for_each(score);
        }
        Ok(scores)
    }

    /// What the model returns: `[rows, columns]`, where the columns are the targets of a regression or the
    /// probabilities of all classes.
    ///
    /// # Errors
    /// As [`Self::margins`].
    pub fn predict(&self, rows: &[f32], n_features: usize) -> Result<Vec<f32>> {
        Ok(self.outputs(&self.margins(rows, n_features)?))
    }

    /// The prediction for one row: the (first) target, or the probability of the last class.
    ///
    /// # Errors
    /// As [`Self::margins`].
    pub fn predict_row(&self, row: &[f32]) -> Result<f64> {
        if self.n_outputs > 1 {
            let outputs = self.predict(row, row.len())?;
            let column = if self.labels().is_some() { outputs.len() - 1 } else { 0 };
            return Ok(f64::from(outputs[column]));
        }
        self.check_rows(row, row.len())?;
        let mut score = [0.0];
        match self.has_equalities {
            true => self.score_row::<true>(row, &mut score),
            false => self.score_row::<false>(row, &mut score),
        }
        Ok(match self.head {
            Head::Classifier { .. } => self.second_class(score[0])[1],
            Head::Regressor => {
                self.transform.apply_to_targets(&mut score);
                score[0]
            }
        })
    }

    /// Outputs from margins, `[rows, columns]`.
    pub(crate) fn outputs(&self, margins: &[f64]) -> Vec<f32> {
        if matches!(self.head, Head::Classifier { .. }) && self.n_outputs == 1 {
            return margins.iter().flat_map(|&score| self.second_class(score)).map(|p| p as f32).collect();
        }
        let mut scores = margins.to_vec();
        scores.chunks_mut(self.n_outputs).for_each(|row| match self.head {
            Head::Classifier { .. } => self.transform.apply(row),
            Head::Regressor => self.transform.apply_to_targets(row),
        });
        scores.into_iter().map(|score| score as f32).collect()
    }

    /// The label of each row: the class of the highest score, the first of equals. (For two classes with a column
    /// each, ONNX Runtime says 1 when the second score is positive, whatever the labels are.)
    pub(crate) fn row_labels(&self, labels: &Labels, margins: &[f64]) -> TensorData {
        let class = |scores: &[f64]| match (&self.head, scores) {
            (Head::Classifier { one_column_is_probability, .. }, [score]) => {
                usize::from(*score > if *one_column_is_probability { 0.5 } else { 0.0 })
            }
            _ => highest(scores),
        };
        let classes = margins.chunks(self.n_outputs).map(class);
        match labels {
            Labels::Ints(labels) => TensorData::I64(classes.map(|class| labels[class]).collect()),
            Labels::Strings(labels) => TensorData::String(classes.map(|class| labels[class].clone()).collect()),
        }
    }

    /// Both classes' outputs from the one score, as ONNX Runtime has it.
    fn second_class(&self, score: f64) -> [f64; 2] {
        match (self.transform, &self.head) {
            (Transform::Logistic, _) => [logistic(-score), logistic(score)],
            (_, Head::Classifier { one_column_is_probability: true, .. }) => [1.0 - score, score],
            _ => [-score, score],
        }
    }

    pub(crate) fn check_rows(&self, rows: &[f32], n_features: usize) -> Result<()> {
        if n_features < self.n_features {
            let needed = self.n_features;
            return Err(bad_input("rows", format!("a row has {n_features} features, the trees need {needed}")));
        }
        if !rows.len().is_multiple_of(n_features) {
            return Err(bad_input("rows", format!("{} values are no whole rows of {n_features}", rows.len())));
        }
        if elements(&[rows.len() / n_features, self.n_outputs]).is_none() {
            return Err(bad_input("rows", "there are too many rows at once"));
        }
        Ok(())
    }

    fn score_block<const EQ: bool>(&self, rows: &[f32], n_features: usize, scores: &mut [f64]) {
        let n_rows = rows.len() / n_features;
        if n_rows < LANES {
            for (row, scores) in rows.chunks(n_features).zip(scores.chunks_mut(self.n_outputs)) {
                self.score_row::<EQ>(row, scores);
            }
            return;
        }
        scores.fill(self.identity());
        for &root in &self.roots {
            for first in (0..n_rows).step_by(LANES) {
                // The last lanes of an uneven block overlap those before: they are walked twice, and counted once.
                let start = first.min(n_rows - LANES);
                let lanes: [&[f32]; LANES] = std::array::from_fn(|k| &rows[(start + k) * n_features..][..n_features]);
                let leaves = walk::<EQ, _>(&self.nodes, [root; LANES], lanes, self.depth);
                let new = scores[first * self.n_outputs..].chunks_mut(self.n_outputs);
                for (&leaf, scores) in leaves[first - start..].iter().zip(new) {
                    self.add(&self.nodes[leaf as usize], scores);
                }
            }
        }
        scores.chunks_mut(self.n_outputs).for_each(|row| self.finish_scores(row));
    }

    fn score_row<const EQ: bool>(&self, row: &[f32], scores: &mut [f64]) {
        scores.fill(self.identity());
        let (groups, rest) = self.roots.as_chunks::<LANES>();
        for &roots in groups {
            let leaves = walk::<EQ, _>(&self.nodes, roots, [row; LANES], self.depth);
            leaves.iter().for_each(|&leaf| self.add(&self.nodes[leaf as usize], scores));
        }
        for &root in rest {
            let [leaf] = walk::<EQ, _>(&self.nodes, [root], [row], self.depth);
            self.add(&self.nodes[leaf as usize], scores);
        }
        self.finish_scores(scores);
    }

    fn identity(&self) -> f64 {
        match self.aggregate {
            Aggregate::Sum | Aggregate::Average => 0.0,
            Aggregate::Min => f64::INFINITY,
            Aggregate::Max => f64::NEG_INFINITY,
        }
    }

    #[inline(always)]
    fn add(&self, leaf: &FlatNode, scores: &mut [f64]) {
        for (output, score) in scores.iter_mut().enumerate() {
            let value = f64::from(self.leaf_value(leaf, output));
            match self.aggregate {
                Aggregate::Sum | Aggregate::Average => *score += value,
                Aggregate::Min => *score = score.min(value),
                Aggregate::Max => *score = score.max(value),
            }
        }
    }

    fn finish_scores(&self, scores: &mut [f64]) {
        let share = if self.aggregate == Aggregate::Average { 1.0 / self.n_trees() as f64 } else { 1.0 };
        for (score, base) in scores.iter_mut().zip(&self.base) {
            *score = *score * share + base;
        }
    }

    /// Float32 rows for which every test gives what it would give for the numbers in `data`: conversion rounds down,
    /// which no `<` against a float32 can tell. `None` for text, or where equality tests could tell.
    pub(crate) fn rows_of<'t>(&self, data: &'t TensorData) -> Option<Cow<'t, [f32]>> {
        let floor = |value: f64| {
            let nearest = value as f32;
            if f64::from(nearest) > value { nearest.next_down() } else { nearest }
        };
        Some(match data {
            TensorData::F32(values) => Cow::Borrowed(values),
            _ if self.has_equalities => return None,
            TensorData::F64(values) => values.iter().map(|&v| floor(v)).collect(),
            TensorData::I32(values) => values.iter().map(|&v| floor(f64::from(v))).collect(),
            TensorData::I64(values) => values.iter().map(|&v| floor(v as f64)).collect(),
            TensorData::Bool(_) | TensorData::String(_) => return None,
        })
    }
}

/// The leaves that several walks reach, each from its root with its row.
#[inline(always)]
fn walk<const EQ: bool, const K: usize>(
    nodes: &[FlatNode],
    roots: [u32; K],
    rows: [&[f32]; K],
    depth: u32,
) -> [u32; K] {
    let mut at = roots;
    for _ in 0..depth {
        let mut moved = 0;
        for k in 0..K {
            let node = &nodes[at[k] as usize];
            let next = node.left.wrapping_add(u32::from(node.goes_right::<EQ>(rows[k][node.feature()])));
            moved |= next ^ at[k];
            at[k] = next;
        }
        if moved == 0 {
            break;
        }
    }
    at
}

/// Index of the highest score, the first of equals.
pub(crate) fn highest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, next| if scores[next] > scores[best] { next } else { best })
}
