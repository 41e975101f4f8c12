//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tenon_core::spec::EngineAddress;
use tenon_core::{AsOf, BranchName, DatasetName, HoldName, ModelVersionRef, PodName, Span, TagName, Timestamp};

/// The open foundation that an AI-native company stands on: raw events to governed data, features, models and decisions,
/// and decisions back to data, every step on a tamper-evident record.
#[derive(Debug, Parser)]
#[command(name = "tenon", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Arguments {
    /// The company folder; without it, the folder you are in (`quickstart`: ./acme).
    #[arg(long, short = 'C', global = true, value_name = "DIR", env = "TENON_DIR")]
    pub dir: Option<PathBuf>,
    /// How to answer: tables for people, JSON for machines.
    #[arg(long, global = true, default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    /// The token of whom you act as; without it you are who `identity.local` in company.toml says.
    #[arg(long, global = true, hide_env_values = true, value_name = "TOKEN", env = "TENON_TOKEN")]
    pub token: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 refused, or a check that failed; 2 wrong usage; 3 something went wrong.";

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    Table,
    /// One JSON document.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See the whole loop on a year of real flights, in a folder of its own.
    #[command(after_help = "Example: tenon quickstart --dir ./acme --no-serve")]
    Quickstart(Quickstart),
    /// Make a company folder to start from.
    #[command(after_help = "Example: tenon init ./acme --name acme")]
    Init(Init),
    /// Show what the files would change, and what that would affect.
    #[command(after_help = "Example: tenon plan")]
    Plan,
    /// Take the files over.
    #[command(after_help = "Example: tenon apply")]
    Apply(Apply),
    /// Print the JSON Schema of a kind of file.
    #[command(after_help = "Example: tenon schema dataset > dataset.schema.json")]
    Schema {
        /// Which: company, budgets, pod, dataset, feature_view, model, deployment or monitor.
        kind: String,
    },
    /// Bring what a dataset's files or topics hold into the lake, each row once.
    #[command(after_help = "Examples: tenon ingest flights\n          tenon ingest flights --follow")]
    Ingest {
        /// Which dataset; without it, every dataset that reads files or topics (with a branch: that the branch holds).
        dataset: Option<String>,
        /// Onto which branch, instead of into the datasets themselves.
        #[arg(long, conflicts_with = "follow")]
        branch: Option<BranchName>,
        /// Go on with what comes later, until it is told to stop (Ctrl-C).
        #[arg(long)]
        follow: bool,
    },
    /// Ask the lake in SQL.
    #[command(
        after_help = "Examples: tenon query 'SELECT origin, count(*) FROM flights GROUP BY origin' --as-of 2013-04-01\n          tenon query \"SELECT * FROM flights EXCEPT SELECT * FROM flights FOR VERSION AS OF 'q1'\"\n          tenon query 'SELECT d.*, b.balance FROM decisions d ASOF JOIN balances b MATCH_CONDITION (d.decided_at >= b.event_time) ON d.account = b.account'"
    )]
    Query {
        /// The query.
        sql: String,
        /// As of which moment, table version or tag.
        #[arg(long, default_value = "latest")]
        as_of: AsOf,
        /// On which branch.
        #[arg(long)]
        branch: Option<BranchName>,
        /// How many rows to show at the most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Train a new version of a model and have its gates judge it.
    #[command(after_help = "Example: tenon train late_arrival")]
    Train {
        /// Which model.
        model: String,
    },
    /// Ask a deployment for a decision.
    #[command(
        after_help = "Example: tenon decide late_arrival flight_id=UA1545-EWR-20130930T1015 tailnum=N14228 origin=EWR carrier=UA dest=IAH"
    )]
    Decide {
        /// Which deployment.
        deployment: String,
        /// The entity keys, `NAME=VALUE`; an empty value is a key that is not known.
        #[arg(value_name = "KEY=VALUE", required = true)]
        entities: Vec<String>,
        /// As of which moment; without it, now.
        #[arg(long)]
        at: Option<Timestamp>,
    },
    /// Send traffic to a version, step by step.
    #[command(after_help = "Example: tenon rollout late_arrival late_arrival@2")]
    Rollout {
        /// Which deployment.
        deployment: String,
        /// Which version is to take over.
        version: ModelVersionRef,
    },
    /// Send traffic back: the candidate out, or the last champion in.
    #[command(after_help = "Example: tenon rollback late_arrival --reason 'complaints from Newark'")]
    Rollback {
        /// Which deployment.
        deployment: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Let a version through a gate that it failed; needs a second person.
    #[command(after_help = "Example: tenon waive late_arrival@3 quality --reason 'drill' --approver-token tnn_…")]
    Waive {
        /// Which version.
        version: ModelVersionRef,
        /// Which gate: quality, calibration, fairness, explanation, latency or budget.
        gate: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// The token of the person who agrees; somebody else than you.
        #[arg(long, hide_env_values = true, env = "TENON_APPROVER_TOKEN")]
        approver_token: String,
    },
    /// List things of a kind.
    #[command(after_help = "Example: tenon get versions")]
    Get(Get),
    /// Say all about one thing, in plain words.
    #[command(after_help = "Example: tenon describe late_arrival@1")]
    Describe(Describe),
    /// Say which versions a deployment served, and when.
    #[command(after_help = "Example: tenon history late_arrival")]
    History {
        /// Which deployment.
        deployment: String,
    },
    /// Take something out: a model version as ONNX, a dataset as Parquet.
    #[command(
        after_help = "Examples: tenon export late_arrival@1 --to m.onnx\n          tenon export flights --as-of 2013-04-01 --to flights.parquet"
    )]
    Export {
        /// A model version or a dataset.
        reference: String,
        /// The file to write.
        #[arg(long)]
        to: PathBuf,
        /// Of a dataset: as of which moment, table version or tag.
        #[arg(long, default_value = "latest")]
        as_of: AsOf,
    },
    /// Check the record.
    #[command(subcommand)]
    Audit(Audit),
    /// Train a version again from what is recorded, and compare the bytes.
    #[command(after_help = "Example: tenon reproduce late_arrival@2")]
    Reproduce {
        /// Which version.
        version: ModelVersionRef,
    },
    /// Show the receipt of a decision: what went in, when it was known, why, and the proof.
    #[command(after_help = "Example: tenon why 013d1a2b-…")]
    Why {
        /// Which decision.
        decision: tenon_core::id::DecisionId,
    },
    /// Maintain the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Make, list and revoke tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Open the doors: Open Inference, the native API, the console.
    #[command(after_help = "Example: tenon serve --listen 127.0.0.1:0")]
    Serve(Serve),
    /// Schedule queries over several machines: what `engine` in company.toml names.
    #[command(after_help = "Example: tenon scheduler --listen 127.0.0.1:50050")]
    Scheduler(Scheduler),
    /// Do what a scheduler hands out.
    #[command(after_help = "Example: tenon executor --scheduler 127.0.0.1:50050 --listen 127.0.0.1:0")]
    Executor(Executor),
    /// Run the rows that a dataset keeps as they came through its cleaning and contract again.
    #[command(after_help = "Example: tenon replay flights --from 12")]
    Replay {
        /// Which dataset.
        dataset: String,
        /// The first version of the rows as they came (`NAME__raw`) to replay.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Look at rows that broke a contract, repair and release them, or discard them.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Say what a dataset holds, column by column: nulls, distinct values, quantiles, the most frequent, a histogram.
    #[command(after_help = "Example: tenon profile flights --as-of 2013-04-01")]
    Profile {
        /// Which dataset; a quarantine (`flights__quarantine`) has a profile too.
        dataset: String,
        /// As of which moment or table version.
        #[arg(long, default_value = "latest")]
        as_of: AsOf,
    },
    /// Propose contracts, and exchange them with others.
    #[command(subcommand)]
    Contract(ContractCommand),
    /// Give versions of datasets a name that stays.
    #[command(subcommand)]
    Tag(TagCommand),
    /// Show what differs between two versions of a dataset, by its key, and how its columns moved.
    #[command(after_help = "Example: tenon diff flights --from 3 --to latest")]
    Diff(Diff),
    /// Make an earlier version of a dataset the newest again; nothing is lost, and it can be undone.
    #[command(after_help = "Example: tenon restore flights --to 3 --reason 'a broken export landed'")]
    Restore(Restore),
    /// Write, audit, publish: a branch of some datasets, merged into all of them or into none.
    #[command(subcommand)]
    Branch(BranchCommand),
    /// Take small files together to large ones; the rows stay the same.
    #[command(after_help = "Example: tenon compact flights")]
    Compact(Compact),
    /// Remove the files that no version needs which is newest, recent, tagged, held, branched or learnt from.
    #[command(after_help = "Example: tenon vacuum --retain 30d --dry-run")]
    Vacuum(Vacuum),
    /// Legal holds: nothing of a dataset is removed while one stands.
    #[command(subcommand)]
    Hold(HoldCommand),
    /// List decisions, newest first: who it was about, what was decided, by which version, and what became of it.
    #[command(after_help = "Example: tenon decisions late_arrival --limit 5")]
    Decisions {
        /// Of which deployment; without it, of all whose decisions you may see.
        deployment: Option<String>,
        /// Only those before this decision: the last of the page before.
        #[arg(long)]
        before: Option<tenon_core::id::DecisionId>,
        /// How many to list at the most.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Find features, and the entities whose vectors are nearest to one.
    #[command(subcommand)]
    Features(FeaturesCommand),
}

impl Command {
    /// Whether it changes nothing, so that the program which holds the folder may answer it for another.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Query { .. } | Self::Profile { .. } | Self::Diff(_) | Self::Export { .. } => true,
            Self::Get(_) | Self::Describe(_) | Self::Features(_) => true,
            Self::History { .. } | Self::Why { .. } | Self::Decisions { .. } => true,
            Self::Contract(what) => !matches!(what, ContractCommand::Import { .. }),
            Self::Quarantine(what) => {
                matches!(what, QuarantineCommand::List { .. } | QuarantineCommand::Show { .. })
            }
            Self::Tag(what) => matches!(what, TagCommand::List),
            Self::Branch(what) => matches!(what, BranchCommand::List | BranchCommand::Diff { .. }),
            Self::Hold(what) => matches!(what, HoldCommand::List),
            Self::Token(what) => matches!(what, TokenCommand::List),
            Self::Vacuum(how) => how.dry_run,
            _ => false,
        }
    }
}

/// Features.
#[derive(Debug, Subcommand)]
pub enum FeaturesCommand {
    /// Find the features that have all of these words in their name, view, description, unit, entity, dataset or pod.
    #[command(after_help = "Example: tenon features search delay minutes")]
    Search {
        /// The words; without any, every feature.
        text: Vec<String>,
    },
    /// Find the entities whose vectors are nearest to a vector, or to that of an entity.
    #[command(after_help = "Example: tenon features nearest track_style.style --entity track=17 -k 5")]
    Nearest {
        /// The vector feature, as VIEW.FEATURE.
        feature: String,
        /// The entity, one NAME=VALUE for each column that names it.
        #[arg(long, value_name = "NAME=VALUE", required_unless_present = "vector")]
        entity: Vec<String>,
        /// The vector, as a list of numbers in JSON.
        #[arg(long, value_name = "[0.1,0.2]", conflicts_with = "entity")]
        vector: Option<String>,
        /// How many.
        #[arg(short, default_value_t = 10)]
        k: usize,
    },
}

/// Rows that broke a contract.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Count the open rows by the rules that they broke, with a sample of each.
    #[command(after_help = "Example: tenon quarantine list flights")]
    List {
        /// Which dataset.
        dataset: String,
    },
    /// Show open rows with their reasons.
    #[command(after_help = "Example: tenon quarantine show flights --limit 5")]
    Show {
        /// Which dataset.
        dataset: String,
        /// How many rows to show at the most.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Land rows that keep the contract now, repaired where `--set` says so; each row at most once.
    #[command(
        after_help = "Example: tenon quarantine release flights --where \"_rules LIKE 'delay:%'\" --set 'delay=NULL' --reason 'sensor was off'"
    )]
    Release {
        /// Which dataset.
        dataset: String,
        /// Which rows: a condition in SQL over the columns that they came with, and `_reason`, `_rules`, `_source`,
        /// `_row_number`. Without it, all open rows.
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        /// A repair: a column as it came, and the expression in SQL that it becomes. May be given more than once.
        #[arg(long, value_name = "COLUMN=SQL")]
        set: Vec<String>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Mark rows as never to land; they stay where they are.
    #[command(after_help = "Example: tenon quarantine discard flights --where \"_source = 'push'\" --reason 'a drill'")]
    Discard {
        /// Which dataset.
        dataset: String,
        /// Which rows, as for `release`.
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
}

/// Contracts.
#[derive(Debug, Subcommand)]
pub enum ContractCommand {
    /// Propose the contract that a dataset's rows, or a file's, keep, as the TOML of a dataset.
    #[command(
        after_help = "Examples: tenon contract suggest flights\n          tenon contract suggest --file data/flights.csv > pods/arrivals/datasets/flights.toml"
    )]
    Suggest {
        /// Which dataset.
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        dataset: Option<String>,
        /// A Parquet, CSV or NDJSON file instead.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Write a dataset's contract as others read it: the Open Data Contract Standard, version 3.1.
    #[command(after_help = "Example: tenon contract export flights --to flights.odcs.yaml")]
    Export {
        /// Which dataset.
        dataset: DatasetName,
        /// The file to write; without it, the contract is the answer.
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Make the TOML of a dataset of a contract of the Open Data Contract Standard, 3.0 or 3.1. What the contract does
    /// not speak of, such as the source, is taken from the dataset as it is declared.
    #[command(
        after_help = "Example: tenon contract import orders.odcs.yaml --dataset orders --to pods/shop/datasets/orders.toml"
    )]
    Import {
        /// The contract, in YAML.
        file: PathBuf,
        /// Which dataset it is to be.
        #[arg(long)]
        dataset: DatasetName,
        /// Which table of the contract; without it, the one of the dataset's name, or the only one.
        #[arg(long)]
        object: Option<String>,
        /// Go on without the promises that cannot be held here; each is told.
        #[arg(long)]
        allow_weaker: bool,
        /// The file to write, which must not be there yet; without it, the TOML is the answer.
        #[arg(long)]
        to: Option<PathBuf>,
    },
}

/// Tags.
#[derive(Debug, Subcommand)]
pub enum TagCommand {
    /// Pin versions under a name; they stay readable for as long as the tag stands.
    #[command(after_help = "Example: tenon tag create q1-report --as-of 2013-04-01 --reason 'the board has seen it'")]
    Create {
        /// The tag's name.
        name: TagName,
        /// Which dataset; several by saying it again, all that hold rows without it.
        #[arg(long)]
        dataset: Vec<DatasetName>,
        /// The versions as of which moment, version (of one dataset) or other tag.
        #[arg(long, default_value = "latest")]
        as_of: AsOf,
        /// What it is for, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// List the tags that stand.
    List,
    /// Give a tag up; that it stood stays on record.
    Delete {
        /// The tag's name.
        name: TagName,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Two versions to compare.
#[derive(Debug, Args)]
pub struct Diff {
    /// Which dataset.
    pub dataset: DatasetName,
    /// From which version, moment or tag.
    #[arg(long)]
    pub from: AsOf,
    /// To which.
    #[arg(long, default_value = "latest")]
    pub to: AsOf,
    /// The columns that name a row; without them, the contract's key.
    #[arg(long, value_delimiter = ',')]
    pub key: Vec<String>,
    /// How many rows of each kind to show.
    #[arg(long, default_value_t = 5)]
    pub samples: usize,
}

/// What is to come back.
#[derive(Debug, Args)]
pub struct Restore {
    /// Which dataset.
    pub dataset: DatasetName,
    /// The rows of which version, moment or tag.
    #[arg(long)]
    pub to: AsOf,
    /// Why, for the record.
    #[arg(long)]
    pub reason: String,
}

/// Branches.
#[derive(Debug, Subcommand)]
pub enum BranchCommand {
    /// Make a branch; no data is copied.
    #[command(after_help = "Example: tenon branch create january-again --datasets flights,weather")]
    Create {
        /// The branch's name.
        name: BranchName,
        /// Which datasets it holds.
        #[arg(long, value_delimiter = ',', required = true)]
        datasets: Vec<DatasetName>,
    },
    /// List the branches that are open.
    List,
    /// Show what happened on a branch.
    Diff {
        /// The branch's name.
        name: BranchName,
        /// How many rows of each kind to show.
        #[arg(long, default_value_t = 5)]
        samples: usize,
    },
    /// Take what happened on a branch into all of its datasets at once, or into none where that conflicts.
    Merge {
        /// The branch's name.
        name: BranchName,
    },
    /// Give a branch up with all that is on it.
    Drop {
        /// The branch's name.
        name: BranchName,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// What to take together.
#[derive(Debug, Args)]
pub struct Compact {
    /// Which dataset; without it, all.
    pub dataset: Option<DatasetName>,
    /// How large files are to be, in MiB; those of half that size stay as they are.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub target_mb: u64,
}

/// What to remove.
#[derive(Debug, Args)]
pub struct Vacuum {
    /// Which dataset; without it, all.
    pub dataset: Option<DatasetName>,
    /// Versions that stood within this span of time stay readable.
    #[arg(long, default_value = "7d")]
    pub retain: Span,
    /// Only say what would go, and what is kept and why.
    #[arg(long)]
    pub dry_run: bool,
}

/// Legal holds.
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Keep every file of some datasets until the hold is released.
    #[command(after_help = "Example: tenon hold create case-17 --dataset flights --reason 'request of the court'")]
    Create {
        /// The hold's name.
        name: HoldName,
        /// Which dataset; several by saying it again, all without it.
        #[arg(long)]
        dataset: Vec<DatasetName>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// List the holds that stand.
    List,
    /// End a hold.
    Release {
        /// The hold's name.
        name: HoldName,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
}

/// The whole loop.
#[derive(Debug, Args)]
pub struct Quickstart {
    /// End after the closing table instead of serving.
    #[arg(long)]
    pub no_serve: bool,
    /// Where to serve then.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// Taking files over.
#[derive(Debug, Default, Args)]
pub struct Apply {
    /// Take over changes of datasets that break those who read them; what breaks goes on the record.
    #[arg(long)]
    pub allow_breaking: bool,
}

/// A company folder to start from.
#[derive(Debug, Args)]
pub struct Init {
    /// The folder to make.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// The company's name.
    #[arg(long, default_value = "acme")]
    pub name: String,
}

/// What to list.
#[derive(Debug, Args)]
pub struct Get {
    /// Which kind.
    pub kind: GetKind,
    /// As of which moment, or the moment of which tag.
    #[arg(long, default_value = "latest")]
    pub as_of: AsOf,
}

/// Kinds that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GetKind {
    /// Datasets, with rows and versions.
    Datasets,
    /// Feature views.
    Features,
    /// Models.
    Models,
    /// Model versions, with their gates.
    Versions,
    /// Deployments, with their traffic.
    Deployments,
    /// Monitors.
    Monitors,
    /// Incidents.
    Incidents,
    /// The last facts.
    Facts,
}

/// What to say all about.
#[derive(Debug, Args)]
pub struct Describe {
    /// A dataset, feature view, model, deployment or monitor, or a model version such as `late_arrival@1`.
    pub reference: String,
    /// As of which moment, or the moment of which tag.
    #[arg(long, default_value = "latest")]
    pub as_of: AsOf,
}

/// Checks of the record.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check the whole log, from an empty verifier: every fact, every tile, every checkpoint, every projection.
    #[command(after_help = "Examples: tenon audit verify\n          tenon audit verify --export ./log --key 'acme+…'")]
    Verify {
        /// Check an exported log instead; nothing of the company folder is read.
        #[arg(long, value_name = "DIR", requires = "key")]
        export: Option<PathBuf>,
        /// The verifier key of an exported log.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// A checkpoint that you kept: the log must still hold all that it held then.
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    /// Write the log as checkpoint and tiles (C2SP tlog-tiles), for verifiers that need no server.
    Export {
        /// The folder to write.
        to: PathBuf,
    },
    /// Print the newest signed checkpoint.
    Checkpoint,
    /// Print the proof that a fact is in the log.
    Prove {
        /// The fact's index.
        index: u64,
    },
    /// Check that no row was lost or doubled: of every batch, rows in = accepted + quarantined + duplicates + dropped, the
    /// stretches of a source follow each other, and the tables hold what the facts say.
    #[command(after_help = "Example: tenon audit data")]
    Data,
}

/// Maintenance of the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Fold every projection again from the facts, and prove that it is equal.
    Rebuild {
        /// Put the rebuilt projections in the place of those that stand.
        #[arg(long)]
        replace: bool,
    },
}

/// Tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is shown once.
    #[command(after_help = "Example: tenon token create ben-laptop --person ben")]
    Create {
        /// The token's name, for revoking it.
        name: String,
        /// Whom its bearer acts as.
        #[arg(long)]
        person: String,
    },
    /// Make a token, or an invitation, worthless.
    Revoke {
        /// The token's or the invitation's name.
        name: String,
    },
    /// Invite a member of a pod: a code for a first token, shown once and good once, to be given at
    /// `POST /tokens/redeem`.
    #[command(after_help = "Example: tenon token invite ben --pod arrivals --expires 2d")]
    Invite {
        /// Who is invited.
        person: String,
        /// The pod that lists the person, and that you lead.
        #[arg(long)]
        pod: PodName,
        /// The invitation's name, and then the token's; without it, the person's name.
        #[arg(long)]
        name: Option<String>,
        /// How long the code is good.
        #[arg(long, default_value = "3d")]
        expires: Span,
    },
    /// List the tokens that count, and the invitations that were not used yet.
    #[command(after_help = "Example: tenon token list")]
    List,
}

/// Open the doors.
#[derive(Debug, Args)]
pub struct Serve {
    /// The address to listen on; port 0 takes any free port. Other than loopback needs `identity.require_token`.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

/// Schedule queries.
#[derive(Debug, Args)]
pub struct Scheduler {
    /// The address to listen on; port 0 takes any free port.
    #[arg(long, default_value = "127.0.0.1:50050")]
    pub listen: SocketAddr,
    /// Listen on other addresses than loopback, too: whoever reaches it can have queries run.
    #[arg(long)]
    pub trust_network: bool,
}

/// Do what a scheduler hands out.
#[derive(Debug, Args)]
pub struct Executor {
    /// The scheduler, `HOST:PORT`.
    #[arg(long, default_value = "127.0.0.1:50050", value_parser = scheduler_address)]
    pub scheduler: EngineAddress,
    /// The address at which others fetch what was computed; port 0 takes any free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The name or address under which others reach it, where that is not the one it listens at.
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Listen on other addresses than loopback, too: whoever reaches it can read what it works on.
    #[arg(long)]
    pub trust_network: bool,
    /// How many tasks it does at a time; without it, as many as there are cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub cores: Option<u16>,
    /// What they may take of memory together, in MiB; beyond it they spill.
    #[arg(long, default_value_t = 768, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    pub memory: u64,
    /// The folder for what tasks give, until it is fetched; without it, one of its own among the temporary ones.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

fn scheduler_address(text: &str) -> Result<EngineAddress, String> {
    format!("ballista://{text}").parse().map_err(|_| format!("`{text}` is no address: say HOST:PORT"))
}
