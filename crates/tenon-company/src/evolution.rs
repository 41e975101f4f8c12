//! What a change of a dataset's declaration means for those who read it.

use serde::Serialize;
use tenon_core::spec::DatasetSpec;

/// One difference between two declarations of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is different, in plain words.
    pub sentence: String,
    /// Whether readers of the dataset may break.
    pub breaking: bool,
}

/// The differences that matter to readers and writers, in the order of the contract. A column that is gone, another type,
/// values that may be missing where none was, another unit and another meaning of time break readers; a stricter promise
/// breaks nobody but rows that do not keep it.
pub fn differences(before: &DatasetSpec, after: &DatasetSpec) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut tell = |breaking: bool, sentence: String| found.push(Difference { sentence, breaking });
    if before.event_time != after.event_time {
        let name = |spec: &DatasetSpec| spec.event_time.clone().unwrap_or_else(|| "none".to_owned());
        tell(true, format!("`event_time` was {} and becomes {}", name(before), name(after)));
    }
    let (old, new) = (&before.contract.columns, &after.contract.columns);
    for (name, column) in old {
        let Some(now) = new.get(name) else {
            tell(true, format!("column `{name}` is gone"));
            continue;
        };
        if column.data_type != now.data_type {
            tell(true, format!("column `{name}` was {} and becomes {}", column.data_type, now.data_type));
        }
        match (column.nullable, now.nullable) {
            (false, true) => tell(true, format!("column `{name}` may be missing now")),
            (true, false) => tell(false, format!("column `{name}` may not be missing any more")),
            _ => {}
        }
        if column.unit != now.unit {
            let unit = |unit: &Option<String>| unit.clone().unwrap_or_else(|| "no unit".to_owned());
            tell(true, format!("column `{name}` was in {} and becomes {}", unit(&column.unit), unit(&now.unit)));
        }
        if let (Some([low, high]), now) = (column.range, now.range)
            && now.is_none_or(|[new_low, new_high]| new_low < low || new_high > high)
        {
            tell(false, format!("column `{name}` may lie outside [{low}, {high}] now"));
        }
    }
    for (name, column) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        tell(false, format!("column `{name}`, {}, is new", column.data_type));
    }
    if before.contract.key != after.contract.key {
        let key = |spec: &DatasetSpec| match spec.contract.key.is_empty() {
            true => "none".to_owned(),
            false => spec.contract.key.join(", "),
        };
        tell(true, format!("the key was {} and becomes {}", key(before), key(after)));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_core::spec::{SpecFile, parse};

    use super::*;

    fn spec(columns: &str) -> DatasetSpec {
        let text = format!("description = \"d\"\n[source]\npush = true\n[contract.columns]\n{columns}");
        parse(&SpecFile { path: "d.toml".to_owned(), text }).unwrap()
    }

    #[test]
    fn what_breaks_readers_is_told_from_what_does_not() {
        let before = spec(
            "id = { type = \"string\" }\nn = { type = \"int64\", range = [0, 5], unit = \"minutes\" }\nold = { type = \"date\" }",
        );
        let after = spec(
            "id = { type = \"string\", nullable = true }\nn = { type = \"float64\", range = [0, 9], unit = \"minutes\" }\nmore = { type = \"date\" }",
        );
        let told: Vec<String> = differences(&before, &after)
            .into_iter()
            .map(|found| format!("{} {}", if found.breaking { "breaks:" } else { "fine:" }, found.sentence))
            .collect();
        assert_eq!(
            told,
            [
                "breaks: column `id` may be missing now",
                "breaks: column `n` was int64 and becomes float64",
                "fine: column `n` may lie outside [0, 5] now",
                "breaks: column `old` is gone",
                "fine: column `more`, date, is new",
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
