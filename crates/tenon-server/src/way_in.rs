//! The way in, the same for every request: room, identity, check, handler; and what callers hear where that fails.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use crate::access::Access;
use crate::caller::identify;
use crate::feast::Refusal;
use crate::house::{House, Weight};
use crate::problem::{Problem, Trouble};

/// No answer takes longer.
const TIME_OUT: Duration = Duration::from_secs(30);

/// Who reads what went wrong, and so in which form it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// A program: JSON.
    Program,
    /// People in a browser: a page.
    Browser,
    /// Feast's client: the form of its server.
    Feast,
}

/// One route's entrance.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) house: Arc<House>,
    /// The route's place in the table.
    pub(crate) route: usize,
    pub(crate) access: Access,
    pub(crate) weight: Weight,
    /// Who reads what went wrong.
    pub(crate) told: Told,
}

/// Lets a request in, and counts it.
pub(crate) async fn enter(
    State(entrance): State<Entrance>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let answer =
        AssertUnwindSafe(tokio::time::timeout(TIME_OUT, let_in(&entrance, path, request, next))).catch_unwind();
    let answer = match answer.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "this took more than 30 seconds and was given up")),
        // What the panic said is on stderr already, with its place.
        Err(_) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong; the log says more")),
    };
    let mut response = answer.unwrap_or_else(|problem| match entrance.told {
        Told::Browser => Trouble(problem).into_response(),
        Told::Feast => Refusal::from(problem).into_response(),
        Told::Program => problem.into_response(),
    });
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    entrance.house.metrics.observe(entrance.route, response.status(), started.elapsed());
    response
}

async fn let_in(
    entrance: &Entrance,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Access::Open(_) = entrance.access {
        return Ok(next.run(request).await);
    }
    let path = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let house = &entrance.house;
    let room = house.room(entrance.weight)?;
    let (mut parts, body) = request.into_parts();
    let caller = identify(house, &parts)?;
    entrance.access.check(house, &caller, &path).await?;
    parts.extensions.insert(caller);
    parts.extensions.insert(room.clone());
    let answer = next.run(Request::from_parts(parts, body)).await;
    drop(room);
    Ok(answer)
}
