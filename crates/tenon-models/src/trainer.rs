//! How a version is made. One function is the seam: [`fit`] matches on the declared trainer.

use tenon_core::spec::Trainer;
use tenon_gbdt::{Boosted, Settings, boost};
use tenon_onnx::TreeEnsemble;

use crate::ModelError;
use crate::random::Random;
use crate::table::Table;

/// Fits what is declared to the learning rows of a table. The same rows, trainer and seed give the same trees.
///
/// # Errors
/// [`ModelError::Unlearnable`] when the learning rows are all of one class.
pub(crate) fn fit(trainer: &Trainer, table: &Table) -> Result<TreeEnsemble, ModelError> {
    let rows = table.learning();
    let positives = rows.labels.iter().filter(|label| **label).count();
    if positives == 0 || positives == rows.labels.len() {
        let answer = if positives == 0 { "false" } else { "true" };
        let why = format!("all {} rows to learn from have the label {answer}", rows.labels.len());
        return Err(ModelError::Unlearnable(why));
    }
    match trainer {
        Trainer::Gbdt { budget, trees, seed } => {
            let boosted = boosted(table, &Settings::new(*budget, *trees, rows.labels.len()), *seed);
            Ok(TreeEnsemble::binary_classifier(&boosted.trees, boosted.base, table.features.len())?)
        }
    }
}

fn boosted(table: &Table, settings: &Settings, seed: u64) -> Boosted {
    let rows = table.learning();
    let mut random = Random::new("gbdt", seed);
    boost(rows.values, table.features.len(), rows.labels, settings, |bound, count| random.sample(bound, count))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_onnx::{Model, ModelMeta};
    use tenon_stats::metrics::roc_auc;

    use super::*;
    use crate::table::tests::synthetic;

    const TRAINER: Trainer = Trainer::Gbdt { budget: 0.3, trees: None, seed: 7 };

    fn bytes(trainer: &Trainer, table: &Table) -> Vec<u8> {
        fit(trainer, table).unwrap().to_onnx(&ModelMeta::default())
    }

    #[test]
    fn the_artifact_says_what_training_saw() {
        let table = synthetic(4_000, 1);
        let rows = table.learning();
        let boosted = boosted(&table, &Settings::new(0.3, None, rows.labels.len()), 7);
        let model = Model::load(&bytes(&TRAINER, &table)).unwrap();
        let margins = model.ensemble().unwrap().margins(rows.values, 3).unwrap();
        assert_eq!(margins.len(), boosted.margins.len());
        for (read, trained) in margins.iter().zip(&boosted.margins) {
            assert!((read - trained).abs() < 1e-9, "{read} {trained}");
        }
    }

    #[test]
    fn it_learns_what_there_is_to_learn_and_its_probabilities_mean_what_they_say() {
        let table = synthetic(20_000, 2);
        let ensemble = fit(&TRAINER, &table).unwrap();
        let rows = table.held_out();
        let scores: Vec<f64> =
            ensemble.margins(rows.values, 3).unwrap().iter().map(|margin| 1.0 / (1.0 + (-margin).exp())).collect();
        let auc = roc_auc(rows.labels, &scores).unwrap();
        assert!(auc > 0.70, "{auc}");
        let observed = rows.labels.iter().filter(|label| **label).count() as f64 / scores.len() as f64;
        let predicted = scores.iter().sum::<f64>() / scores.len() as f64;
        assert!((observed - predicted).abs() < 0.02, "{observed} {predicted}");
    }

    #[test]
    fn the_same_gives_the_same_bytes_on_any_number_of_threads() {
        let table = synthetic(8_000, 3);
        let first = bytes(&TRAINER, &table);
        assert_eq!(first, bytes(&TRAINER, &table));
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(first, pool.install(|| bytes(&TRAINER, &table)), "{threads} threads");
        }
        assert_ne!(first, bytes(&Trainer::Gbdt { budget: 0.3, trees: None, seed: 8 }, &table));
        // Of another process, at another time: a change of this digest breaks the reproduction of recorded versions.
        insta::assert_snapshot!(tenon_core::Digest::of(first).short(), @"12fbe7cba14f");
    }

    #[test]
    fn trees_and_covers_are_as_declared() {
        let table = synthetic(2_000, 4);
        let ensemble = fit(&Trainer::Gbdt { budget: 0.5, trees: Some(3), seed: 0 }, &table).unwrap();
        assert_eq!(ensemble.n_trees(), 3);
        assert!(ensemble.has_covers());
    }

    #[test]
    fn one_class_teaches_nothing() {
        let table = synthetic(100, 5);
        let rows = table.learning();
        let keep: arrow::array::BooleanArray = (0..100).map(|row| Some(row >= 80 || !rows.labels[row])).collect();
        let rows = arrow::compute::filter_record_batch(table.record_batch(), &keep).unwrap();
        let train_rows = rows.num_rows() - 20;
        let table = Table::new(rows, table.features.clone(), train_rows).unwrap();
        let error = fit(&TRAINER, &table).unwrap_err().to_string();
        assert!(error.contains("have the label false"), "{error}");
    }

    #[test]
    fn fewer_rows_than_a_leaf_needs_give_the_base_rate() {
        let table = synthetic(20, 6);
        let ensemble = fit(&TRAINER, &table).unwrap();
        let margins = ensemble.margins(table.all().values, 3).unwrap();
        assert!(margins.iter().all(|margin| (margin - margins[0]).abs() < 1e-12));
    }
}
