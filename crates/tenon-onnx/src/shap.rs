//! Exact path-dependent TreeSHAP.
//!
//! The values are those of Lundberg et al. 2018 (Algorithm 2): Shapley values of the game in which a feature that is
//! not in the coalition is averaged over the training rows, by cover. They are computed in another way. For a leaf of
//! value `v` whose path tests the features `i`, let `o_i` be 1 when the row passes all tests of `i` on the path, else
//! 0, and `z_i` the share of training rows that pass. The Shapley weights are Beta integrals, so the leaf gives
//!
//! ```text
//! phi_i = v (o_i - z_i) ∫₀¹ Π_{j≠i} ((1 - t) z_j + t o_j) dt
//! ```
//!
//! a polynomial of degree one less than the number of features on the path, which Gauss–Legendre quadrature with half
//! as many points integrates exactly: no table of coalitions, no limit on depth, no alternating sums.
//!
//! At one point `t`, let `P` be the product of the factors of the features tested above a node, and `U` the sum over the
//! leaves below it of value times the factors added below. For the two children of a node the factors `r` that the
//! node's own test adds sum to one, and so does what each side gains from it, with opposite signs. Hence
//!
//! ```text
//! P_left = r P    P_right = (1 - r) P    U = U_right + r (U_left - U_right)    phi_feature += k P (U_left - U_right)
//! ```
//!
//! summed over the points with their weights. With `o_a`, `z_a` of the nearest edge above that tests the same feature
//! (both 1 if there is none) and `h_a = (1 - t) z_a + t`, a row that goes left (`o` = 1) or right (`o` = 0) has
//! `r = ((1 - t) z_a z + t o) / h_a` and `k = (o - z_a z - (1 - z_a) r) / h_a`; where `o_a` is 0, `r = z` and `k = 0`.
//! That is three cases a node, all known before any row is seen. A row costs one pass down and one up, some 7 floating
//! point operations a node and point, against O(leaves × depth²) in Algorithm 2. (The pass down and up is that of Linear
//! TreeSHAP, Yu et al. 2022, in a basis of point values.)

use rayon::prelude::*;

use crate::ensemble::{Aggregate, FlatNode, TreeEnsemble};
use crate::error::{OnnxError, Result, bad_input};

/// Rows that share a pass over the trees.
const BLOCK: usize = 32;
/// Row × node visits from which a batch is worth spreading over threads.
const PARALLEL_FROM: usize = 1 << 20;

/// How much each feature of each row moved the score from its expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributions {
    /// The score before anything is known of a row, in margin space (probability for averaged forests).
    pub expected: f64,
    /// `[rows, n_features]`, row-major, in margin space: `expected` plus the sum of a row is the row's margin.
    pub values: Vec<f64>,
}

/// An ensemble prepared for explaining one of its outputs.
pub struct TreeShap {
    n_features: usize,
    expected: f64,
    n_nodes: usize,
    groups: Vec<Box<dyn Paths>>,
}

/// Trees whose paths need the same number of quadrature points.
trait Paths: Send + Sync {
    /// Adds the contributions of these trees to `phi`, `[rows, n_features]`.
    fn add(&self, rows: &[f32], n_features: usize, phi: &mut [f64]);
}

impl TreeShap {
    /// Prepares the explanation of score column `output` (0 when there is only one).
    ///
    /// # Errors
    /// `NotExplainable` when the covers are unknown, leaves are combined otherwise than by sum or average, a path
    /// tests more than 128 features, or there is no such output.
    pub fn new(ensemble: &TreeEnsemble, output: usize) -> Result<Self> {
        let refuse = |why: &str| Err(OnnxError::NotExplainable(why.to_owned()));
        if !ensemble.has_covers() {
            return refuse(
                "the model does not say what share of the training rows reached each node (`nodes_hitrates`)",
            );
        }
        if output >= ensemble.n_outputs() {
            return refuse(&format!("there is no output {output}"));
        }
        let scale = match ensemble.aggregate {
            Aggregate::Sum => 1.0,
            Aggregate::Average => 1.0 / ensemble.n_trees() as f64,
            Aggregate::Min | Aggregate::Max => return refuse("the least or greatest leaf is no sum over trees"),
        };
        let mut expected = ensemble.base[output];
        let mut sizes: [Vec<TreePaths>; 8] = Default::default();
        for range in ensemble.tree_ranges() {
            let tree = TreePaths::of(ensemble, range, output, scale);
            expected += tree.expected;
            let Some(size) = POINTS.iter().position(|&points| tree.longest <= 2 * points) else {
                return refuse(&format!("a path tests {} features, more than 128", tree.longest));
            };
            sizes[size].push(tree);
        }
        let groups = sizes.iter().enumerate().filter(|(_, trees)| !trees.is_empty());
        let groups = groups.map(|(size, trees)| prepare(POINTS[size], trees, ensemble.has_equalities)).collect();
        let n_nodes = ensemble.nodes.len();
        Ok(Self { n_features: ensemble.n_features(), expected, n_nodes, groups })
    }

    /// The score before anything is known of a row.
    pub fn expected(&self) -> f64 {
        self.expected
    }

    /// Explains rows; one or few at a time without any thread, big batches on all of them.
    ///
    /// # Shapes
    /// `rows`: `[rows, n_features]`, row-major; NaN is a missing value and follows the missing branch.
    /// # Errors
    /// `Input` when the rows are not whole or narrower than the trees need.
    pub fn explain(&self, rows: &[f32], n_features: usize) -> Result<Attributions> {
        if n_features < self.n_features || !rows.len().is_multiple_of(n_features) {
            let needed = self.n_features;
            return Err(bad_input("rows", format!("whole rows of at least {needed} features are needed")));
        }
        let mut values = vec![0.0; rows.len()];
        let block = BLOCK * n_features;
        let add = |(rows, phi): (&[f32], &mut [f64])| {
            self.groups.iter().for_each(|group| group.add(rows, n_features, phi));
        };
        if rows.len() / n_features * self.n_nodes >= PARALLEL_FROM && rows.len() > block {
            rows.par_chunks(block).zip(values.par_chunks_mut(block)).for_each(add);
        } else {
            rows.chunks(block).zip(values.chunks_mut(block)).for_each(add);
        }
        Ok(Attributions { expected: self.expected, values })
    }
}

/// The numbers of quadrature points that are compiled.
const POINTS: [usize; 8] = [1, 2, 3, 4, 6, 8, 16, 64];

fn prepare(points: usize, trees: &[TreePaths], equalities: bool) -> Box<dyn Paths> {
    fn grouped<const N: usize>(trees: &[TreePaths], equalities: bool) -> Box<dyn Paths> {
        if equalities { Box::new(Group::<N, true>::of(trees)) } else { Box::new(Group::<N, false>::of(trees)) }
    }
    match points {
        1 => grouped::<1>(trees, equalities),
        2 => grouped::<2>(trees, equalities),
        3 => grouped::<3>(trees, equalities),
        4 => grouped::<4>(trees, equalities),
        6 => grouped::<6>(trees, equalities),
        8 => grouped::<8>(trees, equalities),
        16 => grouped::<16>(trees, equalities),
        _ => grouped::<64>(trees, equalities),
    }
}

/// A tree as TreeSHAP sees it: places are positions in its flat order, the root at 0, siblings side by side.
struct TreePaths {
    /// Inner nodes, parents first.
    inner: Vec<Inner>,
    /// Place and value of each leaf.
    leaves: Vec<(u32, f64)>,
    expected: f64,
    /// The most different features on one path.
    longest: usize,
}

#[derive(Clone, Copy)]
struct Inner {
    node: FlatNode,
    place: u32,
    /// Place of the left child.
    left: u32,
    /// Where the nearest edge above that tests the same feature leads to; 0 when there is none.
    above: u32,
    /// Share of the training rows here that go left (`z`).
    share: f64,
    /// Share of training rows that pass all tests of the feature up to `above` (`z_a`).
    share_above: f64,
}

impl TreePaths {
    fn of(ensemble: &TreeEnsemble, range: std::ops::Range<usize>, output: usize, scale: f64) -> Self {
        /// What is known of a node when its parent has been seen.
        #[derive(Clone, Copy)]
        struct Seen {
            parent: usize,
            feature: usize,
            /// Share of training rows that reach the node.
            reach: f64,
            /// Share that passes the tests of the parent's feature on the path to here.
            share: f64,
            /// Number of different features tested above.
            features: usize,
        }
        let (start, flat) = (range.start, &ensemble.nodes[range.clone()]);
        let covers = &ensemble.covers[range];
        let mut tree = Self { inner: Vec::new(), leaves: Vec::new(), expected: 0.0, longest: 0 };
        let root = Seen { parent: 0, feature: usize::MAX, reach: 1.0, share: 1.0, features: 0 };
        let mut seen = vec![root; flat.len()];
        for (place, &node) in flat.iter().enumerate() {
            let (here, left) = (seen[place], node.left as usize - start);
            if left == place {
                let value = f64::from(ensemble.leaf_value(&node, output)) * scale;
                tree.leaves.push((place as u32, value));
                tree.expected += value * here.reach;
                tree.longest = tree.longest.max(here.features);
                continue;
            }
            let feature = node.feature();
            let mut above = place;
            while above != 0 && seen[above].feature != feature {
                above = seen[above].parent;
            }
            let share_above = if above == 0 { 1.0 } else { seen[above].share };
            let (to_left, to_right) = (f64::from(covers[left]), f64::from(covers[left + 1]));
            // Where no training row came by, any share does: the weight of the whole branch is zero.
            let share = if to_left + to_right > 0.0 { to_left / (to_left + to_right) } else { 0.5 };
            for (child, share) in [(left, share), (left + 1, 1.0 - share)] {
                seen[child] = Seen {
                    parent: place,
                    feature,
                    reach: here.reach * share,
                    share: share_above * share,
                    features: here.features + usize::from(above == 0),
                };
            }
            let (place, left, above) = (place as u32, left as u32, above as u32);
            tree.inner.push(Inner { node, place, left, above, share, share_above });
        }
        tree
    }
}

/// The case of a row at a node: it goes right, it goes left, or it failed an earlier test of the same feature.
const CASES: usize = 3;

struct Group<const N: usize, const EQ: bool> {
    weights: [f64; N],
    inner: Vec<Inner>,
    /// For each inner node and case the factors `r` and `k` at each point.
    factors: Vec<[[[f64; N]; 2]; CASES]>,
    leaves: Vec<(u32, f64)>,
    /// Number of inner nodes of each tree; leaves are one more.
    sizes: Vec<usize>,
}

impl<const N: usize, const EQ: bool> Group<N, EQ> {
    fn of(trees: &[TreePaths]) -> Self {
        let (points, weights) = gauss_legendre::<N>();
        let inner: Vec<_> = trees.iter().flat_map(|tree| tree.inner.iter().copied()).collect();
        let factors = |inner: &Inner| {
            let (z, z_above) = (inner.share, inner.share_above);
            let passing = |o: f64| {
                let h_above = points.map(|t| (1.0 - t) * z_above + t);
                let r: [f64; N] =
                    std::array::from_fn(|q| ((1.0 - points[q]) * z_above * z + points[q] * o) / h_above[q]);
                let k = std::array::from_fn(|q| (o - z_above * z - (1.0 - z_above) * r[q]) / h_above[q]);
                [r, k]
            };
            [passing(0.0), passing(1.0), [[z; N], [0.0; N]]]
        };
        Self {
            weights,
            factors: inner.iter().map(factors).collect(),
            inner,
            leaves: trees.iter().flat_map(|tree| tree.leaves.iter().copied()).collect(),
            sizes: trees.iter().map(|tree| tree.inner.len()).collect(),
        }
    }
}

/// What one row leaves at each place of a tree.
struct Scratch<const N: usize> {
    /// `P`, with the quadrature weights in it.
    down: Vec<[f64; N]>,
    /// `U`.
    up: Vec<[f64; N]>,
    /// Whether the row passes the edge to here and all edges of the same feature above it.
    passes: Vec<bool>,
    /// The case at each inner node.
    cases: Vec<u8>,
}

impl<const N: usize, const EQ: bool> Paths for Group<N, EQ> {
    fn add(&self, rows: &[f32], n_features: usize, phi: &mut [f64]) {
        let most = self.sizes.iter().copied().max().unwrap_or(0);
        let mut scratch = Scratch {
            down: vec![self.weights; 2 * most + 1],
            up: vec![[0.0; N]; 2 * most + 1],
            passes: vec![true; 2 * most + 1],
            cases: vec![0; most],
        };
        let (mut inner, mut factors, mut leaves) = (&self.inner[..], &self.factors[..], &self.leaves[..]);
        for &size in &self.sizes {
            let (tree, tree_factors, tree_leaves);
            (tree, inner) = inner.split_at(size);
            (tree_factors, factors) = factors.split_at(size);
            (tree_leaves, leaves) = leaves.split_at(size + 1);
            for &(place, value) in tree_leaves {
                scratch.up[place as usize] = [value; N];
            }
            for (row, phi) in rows.chunks(n_features).zip(phi.chunks_mut(n_features)) {
                scratch.go_down::<EQ>(tree, tree_factors, row);
                scratch.come_up(tree, tree_factors, phi);
            }
        }
    }
}

impl<const N: usize> Scratch<N> {
    #[inline(always)]
    fn go_down<const EQ: bool>(&mut self, tree: &[Inner], factors: &[[[[f64; N]; 2]; CASES]], row: &[f32]) {
        for ((inner, factors), case) in tree.iter().zip(factors).zip(&mut self.cases) {
            let right = inner.node.goes_right::<EQ>(row[inner.node.feature()]);
            let passed = self.passes[inner.above as usize];
            let left = inner.left as usize;
            let children = &mut self.passes[left..left + 2];
            children[0] = passed & !right;
            children[1] = passed & right;
            *case = u8::from(!right) | u8::from(!passed) << 1;
            let [r, _] = &factors[usize::from((*case).min(2))];
            let product = self.down[inner.place as usize];
            let [to_left, to_right] = &mut self.down[left..left + 2] else { return };
            for q in 0..N {
                to_left[q] = product[q] * r[q];
                to_right[q] = product[q] - to_left[q];
            }
        }
    }

    #[inline(always)]
    fn come_up(&mut self, tree: &[Inner], factors: &[[[[f64; N]; 2]; CASES]], phi: &mut [f64]) {
        for ((inner, factors), case) in tree.iter().zip(factors).zip(&self.cases).rev() {
            let [r, k] = &factors[usize::from((*case).min(2))];
            let product = &self.down[inner.place as usize];
            let left = inner.left as usize;
            let [from_left, from_right] = &self.up[left..left + 2] else { return };
            let (mut sum, mut gains) = ([0.0; N], [0.0; N]);
            for q in 0..N {
                let difference = from_left[q] - from_right[q];
                sum[q] = from_right[q] + r[q] * difference;
                gains[q] = product[q] * k[q] * difference;
            }
            self.up[inner.place as usize] = sum;
            phi[inner.node.feature()] += gains.iter().sum::<f64>();
        }
    }
}

/// Points in (0, 1) and weights that integrate polynomials up to degree `2 N - 1` exactly: the roots of the Legendre
/// polynomial by Newton's method.
fn gauss_legendre<const N: usize>() -> ([f64; N], [f64; N]) {
    let (mut points, mut weights) = ([0.0; N], [0.0; N]);
    let n = N as f64;
    for (i, (point, weight)) in points.iter_mut().zip(&mut weights).enumerate() {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut p, mut before) = (x, 1.0);
            for k in 2..=N {
                let k = k as f64;
                (p, before) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k, p);
            }
            slope = n * (x * p - before) / (x * x - 1.0);
            let step = p / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        *point = 0.5 * (1.0 + x);
        *weight = 1.0 / ((1.0 - x * x) * slope * slope);
    }
    (points, weights)
}
