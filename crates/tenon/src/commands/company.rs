//! `init`, `plan`, `apply`, `schema`.

use std::path::Path;
use std::sync::Arc;

use tenon_company::{Catalog, Change, ChangeKind, Plan, SCHEMA_KINDS, read_folder};
use tenon_core::clock::SystemClock;
use tenon_core::spec::{FileFaults, ResourceKind, ResourceRef, SpecFault, SpecFile, SpecSet};
use tenon_core::{FeatureViewName, Principal};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{Lake, LakeError, LakeOptions};
use tenon_ledger::{Ledger, LedgerOptions};
use tenon_policy::{Action, Declared, Guard, Policies, Request};

use super::{Context, effects, view_effects};
use crate::args::{Apply, Init};
use crate::failure::{Failure, While};
use crate::output::{Answer, table};
use crate::platform::{Access, Company, company_failure, company_spec};
use crate::scaffold;

/// Makes a company folder to start from.
pub fn init(how: &Init) -> Result<Answer, Failure> {
    if how.folder.join("company.toml").exists() {
        let folder = how.folder.display();
        return Err(Failure::Refused(format!("there is a company in {folder} already; nothing was changed")));
    }
    let person = std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "me".to_owned());
    scaffold::empty(&how.folder, &how.name, &person)?;
    let folder = how.folder.display();
    let said = format!(
        "{folder} is a company now, and {person} its first member\nnext: edit pods/first, then `tenon --dir {folder} plan` and `apply`"
    );
    Answer::new(&serde_json::json!({ "folder": how.folder, "person": person }), said)
}

/// Shows what the files would change.
pub async fn plan(context: &Context) -> Result<Answer, Failure> {
    let (plan, specs) = wanted(context.dir()).await?;
    let effects = effects::effects(context.dir(), &plan, &specs).await?;
    let views = view_effects::effects(context.dir(), &plan, &specs)?;
    let said = match plan.changes.is_empty() {
        true => "nothing would change".to_owned(),
        false => format!("{}{}{}", changes(&plan), effects::told(&effects), view_effects::told(&views)),
    };
    Answer::new(&serde_json::json!({ "changes": plan.changes, "datasets": effects, "views": views }), said)
}

/// Takes the files over.
pub async fn apply(context: &Context, how: &Apply) -> Result<Answer, Failure> {
    let (mut plan, specs) = wanted(context.dir()).await?;
    let effects = effects::effects(context.dir(), &plan, &specs).await?;
    if let Some(why) = effects.iter().find_map(|effect| effect.impossible.as_ref()) {
        return Err(Failure::Refused(format!("{why}\n  hint: nothing has changed; `tenon plan` shows all")));
    }
    plan.allowed_breaks = effects::allowed(&effects, &plan);
    if !how.allow_breaking
        && let Some(first) = plan.allowed_breaks.first()
    {
        return Err(Failure::Refused(format!(
            "dataset {}: {}; that breaks {}\n  hint: `tenon plan` shows all; `tenon apply --allow-breaking` does it for the record",
            first.dataset,
            first.breaks.join("; "),
            first.affected.join(", ")
        )));
    }
    let spec = company_spec(context.dir())?;
    let dir = context.dir().join(&spec.ledger.address);
    let company = match dir.exists() {
        true => Company::open(context.dir(), Access::Write, None)?,
        false => {
            let founder = spec.identity.local.as_deref().ok_or_else(|| {
                Failure::Usage(
                    "a company is founded by a person\n  hint: name one as identity.local in company.toml".to_owned(),
                )
            })?;
            Company::found(context.dir(), &Principal::person(founder), None).await?
        }
    };
    let by = company.identify(context.token.as_deref())?;
    take_over(&company.ledger, &by, &plan, specs).await?;
    let said = match plan.changes.len() {
        0 => "nothing has changed".to_owned(),
        count => format!("{}\n{count} applied", changes(&plan)),
    };
    Answer::new(&plan, said)
}

/// Records a plan, if the policies that stand let `by` do it.
///
/// # Errors
/// [`Failure::Refused`]; then nothing has changed.
pub async fn take_over(ledger: &Ledger, by: &Principal, plan: &Plan, specs: SpecSet) -> Result<(), Failure> {
    // Whoever comes first founds the company. That something applied cannot be read must never make it look unfounded.
    let founded = !tenon_company::applied(ledger).map_err(company_failure)?.is_empty();
    let standing = match founded {
        true => Catalog::load(ledger).map_err(company_failure)?,
        false => Catalog::fixed(unfounded(&specs)),
    };
    let guard = Guard::new(standing, ledger.clone());
    for change in &plan.changes {
        let applied = (Action::CompanyApply, change.resource.clone());
        let used = used_of_others(&specs, change).into_iter().map(|view| (Action::FeatureRead, view));
        for (action, resource) in std::iter::once(applied).chain(used) {
            let mut request = Request::new(by.clone(), action, resource.clone());
            if let Some(declared) = Declared::of(&specs, &resource) {
                request = request.declared(declared);
            }
            let answer = guard.check(&request).await.during("asking the policies")?;
            if !answer.allowed {
                return Err(Failure::Refused(format!("{}: {}", change.file, answer.sentence)));
            }
        }
    }
    tenon_company::apply(ledger, None, by, plan, specs).await.map_err(company_failure)?;
    Ok(())
}

/// The feature views of other pods that a changed model or derived view uses: their pods' policies have a say.
fn used_of_others(specs: &SpecSet, change: &Change) -> Vec<ResourceRef> {
    let name = change.resource.name.as_str();
    let views = match change.resource.kind {
        ResourceKind::Model => {
            specs.models.iter().find(|(known, _)| known.as_str() == name).map(|(_, model)| &model.spec.features)
        }
        ResourceKind::FeatureView => {
            specs.derived_views.iter().find(|(known, _)| known.as_str() == name).map(|(_, view)| &view.spec.views)
        }
        _ => None,
    };
    let of_others =
        |view: &&FeatureViewName| specs.view(view).is_some_and(|view| Some(view.pod) != change.pod.as_ref());
    let views = views.into_iter().flatten().filter(of_others);
    views.map(|view| ResourceRef::new(ResourceKind::FeatureView, view.as_str())).collect()
}

/// A company before its first apply: nobody is in any pod, no policy of its own stands.
fn unfounded(specs: &SpecSet) -> SpecSet {
    SpecSet {
        company: specs.company.clone(),
        budgets: Default::default(),
        pods: Default::default(),
        datasets: Default::default(),
        feature_views: Default::default(),
        derived_views: Default::default(),
        models: Default::default(),
        deployments: Default::default(),
        monitors: Default::default(),
        policies: Default::default(),
    }
}

/// What the files of a folder say, checked through, and what they would change.
///
/// # Errors
/// [`Failure::Files`] with every fault.
pub async fn wanted(dir: &Path) -> Result<(Plan, SpecSet), Failure> {
    let spec = company_spec(dir)?;
    let files = read_folder(dir).map_err(company_failure)?;
    let applied = match dir.join(&spec.ledger.address).exists() {
        true => tenon_company::applied(&Company::open(dir, Access::Read, None)?.ledger).map_err(company_failure)?,
        false => Vec::new(),
    };
    let (plan, specs) =
        tenon_company::plan(&applied, &files).map_err(|faults| Failure::Files(miette::Report::new(faults)))?;
    check_through(&specs, &files).await?;
    Ok((plan, specs))
}

/// Checks what only the parts can: policies by Cedar, queries by planning them over the declared schemas.
async fn check_through(specs: &SpecSet, files: &[SpecFile]) -> Result<(), Failure> {
    let mut faults = Policies::parse(&specs.policies).err().unwrap_or_default();
    let scratch = tempfile::tempdir().during("making a folder to check in")?;
    let clock = Arc::new(SystemClock);
    let catalog = Catalog::fixed(specs.clone());
    let options = LedgerOptions {
        dir: scratch.path().join("ledger"),
        origin: "check".to_owned(),
        clock: clock.clone(),
        projections: vec![tenon_lake::projection()],
    };
    let ledger = Ledger::create(options).during("checking the queries")?;
    let root = scratch.path().join("lake");
    let lake = Lake::open(LakeOptions { root, ledger, catalog: catalog.clone(), clock: clock.clone() });
    let lake = lake.await.during("checking the queries")?;
    for (name, dataset) in specs.datasets.iter().filter(|(_, dataset)| dataset.spec.source.sql.is_none()) {
        if let Err(LakeError::Contract { what, .. }) = lake.can_follow(name) {
            faults.push(SpecFault::at(&dataset.file, &["contract"], what));
        }
    }
    let online = OnlinePlace::File(scratch.path().join("online.redb"));
    let features = FeatureStore::open(FeatureStoreOptions { online, lake, catalog, clock }).await;
    let features = features.during("checking the queries")?;
    faults.extend(features.check(specs).await.during("checking the queries")?);
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::Files(miette::Report::new(FileFaults::locate(faults, files))))
}

/// Prints a JSON Schema.
pub fn schema(kind: &str) -> Result<Answer, Failure> {
    let schema = tenon_company::schema(kind).ok_or_else(|| {
        Failure::Usage(format!("there is no kind of file `{kind}`\n  hint: there is {}", SCHEMA_KINDS.join(", ")))
    })?;
    let text = format!("{:#}", schema.as_value());
    Answer::new(&schema, text)
}

fn changes(plan: &Plan) -> String {
    let rows = plan.changes.iter().map(|change| {
        let affects: Vec<String> = change.affects.iter().map(ToString::to_string).collect();
        let owner = change.pod.as_ref().map_or_else(|| "company".to_owned(), ToString::to_string);
        [verb(change).to_owned(), change.resource.to_string(), owner, affects.join(", ")]
    });
    table(&["change", "what", "owner", "affects"], rows)
}

fn verb(change: &Change) -> &'static str {
    match change.change {
        ChangeKind::Add => "add",
        ChangeKind::Change => "change",
        ChangeKind::Remove => "remove",
    }
}

/// Founds a company in a folder whose files are sound and takes them over: the quickstart's first step.
///
/// # Errors
/// As [`apply`].
pub async fn found(dir: &Path, by: &Principal, clock: Arc<dyn tenon_core::Clock>) -> Result<(Company, usize), Failure> {
    let (plan, specs) = wanted(dir).await?;
    let company = Company::found(dir, by, Some(clock)).await?;
    take_over(&company.ledger, by, &plan, specs).await?;
    Ok((company, plan.changes.len()))
}
