//! The verifier: bytes and a public key in, findings out. It shares nothing with what writes the log but the formats.

mod exported;
mod report;
mod walk;

use tenon_core::Digest;

use crate::LedgerError;
use crate::checkpoint::Checkpoint;
use crate::ledger::{ConsistencyProof, InclusionProof};
use crate::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use crate::note::NoteVerifier;

pub use exported::verify_export;
pub(crate) use report::Findings;
pub use report::{Finding, VerifyReport};
pub(crate) use walk::{Leaf, Walk};

/// The file of an export that holds its checkpoint.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// The file of an export that holds the key that checks its checkpoint. An auditor brings a copy of their own.
pub const VERIFIER_FILE: &str = "vkey";

/// Checks that a fact, given as its canonical bytes, is in the log that the proof's checkpoint commits to.
///
/// # Errors
/// [`LedgerError::Note`] when the checkpoint is not signed by this key; [`LedgerError::Proof`] when the fact is not in it.
pub fn inclusion(fact: &[u8], proof: &InclusionProof, verifier_key: &str) -> Result<Checkpoint, LedgerError> {
    let checkpoint = Checkpoint::open(&proof.checkpoint, &verifier_key.parse()?)?;
    if checkpoint.size != proof.size {
        return Err(LedgerError::Proof(crate::merkle::ProofError::OutOfRange));
    }
    verify_inclusion(&leaf_hash(fact), proof.index, proof.size, &proof.path, &checkpoint.root)?;
    Ok(checkpoint)
}

/// Checks that the log of one checkpoint is a prefix of the log of a later one.
///
/// # Errors
/// [`LedgerError::Note`] when one of them is not signed by this key; [`LedgerError::Proof`] when the proof does not hold.
pub fn consistency(old: &str, new: &str, proof: &ConsistencyProof, verifier_key: &str) -> Result<(), LedgerError> {
    let verifier: NoteVerifier = verifier_key.parse()?;
    let (old, new) = (Checkpoint::open(old, &verifier)?, Checkpoint::open(new, &verifier)?);
    if (old.size, new.size) != (proof.old, proof.new) {
        return Err(LedgerError::Proof(crate::merkle::ProofError::OutOfRange));
    }
    Ok(verify_consistency((old.size, &old.root), (new.size, &new.root), &proof.path)?)
}

/// Reads the tile `(level, number)` as it is stored; nothing when it is missing or broken.
pub(crate) type ReadTile<'a> = dyn FnMut(u32, u64) -> Option<Vec<Digest>> + 'a;
