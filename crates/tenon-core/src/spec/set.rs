//! All that a company's files say together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fault::{closest, parse};
use super::{
    BudgetsSpec, CompanySpec, DatasetSpec, DeploymentSpec, DerivedViewSpec, FeatureViewSpec, FileFaults, Gate,
    ModelSpec, MonitorSpec, PodSpec, SpecFault, SpecFile,
};
use crate::{DatasetName, DeploymentName, FeatureViewName, ModelName, MonitorName, PodName};

/// A kind of thing that a pod declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// The company itself: `company.toml`.
    Company,
    /// The budgets: `budgets.toml`.
    Budgets,
    /// A pod.
    Pod,
    /// A dataset.
    Dataset,
    /// A feature view.
    FeatureView,
    /// A model.
    Model,
    /// A deployment.
    Deployment,
    /// A monitor.
    Monitor,
    /// A file of Cedar policies.
    Policy,
}

impl ResourceKind {
    /// The word for it, as facts and tables write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Company => "company",
            Self::Budgets => "budgets",
            Self::Pod => "pod",
            Self::Dataset => "dataset",
            Self::FeatureView => "feature_view",
            Self::Model => "model",
            Self::Deployment => "deployment",
            Self::Monitor => "monitor",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One thing that is declared, by kind and name: `dataset flights`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRef {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name; unique among its kind in a company.
    pub name: String,
}

impl ResourceRef {
    /// The thing of that kind and name.
    pub fn new(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}", self.kind, self.name))
    }
}

/// A declared thing with its owner and its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource<T> {
    /// The pod that owns it.
    pub pod: PodName,
    /// The file that declares it, from the company folder.
    pub file: String,
    /// What it says.
    pub spec: T,
}

/// All that a company's files say, by kind and name.
#[derive(Debug, Clone, PartialEq)]
pub struct SpecSet {
    /// `company.toml`.
    pub company: CompanySpec,
    /// `budgets.toml`.
    pub budgets: BudgetsSpec,
    /// The pods.
    pub pods: BTreeMap<PodName, PodSpec>,
    /// The datasets.
    pub datasets: BTreeMap<DatasetName, Resource<DatasetSpec>>,
    /// The feature views.
    pub feature_views: BTreeMap<FeatureViewName, Resource<FeatureViewSpec>>,
    /// The feature views that are computed from others and from the request. A name is one of either.
    pub derived_views: BTreeMap<FeatureViewName, Resource<DerivedViewSpec>>,
    /// The models.
    pub models: BTreeMap<ModelName, Resource<ModelSpec>>,
    /// The deployments.
    pub deployments: BTreeMap<DeploymentName, Resource<DeploymentSpec>>,
    /// The monitors.
    pub monitors: BTreeMap<MonitorName, Resource<MonitorSpec>>,
    /// Cedar policy files: path to text.
    pub policies: BTreeMap<String, String>,
}

impl SpecSet {
    /// Reads and checks a company's files, paths from the company folder.
    ///
    /// # Errors
    /// Every fault that was found, each with its place.
    pub fn read(files: &[SpecFile]) -> Result<Self, FileFaults> {
        let mut faults = Vec::new();
        let set = Reader { files, faults: &mut faults }.read();
        if let Some(set) = &set {
            faults.extend(set.check());
        }
        match set {
            Some(set) if faults.is_empty() => Ok(set),
            _ => Err(FileFaults::locate(faults, files)),
        }
    }

    /// What is wrong between the files: references to nothing, cycles, contradictions.
    pub fn check(&self) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        for (at, budget) in self.budgets.budgets.iter().enumerate() {
            let at = at.to_string();
            faults.extend(missing(&self.pods, &budget.pod, "pod", "budgets.toml", &["budgets", &at, "pod"]));
            if !(budget.limit_usd >= 0.0 && budget.limit_usd.is_finite()) {
                let message = "a budget's limit is an amount of money, 0 or more";
                faults.push(SpecFault::at("budgets.toml", &["budgets", &at, "limit_usd"], message));
            }
        }
        for (name, dataset) in &self.datasets {
            faults.extend(reserved(name, &dataset.file));
            self.check_dataset(dataset, &mut faults);
        }
        self.feature_views.values().for_each(|view| self.check_feature_view(view, &mut faults));
        faults.extend(self.derived_views.keys().flat_map(|view| self.derived_faults(view)));
        self.models.values().for_each(|model| self.check_model(model, &mut faults));
        self.deployments.values().for_each(|deployment| self.check_deployment(deployment, &mut faults));
        for monitor in self.monitors.values() {
            let of = &monitor.spec.deployment;
            faults.extend(missing(&self.deployments, of, "deployment", &monitor.file, &["deployment"]));
        }
        faults
    }

    fn check_dataset(&self, dataset: &Resource<DatasetSpec>, faults: &mut Vec<SpecFault>) {
        let (file, spec) = (dataset.file.as_str(), &dataset.spec);
        let sources = [
            spec.source.files.is_some(),
            spec.source.push.is_some(),
            spec.source.sql.is_some(),
            spec.source.kafka.is_some(),
        ];
        if sources.iter().filter(|given| **given).count() != 1 {
            let message = "a dataset has exactly one source: `files`, `push`, `sql` or `kafka`";
            faults.push(SpecFault::at(file, &["source"], message));
        }
        if spec.compaction.as_ref().is_some_and(|compaction| compaction.small_files < 2 || compaction.target_mb == 0) {
            let message = "two small files at the least are taken together, to files of 1 MiB or more";
            faults.push(SpecFault::at(file, &["compaction"], message));
        }
        if spec.source.watch && spec.source.files.is_none() {
            faults.push(SpecFault::at(file, &["source", "watch"], "only `files` are watched"));
        }
        if let Some(kafka) = &spec.source.kafka {
            faults.extend(kafka.check(file));
        }
        let columns = &spec.contract.columns;
        if columns.is_empty() && spec.source.sql.is_none() {
            let message = "the contract names no columns, so nothing could land";
            faults.push(SpecFault::at(file, &["contract"], message).hint("declare each column with its type"));
        }
        let mut lower = HashMap::new();
        for name in columns.keys() {
            if let Some(other) = lower.insert(name.to_lowercase(), name) {
                let message =
                    format!("`{other}` and `{name}` differ in case alone, and readers of Delta tables see one column");
                faults.push(SpecFault::at(file, &["contract", "columns", name], message).hint("rename one of them"));
            }
        }
        super::store::check(file, spec, faults);
        super::cleaning::check(file, spec, faults);
        super::table_rules::check(file, spec, faults);
        super::changes::check(file, spec, faults);
        super::vectors::check(file, spec, faults);
        let known = |column: &str, keys: &[&str], faults: &mut Vec<SpecFault>| {
            if !columns.is_empty() && !columns.contains_key(column) {
                let fault = SpecFault::at(file, keys, format!("the contract has no column `{column}`"));
                faults.push(suggest(fault, column, columns.keys().map(String::as_str)));
            }
        };
        if let Some(column) = &spec.event_time {
            known(column, &["event_time"], faults);
        }
        spec.contract.key.iter().for_each(|column| known(column, &["contract", "key"], faults));
        let needs = [("late", spec.late.is_some()), ("dedup", spec.dedup.is_some())];
        for (what, _) in needs.into_iter().filter(|(_, given)| *given && spec.event_time.is_none()) {
            let fault = SpecFault::at(file, &[what], "the dataset does not say when a row's event happened");
            faults.push(fault.hint("name the column: event_time = \"…\""));
        }
        if spec.dedup.is_some() && spec.contract.key.is_empty() {
            let fault = SpecFault::at(file, &["dedup"], "the contract does not say what names a row");
            faults.push(fault.hint("name the columns: key = [\"…\"] under [contract]"));
        }
        for (name, column) in columns {
            if column.range.is_some_and(|[low, high]| low.is_nan() || high.is_nan() || low > high) {
                let message = "a range is the least and the greatest value, in that order";
                faults.push(SpecFault::at(file, &["contract", "columns", name, "range"], message));
            }
            if let Some(reference) = &column.references {
                let keys = ["contract", "columns", name, "references"];
                faults.extend(self.check_column_reference(reference, file, &keys));
            }
        }
    }

    fn check_column_reference(&self, reference: &str, file: &str, keys: &[&str]) -> Option<SpecFault> {
        let Some((dataset, column)) = reference.split_once('.') else {
            let fault = SpecFault::at(file, keys, format!("`{reference}` does not name a column of a dataset"));
            return Some(fault.hint("write it as `planes.tailnum`"));
        };
        let Some(target) = self.datasets.iter().find(|(name, _)| name.as_str() == dataset) else {
            let fault = SpecFault::at(file, keys, format!("there is no dataset `{dataset}`"));
            return Some(suggest(fault, dataset, self.datasets.keys().map(AsRef::as_ref)));
        };
        let columns = &target.1.spec.contract.columns;
        (!columns.contains_key(column)).then(|| {
            let fault = SpecFault::at(file, keys, format!("dataset `{dataset}` has no column `{column}`"));
            suggest(fault, column, columns.keys().map(String::as_str))
        })
    }

    fn check_feature_view(&self, view: &Resource<FeatureViewSpec>, faults: &mut Vec<SpecFault>) {
        let (file, spec) = (view.file.as_str(), &view.spec);
        faults.extend(missing(&self.datasets, &spec.dataset, "dataset", file, &["dataset"]));
        if spec.entity.is_empty() {
            faults.push(SpecFault::at(file, &["entity"], "an entity is named by at least one column"));
        }
        if spec.features.is_empty() && spec.vectors.is_empty() {
            faults.push(SpecFault::at(file, &["features"], "the view has no features"));
        }
        faults.extend(spec.feature_faults(file));
        faults.extend(spec.vector_faults(file));
        faults.extend(spec.promise_fault(file));
    }

    /// What is wrong where a feature view is named that is not there.
    pub(super) fn view_fault(&self, view: &FeatureViewName, file: &str, keys: &[&str]) -> Option<SpecFault> {
        self.view(view).is_none().then(|| {
            let fault = SpecFault::at(file, keys, format!("there is no feature view `{view}`"));
            suggest(fault, view.as_str(), self.views().map(|view| view.name.as_str()))
        })
    }

    fn check_model(&self, model: &Resource<ModelSpec>, faults: &mut Vec<SpecFault>) {
        let (file, spec) = (model.file.as_str(), &model.spec);
        let mut seen = BTreeSet::new();
        for (at, view) in spec.features.iter().enumerate() {
            let at = at.to_string();
            faults.extend(self.view_fault(view, file, &["features", &at]));
            if !seen.insert(view) {
                let message = format!("feature view `{view}` is named twice");
                faults.push(SpecFault::at(file, &["features", &at], message));
            }
        }
        if spec.features.is_empty() {
            faults.push(SpecFault::at(file, &["features"], "a model needs at least one feature view"));
        }
        if !(spec.split.test.fraction() > 0.0 && spec.split.test.fraction() < 1.0) {
            let message = "the share held out lies between 0% and 100%, both exclusive";
            faults.push(SpecFault::at(file, &["split", "test"], message));
        }
        let bounds = spec.gates.iter().map(|gate| match gate {
            Gate::Quality { at_least, .. } => ("at_least", *at_least),
            Gate::Calibration { at_most } | Gate::Fairness { at_most, .. } => ("at_most", *at_most),
            Gate::Explanation { max_error, .. } => ("max_error", *max_error),
            Gate::Latency { p99_ms } => ("p99_ms", *p99_ms),
            Gate::Budget {} => ("kind", 0.0),
        });
        for (at, (key, bound)) in bounds.enumerate() {
            if !(bound.is_finite() && bound >= 0.0) {
                let message = "a gate's bound is a finite number, 0 or more";
                faults.push(SpecFault::at(file, &["gates", &at.to_string(), key], message));
            }
        }
    }

    fn check_deployment(&self, deployment: &Resource<DeploymentSpec>, faults: &mut Vec<SpecFault>) {
        let (file, spec) = (deployment.file.as_str(), &deployment.spec);
        faults.extend(missing(&self.models, &spec.model, "model", file, &["model"]));
        if !(0.0..=1.0).contains(&spec.threshold) {
            faults.push(SpecFault::at(file, &["threshold"], "a threshold is a probability, from 0 to 1"));
        }
        let steps = &spec.rollout.steps;
        let rising = steps.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || steps.last().is_none_or(|last| last.fraction() < 1.0) {
            let message = "the steps of a rollout rise, and the last is 100%";
            faults
                .push(SpecFault::at(file, &["rollout", "steps"], message).hint("such as [\"10%\", \"50%\", \"100%\"]"));
        }
        if let Some(model) = self.models.get(&spec.model) {
            for feature in spec.fallback.keys() {
                let views = model.spec.features.iter().filter_map(|view| self.view(view));
                let known: Vec<&str> = views.flat_map(|view| view.spec.features()).collect();
                if !known.contains(&feature.as_str()) {
                    let message = format!("model `{}` reads no feature `{feature}`", spec.model);
                    let fault = SpecFault::at(file, &["fallback", feature], message);
                    faults.push(suggest(fault, feature, known.into_iter()));
                }
            }
        }
    }
}

fn suggest<'a>(fault: SpecFault, wrong: &str, known: impl Iterator<Item = &'a str>) -> SpecFault {
    let known: Vec<&str> = known.collect();
    match closest(wrong, known.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => fault,
        None => fault.hint(format!("there is: {}", known.join(", "))),
    }
}

fn missing<K: Ord + AsRef<str> + fmt::Display, V>(
    known: &BTreeMap<K, V>,
    name: &K,
    kind: &str,
    file: &str,
    keys: &[&str],
) -> Option<SpecFault> {
    (!known.contains_key(name)).then(|| {
        let fault = SpecFault::at(file, keys, format!("there is no {kind} `{name}`"));
        suggest(fault, name.as_ref(), known.keys().map(AsRef::as_ref))
    })
}

struct Reader<'a> {
    files: &'a [SpecFile],
    faults: &'a mut Vec<SpecFault>,
}

impl Reader<'_> {
    fn read(mut self) -> Option<SpecSet> {
        let mut company = None;
        let mut set = SpecSet {
            company: CompanySpec {
                name: String::new(),
                description: None,
                ledger: super::Ledger::default(),
                lake: super::Lake::default(),
                online: super::Online::default(),
                engine: None,
                identity: super::Identity::default(),
                prices: super::Prices::default(),
                clock: super::ClockSpec::default(),
            },
            budgets: BudgetsSpec::default(),
            pods: BTreeMap::new(),
            datasets: BTreeMap::new(),
            feature_views: BTreeMap::new(),
            derived_views: BTreeMap::new(),
            models: BTreeMap::new(),
            deployments: BTreeMap::new(),
            monitors: BTreeMap::new(),
            policies: BTreeMap::new(),
        };
        for file in self.files {
            let parts: Vec<&str> = file.path.split('/').collect();
            match parts.as_slice() {
                ["company.toml"] => company = self.parse(file),
                ["budgets.toml"] => set.budgets = self.parse(file).unwrap_or_default(),
                ["policies", name] if name.ends_with(".cedar") => {
                    set.policies.insert(file.path.clone(), file.text.clone());
                }
                ["pods", pod, "pod.toml"] => {
                    if let (Some(pod), Some(spec)) = (self.name(file, pod), self.parse(file)) {
                        set.pods.insert(pod, spec);
                    }
                }
                ["pods", pod, "datasets", name] => self.resource(file, pod, name, &mut set.datasets),
                ["pods", pod, "features", name] => self.resource(file, pod, name, &mut set.feature_views),
                ["pods", pod, "derived", name] => self.resource(file, pod, name, &mut set.derived_views),
                ["pods", pod, "models", name] => self.resource(file, pod, name, &mut set.models),
                ["pods", pod, "deployments", name] => self.resource(file, pod, name, &mut set.deployments),
                ["pods", pod, "monitors", name] => self.resource(file, pod, name, &mut set.monitors),
                _ => self.faults.push(
                    SpecFault::at(&file.path, &[], "no rule says what this file is").hint(
                        "a pod's files are pods/POD/pod.toml and pods/POD/{datasets,features,derived,models,deployments,monitors}/NAME.toml",
                    ),
                ),
            }
        }
        let owners: BTreeSet<PodName> = self.owners(&set);
        for pod in owners.difference(&set.pods.keys().cloned().collect()) {
            let file = format!("pods/{pod}/pod.toml");
            if !self.faults.iter().any(|fault| fault.file == file) {
                let fault = SpecFault::at(&file, &[], format!("pod `{pod}` owns resources but has no pod.toml"));
                self.faults.push(fault.hint("declare its mission and its members"));
            }
        }
        match company {
            Some(company) => Some(SpecSet { company, ..set }),
            None => {
                if !self.files.iter().any(|file| file.path == "company.toml") {
                    let fault = SpecFault::at("company.toml", &[], "there is no company.toml");
                    self.faults.push(fault.hint("`tenon init` makes one"));
                }
                None
            }
        }
    }

    fn owners(&self, set: &SpecSet) -> BTreeSet<PodName> {
        let datasets = set.datasets.values().map(|resource| &resource.pod);
        let views = set.views().map(|view| view.pod);
        let models = set.models.values().map(|resource| &resource.pod);
        let deployments = set.deployments.values().map(|resource| &resource.pod);
        let monitors = set.monitors.values().map(|resource| &resource.pod);
        datasets.chain(views).chain(models).chain(deployments).chain(monitors).cloned().collect()
    }

    fn parse<T: DeserializeOwned>(&mut self, file: &SpecFile) -> Option<T> {
        parse(file).map_err(|fault| self.faults.push(fault)).ok()
    }

    fn name<N: std::str::FromStr<Err = crate::name::NameError>>(&mut self, file: &SpecFile, text: &str) -> Option<N> {
        text.parse()
            .map_err(|error: crate::name::NameError| {
                self.faults.push(SpecFault::at(&file.path, &[], error.to_string()));
            })
            .ok()
    }

    fn resource<N, T>(&mut self, file: &SpecFile, pod: &str, name: &str, into: &mut BTreeMap<N, Resource<T>>)
    where
        N: Ord + fmt::Display + std::str::FromStr<Err = crate::name::NameError>,
        T: DeserializeOwned,
    {
        let Some(stem) = name.strip_suffix(".toml") else {
            let fault = SpecFault::at(&file.path, &[], "files in a pod's folders end in .toml");
            self.faults.push(fault);
            return;
        };
        let (Some(pod), Some(name), Some(spec)) =
            (self.name::<PodName>(file, pod), self.name::<N>(file, stem), self.parse::<T>(file))
        else {
            return;
        };
        if let Some(other) = into.get(&name) {
            let message = format!("the name `{name}` is taken by {}", other.file);
            self.faults.push(SpecFault::at(&file.path, &[], message));
            return;
        }
        into.insert(name, Resource { pod, file: file.path.clone(), spec });
    }
}

/// Why no dataset can have a name: the program's own tables have it.
fn reserved(name: &DatasetName, file: &str) -> Option<SpecFault> {
    let name = name.as_str();
    if name.contains("__") {
        let message =
            format!("`{name}` has two underscores in a row, as tables beside a dataset have (`flights__quarantine`)");
        return Some(SpecFault::at(file, &[], message).hint(format!("name the file {}.toml", name.replace("__", "_"))));
    }
    let own = ["decisions_", "outcomes_"].into_iter().find(|own| name.starts_with(own))?;
    let message = format!("`{name}` begins with `{own}`, as the tables of deployments do");
    Some(SpecFault::at(file, &[], message).hint("give it another name"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &str, text: &str) -> SpecFile {
        SpecFile { path: path.to_owned(), text: text.to_owned() }
    }

    fn company() -> Vec<SpecFile> {
        vec![
            file("company.toml", "name = \"acme\"\n"),
            file("pods/arrivals/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n"),
            file(
                "pods/arrivals/datasets/flights.toml",
                "description = \"d\"\nevent_time = \"landed_at\"\n[source]\nfiles = \"data/*.parquet\"\n\
                 [contract.columns.landed_at]\ntype = \"timestamp\"\n[contract.columns.tailnum]\ntype = \"string\"\n",
            ),
        ]
    }

    fn faults(files: &[SpecFile]) -> Vec<String> {
        match SpecSet::read(files) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .faults()
                .map(|fault| {
                    format!(
                        "{} [{}] {} ({})",
                        fault.file,
                        fault.keys.join("."),
                        fault.message,
                        fault.hint.clone().unwrap_or_default()
                    )
                })
                .collect(),
        }
    }

    #[test]
    fn a_sound_company_is_read_whole() {
        let set = SpecSet::read(&company()).unwrap();
        assert_eq!(set.datasets.len(), 1);
        assert_eq!(set.datasets.values().next().unwrap().pod.as_str(), "arrivals");
    }

    #[test]
    fn every_fault_is_told_at_once_with_a_suggestion() {
        let mut files = company();
        files.push(file(
            "pods/arrivals/features/delay.toml",
            "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nttl = \"12h\"\ndataset = \"flihgts\"\n\
             source = \"SELECT 1\"\n[features]\nx = { aggregate = \"mean\", window = \"24h\" }\n",
        ));
        files.push(file("pods/ghost/models/m.toml", "descripton = \"d\"\n"));
        let told = faults(&files);
        insta::assert_snapshot!(told.join("\n"), @r"
        pods/ghost/models/m.toml [] unknown field `descripton` (did you mean `description`?)
        pods/arrivals/features/delay.toml [dataset] there is no dataset `flihgts` (did you mean `flights`?)
        pods/arrivals/features/delay.toml [features.x.aggregate] this aggregate needs a `column` to compute from ()
        pods/arrivals/features/delay.toml [features.x.window] the window is longer than the view's time to live, 12h (raise `ttl`: rows older than it no longer count)
        ");
    }

    #[test]
    fn features_that_make_no_sense_are_told() {
        let features = [
            "a = { aggregate = \"quantile\", column = \"x\" }",
            "b = { aggregate = \"quantile\", column = \"x\", q = 1.5 }",
            "c = { aggregate = \"quantile\", column = \"x\", q = nan }",
            "d = { aggregate = \"top_k\", column = \"x\" }",
            "e = { aggregate = \"top_k\", column = \"x\", k = 0 }",
            "f = { aggregate = \"mean\", column = \"x\", q = 0.5, k = 1 }",
            "g = { aggregate = \"rate\", window = \"lifetime\" }",
            "h = { aggregate = \"rate\", window = { session = \"1h\" } }",
            "i = { aggregate = \"count\", window = { tumbling = \"7h\" } }",
            "j = { aggregate = \"count\", window = \"0h\" }",
            "k = { aggregate = \"count\", window = { session = \"13h\" } }",
            "l = { aggregate = \"complete\", column = \"x\" }",
            "m = { aggregate = \"distinct\" }",
            "n = { aggregate = \"top_k\", column = \"x\", k = 3, window = { tumbling = \"6h\", origin = \"2013-01-01\" } }",
        ];
        let view = |features: &str| {
            file(
                "pods/arrivals/features/delay.toml",
                &format!(
                    "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nttl = \"12h\"\n\
                     dataset = \"flights\"\nsource = \"SELECT 1\"\n[features]\n{features}\n"
                ),
            )
        };
        let mut told = faults(&[company(), vec![view(&features.join("\n"))]].concat());
        for wrong in [
            "aggregate = \"median\"",
            "aggregate = \"top_k\", column = \"x\", k = -1",
            "aggregate = \"count\", window = \"-6h\"",
            "aggregate = \"count\", window = \"session\"",
            "aggregate = \"count\", window = { sesion = \"1h\" }",
        ] {
            told.extend(faults(&[company(), vec![view(&format!("x = {{ {wrong} }}"))]].concat()));
        }
        let told: Vec<_> = told.iter().map(|told| told.replace("pods/arrivals/features/delay.toml ", "")).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        [features.a.aggregate] a quantile needs `q`: which one (q = 0.5 is the median)
        [features.b.q] `q` is 1.5, and lies between 0 and 1 (q = 0.9 is the value that nine of ten do not exceed)
        [features.c.q] `q` is NaN, and lies between 0 and 1 (q = 0.9 is the value that nine of ten do not exceed)
        [features.d.aggregate] `top_k` needs `k`: which of the most frequent values (k = 1 is the most frequent one)
        [features.e.k] `k` is 0, and counts from 1 (k = 1 is the most frequent value)
        [features.f.q] only `quantile` takes `q` (leave it out)
        [features.f.k] only `top_k` takes `k` (leave it out)
        [features.g.window] a rate is per second of its window, and this window has no length (take `count`, or a window such as "1h")
        [features.h.window] a rate is per second of its window, and this window has no length (take `count`, or a window such as "1h")
        [features.i.window] the last whole window begins up to 14h before the moment, and the view's time to live is 12h (raise `ttl`: rows older than it no longer count)
        [features.j.window] a window has a length (such as "6h")
        [features.k.window] the window is longer than the view's time to live, 12h (raise `ttl`: rows older than it no longer count)
        [features.l.column] `complete` tells of the window, and takes no column (leave `column` out)
        [features.m.aggregate] this aggregate needs a `column` to compute from ()
        [] unknown variant `median` (did you mean `mean`?)
        [features.x.k] `k` is -1, and counts from 1 (k = 1 is the most frequent value)
        [] `-6h` is not a length of time: write a whole number and a unit, one of ms, s, m, h, d, w, y, such as `24h` ()
        [] a session window needs its gap: write { session = "30m" } ()
        [] unknown field `sesion` (did you mean `session`?)
        "#);
    }

    #[test]
    fn derived_views_that_make_no_sense_are_told() {
        let mut files = company();
        files.push(file(
            "pods/arrivals/features/delay.toml",
            "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nttl = \"12h\"\ndataset = \"flights\"\n\
             source = \"SELECT 1\"\n[features]\nlandings = { aggregate = \"count\" }\n[promise]\nfreshness = \"0h\"\n",
        ));
        let derived = |name: &str, views: &str, rest: &str| {
            file(
                &format!("pods/arrivals/derived/{name}.toml"),
                &format!("description = \"d\"\nviews = [{views}]\n{rest}\n"),
            )
        };
        files.push(derived("delay", "", "[features]\nx = { sql = \"1\" }"));
        files.push(derived("a", "\"b\", \"delya\"", "[features]\nx = { sql = \"1\" }"));
        files.push(derived("b", "\"c\"", "[features]\ny = { sql = \"1\" }"));
        files.push(derived("c", "\"a\"", "[features]\nz = { sql = \"1\" }"));
        files.push(derived(
            "names",
            "\"delay\"",
            "request = { landings = \"int64\", moment = \"timestamp\", speed = \"float64\" }\n[features]\nspeed = { sql = \"1\" }",
        ));
        insta::assert_snapshot!(faults(&files).join("\n"), @r#"
        pods/arrivals/features/delay.toml [promise.freshness] a promise of freshness has a length (such as "6h")
        pods/arrivals/derived/a.toml [views.1] there is no feature view `delya` (did you mean `delay`?)
        pods/arrivals/derived/a.toml [views] derived features go round in a circle: `a` reads `b` reads `c` reads `a` (a view may only read what does not depend on it)
        pods/arrivals/derived/b.toml [views] derived features go round in a circle: `b` reads `c` reads `a` reads `b` (a view may only read what does not depend on it)
        pods/arrivals/derived/c.toml [views] derived features go round in a circle: `c` reads `a` reads `b` reads `c` (a view may only read what does not depend on it)
        pods/arrivals/derived/delay.toml [] the name `delay` is taken by pods/arrivals/features/delay.toml (a derived view is a feature view, by another name)
        pods/arrivals/derived/names.toml [request.landings] `landings` is a feature of its `views` already (give it another name)
        pods/arrivals/derived/names.toml [request.moment] `moment` is the moment of decision already (give it another name)
        pods/arrivals/derived/names.toml [features.speed] `speed` is what the expressions read already, so it cannot be a feature as well (give it another name)
        "#);
        let told = faults(&[company(), vec![derived("n", "", "request = { a = \"float\" }\nfeatures = {}")]].concat());
        insta::assert_snapshot!(told.join("\n"), @"pods/arrivals/derived/n.toml [] unknown variant `float` (did you mean `float32`?)");
    }

    #[test]
    fn a_fault_is_shown_at_its_place() {
        let mut files = company();
        files[2].text.push_str("range = [5, 1]\n");
        let error = SpecSet::read(&files).unwrap_err();
        let mut shown = String::new();
        miette::NarratableReportHandler::new().render_report(&mut shown, &error).unwrap();
        assert!(shown.contains("pods/arrivals/datasets/flights.toml"), "{shown}");
        assert!(shown.contains("range = [5, 1]"), "{shown}");
    }

    #[test]
    fn names_that_the_lake_could_not_tell_apart_are_faults() {
        let mut files = company();
        let text = files[2].text.clone();
        for name in ["flights__raw", "decisions_late"] {
            files.push(file(&format!("pods/arrivals/datasets/{name}.toml"), &text));
        }
        files[2].text.push_str("[contract.columns.TailNum]\ntype = \"string\"\n");
        insta::assert_snapshot!(faults(&files).join("\n"), @r"
        pods/arrivals/datasets/decisions_late.toml [] `decisions_late` begins with `decisions_`, as the tables of deployments do (give it another name)
        pods/arrivals/datasets/flights.toml [contract.columns.TailNum] `tailnum` and `TailNum` differ in case alone, and readers of Delta tables see one column (rename one of them)
        pods/arrivals/datasets/flights__raw.toml [] `flights__raw` has two underscores in a row, as tables beside a dataset have (`flights__quarantine`) (name the file flights_raw.toml)
        ");
    }

    #[test]
    fn nothing_and_garbage_are_faults_too() {
        assert_eq!(faults(&[]), ["company.toml [] there is no company.toml (`tenon init` makes one)"]);
        let told = faults(&[file("company.toml", "name = \n"), file("pods/x/what.txt", "")]);
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
