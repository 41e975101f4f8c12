//! Merkle trees as RFC 6962 defines them: hashes, roots, proofs, and their checks. Pure; no I/O.
//!
//! A tree is a list of leaf hashes. A *node* is named by its level and its index in that level: node `(0, i)` is leaf
//! `i`, and node `(l, i)` covers the leaves `i·2^l .. (i+1)·2^l`. Only complete nodes have names; they never change as
//! the tree grows, which is why they can be stored.

use std::ops::Range;

use tenon_core::Digest;

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The proof speaks of a leaf or a tree that cannot be.
    #[error("the proof names a place outside the tree")]
    OutOfRange,
    /// Too many or too few hashes.
    #[error("the proof has the wrong number of hashes for its place in the tree")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root: what it vouches for is not what the tree holds")]
    OtherRoot,
}

/// The hash of a leaf: SHA-256 of 0x00 and the bytes.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    let mut hash = Digest::builder();
    hash.update([0x00]);
    hash.update(bytes);
    hash.finish()
}

/// The hash of an inner node: SHA-256 of 0x01 and both children.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut message = [0x01; 65];
    message[1..33].copy_from_slice(left.as_bytes());
    message[33..].copy_from_slice(right.as_bytes());
    Digest::of(message)
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest::of([])
}

/// The root of a tree, given its leaf hashes.
pub fn root_of(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// The inclusion proof of leaf `index`, from the leaf upwards; nothing when there is no such leaf.
pub fn path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    let ranges = inclusion_ranges(index as u64, leaves.len() as u64).ok()?;
    Some(ranges.into_iter().map(|range| root_of(&leaves[range.start as usize..range.end as usize])).collect())
}

/// The proof that the tree of the first `old` leaves is a prefix of this one; nothing when `old` is 0 or too large.
pub fn consistency_path(leaves: &[Digest], old: usize) -> Option<Vec<Digest>> {
    let ranges = consistency_ranges(old as u64, leaves.len() as u64).ok()?;
    Some(ranges.into_iter().map(|range| root_of(&leaves[range.start as usize..range.end as usize])).collect())
}

/// The largest power of two below `size`, which is at least 2: where RFC 6962 splits a tree.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The ranges of leaves whose roots are the inclusion proof of `index` in a tree of `size`, RFC 6962 section 2.1.1.
pub(crate) fn inclusion_ranges(index: u64, size: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    ranges.reverse();
    Ok(ranges)
}

/// The ranges of leaves whose roots are the consistency proof from `old` to `new`, RFC 6962 section 2.1.2.
pub(crate) fn consistency_ranges(old: u64, new: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::OutOfRange);
    }
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, new);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    // The old tree's own root is known to whoever checks, unless it is only a part of what is compared.
    if start != 0 {
        ranges.push(start..end);
    }
    ranges.reverse();
    Ok(ranges)
}

/// The root of a range of leaves that a proof names, from complete nodes.
pub(crate) fn range_root<E>(
    range: &Range<u64>,
    node: &mut impl FnMut(u32, u64) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let size = range.end - range.start;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return node(level, range.start >> level);
    }
    let middle = range.start + split(size);
    let left = range_root(&(range.start..middle), node)?;
    Ok(node_hash(&left, &range_root(&(middle..range.end), node)?))
}

/// Checks that a leaf is in the tree with this root and size, RFC 9162 section 2.1.3.2.
///
/// # Errors
/// [`ProofError`] when it is not, or when this proof does not show it.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::OtherRoot) }
}

/// Checks that the tree of `old_size` leaves and `old_root` is a prefix of the tree of `new_size` and `new_root`,
/// RFC 9162 section 2.1.4.2. The empty tree is a prefix of every tree.
///
/// # Errors
/// [`ProofError`] when it is not, or when this proof does not show it.
pub fn verify_consistency(
    (old_size, old_root): (u64, &Digest),
    (new_size, new_root): (u64, &Digest),
    path: &[Digest],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::OutOfRange);
    }
    if old_size == 0 || old_size == new_size {
        let same = if old_size == 0 { *old_root == empty_root() } else { old_root == new_root };
        return match (path.is_empty(), same) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::OtherRoot),
            (true, true) => Ok(()),
        };
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A complete old tree is a node of the new one: its root is where the proof starts.
    let mut hashes = path.iter();
    let first = if old_size.is_power_of_two() { old_root } else { hashes.next().ok_or(ProofError::Length)? };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(ProofError::OtherRoot) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// The leaves of the tree that Certificate Transparency's implementations test with.
    const CT_LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const CT_ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    fn flipped(digest: &Digest, bit: usize) -> Digest {
        let mut bytes = *digest.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        Digest::from_bytes(bytes)
    }

    #[test]
    fn roots_of_the_certificate_transparency_tree() {
        let leaves: Vec<Digest> = CT_LEAVES.iter().map(|leaf| leaf_hash(&unhex(leaf))).collect();
        assert_eq!(empty_root().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (size, root) in CT_ROOTS.iter().enumerate() {
            assert_eq!(root_of(&leaves[..=size]).hex(), *root, "size {}", size + 1);
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_provable() {
        let all = leaves(70);
        for size in 1..=all.len() {
            let root = root_of(&all[..size]);
            for (index, leaf) in all[..size].iter().enumerate() {
                let path = path(&all[..size], index).unwrap();
                assert_eq!(
                    verify_inclusion(leaf, index as u64, size as u64, &path, &root),
                    Ok(()),
                    "{index} of {size}"
                );
                let longer = [&path[..], &[root]].concat();
                assert!(verify_inclusion(leaf, index as u64, size as u64, &longer, &root).is_err());
            }
            assert_eq!(path(&all[..size], size), None);
        }
    }

    #[test]
    fn every_pair_of_small_trees_is_consistent() {
        let all = leaves(70);
        for new in 1..=all.len() {
            for old in 1..=new {
                let path = consistency_path(&all[..new], old).unwrap();
                let (old_root, new_root) = (root_of(&all[..old]), root_of(&all[..new]));
                let check =
                    |path: &[Digest]| verify_consistency((old as u64, &old_root), (new as u64, &new_root), path);
                assert_eq!(check(&path), Ok(()), "{old} to {new}");
                if let Some((_, shorter)) = path.split_last() {
                    assert!(check(shorter).is_err(), "{old} to {new} with a hash too few");
                }
            }
        }
    }

    #[test]
    fn stored_nodes_give_the_same_roots_as_leaves() {
        let all = leaves(70);
        let mut node = |level: u32, index: u64| -> Result<Digest, ()> {
            let start = (index << level) as usize;
            Ok(root_of(&all[start..start + (1 << level)]))
        };
        for size in 1..=all.len() {
            assert_eq!(range_root(&(0..size as u64), &mut node), Ok(root_of(&all[..size])));
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_breaks_an_inclusion_proof(size in 2_usize..600, at: prop::sample::Index, hash: prop::sample::Index, bit in 0_usize..256) {
            let all = leaves(size);
            let index = at.index(size);
            let root = root_of(&all);
            let mut path = path(&all, index).unwrap();
            let check = |leaf: &Digest, index: u64, path: &[Digest]| verify_inclusion(leaf, index, size as u64, path, &root);
            prop_assert_eq!(check(&all[index], index as u64, &path), Ok(()));
            prop_assert!(check(&flipped(&all[index], bit), index as u64, &path).is_err());
            prop_assert!(check(&all[index], (index as u64 + 1) % size as u64, &path).is_err());
            let hash = hash.index(path.len());
            path[hash] = flipped(&path[hash], bit);
            prop_assert!(check(&all[index], index as u64, &path).is_err());
        }

        #[test]
        fn a_flipped_bit_breaks_a_consistency_proof(new in 2_usize..600, old: prop::sample::Index, hash: prop::sample::Index, bit in 0_usize..256) {
            let all = leaves(new);
            let old = 1 + old.index(new - 1);
            let (old_root, new_root) = (root_of(&all[..old]), root_of(&all));
            let mut path = consistency_path(&all, old).unwrap();
            let check = |old_root: &Digest, path: &[Digest]| verify_consistency((old as u64, old_root), (new as u64, &new_root), path);
            prop_assert_eq!(check(&old_root, &path), Ok(()));
            prop_assert!(check(&flipped(&old_root, bit), &path).is_err());
            let hash = hash.index(path.len());
            path[hash] = flipped(&path[hash], bit);
            prop_assert!(check(&old_root, &path).is_err());
        }
    }
}
