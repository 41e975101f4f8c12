//! Whether money may be spent: a pure function of the limit, what was spent and what is asked for.

use std::fmt;

/// What a budget says to an amount of money, in US dollars. A refusal is an answer, not an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BudgetVerdict {
    /// It fits.
    Within {
        /// What would be left afterwards; infinite where there is no limit.
        left_usd: f64,
    },
    /// It does not fit, and must not be spent.
    Exceeded {
        /// How far beyond the limit it would go.
        over_usd: f64,
    },
}

impl BudgetVerdict {
    /// Whether the money may be spent.
    pub fn allows(self) -> bool {
        matches!(self, Self::Within { .. })
    }
}

impl fmt::Display for BudgetVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within { left_usd } if left_usd.is_infinite() => f.write_str("no limit is set"),
            Self::Within { left_usd } => write!(f, "{left_usd:.4} USD would be left"),
            Self::Exceeded { over_usd } => write!(f, "{over_usd:.4} USD beyond the limit"),
        }
    }
}

/// Judges whether `asked_usd` more may be spent after `spent_usd`, under a limit or none. Spending the limit to the last
/// cent is allowed. An amount that is not a number 0 or more never is: it is how a broken estimate would slip through.
pub fn judge(limit_usd: Option<f64>, spent_usd: f64, asked_usd: f64) -> BudgetVerdict {
    let sound = asked_usd.is_finite() && asked_usd >= 0.0;
    if !sound {
        return BudgetVerdict::Exceeded { over_usd: f64::INFINITY };
    }
    let Some(limit_usd) = limit_usd else { return BudgetVerdict::Within { left_usd: f64::INFINITY } };
    let left_usd = limit_usd - (spent_usd + asked_usd);
    // Sums of binary fractions miss by some 1e-16 of their size; a millionth of a cent is no overspending.
    if left_usd >= -1e-8 {
        BudgetVerdict::Within { left_usd: left_usd.max(0.0) }
    } else {
        BudgetVerdict::Exceeded { over_usd: -left_usd }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limit_itself_may_be_spent_and_nothing_beyond() {
        assert!(judge(Some(0.3), 0.1 + 0.1, 0.1).allows(), "0.1 three times is 0.3 to a person");
        assert_eq!(judge(Some(1.0), 0.75, 0.5), BudgetVerdict::Exceeded { over_usd: 0.25 });
        assert!(judge(Some(0.0), 0.0, 0.0).allows());
        assert!(!judge(Some(0.0), 0.0, 0.01).allows());
        assert!(judge(None, 1e9, 1e9).allows());
        for asked in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(!judge(Some(10.0), 0.0, asked).allows() && !judge(None, 0.0, asked).allows(), "{asked}");
        }
    }

    proptest! {
        /// Whoever asks before each spending never ends above the limit, in whatever pieces the money goes.
        #[test]
        fn asking_first_keeps_the_limit(limit in 0.0..100.0_f64, asked in prop::collection::vec(0.0..20.0_f64, 0..60)) {
            let mut spent = 0.0;
            for asked in asked {
                match judge(Some(limit), spent, asked) {
                    BudgetVerdict::Within { left_usd } => {
                        spent += asked;
                        prop_assert!((limit - spent - left_usd).abs() < 1e-6);
                    }
                    BudgetVerdict::Exceeded { over_usd } => prop_assert!((spent + asked - limit - over_usd).abs() < 1e-6),
                }
                prop_assert!(spent <= limit + 1e-7);
            }
        }

        /// What is refused stays refused when more is asked for, or more was spent.
        #[test]
        fn more_is_never_easier(limit in 0.0..10.0_f64, spent in 0.0..10.0_f64, asked in 0.0..10.0_f64, more in 0.0..5.0_f64) {
            if !judge(Some(limit), spent, asked).allows() {
                prop_assert!(!judge(Some(limit), spent, asked + more).allows());
                prop_assert!(!judge(Some(limit), spent + more, asked).allows());
            }
        }
    }
}
