//! `token …`.

use serde_json::json;
use tenon_core::Principal;
use tenon_policy::{Action, Secret, Target};

use super::Context;
use crate::args::TokenCommand;
use crate::failure::{Failure, While};
use crate::output::Answer;

/// Makes and revokes tokens.
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
        TokenCommand::Revoke { name } => {
            let known = platform.tokens.find(name).during("reading the tokens")?;
            let acts_as = known.ok_or_else(|| Failure::Usage(format!("there is no token `{name}`")))?.principal;
            platform.allow(&by, Action::TokenRevoke, Target::Token { name: name.clone(), acts_as }).await?;
            platform.tokens.revoke(&by, name).await.during("revoking the token")?;
            Answer::new(&json!({ "revoked": name }), format!("`{name}` counts for nothing any more"))
        }
    }
}
