//! One tree, grown leaf by leaf: the leaf whose best split promises most is split next.
//!
//! Every sum runs over rows in one order that threads do not change: features are shared out between threads, rows are
//! not. So the tree is the same on any machine, with any number of threads.

use rayon::prelude::*;
use tenon_onnx::{Node, Tree};

use crate::bins::{Column, MISSING};

/// What keeps a tree from learning the rows by heart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most leaves.
    pub(crate) leaves: usize,
    /// The most splits between the root and a leaf.
    pub(crate) depth: u32,
    /// The fewest rows of a leaf.
    pub(crate) rows: u32,
    /// Added to the second derivatives' sum of a leaf, which draws its value towards 0.
    pub(crate) lambda: f64,
    /// A leaf's value is this part of the best step.
    pub(crate) step: f64,
}

/// Sums over the rows of one bin, or of several.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    gradient: f64,
    hessian: f64,
    rows: u32,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
        self.rows += other.rows;
    }

    fn without(&self, other: &Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
            rows: self.rows - other.rows,
        }
    }

    /// How much a leaf of these rows lowers twice the loss (Chen and Guestrin 2016, equation 7).
    fn score(&self, lambda: f64) -> f64 {
        self.gradient * self.gradient / (self.hessian + lambda)
    }
}

#[derive(Debug, Clone, Copy)]
struct Split {
    gain: f64,
    feature: usize,
    /// Rows with a bin up to this one go left, if they have a value.
    last_left: u8,
    missing_left: bool,
    left: Sums,
}

struct Leaf {
    /// Index of the node in the tree.
    node: usize,
    depth: u32,
    /// Its part of the order of rows.
    rows: std::ops::Range<usize>,
    sums: Sums,
    /// Sums by bin, one block a used feature; empty when the leaf can't be split any more.
    histogram: Vec<Sums>,
    best: Option<Split>,
}

/// Grows a tree on the rows in `order`.
///
/// # Shapes
/// `gradients`, `hessians`: one a row of the columns. `features`: those that this tree may ask for.
pub(crate) fn grow(
    columns: &[Column],
    features: &[usize],
    order: &mut [u32],
    gradients: &[f32],
    hessians: &[f32],
    limits: Limits,
) -> Tree {
    let mut growth = Growth { columns, features, gradients, hessians, limits, offsets: offsets(columns, features) };
    growth.tree(order)
}

/// Where each feature's block starts in a histogram; the last entry is the length of one.
fn offsets(columns: &[Column], features: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    for feature in features {
        offsets.push(offsets[offsets.len() - 1] + columns[*feature].cuts.len() + 2);
    }
    offsets
}

struct Growth<'a> {
    columns: &'a [Column],
    features: &'a [usize],
    gradients: &'a [f32],
    hessians: &'a [f32],
    limits: Limits,
    offsets: Vec<usize>,
}

impl Growth<'_> {
    fn tree(&mut self, order: &mut [u32]) -> Tree {
        let histogram = self.histogram(order);
        let first = &histogram[..self.offsets[1]];
        let mut sums = Sums::default();
        first.iter().for_each(|bin| sums.add(bin));
        let mut nodes = vec![self.leaf_node(&sums)];
        let best = self.best_split(&histogram, &sums, 0);
        let mut leaves = vec![Leaf { node: 0, depth: 0, rows: 0..order.len(), sums, histogram, best }];
        while leaves.len() < self.limits.leaves {
            let gain = |leaf: &Leaf| leaf.best.map_or(f64::NEG_INFINITY, |split| split.gain);
            // The first of equals, so that the order of growth is fixed.
            let next = (0..leaves.len()).rev().max_by(|a, b| gain(&leaves[*a]).total_cmp(&gain(&leaves[*b])));
            let Some((next, split)) = next.and_then(|next| Some((next, leaves[next].best?))) else { break };
            let parent = leaves.swap_remove(next);
            leaves.extend(self.split(parent, split, order, &mut nodes));
        }
        Tree { nodes }
    }

    fn split(&self, parent: Leaf, split: Split, order: &mut [u32], nodes: &mut Vec<Node>) -> [Leaf; 2] {
        let column = &self.columns[split.feature];
        let goes_left = |row: u32| match column.bins[row as usize] {
            MISSING => split.missing_left,
            bin => bin <= split.last_left,
        };
        let middle = parent.rows.start + partition(&mut order[parent.rows.clone()], goes_left);
        let (left_rows, right_rows) = (parent.rows.start..middle, middle..parent.rows.end);
        let right_sums = parent.sums.without(&split.left);
        let left_node = nodes.len();
        nodes[parent.node] = Node::Split {
            feature: split.feature as u32,
            threshold: f64::from(threshold(column, split.last_left)),
            missing_left: split.missing_left,
            left: left_node as u32,
            right: left_node as u32 + 1,
            cover: f64::from(parent.sums.rows),
        };
        nodes.extend([self.leaf_node(&split.left), self.leaf_node(&right_sums)]);
        // The smaller side is counted, the other is what is left over of the parent.
        let left_is_smaller = left_rows.len() <= right_rows.len();
        let smaller = if left_is_smaller { left_rows.clone() } else { right_rows.clone() };
        let small = self.histogram(&order[smaller]);
        let mut large = parent.histogram;
        large.iter_mut().zip(&small).for_each(|(all, part)| *all = all.without(part));
        let (left_histogram, right_histogram) = if left_is_smaller { (small, large) } else { (large, small) };
        let depth = parent.depth + 1;
        let leaf = |node: usize, rows, sums: Sums, histogram: Vec<Sums>| {
            let best = self.best_split(&histogram, &sums, depth);
            let histogram = if best.is_some() { histogram } else { Vec::new() };
            Leaf { node, depth, rows, sums, histogram, best }
        };
        [
            leaf(left_node, left_rows, split.left, left_histogram),
            leaf(left_node + 1, right_rows, right_sums, right_histogram),
        ]
    }

    fn leaf_node(&self, sums: &Sums) -> Node {
        let value = -sums.gradient / (sums.hessian + self.limits.lambda) * self.limits.step;
        // The artifact holds float32: what is trained on is what is written.
        Node::Leaf { value: f64::from(value as f32), cover: f64::from(sums.rows) }
    }

    fn histogram(&self, rows: &[u32]) -> Vec<Sums> {
        let ordered: Vec<(f32, f32)> =
            rows.iter().map(|row| (self.gradients[*row as usize], self.hessians[*row as usize])).collect();
        let mut histogram = vec![Sums::default(); self.offsets[self.features.len()]];
        let mut blocks = Vec::with_capacity(self.features.len());
        let mut rest = &mut histogram[..];
        for (at, feature) in self.features.iter().enumerate() {
            let (block, more) = rest.split_at_mut(self.offsets[at + 1] - self.offsets[at]);
            blocks.push((block, &self.columns[*feature].bins));
            rest = more;
        }
        let count = |(block, bins): (&mut [Sums], &Vec<u8>)| {
            for (row, (gradient, hessian)) in rows.iter().zip(&ordered) {
                let sums = &mut block[usize::from(bins[*row as usize])];
                sums.gradient += f64::from(*gradient);
                sums.hessian += f64::from(*hessian);
                sums.rows += 1;
            }
        };
        // Below some thousand values, handing work to threads costs more than the work.
        if rows.len() * self.features.len() >= 16_384 {
            blocks.into_par_iter().for_each(count);
        } else {
            blocks.into_iter().for_each(count);
        }
        histogram
    }

    fn best_split(&self, histogram: &[Sums], sums: &Sums, depth: u32) -> Option<Split> {
        if sums.rows < 2 * self.limits.rows || depth >= self.limits.depth {
            return None;
        }
        let mut best: Option<Split> = None;
        for (at, feature) in self.features.iter().enumerate() {
            let bins = &histogram[self.offsets[at]..self.offsets[at + 1]];
            self.best_of_feature(bins, *feature, sums, &mut best);
        }
        best
    }

    /// Tries every cut with the missing values on either side; where none are missing here, one that is missing in
    /// life goes with the majority.
    fn best_of_feature(&self, bins: &[Sums], feature: usize, all: &Sums, best: &mut Option<Split>) {
        let Limits { lambda, rows, .. } = self.limits;
        let missing = &bins[usize::from(MISSING)];
        let whole = all.score(lambda);
        let mut values = Sums::default();
        for (last_left, sums) in bins[..bins.len() - 1].iter().enumerate() {
            if last_left > 0 {
                values.add(sums);
            }
            let sides: &[bool] = if missing.rows > 0 { &[false, true] } else { &[false] };
            for &missing_left in sides {
                let mut left = values;
                if missing_left {
                    left.add(missing);
                }
                if left.rows < rows || all.rows - left.rows < rows {
                    continue;
                }
                let right = all.without(&left);
                let gain = left.score(lambda) + right.score(lambda) - whole;
                if gain > best.map_or(MIN_GAIN, |split| split.gain) {
                    let missing_left = if missing.rows > 0 { missing_left } else { left.rows >= right.rows };
                    *best = Some(Split { gain, feature, last_left: last_left as u8, missing_left, left });
                }
            }
        }
    }
}

/// A gain below it is noise of the sums.
const MIN_GAIN: f64 = 1e-6;

/// The cut after a bin; before the first bin of values lies the least float32, which nothing finite is below.
fn threshold(column: &Column, last_left: u8) -> f32 {
    match last_left {
        0 => f32::MIN,
        bin => column.cuts[usize::from(bin) - 1],
    }
}

/// Moves the rows that go left before those that go right, each in their order. Returns how many go left.
fn partition(rows: &mut [u32], goes_left: impl Fn(u32) -> bool) -> usize {
    let (mut left, mut right) = (0, Vec::with_capacity(rows.len()));
    for at in 0..rows.len() {
        let row = rows[at];
        if goes_left(row) {
            rows[left] = row;
            left += 1;
        } else {
            right.push(row);
        }
    }
    rows[left..].copy_from_slice(&right);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_keeps_the_order_on_both_sides() {
        let mut rows = [5, 2, 9, 4, 7];
        assert_eq!(partition(&mut rows, |row| row % 2 == 0), 2);
        assert_eq!(rows, [2, 4, 5, 9, 7]);
    }

    #[test]
    fn missing_values_alone_can_be_split_off() {
        let values = [f32::NAN, 1.0, f32::NAN, 2.0, f32::NAN, 1.5, 1.0, f32::NAN];
        let columns = crate::bins::bin(&values, 1);
        let gradients: Vec<f32> = values.iter().map(|v| if v.is_nan() { -1.0 } else { 1.0 }).collect();
        let limits = Limits { leaves: 2, depth: 4, rows: 1, lambda: 0.0, step: 1.0 };
        let mut order: Vec<u32> = (0..8).collect();
        let tree = grow(&columns, &[0], &mut order, &gradients, &[1.0; 8], limits);
        let cover = 4.0;
        assert_eq!(tree.nodes[1..], [Node::Leaf { value: 1.0, cover }, Node::Leaf { value: -1.0, cover }]);
        assert!(
            matches!(tree.nodes[0], Node::Split { threshold, missing_left: true, .. } if threshold == f64::from(f32::MIN))
        );
    }
}
