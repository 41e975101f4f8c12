//! From a dataset's declaration to an ODCS document.

use serde_json::{Number, Value, json};
use tenon_core::spec::{Check, Column, ColumnType, Contract, DatasetSpec, PodSpec, Severity, Volume};
use tenon_core::{DatasetName, PodName};

use super::document::{
    Custom, Description, Document, Member, Object, Property, Quality, Relationship, Role, Sla, Team, TypeOptions,
};
use super::import::import;
use super::{OdcsError, pattern, sql, words};

/// What a contract says besides the dataset's declaration.
#[derive(Debug, Clone)]
pub struct Owner<'a> {
    /// The company's name.
    pub company: &'a str,
    /// The pod that owns the dataset.
    pub pod: &'a PodName,
    /// What the pod's file says.
    pub team: Option<&'a PodSpec>,
    /// The how-manieth declaration of the dataset this is.
    pub version: u64,
}

/// The contract of a dataset, and its text in YAML. [`import`] of the text gives the declaration back.
///
/// # Errors
/// [`OdcsError::Lossy`] when the declaration would not come back as it is.
pub fn export(owner: &Owner<'_>, dataset: &DatasetName, spec: &DatasetSpec) -> Result<(Document, String), OdcsError> {
    let document = document(owner, dataset, spec)?;
    let text = serde_saphyr::to_string(&document).map_err(|error| OdcsError::Yaml(error.to_string()))?;
    let back = import(&text, dataset, None, None);
    let same = |spec_back: &DatasetSpec| spec_back == spec && same_order(&spec_back.contract, &spec.contract);
    if back.is_ok_and(|back| back.weaker.is_empty() && same(&back.spec)) {
        return Ok((document, text));
    }
    Err(OdcsError::Lossy(dataset.clone()))
}

fn same_order(a: &Contract, b: &Contract) -> bool {
    a.columns.keys().eq(b.columns.keys())
}

fn document(owner: &Owner<'_>, dataset: &DatasetName, spec: &DatasetSpec) -> Result<Document, OdcsError> {
    let Owner { company, pod, team, version } = owner;
    Ok(Document {
        kind: "DataContract",
        api_version: "v3.1.0",
        id: format!("tenon:{company}:{dataset}"),
        name: dataset.to_string(),
        version: version.to_string(),
        tenant: (*company).to_owned(),
        domain: pod.to_string(),
        description: Description { purpose: spec.description.clone() },
        schema: vec![object(dataset, spec)?],
        sla_properties: sla(dataset, spec),
        team: team.map(|team| Team {
            name: pod.to_string(),
            description: team.mission.clone(),
            members: team
                .members
                .iter()
                .map(|(name, member)| Member { username: name.clone(), role: member.role.clone() })
                .collect(),
        }),
        roles: vec![Role {
            role: pod.to_string(),
            access: "change",
            description: "the pod that owns the dataset; the company's policies say who else may do what",
        }],
        status: "active",
    })
}

fn object(dataset: &DatasetName, spec: &DatasetSpec) -> Result<Object, OdcsError> {
    let columns = &spec.contract.columns;
    Ok(Object {
        name: dataset.to_string(),
        physical_name: dataset.to_string(),
        logical_type: "object",
        physical_type: if spec.source.sql.is_some() { "view" } else { "table" },
        description: spec.description.clone(),
        properties: columns.iter().map(|(name, column)| property(name, column, &spec.contract.key)).collect(),
        quality: quality(dataset, spec)?,
        custom_properties: declaration(spec)?,
    })
}

/// What is ours alone, one property a part of the declaration.
fn declaration(spec: &DatasetSpec) -> Result<Vec<Custom>, OdcsError> {
    let mut custom = vec![Custom { property: "tenonSource", value: to_json(&spec.source)? }];
    let mut add = |property, value: Option<Value>| custom.extend(value.map(|value| Custom { property, value }));
    add("tenonEventTime", spec.event_time.as_deref().map(Value::from));
    add("tenonResidency", spec.residency.as_deref().map(Value::from));
    add("tenonClean", (!spec.clean.is_none()).then(|| to_json(&spec.clean)).transpose()?);
    add("tenonKeepRaw", spec.keep_raw.then_some(Value::Bool(true)));
    add("tenonCompaction", spec.compaction.as_ref().map(to_json).transpose()?);
    add("tenonLate", spec.late.as_ref().map(to_json).transpose()?);
    add("tenonDedup", spec.dedup.as_ref().map(to_json).transpose()?);
    Ok(custom)
}

fn to_json(part: &impl serde::Serialize) -> Result<Value, OdcsError> {
    serde_json::to_value(part).map_err(|error| OdcsError::Yaml(error.to_string()))
}

fn property(name: &str, column: &Column, key: &[String]) -> Property {
    let (logical_type, format) = words::type_words(column.data_type);
    let mut options = TypeOptions { format, ..TypeOptions::default() };
    let mut property = Property {
        name: name.to_owned(),
        description: column.description.clone(),
        logical_type,
        physical_type: column.data_type.to_string(),
        required: !column.nullable,
        unique: column.unique,
        classification: column.class.map(words::class),
        ..Property::default()
    };
    if is_plain(key) {
        let position = key.iter().position(|of_key| of_key == name);
        property.primary_key = position.is_some();
        property.primary_key_position = position.map(|at| at + 1);
    }
    let mut add = |property_name, value: Value| {
        property.custom_properties.push(Custom { property: property_name, value });
    };
    if column.severity != Severity::default() {
        add("tenonSeverity", words::severity(column.severity).into());
    }
    if let Some(unit) = &column.unit {
        add("unit", unit.as_str().into());
    }
    match column.range.map(|range| (range, bounds(column.data_type, range))) {
        Some((_, Some(bounds))) => [options.minimum, options.maximum] = bounds,
        Some((range, None)) => add("tenonRange", range.map(|bound| bound.to_string()).to_vec().into()),
        None => {}
    }
    match &column.pattern {
        Some(ours) if column.data_type == ColumnType::String && pattern::whole(&pattern::anywhere(ours)) == *ours => {
            options.pattern = Some(pattern::anywhere(ours));
        }
        Some(ours) => add("tenonPattern", ours.as_str().into()),
        None => {}
    }
    match &column.references {
        Some(to) if is_reference(to) => {
            property.relationships.push(Relationship { kind: "foreignKey", to: to.clone() });
        }
        Some(to) => add("tenonReferences", to.as_str().into()),
        None => {}
    }
    if let Some(choices) = &column.one_of {
        property.quality.push(Quality {
            kind: "library",
            metric: Some("invalidValues"),
            arguments: Some(json!({ "validValues": choices })),
            must_be: Some(0),
            unit: Some("rows"),
            dimension: Some("conformity"),
            severity: Some(words::severity(column.severity)),
            ..Quality::default()
        });
    }
    if options != TypeOptions::default() {
        property.logical_type_options = Some(options);
    }
    property
}

/// Whether every column of a key stands in it once: the standard marks columns, and has no list of them.
fn is_plain(key: &[String]) -> bool {
    key.iter().enumerate().all(|(at, column)| !key[..at].contains(column))
}

/// The least and the greatest number, where the standard's words can say them.
fn bounds(data_type: ColumnType, range: [f64; 2]) -> Option<[Option<Number>; 2]> {
    let is_number =
        matches!(data_type, ColumnType::Int32 | ColumnType::Int64 | ColumnType::Float32 | ColumnType::Float64);
    let [low, high] = range;
    let says_something = low.is_finite() || high.is_finite();
    let open_at_the_ends = (low.is_finite() || low == f64::NEG_INFINITY) && (high.is_finite() || high == f64::INFINITY);
    (is_number && says_something && open_at_the_ends).then(|| range.map(number))
}

fn number(bound: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if bound.fract() == 0.0 && bound.abs() < EXACT {
        return Some(Number::from(bound as i64));
    }
    Number::from_f64(bound)
}

/// Whether the standard's short form of a reference can name it.
fn is_reference(to: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    to.split_once('.').is_some_and(|(dataset, column)| is_name(dataset) && is_name(column))
}

/// A rule that the standard has no word for.
fn own(dimension: &'static str, severity: Option<Severity>, implementation: Value) -> Quality {
    Quality {
        kind: "custom",
        engine: Some("tenon"),
        implementation: Some(implementation),
        dimension: Some(dimension),
        severity: severity.map(words::severity),
        ..Quality::default()
    }
}

fn quality(dataset: &DatasetName, spec: &DatasetSpec) -> Result<Vec<Quality>, OdcsError> {
    let contract = &spec.contract;
    let mut rules: Vec<Quality> = Vec::new();
    for check in &contract.checks {
        rules.push(row_check(dataset, check)?);
    }
    let named = contract.key.iter().all(|column| contract.columns.contains_key(column));
    let is_said_by_columns = named && is_plain(&contract.key);
    if !contract.key.is_empty() && !is_said_by_columns {
        rules.push(own("uniqueness", None, json!({ "key": contract.key })));
    }
    if let Some(share) = contract.max_quarantined {
        rules.push(own("conformity", Some(Severity::Refuse), json!({ "max_quarantined": to_json(&share)? })));
    }
    if let Some(volume) = &contract.volume {
        rules.extend(row_count(volume));
        if volume.z.is_some() {
            let usual = Volume { at_least: None, at_most: None, ..volume.clone() };
            rules.push(own("completeness", Some(volume.severity), json!({ "volume": to_json(&usual)? })));
        }
    }
    if let Some(freshness) = &contract.freshness
        && (freshness.severity != Severity::Warn || spec.event_time.is_none())
    {
        let rule = json!({ "freshness": to_json(freshness)? });
        rules.push(own("timeliness", Some(freshness.severity), rule));
    }
    for distribution in &contract.distribution {
        let rule = json!({ "distribution": to_json(distribution)? });
        rules.push(own("consistency", Some(distribution.severity), rule));
    }
    Ok(rules)
}

/// A rule over rows: a query that counts those that break it, where the condition can be told from it again.
fn row_check(dataset: &DatasetName, check: &Check) -> Result<Quality, OdcsError> {
    let query = sql::count_of_broken(dataset.as_str(), &check.sql);
    if sql::condition_of(&query, &[dataset.as_str()], None).as_ref() != Some(&check.sql) {
        let rule = own("accuracy", Some(check.severity), json!({ "check": to_json(check)? }));
        return Ok(Quality { name: Some(check.name.clone()), ..rule });
    }
    Ok(Quality {
        kind: "sql",
        name: Some(check.name.clone()),
        query: Some(query),
        must_be: Some(0),
        unit: Some("rows"),
        dimension: Some("accuracy"),
        severity: Some(words::severity(check.severity)),
        ..Quality::default()
    })
}

fn row_count(volume: &Volume) -> Option<Quality> {
    let mut rule = Quality {
        kind: "library",
        metric: Some("rowCount"),
        unit: Some("rows"),
        dimension: Some("completeness"),
        severity: Some(words::severity(volume.severity)),
        custom_properties: vec![Custom { property: "tenonScope", value: "batch".into() }],
        ..Quality::default()
    };
    match (volume.at_least, volume.at_most) {
        (Some(least), Some(most)) if least == most => rule.must_be = Some(least),
        (Some(least), Some(most)) => rule.must_be_between = Some([least, most]),
        (Some(least), None) => rule.must_be_greater_or_equal_to = Some(least),
        (None, Some(most)) => rule.must_be_less_or_equal_to = Some(most),
        (None, None) => return None,
    }
    Some(rule)
}

fn sla(dataset: &DatasetName, spec: &DatasetSpec) -> Vec<Sla> {
    let promise = |property, span, element, description| {
        let (value, unit) = words::value_and_unit(span);
        Sla { property, value, unit, element, description }
    };
    let mut promises = Vec::new();
    if let (Some(freshness), Some(event_time)) = (&spec.contract.freshness, &spec.event_time) {
        let element = Some(format!("{dataset}.{event_time}"));
        let description = "how old the newest event of a batch may be when it lands";
        promises.push(promise("latency", freshness.at_most, element, description));
    }
    if let Some(latency) = spec.latency {
        let description = "how long a row may take from its source until it can be queried";
        promises.push(promise("latency", latency, None, description));
    }
    if let Some(retention) = spec.retention {
        promises.push(promise("retention", retention, None, "how long rows are kept after their event"));
    }
    promises
}
