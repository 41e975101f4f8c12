//! One walk over the leaves of a log, wherever they are stored.
//!
//! Each leaf is hashed anew and compared with the stored tiles, and the tree is grown from both: from the leaves and,
//! from the first difference on, from the stored leaf hashes too. Which of the two the signed checkpoints commit to says
//! whether the facts were changed or the tiles.

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tenon_core::id::OperationId;
use tenon_core::{Digest, Fact, PodName, Principal, Timestamp};

use super::{Findings, ReadTile, VerifyReport};
use crate::canonical::is_canonical;
use crate::checkpoint::Checkpoint;
use crate::merkle::leaf_hash;
use crate::tiles::{Edge, WIDTH};

/// A leaf as stored.
pub(crate) struct Leaf {
    pub index: u64,
    pub bytes: Vec<u8>,
    /// The kind under which it is filed, where it is filed under one.
    pub kind: Option<String>,
}

/// What can be said of a leaf by itself.
struct Examined {
    leaf: Leaf,
    hash: Digest,
    fact: Option<Fact>,
    problem: Option<String>,
}

/// A fact whose body is looked at, but not kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    kind: String,
    version: u32,
    at: Timestamp,
    by: Principal,
    #[serde(default)]
    pod: Option<PodName>,
    #[serde(default)]
    operation: Option<OperationId>,
    #[serde(rename = "body")]
    _body: IgnoredAny,
}

impl Envelope {
    fn into_fact(self) -> Fact {
        let Self { kind, version, at, by, pod, operation, .. } = self;
        Fact { kind, version, at, by, pod, operation, body: serde_json::Value::Null }
    }
}

fn examine(leaf: Leaf, bodies: bool) -> Examined {
    let hash = leaf_hash(&leaf.bytes);
    let read = if bodies {
        serde_json::from_slice::<Fact>(&leaf.bytes)
    } else {
        serde_json::from_slice::<Envelope>(&leaf.bytes).map(Envelope::into_fact)
    };
    let (fact, problem) = match read {
        Ok(fact) if is_canonical(&leaf.bytes) => (Some(fact), None),
        Ok(fact) => (Some(fact), Some("is not in canonical form".to_owned())),
        Err(error) => (None, Some(format!("cannot be read as a fact ({error})"))),
    };
    Examined { leaf, hash, fact, problem }
}

impl Examined {
    /// The kind: as filed, as read, or as its bytes seem to say.
    fn kind(&self) -> Option<String> {
        let read = || self.fact.as_ref().map(|fact| fact.kind.clone());
        self.leaf.kind.clone().or_else(read).or_else(|| {
            let text = String::from_utf8_lossy(&self.leaf.bytes);
            let (_, rest) = text.split_once("\"kind\":\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        })
    }
}

/// A checkpoint to hold the log against.
struct Promise {
    checkpoint: Checkpoint,
    /// What to call it: `the newest checkpoint`.
    name: String,
}

/// The walk.
pub(crate) struct Walk {
    pub findings: Findings,
    bodies: bool,
    /// The tree of the leaves as they are.
    edge: Edge,
    /// The tree of the stored leaf hashes, once the two differ.
    stored: Option<Edge>,
    /// Leaves that differ from their stored hash.
    suspects: Vec<(u64, Option<String>, Option<String>)>,
    last: Option<Timestamp>,
    /// What is still to be held against the log, the smallest size last.
    promises: Vec<Promise>,
    /// The largest size whose promise was kept.
    kept: u64,
    /// Whether a promise was broken by leaves and stored hashes alike.
    broken: bool,
    /// Whether the newest checkpoint commits to the leaves, or to the stored hashes.
    leaves_right: bool,
    stored_right: bool,
    /// Leaves that the newest checkpoint promises.
    expected: u64,
    /// Whether no leaf was missing, added or doubled so far.
    gapless: bool,
    tiles: u64,
    tile: Vec<Digest>,
    checkpoints: u64,
    facts: u64,
}

impl Walk {
    /// A walk over a log that promises `expected` leaves. The facts that it gives back have no body unless `bodies` says
    /// so.
    pub fn new(expected: u64, bodies: bool) -> Self {
        Self {
            bodies,
            findings: Findings::default(),
            edge: Edge::default(),
            stored: None,
            suspects: Vec::new(),
            last: None,
            promises: Vec::new(),
            kept: 0,
            broken: false,
            leaves_right: false,
            stored_right: false,
            expected,
            gapless: true,
            tiles: 0,
            tile: Vec::new(),
            checkpoints: 0,
            facts: 0,
        }
    }

    /// Holds a checkpoint against the log when the walk comes to its size.
    pub fn promise(&mut self, checkpoint: Checkpoint, name: impl Into<String>) {
        self.checkpoints += 1;
        self.promises.push(Promise { checkpoint, name: name.into() });
    }

    /// Starts, when all promises are known.
    pub fn start(&mut self) {
        self.promises.sort_by_key(|promise| std::cmp::Reverse(promise.checkpoint.size));
        self.hold_promises();
    }

    /// Takes the next leaves, in order of their index. The facts that could be read come back.
    pub fn take(&mut self, leaves: Vec<Leaf>, read_tile: &mut ReadTile<'_>) -> Vec<(u64, Option<Fact>)> {
        let bodies = self.bodies;
        let examined: Vec<Examined> =
            leaves.into_par_iter().with_min_len(64).map(|leaf| examine(leaf, bodies)).collect();
        let mut facts = Vec::with_capacity(examined.len());
        for mut leaf in examined {
            let index = leaf.leaf.index;
            self.facts += 1;
            if index < self.edge.size() {
                self.gapless = false;
                self.findings.about(index, leaf.kind(), "is stored twice");
                continue;
            }
            self.skip_to(index.min(self.expected), read_tile);
            if index >= self.expected {
                self.gapless = false;
                self.findings.about(index, leaf.kind(), "was added: no checkpoint covers it");
                continue;
            }
            let stored = self.stored_hash(index, read_tile);
            if stored.is_some_and(|stored| stored != leaf.hash) {
                // What such a leaf says is not held against others, nor against what was derived from it.
                self.suspects.push((index, leaf.kind(), leaf.problem.take()));
                self.push(leaf.hash, stored, read_tile);
                facts.push((index, None));
                continue;
            }
            if let Some(problem) = leaf.problem.take() {
                self.findings.about(index, leaf.kind(), problem);
            }
            if let Some(fact) = &leaf.fact {
                if self.last.is_some_and(|last| fact.at < last) {
                    self.findings.about(index, leaf.kind(), "is older than the fact before it");
                }
                self.last = self.last.max(Some(fact.at));
            }
            self.push(leaf.hash, stored, read_tile);
            facts.push((index, leaf.fact));
        }
        facts
    }

    /// Notes that leaves are missing up to `index`, and goes on with their stored hashes.
    fn skip_to(&mut self, index: u64, read_tile: &mut ReadTile<'_>) {
        let first = self.edge.size();
        match index.saturating_sub(first) {
            0 => return,
            1 => self.findings.about(first, None, "is missing"),
            _ => self.findings.general(format!("facts {first} to {} are missing", index - 1)),
        }
        self.gapless = false;
        while self.edge.size() < index {
            let stored = self.stored_hash(self.edge.size(), read_tile);
            let nothing = Digest::from_bytes([0; 32]);
            self.push(nothing, Some(stored.unwrap_or(nothing)), read_tile);
        }
    }

    /// The hash of a leaf in the stored tiles.
    fn stored_hash(&mut self, index: u64, read_tile: &mut ReadTile<'_>) -> Option<Digest> {
        let place = index % WIDTH;
        if place == 0 || self.tile.is_empty() {
            self.tile = read_tile(0, index / WIDTH).unwrap_or_default();
        }
        self.tile.get(place as usize).copied()
    }

    fn push(&mut self, leaf: Digest, stored: Option<Digest>, read_tile: &mut ReadTile<'_>) {
        let other = stored.filter(|stored| *stored != leaf);
        if other.is_some() && self.stored.is_none() {
            self.stored = Some(self.edge.clone());
        }
        let (mut tiles, mut stored_tiles) = (Vec::new(), Vec::new());
        self.edge.push(leaf, |level, number, hashes| tiles.push((level, number, hashes.to_vec())));
        if let Some(tree) = &mut self.stored {
            tree.push(other.unwrap_or(leaf), |_, _, hashes| stored_tiles.push(hashes.to_vec()));
        }
        for (place, (level, number, hashes)) in tiles.into_iter().enumerate() {
            self.compare_tile(level, number, &hashes, stored_tiles.get(place).map(Vec::as_slice), read_tile);
        }
        self.hold_promises();
    }

    /// Compares a tile that was computed, from the leaves and from their stored hashes, with the one that is stored.
    fn compare_tile(
        &mut self,
        level: u32,
        number: u64,
        hashes: &[Digest],
        others: Option<&[Digest]>,
        read_tile: &mut ReadTile<'_>,
    ) {
        self.tiles += 1;
        // On level 0 each hash was compared with its leaf already, unless the tile is gone.
        let stored = if level == 0 { self.tile.clone() } else { read_tile(level, number).unwrap_or_default() };
        let others = others.unwrap_or(hashes);
        let computed = hashes.iter().zip(others);
        let differing = computed.zip(&stored).position(|((hash, other), stored)| hash != stored && other != stored);
        if stored.len() < hashes.len() {
            self.findings.general(format!("tile {number} on level {level} of the tree is missing or cut"));
        } else if stored.len() > hashes.len() {
            self.findings.general(format!("tile {number} on level {level} of the tree is too long"));
        } else if let Some(place) = differing.filter(|_| level > 0) {
            let span = 1_u64 << (8 * level);
            let first = (number * WIDTH + place as u64) * span;
            let last = first + span - 1;
            self.findings.general(format!(
                "hash {place} of tile {number} on level {level} of the tree does not fit the facts {first} to {last}: \
                 the hash was changed, or one of these facts together with its own hash"
            ));
        }
    }

    /// Compares the checkpoints of the size that is reached.
    fn hold_promises(&mut self) {
        let size = self.edge.size();
        while let Some(promise) = self.promises.pop_if(|promise| promise.checkpoint.size == size) {
            let root = promise.checkpoint.root;
            let leaves = self.edge.root() == root;
            let stored = self.stored.as_ref().map_or(leaves, |tree| tree.root() == root);
            if size == self.expected {
                (self.leaves_right, self.stored_right) = (self.leaves_right || leaves, self.stored_right || stored);
            }
            if leaves || stored {
                self.kept = size;
            } else if !self.broken {
                self.broken = true;
                let (from, to) = (self.kept, size.saturating_sub(1));
                self.findings.general(format!(
                    "{} commits to other facts: something among the facts {from} to {to} was changed, removed, \
                     inserted or put in another order",
                    promise.name
                ));
            }
        }
    }

    /// Whether every leaf that was promised was there, once, and nothing else.
    pub fn is_gapless(&self) -> bool {
        self.gapless
    }

    /// The root of the leaves so far.
    pub fn root(&self) -> Digest {
        self.edge.root()
    }

    /// Ends the walk.
    pub fn finish(mut self, read_tile: &mut ReadTile<'_>) -> (Self, Digest) {
        self.skip_to(self.expected, read_tile);
        let (edge, stored) = (self.edge.clone(), self.stored.clone());
        let mut others = stored.iter().flat_map(Edge::partial);
        for (level, number, hashes) in edge.partial() {
            self.compare_tile(level, number, hashes, others.next().map(|(_, _, hashes)| hashes), read_tile);
        }
        for promise in std::mem::take(&mut self.promises) {
            self.findings.general(format!(
                "{} promises {} facts, but the log has {}: its end was cut off",
                promise.name, promise.checkpoint.size, self.expected
            ));
        }
        for (index, kind, problem) in std::mem::take(&mut self.suspects) {
            if self.leaves_right && !self.stored_right {
                self.findings.about(index, kind, "is right, but its stored hash in the tree was changed");
            } else {
                let also = problem.map_or_else(String::new, |problem| format!("; it {problem}"));
                self.findings.about(index, kind, format!("was changed: it is not what the log committed to{also}"));
            }
        }
        let root = self.edge.root();
        (self, root)
    }

    /// The report, with the findings about facts first and in their order.
    pub fn report(self, root: Digest, documents: u64) -> VerifyReport {
        let Findings { mut listed, unlisted } = self.findings;
        listed.sort_by_key(|finding| finding.index.unwrap_or(u64::MAX));
        VerifyReport {
            facts: self.facts,
            checkpoints: self.checkpoints,
            tiles: self.tiles,
            documents,
            root,
            findings: listed,
            unlisted,
        }
    }
}
