//! `contract …`.

use std::path::{Path, PathBuf};

use tenon_core::AsOf;
use tenon_core::spec::{DatasetSpec, Source, SpecFile, parse};
use tenon_lake::suggest;
use tenon_policy::Action;

use super::quarantine::dataset;
use super::{Context, odcs};
use crate::args::ContractCommand;
use crate::failure::{Failure, While};
use crate::output::Answer;

/// Proposes contracts, and exchanges them with others.
pub async fn contract(context: &Context, what: ContractCommand) -> Result<Answer, Failure> {
    match what {
        ContractCommand::Suggest { dataset, file } => suggested(context, dataset, file).await,
        ContractCommand::Export { dataset, to } => odcs::export(context, &dataset, to.as_deref()).await,
        ContractCommand::Import { file, dataset, object, allow_weaker, to } => {
            let how = odcs::Import { object: object.as_deref(), allow_weaker, to: to.as_deref() };
            odcs::import(context, &file, &dataset, &how)
        }
    }
}

async fn suggested(context: &Context, name: Option<String>, file: Option<PathBuf>) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let (profile, source, description, event_time) = match (&name, &file) {
        (Some(name), _) => {
            let dataset = dataset(&platform, &by, name, Action::DatasetQuery).await?;
            let profile = platform.lake.profile(name, AsOf::Latest).await.during("measuring")?;
            let specs = platform.catalog.specs();
            let declared = specs.datasets.get(&dataset).map(|resource| resource.spec.clone());
            let declared = declared.ok_or_else(|| Failure::Usage(format!("there is no dataset `{name}`")))?;
            (profile, declared.source, declared.description, declared.event_time)
        }
        (None, Some(file)) => {
            let rows = tenon_ingest::rows_of_file(&context.path(file)).during("reading the file")?;
            let name = file.display().to_string();
            let profile = platform.lake.profile_rows(&name, rows).await.during("measuring")?;
            let source = Source { files: Some(pattern(file)), ..Source::default() };
            (profile, source, format!("What {name} holds"), None)
        }
        (None, None) => return Err(Failure::Usage("name a dataset, or a file with --file".to_owned())),
    };
    let spec = DatasetSpec {
        description,
        event_time,
        residency: None,
        retention: None,
        source,
        contract: suggest(&profile),
        clean: Default::default(),
        keep_raw: false,
        compaction: None,
        latency: None,
        late: None,
        dedup: None,
    };
    let text = toml::to_string_pretty(&spec).during("writing the proposal")?;
    // What is proposed must be a file that can be applied.
    let read = parse::<DatasetSpec>(&SpecFile { path: "proposal.toml".to_owned(), text: text.clone() });
    if let Err(fault) = read {
        return Err(Failure::Usage(format!("no contract can be proposed: {}", fault.message)));
    }
    Answer::new(&spec, text)
}

/// The pattern of files like this one: all of its folder with the same ending.
fn pattern(file: &Path) -> String {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or("csv");
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => format!("{}/*.{ending}", folder.display()),
        None => format!("*.{ending}"),
    }
}
