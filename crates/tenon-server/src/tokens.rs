//! First tokens: a pod's lead invites, and whoever shows the code gets a token, once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use tenon_core::spec::ResourceKind;
use tenon_core::{PodName, Span};
use tenon_policy::{Action, Invitation, PolicyError, Secret, Target};

use crate::caller::Caller;
use crate::house::House;
use crate::problem::Problem;

/// What `POST /tokens/invite` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invited {
    person: String,
    pod: PodName,
    #[serde(default)]
    name: Option<String>,
    #[serde(default = "three_days")]
    expires: Span,
}

fn three_days() -> Span {
    Span::days(3)
}

/// `POST /tokens/invite`: a code for a first token of a member of a pod.
pub(crate) async fn invite(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    invited: Result<Json<Invited>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Invited { person, pod, name, expires }) = invited?;
    house.allow(&caller, Action::TokenInvite, Target::resource(ResourceKind::Pod, pod.as_str())).await?;
    let (name, code) = (name.unwrap_or_else(|| person.clone()), Secret::random_code()?);
    let expires = house.clock.now() + expires;
    let invitation = Invitation { name: name.clone(), person: person.clone(), pod, expires };
    house.tokens.invite(&caller.0, &house.catalog.specs(), invitation, &code).await?;
    let answer = json!({ "name": name, "person": person, "expires": expires, "code": code.reveal() });
    Ok(shown_once(Json(answer)))
}

/// What `POST /tokens/redeem` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shown {
    code: String,
}

/// `POST /tokens/redeem`: a token for a code, once.
pub(crate) async fn redeem(
    State(house): State<Arc<House>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    shown: Result<Json<Shown>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Shown { code }) = shown?;
    let caller = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(ConnectInfo(peer))| peer.ip());
    let token = Secret::random()?;
    match house.reception.redeem(caller, &code, &token).await {
        Ok(given) => {
            let answer = json!({ "token": token.reveal(), "name": given.name, "acts_as": given.principal });
            Ok(shown_once(Json(answer)))
        }
        Err(PolicyError::TooManyTries { wait }) => {
            let sentence = PolicyError::TooManyTries { wait }.to_string();
            let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, sentence).into_response();
            let seconds = wait.as_secs_f64().ceil() as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            Ok(response)
        }
        Err(other) => Err(other.into()),
    }
}

/// An answer that nothing on the way keeps.
fn shown_once(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
