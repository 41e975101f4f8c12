//! `[source] files = "s3://…"` and `[source.store]`: files that lie in an object store.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DatasetSpec, Secret, SpecFault};

/// Where an object store is, and who we are towards it. What is not said here is taken from the environment, as the
/// store's own tools do (`AWS_…`, `GOOGLE_…`, `AZURE_…`), or from the machine's identity in a cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreAccess {
    /// Its address, where it is not the cloud's own: `https://minio.acme.example:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region, for `s3://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The storage account, for `az://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The access key's id, for `s3://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Secret>,
    /// The access key's secret for `s3://`, the account's key for `az://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Secret>,
    /// The token that belongs to a key of short life, for `s3://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// The JSON key of a service account, for `gs://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Secret>,
    /// Whether to ask as nobody, for what everybody may read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// A file of certificates (PEM) to trust beside those that the machine trusts, from the company folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// Which protocol a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Amazon S3, and all that speak like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl StoreKind {
    /// How addresses of it begin.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }
}

/// Objects of a bucket whose keys fit a pattern: `s3://bucket/flights/*.parquet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPattern {
    /// What the store speaks.
    pub kind: StoreKind,
    /// The bucket, or container.
    pub bucket: String,
    /// The part of the keys up to their last `/`, without it; empty where they have none.
    pub folder: String,
    /// The last part of the keys, where `*` stands for any text.
    pub last: String,
}

impl ObjectPattern {
    /// Reads `files`; `None` where it is a path below the company folder.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the address.
    pub fn read(files: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = files.split_once("://")?;
        let kind = match scheme {
            "s3" => StoreKind::S3,
            "gs" => StoreKind::Gcs,
            "az" => StoreKind::Azure,
            other => return Some(Err(format!("`{other}://` is no object store that can be read: it is s3, gs or az"))),
        };
        Some(Self::parts(kind, rest))
    }

    fn parts(kind: StoreKind, rest: &str) -> Result<Self, String> {
        let scheme = kind.scheme();
        let (bucket, keys) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err(format!(
                "who asks is never written into an address: name the bucket alone, {scheme}://bucket/…"
            ));
        }
        if bucket.is_empty() || bucket.contains('*') {
            return Err(format!("no bucket is named: write {scheme}://bucket/folder/*.parquet"));
        }
        let (folder, last) = keys.rsplit_once('/').unwrap_or(("", keys));
        if folder.contains('*') || last.is_empty() {
            return Err(format!(
                "`*` stands in the last part of a key, and there must be one: write {scheme}://{bucket}/folder/*.parquet"
            ));
        }
        let (bucket, folder, last) = (bucket.to_owned(), folder.to_owned(), last.to_owned());
        Ok(Self { kind, bucket, folder, last })
    }
}

impl fmt::Display for ObjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, bucket, folder, last } = self;
        let between = if folder.is_empty() { "" } else { "/" };
        write!(f, "{}://{bucket}/{folder}{between}{last}", kind.scheme())
    }
}

/// What is wrong with a dataset's files, where they lie in a store, and with its `[source.store]`.
pub(super) fn check(file: &str, spec: &DatasetSpec, faults: &mut Vec<SpecFault>) {
    let pattern = spec.source.files.as_deref().and_then(ObjectPattern::read);
    let kind = match pattern {
        Some(Ok(pattern)) => pattern.kind,
        Some(Err(why)) => return faults.push(SpecFault::at(file, &["source", "files"], why)),
        None if spec.source.store.is_some() => {
            let fault = SpecFault::at(file, &["source", "store"], "`files` does not lie in an object store");
            return faults.push(fault.hint("write its address: files = \"s3://bucket/folder/*.parquet\""));
        }
        None => return,
    };
    let Some(store) = &spec.source.store else { return };
    let mut fault = |key: &str, message: String| faults.push(SpecFault::at(file, &["source", "store", key], message));
    let belongs = [
        ("region", store.region.is_some(), StoreKind::S3),
        ("access_key", store.access_key.is_some(), StoreKind::S3),
        ("session_token", store.session_token.is_some(), StoreKind::S3),
        ("account", store.account.is_some(), StoreKind::Azure),
        ("service_account", store.service_account.is_some(), StoreKind::Gcs),
    ];
    for (key, _, of) in belongs.into_iter().filter(|(_, given, of)| *given && *of != kind) {
        fault(key, format!("this belongs to {}://, and `files` is {}://", of.scheme(), kind.scheme()));
    }
    if kind == StoreKind::Gcs && store.secret_key.is_some() {
        fault("secret_key", "gs:// knows service accounts: give its JSON key as `service_account`".to_owned());
    }
    if kind == StoreKind::S3 && store.access_key.is_some() != store.secret_key.is_some() {
        fault("access_key", "an access key and its secret belong together: give both, or none".to_owned());
    }
    if kind == StoreKind::Azure && store.account.is_none() && store.secret_key.is_some() {
        fault("account", "the account's key is of use with the account's name only".to_owned());
    }
    if let Some(endpoint) = &store.endpoint {
        let host = ["http://", "https://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?'])) {
            let message = "an endpoint is an address alone, such as https://minio.acme.example:9000";
            fault("endpoint", message.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_a_store_a_bucket_and_a_pattern() {
        for text in ["s3://raw/flights/2013/*.parquet", "gs://raw/*.csv", "az://raw/a/b.ndjson"] {
            assert_eq!(ObjectPattern::read(text).unwrap().unwrap().to_string(), text);
        }
        let read = ObjectPattern::read("s3://raw/flights/2013/*.parquet").unwrap().unwrap();
        assert_eq!((read.folder.as_str(), read.last.as_str()), ("flights/2013", "*.parquet"));
        assert!(ObjectPattern::read("data/flights/*.parquet").is_none());
    }

    fn told(source: &str) -> Vec<String> {
        let spec: DatasetSpec = toml::from_str(&format!("description = \"d\"\n[source]\n{source}")).unwrap();
        let mut faults = Vec::new();
        check("d.toml", &spec, &mut faults);
        faults.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        let bad = [
            ("ftp://raw/*.csv", "`ftp://` is no object store that can be read: it is s3, gs or az"),
            ("s3:///x.csv", "no bucket is named: write s3://bucket/folder/*.parquet"),
            (
                "gs://raw/",
                "`*` stands in the last part of a key, and there must be one: write gs://raw/folder/*.parquet",
            ),
            (
                "s3://raw/*/x.csv",
                "`*` stands in the last part of a key, and there must be one: write s3://raw/folder/*.parquet",
            ),
        ];
        for (files, message) in bad {
            assert_eq!(told(&format!("files = \"{files}\"")), [message]);
        }
        let secret = told("files = \"s3://AKIA:hunter2@raw/*.csv\"");
        assert!(secret[0].contains("never written into an address") && !secret[0].contains("hunter2"), "{secret:?}");
    }

    #[test]
    fn what_does_not_belong_to_the_store_is_told() {
        let s3 = |more: &str| told(&format!("files = \"s3://raw/*.csv\"\n[source.store]\n{more}"));
        assert_eq!(s3("region = \"eu-central-1\"\nendpoint = \"http://127.0.0.1:9000\""), Vec::<String>::new());
        assert_eq!(s3("account = \"acme\""), ["this belongs to az://, and `files` is s3://"]);
        assert_eq!(s3("access_key = \"env:A\""), ["an access key and its secret belong together: give both, or none"]);
        for endpoint in ["minio:9000", "http://ana:hunter2@minio", "https://"] {
            let told = s3(&format!("endpoint = \"{endpoint}\""));
            assert!(told[0].starts_with("an endpoint is an address alone") && !told[0].contains("hunter2"), "{told:?}");
        }
        let folder = told("files = \"data/*.csv\"\n[source.store]\nregion = \"x\"");
        assert_eq!(folder, ["`files` does not lie in an object store"]);
    }
}
