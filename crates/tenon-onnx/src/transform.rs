//! The post transforms of ai.onnx.ml, from raw scores to what a model returns.

use crate::error::{Result, unsupported};

/// How raw scores become outputs (`post_transform`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transform {
    /// Scores as they are.
    #[default]
    None,
    /// `1 / (1 + exp(-s))` for each score.
    Logistic,
    /// `exp(s)` over the sum of all.
    Softmax,
    /// As softmax, but a score of zero stays zero.
    SoftmaxZero,
    /// The quantile function of the normal distribution, by Winitzki's approximation of the inverse error function,
    /// as in ONNX Runtime.
    Probit,
}

impl Transform {
    pub(crate) fn parse(name: Option<&str>, place: &str) -> Result<Self> {
        Ok(match name {
            None | Some("NONE" | "") => Self::None,
            Some("LOGISTIC") => Self::Logistic,
            Some("SOFTMAX") => Self::Softmax,
            Some("SOFTMAX_ZERO") => Self::SoftmaxZero,
            Some("PROBIT") => Self::Probit,
            Some(other) => return Err(unsupported(format!("post_transform {other}"), place)),
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Logistic => "LOGISTIC",
            Self::Softmax => "SOFTMAX",
            Self::SoftmaxZero => "SOFTMAX_ZERO",
            Self::Probit => "PROBIT",
        }
    }

    /// Transforms the scores of one row in place.
    pub(crate) fn apply(self, scores: &mut [f64]) {
        let highest = scores.iter().copied().fold(f64::MIN, f64::max);
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|s| *s = logistic(*s)),
            Self::Probit => scores.iter_mut().for_each(|s| *s = probit(*s)),
            Self::Softmax => normalise(scores, |s| (s - highest).exp()),
            Self::SoftmaxZero => normalise(scores, |s| if s.abs() > 1e-7 { (s - highest).exp() } else { 0.0 }),
        }
    }

    /// Transforms the targets of a regression; ONNX Runtime applies nothing but PROBIT to a single one.
    pub(crate) fn apply_to_targets(self, targets: &mut [f64]) {
        if targets.len() > 1 || self == Self::Probit {
            self.apply(targets);
        }
    }
}

pub(crate) fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

fn normalise(scores: &mut [f64], weight: impl Fn(f64) -> f64) {
    scores.iter_mut().for_each(|s| *s = weight(*s));
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
}

fn probit(p: f64) -> f64 {
    let x = 2.0 * p - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f64::consts::PI * 0.147) + 0.5 * log;
    std::f64::consts::SQRT_2 * 1.0_f64.copysign(x) * ((half * half - log / 0.147).sqrt() - half).sqrt()
}
