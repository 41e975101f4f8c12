//! Quality rules, of a column and of a table.

use tenon_core::Share;
use tenon_core::spec::{Check, ColumnType, Contract, Distribution, Freshness, Severity, Volume};

use super::fields::{Fields, own, part, unread};
use super::property::Read;
use crate::odcs::remark::Notes;
use crate::odcs::tree::{Node, Place, Value};
use crate::odcs::{sql, words};

const TAKE_OUT: &str = "say it as a condition over a row under [[contract.checks]], and take it out of the file";

/// Rules, and the names of the table that queries may give it.
pub(super) struct Rules<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) tables: &'a [&'a str],
}

/// One rule, with what every kind of rule has.
struct Rule<'n> {
    place: Place,
    kind: &'n str,
    name: Option<&'n str>,
    severity: Option<Severity>,
    fields: Fields<'n>,
}

/// What a rule allows to be counted, both inclusive; none where that is no number of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    least: Option<f64>,
    most: Option<f64>,
}

impl Bounds {
    fn is_none_at_all(self) -> bool {
        self.most == Some(0.0) && self.least.is_none_or(|least| least <= 0.0)
    }
}

fn rule<'n>(node: &'n Node, notes: &mut Notes) -> Option<Rule<'n>> {
    let mut fields = Fields::of(node, "a quality rule", notes)?;
    let kind = fields.text("type", notes).map_or("library", |(_, kind)| kind);
    let name = fields.text("name", notes).or_else(|| fields.text("description", notes)).map(|(_, name)| name);
    let severity = fields.text("severity", notes).map(|(place, word)| {
        let known = words::severity_of(word);
        if known.is_none() {
            notes.lost(place, format!("`{word}` is no severity that is known here, and is taken for `error`"));
        }
        known.unwrap_or_default()
    });
    Some(Rule { place: node.place, kind, name, severity, fields })
}

/// What says nothing about rows.
const LOST: [&str; 11] = [
    "id",
    "description",
    "authoritativeDefinitions",
    "businessImpact",
    "dimension",
    "method",
    "schedule",
    "scheduler",
    "tags",
    "unit",
    "customProperties",
];

impl Rule<'_> {
    /// The end of a rule: how it is described and when it is run goes without a word.
    fn end(mut self, notes: &mut Notes) {
        for name in LOST {
            self.fields.take(name);
        }
        self.fields.rest(&[], notes);
    }

    /// What the rule's comparison allows; none, and a remark, where it is nothing that can be held here.
    fn bounds(&mut self, notes: &mut Notes) -> Option<Bounds> {
        let percent = self.fields.text("unit", notes).is_some_and(|(_, unit)| unit == "percent" || unit == "%");
        let mut found = Vec::new();
        let mut add = |number: Option<(Place, f64)>, bounds: fn(f64) -> Option<Bounds>| {
            found.extend(number.map(|(_, number)| (number, bounds(number))));
        };
        let exactly = |n: f64| Some(Bounds { least: Some(n), most: Some(n) });
        let at_least = |n: f64| Some(Bounds { least: Some(n.ceil()), most: None });
        let at_most = |n: f64| Some(Bounds { least: None, most: Some(n.floor()) });
        add(self.fields.number("mustBe", notes), exactly);
        add(self.fields.number("mustNotBe", notes), |n| (n == 0.0).then_some(Bounds { least: Some(1.0), most: None }));
        add(self.fields.number("mustBeGreaterThan", notes), |n| {
            Some(Bounds { least: Some(n.floor() + 1.0), most: None })
        });
        add(self.fields.number("mustBeGreaterOrEqualTo", notes), at_least);
        add(self.fields.number("mustBeLessThan", notes), |n| Some(Bounds { least: None, most: Some(n.ceil() - 1.0) }));
        add(self.fields.number("mustBeLessOrEqualTo", notes), at_most);
        let between = self.fields.take("mustBeBetween");
        let outside = self.fields.take("mustNotBeBetween");
        if let Some((_, node)) = between {
            let ends = pair(&node.value);
            found
                .push((f64::NAN, ends.map(|(low, high)| Bounds { least: Some(low.ceil()), most: Some(high.floor()) })));
        }
        if outside.is_some() {
            found.push((f64::NAN, None));
        }
        match found.as_slice() {
            [(number, Some(bounds))] if !percent || (*number == 0.0 && bounds.is_none_at_all()) => Some(*bounds),
            [] => {
                notes.wrong(self.place, "a quality rule says what `mustBe`");
                None
            }
            [_] => {
                notes.weaker(self.place, "what this rule allows cannot be held here", TAKE_OUT);
                None
            }
            _ => {
                notes.wrong(self.place, "a quality rule has one comparison");
                None
            }
        }
    }

    /// Whether the rule allows nothing to be counted; a remark where it allows something.
    fn allows_none(&mut self, notes: &mut Notes) -> bool {
        let bounds = self.bounds(notes);
        if bounds.is_some_and(|bounds| !bounds.is_none_at_all()) {
            let hint = "a row keeps a promise or does not; how many may be set aside is said by `max_quarantined`";
            notes.weaker(self.place, "a rule that lets some rows through cannot be held here", hint);
        }
        bounds.is_some_and(Bounds::is_none_at_all)
    }
}

fn pair(value: &Value) -> Option<(f64, f64)> {
    let Value::List(nodes) = value else { return None };
    let [Node { value: Value::Number(low), .. }, Node { value: Value::Number(high), .. }] = nodes.as_slice() else {
        return None;
    };
    low.as_f64().zip(high.as_f64())
}

/// The rules of a column: into its promises where it has a word for them, into conditions else.
pub(super) fn column_rules(rules: &Rules<'_>, read: &mut Read, notes: &mut Notes) {
    for node in rules.nodes {
        let Some(mut rule) = rule(node, notes) else { continue };
        match rule.kind {
            "library" => column_metric(&mut rule, read, notes),
            "sql" => {
                let checks = sql_rule(&mut rule, rules.tables, Some(&read.name), notes);
                read.checks.extend(checks);
            }
            _ => other_rule(&mut rule, notes),
        }
        rule.end(notes);
    }
}

fn column_metric(rule: &mut Rule<'_>, read: &mut Read, notes: &mut Notes) {
    let arguments = rule.fields.take("arguments");
    let Some(metric) = metric(rule, notes) else { return };
    if !rule.allows_none(notes) {
        return;
    }
    let column = sql::quoted(&read.name);
    let severity = rule.severity.unwrap_or(read.column.severity);
    // A column is as strict in all of its promises: a rule of another severity stands apart.
    let alike = severity == read.column.severity;
    let apart = |what: &str, condition: String, read: &mut Read| {
        let name = rule.name.map_or_else(|| format!("{} {what}", read.name), str::to_owned);
        read.checks.push(Check { name, sql: condition, severity });
    };
    let mut arguments = arguments.and_then(|(_, node)| Fields::of(node, "a metric's arguments", notes));
    match metric {
        "nullValues" if alike => read.column.nullable = false,
        "nullValues" => apart("is there", format!("{column} IS NOT NULL"), read),
        "missingValues" => {
            let listed = arguments.as_mut().map_or(&[][..], |arguments| arguments.list("missingValues", notes));
            if listed.is_empty() || listed.iter().any(|node| node.value == Value::Null) {
                match alike {
                    true => read.column.nullable = false,
                    false => apart("is there", format!("{column} IS NOT NULL"), read),
                }
            }
            let listed: Vec<String> = listed.iter().filter_map(literal).collect();
            if !listed.is_empty() {
                apart("is not missing", format!("{column} NOT IN ({})", listed.join(", ")), read);
            }
        }
        "invalidValues" => {
            let Some(arguments) = &mut arguments else {
                return notes.weaker(rule.place, "this rule does not say which values are valid", TAKE_OUT);
            };
            let (valid, pattern) = (arguments.take("validValues"), arguments.text("pattern", notes));
            if let Some((place, node)) = valid {
                let Value::List(nodes) = &node.value else {
                    return notes.wrong(place, "`validValues` is a list");
                };
                if alike && read.column.one_of.is_none() {
                    read.column.one_of = Some(nodes.iter().filter_map(as_text).collect());
                } else {
                    let listed: Vec<String> = nodes.iter().filter_map(literal).collect();
                    apart("is one of its values", format!("{column} IN ({})", listed.join(", ")), read);
                }
            }
            if let Some((_, theirs)) = pattern {
                let is_text = read.column.data_type == ColumnType::String;
                if alike && is_text && read.column.pattern.is_none() {
                    read.column.pattern = Some(crate::odcs::pattern::whole(theirs));
                } else {
                    let condition = format!("regexp_like({column}, {})", sql::literal(theirs));
                    apart("is written as it should be", condition, read);
                }
            }
            if valid.is_none() && pattern.is_none() {
                notes.weaker(rule.place, "this rule does not say which values are valid", TAKE_OUT);
            }
        }
        "duplicateValues" if alike => read.column.unique = true,
        "duplicateValues" => {
            let hint = "`unique` is as strict as its column: give both one severity";
            notes.weaker(rule.place, "this rule is of another severity than its column", hint);
        }
        _ => {
            let hint = "rows are counted by a rule of the table";
            notes.weaker(rule.place, format!("`{metric}` is no rule of a column"), hint);
        }
    }
    if let Some(arguments) = arguments {
        arguments.rest(&[], notes);
    }
}

/// The metric; `rule` is what it was called before 3.1.
fn metric<'n>(rule: &mut Rule<'n>, notes: &mut Notes) -> Option<&'n str> {
    let named = rule.fields.text("metric", notes).or_else(|| rule.fields.text("rule", notes));
    rule.fields.take("rule");
    let Some((place, metric)) = named else {
        notes.wrong(rule.place, "a quality rule names its `metric`");
        return None;
    };
    match metric {
        "duplicateCount" | "duplicateValues" => Some("duplicateValues"),
        "nullValues" | "missingValues" | "invalidValues" | "rowCount" => Some(metric),
        other => {
            notes.weaker(place, format!("the metric `{other}` is not known here"), TAKE_OUT);
            rule.bounds(&mut Notes::default());
            None
        }
    }
}

fn as_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn literal(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(sql::literal(text)),
        _ => as_text(node),
    }
}

fn sql_rule(rule: &mut Rule<'_>, tables: &[&str], column: Option<&str>, notes: &mut Notes) -> Option<Check> {
    let Some((place, query)) = rule.fields.text("query", notes) else {
        notes.wrong(rule.place, "a rule of type `sql` has a `query`");
        return None;
    };
    if !rule.allows_none(notes) {
        return None;
    }
    let Some(condition) = sql::condition_of(query, tables, column) else {
        let hint = "only `SELECT COUNT(*) FROM TABLE WHERE CONDITION` with `mustBe: 0` is a condition over each row";
        notes.weaker(place, "this query cannot be held against rows as they come", hint);
        return None;
    };
    let name = rule.name.map_or_else(|| condition.clone(), str::to_owned);
    Some(Check { name, sql: condition, severity: rule.severity.unwrap_or_default() })
}

/// Rules that only people, or other programs, can hold.
fn other_rule(rule: &mut Rule<'_>, notes: &mut Notes) {
    match rule.kind {
        "text" => notes.lost(rule.place, "a rule in words is for people: nothing holds it here"),
        "custom" => {
            let engine = rule.fields.text("engine", notes).map_or("", |(_, engine)| engine);
            notes.weaker(rule.place, format!("rules of the engine `{engine}` are not known here"), TAKE_OUT);
            rule.fields.take("implementation");
        }
        other => notes.wrong(rule.place, format!("ODCS knows no quality rule of type `{other}`")),
    }
}

/// The rules of a table.
pub(super) fn table_rules(rules: &Rules<'_>, contract: &mut Contract, notes: &mut Notes) {
    for node in rules.nodes {
        let Some(mut rule) = rule(node, notes) else { continue };
        match rule.kind {
            "library" => table_metric(&mut rule, contract, notes),
            "sql" => contract.checks.extend(sql_rule(&mut rule, rules.tables, None, notes)),
            "custom" if is_ours(node) => our_rule(&mut rule, contract, notes),
            _ => other_rule(&mut rule, notes),
        }
        rule.end(notes);
    }
}

fn is_ours(node: &Node) -> bool {
    let Value::Map(entries) = &node.value else { return false };
    entries.iter().any(|(key, node)| key.text == "engine" && node.value == Value::Text("tenon".to_owned()))
}

fn table_metric(rule: &mut Rule<'_>, contract: &mut Contract, notes: &mut Notes) {
    let arguments = rule.fields.take("arguments");
    match metric(rule, notes) {
        Some("rowCount") => row_count(rule, contract, notes),
        Some("duplicateValues") => {
            let mut arguments = arguments.and_then(|(_, node)| Fields::of(node, "a metric's arguments", notes));
            let columns = arguments.as_mut().map_or(&[][..], |arguments| arguments.list("properties", notes));
            let columns: Vec<String> = columns.iter().filter_map(as_text).collect();
            if !rule.allows_none(notes) {
                return;
            }
            match columns.as_slice() {
                [] => notes.weaker(rule.place, "this rule does not say of which columns", TAKE_OUT),
                [one] if contract.columns.contains_key(one) => {
                    contract.columns.entry(one.clone()).and_modify(|column| column.unique = true);
                }
                _ if contract.key.is_empty() || contract.key == columns => {
                    let told = "the columns become the key: within a batch no two rows have the same, and over the \
                                whole table with [dedup]";
                    notes.lost(rule.place, told);
                    contract.key = columns;
                }
                _ => {
                    let hint = "a contract has one key, which stands already";
                    notes.weaker(rule.place, "several columns cannot be unique beside the key", hint);
                }
            }
        }
        Some(metric) => {
            let hint = "say it of the column";
            notes.weaker(rule.place, format!("`{metric}` of a whole table cannot be held here"), hint);
            rule.bounds(&mut Notes::default());
        }
        None => {}
    }
}

fn row_count(rule: &mut Rule<'_>, contract: &mut Contract, notes: &mut Notes) {
    let custom = own(&mut rule.fields, notes);
    let of_a_batch = custom.iter().any(|one| one.name == "tenonScope");
    custom.iter().filter(|one| one.name != "tenonScope").for_each(|one| unread(one, &["tenonScope"], notes));
    let Some(bounds) = rule.bounds(notes) else { return };
    if !of_a_batch {
        let told =
            "the number of rows is held against each batch that comes, as a warning, not against the whole table";
        notes.lost(rule.place, told);
    }
    let severity = match rule.severity {
        Some(Severity::Quarantine | Severity::Refuse) if of_a_batch => Severity::Refuse,
        _ => Severity::Warn,
    };
    let rows = |bound: f64| if bound <= 0.0 { 0 } else { bound as u64 };
    let (least, most) = (bounds.least.map(rows), bounds.most.map(rows));
    let volume = contract.volume.get_or_insert(Volume { at_least: None, at_most: None, z: None, severity });
    if volume.at_least.is_some() || volume.at_most.is_some() || volume.severity != severity {
        let hint = "a contract has one rule over the number of rows";
        return notes.weaker(rule.place, "the number of rows is bounded twice", hint);
    }
    (volume.at_least, volume.at_most) = (least, most);
}

/// A rule that the standard has no word for, as an export writes it.
fn our_rule(rule: &mut Rule<'_>, contract: &mut Contract, notes: &mut Notes) {
    rule.fields.take("engine");
    let Some((place, node)) = rule.fields.take("implementation") else {
        return notes.wrong(rule.place, "a rule of type `custom` has an `implementation`");
    };
    let Some(mut said) = Fields::of(node, "a rule of the engine `tenon`", notes) else { return };
    if let Some((_, node)) = said.take("check") {
        contract.checks.extend(part::<Check>(place, "check", node, notes));
    }
    if let Some((_, node)) = said.take("key") {
        contract.key = part(place, "key", node, notes).unwrap_or_default();
    }
    if let Some((_, node)) = said.take("max_quarantined") {
        contract.max_quarantined = part::<Share>(place, "max_quarantined", node, notes);
    }
    if let Some((_, node)) = said.take("freshness") {
        contract.freshness = part::<Freshness>(place, "freshness", node, notes);
    }
    if let Some((_, node)) = said.take("distribution") {
        contract.distribution.extend(part::<Distribution>(place, "distribution", node, notes));
    }
    if let Some((_, node)) = said.take("volume")
        && let Some(usual) = part::<Volume>(place, "volume", node, notes)
    {
        match &mut contract.volume {
            Some(volume) if volume.severity == usual.severity && volume.z.is_none() => volume.z = usual.z,
            Some(_) => notes.wrong(place, "the number of rows is bounded twice"),
            none => *none = Some(usual),
        }
    }
    said.rest(&[], notes);
}
