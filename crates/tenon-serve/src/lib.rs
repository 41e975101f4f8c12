//! Inference, decisions, rollouts.
