//! From an ODCS file to a dataset's declaration.

mod fields;
mod property;
mod quality;

use tenon_core::DatasetName;
use tenon_core::spec::{Contract, DatasetSpec, Freshness, KafkaSource, Severity, Source};

use self::fields::{Fields, own, own_text, part, unread};
use self::quality::{Rules, table_rules};
use super::remark::{Notes, Remark};
use super::tree::{Node, Place, Value, parse};
use super::words;

/// What a file became.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The declaration.
    pub spec: DatasetSpec,
    /// Promises of the file that the declaration does not make.
    pub weaker: Vec<Remark>,
    /// What else was left out, or is another here.
    pub lost: Vec<Remark>,
}

/// The declaration of a dataset that the text of an ODCS file describes. Of several tables in it, `object` names one; without
/// it, it is the one with the dataset's name, or the only one. What the file does not speak of — where rows come from, how
/// they are cleaned — is taken from what is `known` of the dataset.
///
/// # Errors
/// What makes the file unusable, and the promises that could not be held, each with its place.
pub fn import(
    text: &str,
    dataset: &DatasetName,
    object: Option<&str>,
    known: Option<&DatasetSpec>,
) -> Result<Imported, Vec<Remark>> {
    let root = parse(text).map_err(|remark| vec![remark])?;
    let mut notes = Notes::default();
    let spec = document(&root, dataset, object, known, &mut notes);
    let Notes { wrong, weaker, lost } = notes;
    match spec {
        Some(spec) if wrong.is_empty() => Ok(Imported { spec, weaker, lost }),
        _ => Err(wrong.into_iter().chain(weaker).collect()),
    }
}

/// Who and for what: said by the company folder here, and never by a contract.
const ENVELOPE: [&str; 10] = [
    "version",
    "id",
    "name",
    "tenant",
    "domain",
    "dataProduct",
    "team",
    "roles",
    "contractCreatedTs",
    "authoritativeDefinitions",
];

fn document(
    root: &Node,
    dataset: &DatasetName,
    object: Option<&str>,
    known: Option<&DatasetSpec>,
    notes: &mut Notes,
) -> Option<DatasetSpec> {
    let mut fields = Fields::of(root, "a data contract", notes)?;
    standard(&mut fields, notes);
    for name in ENVELOPE {
        fields.take(name);
    }
    let about = fields.take("description").map(|(_, node)| node);
    let servers = fields.list("servers", notes);
    let promises = fields.list("slaProperties", notes);
    let usual = fields.text("slaDefaultElement", notes).map(|(_, element)| element);
    let custom = own(&mut fields, notes);
    custom.iter().for_each(|one| unread(one, &[], notes));
    let objects = fields.list("schema", notes);
    fields.rest(&["tags", "support", "price"], notes);
    let table = choose(objects, root.place, dataset, object, notes)?;
    let mut spec = read_object(table, notes)?;
    if let Some(text) = about.and_then(|node| purpose(node, notes)).filter(|_| spec.description.is_empty()) {
        spec.description = text;
    }
    if spec.description.is_empty() {
        spec.description = format!("What {dataset} holds");
    }
    let others: Vec<String> = objects.iter().filter(|other| !std::ptr::eq(*other, table)).flat_map(names_of).collect();
    for promise in promises {
        service_level(promise, usual, &others, &mut spec, notes);
    }
    keep_known(&mut spec, known);
    if spec.source == Source::default() {
        spec.source = source_of(servers, table, notes);
    }
    Some(spec)
}

/// That it is a contract, of a version that is read here.
fn standard(fields: &mut Fields<'_>, notes: &mut Notes) {
    match fields.text("kind", notes) {
        Some((_, "DataContract")) => {}
        Some((place, other)) => notes.wrong(place, format!("`{other}` is no data contract")),
        None => notes.wrong(fields.place, "this is no ODCS file: it does not say `kind: DataContract`"),
    }
    match fields.text("apiVersion", notes) {
        Some((_, version)) if version.starts_with("v3.") => {}
        Some((place, version)) => {
            notes.wrong(place, format!("version `{version}` of the standard is not read here: 3.0 and 3.1 are"));
        }
        None => notes.wrong(fields.place, "the file does not say its `apiVersion`: v3.1.0"),
    }
    match fields.text("status", notes) {
        Some((place, status)) if status != "active" => {
            notes.lost(place, format!("the contract's status is `{status}`; what is applied here is in force"));
        }
        _ => {}
    }
}

/// The table that is meant.
fn choose<'n>(
    objects: &'n [Node],
    place: Place,
    dataset: &DatasetName,
    object: Option<&str>,
    notes: &mut Notes,
) -> Option<&'n Node> {
    let name = object.unwrap_or(dataset.as_str());
    let named = |node: &&Node| names_of(node).iter().any(|known| known == name);
    match (objects.iter().find(named), objects) {
        (Some(found), _) => Some(found),
        (None, [only]) if object.is_none() => Some(only),
        (None, []) => {
            notes.wrong(place, "the contract has no `schema`, so that it says nothing of columns");
            None
        }
        _ => {
            let hint = "name one of the schema's tables with --object";
            notes.wrong_with(place, format!("none of the contract's tables is called `{name}`"), hint);
            None
        }
    }
}

const OURS: [&str; 8] = [
    "tenonSource",
    "tenonEventTime",
    "tenonResidency",
    "tenonClean",
    "tenonKeepRaw",
    "tenonCompaction",
    "tenonLate",
    "tenonDedup",
];

fn read_object(node: &Node, notes: &mut Notes) -> Option<DatasetSpec> {
    let mut fields = Fields::of(node, "a table", notes)?;
    let name = fields.text("name", notes).map(|(_, name)| name);
    if name.is_none() {
        notes.wrong(node.place, "a table has a `name`");
    }
    let physical = fields.text("physicalName", notes).map(|(_, name)| name);
    let tables: Vec<&str> = name.into_iter().chain(physical).collect();
    fields.text("logicalType", notes);
    fields.text("physicalType", notes);
    let description = fields.text("description", notes).map(|(_, text)| text.to_owned()).unwrap_or_default();
    let mut spec = DatasetSpec {
        description,
        event_time: None,
        residency: None,
        retention: None,
        source: Source::default(),
        contract: columns(fields.list("properties", notes), &tables, notes),
        clean: Default::default(),
        keep_raw: false,
        compaction: None,
        latency: None,
        late: None,
        dedup: None,
    };
    relationships(&mut fields, &mut spec.contract, notes);
    let rules = Rules { nodes: fields.list("quality", notes), tables: &tables };
    table_rules(&rules, &mut spec.contract, notes);
    for one in own(&mut fields, notes) {
        let (place, value) = (one.place, one.value);
        match one.name {
            "tenonSource" => spec.source = part(place, one.name, value, notes).unwrap_or_default(),
            "tenonEventTime" => spec.event_time = own_text(&one, notes),
            "tenonResidency" => spec.residency = own_text(&one, notes),
            "tenonClean" => spec.clean = part(place, one.name, value, notes).unwrap_or_default(),
            "tenonKeepRaw" => spec.keep_raw = part(place, one.name, value, notes).unwrap_or_default(),
            "tenonCompaction" => spec.compaction = part(place, one.name, value, notes),
            "tenonLate" => spec.late = part(place, one.name, value, notes),
            "tenonDedup" => spec.dedup = part(place, one.name, value, notes),
            _ => unread(&one, &OURS, notes),
        }
    }
    let lost = ["id", "businessName", "authoritativeDefinitions", "tags", "dataGranularityDescription"];
    fields.rest(&lost, notes);
    Some(spec)
}

fn columns(nodes: &[Node], tables: &[&str], notes: &mut Notes) -> Contract {
    let mut contract = Contract::default();
    let mut key = Vec::new();
    for node in nodes {
        let Some(read) = property::property(node, tables, notes) else { continue };
        if contract.columns.contains_key(&read.name) {
            notes.wrong(read.place, format!("there are two columns `{}`", read.name));
            continue;
        }
        key.extend(read.key.map(|position| (position, read.name.clone())));
        contract.checks.extend(read.checks);
        contract.columns.insert(read.name, read.column);
    }
    // Without positions, columns stand in the key as they stand in the table.
    key.sort_by_key(|(position, _)| *position);
    contract.key = key.into_iter().map(|(_, name)| name).collect();
    contract
}

/// Relationships that are said of the table: `from: flights.plane`, `to: planes.tailnum`.
fn relationships(fields: &mut Fields<'_>, contract: &mut Contract, notes: &mut Notes) {
    for node in fields.list("relationships", notes) {
        let Some(mut relationship) = Fields::of(node, "a relationship", notes) else { continue };
        relationship.text("type", notes);
        let (from, to) = (relationship.take("from"), relationship.take("to"));
        let place = relationship.place;
        relationship.rest(&["customProperties", "id"], notes);
        let from = from.and_then(|(_, node)| match &node.value {
            Value::Text(from) => contract.columns.get_mut(from.rsplit('.').next().unwrap_or(from)),
            _ => None,
        });
        match (from, to.map(|(_, node)| &node.value)) {
            (Some(column), Some(Value::Text(to))) if column.references.is_none() && !to.contains('/') => {
                column.references = Some(to.clone());
            }
            _ => {
                let hint = "one column refers to one column of another dataset: `to: planes.tailnum`";
                notes.weaker(place, "this relationship cannot be held here", hint);
            }
        }
    }
}

/// What the contract is for, in one text.
fn purpose(node: &Node, notes: &mut Notes) -> Option<String> {
    let mut fields = Fields::of(node, "the description", notes)?;
    let mut parts: Vec<String> = fields.text("purpose", notes).map(|(_, text)| text.to_owned()).into_iter().collect();
    parts.extend(fields.text("usage", notes).map(|(_, text)| format!("Usage: {text}")));
    parts.extend(fields.text("limitations", notes).map(|(_, text)| format!("Limits: {text}")));
    fields.rest(&["authoritativeDefinitions", "customProperties"], notes);
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// How a table is called.
fn names_of(table: &Node) -> Vec<String> {
    let Value::Map(entries) = &table.value else { return Vec::new() };
    let is_name = |key: &str| matches!(key, "name" | "physicalName");
    let names = entries.iter().filter(|(key, _)| is_name(&key.text)).map(|(_, node)| node.value.to_json());
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// A promise of service: latency with an element is freshness, without one it is ours; retention.
fn service_level(node: &Node, usual: Option<&str>, others: &[String], spec: &mut DatasetSpec, notes: &mut Notes) {
    let Some(mut fields) = Fields::of(node, "a promise of service", notes) else { return };
    let Some((place, property)) = fields.text("property", notes) else {
        return notes.wrong(node.place, "a promise of service has a `property`");
    };
    let (value, unit) = (fields.take("value"), fields.text("unit", notes));
    let element = fields.text("element", notes).map(|(_, element)| element).or(usual);
    for name in ["id", "valueExt", "driver", "description", "scheduler", "schedule"] {
        fields.take(name);
    }
    fields.rest(&[], notes);
    // What is promised of another table is none of this one's business.
    if element.and_then(|element| element.split_once('.')).is_some_and(|(of, _)| others.iter().any(|other| other == of))
    {
        return;
    }
    let kind = property.to_ascii_lowercase();
    if !matches!(kind.as_str(), "latency" | "ly" | "freshness" | "retention" | "re") {
        return notes.lost(place, format!("nothing here holds the promise of service `{property}`"));
    }
    let number = value.and_then(|(_, node)| match &node.value {
        Value::Number(number) => number.as_f64(),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    });
    let span = number.zip(unit).and_then(|(number, (_, unit))| words::span_of(number, unit));
    let Some(span) = span else {
        let hint = "a number, and one of the units y, w, d, h, min, s, ms";
        return notes.weaker(place, format!("`{property}` is no length of time that can be told exactly"), hint);
    };
    match (kind.as_str(), element) {
        ("retention" | "re", _) => spec.retention = Some(span),
        ("latency" | "ly", None) => spec.latency = Some(span),
        (_, element) => freshness(span, element, place, spec, notes),
    }
}

fn freshness(
    at_most: tenon_core::Span,
    element: Option<&str>,
    place: Place,
    spec: &mut DatasetSpec,
    notes: &mut Notes,
) {
    // `table.column` or `column`, where a column's own name may have points.
    let is_named = |column: &str| {
        element
            .and_then(|element| element.strip_suffix(column))
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let is_told = match &spec.event_time {
        Some(event_time) => element.is_none() || is_named(event_time),
        None => {
            let named =
                spec.contract.columns.keys().filter(|column| is_named(column)).max_by_key(|column| column.len());
            spec.event_time = named.cloned();
            if let Some(column) = &spec.event_time {
                notes.lost(place, format!("`{column}` is taken for the time of a row's event"));
            }
            spec.event_time.is_some()
        }
    };
    if !is_told {
        let hint = "freshness is told by the dataset's event time: name its column as the `element`";
        return notes.weaker(place, "how fresh rows are cannot be told by this", hint);
    }
    match &spec.contract.freshness {
        None => spec.contract.freshness = Some(Freshness { at_most, severity: Severity::Warn }),
        Some(said) if said.at_most == at_most => {}
        Some(said) => {
            let other = said.at_most;
            notes.wrong(place, format!("a quality rule of the table says {other} of the same, and this {at_most}"));
        }
    }
}

/// What a file does not speak of stays as it is declared.
fn keep_known(spec: &mut DatasetSpec, known: Option<&DatasetSpec>) {
    let Some(known) = known.filter(|_| spec.source == Source::default()) else { return };
    spec.source = known.source.clone();
    spec.clean = known.clean.clone();
    spec.keep_raw = known.keep_raw;
    spec.event_time = spec.event_time.take().or_else(|| known.event_time.clone());
    spec.residency = spec.residency.take().or_else(|| known.residency.clone());
    spec.retention = spec.retention.or(known.retention);
    spec.latency = spec.latency.or(known.latency);
    spec.compaction = spec.compaction.take().or_else(|| known.compaction.clone());
    spec.late = spec.late.take().or_else(|| known.late.clone());
    spec.dedup = spec.dedup.take().or_else(|| known.dedup.clone());
}

/// Where rows come from, as far as the contract's servers say it.
fn source_of(servers: &[Node], table: &Node, notes: &mut Notes) -> Source {
    let entry = |node: &Node, name: &str| match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node.value.to_json()),
        _ => None,
    };
    let text = |node: &Node, name: &str| entry(node, name).and_then(|value| value.as_str().map(str::to_owned));
    for server in servers {
        match text(server, "type").as_deref() {
            Some("local") => {
                if let Some(path) = text(server, "path") {
                    return Source { files: Some(path), ..Source::default() };
                }
            }
            Some("kafka") => {
                let topic = text(table, "physicalName").or_else(|| text(table, "name"));
                let json = serde_json::json!({ "brokers": text(server, "host"), "topics": topic.as_slice() });
                if let Ok(kafka) = serde_json::from_value::<KafkaSource>(json) {
                    notes.lost(server.place, "how messages are written, and who may read them, is not in the contract");
                    return Source { kafka: Some(kafka), ..Source::default() };
                }
            }
            _ => {}
        }
    }
    let place = servers.first().map_or(table.place, |server| server.place);
    notes.lost(place, "the contract does not say where rows come from: they are pushed, until [source] says another");
    Source { push: Some(true), ..Source::default() }
}
