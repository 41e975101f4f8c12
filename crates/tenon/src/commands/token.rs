//! `token …`.

use serde_json::json;
use tenon_core::spec::ResourceKind;
use tenon_core::{PodName, Principal, Span};
use tenon_policy::{Action, Invitation, PolicyError, Secret, Target};

use super::Context;
use crate::args::TokenCommand;
use crate::failure::{Failure, While};
use crate::output::{Answer, table};
use crate::platform::Platform;

/// Makes, lists and revokes tokens, and invites to get one.
pub async fn token(context: &Context, what: &TokenCommand) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    match what {
        TokenCommand::Create { name, person } => {
            let acts_as = Principal::person(person);
            let target = Target::Token { name: name.clone(), acts_as: acts_as.clone() };
            platform.allow(&by, Action::TokenCreate, target).await?;
            let secret = Secret::random().during("making a token")?;
            platform.tokens.create(&by, name, acts_as, None, &secret).await.during("making a token")?;
            let token = secret.reveal();
            Answer::new(
                &json!({ "name": name, "token": token }),
                format!("{token}\nthis is shown once; keep it where only {person} can read it"),
            )
        }
        TokenCommand::Invite { person, pod, name, expires } => {
            let target = Target::resource(ResourceKind::Pod, pod.as_str());
            platform.allow(&by, Action::TokenInvite, target).await?;
            invite(&platform, &by, person, pod, name.as_deref(), *expires).await
        }
        TokenCommand::List => {
            platform.allow(&by, Action::LedgerRead, Target::Ledger).await?;
            list(&platform)
        }
        TokenCommand::Revoke { name } => {
            if let Some(open) = platform.tokens.find_invitation(name).during("reading the invitations")? {
                let target = Target::Token { name: name.clone(), acts_as: open.principal };
                platform.allow(&by, Action::TokenRevoke, target).await?;
                platform.tokens.revoke_invitation(&by, name).await.during("revoking the invitation")?;
                return Answer::new(
                    &json!({ "revoked": name }),
                    format!("the code of `{name}` is worth nothing any more"),
                );
            }
            let known = platform.tokens.find(name).during("reading the tokens")?;
            let acts_as = known.ok_or_else(|| Failure::Usage(format!("there is no token `{name}`")))?.principal;
            platform.allow(&by, Action::TokenRevoke, Target::Token { name: name.clone(), acts_as }).await?;
            platform.tokens.revoke(&by, name).await.during("revoking the token")?;
            Answer::new(&json!({ "revoked": name }), format!("`{name}` counts for nothing any more"))
        }
    }
}

async fn invite(
    platform: &Platform,
    by: &Principal,
    person: &str,
    pod: &PodName,
    name: Option<&str>,
    expires: Span,
) -> Result<Answer, Failure> {
    let (name, code) = (name.unwrap_or(person).to_owned(), Secret::random_code().during("making a code")?);
    let expires = platform.clock.now() + expires;
    let invitation = Invitation { name: name.clone(), person: person.to_owned(), pod: pod.clone(), expires };
    platform.tokens.invite(by, &platform.catalog.specs(), invitation, &code).await.map_err(|error| match error {
        PolicyError::NoMember { .. } | PolicyError::TokenExists(_) => Failure::Refused(error.to_string()),
        other => Failure::other("inviting", other),
    })?;
    let code = code.reveal();
    Answer::new(
        &json!({ "name": name, "person": person, "code": code, "expires": expires }),
        format!(
            "{code}\nthis is shown once, and good once until {expires}; {person} shows it for a token:\n  \
             curl -H 'content-type: application/json' -d '{{\"code\": \"…\"}}' http://ADDRESS/tokens/redeem"
        ),
    )
}

fn list(platform: &Platform) -> Result<Answer, Failure> {
    let tokens = platform.tokens.list().during("reading the tokens")?;
    let invitations = platform.tokens.invitations().during("reading the invitations")?;
    let rows = tokens.iter().map(|token| {
        let ends = token.expires.map_or_else(String::new, |end| end.to_string());
        ["token".to_owned(), token.name.clone(), token.principal.to_string(), token.created_by.to_string(), ends]
    });
    let open = invitations.iter().map(|one| {
        let (of, by) = (one.principal.to_string(), one.created_by.to_string());
        ["invitation".to_owned(), one.name.clone(), of, by, one.expires.to_string()]
    });
    let text = table(&["", "name", "acts as", "made by", "ends"], rows.chain(open));
    Answer::new(&json!({ "tokens": tokens, "invitations": invitations }), text)
}
