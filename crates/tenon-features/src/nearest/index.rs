//! The newest vectors of a view's entities, one vector feature each, in which the nearest are looked up.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use tenon_core::spec::Metric;
use tenon_query::point_in_time::{NewestVector, VectorColumn};

use super::distance::{compared, squared, told};

/// One task compares so many vectors.
const CHUNK: usize = 4_096;

/// The vectors of one feature.
pub(super) struct Index {
    /// Where rows have them.
    pub column: VectorColumn,
    metric: Metric,
    /// The number of each entity that has a vector, or will have one without another row.
    numbers: HashMap<Arc<[u8]>, u32>,
    /// What is known of each number; none: it is free.
    entities: Vec<Option<Entity>>,
    free: Vec<u32>,
    /// The vectors as they are compared, by number.
    ///
    /// # Shapes
    /// `[entities, dimensions]`, row by row.
    vectors: Vec<f32>,
    /// How many entities have a vector now.
    there: usize,
    /// When an entity's vector changes though no row comes, in microseconds, with its number.
    due: BTreeSet<(i64, u32)>,
}

struct Entity {
    key: Arc<[u8]>,
    /// Of its vector; none: it has none now.
    event_at: Option<i64>,
    until: i64,
}

/// An entity with a vector near to one that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Near {
    /// The key of the entity.
    pub key: Arc<[u8]>,
    /// How far it is.
    pub distance: f64,
    /// When the event of its vector happened, in microseconds.
    pub event_at: i64,
}

impl Index {
    pub(super) fn new(column: VectorColumn, metric: Metric) -> Self {
        Self {
            column,
            metric,
            numbers: HashMap::new(),
            entities: Vec::new(),
            free: Vec::new(),
            vectors: Vec::new(),
            there: 0,
            due: BTreeSet::new(),
        }
    }

    /// How many entities have a vector.
    pub(super) fn len(&self) -> usize {
        self.there
    }

    /// Takes in what the newest vector of an entity is now.
    pub(super) fn set(&mut self, key: &[u8], newest: NewestVector) {
        let vector = newest.vector.and_then(|vector| compared(self.metric, vector));
        let number = match self.numbers.get(key).copied() {
            Some(number) => number,
            None if vector.is_none() && newest.until == i64::MAX => return,
            None => self.enter(key),
        };
        let at = number as usize;
        let Some(entity) = &mut self.entities[at] else { return };
        self.due.remove(&(entity.until, number));
        self.there -= usize::from(entity.event_at.is_some());
        entity.until = newest.until;
        entity.event_at = newest.event_at.filter(|_| vector.is_some());
        self.there += usize::from(entity.event_at.is_some());
        let gone = vector.is_none() && newest.until == i64::MAX;
        if let Some(vector) = vector {
            let held = self.range(number as usize);
            self.vectors[held].copy_from_slice(&vector);
        }
        if gone {
            self.leave(number);
        } else if newest.until < i64::MAX {
            self.due.insert((newest.until, number));
        }
    }

    fn enter(&mut self, key: &[u8]) -> u32 {
        let key: Arc<[u8]> = key.into();
        let number = self.free.pop().unwrap_or_else(|| {
            self.entities.push(None);
            self.vectors.resize(self.entities.len() * self.column.values.len(), 0.0);
            self.entities.len() as u32 - 1
        });
        self.entities[number as usize] = Some(Entity { key: Arc::clone(&key), event_at: None, until: i64::MAX });
        self.numbers.insert(key, number);
        number
    }

    fn leave(&mut self, number: u32) {
        if let Some(entity) = self.entities[number as usize].take() {
            self.numbers.remove(&entity.key);
            self.free.push(number);
        }
    }

    fn range(&self, number: usize) -> Range<usize> {
        let dimensions = self.column.values.len();
        number * dimensions..(number + 1) * dimensions
    }

    /// The entities whose vectors change by `now` though no row came.
    pub(super) fn due(&self, now: i64) -> Vec<Arc<[u8]>> {
        let due = self.due.range(..=(now, u32::MAX));
        due.filter_map(|(_, number)| Some(Arc::clone(&self.entities[*number as usize].as_ref()?.key))).collect()
    }

    /// The vector of an entity as it is compared.
    pub(super) fn vector(&self, key: &[u8]) -> Option<&[f32]> {
        let number = *self.numbers.get(key)?;
        self.entities[number as usize].as_ref().filter(|entity| entity.event_at.is_some())?;
        Some(&self.vectors[self.range(number as usize)])
    }

    /// The `k` entities that are nearest to a vector as it is compared, without `but`; of those equally near the lesser key
    /// first.
    pub(super) fn nearest(&self, vector: &[f32], k: usize, but: Option<&[u8]>) -> Vec<Near> {
        let but = but.and_then(|key| self.numbers.get(key).map(|number| *number as usize));
        let chunk = |chunk: usize| {
            let numbers = chunk * CHUNK..((chunk + 1) * CHUNK).min(self.entities.len());
            let there = |number: usize| self.entities[number].as_ref().filter(|entity| entity.event_at.is_some());
            let numbers = numbers.filter(|number| Some(*number) != but);
            let near = numbers.filter_map(|number| {
                let entity = there(number)?;
                Some((squared(vector, &self.vectors[self.range(number)]), entity))
            });
            least(near.collect(), k)
        };
        let chunks = 0..self.entities.len().div_ceil(CHUNK);
        let near: Vec<(f32, &Entity)> = chunks.into_par_iter().flat_map_iter(chunk).collect();
        let near = least(near, k).into_iter().filter_map(|(squared, entity)| {
            Some(Near {
                key: Arc::clone(&entity.key),
                distance: told(self.metric, squared),
                event_at: entity.event_at?,
            })
        });
        near.collect()
    }
}

/// The `k` nearest, in order.
fn least(mut near: Vec<(f32, &Entity)>, k: usize) -> Vec<(f32, &Entity)> {
    let order = |one: &(f32, &Entity), other: &(f32, &Entity)| {
        one.0.total_cmp(&other.0).then_with(|| one.1.key.cmp(&other.1.key))
    };
    if near.len() > k {
        near.select_nth_unstable_by(k, order);
        near.truncate(k);
    }
    near.sort_unstable_by(order);
    near
}
