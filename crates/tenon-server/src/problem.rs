//! What callers hear when it does not go well. The inner chain goes to the log, never to them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tenon_policy::PolicyError;
use tenon_serve::ServeError;

/// A reply that says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    sentence: String,
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

    /// Something broke that the caller can do nothing about.
    pub fn internal(doing: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!(error, "{doing}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("something went wrong while {doing}; the log says more"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.sentence }))).into_response()
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::TokenRefused | PolicyError::TokenNeeded | PolicyError::Nobody => {
                Self::new(StatusCode::UNAUTHORIZED, error.to_string())
            }
            other => Self::internal("asking the policies", &other),
        }
    }
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        let status = match &error {
            ServeError::UnknownDeployment { .. } | ServeError::UnknownDecision { .. } => StatusCode::NOT_FOUND,
            ServeError::NothingDeployed { .. } => StatusCode::CONFLICT,
            ServeError::MissingEntity { .. } | ServeError::WrongEntityType { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ServeError::Infer(_) => StatusCode::BAD_REQUEST,
            other => return Self::internal("deciding", other),
        };
        Self::new(status, error.to_string())
    }
}
