//! What the doors open on, and opening them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt;
use tenon_company::Catalog;
use tenon_compute::Budgets;
use tenon_core::Clock;
use tenon_core::spec::Identity;
use tenon_features::FeatureStore;
use tenon_ingest::Ingest;
use tenon_lake::Lake;
use tenon_ledger::Ledger;
use tenon_models::Models;
use tenon_policy::{Guard, Tokens};
use tenon_serve::Serving;
use tenon_watch::Watch;
use tokio::net::TcpListener;
use tower_http::trace::TraceLayer;

use crate::routes;

/// The parts that the doors open on. Every field is a cheap clone.
#[derive(Clone)]
pub struct Doors {
    /// Who callers without a token are.
    pub identity: Identity,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is declared and applied.
    pub catalog: Catalog,
    /// The record.
    pub ledger: Ledger,
    /// Who may do what.
    pub guard: Guard,
    /// Who bears which token.
    pub tokens: Tokens,
    /// Money.
    pub budgets: Budgets,
    /// Tables.
    pub lake: Lake,
    /// Sources.
    pub ingest: Ingest,
    /// Features.
    pub features: FeatureStore,
    /// Models.
    pub models: Models,
    /// Decisions.
    pub serving: Serving,
    /// Monitors.
    pub watch: Watch,
}

/// All doors as one service.
pub fn router(doors: Doors) -> Router {
    routes::router(doors, routes::all()).layer(TraceLayer::new_for_http())
}

/// Answers on a listener until `shutdown` is ready, then answers what is under way and ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    doors: Doors,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // Without it a small answer waits up to 40 ms for the caller's acknowledgement.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not to be had");
        }
    });
    let service = router(doors).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await
}
