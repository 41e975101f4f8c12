//! Texts as moments, days and numbers, the way their source writes them.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type};
use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use tenon_core::spec::{ColumnType, Epoch, Parse};

use crate::contract::convert;

/// How a source writes a column, compiled.
pub(super) enum Parser {
    Moments { formats: Vec<Vec<Item<'static>>>, zone: Tz, day: bool, rule: String },
    Epoch { unit: Epoch, day: bool, rule: String },
    Numbers { decimal: char, thousands: Option<char>, rule: String },
}

impl Parser {
    /// Compiles what is declared.
    ///
    /// # Errors
    /// The format or zone that is none.
    pub(super) fn compile(parse: &Parse, kind: ColumnType) -> Result<Self, String> {
        let day = kind == ColumnType::Date;
        if parse.is_of_numbers() {
            let decimal = parse.decimal.unwrap_or('.');
            let rule = match parse.thousands {
                Some(thousands) => format!("a number such as 1{thousands}234{decimal}5"),
                None => format!("a number such as 1234{decimal}5"),
            };
            return Ok(Self::Numbers { decimal, thousands: parse.thousands, rule });
        }
        if let Some(unit) = parse.epoch {
            let counted = match unit {
                Epoch::Seconds => "seconds",
                Epoch::Milliseconds => "milliseconds",
                Epoch::Microseconds => "microseconds",
            };
            return Ok(Self::Epoch { unit, day, rule: format!("a count of {counted} since 1970") });
        }
        let compile = |format: &String| {
            let items = StrftimeItems::new(format).parse_to_owned();
            items.map_err(|_| format!("`{format}` is no format of a moment: it is made of parts such as %Y, %m and %d"))
        };
        let formats: Vec<Vec<Item<'static>>> = parse.formats.iter().map(compile).collect::<Result<_, _>>()?;
        let zone = parse.zone.as_deref().unwrap_or("+00:00");
        let zone = Tz::from_str(zone).map_err(|_| format!("`{zone}` is no time zone that is known"))?;
        let rule = match formats.is_empty() {
            true => "a moment that its zone has once".to_owned(),
            false => format!("written as {}", parse.formats.join(" or ")),
        };
        Ok(Self::Moments { formats, zone, day, rule })
    }

    /// What a value that it cannot read is not: `written as %d/%m/%Y`.
    pub(super) fn rule(&self) -> &str {
        match self {
            Self::Moments { rule, .. } | Self::Epoch { rule, .. } | Self::Numbers { rule, .. } => rule,
        }
    }

    /// Reads values; one that cannot be read is none.
    ///
    /// # Errors
    /// Why no value of this type could ever be read.
    pub(super) fn parse(&self, values: &ArrayRef) -> Result<ArrayRef, String> {
        match self {
            Self::Epoch { unit, day, .. } if !values.data_type().is_temporal() => epoch(values, *unit, *day),
            Self::Moments { formats, zone, day, .. } => match values.data_type() {
                DataType::Utf8 => Ok(moments(values.as_string(), formats, *zone, *day)),
                _ => Ok(Arc::clone(values)),
            },
            Self::Numbers { decimal, thousands, .. } => match values.data_type() {
                DataType::Utf8 => Ok(numbers(values.as_string(), *decimal, *thousands)),
                _ => Ok(Arc::clone(values)),
            },
            Self::Epoch { .. } => Ok(Arc::clone(values)),
        }
    }
}

fn epoch(values: &ArrayRef, unit: Epoch, day: bool) -> Result<ArrayRef, String> {
    let (counts, _) = convert(values, ColumnType::Int64)?;
    let counts: &Int64Array = counts.as_primitive::<Int64Type>();
    let micros = counts.iter().map(|count| {
        let count = count?;
        match unit {
            Epoch::Seconds => count.checked_mul(1_000_000),
            Epoch::Milliseconds => count.checked_mul(1_000),
            Epoch::Microseconds => Some(count),
        }
    });
    Ok(whole(micros, day))
}

fn moments(texts: &StringArray, formats: &[Vec<Item<'static>>], zone: Tz, day: bool) -> ArrayRef {
    let read = |text: &str| match formats.is_empty() {
        true => plain(text, zone),
        false => formats.iter().find_map(|format| moment(text, format, zone, day)),
    };
    whole(texts.iter().map(|text| read(text?)), day)
}

/// Microseconds since 1970, as moments or days. A moment within a day is no day.
fn whole(micros: impl Iterator<Item = Option<i64>>, day: bool) -> ArrayRef {
    const A_DAY: i64 = 86_400_000_000;
    if !day {
        return Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"));
    }
    let day = |micros: i64| (micros % A_DAY == 0).then(|| i32::try_from(micros / A_DAY).ok()).flatten();
    Arc::new(micros.map(|micros| micros.and_then(day)).collect::<Date32Array>())
}

/// A moment written as `format` says; a day alone is its first moment. The day of a date column has no zone.
fn moment(text: &str, format: &[Item<'static>], zone: Tz, day: bool) -> Option<i64> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, format.iter()).ok()?;
    if parsed.offset().is_some() {
        return Some(parsed.to_datetime().ok()?.timestamp_micros());
    }
    let local = match parsed.to_naive_datetime_with_offset(0) {
        Ok(local) => local,
        // Without a time of day; with half of one it is no moment.
        Err(_) if parsed.hour_div_12().is_none() && parsed.minute().is_none() => {
            parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN)
        }
        Err(_) => return None,
    };
    if day { Some(local.and_utc().timestamp_micros()) } else { in_zone(local, zone) }
}

/// A moment as ISO 8601 has it, in `zone` where it names none.
fn plain(text: &str, zone: Tz) -> Option<i64> {
    if let Ok(moment) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(moment.timestamp_micros());
    }
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
        .or_else(|_| NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN)));
    in_zone(local.ok()?, zone)
}

/// The one moment that a zone's clocks show so. An hour that comes twice in autumn, or not at all in spring, names none.
fn in_zone(local: NaiveDateTime, zone: Tz) -> Option<i64> {
    Some(zone.from_local_datetime(&local).single()?.timestamp_micros())
}

/// Numbers in the notation that programs have, as text still: whether they are whole is for the contract to say.
fn numbers(texts: &StringArray, decimal: char, thousands: Option<char>) -> ArrayRef {
    let mut plain = String::new();
    let read = |text: &str| {
        plain.clear();
        number(text, decimal, thousands, &mut plain)?;
        Some(plain.clone())
    };
    let mut read = read;
    Arc::new(texts.iter().map(|text| read(text?)).collect::<StringArray>())
}

/// Writes a number's sign, digits, point and fraction to `plain`; none where the text is no number.
fn number(text: &str, decimal: char, thousands: Option<char>, plain: &mut String) -> Option<()> {
    let (sign, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if sign {
        plain.push('-');
    }
    let (whole, fraction) = match rest.split_once(decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (rest, None),
    };
    let groups: Vec<&str> = match thousands {
        Some(thousands) => whole.split(thousands).collect(),
        None => vec![whole],
    };
    // Either no group is set apart, or all but the first have three digits (two, as in India, above the last).
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (last, above) = groups.split_last()?;
    let grouped = above.is_empty() || last.len() == 3 && above.iter().skip(1).all(|group| matches!(group.len(), 2 | 3));
    if !grouped || !groups.iter().all(|group| is_digits(group)) {
        return None;
    }
    groups.iter().for_each(|group| plain.push_str(group));
    if let Some(fraction) = fraction {
        if !is_digits(fraction) {
            return None;
        }
        plain.push('.');
        plain.push_str(fraction);
    }
    Some(())
}
