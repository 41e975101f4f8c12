//! From a training to a version that is judged, waived, described and made again.

use tenon_core::fact::Verdict;
use tenon_core::{Digest, ModelVersionRef, Principal, Timestamp};
use tenon_models::ModelError;

use crate::company::{World, ana, model};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_trained_judged_described_and_made_again_to_the_byte() {
    let world = World::new().await;
    let models = &world.models;
    let before = tenon_core::Clock::now(&*world.clock);
    world.clock.advance_to(before + tenon_core::Span::hours(1));
    let version = models.train(&ana(), world.request(None)).await.unwrap();
    assert_eq!(version.to_string(), "late_job@1");
    let expected = [
        "run.started",
        "run.finished",
        "spend.recorded",
        "model_version.registered",
        "gate.decided",
        "gate.decided",
        "gate.decided",
        "gate.decided",
        "gate.decided",
        "gate.decided",
        "model_version.judged",
    ];
    assert_eq!(world.kinds(), expected);

    let record = models.version(&version).unwrap();
    for gate in &record.gates {
        assert_eq!(gate.verdict, Verdict::Passed, "{}: {}", gate.gate, gate.sentence);
    }
    assert!(record.judged.as_ref().unwrap().approved);
    assert!(record.finished.metrics["roc_auc"] > 0.8 && record.finished.cpu_seconds > 0.0);
    assert_eq!(record.registered.inputs, ["last_load", "mean_load", "hours_since_signal"]);
    let artifact = models.artifact(&version).unwrap();
    assert_eq!(Digest::of(&artifact), record.registered.artifact);
    let reference = models.reference(&version).unwrap();
    assert_eq!(reference.features.last().unwrap().feature, "prediction");
    assert!(models.versions_as_of(&model(), before).unwrap().is_empty());
    assert_eq!(models.runs(Some(&model())).unwrap()[0].version.as_ref(), Some(&version));

    let card = models.describe(&version).unwrap();
    assert_eq!(card.what, "Will this job come late?");
    assert!(
        card.looks_at[0].starts_with("last_load, ") && card.looks_at[0].ends_with(": how busy the machine was last")
    );
    assert!(card.standing.contains("passed every gate") && card.ask == "pod plant: ana", "{card:?}");
    assert!(card.fairness[0].contains("`north`"), "{card:?}");

    let again = models.reproduce(&version).await.unwrap();
    assert!(again.identical() && again.first_difference.is_none(), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_labels_fail_quality_until_two_people_say_otherwise() {
    let world = World::new().await;
    let models = &world.models;
    let version = models.train(&ana(), world.request(Some(3))).await.unwrap();
    let record = models.version(&version).unwrap();
    let judged = record.judged.unwrap();
    assert!(!judged.approved && judged.failed.contains(&"quality".to_owned()), "{judged:?}");
    assert!(models.describe(&version).unwrap().data.contains("it is a drill"));
    assert!(models.reproduce(&version).await.unwrap().identical(), "a drill is made again as well");

    let bo = Principal::person("bo");
    let alone = models.waive(&ana(), &ana(), &version, "quality", "drill").await.unwrap_err();
    assert_eq!(alone.to_string(), "`ana` asked for this waiver and cannot agree to it as well; somebody else must");
    let wrong = models.waive(&ana(), &bo, &version, "budget", "drill").await.unwrap_err();
    assert!(matches!(wrong, ModelError::NothingToWaive { .. }), "{wrong}");
    for gate in &judged.failed {
        models.waive(&ana(), &bo, &version, gate, "a drill of the rollback").await.unwrap();
    }
    let record = models.version(&version).unwrap();
    assert!(record.judged.unwrap().approved);
    let quality = record.gates.iter().find(|gate| gate.gate == "quality").unwrap();
    assert_eq!(quality.verdict, Verdict::Waived);
    assert!(quality.sentence.ends_with("Let through by ana and bo: a drill of the rollback."), "{}", quality.sentence);
    assert!(models.describe(&version).unwrap().standing.contains("two people let it through"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_budget_is_not_started() {
    let world = World::with(|text| text.replace("limit_usd = 1.0", "limit_usd = 0.0")).await;
    let refused = world.models.train(&ana(), world.request(None)).await.unwrap_err();
    assert!(matches!(refused, ModelError::OverBudget { .. }), "{refused}");
    assert!(refused.to_string().contains("0.00 of 0.00 USD"), "{refused}");
    assert!(world.kinds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_trainings_at_once_have_numbers_of_their_own() {
    let world = World::new().await;
    let by = ana();
    let (one, other) =
        tokio::join!(world.models.train(&by, world.request(None)), world.models.train(&by, world.request(Some(1))));
    let mut numbers = [one.unwrap().version, other.unwrap().version];
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(world.models.versions(&model()).unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_learns_nothing_is_on_record_as_failed() {
    let world = World::with(|text| text.replace("late AS label", "true AS label")).await;
    let failed = world.models.train(&ana(), world.request(None)).await.unwrap_err();
    assert!(failed.to_string().contains("have the label true"), "{failed}");
    assert_eq!(world.kinds(), ["run.started", "run.failed"]);
    let runs = world.models.runs(None).unwrap();
    assert!(runs[0].failed.as_ref().unwrap().contains("have the label true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_what_is() {
    let world = World::new().await;
    let models = &world.models;
    let version: ModelVersionRef = "late_job@4".parse().unwrap();
    let none = models.version(&version).unwrap_err().to_string();
    assert_eq!(none, "there is no version `late_job@4`; the model has none yet; `tenon train late_job` makes one");
    let unknown = models.version(&"late_jobs@1".parse().unwrap()).unwrap_err().to_string();
    assert_eq!(unknown, "there is no model `late_jobs`; did you mean `late_job`?");
    models.train(&ana(), world.request(None)).await.unwrap();
    assert!(models.version(&version).unwrap_err().to_string().ends_with("there are late_job@1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_artifact_is_not_handed_out() {
    let world = World::new().await;
    let version = world.models.train(&ana(), world.request(None)).await.unwrap();
    let folder = world.folder.path().join("artifacts/models");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    assert!(matches!(world.models.artifact(&version), Err(ModelError::Changed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_known_by_then_is_learnt_from() {
    let world = World::new().await;
    let known_by = Timestamp::from_micros(3_600_000_000 * 2_000);
    let request = tenon_models::TrainRequest { known_by, ..world.request(None) };
    let version = world.models.train(&ana(), request).await.unwrap();
    let set = world.models.version(&version).unwrap().run.training_set;
    assert_eq!(set.train_rows + set.test_rows, 2_000);
    assert!(set.decided.2 <= known_by);
}
