//! Every route, with who may take it.

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::json;

use crate::caller::identify;
use crate::decide;
use crate::doors::Doors;

/// All routes.
pub fn all(doors: Arc<Doors>) -> Router {
    let open = Router::new().route("/health", get(|| async { Json(json!({ "ready": true })) }));
    let known = Router::new()
        .route("/decide/{deployment}", post(decide::decide))
        .layer(middleware::from_fn_with_state(Arc::clone(&doors), identify));
    open.merge(known).with_state(doors)
}
