//! What callers hear when it does not go well. The inner chain goes to the log, never to them.

use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tenon_company::CompanyError;
use tenon_core::id::DecisionId;
use tenon_core::name::NameError;
use tenon_features::FeatureError;
use tenon_ingest::IngestError;
use tenon_lake::LakeError;
use tenon_ledger::LedgerError;
use tenon_models::ModelError;
use tenon_onnx::OnnxError;
use tenon_policy::PolicyError;
use tenon_serve::{InferError, ServeError};
use tenon_watch::WatchError;

/// A reply that says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) sentence: String,
}

impl Problem {
    /// This status, with this sentence.
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    /// The request is wrong.
    pub fn bad_request(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// The request is understood and says what cannot be.
    pub fn unprocessable(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, sentence)
    }

    /// There is no such thing.
    pub fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }

    /// The caller may not.
    pub fn forbidden(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, sentence)
    }

    /// Too many requests are under way.
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way; try again in a second")
    }

    /// So many pushes or queries are under way that one more would take memory that is not there.
    pub fn slow_down() -> Self {
        let sentence = "as many pushes and queries are under way as there is room for; try again in a second";
        Self::new(StatusCode::TOO_MANY_REQUESTS, sentence)
    }

    /// Something broke that the caller can do nothing about.
    pub fn internal(doing: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "{doing}");
        let sentence = format!("something went wrong while {doing}; the log says more");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
    }

    /// No such decision; also for a text that is no id.
    pub fn no_decision(text: &str) -> Self {
        Self::not_found(format!("there is no decision `{text}`"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.sentence }))).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            StatusCode::UNAUTHORIZED => headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            _ => None,
        };
        response
    }
}

/// The same for people in a browser.
pub(crate) struct Trouble(pub(crate) Problem);

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let Problem { status, sentence } = &self.0;
        let html = tenon_console::trouble(status.canonical_reason().unwrap_or("It did not work"), sentence);
        (*status, crate::console::Page(html)).into_response()
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<JsonRejection> for Problem {
    fn from(error: JsonRejection) -> Self {
        Self::new(error.status(), error.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(error: BytesRejection) -> Self {
        Self::new(error.status(), error.body_text())
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::TokenRefused | PolicyError::TokenNeeded | PolicyError::Nobody => {
                Self::new(StatusCode::UNAUTHORIZED, error.to_string())
            }
            PolicyError::Code { .. } => Self::forbidden(error.to_string()),
            PolicyError::NoMember { .. } => Self::unprocessable(error.to_string()),
            PolicyError::TokenExists(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            other => Self::internal("asking the policies", &other),
        }
    }
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        let error = match error {
            ServeError::Features(source) => return crate::features::told(source),
            other => other,
        };
        let status = match &error {
            ServeError::Models(source @ (ModelError::NoModel { .. } | ModelError::NoVersion { .. })) => {
                return Self::not_found(source.to_string());
            }
            ServeError::UnknownDeployment { .. } | ServeError::UnknownDecision { .. } => StatusCode::NOT_FOUND,
            ServeError::Infer(InferError::UnknownModel { .. } | InferError::UnknownVersion { .. }) => {
                StatusCode::NOT_FOUND
            }
            ServeError::Infer(_) => StatusCode::BAD_REQUEST,
            ServeError::MissingEntity { .. } | ServeError::WrongEntityType { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ServeError::NothingDeployed { .. }
            | ServeError::NotApproved { .. }
            | ServeError::OtherModel { .. }
            | ServeError::AlreadyInCharge { .. }
            | ServeError::RolloutRunning { .. }
            | ServeError::NothingToRollBackTo { .. }
            | ServeError::FeatureGone { .. }
            | ServeError::NotADecider { .. } => StatusCode::CONFLICT,
            ServeError::Onnx { version, source: source @ OnnxError::RuntimeNeeded { .. }, .. } => {
                let why = std::error::Error::source(source).map(ToString::to_string).unwrap_or_default();
                let sentence = format!("`{version}` cannot be served here: {source}: {why}");
                tracing::error!("{sentence}");
                return Self::new(StatusCode::NOT_IMPLEMENTED, sentence);
            }
            ServeError::Journal { source, .. }
                if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
            {
                tracing::error!(error = &error as &dyn std::error::Error, "there is no room to write");
                StatusCode::INSUFFICIENT_STORAGE
            }
            other => return Self::internal("serving", other),
        };
        Self::new(status, error.to_string())
    }
}

impl From<LakeError> for Problem {
    fn from(error: LakeError) -> Self {
        let error = match error {
            LakeError::Ledger(source) | LakeError::Unsealed { source: source @ LedgerError::Damaged(_), .. } => {
                return source.into();
            }
            other => other,
        };
        let status = match &error {
            LakeError::NoDataset { .. }
            | LakeError::NoVersion { .. }
            | LakeError::NoSuch { .. }
            | LakeError::NotOnBranch { .. } => StatusCode::NOT_FOUND,
            LakeError::Vacuumed { .. } => StatusCode::GONE,
            LakeError::Exists { .. } | LakeError::Raced(_) => StatusCode::CONFLICT,
            LakeError::NotTagged { .. }
            | LakeError::NothingThen { .. }
            | LakeError::NoKey(_)
            | LakeError::NotPossible(_)
            | LakeError::StatedPin(_) => StatusCode::UNPROCESSABLE_ENTITY,
            LakeError::Query(_) | LakeError::VersionOfMany(_) => StatusCode::BAD_REQUEST,
            LakeError::Engine(_) => StatusCode::BAD_GATEWAY,
            LakeError::StaysHere { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            LakeError::View(_) | LakeError::ViewCycle(_) | LakeError::Contract { .. } | LakeError::Misfit { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            _ if error.is_for_want_of_room() => {
                tracing::error!(error = &error as &dyn std::error::Error, "there is no room to write");
                StatusCode::INSUFFICIENT_STORAGE
            }
            other => return Self::internal("using the lake", other),
        };
        Self::new(status, error.to_string())
    }
}

impl From<FeatureError> for Problem {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Lake(source) => source.into(),
            other => Self::internal("reading features again; what was asked for is done", &other),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::NoDataset { .. } => Self::not_found(error.to_string()),
            IngestError::Json { .. } => Self::bad_request(error.to_string()),
            IngestError::KeyUsed { .. } => Self::unprocessable(error.to_string()),
            IngestError::Lake(source) => source.into(),
            other => Self::internal("taking rows in", &other),
        }
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::NoModel { .. } | ModelError::NoVersion { .. } => Self::not_found(error.to_string()),
            other => Self::internal("reading the models", &other),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NoSuchFact { .. } => Self::not_found(error.to_string()),
            // Whoever asks for a fact that was tampered with is told so: silence would be the tamperer's gain.
            LedgerError::Damaged(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the ledger is damaged");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
            _ if error.is_for_want_of_room() => {
                tracing::error!(error = &error as &dyn std::error::Error, "there is no room to write");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
            }
            other => Self::internal("reading the ledger", &other),
        }
    }
}

macro_rules! internal {
    ($($error:ty: $doing:literal),+ $(,)?) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::internal($doing, &error)
            }
        }
    )+};
}

internal! {
    CompanyError: "reading what is applied",
    WatchError: "reading the monitors",
    tenon_compute::ComputeError: "reading the budgets",
    serde_json::Error: "writing the answer",
    arrow::error::ArrowError: "writing the answer",
}

/// A decision's id from a path.
pub(crate) fn decision_id(text: &str) -> Result<DecisionId, Problem> {
    text.parse().map_err(|_| Problem::no_decision(text))
}
