//! Invitations: a code, once, for a token; and what a flood of wrong ones leaves on the record.

use std::net::IpAddr;
use std::sync::Arc;

use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::fact::{AuthorizationRefused, Payload, RefusalsCounted};
use tenon_core::{Clock, PodName, Span};
use tenon_ledger::Ledger;
use tenon_policy::{Action, CodeFault, Guard, Invitation, PolicyError, Reception, Redeemed, Request, Secret, Tokens};

use crate::company::{specs, what, who};
use crate::guard::ledger;

struct Company {
    ledger: Ledger,
    clock: Arc<ManualClock>,
    catalog: Catalog,
    tokens: Tokens,
    guard: Guard,
    reception: Reception,
    _folder: tempfile::TempDir,
}

const CODE: [u8; 32] = [7; 32];

impl Company {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, clock) = ledger(folder.path());
        let catalog = Catalog::fixed(specs(&[]));
        let (tokens, guard) = (Tokens::new(ledger.clone()), Guard::new(catalog.clone(), ledger.clone()));
        let reception = Reception::new(tokens.clone(), guard.clone(), clock.clone());
        Self { ledger, clock, catalog, tokens, guard, reception, _folder: folder }
    }

    async fn invite(&self, name: &str, person: &str, code: [u8; 32]) -> Result<(), PolicyError> {
        let pod = PodName::new("arrivals").unwrap();
        let expires = self.clock.now() + Span::hours(24);
        let invitation = Invitation { name: name.to_owned(), person: person.to_owned(), pod, expires };
        let code = Secret::code_from_bytes(code);
        self.tokens.invite(&who("ana"), &self.catalog.specs(), invitation, &code).await
    }

    async fn redeem_from(&self, caller: &str, code: &str, token: u8) -> Result<Redeemed, PolicyError> {
        let caller: IpAddr = caller.parse().unwrap();
        self.reception.redeem(caller, code, &Secret::from_bytes([token; 32])).await
    }

    /// What is said to who shows the code.
    async fn fault(&self, code: [u8; 32], token: u8) -> CodeFault {
        let code = Secret::code_from_bytes(code);
        match self.redeem_from("192.0.2.1", code.reveal(), token).await.unwrap_err() {
            PolicyError::Code { fault, .. } => fault,
            other => panic!("{other}"),
        }
    }

    fn facts<P: Payload>(&self) -> Vec<P> {
        let facts = self.ledger.facts_of(&[P::KIND], 0, 1000).unwrap();
        facts.iter().map(|stored| stored.fact.payload().unwrap()).collect()
    }
}

#[tokio::test]
async fn a_code_gives_one_token_once() {
    let company = Company::new();
    company.invite("ben-laptop", "ben", CODE).await.unwrap();
    let code = Secret::code_from_bytes(CODE);
    let given = company.redeem_from("192.0.2.1", code.reveal(), 1).await.unwrap();
    assert_eq!(given, Redeemed { name: "ben-laptop".to_owned(), principal: who("ben") });
    let token = Secret::from_bytes([1; 32]);
    assert_eq!(company.tokens.authenticate(token.reveal()).unwrap(), Some(who("ben")));
    assert_eq!(company.tokens.authenticate(code.reveal()).unwrap(), None, "a code is no token");
    assert_eq!(company.tokens.invitations().unwrap(), []);

    assert_eq!(company.fault(CODE, 2).await, CodeFault::Used);
    assert_eq!(company.tokens.authenticate(Secret::from_bytes([2; 32]).reveal()).unwrap(), None);
    let kinds: Vec<String> =
        company.ledger.facts(0..company.ledger.size().unwrap()).unwrap().into_iter().map(|one| one.fact.kind).collect();
    assert_eq!(kinds, ["invitation.created", "invitation.redeemed", "token.created", "authorization.refused"]);
    let log = (0..4).map(|index| company.ledger.leaf(index).unwrap()).collect::<Vec<_>>().concat();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains(&code.digest().hex()) && !log.contains(&code.reveal()[4..]), "only the digest is kept");
    assert!(!log.contains(&token.reveal()[4..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_show_a_code_at_once_one_gets_a_token() {
    let company = Arc::new(Company::new());
    company.invite("ben", "ben", CODE).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32_u8 {
        let company = Arc::clone(&company);
        tasks.spawn(async move {
            let code = Secret::code_from_bytes(CODE);
            company.redeem_from(&format!("192.0.2.{n}"), code.reveal(), n + 1).await.is_ok()
        });
    }
    let given = tasks.join_all().await.into_iter().filter(|given| *given).count();
    assert_eq!((given, company.tokens.list().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn a_code_that_is_past_its_end_revoked_or_of_somebody_who_left_gives_nothing() {
    let company = Company::new();
    company.invite("a", "ben", [1; 32]).await.unwrap();
    company.tokens.revoke_invitation(&who("ana"), "a").await.unwrap();
    assert_eq!(company.fault([1; 32], 1).await, CodeFault::Revoked);
    assert!(matches!(
        company.tokens.revoke_invitation(&who("ana"), "a").await,
        Err(PolicyError::NoSuchToken(name)) if name == "a"
    ));

    company.invite("a", "ben", [2; 32]).await.unwrap();
    let mut smaller = specs(&[]);
    smaller.pods.values_mut().for_each(|pod| drop(pod.members.shift_remove("ben")));
    company.catalog.replace(smaller);
    assert_eq!(company.fault([2; 32], 1).await, CodeFault::Left);
    company.catalog.replace(specs(&[]));

    company.clock.advance_to(company.clock.now() + Span::hours(24));
    assert_eq!(company.fault([2; 32], 1).await, CodeFault::Expired);
    assert_eq!(company.fault([3; 32], 1).await, CodeFault::Unknown);
    assert_eq!(company.tokens.list().unwrap(), []);
}

#[tokio::test]
async fn only_members_are_invited_and_a_name_is_used_once() {
    let company = Company::new();
    let error = company.invite("x", "mallory", CODE).await.unwrap_err();
    let told = "mallory is no member of pod `arrivals`; list them in pods/arrivals/pod.toml and apply it first";
    assert_eq!(error.to_string(), told);
    company.invite("ben", "ben", CODE).await.unwrap();
    assert!(matches!(company.invite("ben", "aud", [8; 32]).await, Err(PolicyError::TokenExists(_))));
}

#[tokio::test]
async fn a_pods_lead_invites_and_nobody_else() {
    let company = Company::new();
    let may = |person: &str, pod: &str| {
        company.guard.judge(&Request::new(who(person), Action::TokenInvite, what(pod))).unwrap().allowed
    };
    assert!(may("ana", "pod arrivals") && may("hal", "pod hiring"));
    assert!(may("dan", "pod drifters"), "a pod without a lead");
    for (person, pod) in
        [("ben", "pod arrivals"), ("ana", "pod hiring"), ("aud", "pod arrivals"), ("eve", "pod arrivals")]
    {
        assert!(!may(person, pod), "{person} into {pod}");
    }
}

#[tokio::test]
async fn guessing_is_slow_and_a_flood_of_it_is_a_few_facts() {
    let company = Company::new();
    let mut waits = 0;
    for n in 0..1000_u32 {
        let caller = format!("192.0.2.{}", n % 20);
        match company.redeem_from(&caller, "tni_wrong", 1).await.unwrap_err() {
            PolicyError::TooManyTries { wait } => {
                waits += 1;
                assert!(wait > Span::from_micros(0) && wait <= Span::from_micros(60_000_000));
            }
            PolicyError::Code { fault, .. } => assert_eq!(fault, CodeFault::Unknown),
            other => panic!("{other}"),
        }
    }
    assert_eq!(waits, 1000 - 20 * 5);
    assert_eq!(company.facts::<AuthorizationRefused>().len(), 1);
    company.clock.advance_to(company.clock.now() + Span::from_micros(61_000_000));
    company.guard.settle(false).await.unwrap();
    let counted: Vec<RefusalsCounted> = company.facts();
    assert_eq!((counted.len(), counted[0].again[0].times), (1, 99));
}

#[tokio::test]
async fn a_flood_of_refused_requests_is_a_few_facts_and_none_is_forgotten() {
    let company = Company::new();
    let train = Request::new(who("eve"), Action::ModelTrain, what("model arrivals_model"));
    for _ in 0..500 {
        assert!(!company.guard.check(&train).await.unwrap().allowed);
    }
    for n in 0..500 {
        let query = Request::new(who("eve"), Action::DatasetQuery, what(&format!("dataset x{n}")));
        assert!(!company.guard.check(&query).await.unwrap().allowed);
    }
    let written = company.facts::<AuthorizationRefused>().len() as u64;
    assert_eq!(written, 60);
    company.guard.clone().settle(true).await.unwrap();
    company.guard.settle(true).await.unwrap();
    let counted: Vec<RefusalsCounted> = company.facts();
    assert_eq!(counted.len(), 1);
    let again: u64 = counted[0].again.iter().map(|again| again.times).sum();
    assert_eq!(written + again + counted[0].others, 1000);
}
