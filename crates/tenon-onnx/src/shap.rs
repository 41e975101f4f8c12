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
//! as many points integrates exactly. One product of a few numbers goes down each edge and one sum comes up (the
//! bookkeeping of Linear TreeSHAP, Yu et al. 2022), so a row costs O(nodes × depth / 2) without branches, against
//! O(leaves × depth²) of Algorithm 2; all factors are positive, so nothing cancels.

use rayon::prelude::*;

use crate::ensemble::{Aggregate, FlatNode, TreeEnsemble};
use crate::error::{OnnxError, Result, bad_input};

/// Rows that share a pass over the trees.
const BLOCK: usize = 32;
/// Row × node visits from which a batch is worth spreading over threads.
const PARALLEL_FROM: usize = 1 << 20;
/// Marks an edge that ends in a leaf.
const LEAF: u32 = u32::MAX;

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
            return refuse("the model does not say how many training rows reached each node (`nodes_hitrates`)");
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

/// The inner nodes of a tree, parents first, and what TreeSHAP must know of their edges.
struct TreePaths {
    nodes: Vec<FlatNode>,
    edges: Vec<PathEdge>,
    expected: f64,
    /// The most different features on one path.
    longest: usize,
}

/// The edge to a child; edges `2n` and `2n + 1` lead from node `n` to the left and the right.
struct PathEdge {
    /// Inner node it leads to, or [`LEAF`].
    child: u32,
    /// The leaf's value.
    value: f64,
    /// The nearest edge above that tests the same feature, plus one; 0 when there is none.
    above: u32,
    /// Share of training rows at the parent that take the edge.
    ratio: f64,
    /// Product of the ratios along the path that belong to the same feature.
    zero: f64,
}

impl TreePaths {
    fn of(ensemble: &TreeEnsemble, range: std::ops::Range<usize>, output: usize, scale: f64) -> Self {
        let (start, flat) = (range.start, &ensemble.nodes[range.clone()]);
        let covers = &ensemble.covers[range];
        let is_leaf = |at: usize| flat[at].left as usize == start + at;
        let value = |at: usize| f64::from(ensemble.leaf_value(&flat[at], output)) * scale;
        let mut tree = Self { nodes: Vec::new(), edges: Vec::new(), expected: 0.0, longest: 0 };
        if is_leaf(0) {
            tree.expected = value(0);
            return tree;
        }
        // Per inner node: its place in `flat`, the edge that leads to it (plus one), the share of rows that reach it
        // and the number of different features above it.
        let mut queue = vec![(0_usize, 0_u32, 1.0, 0_usize)];
        let mut next = 0;
        while let Some(&(at, parent, reach, features)) = queue.get(next) {
            let node = flat[at];
            tree.nodes.push(node);
            let mut above = parent;
            while above != 0 && tree.nodes[(above as usize - 1) / 2].feature() != node.feature() {
                above = queue[(above as usize - 1) / 2].1;
            }
            let features = features + usize::from(above == 0);
            tree.longest = tree.longest.max(features);
            let left = node.left as usize - start;
            let (both, weight) = (covers[left] + covers[left + 1], f64::from(covers[left]));
            // Where no training row came by, any split does: the weight of the whole branch is zero.
            let left_ratio = if both > 0.0 { weight / (weight + f64::from(covers[left + 1])) } else { 0.5 };
            for (child, ratio) in [(left, left_ratio), (left + 1, 1.0 - left_ratio)] {
                let zero = if above == 0 { ratio } else { ratio * tree.edges[above as usize - 1].zero };
                let mut edge = PathEdge { child: LEAF, value: 0.0, above, ratio, zero };
                if is_leaf(child) {
                    edge.value = value(child);
                    tree.expected += edge.value * reach * ratio;
                } else {
                    edge.child = queue.len() as u32;
                    queue.push((child, tree.edges.len() as u32 + 1, reach * ratio, features));
                }
                tree.edges.push(edge);
            }
            next += 1;
        }
        tree
    }
}

/// An edge with its constants at each quadrature point. With `h` the factor of the edge's feature in the product,
/// `(1 - t) z + t o`, the ones here belong to rows that pass (`o` = 1).
struct Edge<const N: usize> {
    /// `1 / h`.
    inverse: [f64; N],
    /// `(o - z) / h`.
    gain: [f64; N],
    zero: f64,
    ratio: f64,
    value: f64,
    child: u32,
    above: u32,
}

struct Group<const N: usize, const EQ: bool> {
    points: [f64; N],
    weights: [f64; N],
    nodes: Vec<FlatNode>,
    /// For each tree an edge that stands for "no edge above", then two edges a node.
    edges: Vec<Edge<N>>,
    /// Number of inner nodes of each tree.
    sizes: Vec<usize>,
}

impl<const N: usize, const EQ: bool> Group<N, EQ> {
    fn of(trees: &[TreePaths]) -> Self {
        let (points, weights) = gauss_legendre::<N>();
        let none = PathEdge { child: LEAF, value: 0.0, above: 0, ratio: 1.0, zero: 1.0 };
        let edge = |path: &PathEdge| {
            let inverse = points.map(|t| 1.0 / (path.zero + t * (1.0 - path.zero)));
            let gain = inverse.map(|inverse| (1.0 - path.zero) * inverse);
            let PathEdge { child, value, above, ratio, zero } = *path;
            Edge { inverse, gain, zero, ratio, value, child, above }
        };
        Self {
            points,
            weights,
            nodes: trees.iter().flat_map(|tree| tree.nodes.iter().copied()).collect(),
            edges: trees.iter().flat_map(|tree| std::iter::once(&none).chain(&tree.edges)).map(edge).collect(),
            sizes: trees.iter().map(|tree| tree.nodes.len()).collect(),
        }
    }
}

/// What one row leaves at the nodes and edges of a tree.
struct Scratch<const N: usize> {
    /// Product of the factors down to each inner node, times the quadrature weights.
    down: Vec<[f64; N]>,
    /// Sum over the leaves below each inner node of value times product.
    up: Vec<[f64; N]>,
    /// Whether the row passes the edge and all edges of the same feature above it.
    passes: Vec<bool>,
}

impl<const N: usize, const EQ: bool> Paths for Group<N, EQ> {
    fn add(&self, rows: &[f32], n_features: usize, phi: &mut [f64]) {
        let largest = self.sizes.iter().copied().max().unwrap_or(0);
        let mut scratch = Scratch {
            down: vec![self.weights; largest],
            up: vec![[0.0; N]; largest],
            passes: vec![true; 2 * largest + 1],
        };
        let (mut nodes, mut edges) = (&self.nodes[..], &self.edges[..]);
        for &size in &self.sizes {
            let (tree, more_nodes) = nodes.split_at(size);
            let (tree_edges, more_edges) = edges.split_at(2 * size + 1);
            for (row, phi) in rows.chunks(n_features).zip(phi.chunks_mut(n_features)) {
                self.go_down(tree, tree_edges, row, &mut scratch);
                self.come_up(tree, tree_edges, phi, &mut scratch);
            }
            (nodes, edges) = (more_nodes, more_edges);
        }
    }
}

impl<const N: usize, const EQ: bool> Group<N, EQ> {
    fn go_down(&self, nodes: &[FlatNode], edges: &[Edge<N>], row: &[f32], scratch: &mut Scratch<N>) {
        for (at, node) in nodes.iter().enumerate() {
            let right = node.goes_right::<EQ>(row[node.feature()]);
            let product = scratch.down[at];
            for (side, hot) in [!right, right].into_iter().enumerate() {
                let edge = &edges[2 * at + side + 1];
                let passes = hot & scratch.passes[edge.above as usize];
                scratch.passes[2 * at + side + 1] = passes;
                if edge.child != LEAF {
                    scratch.down[edge.child as usize] = self.factor(edges, edge, passes, &scratch.passes, &product);
                }
            }
        }
    }

    fn come_up(&self, nodes: &[FlatNode], edges: &[Edge<N>], phi: &mut [f64], scratch: &mut Scratch<N>) {
        let cold: [f64; N] = self.points.map(|t| -1.0 / (1.0 - t));
        for (at, node) in nodes.iter().enumerate().rev() {
            let (mut sum, mut gain) = ([0.0; N], 0.0);
            for side in 0..2 {
                let edge = &edges[2 * at + side + 1];
                let passes = scratch.passes[2 * at + side + 1];
                let below = match edge.child {
                    LEAF => self
                        .factor(edges, edge, passes, &scratch.passes, &scratch.down[at])
                        .map(|product| product * edge.value),
                    child => scratch.up[child as usize],
                };
                // Below this edge its feature has a new factor: its own gain counts, the one above no more.
                let own = if passes { &edge.gain } else { &cold };
                let above = if scratch.passes[edge.above as usize] { &edges[edge.above as usize].gain } else { &cold };
                for q in 0..N {
                    sum[q] += below[q];
                    gain += (own[q] - above[q]) * below[q];
                }
            }
            scratch.up[at] = sum;
            phi[node.feature()] += gain;
        }
    }

    /// The product below `edge`, from the one above it.
    #[inline(always)]
    fn factor(&self, edges: &[Edge<N>], edge: &Edge<N>, passes: bool, all: &[bool], product: &[f64; N]) -> [f64; N] {
        if !all[edge.above as usize] {
            return product.map(|p| p * edge.ratio);
        }
        let (one, inverse) = (f64::from(u8::from(passes)), &edges[edge.above as usize].inverse);
        std::array::from_fn(|q| {
            let t = self.points[q];
            product[q] * ((1.0 - t) * edge.zero + t * one) * inverse[q]
        })
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
