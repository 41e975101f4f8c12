//! The commands, one module a group.

mod audit;
mod beside;
mod cluster;
mod company;
mod contract;
mod data;
mod effects;
mod features;
mod follow;
mod get;
mod models;
mod odcs;
mod profile;
mod quarantine;
mod serve;
mod token;
mod traffic;
mod versions;
mod view_effects;

use std::path::{Path, PathBuf};

use tenon_core::Principal;
use tokio::runtime::Handle;

use crate::args::Output;
use crate::args::{Arguments, Command};
use crate::failure::Failure;
use crate::output::Answer;
use crate::platform::{Access, Company, Platform};
use crate::quickstart;

pub use beside::open as open_beside;
pub use company::found;
pub use models::waive_as;
pub use serve::serve_until;
pub use traffic::receipt_text;

/// Where a command runs and as whom, and where it leaves what goes on beside it.
pub struct Context {
    dir: Option<PathBuf>,
    token: Option<String>,
    output: Output,
    background: Handle,
    /// The parts that are open already, where the program that holds the folder answers another.
    held: Option<Platform>,
    /// What paths on the command line are relative to; empty where that is here.
    at: PathBuf,
}

impl Context {
    /// The company folder.
    pub fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("."))
    }

    /// A path of the command line.
    fn path(&self, path: &Path) -> PathBuf {
        self.at.join(path)
    }

    /// All parts of the program, to write, and who acts.
    async fn platform(&self) -> Result<(Platform, Principal), Failure> {
        if let Some(platform) = &self.held {
            let principal = platform.identify(self.token.as_deref())?;
            return Ok((platform.clone(), principal));
        }
        let company = Company::open(self.dir(), Access::Write, None)?;
        let principal = company.identify(self.token.as_deref())?;
        Ok((Platform::open(company, None).await?, principal))
    }
}

/// Does what was said.
///
/// # Errors
/// [`Failure`] says why not.
pub async fn run(arguments: Arguments, background: Handle) -> Result<Answer, Failure> {
    let Arguments { dir, output, token, command } = arguments;
    let context = Context { dir, token, output, background, held: None, at: PathBuf::new() };
    if command.only_reads()
        && let Some(answer) = beside::ask(&context).await?
    {
        return Ok(answer);
    }
    dispatch(&context, command).await
}

async fn dispatch(context: &Context, command: Command) -> Result<Answer, Failure> {
    match command {
        Command::Quickstart(how) => {
            quickstart::run(context.dir.as_deref(), &how, context.output, &context.background).await
        }
        Command::Init(how) => company::init(&how),
        Command::Plan => company::plan(context).await,
        Command::Apply(how) => company::apply(context, &how).await,
        Command::Schema { kind } => company::schema(&kind),
        Command::Ingest { dataset, branch, follow: false } => {
            data::ingest(context, dataset.as_deref(), branch.as_ref()).await
        }
        Command::Ingest { dataset, follow: true, .. } => follow::ingest(context, dataset.as_deref()).await,
        Command::Query { sql, as_of, branch, limit } => data::query(context, &sql, as_of, branch.as_ref(), limit).await,
        Command::Train { model } => models::train(context, &model).await,
        Command::Waive { version, gate, reason, approver_token } => {
            models::waive(context, &version, &gate, &reason, &approver_token).await
        }
        Command::Reproduce { version } => models::reproduce(context, &version).await,
        Command::Export { reference, to, as_of } => models::export(context, &reference, &to, as_of).await,
        Command::Decide { deployment, entities, at } => traffic::decide(context, &deployment, &entities, at).await,
        Command::Rollout { deployment, version } => traffic::rollout(context, &deployment, &version).await,
        Command::Rollback { deployment, reason } => traffic::rollback(context, &deployment, &reason).await,
        Command::History { deployment } => traffic::history(context, &deployment).await,
        Command::Why { decision } => traffic::why(context, decision).await,
        Command::Get(what) => get::get(context, &what).await,
        Command::Describe(what) => get::describe(context, &what).await,
        Command::Audit(what) => audit::audit(context, &what).await,
        Command::Ledger(what) => audit::ledger(context, &what).await,
        Command::Token(what) => token::token(context, &what).await,
        Command::Serve(how) => serve::serve(context, &how).await,
        Command::Scheduler(how) => cluster::scheduler(context, &how).await,
        Command::Executor(how) => cluster::executor(context, how).await,
        Command::Replay { dataset, from } => quarantine::replay(context, &dataset, from).await,
        Command::Quarantine(what) => quarantine::quarantine(context, what).await,
        Command::Profile { dataset, as_of } => profile::profile(context, &dataset, as_of).await,
        Command::Contract(what) => contract::contract(context, what).await,
        Command::Tag(what) => versions::tag(context, &what).await,
        Command::Diff(what) => versions::diff(context, &what).await,
        Command::Restore(what) => versions::restore(context, &what).await,
        Command::Branch(what) => versions::branch(context, &what).await,
        Command::Compact(what) => versions::compact(context, &what).await,
        Command::Vacuum(what) => versions::vacuum(context, &what).await,
        Command::Hold(what) => versions::hold(context, &what).await,
        Command::Features(what) => features::features(context, &what).await,
        Command::Decisions { deployment, before, limit } => {
            traffic::decisions(context, deployment.as_deref(), before, limit).await
        }
    }
}
