//! Who calls.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri, request};
use tenon_core::Principal;

use crate::doors::Doors;
use crate::problem::Problem;

/// Who calls; every route that is not open to all has one.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Principal);

/// Finds out who calls: the bearer of a token, or, on loopback, whom the company names.
pub(crate) fn identify(doors: &Doors, request: &request::Parts) -> Result<Caller, Problem> {
    let loopback = match request.extensions.get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(peer)) => peer.ip().to_canonical().is_loopback(),
        None => false,
    };
    let bearer = bearer(&request.headers)?;
    if loopback && bearer.is_none() {
        refuse_strange_pages(&request.method, &request.uri, &request.headers)?;
    }
    Ok(Caller(doors.tokens.identify(&doors.identity, bearer, loopback)?))
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
    token
        .map(Some)
        .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "the Authorization header is not `Bearer TOKEN`"))
}

/// A browser on this machine sends what any page tells it to, and without a token that would count as the person here.
/// So the request must be addressed to this machine by its own name (a foreign name that resolves to it is DNS
/// rebinding), and one that changes something must not come from another site's page.
fn refuse_strange_pages(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST.as_str()).or_else(|| uri.authority().map(|authority| authority.as_str())).unwrap_or_default();
    if !is_this_machine(host) {
        return Err(Problem::forbidden("without a token, this machine is addressed as localhost, 127.0.0.1 or [::1]"));
    }
    if method.is_safe() {
        return Ok(());
    }
    let ours = |origin: &str| origin.strip_prefix("http://").is_some_and(|from| from.eq_ignore_ascii_case(host));
    let elsewhere = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"));
    if elsewhere || !text(ORIGIN.as_str()).is_none_or(ours) {
        return Err(Problem::forbidden("without a token, a page of another site cannot change anything here"));
    }
    Ok(())
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(method: Method, headers: &[(&'static str, &str)], expected: bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        assert_eq!(refuse_strange_pages(&method, &Uri::from_static("/"), &map).is_ok(), expected, "{headers:?}");
    }

    #[test]
    fn only_pages_of_this_server_change_anything() {
        for host in ["localhost:8080", "127.0.0.1:1", "LOCALHOST", "[::1]:80", "127.9.9.9"] {
            check(Method::GET, &[("host", host)], true);
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"] {
            check(Method::GET, &[("host", host)], false);
        }
        let host = ("host", "localhost:8080");
        check(Method::POST, &[host], true);
        check(Method::POST, &[host, ("origin", "http://localhost:8080")], true);
        check(Method::POST, &[host, ("origin", "http://localhost:9090")], false);
        check(Method::POST, &[host, ("origin", "https://evil.example")], false);
        check(Method::POST, &[host, ("origin", "null")], false);
        check(Method::POST, &[host, ("sec-fetch-site", "cross-site")], false);
        check(Method::POST, &[host, ("sec-fetch-site", "same-origin")], true);
    }
}
