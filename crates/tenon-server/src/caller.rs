//! Who calls, and whether the caller may.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tenon_core::Principal;
use tenon_policy::{Action, Request as Question, Target};

use crate::doors::Doors;
use crate::problem::Problem;

/// Who calls; every route that is not open to all has one.
#[derive(Debug, Clone)]
pub struct Caller(pub Principal);

/// Finds out who calls: the bearer of a token, or, on loopback, whom the company names.
pub async fn identify(State(doors): State<Arc<Doors>>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let loopback = match request.extensions().get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(peer)) => peer.ip().to_canonical().is_loopback(),
        None => false,
    };
    let bearer = bearer(request.headers())?;
    let principal = doors.tokens.identify(&doors.identity, bearer, loopback)?;
    request.extensions_mut().insert(Caller(principal));
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
    token.map(Some).ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "the Authorization header is not `Bearer TOKEN`"))
}

impl Doors {
    /// Asks the policies; a refusal is on the record when this returns.
    ///
    /// # Errors
    /// 403 with the reason in plain words.
    pub(crate) async fn allow(&self, caller: &Caller, action: Action, target: impl Into<Target>) -> Result<(), Problem> {
        let answer = self.guard.check(&Question::new(caller.0.clone(), action, target)).await?;
        if answer.allowed { Ok(()) } else { Err(Problem::new(StatusCode::FORBIDDEN, answer.sentence)) }
    }
}
