//! Signs that a training set knows what a decision could not have known: features that tell the label by themselves, rows that
//! were known later than they happened, entities that are both learnt from and held out.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Float32Type;
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};
use indexmap::IndexSet;
use rayon::prelude::*;
use tenon_core::Span;
use tenon_core::fact::{Leakage, SharedEntities, TellingFeature, TrailingView};
use tenon_query::point_in_time::{PointInTimeError, moments};

use crate::FeatureError;
use crate::training::{LABEL, Sourced};

/// A feature that ranks the labels as well as this by itself is told: of real questions one feature rarely answers so much.
const TELLING: f64 = 0.95;

/// Of more rows than this, as many are looked at, evenly spread.
const ENOUGH_ROWS: usize = 200_000;

/// Looks at a training set: its rows in order of decision, of which the first `train_rows` are learnt from.
pub(crate) fn signs(
    rows: &RecordBatch,
    features: &[String],
    train_rows: usize,
    views: &[Sourced],
) -> Result<Leakage, FeatureError> {
    let learnt_from = rows.slice(0, train_rows);
    let trailing = views.par_iter().filter_map(|view| trailing(view).transpose()).collect::<Result<Vec<_>, _>>()?;
    Ok(Leakage { telling: telling(&learnt_from, features), trailing, shared: shared(rows, train_rows, views)? })
}

fn telling(rows: &RecordBatch, features: &[String]) -> Vec<TellingFeature> {
    let Some(label) = rows.column_by_name(LABEL).and_then(|label| label.as_boolean_opt()) else { return Vec::new() };
    let looked_at = || (0..rows.num_rows()).step_by(rows.num_rows().div_ceil(ENOUGH_ROWS).max(1));
    let labels: Vec<bool> = looked_at().map(|row| label.value(row)).collect();
    let tell = |feature: &String| {
        let values = rows.column_by_name(feature)?.as_primitive_opt::<Float32Type>()?;
        // A value that is not a number of this world is as good as missing, as in a decision.
        let value = |row| values.is_valid(row).then(|| f64::from(values.value(row))).filter(|value| value.is_finite());
        let seen: Vec<Option<f64>> = looked_at().map(value).collect();
        let alone = |missing: f64| {
            let scores: Vec<f64> = seen.iter().map(|value| value.unwrap_or(missing)).collect();
            // Labels of one class rank nothing.
            let area = tenon_stats::metrics::roc_auc(&labels, &scores).unwrap_or(0.5);
            area.max(1.0 - area)
        };
        let least = alone(f64::MIN);
        let roc_auc = if seen.contains(&None) { least.max(alone(f64::MAX)) } else { least };
        let rows = values.iter().flatten().filter(|value| value.is_finite()).count() as u64;
        (roc_auc >= TELLING).then(|| TellingFeature { feature: feature.clone(), roc_auc, rows })
    };
    let mut telling: Vec<TellingFeature> = features.par_iter().filter_map(tell).collect();
    telling.sort_by(|one, other| other.roc_auc.total_cmp(&one.roc_auc).then_with(|| one.feature.cmp(&other.feature)));
    telling
}

fn trailing(view: &Sourced) -> Result<Option<TrailingView>, FeatureError> {
    let Some(known_at) = &view.view.known_at else { return Ok(None) };
    let failed = |source: PointInTimeError| FeatureError::View { view: view.name.clone(), source };
    let (mut rows, mut late) = (0, Vec::new());
    for batch in &view.rows {
        let events = moments(batch, &view.view.event_time).map_err(failed)?;
        let known = moments(batch, known_at).map_err(failed)?;
        let spans = events.iter().zip(&known).filter_map(|(event, known)| Some(known?.saturating_sub(event?)));
        spans.inspect(|_| rows += 1).filter(|span| *span > 0).for_each(|span| late.push(span));
    }
    if late.is_empty() {
        return Ok(None);
    }
    let (trailing, middle) = (late.len() as u64, late.len() / 2);
    let (_, median, _) = late.select_nth_unstable(middle);
    let median = Span::from_micros(*median);
    Ok(Some(TrailingView { view: view.name.clone(), rows, trailing, median }))
}

fn shared(rows: &RecordBatch, train_rows: usize, views: &[Sourced]) -> Result<Vec<SharedEntities>, FeatureError> {
    let keys: IndexSet<&Vec<String>> =
        views.iter().map(|view| &view.view.entity).filter(|key| !key.is_empty()).collect();
    let of_key = |columns: &Vec<String>| {
        let found: Option<Vec<ArrayRef>> = columns.iter().map(|column| rows.column_by_name(column).cloned()).collect();
        let Some(found) = found else { return Ok(None) };
        let fields = found.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let entities = RowConverter::new(fields)?.convert_columns(&found)?;
        let distinct = |of: std::ops::Range<usize>| {
            let named = of.filter(|row| found.iter().all(|column| column.is_valid(*row)));
            named.map(|row| entities.row(row).owned()).collect::<HashSet<OwnedRow>>()
        };
        let (learnt_from, held_out) = (distinct(0..train_rows), distinct(train_rows..rows.num_rows()));
        let shared = held_out.intersection(&learnt_from).count() as u64;
        Ok(Some(SharedEntities { columns: columns.clone(), held_out: held_out.len() as u64, shared }))
    };
    keys.into_iter().collect::<Vec<_>>().into_par_iter().map(of_key).filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float32Array, StringArray};

    use super::*;
    use crate::fixture::{self, flights};

    /// 1000 rows: a copy of the label, the same but for an infinite value, one with one error in fifty, two that are there only
    /// where the label is true, or false, and what tells nothing.
    fn rows() -> RecordBatch {
        let label = |row: usize| row.is_multiple_of(3);
        let noisy = |row: usize| if row % 50 == 7 { !label(row) } else { label(row) };
        let number = |is: bool| if is { 1.0_f32 } else { 0.0 };
        let floats =
            |of: &dyn Fn(usize) -> Option<f32>| Arc::new((0..1000).map(of).collect::<Float32Array>()) as ArrayRef;
        let tails: StringArray = (0..1000).map(|row| (row % 11 > 0).then(|| format!("N{}", row / 8))).collect();
        RecordBatch::try_from_iter_with_nullable([
            ("tailnum", Arc::new(tails) as ArrayRef, true),
            (LABEL, Arc::new((0..1000).map(|row| Some(label(row))).collect::<BooleanArray>()), true),
            ("copy", floats(&|row| Some(-number(label(row)))), true),
            ("noisy", floats(&|row| Some(number(noisy(row)))), true),
            ("infinite", floats(&|row| Some(if row == 9 { f32::INFINITY } else { -number(label(row)) })), true),
            ("there", floats(&|row| label(row).then_some(3.0)), true),
            ("away", floats(&|row| (!label(row)).then_some((row * 7919 % 1000) as f32)), true),
            ("noise", floats(&|row| Some((row * 7919 % 1000) as f32)), true),
            ("constant", floats(&|_| Some(1.0)), true),
        ])
        .unwrap()
    }

    fn sourced() -> Sourced {
        let specs = fixture::company();
        let (name, view) = specs.feature_views.iter().next().unwrap();
        let landed = flights(&[("N1", 8, 8, 1.0), ("N1", 9, 11, 1.0), ("N2", 1, 30, 1.0), ("N3", 2, 3, 1.0)]);
        Sourced::new(name, &view.spec, vec![landed]).unwrap()
    }

    #[test]
    fn what_tells_the_label_is_told() {
        let features = ["copy", "infinite", "noisy", "there", "away", "noise", "constant"].map(str::to_owned);
        let signs = signs(&rows(), &features, 800, &[sourced()]).unwrap();
        let told: Vec<(&str, u64)> = signs.telling.iter().map(|one| (one.feature.as_str(), one.rows)).collect();
        assert_eq!(told, [("away", 533), ("copy", 800), ("infinite", 799), ("there", 267), ("noisy", 800)]);
        assert!(signs.telling[..4].iter().all(|one| one.roc_auc == 1.0), "{:?}", signs.telling);
        // sklearn.metrics.roc_auc_score of the same 800 rows.
        assert!((signs.telling[4].roc_auc - NOISY).abs() < 1e-12, "{}", signs.telling[4].roc_auc);
    }

    /// `l = [r % 3 == 0 for r in range(800)]; roc_auc_score(l, [(not x) if r % 50 == 7 else x for r, x in enumerate(l)])`,
    /// scikit-learn 1.7.2.
    const NOISY: f64 = 0.9803177547765106;

    #[test]
    fn rows_that_were_known_late_and_entities_on_both_sides_are_counted() {
        let signs = signs(&rows(), &[], 800, &[sourced(), sourced()]).unwrap();
        assert_eq!(signs.telling, []);
        let trailing = &signs.trailing[0];
        assert_eq!((trailing.rows, trailing.trailing, trailing.median), (4, 3, Span::hours(2)));
        let shared = SharedEntities { columns: vec!["tailnum".to_owned()], held_out: 25, shared: 0 };
        assert_eq!(
            signs.shared,
            std::slice::from_ref(&shared),
            "eight rows an aircraft, and the cut falls between two"
        );
        let cut = super::signs(&rows(), &[], 804, &[sourced()]).unwrap();
        assert_eq!(cut.shared, [SharedEntities { shared: 1, ..shared }]);
    }
}
