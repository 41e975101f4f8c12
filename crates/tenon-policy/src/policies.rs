//! Policies as written and as checked: every one has a name, says itself in plain words, and fits the schema.

use std::collections::BTreeMap;
use std::ops::Range;

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use tenon_core::Digest;
use tenon_core::spec::SpecFault;

use crate::names::Names;

const SCHEMA: &str = include_str!("schema.cedarschema");
const BASE: &str = include_str!("base.cedar");
/// The names under which faults of the built-in texts would be told; no company file can have them.
const SCHEMA_FILE: &str = "(built in) schema.cedarschema";
const BASE_FILE: &str = "(built in) base.cedar";

/// A company's policies together with the built-in ones, checked against the schema.
#[derive(Debug, Clone)]
pub struct Policies {
    pub(crate) set: PolicySet,
    pub(crate) schema: Schema,
    pub(crate) names: Names,
    says: BTreeMap<String, String>,
    digest: Digest,
}

impl Policies {
    /// The schema in Cedar's own notation: what a policy can speak of.
    pub const SCHEMA: &str = SCHEMA;

    /// Reads policy files, path to text, and adds the built-in policies.
    ///
    /// # Errors
    /// Every fault that was found, each with its bytes in its file: malformed Cedar, a policy without `@id` or `@says`, an
    /// id that is taken, a template, and whatever does not fit the schema or could never apply.
    pub fn parse(files: &BTreeMap<String, String>) -> Result<Self, Vec<SpecFault>> {
        let mut faults = Vec::new();
        let built_in = |error: &dyn std::error::Error| vec![SpecFault::at(SCHEMA_FILE, &[], error.to_string())];
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| built_in(&error))?;
        let names = Names::parse().map_err(|error| built_in(&error))?;
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        let company = files.iter().map(|(file, text)| (file.as_str(), text.as_str()));
        for (file, text) in [(BASE_FILE, BASE)].into_iter().chain(company) {
            read(file, text, &mut found, &mut faults);
        }
        let policies = found.values().map(|found| found.policy.clone());
        let set = PolicySet::from_policies(policies).map_err(|error| built_in(&error))?;
        faults.extend(misfits(&set, &schema, &found));
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut digest = Digest::builder();
        digest.update(BASE);
        for (file, text) in files {
            // Each part carries its length, so that no two sets of files run into the same bytes.
            digest.update(format!("\n{} {}\n{file}{text}", file.len(), text.len()));
        }
        let says = found.into_iter().map(|(id, found)| (id, found.says)).collect();
        Ok(Self { set, schema, names, says, digest: digest.finish() })
    }

    /// The digest of all the texts, for receipts.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Each policy's id with what it says, in the order of their ids.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.says.iter().map(|(id, says)| (id.as_str(), says.as_str()))
    }

    /// What the policy of that id says.
    pub fn says(&self, id: &str) -> &str {
        self.says.get(id).map_or("", String::as_str)
    }
}

struct Found {
    policy: Policy,
    file: String,
    span: Option<Range<usize>>,
    says: String,
}

fn read(file: &str, text: &str, found: &mut BTreeMap<String, Found>, faults: &mut Vec<SpecFault>) {
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => {
            let errors: &cedar_policy::ParseErrors = &errors;
            faults.extend(errors.iter().map(|error| fault(file, error, None)));
            return;
        }
    };
    for template in set.templates() {
        let message = "a policy with `?principal` or `?resource` is a template, which nothing here fills in";
        let span = place(text, &template.to_cedar());
        faults.push(SpecFault { span, ..SpecFault::at(file, &[], message) }.hint("name the principal or the resource"));
    }
    for policy in set.policies() {
        let span = policy.to_cedar().and_then(|written| place(text, &written));
        let mut missing = |key: &str, hint: &str| {
            let message = format!("the policy has no `@{key}`");
            faults.push(SpecFault { span: span.clone(), ..SpecFault::at(file, &[], message) }.hint(hint));
        };
        let annotation = |key: &str| policy.annotation(key).map(str::trim).filter(|text| !text.is_empty());
        let (id, says) = (annotation("id"), annotation("says"));
        if id.is_none() {
            missing("id", "write `@id(\"a-short-name\")` before it; refusals name it");
        }
        if says.is_none() {
            missing("says", "write `@says(\"what it means, in plain words\")` before it; refusals say it");
        }
        let (Some(id), Some(says)) = (id, says) else { continue };
        if let Some(other) = found.get(id) {
            let message = format!("the id `{id}` is taken by a policy in {}", other.file);
            faults.push(SpecFault { span, ..SpecFault::at(file, &[], message) }.hint("choose another id"));
            continue;
        }
        let policy = policy.new_id(PolicyId::new(id));
        found.insert(id.to_owned(), Found { policy, file: file.to_owned(), span, says: says.to_owned() });
    }
}

/// What does not fit the schema, and what fits but could never apply.
fn misfits(set: &PolicySet, schema: &Schema, found: &BTreeMap<String, Found>) -> Vec<SpecFault> {
    let result = Validator::new(schema.clone()).validate(set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic));
    let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
    let told = errors.chain(warnings).map(|(id, diagnostic)| {
        let id: &str = id.as_ref();
        let (file, span) = found.get(id).map_or((BASE_FILE, None), |found| (&*found.file, found.span.clone()));
        let mut fault = fault(file, diagnostic, span);
        // The place shows the policy already.
        if let Some((_, rest)) = fault.message.split_once(&format!("for policy `{id}`, ")) {
            fault.message = rest.to_owned();
        }
        fault
    });
    let mut faults: Vec<SpecFault> = told.collect();
    faults.sort_by_key(|fault| (fault.file.clone(), fault.span.as_ref().map(|span| span.start)));
    faults.dedup();
    faults
}

fn fault(file: &str, diagnostic: &dyn Diagnostic, otherwise: Option<Range<usize>>) -> SpecFault {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let span = label.map(|label| label.offset()..label.offset() + label.len()).or(otherwise);
    let hint = diagnostic.help().map(|help| help.to_string());
    SpecFault { file: file.to_owned(), keys: Vec::new(), span, message: diagnostic.to_string(), hint }
}

/// Where a policy stands in its file.
fn place(text: &str, written: &str) -> Option<Range<usize>> {
    let start = text.find(written)?;
    Some(start..start + written.len())
}
