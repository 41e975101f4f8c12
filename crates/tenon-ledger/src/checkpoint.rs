//! Checkpoints, as C2SP's tlog-checkpoint specifies them: a signed note that commits to a log's size and root.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tenon_core::Digest;

use crate::note::{NoteError, NoteSigner, NoteVerifier};

/// What a log's signer commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log it is.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root of its tree.
    pub root: Digest,
}

impl Checkpoint {
    /// The signed note.
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes())))
    }

    /// Checks a signed note and reads it. Lines after the third are extensions and are left aside.
    ///
    /// # Errors
    /// [`NoteError`] when the signature does not hold, the note is not a checkpoint, or it is one of another log.
    pub fn open(note: &str, verifier: &NoteVerifier) -> Result<Self, NoteError> {
        let mut lines = verifier.open(note)?.lines();
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(NoteError::NotACheckpoint("no origin"))?;
        if origin != verifier.name() {
            return Err(NoteError::OtherOrigin { found: origin.to_owned(), wanted: verifier.name().to_owned() });
        }
        let size = lines.next().ok_or(NoteError::NotACheckpoint("no size"))?;
        let number: u64 = size.parse().map_err(|_| NoteError::NotACheckpoint("its size is not a number"))?;
        if number.to_string() != size {
            return Err(NoteError::NotACheckpoint("its size has leading zeros or a sign"));
        }
        let root = lines.next().and_then(|line| BASE64.decode(line).ok()).and_then(|root| root.try_into().ok());
        let root = root.ok_or(NoteError::NotACheckpoint("its root is not 32 bytes in base64"))?;
        Ok(Self { origin: origin.to_owned(), size: number, root: Digest::from_bytes(root) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_and_has_the_specified_form() {
        let signer = NoteSigner::new("acme", &[1; 32]);
        let checkpoint = Checkpoint { origin: "acme".into(), size: 20_852_163, root: Digest::of("root") };
        let note = checkpoint.sign(&signer);
        let start = format!("acme\n20852163\n{}\n\n— acme ", BASE64.encode(checkpoint.root.as_bytes()));
        assert!(note.starts_with(&start), "{note}");
        assert_eq!(Checkpoint::open(&note, &signer.verifier()), Ok(checkpoint));
    }

    #[test]
    fn what_is_signed_but_is_no_checkpoint_of_this_log_is_refused() {
        let signer = NoteSigner::new("acme", &[1; 32]);
        let root = BASE64.encode([0; 32]);
        for text in ["acme\n", "acme\n1\n", "acme\n01\nAAAA\n", "acme\n+1\nAAAA\n", "acme\n1\nAAAA\n"] {
            let opened = Checkpoint::open(&signer.sign(text), &signer.verifier());
            assert!(matches!(opened, Err(NoteError::NotACheckpoint(_))), "{text}");
        }
        let opened = Checkpoint::open(&signer.sign(&format!("other\n1\n{root}\n")), &signer.verifier());
        assert!(matches!(opened, Err(NoteError::OtherOrigin { .. })));
        assert!(Checkpoint::open(&signer.sign(&format!("acme\n1\n{root}\nextension\n")), &signer.verifier()).is_ok());
    }
}
