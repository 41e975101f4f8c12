//! Secrets, fetched from where a declaration says that they are.

use std::path::Path;

use tenon_core::spec::Secret;

use crate::IngestError;

/// The secret itself. Whoever asks keeps it out of facts, logs and errors.
///
/// # Errors
/// [`IngestError::Secret`] when it is not there.
pub fn reveal(secret: &Secret, root: &Path) -> Result<String, IngestError> {
    let failed = |what: String| IngestError::Secret { reference: secret.to_string(), what };
    match secret {
        Secret::Env(name) => std::env::var(name).map_err(|error| failed(error.to_string())),
        Secret::File(path) => {
            let text = std::fs::read_to_string(root.join(path)).map_err(|error| failed(error.to_string()))?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_is_read_where_it_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "s3cret\n").unwrap();
        assert_eq!(reveal(&"file:password".parse().unwrap(), folder.path()).unwrap(), "s3cret");
        let error = reveal(&"file:nowhere".parse().unwrap(), folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("the secret `file:nowhere` cannot be read"), "{error}");
        let error = reveal(&"env:TENON_NOT_SET_ANYWHERE".parse().unwrap(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("env:TENON_NOT_SET_ANYWHERE"), "{error}");
    }
}
