//! What is wrong, in Feast's own form: a JSON text that holds a JSON object with the class that Feast's client raises.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::problem::Problem;

/// The module of Feast in which its errors are.
const MODULE: &str = "feast.errors";

/// A reply that says what is wrong to Feast's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    class: &'static str,
    problem: Problem,
}

impl Refusal {
    /// The problem, as this error of Feast's.
    pub(crate) fn of(class: &'static str, problem: Problem) -> Self {
        Self { class, problem }
    }

    /// What was named is not there: this error of Feast's says what it was. Everything else stays what it is.
    pub(crate) fn missing(class: &'static str) -> impl Fn(Problem) -> Self {
        move |problem| match problem.status {
            StatusCode::NOT_FOUND => Self { class, problem },
            _ => problem.into(),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let class = match problem.status {
            StatusCode::FORBIDDEN => "FeastPermissionError",
            _ => "FeastError",
        };
        Self { class, problem }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let detail = json!({ "module": MODULE, "class": self.class, "message": self.problem.sentence }).to_string();
        let (mut parts, _) = self.problem.into_response().into_parts();
        parts.headers.remove(axum::http::header::CONTENT_LENGTH);
        // A text within a text: that is how Feast's server writes it, and how its client reads it.
        Response::from_parts(parts, Body::from(serde_json::Value::String(detail).to_string()))
    }
}
