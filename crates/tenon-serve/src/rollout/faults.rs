//! What is wrong with a planned move.

use tenon_core::fact::TrafficReason;
use tenon_core::{ModelVersionRef, Share};

use super::plan::Shift;
use crate::projection::DeploymentState;

/// Everything that is wrong with moving the traffic of `state` by `shift`, in plain words; nothing when it may move.
pub fn faults(state: &DeploymentState, shift: &Shift) -> Vec<String> {
    let mut faults = Vec::new();
    let total: f64 = shift.traffic.iter().map(|part| part.share.fraction()).sum();
    if (total - 1.0).abs() > 1e-9 {
        faults.push(format!("the shares sum to {}% of the traffic", total * 100.0));
    }
    for (at, part) in shift.traffic.iter().enumerate() {
        if shift.traffic[..at].iter().any(|earlier| earlier.version == part.version) {
            faults.push(format!("{} appears twice", part.version));
        }
    }
    match (&state.rollout, shift.rollout) {
        (Some(running), Some(id)) if running.id == id => {}
        (Some(running), _) => faults.push(format!("another rollout, {}, is running", running.id)),
        (None, Some(id)) => faults.push(format!("the rollout {id} is not running")),
        (None, None) => {}
    }
    let share_of =
        |version: &ModelVersionRef| shift.traffic.iter().find(|part| part.version == *version).map(|part| part.share);
    if let Some(rollout) = &state.rollout {
        let stranger =
            |version: &ModelVersionRef| *version != rollout.candidate && Some(version) != rollout.champion.as_ref();
        for part in shift.traffic.iter().filter(|part| stranger(&part.version)) {
            faults.push(format!("{} is neither champion nor candidate", part.version));
        }
        let share = share_of(&rollout.candidate).unwrap_or(Share::NONE);
        match shift.reason {
            TrafficReason::Advanced => {
                let declared = shift.step.and_then(|step| rollout.steps.get(step as usize));
                if declared != Some(&share) {
                    faults.push(format!("no step of the rollout gives the candidate {share}"));
                }
                let at = shift.step.map_or(0, |step| step + 1);
                if at != rollout.step.map_or(1, |step| step + 2) {
                    faults.push("a rollout takes its steps one by one".to_owned());
                }
            }
            TrafficReason::Finished if share < Share::ALL => {
                faults.push(format!("a rollout cannot end with the candidate at {share}"));
            }
            TrafficReason::RolledBack if share > Share::NONE => {
                faults.push(format!("a candidate that is sent back keeps {share}"));
            }
            TrafficReason::Finished | TrafficReason::RolledBack => {}
        }
    } else if shift.reason != TrafficReason::RolledBack {
        faults.push("without a rollout, traffic can only go back".to_owned());
    } else if !shift.traffic.iter().all(|part| state.earlier.contains(&part.version)) {
        faults.push("traffic can only go back to a version that was in charge".to_owned());
    }
    faults
}
