//! Training, serving and the definition, against each other on data made to find a difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Float32Type;
use arrow::record_batch::RecordBatch;
use num_bigint::BigInt;
use proptest::prelude::*;
use tenon_core::spec::{Aggregate, Window};
use tenon_core::{Span, Timestamp};

use super::*;

const MINUTE: i64 = 60_000_000;
const TTL: i64 = 30;
const AGGREGATES: [Aggregate; 14] = [
    Aggregate::Last,
    Aggregate::First,
    Aggregate::Count,
    Aggregate::Sum,
    Aggregate::Mean,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::Std,
    Aggregate::Distinct,
    Aggregate::Quantile,
    Aggregate::TopK,
    Aggregate::Rate,
    Aggregate::Age,
    Aggregate::Complete,
];

fn windows() -> [Window; 6] {
    let minutes = |minutes| Span::from_micros(minutes * MINUTE);
    [
        Window::Sliding(minutes(7)),
        Window::Sliding(minutes(30)),
        Window::Tumbling { every: minutes(15), origin: Timestamp::from_micros(0) },
        Window::Tumbling { every: minutes(11), origin: Timestamp::from_micros(500 * MINUTE + 1) },
        Window::Session { gap: minutes(4) },
        Window::Lifetime,
    ]
}

/// Every aggregate over every window, of a column, and of the rows where that makes sense.
fn view(known_at: bool) -> View {
    let mut features = Vec::new();
    for aggregate in AGGREGATES {
        // A rate is of a window with a length.
        let fits = |window: &Window| aggregate != Aggregate::Rate || window.span().is_some();
        for window in windows().into_iter().filter(fits) {
            let name = format!("{aggregate:?} over {window}");
            let (q, k) = match aggregate {
                Aggregate::Quantile => (Some(0.7), None),
                Aggregate::TopK => (None, Some(2)),
                _ => (None, None),
            };
            let column = (aggregate != Aggregate::Complete).then_some(0);
            features.push(Feature { q, k, ..Feature::new(&name, aggregate, column, window) });
            if matches!(aggregate, Aggregate::Count | Aggregate::Rate | Aggregate::Age) {
                features.push(Feature::new(&format!("{name} of rows"), aggregate, None, window));
            }
        }
    }
    View {
        entity: vec!["carrier".into(), "origin".into()],
        event_time: "event".into(),
        known_at: known_at.then(|| "known".into()),
        columns: vec!["delay".into()],
        vectors: Vec::new(),
        ttl: Span::from_micros(TTL * MINUTE),
        features,
    }
}

#[derive(Debug, Clone)]
struct Row {
    carrier: Option<u8>,
    origin: Option<bool>,
    event: Option<i64>,
    known: Option<i64>,
    delay: Option<f64>,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let delay = prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        (-3i32..3).prop_map(|tie| Some(f64::from(tie))),
        (-1e9..1e9f64).prop_map(Some),
    ];
    let row = (
        prop::option::weighted(0.95, 0u8..3),
        prop::option::weighted(0.95, any::<bool>()),
        prop::option::weighted(0.97, 0i64..120),
        prop::option::weighted(0.97, -5i64..40),
        delay,
    );
    let row = row.prop_map(|(carrier, origin, event, late, delay)| Row {
        carrier,
        origin,
        event: event.map(|event| event * MINUTE),
        known: late.map(|late| (event.unwrap_or(0) + late) * MINUTE),
        delay,
    });
    prop::collection::vec(row, 0..60)
}

fn batch(rows: &[Row]) -> RecordBatch {
    let carriers: StringArray = rows.iter().map(|row| row.carrier.map(|carrier| format!("C{carrier}"))).collect();
    let origins: BooleanArray = rows.iter().map(|row| row.origin).collect();
    let events: TimestampMicrosecondArray = rows.iter().map(|row| row.event).collect();
    let known: TimestampMicrosecondArray = rows.iter().map(|row| row.known).collect();
    let delays: Float64Array = rows.iter().map(|row| row.delay).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("carrier", Arc::new(carriers) as ArrayRef, true),
        ("origin", Arc::new(origins) as ArrayRef, true),
        ("event", Arc::new(events.with_timezone("UTC")) as ArrayRef, true),
        ("known", Arc::new(known.with_timezone("UTC")) as ArrayRef, true),
        ("delay", Arc::new(delays) as ArrayRef, true),
    ])
    .unwrap()
}

/// A row as (event, known, value).
type Usable = (i64, i64, f64);

/// A row with its entity; none: it can never be used.
fn usable(view: &View, row: &Row) -> Option<((u8, bool), Usable)> {
    let event = row.event?;
    let known = match &view.known_at {
        None => event,
        Some(_) => row.known?.max(event),
    };
    let value = row.delay.filter(|value| !value.is_nan()).unwrap_or(f64::NAN);
    Some(((row.carrier?, row.origin?), (event, known, value)))
}

/// From when to when a window reaches, both ends in: of microseconds, so that what is open at an end is closed at the next.
fn reach(window: Window, known: &[Usable], at: i64) -> (i64, i64) {
    match window {
        Window::Lifetime => (i64::MIN, at),
        Window::Sliding(span) => (at - span.as_micros() + 1, at),
        Window::Tumbling { every, origin } => {
            let (every, mut end) = (every.as_micros(), origin.as_micros());
            while end > at {
                end -= every;
            }
            while end + every <= at {
                end += every;
            }
            (end - every, end - 1)
        }
        Window::Session { gap } => {
            let mut first = at;
            while let Some(before) = known
                .iter()
                .map(|row| row.0)
                .filter(|event| (first - gap.as_micros()..first).contains(event) && *event > at - TTL * MINUTE)
                .min()
            {
                first = before;
            }
            (first.max(at - TTL * MINUTE + 1), at)
        }
    }
}

/// Bits that a number of these tests has behind its point.
const BEHIND: i32 = 200;

/// A number as a whole number of 2^-[`BEHIND`].
fn whole(value: f64) -> BigInt {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let number = BigInt::from(bits & ((1 << 52) - 1) | u64::from(exponent > 0) << 52);
    let shift = exponent.max(1) - 1075 + BEHIND;
    let whole = if shift < 0 { number >> -shift } else { number << shift };
    if value < 0.0 { -whole } else { whole }
}

/// A whole number of 2^-`behind` as the nearest number, by how the standard library reads decimals.
fn nearest(whole: &BigInt, behind: i32) -> f64 {
    whole.to_string().parse::<f64>().unwrap() * 2.0_f64.powi(-behind)
}

/// The definition, in the plainest words: no index, no order of storage, nothing shared with the code under test.
fn by_definition(view: &View, feature: &Feature, rows: &[Row], entity: (u8, bool), at: i64) -> Option<f32> {
    let all: Vec<_> = rows.iter().filter_map(|row| usable(view, row)).collect();
    let mut known: Vec<_> =
        all.iter().filter(|row| row.0 == entity && row.1.1 <= at && row.1.0 <= at).map(|row| row.1).collect();
    known.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    let (from, to) = reach(feature.window, &known, at);
    if feature.aggregate == Aggregate::Complete {
        let began = all.iter().map(|row| row.1.1).min()?;
        let filled = match feature.window {
            Window::Lifetime => began <= at,
            Window::Sliding(_) => began < from,
            Window::Tumbling { .. } => began <= from,
            Window::Session { gap } => began <= from - gap.as_micros() && from - gap.as_micros() >= at - TTL * MINUTE,
        };
        return Some(f32::from(u8::from(filled)));
    }
    let of_column = |row: &&(i64, i64, f64)| feature.column.is_none() || !row.2.is_nan();
    let used: Vec<_> = known.iter().filter(|row| (from..=to).contains(&row.0)).filter(of_column).collect();
    let values: Vec<f64> = used.iter().map(|row| row.2).collect();
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let mut different = sorted.clone();
    different.dedup();
    let count = values.len() as f64;
    let exact: BigInt = values.iter().map(|value| whole(*value)).sum();
    let sum = nearest(&exact, BEHIND);
    let value = match feature.aggregate {
        Aggregate::Count => Some(count),
        Aggregate::Sum => Some(sum),
        Aggregate::Distinct => Some(different.len() as f64),
        Aggregate::Rate => feature.window.span().map(|span| count / span.as_secs_f64()),
        _ if used.is_empty() => None,
        Aggregate::Last => values.last().copied(),
        Aggregate::First => values.first().copied(),
        Aggregate::Mean => Some(sum / count),
        Aggregate::Min => sorted.first().copied(),
        Aggregate::Max => sorted.last().copied(),
        Aggregate::Std if values.len() < 2 => None,
        Aggregate::Std => {
            let squares: BigInt = values.iter().map(|value| whole(*value).pow(2)).sum();
            let scatter = nearest(&(squares * values.len() - exact.pow(2)), 2 * BEHIND);
            let deviation = (scatter / (count * (count - 1.0))).sqrt();
            let mean = sum / count;
            let in_two_passes = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
            assert!(
                (deviation.powi(2) - in_two_passes).abs() <= 1e-9 * in_two_passes + 1e-6,
                "{deviation} {in_two_passes}"
            );
            Some(deviation)
        }
        Aggregate::Quantile => sorted.get((0.7 * (count - 1.0)) as usize).copied(),
        Aggregate::TopK => {
            let times = |value: &f64| values.iter().filter(|other| *other == value).count();
            different.sort_by_key(|value| std::cmp::Reverse(times(value)));
            different.get(1).copied()
        }
        Aggregate::Age => used.last().map(|row| (at - row.0) as f64 / (60 * MINUTE) as f64),
        Aggregate::Complete => unreachable!(),
    };
    value.map(|value| value as f32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Random streams (out of order, known late, nulls, equal rows and equal moments) and random observations: the
    /// offline join, a timeline that saw only what had arrived by then, and the definition agree bit by bit.
    #[test]
    fn offline_is_online_is_the_definition(
        rows in rows(),
        shuffled in any::<u64>(),
        observations in prop::collection::vec((0u8..4, any::<bool>(), -10i64..170), 1..40),
        with_known_at in any::<bool>(),
        spared in 0i64..20,
    ) {
        let view = view(with_known_at);
        let whole = batch(&rows);
        let types = KeyType::all_of(&whole.schema(), &view.entity).unwrap();
        let (left, right) = (rows.len() / 2, rows.len() - rows.len() / 2);
        let history = History::new(&view, &types, &[whole.slice(left, right), whole.slice(0, left)]).unwrap();

        let asked: Vec<Row> = observations.iter().map(|(carrier, origin, at)| Row {
            carrier: Some(*carrier), origin: Some(*origin), event: Some(at * MINUTE), known: None, delay: None,
        }).collect();
        let joined = history.join(&view, &batch(&asked), "event").unwrap().columns;

        // Online, rows arrive one by one in an order of their own.
        let source = SourceRows::read(&view, &types, &[whole]).unwrap();
        let mut arrivals: Vec<usize> = (0..source.len()).collect();
        arrivals.sort_by_key(|row| (*row as u64 + 1).wrapping_mul(shuffled | 1).rotate_left(23));
        let mut everything: HashMap<Vec<u8>, Timeline> = HashMap::new();
        for row in arrivals {
            let (event, known, values) = source.row(row);
            let timeline = everything.entry(source.key(row).to_vec()).or_insert_with(|| Timeline::new(1));
            timeline.insert(event, known, values);
        }

        let keys = Keys::read(&batch(&asked), &view.entity, &types).unwrap();
        for (row, (carrier, origin, at)) in observations.iter().enumerate() {
            let at = at * MINUTE;
            let mut key = Vec::new();
            prop_assert!(keys.write(row, &mut key));
            // What had not happened or was not known by then cannot have been there to read.
            let mut as_of_then = everything.get(&key).cloned().unwrap_or_default();
            let gone: Vec<_> = {
                let all = as_of_then.rows();
                (0..as_of_then.len()).filter(|row| all.known()[*row] > at)
                    .map(|row| (all.events()[row], all.known()[row], all.value(row, 0))).collect()
            };
            for (event, known, value) in gone {
                prop_assert!(as_of_then.remove(event, known, &[value]));
            }
            let read = |rows: Rows<'_>, began: Option<i64>| {
                let mut read = Vec::new();
                view.kernel().evaluator().evaluate(rows, at, began, |feature| read.push(feature));
                read
            };
            let online = read(as_of_then.rows(), source.began().filter(|began| *began <= at));
            // A store folds what was known before the oldest moment that it can still be asked for.
            let mut folded = everything.get(&key).cloned().unwrap_or_default();
            let folding = Arc::new(view.kernel().folding().unwrap());
            folded.fold_before(&folding, at - (TTL + spared) * MINUTE + 1);
            if let Some(past) = folded.rows().past().map(Past::to_bytes) {
                folded.set_past(Past::from_bytes(&folding, 1, &past).unwrap());
            }
            let folded = read(folded.rows(), source.began());
            let late = read(everything.get(&key).map_or_else(Rows::none, Timeline::rows), source.began());
            for (place, feature) in view.features.iter().enumerate() {
                let (column, online, late) = (joined[place].as_primitive::<Float32Type>(), online[place], late[place]);
                let offline = column.is_valid(row).then(|| column.value(row).to_bits());
                let defined = by_definition(&view, feature, &rows, (*carrier, *origin), at).map(f32::to_bits);
                // Of no rows at all nothing is known, and a window is not complete.
                let defined = defined.or((feature.aggregate == Aggregate::Complete).then_some(0));
                prop_assert_eq!(offline, defined, "{} at {}", &feature.name, at);
                prop_assert_eq!(online.value.ok().map(f32::to_bits), defined, "{} at {}", &feature.name, at);
                prop_assert_eq!((late.value.ok(), late.known_at, late.event_at, late.complete),
                    (online.value.ok(), online.known_at, online.event_at, online.complete));
                prop_assert_eq!((folded[place].value.map(f32::to_bits), folded[place].known_at, folded[place].event_at),
                    (late.value.map(f32::to_bits), late.known_at, late.event_at), "{} at {}", &feature.name, at);
                prop_assert!(online.known_at.is_none_or(|known| known <= at));
            }
        }
    }
}

#[test]
fn keys_of_one_meaning_are_one_key_and_others_are_told() {
    let batch = |ints: ArrayRef| RecordBatch::try_from_iter([("id", ints)]).unwrap();
    let entity = vec!["id".to_owned()];
    let narrow = batch(Arc::new(Int32Array::from(vec![7])));
    let wide = batch(Arc::new(Int64Array::from(vec![7])));
    let text = batch(Arc::new(StringArray::from(vec!["7"])));
    let types = KeyType::all_of(&narrow.schema(), &entity).unwrap();
    let key = |batch: &RecordBatch| {
        let mut key = Vec::new();
        Keys::read(batch, &entity, &types).map(|keys| keys.write(0, &mut key)).map(|_| key)
    };
    assert_eq!(key(&narrow).unwrap(), key(&wide).unwrap());
    let told = key(&text).unwrap_err().to_string();
    assert_eq!(told, "column `id` holds Utf8, where a whole number is needed");
    let missing = Keys::read(&text, &["tail".to_owned()], &types).map(|_| ()).unwrap_err().to_string();
    assert_eq!(missing, "there is no column `tail`; the columns are `id`");
}

#[test]
fn a_key_without_one_of_its_parts_has_no_features() {
    let view = view(false);
    let row = |carrier, origin| Row { carrier, origin, event: Some(MINUTE), known: None, delay: Some(1.0) };
    let history = [row(Some(1), Some(true)), row(None, Some(true)), row(Some(1), None)];
    let types = KeyType::all_of(&batch(&history).schema(), &view.entity).unwrap();
    let history = History::new(&view, &types, &[batch(&history)]).unwrap();
    let asked = [
        row(Some(1), Some(true)),
        row(None, Some(true)),
        row(Some(2), Some(true)),
        Row { event: None, ..row(Some(1), Some(true)) },
    ];
    let joined = history.join(&view, &batch(&asked), "event").unwrap();
    let count = view.features.iter().position(|feature| feature.name == "Count over 7m of rows").unwrap();
    let count = joined.columns[count].as_primitive::<Float32Type>();
    let counted: Vec<_> = count.iter().collect();
    assert_eq!(counted, [Some(1.0), None, Some(0.0), None]);
}
