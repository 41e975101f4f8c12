//! A client of the store that is declared.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use tenon_core::spec::{ObjectPattern, Secret, StoreAccess, StoreKind};

use super::words::Words;
use crate::IngestError;
use crate::secret::reveal;

/// How long a store may take for one answer with all its bytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take until it is there at all.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How often, and for how long, one request is made again.
const TRIES: usize = 10;
const RETRY_FOR: Duration = Duration::from_secs(120);

/// A client, and how to speak of what it says.
pub(super) fn client(
    pattern: &ObjectPattern,
    access: &StoreAccess,
    root: &Path,
) -> Result<(Arc<dyn ObjectStore>, Words), IngestError> {
    let mut secrets = Vec::new();
    let mut secret = |reference: &Option<Secret>| -> Result<Option<String>, IngestError> {
        let revealed = reference.as_ref().map(|reference| reveal(reference, root)).transpose()?;
        secrets.extend(revealed.clone());
        Ok(revealed)
    };
    let keys = Keys {
        access_key: secret(&access.access_key)?,
        secret_key: secret(&access.secret_key)?,
        session_token: secret(&access.session_token)?,
        service_account: secret(&access.service_account)?,
    };
    let options = |endpoint: Option<&str>| client_options(access, endpoint, root);
    let words = |has_key: bool| Words::new(pattern.kind, has_key || access.anonymous, secrets.clone());
    let built = match pattern.kind {
        StoreKind::S3 => s3(pattern, access, &keys, options),
        StoreKind::Gcs => gcs(pattern, access, &keys, options),
        StoreKind::Azure => azure(pattern, access, &keys, options),
    };
    match built? {
        (Ok(client), has_key) => Ok((client, words(has_key))),
        (Err(error), has_key) => {
            Err(IngestError::Store { address: pattern.to_string(), what: words(has_key).of(&error) })
        }
    }
}

/// Revealed secrets.
struct Keys {
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
    service_account: Option<String>,
}

/// A client or why there is none, and whether there was a key to be found.
type Built = (Result<Arc<dyn ObjectStore>, object_store::Error>, bool);

fn as_client<S: ObjectStore>(built: Result<S, object_store::Error>, has_key: bool) -> Built {
    (built.map(|store| Arc::new(store) as Arc<dyn ObjectStore>), has_key)
}

fn s3(
    pattern: &ObjectPattern,
    access: &StoreAccess,
    keys: &Keys,
    options: impl Fn(Option<&str>) -> Result<ClientOptions, IngestError>,
) -> Result<Built, IngestError> {
    // A declared key is not mixed with what the environment has, such as a token of another key.
    let mut builder = match &keys.access_key {
        Some(_) => AmazonS3Builder::new(),
        None => AmazonS3Builder::from_env(),
    };
    if let (Some(key), Some(secret)) = (&keys.access_key, &keys.secret_key) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    }
    if let Some(token) = &keys.session_token {
        builder = builder.with_token(token);
    }
    if let Some(region) = &access.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let has_key = builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_some();
    let builder = builder
        .with_bucket_name(&pattern.bucket)
        .with_client_options(options(endpoint.as_deref())?)
        .with_retry(retry());
    let builder = if access.anonymous { builder.with_skip_signature(true) } else { builder };
    Ok(as_client(builder.build(), has_key))
}

fn gcs(
    pattern: &ObjectPattern,
    access: &StoreAccess,
    keys: &Keys,
    options: impl Fn(Option<&str>) -> Result<ClientOptions, IngestError>,
) -> Result<Built, IngestError> {
    let mut builder = match &keys.service_account {
        Some(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let builder = builder
        .with_bucket_name(&pattern.bucket)
        .with_client_options(options(access.endpoint.as_deref())?)
        .with_retry(retry())
        .with_skip_signature(access.anonymous);
    Ok(as_client(builder.build(), keys.service_account.is_some()))
}

fn azure(
    pattern: &ObjectPattern,
    access: &StoreAccess,
    keys: &Keys,
    options: impl Fn(Option<&str>) -> Result<ClientOptions, IngestError>,
) -> Result<Built, IngestError> {
    let mut builder = match &keys.secret_key {
        Some(key) => MicrosoftAzureBuilder::new().with_access_key(key),
        None => MicrosoftAzureBuilder::from_env(),
    };
    if let Some(account) = &access.account {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let builder = builder
        .with_container_name(&pattern.bucket)
        .with_client_options(options(access.endpoint.as_deref())?)
        .with_retry(retry());
    let builder = if access.anonymous { builder.with_skip_signature(true) } else { builder };
    Ok(as_client(builder.build(), keys.secret_key.is_some()))
}

fn retry() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: TRIES, retry_timeout: RETRY_FOR }
}

/// An endpoint that is written with `http://` is meant to be asked without encryption.
fn client_options(access: &StoreAccess, endpoint: Option<&str>, root: &Path) -> Result<ClientOptions, IngestError> {
    let mut options = ClientOptions::new()
        .with_timeout(PATIENCE)
        .with_connect_timeout(CONNECT_PATIENCE)
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")));
    if let Some(ca) = &access.ca {
        let pem = std::fs::read(root.join(ca)).map_err(|source| IngestError::Io { path: ca.clone(), source })?;
        let bad = |error: object_store::Error| IngestError::Unreadable { path: ca.clone(), what: error.to_string() };
        for certificate in Certificate::from_pem_bundle(&pem).map_err(bad)? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}
