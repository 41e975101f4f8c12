//! The secret half of a token.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use tenon_core::Digest;

use crate::error::PolicyError;

const PREFIX: &str = "tnn_";
/// A code is not taken for a token, nor a token for a code.
const CODE: &str = "tni_";

/// A token as its bearer shows it. It cannot print itself: only [`Secret::reveal`] gives it away, once, to who made it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A new token from the operating system's random numbers.
    ///
    /// # Errors
    /// [`PolicyError::Randomness`] when there are none.
    pub fn random() -> Result<Self, PolicyError> {
        random_bytes().map(Self::from_bytes)
    }

    /// A new code of an invitation, from the same.
    ///
    /// # Errors
    /// [`PolicyError::Randomness`] when there are none.
    pub fn random_code() -> Result<Self, PolicyError> {
        random_bytes().map(Self::code_from_bytes)
    }

    /// The code of these bytes, which nobody must be able to guess.
    pub fn code_from_bytes(bytes: [u8; 32]) -> Self {
        Self(format!("{CODE}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The token of these bytes, which nobody must be able to guess.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The token in clear.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its digest, which may be kept: 256 random bits cannot be found from it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// The digest of what a caller shows, where it has a token's form.
    pub(crate) fn digest_of(shown: &str) -> Option<Digest> {
        formed(PREFIX, shown)
    }

    /// The digest of what a caller shows, where it has a code's form.
    pub(crate) fn digest_of_code(shown: &str) -> Option<Digest> {
        formed(CODE, shown)
    }
}

fn random_bytes() -> Result<[u8; 32], PolicyError> {
    let mut bytes = [0; 32];
    let filled = rand::rngs::SysRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| PolicyError::Randomness(Box::new(error)))?;
    Ok(bytes)
}

fn formed(prefix: &str, shown: &str) -> Option<Digest> {
    let secret = shown.strip_prefix(prefix)?;
    (secret.len() == 43).then(|| Digest::of(shown))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether two digests are equal, in a time that does not depend on where they differ.
pub(crate) fn equal(a: &Digest, b: &Digest) -> bool {
    let different = a.as_bytes().iter().zip(b.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself_and_two_differ() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert!(one.reveal().starts_with("tnn_"));
        assert!(!format!("{one:?}").contains(&one.reveal()[4..]));
        assert!(equal(&one.digest(), &Secret::digest_of(one.reveal()).unwrap()));
        assert!(!equal(&one.digest(), &other.digest()));
    }

    #[test]
    fn what_has_not_a_tokens_form_is_not_even_looked_up() {
        let (right, longer) = (Secret::from_bytes([7; 32]), format!("{}x", Secret::from_bytes([7; 32]).reveal()));
        assert!(Secret::digest_of(right.reveal()).is_some());
        for shown in ["", "tnn_", "Bearer x", &right.reveal()[4..], &longer] {
            assert!(Secret::digest_of(shown).is_none(), "{shown}");
        }
    }
}
