//! Signed notes, as C2SP specifies them: a text, and under it one line for each Ed25519 signature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use tenon_core::Digest;

/// The signature type of a plain Ed25519 key.
const ED25519: u8 = 0x01;

/// Why a note or a key does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a verifier key.
    #[error("`{0}` is not a verifier key: write it as `NAME+HASH+KEY`, as the ledger printed it")]
    VerifierKey(String),
    /// Not a signing key. The text stays out of the message, for it may be most of a secret.
    #[error("the text is not a signing key of the form `PRIVATE+KEY+NAME+HASH+KEY`")]
    SigningKey,
    /// Not a signed note.
    #[error("the text is not a signed note: a text, an empty line, and lines that start with `— `")]
    NotANote,
    /// No signature by the wanted key.
    #[error("the note is not signed by `{0}`")]
    Unsigned(String),
    /// A signature that does not hold.
    #[error("the signature by `{0}` does not hold: the note was changed, or another key signed it")]
    BadSignature(String),
    /// Not a checkpoint.
    #[error("the note is not a checkpoint: {0}")]
    NotACheckpoint(&'static str),
    /// A checkpoint of another log.
    #[error("the checkpoint is of `{found}`, not of `{wanted}`")]
    OtherOrigin {
        /// The origin that the checkpoint names.
        found: String,
        /// The one that was wanted.
        wanted: String,
    },
}

/// The first four bytes of SHA-256 over the name, a line feed, the signature type and the public key.
fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let digest = Digest::of([name.as_bytes(), b"\n", &[ED25519], public].concat());
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// Whether a text can name a key: not empty, no white space, no plus.
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The 32 bytes in `TYPE || KEY`, base64.
fn key_bytes(text: &str) -> Option<[u8; 32]> {
    let bytes = BASE64.decode(text).ok()?;
    let (kind, key) = bytes.split_first()?;
    if *kind == ED25519 { key.try_into().ok() } else { None }
}

/// A key that signs notes. Never prints its secret.
pub struct NoteSigner {
    name: String,
    key: SigningKey,
}

impl NoteSigner {
    /// The signer with this name and these 32 secret bytes.
    pub fn new(name: impl Into<String>, seed: &[u8; 32]) -> Self {
        Self { name: name.into(), key: SigningKey::from_bytes(seed) }
    }

    /// The key that checks what this one signs.
    pub fn verifier(&self) -> NoteVerifier {
        NoteVerifier { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The text, which must end with a line feed, with this key's signature under it.
    pub fn sign(&self, text: &str) -> String {
        let id = key_id(&self.name, self.key.verifying_key().as_bytes());
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        format!("{text}\n— {} {}\n", self.name, BASE64.encode([&id[..], &signature].concat()))
    }

    /// The key as text, with its secret: for its file alone.
    pub(crate) fn to_secret_text(&self) -> String {
        let id = hex(key_id(&self.name, self.key.verifying_key().as_bytes()));
        let seed = BASE64.encode([&[ED25519][..], self.key.as_bytes()].concat());
        format!("PRIVATE+KEY+{}+{id}+{seed}", self.name)
    }

    pub(crate) fn from_secret_text(text: &str) -> Result<Self, NoteError> {
        let rest = text.trim_end().strip_prefix("PRIVATE+KEY+").ok_or(NoteError::SigningKey)?;
        let (name, rest) = rest.split_once('+').ok_or(NoteError::SigningKey)?;
        let (id, seed) = rest.split_once('+').ok_or(NoteError::SigningKey)?;
        let signer = Self::new(name, &key_bytes(seed).ok_or(NoteError::SigningKey)?);
        if !is_key_name(name) || hex(key_id(name, signer.key.verifying_key().as_bytes())) != id {
            return Err(NoteError::SigningKey);
        }
        Ok(signer)
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner").field("name", &self.name).field("key", &"<secret>").finish()
    }
}

/// A key that checks notes. Written `NAME+HASH+KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    key: VerifyingKey,
}

impl NoteVerifier {
    /// The key's name, which is the origin of the log that it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key signed. Signatures by other keys are left aside.
    ///
    /// # Errors
    /// [`NoteError`] when the note is not one, or not signed by this key.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let split = note.rfind("\n\n").ok_or(NoteError::NotANote)?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        if !signatures.ends_with('\n') || text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::NotANote);
        }
        let id = key_id(&self.name, self.key.as_bytes());
        let mut signed = false;
        for line in signatures.lines() {
            let (name, data) = line.strip_prefix("— ").and_then(|l| l.split_once(' ')).ok_or(NoteError::NotANote)?;
            let data = BASE64.decode(data).map_err(|_| NoteError::NotANote)?;
            let Some((line_id, signature)) = data.split_at_checked(4) else { return Err(NoteError::NotANote) };
            if name != self.name || line_id != id {
                continue;
            }
            let bad = || NoteError::BadSignature(self.name.clone());
            let signature = Signature::from_slice(signature).map_err(|_| bad())?;
            self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| bad())?;
            signed = true;
        }
        if signed { Ok(text) } else { Err(NoteError::Unsigned(self.name.clone())) }
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = hex(key_id(&self.name, self.key.as_bytes()));
        write!(f, "{}+{id}+{}", self.name, BASE64.encode([&[ED25519][..], self.key.as_bytes()].concat()))
    }
}

impl FromStr for NoteVerifier {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let bad = || NoteError::VerifierKey(text.to_owned());
        let (name, rest) = text.trim_end().split_once('+').ok_or_else(bad)?;
        let (id, key) = rest.split_once('+').ok_or_else(bad)?;
        let bytes = key_bytes(key).ok_or_else(bad)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| bad())?;
        if !is_key_name(name) || hex(key_id(name, &bytes)) != id {
            return Err(bad());
        }
        Ok(Self { name: name.to_owned(), key })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The key and the note that Go's `golang.org/x/mod/sumdb/note` documents and tests with.
    const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_known_note_of_the_go_checksum_database_holds() {
        let verifier: NoteVerifier = VERIFIER.parse().unwrap();
        assert_eq!(verifier.to_string(), VERIFIER);
        let text = verifier.open(NOTE).unwrap();
        let signer = NoteSigner::from_secret_text(SIGNER).unwrap();
        assert_eq!(signer.verifier(), verifier);
        assert_eq!(signer.sign(text), NOTE, "Ed25519 is deterministic");
        assert_eq!(signer.to_secret_text(), SIGNER);
    }

    #[test]
    fn any_changed_byte_of_a_note_is_found() {
        let verifier: NoteVerifier = VERIFIER.parse().unwrap();
        for at in 0..NOTE.len() {
            for change in [0x01, 0x20] {
                let mut bytes = NOTE.as_bytes().to_vec();
                bytes[at] ^= change;
                if let Ok(changed) = std::str::from_utf8(&bytes) {
                    assert!(verifier.open(changed).is_err(), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn signatures_by_others_are_left_aside_but_never_enough() {
        let verifier: NoteVerifier = VERIFIER.parse().unwrap();
        let other = NoteSigner::new("other", &[7; 32]);
        let text = verifier.open(NOTE).unwrap();
        let others = other.sign(text);
        let line = others.lines().last().unwrap();
        assert_eq!(verifier.open(&format!("{NOTE}{line}\n")), Ok(text));
        assert_eq!(verifier.open(&others), Err(NoteError::Unsigned("PeterNeumann".into())));
    }

    #[test]
    fn a_signer_does_not_print_its_secret() {
        let signer = NoteSigner::from_secret_text(SIGNER).unwrap();
        assert_eq!(format!("{signer:?}"), r#"NoteSigner { name: "PeterNeumann", key: "<secret>" }"#);
        assert!(!NoteError::SigningKey.to_string().contains("AYEK"));
        assert!(NoteSigner::from_secret_text(&SIGNER.replace("c74f", "c74e")).is_err());
        assert!("a b+00000000+AA==".parse::<NoteVerifier>().is_err());
    }
}
