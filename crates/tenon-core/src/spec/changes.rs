//! What a dataset may declare that follows the changes of another database's rows.

use super::{DatasetSpec, Severity, SpecFault};

/// What is wrong with a dataset that follows changes.
pub(super) fn check(file: &str, spec: &DatasetSpec, faults: &mut Vec<SpecFault>) {
    if !spec.follows_changes() {
        return;
    }
    let contract = &spec.contract;
    let mut wrong = |keys: &[&str], message: &str, hint: &str| {
        faults.push(SpecFault::at(file, keys, message).hint(hint));
    };
    if contract.key.is_empty() {
        let hint = "name the columns of its primary key: key = [\"…\"] under [contract]";
        wrong(&["source", "kafka", "changes"], "changes are of the row of a key, and the contract names none", hint);
    }
    if spec.dedup.is_some() {
        let hint = "leave `dedup` out: a key that comes again changes its row";
        wrong(&["dedup"], "a dataset that follows changes has one row a key, and nothing to leave out", hint);
    }
    if spec.late.is_some() {
        let hint = "leave `late` out: a change counts when it comes, whatever moment its row names";
        wrong(&["late"], "a change that is set aside for being late would leave its row as it was", hint);
    }
    if spec.keep_raw {
        let hint = "leave `keep_raw` out; raise `generation` of the source to read its topics from the beginning";
        wrong(&["keep_raw"], "a dataset that follows changes keeps no rows as they came: its topics do", hint);
    }
    if spec.clean.drop.is_some() {
        let hint = "keep the row, and leave it out in a dataset whose source is `sql`";
        wrong(&["clean", "drop"], "a change that is dropped would leave its row as it was", hint);
    }
    let refuses = "a stream of changes cannot be refused: what comes after builds on it";
    if contract.max_quarantined.is_some() {
        wrong(&["contract", "max_quarantined"], refuses, "leave `max_quarantined` out");
    }
    for (at, rule) in contract.checks.iter().enumerate().filter(|(_, rule)| rule.severity == Severity::Refuse) {
        let hint = format!("let check `{}` have severity \"quarantine\"", rule.name);
        wrong(&["contract", "checks", &at.to_string(), "severity"], refuses, &hint);
    }
    for (name, column) in &contract.columns {
        let keys = |key: &'static str| ["contract", "columns", name.as_str(), key];
        if column.severity == Severity::Refuse {
            wrong(&keys("severity"), refuses, "let it be \"quarantine\"");
        }
        if column.unique {
            let hint = "leave `unique` out: the database that the changes come from holds it";
            wrong(&keys("unique"), "a row that changes has its own value already", hint);
        }
        let is_key = contract.key.contains(name);
        if is_key && column.nullable {
            wrong(&keys("nullable"), "a part of the key is never missing", "leave `nullable` out");
        }
        if is_key && spec.clean.columns.get(name).is_some_and(|clean| clean.sql.is_some()) {
            let hint = "a delete brings the key alone: let the key's columns be columns of the source";
            wrong(&["clean", "columns", name, "sql"], "a part of the key cannot be derived", hint);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let spec: DatasetSpec = toml::from_str(&format!("description = \"d\"\nevent_time = \"at\"\n{text}")).unwrap();
        let mut faults = Vec::new();
        check("d.toml", &spec, &mut faults);
        faults.into_iter().map(|fault| fault.keys.join(".")).collect()
    }

    const KAFKA: &str = "[source.kafka]\nbrokers = \"b:9092\"\ntopics = [\"t\"]\nchanges = \"debezium\"\n";
    const COLUMNS: &str = "[contract.columns]\nid = { type = \"int64\" }\nat = { type = \"timestamp\" }\n";

    #[test]
    fn what_would_lose_a_change_is_a_fault() {
        assert_eq!(told(&format!("{KAFKA}[contract]\nkey = [\"id\"]\n{COLUMNS}")), Vec::<String>::new());
        assert_eq!(told(&format!("{KAFKA}{COLUMNS}")), ["source.kafka.changes"]);
        let all = format!(
            "keep_raw = true\n{KAFKA}[dedup]\nwithin = \"1h\"\n[late]\nallowed = \"1h\"\n[clean]\ndrop = \"id = 1\"\n\
             [clean.columns.id]\nsql = \"a + b\"\n[contract]\nkey = [\"id\"]\nmax_quarantined = \"5%\"\n\
             [[contract.checks]]\nname = \"c\"\nsql = \"true\"\nseverity = \"refuse\"\n\
             [contract.columns]\nid = {{ type = \"int64\", nullable = true }}\n\
             at = {{ type = \"timestamp\", severity = \"refuse\", unique = true }}\n"
        );
        let expected = [
            "dedup",
            "late",
            "keep_raw",
            "clean.drop",
            "contract.max_quarantined",
            "contract.checks.0.severity",
            "contract.columns.id.nullable",
            "clean.columns.id.sql",
            "contract.columns.at.severity",
            "contract.columns.at.unique",
        ];
        assert_eq!(told(&all), expected);
    }

    #[test]
    fn other_datasets_may_declare_what_they_like() {
        let other = KAFKA.replace("changes = \"debezium\"\n", "");
        assert!(told(&format!("keep_raw = true\n{other}{COLUMNS}")).is_empty());
    }
}
