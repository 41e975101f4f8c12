//! How far vectors are from each other, by the one measure that all of the search compares: the square of the length of their
//! difference. Of vectors of length one it is twice the cosine distance, so that they are kept at that length where the metric
//! is that.

use tenon_core::spec::Metric;

/// So many sums run beside each other, which a processor adds up at once.
const LANES: usize = 8;

/// The square of the length of the difference.
///
/// # Shapes
/// Both `[dimensions]`.
pub(super) fn squared(one: &[f32], other: &[f32]) -> f32 {
    let ((ones, rest), (others, other_rest)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (one, other) in ones.iter().zip(others) {
        for lane in 0..LANES {
            let difference = one[lane] - other[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest = rest.iter().zip(other_rest).map(|(one, other)| (one - other) * (one - other));
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

/// A vector as it is compared; none where the metric says nothing of it: one of zeros has no direction.
pub(super) fn compared(metric: Metric, vector: Vec<f32>) -> Option<Vec<f32>> {
    match metric {
        Metric::L2 => Some(vector),
        Metric::Cosine => {
            let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            (length > 0.0).then(|| vector.into_iter().map(|number| (f64::from(number) / length) as f32).collect())
        }
    }
}

/// The distance that a metric means by a square.
pub(super) fn told(metric: Metric, squared: f32) -> f64 {
    match metric {
        Metric::L2 => f64::from(squared).sqrt(),
        Metric::Cosine => f64::from(squared) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn distances_are_what_their_names_say() {
        let (one, other): (Vec<f32>, Vec<f32>) = ((0..11).map(|n| n as f32).collect(), vec![1.0; 11]);
        assert_eq!(squared(&one, &other), (0..11).map(|n| (n as f32 - 1.0).powi(2)).sum::<f32>());
        assert_eq!(told(Metric::L2, squared(&[3.0, 0.0], &[0.0, 4.0])), 5.0);
        let cosine = |one: Vec<f32>, other: Vec<f32>| {
            let [one, other] = [one, other].map(|vector| compared(Metric::Cosine, vector).unwrap());
            told(Metric::Cosine, squared(&one, &other))
        };
        assert!((cosine(vec![1.0, 0.0], vec![0.0, 7.0]) - 1.0).abs() < 1e-6);
        assert!((cosine(vec![1.0, 1.0], vec![-2.0, -2.0]) - 2.0).abs() < 1e-6);
        assert!(cosine(vec![0.3, 0.4], vec![30.0, 40.0]) < 1e-6);
        assert_eq!(compared(Metric::Cosine, vec![0.0; 3]), None);
        assert_eq!(compared(Metric::Cosine, vec![1e-30, 0.0]), Some(vec![1.0, 0.0]));
    }
}
