//! Gradient-boosted trees for yes or no: Newton boosting of the logistic loss over binned features (Friedman 2001,
//! Chen and Guestrin 2016), each tree grown leaf by leaf (Ke et al. 2017).
//!
//! The result depends on the rows, the settings and the seed, and on nothing else: not on threads, memory or time, nor
//! on the processor, whose math library would round an exponential in its own way.

use rayon::prelude::*;
use tenon_onnx::Tree;

use crate::bins::bin;
use crate::grow::{Limits, grow};

/// The settings, all derived from the declared budget and the number of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How many trees.
    pub trees: usize,
    /// The part of each tree's best step that is taken.
    pub step: f64,
    /// The most leaves of a tree.
    pub leaves: usize,
    /// The fewest rows of a leaf.
    pub leaf_rows: u32,
    /// The part of the rows that each tree sees.
    pub row_share: f64,
    /// The part of the features that each tree may ask for.
    pub feature_share: f64,
}

impl Settings {
    /// More budget makes more trees of smaller steps; their product stays the same.
    pub fn new(budget: f32, most_trees: Option<u32>, rows: usize) -> Self {
        let budget = f64::from(budget).clamp(0.02, 10.0);
        let trees = (200.0 * budget).ceil().max(1.0);
        let step = (6.0 / trees).min(0.3);
        let trees = (trees as usize).min(most_trees.map_or(usize::MAX, |most| most.max(1) as usize));
        // A leaf speaks for at least one row in a thousand: rows of one day are alike, and fewer would be its echo.
        let leaf_rows = (rows / 1_000).clamp(10, 200) as u32;
        Self { trees, step, leaves: 31, leaf_rows, row_share: 0.7, feature_share: 0.8 }
    }
}

/// Trees and what they start from: log-odds of 1.
#[derive(Debug)]
pub struct Boosted {
    /// What is added up.
    pub trees: Vec<Tree>,
    /// What the sum starts from.
    pub base: f64,
    /// The margin of each learning row, as training saw it.
    pub margins: Vec<f64>,
}

/// Boosts trees on row-major `rows`, `[rows, features]`, NaN missing and nothing infinite, against `labels`, `[rows]`, with
/// both classes. `draw(bound, count)` chooses `count` of the numbers below `bound`, ascending: which rows and features a
/// tree sees.
pub fn boost(
    rows: &[f32],
    features: usize,
    labels: &[bool],
    settings: &Settings,
    mut draw: impl FnMut(usize, usize) -> Vec<usize>,
) -> Boosted {
    let columns = bin(rows, features);
    let positives = labels.iter().filter(|label| **label).count() as f64;
    let base = f64::from((positives / (labels.len() as f64 - positives)).ln() as f32);
    let mut margins = vec![base; labels.len()];
    let (mut gradients, mut hessians) = (vec![0.0_f32; labels.len()], vec![0.0_f32; labels.len()]);
    let limits =
        Limits { leaves: settings.leaves, depth: 12, rows: settings.leaf_rows, lambda: 1.0, step: settings.step };
    let share = |of: usize, part: f64| ((of as f64 * part).ceil() as usize).clamp(1, of);
    let mut trees = Vec::with_capacity(settings.trees);
    for _ in 0..settings.trees {
        (&mut gradients, &mut hessians, &margins, labels).into_par_iter().for_each(
            |(gradient, hessian, margin, label)| {
                let probability = 1.0 / (1.0 + exp(-margin));
                *gradient = (probability - f64::from(u8::from(*label))) as f32;
                *hessian = (probability * (1.0 - probability)) as f32;
            },
        );
        let used = draw(features, share(features, settings.feature_share));
        let sampled = draw(labels.len(), share(labels.len(), settings.row_share));
        let mut order: Vec<u32> = sampled.into_iter().map(|row| row as u32).collect();
        let tree = grow(&columns, &used, &mut order, &gradients, &hessians, limits);
        margins.par_iter_mut().enumerate().for_each(|(row, margin)| {
            *margin += value(&tree, &rows[row * features..(row + 1) * features]);
        });
        trees.push(tree);
    }
    Boosted { trees, base, margins }
}

/// `1 / n!` for each `n` from 0.
const TERMS: [f64; 14] = {
    let (mut terms, mut n, mut factorial) = ([1.0; 14], 1, 1_u64);
    while n < terms.len() {
        factorial *= n as u64;
        terms[n] = 1.0 / factorial as f64;
        n += 1;
    }
    terms
};

/// The exponential, within two units in the last place, from additions and multiplications that IEEE 754 fixes: the sum
/// of its series around the nearest multiple of ln 2.
fn exp(x: f64) -> f64 {
    const LN_2: (f64, f64) = (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10);
    let x = x.clamp(-700.0, 700.0);
    let power = (x * std::f64::consts::LOG2_E).round();
    let rest = (x - power * LN_2.0) - power * LN_2.1;
    let series = TERMS.iter().rev().fold(0.0, |sum, term| term + sum * rest);
    series * f64::from_bits(((1023 + power as i64) as u64) << 52)
}

/// What a tree says to a row.
fn value(tree: &Tree, row: &[f32]) -> f64 {
    let mut at = 0;
    loop {
        match tree.nodes[at] {
            tenon_onnx::Node::Leaf { value, .. } => return value,
            tenon_onnx::Node::Split { feature, threshold, missing_left, left, right, .. } => {
                let value = row[feature as usize];
                let goes_left = if value.is_nan() { missing_left } else { f64::from(value) < threshold };
                at = if goes_left { left } else { right } as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_as_good_as_the_math_librarys() {
        for at in -70_000..=70_000 {
            let x = f64::from(at) / 100.0;
            let (found, expected) = (exp(x), x.exp());
            assert!((found - expected).abs() <= 1e-15 * expected, "{x}: {found} {expected}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f64::INFINITY).is_finite() && exp(f64::NEG_INFINITY) > 0.0);
    }
}
