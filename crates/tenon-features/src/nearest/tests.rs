//! The index against all of its vectors, compared one by one.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::prelude::*;
use tenon_core::spec::Metric;
use tenon_query::point_in_time::{NewestVector, VectorColumn};

use super::index::Index;

fn index(metric: Metric) -> Index {
    Index::new(VectorColumn { column: "style".to_owned(), values: 0..2 }, metric)
}

fn newest(vector: Option<[f32; 2]>, until: i64) -> NewestVector {
    NewestVector { vector: vector.map(|vector| vector.to_vec()), event_at: vector.map(|_| 7), until }
}

/// What an index is told: an entity, its vector in whole numbers, and until when it is that.
type Step = (u8, Option<(i8, i8)>, i64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let vector = prop::option::of((-3_i8..4, -3_i8..4));
    prop::collection::vec((0_u8..9, vector, prop_oneof![0_i64..20, Just(i64::MAX)]), 0..40)
}

proptest! {
    #[test]
    fn what_is_nearest_is_nearest_of_all(steps in steps(), asked in (1_i8..4, -3_i8..4), k in 1_usize..6, but in 0_u8..9, now in 0_i64..20) {
        let mut index = index(Metric::L2);
        let mut all: HashMap<u8, (Option<[f32; 2]>, i64)> = HashMap::new();
        for (entity, vector, until) in steps {
            let vector = vector.map(|(x, y)| [f32::from(x), f32::from(y)]);
            index.set(&[entity], newest(vector, until));
            all.insert(entity, (vector, until));
        }
        let asked = [f32::from(asked.0), f32::from(asked.1)];
        let mut expected: Vec<(f64, u8)> = all
            .iter()
            .filter(|(entity, _)| **entity != but)
            .filter_map(|(entity, (vector, _))| {
                let [x, y] = (*vector)?;
                Some((f64::from((x - asked[0]).powi(2) + (y - asked[1]).powi(2)).sqrt(), *entity))
            })
            .collect();
        expected.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        expected.truncate(k);
        let found: Vec<(f64, u8)> = index.nearest(&asked, k, Some(&[but])).into_iter().map(|near| (near.distance, near.key[0])).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(index.len(), all.values().filter(|(vector, _)| vector.is_some()).count());
        let mut due: Vec<u8> = index.due(now).iter().map(|key| key[0]).collect();
        due.sort_unstable();
        let mut expected: Vec<u8> = all.iter().filter(|(_, (_, until))| *until <= now).map(|(entity, _)| *entity).collect();
        expected.sort_unstable();
        prop_assert_eq!(due, expected);
    }
}

#[test]
fn what_has_no_direction_is_near_to_nothing_and_leaves_its_place_to_others() {
    let mut index = index(Metric::Cosine);
    index.set(b"a", newest(Some([0.0, 0.0]), i64::MAX));
    assert_eq!(index.len(), 0);
    index.set(b"a", newest(Some([0.0, 2.0]), i64::MAX));
    assert_eq!(index.vector(b"a"), Some(&[0.0, 1.0][..]));
    index.set(b"a", newest(None, i64::MAX));
    index.set(b"b", newest(Some([5.0, 0.0]), 9));
    assert_eq!((index.len(), index.vector(b"a"), index.vector(b"b")), (1, None, Some(&[1.0, 0.0][..])));
    assert_eq!(index.due(8).len() + index.due(9).len(), 1);
}

/// More vectors than one task compares: random directions, held against a comparison of all.
#[test]
fn among_many_the_nearest_are_found_as_well() {
    const ENTITIES: usize = 20_000;
    let column = VectorColumn { column: "style".to_owned(), values: 0..64 };
    let mut index = Index::new(column, Metric::L2);
    let mut state = 1_u64;
    let mut number = || {
        // Knuth's linear congruential generator, of which the upper bits are taken.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let vectors: Vec<Vec<f32>> = (0..ENTITIES).map(|_| (0..64).map(|_| number()).collect()).collect();
    for (entity, vector) in vectors.iter().enumerate() {
        let newest = NewestVector { vector: Some(vector.clone()), event_at: Some(0), until: i64::MAX };
        index.set(&(entity as u32).to_be_bytes(), newest);
    }
    for asked in [0, 7, ENTITIES - 1] {
        let distance = |vector: &[f32]| -> f64 {
            vector.iter().zip(&vectors[asked]).map(|(one, other)| f64::from(one - other).powi(2)).sum::<f64>().sqrt()
        };
        let mut all: Vec<(f64, usize)> = vectors.iter().map(|vector| distance(vector)).zip(0..).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        let found = index.nearest(&vectors[asked], 10, Some(&(asked as u32).to_be_bytes()));
        let keys: Vec<usize> =
            found.iter().map(|near| u32::from_be_bytes(near.key[..].try_into().unwrap()) as usize).collect();
        assert_eq!(keys, all[1..11].iter().map(|(_, entity)| *entity).collect::<Vec<_>>());
        assert!(found.iter().zip(&all[1..]).all(|(near, (distance, _))| (near.distance - distance).abs() < 1e-4));
    }
}
