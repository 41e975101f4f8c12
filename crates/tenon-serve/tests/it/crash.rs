//! What is acknowledged is logged once, wherever the program stops.

use std::fs;
use std::path::{Path, PathBuf};

use tenon_serve::{Outcome, ServeError, ServingOptions};

use crate::{World, deployment};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The journal as it stands, put aside: what a power cut at this moment would leave.
fn snapshot(world: &World, name: &str) -> PathBuf {
    let aside = world.folder.path().join(name);
    copy(&world.folder.path().join("journal"), &aside);
    aside
}

/// Puts a journal back in place of what came after.
fn restore(world: &World, aside: &Path) {
    let journal = world.folder.path().join("journal");
    for file in fs::read_dir(&journal).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    copy(aside, &journal);
}

#[tokio::test]
async fn a_stop_before_the_flush_loses_nothing() {
    let world = World::deployed().await;
    let ids = [world.decide("N1").await.id, world.decide("N2").await.id];
    let outcome = Outcome { decision: ids[0], outcome: true, known_at: world.now() };
    world.serving.record_outcomes(&deployment(), &[outcome]).await.unwrap();
    let aside = snapshot(&world, "before");
    restore(&world, &aside);
    let again = world.reopen().await;
    assert_eq!((world.count("decisions_late").await, world.count("outcomes_late").await), (2, 1));
    for id in ids {
        again.why(id).await.unwrap().verify(&world.ledger.verifier_key()).unwrap();
    }
}

#[tokio::test]
async fn a_stop_after_the_lake_or_after_the_fact_doubles_nothing() {
    let world = World::deployed().await;
    world.decide("N1").await;
    world.decide("N2").await;
    let aside = snapshot(&world, "before");
    world.serving.flush().await.unwrap();
    let sealed = world.ledger.size().unwrap();
    // The flush is done, but the segment is still there, as if the program had stopped before it was removed.
    restore(&world, &aside);
    let again = world.reopen().await;
    assert_eq!(world.count("decisions_late").await, 2);
    assert_eq!(world.ledger.size().unwrap(), sealed, "the same batch is not sealed twice");
    again.flush().await.unwrap();
    assert_eq!(world.count("decisions_late").await, 2);
}

#[tokio::test]
async fn a_torn_last_record_is_cut_and_the_rest_is_logged() {
    let world = World::deployed().await;
    world.decide("N1").await;
    world.decide("N2").await;
    let aside = snapshot(&world, "before");
    let segment = fs::read_dir(&aside).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 7]).unwrap();
    restore(&world, &aside);
    world.reopen().await;
    assert_eq!(world.count("decisions_late").await, 1);
}

#[tokio::test]
async fn a_damaged_record_in_the_middle_is_told_and_nothing_is_dropped() {
    let world = World::deployed().await;
    world.decide("N1").await;
    world.decide("N2").await;
    let aside = snapshot(&world, "before");
    let segment = fs::read_dir(&aside).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[60] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let options = ServingOptions {
        ledger: world.ledger.clone(),
        catalog: world.catalog.clone(),
        models: world.models.clone(),
        features: world.features.clone(),
        lake: world.lake.clone(),
        guard: tenon_policy::Guard::new(world.catalog.clone(), world.ledger.clone()),
        journal: aside,
        runtime: tenon_serve::find_runtime,
        clock: world.clock.clone(),
        ids: std::sync::Arc::new(tenon_core::id::RandomIds),
    };
    let error = tenon_serve::Serving::open(options).await.err().unwrap();
    assert!(matches!(error, ServeError::JournalDamaged { offset: 0, whole: 0, .. }), "{error}");
    assert_eq!(fs::read(&segment).unwrap(), bytes, "the evidence stays");
    assert_eq!(world.count("decisions_late").await, 0);
}
