//! The composition root: the parts of the program, wired together, one function a part.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tenon_company::{Catalog, read_folder};
use tenon_compute::Budgets;
use tenon_core::clock::{Clock, ContinuingClock, SystemClock};
use tenon_core::fact::CompanyCreated;
use tenon_core::id::{IdSource, RandomIds};
use tenon_core::spec::{CompanySpec, Identity, Online, ResourceKind, ResourceRef, parse};
use tenon_core::{NewFact, Principal, Timestamp};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace, RedisPlace};
use tenon_ingest::{Feed, Ingest, reveal};
use tenon_lake::{Lake, LakeOptions};
use tenon_ledger::{Ledger, LedgerOptions, Projection, Subscriber, Subscribers};
use tenon_models::{Models, ModelsOptions, RetrainOnDrift};
use tenon_policy::{Action, Guard, Request, Target, Tokens, guard_of_table};
use tenon_serve::{RolloutOnApproval, Serving, ServingOptions};
use tenon_server::Doors;
use tenon_watch::{Watch, WatchOptions};

use crate::failure::{Failure, While};

/// A company folder with its ledger: what every command needs.
pub struct Company {
    /// The folder.
    pub root: PathBuf,
    /// What `company.toml` says.
    pub spec: CompanySpec,
    /// The record.
    pub ledger: Ledger,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Who bears which token.
    pub tokens: Tokens,
}

/// All parts of the program on one company folder.
#[derive(Clone)]
pub struct Platform {
    /// The folder.
    pub root: PathBuf,
    /// Who callers are.
    pub identity: Identity,
    /// The record.
    pub ledger: Ledger,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is declared and applied.
    pub catalog: Catalog,
    /// Who may do what.
    pub guard: Guard,
    /// Who bears which token.
    pub tokens: Tokens,
    /// Money.
    pub budgets: Budgets,
    /// Tables.
    pub lake: Lake,
    /// Sources.
    pub ingest: Ingest,
    /// Features.
    pub features: FeatureStore,
    /// Models.
    pub models: Models,
    /// Decisions.
    pub serving: Serving,
    /// Monitors.
    pub watch: Watch,
    /// Reactions.
    pub subscribers: Arc<Subscribers>,
}

/// How a ledger is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read and write; only one process at a time.
    Write,
    /// To read, also beside a process that writes.
    Read,
}

/// Every fold of facts into current state.
fn projections() -> Vec<Arc<dyn Projection>> {
    vec![
        tenon_company::projection(),
        Arc::new(tenon_policy::TokensProjection),
        Arc::new(tenon_compute::SpendProjection),
        tenon_lake::projection(),
        tenon_models::projection(),
        tenon_serve::projection(),
        tenon_watch::projection(),
    ]
}

impl Company {
    /// Opens the company in a folder; `clock` stands in for the one that the company says.
    ///
    /// # Errors
    /// When the folder holds no company, or its ledger cannot be opened.
    pub fn open(root: &Path, access: Access, clock: Option<Arc<dyn Clock>>) -> Result<Self, Failure> {
        let spec = company_spec(root)?;
        let dir = root.join(&spec.ledger.address);
        if !dir.exists() {
            let folder = root.display();
            return Err(Failure::Usage(format!("nothing is applied in {folder} yet\n  hint: run `tenon apply` there")));
        }
        let clock = match clock {
            Some(clock) => clock,
            None => company_clock(&spec, &dir)?,
        };
        let options = ledger_options(&spec, dir, Arc::clone(&clock));
        let ledger = match access {
            Access::Write => Ledger::open(options),
            Access::Read => Ledger::open_read_only(options),
        };
        let ledger = ledger.during("opening the ledger")?;
        let tokens = Tokens::new(ledger.clone());
        Ok(Self { root: root.to_owned(), spec, ledger, clock, tokens })
    }

    /// Makes the ledger of the company in a folder, or opens it where it is made already.
    ///
    /// # Errors
    /// When the folder holds no company, or the ledger cannot be made.
    pub async fn found(root: &Path, by: &Principal, clock: Option<Arc<dyn Clock>>) -> Result<Self, Failure> {
        let spec = company_spec(root)?;
        let dir = root.join(&spec.ledger.address);
        if dir.exists() {
            return Self::open(root, Access::Write, clock);
        }
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
        let ledger = Ledger::create(ledger_options(&spec, dir, Arc::clone(&clock))).during("making the ledger")?;
        let created = NewFact::new(by.clone(), None, &CompanyCreated { name: spec.name.clone() });
        ledger.append(vec![created.during("founding the company")?]).await.during("founding the company")?;
        let tokens = Tokens::new(ledger.clone());
        Ok(Self { root: root.to_owned(), spec, ledger, clock, tokens })
    }

    /// Who acts: the bearer of the token, or who `identity.local` names.
    ///
    /// # Errors
    /// When nobody is named, or the token is not good.
    pub fn identify(&self, token: Option<&str>) -> Result<Principal, Failure> {
        identified(&self.tokens, &self.spec.identity, token)
    }
}

fn identified(tokens: &Tokens, identity: &Identity, token: Option<&str>) -> Result<Principal, Failure> {
    tokens.identify(identity, token, true).map_err(|error| Failure::Refused(error.to_string()))
}

/// What `company.toml` of a folder says.
///
/// # Errors
/// When there is none, or it is wrong.
pub fn company_spec(root: &Path) -> Result<CompanySpec, Failure> {
    if !root.join("company.toml").is_file() {
        let folder = root.display();
        return Err(Failure::Usage(format!(
            "there is no company in {folder}\n  hint: `tenon init` makes one; `tenon --dir DIR …` goes to another folder"
        )));
    }
    let files = read_folder(root).map_err(company_failure)?;
    let file = files.iter().find(|file| file.path == "company.toml");
    let file = file.ok_or_else(|| Failure::Usage("there is no company.toml".to_owned()))?;
    parse(file).map_err(|fault| {
        let faults = tenon_core::spec::FileFaults::locate(vec![fault], &files);
        Failure::Files(miette::Report::new(faults))
    })
}

/// Faults in files are shown at their place, everything else as a chain.
pub fn company_failure(error: tenon_company::CompanyError) -> Failure {
    match error {
        tenon_company::CompanyError::Faults(faults) => Failure::Files(miette::Report::new(faults)),
        other => Failure::other("reading the company folder", other),
    }
}

fn ledger_options(spec: &CompanySpec, dir: PathBuf, clock: Arc<dyn Clock>) -> LedgerOptions {
    LedgerOptions { dir, origin: spec.name.clone(), clock, projections: projections() }
}

/// The machine's clock or, for a company that replays the past, its newest fact's moment, going on from there.
fn company_clock(spec: &CompanySpec, dir: &Path) -> Result<Arc<dyn Clock>, Failure> {
    if !spec.clock.replay {
        return Ok(Arc::new(SystemClock));
    }
    let options = ledger_options(spec, dir.to_owned(), Arc::new(SystemClock));
    let ledger = Ledger::open_read_only(options).during("opening the ledger")?;
    let newest = ledger.newest(&[], 1).during("reading the newest fact")?;
    let at = newest.first().map_or(Timestamp::from_micros(0), |stored| stored.fact.at);
    Ok(Arc::new(ContinuingClock::from(at)))
}

impl Platform {
    /// Wires all parts on a company.
    ///
    /// # Errors
    /// When nothing is applied, or a part cannot be opened.
    pub async fn open(company: Company, ids: Option<Arc<dyn IdSource>>) -> Result<Self, Failure> {
        let ids = ids.unwrap_or_else(|| Arc::new(RandomIds));
        let Company { root, spec, ledger, clock, tokens } = company;
        let catalog = Catalog::load(&ledger).map_err(company_failure)?;
        let guard = Guard::new(catalog.clone(), ledger.clone());
        let budgets = Budgets::new(catalog.clone(), ledger.clone());
        let lake = lake(&root, &spec, &ledger, &catalog, &clock).await?;
        let features = features(&root, &spec, &lake, &catalog, &clock).await?;
        let ingest = Ingest::new(lake.clone(), catalog.clone(), Some(Arc::new(ToFeatures(features.clone()))));
        let models = models(&root, &ledger, &catalog, &features, &clock, &ids)?;
        // A crash may have left a run open, or a version without its verdicts.
        models.sweep(&Principal::service("retrain")).await.during("settling what an earlier run left open")?;
        let serving = ServingOptions {
            ledger: ledger.clone(),
            catalog: catalog.clone(),
            models: models.clone(),
            features: features.clone(),
            lake: lake.clone(),
            guard: guard.clone(),
            journal: root.join(".tenon/journal"),
            runtime: tenon_serve::find_runtime,
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
        };
        let serving = Serving::open(serving).await.during("opening serving")?;
        let watch = watch(&ledger, &catalog, &lake, &features, &models, &clock);
        let subscribers = Arc::new(Subscribers::new(ledger.clone(), subscribers(&models, &serving, &guard)));
        let identity = spec.identity;
        Ok(Self {
            root,
            identity,
            ledger,
            clock,
            catalog,
            guard,
            tokens,
            budgets,
            lake,
            ingest,
            features,
            models,
            serving,
            watch,
            subscribers,
        })
    }

    /// The same parts, for the doors.
    pub fn doors(&self) -> Doors {
        Doors {
            identity: self.identity.clone(),
            clock: Arc::clone(&self.clock),
            catalog: self.catalog.clone(),
            ledger: self.ledger.clone(),
            guard: self.guard.clone(),
            tokens: self.tokens.clone(),
            budgets: self.budgets.clone(),
            lake: self.lake.clone(),
            ingest: self.ingest.clone(),
            features: self.features.clone(),
            models: self.models.clone(),
            serving: self.serving.clone(),
            watch: self.watch.clone(),
        }
    }

    /// As [`Company::identify`].
    ///
    /// # Errors
    /// As there.
    pub fn identify(&self, token: Option<&str>) -> Result<Principal, Failure> {
        identified(&self.tokens, &self.identity, token)
    }

    /// Asks the policies; a refusal is on the record when this returns.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the reason in plain words; [`Failure::Usage`] where there is no such thing, and the
    /// principal may know that.
    pub async fn allow(&self, principal: &Principal, action: Action, target: impl Into<Target>) -> Result<(), Failure> {
        self.allow_request(&Request::new(principal.clone(), action, target)).await
    }

    /// The same for a table of the lake, which is guarded as what it belongs to.
    ///
    /// # Errors
    /// As [`Platform::allow`].
    pub async fn allow_table(&self, principal: &Principal, action: Action, table: &str) -> Result<(), Failure> {
        let (action, of) = guard_of_table(&self.catalog.specs(), table, action);
        self.allow(principal, action, of).await
    }

    /// The same for a request with context.
    ///
    /// # Errors
    /// As [`Platform::allow`].
    pub async fn allow_request(&self, request: &Request) -> Result<(), Failure> {
        if let Target::Resource(resource) = &request.target {
            self.must_exist(&request.principal, resource)?;
        }
        let answer = self.guard.check(request).await.during("asking the policies")?;
        if answer.allowed { Ok(()) } else { Err(Failure::Refused(answer.sentence)) }
    }

    /// Whoever may look at the company hears that there is no such thing; others only that they may not.
    fn must_exist(&self, principal: &Principal, resource: &ResourceRef) -> Result<(), Failure> {
        // What a dataset left whose declaration is gone is there.
        let state = match resource.kind {
            ResourceKind::Dataset => self.lake.state(&resource.name).during("reading the lake")?,
            _ => None,
        };
        let missing = match state {
            Some(_) => None,
            None => self.guard.missing(principal, resource).during("asking the policies")?,
        };
        missing.map_or(Ok(()), |sentence| Err(Failure::Usage(sentence)))
    }
}

/// Rows that land are features at once.
struct ToFeatures(FeatureStore);

type Fed = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[async_trait]
impl Feed for ToFeatures {
    async fn feed(&self, dataset: &str, rows: &[RecordBatch], version: u64) -> Fed {
        Ok(self.0.feed(dataset, rows, version).await?)
    }

    async fn feed_ahead(&self, dataset: &str, rows: &[RecordBatch]) -> Fed {
        Ok(self.0.feed_ahead(dataset, rows).await?)
    }

    async fn committed(&self, dataset: &str, version: u64) -> Fed {
        Ok(self.0.committed(dataset, version).await?)
    }

    async fn discard_ahead(&self, dataset: &str) -> Fed {
        Ok(self.0.discard_ahead(dataset).await?)
    }

    async fn changed(&self, dataset: &str) -> Fed {
        Ok(self.0.read_anew(dataset).await?)
    }
}

fn subscribers(models: &Models, serving: &Serving, guard: &Guard) -> Vec<Arc<dyn Subscriber>> {
    let retrain = RetrainOnDrift::new(models.clone(), guard.clone());
    vec![Arc::new(retrain), Arc::new(RolloutOnApproval::new(serving.clone()))]
}

/// The lake, to read beside a program that may be writing to it.
///
/// # Errors
/// When its folder cannot be used.
pub fn lake_to_read(company: &Company, catalog: &Catalog) -> Result<Lake, Failure> {
    let options = LakeOptions {
        root: company.root.join(&company.spec.lake.address),
        ledger: company.ledger.clone(),
        catalog: catalog.clone(),
        clock: Arc::clone(&company.clock),
    };
    Lake::open_read_only(options).during("opening the lake")
}

async fn lake(
    root: &Path,
    spec: &CompanySpec,
    ledger: &Ledger,
    catalog: &Catalog,
    clock: &Arc<dyn Clock>,
) -> Result<Lake, Failure> {
    let options = LakeOptions {
        root: root.join(&spec.lake.address),
        ledger: ledger.clone(),
        catalog: catalog.clone(),
        clock: Arc::clone(clock),
    };
    let spill = options.root.join(tenon_lake::SPILL_FOLDER);
    let lake = Lake::open(options).await.during("opening the lake")?;
    match &spec.engine {
        Some(engine) => Ok(lake.asked_on(tenon_cluster::session(engine, &spill).during("preparing queries")?)),
        None => Ok(lake),
    }
}

async fn features(
    root: &Path,
    spec: &CompanySpec,
    lake: &Lake,
    catalog: &Catalog,
    clock: &Arc<dyn Clock>,
) -> Result<FeatureStore, Failure> {
    let options = FeatureStoreOptions {
        online: online_place(root, spec)?,
        lake: lake.clone(),
        catalog: catalog.clone(),
        clock: Arc::clone(clock),
    };
    FeatureStore::open(options).await.during("opening the feature store")
}

/// A file of the company's folder, or a Redis.
fn online_place(root: &Path, spec: &CompanySpec) -> Result<OnlinePlace, Failure> {
    let Online { address, user, password, timeout } = &spec.online;
    if !address.contains("://") {
        return Ok(OnlinePlace::File(root.join(address)));
    }
    let password = password.as_ref().map(|password| reveal(password, root)).transpose();
    Ok(OnlinePlace::Redis(RedisPlace {
        address: address.clone(),
        user: user.clone(),
        password: password.during("reading the password of the online store")?,
        timeout: Duration::from_micros(u64::try_from(timeout.as_micros()).unwrap_or_default()),
        company: spec.name.clone(),
    }))
}

fn models(
    root: &Path,
    ledger: &Ledger,
    catalog: &Catalog,
    features: &FeatureStore,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn IdSource>,
) -> Result<Models, Failure> {
    let options = ModelsOptions {
        artifacts: root.join(".tenon/artifacts"),
        ledger: ledger.clone(),
        catalog: catalog.clone(),
        features: features.clone(),
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
    };
    Models::open(options).during("opening the models")
}

fn watch(
    ledger: &Ledger,
    catalog: &Catalog,
    lake: &Lake,
    features: &FeatureStore,
    models: &Models,
    clock: &Arc<dyn Clock>,
) -> Watch {
    Watch::new(WatchOptions {
        ledger: ledger.clone(),
        catalog: catalog.clone(),
        lake: lake.clone(),
        features: features.clone(),
        models: models.clone(),
        clock: Arc::clone(clock),
    })
}
