//! The tree in tiles, as C2SP's tlog-tiles lays it out: tile `N` of level `L` holds the hashes of the nodes
//! `(8·L, 256·N)` to `(8·L, 256·N + 255)`; the last tile of a level may be partial.

use tenon_core::Digest;

use crate::merkle::{empty_root, node_hash, root_of};

/// Hashes in a complete tile, entries in a complete bundle.
pub(crate) const WIDTH: u64 = 256;

/// How many hashes the tile has in a log of `size` leaves; 0 when there is no such tile.
pub(crate) fn width(level: u32, number: u64, size: u64) -> usize {
    let hashes = size.checked_shr(8 * level).unwrap_or(0);
    let before = number.saturating_mul(WIDTH);
    usize::try_from(hashes.saturating_sub(before).min(WIDTH)).unwrap_or(0)
}

/// The path of a hash tile, such as `tile/0/x001/234.p/17`.
pub fn tile_path(level: u32, number: u64, width: usize) -> String {
    format!("tile/{level}/{}{}", number_path(number), partial(width))
}

/// The path of an entry bundle, such as `tile/entries/067`.
pub fn bundle_path(number: u64, width: usize) -> String {
    format!("tile/entries/{}{}", number_path(number), partial(width))
}

fn partial(width: usize) -> String {
    if width as u64 == WIDTH { String::new() } else { format!(".p/{width}") }
}

/// Three digits a folder, all but the last with an `x` in front.
fn number_path(mut number: u64) -> String {
    let mut path = format!("{:03}", number % 1000);
    while number >= 1000 {
        number /= 1000;
        path = format!("x{:03}/{path}", number % 1000);
    }
    path
}

/// A tile's hashes as its bytes.
pub(crate) fn to_bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// A tile's bytes as its hashes; nothing when they do not come out even.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect())
}

/// Adds an entry, at most 65,535 bytes long, to a bundle: its length, big-endian in 16 bits, and its bytes.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// The entries of a bundle; nothing when the lengths do not come out even.
pub fn entries(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    Some(entries)
}

/// The node `(level, index)`, from the tile that holds it: which tile, and where in it.
pub(crate) fn locate(level: u32, index: u64) -> (u32, u64, std::ops::Range<usize>) {
    let first = index << (level % 8);
    let start = (first % WIDTH) as usize;
    (level / 8, first / WIDTH, start..start + (1 << (level % 8)))
}

/// The right edge of a growing tree: the unfinished tile of each level, from the leaves up. All that appending needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Digest>>,
}

impl Edge {
    /// The edge of a tree of `size` leaves, from its tiles.
    pub fn load<E>(size: u64, mut tile: impl FnMut(u32, u64) -> Result<Vec<Digest>, E>) -> Result<Self, E> {
        let mut levels = Vec::new();
        let mut hashes = size;
        while hashes > 0 {
            let hashes_here = (hashes % WIDTH) as usize;
            let level = levels.len() as u32;
            levels.push(if hashes_here == 0 { Vec::new() } else { tile(level, hashes / WIDTH)? });
            hashes /= WIDTH;
        }
        Ok(Self { size, levels })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; tells of each tile that it completes.
    pub fn push(&mut self, leaf: Digest, mut complete: impl FnMut(u32, u64, &[Digest])) {
        self.size += 1;
        let (mut hash, mut level) = (leaf, 0);
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(WIDTH as usize));
            }
            let tile = &mut self.levels[level];
            tile.push(hash);
            if (tile.len() as u64) < WIDTH {
                return;
            }
            let number = (self.size >> (8 * level)) / WIDTH - 1;
            complete(level as u32, number, tile);
            hash = root_of(tile);
            tile.clear();
            level += 1;
        }
    }

    /// The unfinished tiles: level, number and hashes.
    pub fn partial(&self) -> impl Iterator<Item = (u32, u64, &[Digest])> {
        self.levels.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty()).map(|(level, hashes)| {
            let number = (self.size >> (8 * level)) / WIDTH;
            (level as u32, number, hashes.as_slice())
        })
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        let mut root: Option<Digest> = None;
        for hashes in &self.levels {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                // The last perfect subtree of this level; what stands to its right is complete already.
                let (left, peak) = rest.split_at(rest.len() - (1 << rest.len().trailing_zeros()));
                let peak = root_of(peak);
                root = Some(root.map_or(peak, |right| node_hash(&peak, &right)));
                rest = left;
            }
        }
        root.unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use super::*;
    use crate::merkle::leaf_hash;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile_path(1, 5, 17), "tile/1/005.p/17");
        assert_eq!(bundle_path(1_000, 256), "tile/entries/x001/000");
        assert_eq!(bundle_path(999, 1), "tile/entries/999.p/1");
    }

    #[test]
    fn widths_follow_the_size() {
        // The example of the specification: a log of 70,000 entries.
        assert_eq!((width(0, 272, 70_000), width(0, 273, 70_000), width(0, 274, 70_000)), (256, 112, 0));
        assert_eq!((width(1, 0, 70_000), width(1, 1, 70_000), width(2, 0, 70_000)), (256, 17, 1));
        assert_eq!(width(9, 0, u64::MAX), 0);
    }

    #[test]
    fn the_edge_has_the_tree_s_root_at_every_size_and_loads_from_its_tiles() {
        let leaves: Vec<Digest> = (0..70_000_u64).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut edge = Edge::default();
        let mut stored: HashMap<(u32, u64), Vec<Digest>> = HashMap::new();
        assert_eq!(edge.root(), empty_root());
        for (index, leaf) in leaves.iter().enumerate() {
            edge.push(*leaf, |level, number, hashes| {
                stored.insert((level, number), hashes.to_vec());
            });
            let size = index + 1;
            if size < 600 || size % 8_191 == 0 || size == 65_536 || size == leaves.len() {
                assert_eq!(edge.root(), root_of(&leaves[..size]), "size {size}");
                let mut all = stored.clone();
                all.extend(edge.partial().map(|(level, number, hashes)| ((level, number), hashes.to_vec())));
                for ((level, number), hashes) in &all {
                    assert_eq!(width(*level, *number, size as u64), hashes.len());
                }
                let loaded =
                    Edge::load(size as u64, |level, number| all.get(&(level, number)).cloned().ok_or(())).unwrap();
                assert_eq!(loaded.root(), edge.root());
            }
        }
        assert_eq!(stored.len(), 273 + 1);
    }

    #[test]
    fn bundles_read_back_and_a_cut_one_is_refused() {
        let mut bundle = Vec::new();
        assert!(push_entry(&mut bundle, b"a") && push_entry(&mut bundle, b"") && push_entry(&mut bundle, &[7; 65_535]));
        assert!(!push_entry(&mut bundle, &[7; 65_536]));
        assert_eq!(entries(&bundle).unwrap(), [&b"a"[..], b"", &[7; 65_535]]);
        assert_eq!(entries(&bundle[..bundle.len() - 1]), None);
    }
}
