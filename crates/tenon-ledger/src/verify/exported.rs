//! Verification of an exported log, from its files alone.

use std::path::Path;

use tenon_core::Digest;

use super::{CHECKPOINT_FILE, Leaf, VerifyReport, Walk};
use crate::LedgerError;
use crate::checkpoint::Checkpoint;
use crate::tiles::{self, WIDTH, bundle_path, entries, tile_path};

/// Checks an exported log against a verifier key that its reader has from elsewhere: every entry, every tile, the
/// checkpoint.
///
/// # Errors
/// [`LedgerError::Note`] when the key is not one. Whatever is wrong with the files is a finding.
pub fn verify_export(dir: &Path, verifier_key: &str) -> Result<VerifyReport, LedgerError> {
    let verifier = verifier_key.parse()?;
    let note = std::fs::read_to_string(dir.join(CHECKPOINT_FILE));
    let opened = match &note {
        Ok(note) => Checkpoint::open(note, &verifier).map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot be read ({error})")),
    };
    let checkpoint = match opened {
        Ok(checkpoint) => checkpoint,
        Err(problem) => {
            let mut walk = Walk::new(0, false);
            walk.findings.general(format!("the checkpoint proves nothing: {problem}"));
            return Ok(walk.report(crate::merkle::empty_root(), 0));
        }
    };
    let size = checkpoint.size;
    let mut read_tile = |level: u32, number: u64| -> Option<Vec<Digest>> {
        let width = tiles::width(level, number, size);
        tiles::from_bytes(&std::fs::read(dir.join(tile_path(level, number, width))).ok()?)
    };
    let mut walk = Walk::new(size, false);
    walk.promise(checkpoint, "the checkpoint");
    walk.start();
    // A made-up size must not make the verifier busy for ever: where a bundle is missing, the walk ends.
    for first_bundle in (0..size.div_ceil(WIDTH)).step_by(16) {
        let mut leaves = Vec::new();
        let mut cut = false;
        for number in first_bundle..size.div_ceil(WIDTH).min(first_bundle + 16) {
            let width = (size - number * WIDTH).min(WIDTH) as usize;
            let path = bundle_path(number, width);
            let bytes = std::fs::read(dir.join(&path));
            let Some(found) = bytes.as_ref().ok().and_then(|bytes| entries(bytes)).filter(|found| found.len() == width)
            else {
                walk.findings.general(format!("{path} is missing or does not hold {width} facts"));
                cut = true;
                break;
            };
            let numbered = (number * WIDTH..).zip(found);
            leaves.extend(numbered.map(|(index, bytes)| Leaf { index, bytes: bytes.to_vec(), kind: None }));
        }
        walk.take(leaves, &mut read_tile);
        if cut {
            let root = walk.root();
            return Ok(walk.report(root, 0));
        }
    }
    let (walk, root) = walk.finish(&mut read_tile);
    Ok(walk.report(root, 0))
}
