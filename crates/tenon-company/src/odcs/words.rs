//! Words and figures that ODCS and a dataset's declaration write differently.

use tenon_core::Span;
use tenon_core::spec::{ColumnType, DataClass, Severity};

/// The severity's word in a quality rule.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warn => "warning",
        Severity::Quarantine => "error",
        Severity::Refuse => "critical",
    }
}

/// What a severity's word means here; none for a word that is not known.
pub(super) fn severity_of(word: &str) -> Option<Severity> {
    match word.to_ascii_lowercase().as_str() {
        "info" | "low" | "minor" | "warn" | "warning" => Some(Severity::Warn),
        "error" | "medium" | "major" | "high" | "quarantine" => Some(Severity::Quarantine),
        "critical" | "blocker" | "fatal" | "refuse" => Some(Severity::Refuse),
        _ => None,
    }
}

/// The word of a column's classification.
pub(super) fn class(class: DataClass) -> &'static str {
    match class {
        DataClass::Public => "public",
        DataClass::Identifier => "identifier",
        DataClass::Personal => "personal",
        DataClass::Protected => "protected",
    }
}

/// What a classification's word means here; none for a word that is not known.
pub(super) fn class_of(word: &str) -> Option<DataClass> {
    match word.to_ascii_lowercase().as_str() {
        "public" | "open" => Some(DataClass::Public),
        "identifier" => Some(DataClass::Identifier),
        "personal" | "pii" | "phi" | "sensitive" => Some(DataClass::Personal),
        "protected" => Some(DataClass::Protected),
        _ => None,
    }
}

/// A type's logical word, and the format that tells its size where it has one. Its physical word is our own.
pub(super) fn type_words(data_type: ColumnType) -> (&'static str, Option<&'static str>) {
    match data_type {
        ColumnType::Boolean => ("boolean", None),
        ColumnType::Int32 => ("integer", Some("i32")),
        ColumnType::Int64 => ("integer", Some("i64")),
        ColumnType::Float32 => ("number", Some("f32")),
        ColumnType::Float64 => ("number", Some("f64")),
        ColumnType::String => ("string", None),
        ColumnType::Timestamp => ("timestamp", None),
        ColumnType::Date => ("date", None),
        ColumnType::Vector(_) => ("array", None),
    }
}

/// The type that a physical word of some database means: `VARCHAR(20)`, `int8`, `TIMESTAMP WITH TIME ZONE`.
pub(super) fn type_of_physical(word: &str) -> Option<ColumnType> {
    let word = word.to_ascii_lowercase();
    if let Ok(vector @ ColumnType::Vector(_)) = word.parse() {
        return Some(vector);
    }
    let bare = word.split(['(', '[', ' ', '<']).next().unwrap_or_default();
    Some(match bare {
        "bool" | "boolean" => ColumnType::Boolean,
        "int32" | "int" | "integer" | "int4" | "smallint" | "int2" | "tinyint" | "int16" | "serial" => {
            ColumnType::Int32
        }
        "int64" | "bigint" | "long" | "int8" | "bigserial" => ColumnType::Int64,
        "float32" | "real" | "float4" => ColumnType::Float32,
        "float64" | "double" | "float" | "float8" => ColumnType::Float64,
        "decimal" | "numeric" | "number" | "dec" => ColumnType::Float64,
        "string" | "text" | "varchar" | "char" | "character" | "nvarchar" | "nchar" | "varchar2" | "bpchar"
        | "clob" | "uuid" => ColumnType::String,
        "date" => ColumnType::Date,
        "timestamp" | "datetime" | "timestamptz" | "timestamp_ntz" | "timestamp_ltz" | "timestamp_tz" | "datetime2" => {
            ColumnType::Timestamp
        }
        _ => return None,
    })
}

/// Units of time: ours, then the words by which others know them.
const UNITS: [(&str, &[&str]); 8] = [
    ("y", &["y", "yr", "yrs", "year", "years"]),
    ("w", &["w", "wk", "week", "weeks"]),
    ("d", &["d", "day", "days"]),
    ("h", &["h", "hr", "hrs", "hour", "hours"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("s", &["s", "sec", "secs", "second", "seconds"]),
    ("ms", &["ms", "millisecond", "milliseconds"]),
    ("us", &["us", "microsecond", "microseconds"]),
];

/// A span as a number and a unit.
pub(super) fn value_and_unit(span: Span) -> (i64, &'static str) {
    let text = span.to_string();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let known = UNITS.iter().find(|(ours, _)| *ours == &text[digits..]).map(|(_, theirs)| theirs[0]);
    match (text[..digits].parse(), known) {
        (Ok(number), Some(unit)) => (number, unit),
        _ => (span.as_micros(), "us"),
    }
}

/// The span of a number in a unit, where both are known and it can be told exactly.
pub(super) fn span_of(number: f64, unit: &str) -> Option<Span> {
    let unit = unit.trim();
    let (ours, _) = UNITS.iter().find(|(_, theirs)| theirs.iter().any(|their| their.eq_ignore_ascii_case(unit)))?;
    let one = match *ours {
        "us" => 1,
        ours => format!("1{ours}").parse::<Span>().ok()?.as_micros(),
    };
    // Doubles hold every whole number up to here.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && (0.0..EXACT).contains(&number) {
        return (number as i64).checked_mul(one).map(Span::from_micros);
    }
    let micros = number * one as f64;
    let is_whole = micros.fract() == 0.0 && (0.0..EXACT).contains(&micros);
    is_whole.then_some(Span::from_micros(micros as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_core::spec::Dimensions;

    use super::*;

    #[test]
    fn every_word_of_ours_comes_back() {
        for one in [Severity::Warn, Severity::Quarantine, Severity::Refuse] {
            assert_eq!(severity_of(severity(one)), Some(one));
        }
        for one in [DataClass::Public, DataClass::Identifier, DataClass::Personal, DataClass::Protected] {
            assert_eq!(class_of(class(one)), Some(one));
        }
        for text in ["5y", "2w", "90d", "7h", "15m", "30s", "250ms", "1500ms", "0s"] {
            let span: Span = text.parse().unwrap();
            let (number, unit) = value_and_unit(span);
            assert_eq!(span_of(number as f64, unit), Some(span), "{text}");
        }
    }

    #[test]
    fn what_is_no_exact_time_is_none() {
        for (number, unit) in [(1.0, "month"), (1.0, ""), (-1.0, "d"), (f64::NAN, "d"), (1e300, "y"), (0.3, "us")] {
            assert_eq!(span_of(number, unit), None, "{number} {unit}");
        }
        assert_eq!(span_of(1.5, "hours"), Some("90m".parse().unwrap()));
    }

    #[test]
    fn types_of_databases_are_known_by_their_words() {
        for (word, known) in [
            ("VARCHAR(20)", Some(ColumnType::String)),
            ("BIGINT", Some(ColumnType::Int64)),
            ("NUMERIC(18, 2)", Some(ColumnType::Float64)),
            ("timestamp with time zone", Some(ColumnType::Timestamp)),
            ("STRUCT<a INT>", None),
            ("VECTOR(64)", Dimensions::new(64).map(ColumnType::Vector)),
            ("vector", None),
        ] {
            assert_eq!(type_of_physical(word), known, "{word}");
        }
    }
}
