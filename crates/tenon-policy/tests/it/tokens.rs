//! Tokens: shown once, kept as digests, gone when revoked or past their end.

use tenon_core::spec::Identity;
use tenon_core::{Clock, Span};
use tenon_policy::{PolicyError, Secret, Tokens};

use crate::company::who;
use crate::guard::ledger;

#[tokio::test]
async fn a_token_counts_from_its_making_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, clock) = ledger(dir.path());
    let tokens = Tokens::new(ledger.clone());
    let (lasting, ending) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
    let end = clock.now() + Span::hours(1);
    tokens.create(&who("ana"), "shop", who("service:shop"), None, &lasting).await.unwrap();
    tokens.create(&who("ana"), "brief", who("ben"), Some(end), &ending).await.unwrap();
    assert_eq!(tokens.authenticate(lasting.reveal()).unwrap(), Some(who("service:shop")));
    assert_eq!(tokens.authenticate(ending.reveal()).unwrap(), Some(who("ben")));
    assert_eq!(tokens.authenticate(Secret::from_bytes([3; 32]).reveal()).unwrap(), None);
    assert_eq!(tokens.authenticate("").unwrap(), None);

    clock.advance_to(end);
    assert_eq!(tokens.authenticate(ending.reveal()).unwrap(), None, "its end is no longer part of its life");
    tokens.revoke(&who("ana"), "shop").await.unwrap();
    assert_eq!(tokens.authenticate(lasting.reveal()).unwrap(), None);
    let names: Vec<String> = tokens.list().unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["brief"]);

    let facts = ledger.facts(0..ledger.size().unwrap()).unwrap();
    let log = serde_json::to_string(&facts.iter().map(|stored| &stored.fact).collect::<Vec<_>>()).unwrap();
    assert!(log.contains(&lasting.digest().hex()) && !log.contains(&lasting.reveal()[4..]), "only the digest is kept");
}

#[tokio::test]
async fn a_name_is_used_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger(dir.path());
    let tokens = Tokens::new(ledger);
    let make = |seed: u8| Secret::from_bytes([seed; 32]);
    tokens.create(&who("ana"), "t", who("ana"), None, &make(1)).await.unwrap();
    let again = tokens.create(&who("ana"), "t", who("ben"), None, &make(2)).await;
    assert!(matches!(again, Err(PolicyError::TokenExists(name)) if name == "t"));
    assert_eq!(tokens.authenticate(make(2).reveal()).unwrap(), None);
    tokens.revoke(&who("ana"), "t").await.unwrap();
    assert!(matches!(tokens.revoke(&who("ana"), "t").await, Err(PolicyError::NoSuchToken(_))));
    tokens.create(&who("ana"), "t", who("ben"), None, &make(2)).await.unwrap();
    assert_eq!(tokens.authenticate(make(2).reveal()).unwrap(), Some(who("ben")));
}

#[tokio::test]
async fn who_a_caller_is() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger(dir.path());
    let tokens = Tokens::new(ledger);
    let secret = Secret::from_bytes([1; 32]);
    tokens.create(&who("ana"), "t", who("ben"), None, &secret).await.unwrap();
    let identity = |local: Option<&str>, require_token| Identity { local: local.map(str::to_owned), require_token };
    let ask = |of: &Identity, bearer: Option<&str>, loopback: bool| match tokens.identify(of, bearer, loopback) {
        Ok(principal) => principal.to_string(),
        Err(error) => error.to_string(),
    };
    let (open, strict, empty) = (identity(Some("ana"), false), identity(Some("ana"), true), identity(None, false));
    let told = [
        ask(&open, None, true),
        ask(&open, Some(secret.reveal()), true),
        ask(&strict, Some(secret.reveal()), false),
        ask(&open, Some("tnn_wrong"), true),
        ask(&open, None, false),
        ask(&strict, None, true),
        ask(&empty, None, true),
    ];
    insta::assert_snapshot!(told.join("\n"), @r"
    person:ana
    person:ben
    person:ben
    the token is unknown, revoked or past its end; `tenon token create` makes a new one
    a token is needed here; `tenon token create` makes one, and who has none is invited: `tenon token invite`
    a token is needed here; `tenon token create` makes one, and who has none is invited: `tenon token invite`
    nobody is known to be calling; set `identity.local` in company.toml, or show a token
    ");
}
