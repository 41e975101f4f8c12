//! How features stand online, in one pass over the entities of their view.

use std::sync::Arc;

use serde::Serialize;
use tenon_core::spec::Promise;
use tenon_core::{Span, Timestamp};
use tenon_query::point_in_time::{Kernel, Rows, Timeline};

use crate::FeatureError;
use crate::online::{Down, LiveView};

/// So many entities in memory are looked at, or a few more; of more, those of the first shards, always the same.
const ENOUGH_ENTITIES: usize = 50_000;

/// How a feature stands online.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnlineState {
    /// The newest event of its view that is not in the future; none without rows.
    pub newest_event: Option<Timestamp>,
    /// How long ago that was.
    pub age: Option<Span>,
    /// The version of the dataset's table up to which every row is in.
    pub table_version: Option<u64>,
    /// How many entities were looked at, of those that have rows.
    pub entities: usize,
    /// How many of them have a value now.
    pub with_value: usize,
    /// How those values lie; none without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Whether what is promised is kept; none where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
}

/// How values lie: those at these ranks (the nearest, of `n` values in order that at `q`·(`n` − 1)), and their mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distribution {
    /// The least.
    pub least: f32,
    /// At 0.05.
    pub p05: f32,
    /// At 0.5.
    pub median: f32,
    /// At 0.95.
    pub p95: f32,
    /// The greatest.
    pub greatest: f32,
    /// The mean.
    pub mean: f64,
}

impl Distribution {
    fn of(mut values: Vec<f32>) -> Option<Self> {
        values.sort_unstable_by(f32::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |q: f64| values[(q * last as f64).round() as usize];
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        Some(Self { least: at(0.0), p05: at(0.05), median: at(0.5), p95: at(0.95), greatest: at(1.0), mean })
    }
}

impl OnlineState {
    /// Beside what is promised.
    pub(super) fn against(mut self, promise: Option<Promise>) -> Self {
        self.kept = promise.map(|Promise { freshness, completeness }| {
            let fresh = freshness.is_none_or(|freshness| self.age.is_some_and(|age| age <= freshness));
            let share = self.with_value as f64 / self.entities.max(1) as f64;
            fresh && completeness.is_none_or(|least| share >= least.fraction())
        });
        self
    }
}

/// How features of a view stand, or why that cannot be found out now.
pub(super) async fn of(
    view: Arc<LiveView>,
    features: Vec<String>,
    now: Timestamp,
) -> Result<Result<Vec<OnlineState>, String>, FeatureError> {
    let sample = match &view.redis {
        Some(at) => match at.redis.sample(&view, at).await {
            Ok(sample) => Some(sample),
            Err(Down(why)) => return Ok(Err(why.to_string())),
        },
        None => None,
    };
    Ok(Ok(tokio::task::spawn_blocking(move || of_rows(&view, sample.as_deref(), &features, now)).await?))
}

/// The same, by a sample of the view's entities, or by those that are in memory.
fn of_rows(view: &LiveView, sample: Option<&[Timeline]>, features: &[String], now: Timestamp) -> Vec<OnlineState> {
    let declared = &view.shape.view;
    let wanted: Vec<_> =
        features.iter().filter_map(|name| declared.features.iter().find(|known| known.name == **name)).collect();
    let (mut entities, mut values) = (0, vec![Vec::new(); wanted.len()]);
    let kernel = Kernel::new(declared.ttl.as_micros(), wanted);
    let mut evaluator = kernel.evaluator();
    let began = view.began();
    let mut look = |rows: Rows<'_>| {
        entities += 1;
        let mut columns = values.iter_mut();
        evaluator.evaluate(rows, now.as_micros(), began, |feature| {
            if let (Some(column), Ok(value)) = (columns.next(), feature.value) {
                column.push(value);
            }
        });
    };
    match sample {
        Some(sample) => sample.iter().for_each(|timeline| look(timeline.rows())),
        None => view.each_entity(ENOUGH_ENTITIES, look),
    }
    let (newest, table_version) = {
        let log = view.log();
        ((log.newest > i64::MIN).then(|| Timestamp::from_micros(log.newest)), log.applied)
    };
    let state = |values: Vec<f32>| OnlineState {
        newest_event: newest,
        age: newest.map(|newest| now - newest),
        table_version,
        entities,
        with_value: values.len(),
        distribution: Distribution::of(values),
        kept: None,
    };
    values.into_iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_as_their_ranks_say() {
        assert_eq!(Distribution::of(Vec::new()), None);
        let values = (0..=100_u8).rev().map(f32::from).collect();
        let told = Distribution { least: 0.0, p05: 5.0, median: 50.0, p95: 95.0, greatest: 100.0, mean: 50.0 };
        assert_eq!(Distribution::of(values), Some(told));
    }
}
