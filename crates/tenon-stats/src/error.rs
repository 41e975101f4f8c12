//! What can be wrong with the input of a statistic, and the checks that find it.

/// Why a statistic can't be computed. Every variant is a fault of the input; none is a matter of chance.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// There are no rows (or no rows with a value) to compute from.
    #[error("`{what}` has no values; at least one is needed")]
    Empty {
        /// The input that is empty.
        what: &'static str,
    },
    /// There are rows, but too few for this statistic.
    #[error("`{what}` has {rows} rows; at least {needed} are needed")]
    TooFew {
        /// The input, or the part of it, that is too short.
        what: &'static str,
        /// Rows found.
        rows: u64,
        /// Rows needed.
        needed: u64,
    },
    /// Two inputs that describe the same rows have different lengths.
    #[error("`{what}` has length {found}, but {expected} was expected")]
    LengthMismatch {
        /// The input whose length is off.
        what: &'static str,
        /// The length that the other inputs ask for.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A value is `NaN` or infinite where only numbers make sense.
    #[error("`{what}` is not a finite number at row {row}; drop or repair the row first")]
    NotFinite {
        /// The input.
        what: &'static str,
        /// Row of the first such value, from 0.
        row: usize,
    },
    /// A value lies outside the range that its meaning allows.
    #[error("`{what}` is {value} at row {row}, outside {low} to {high}")]
    OutOfRange {
        /// The input.
        what: &'static str,
        /// Row of the first such value, from 0.
        row: usize,
        /// The value found.
        value: f64,
        /// Least value allowed.
        low: f64,
        /// Greatest value allowed.
        high: f64,
    },
    /// All labels are the same, so nothing can be told apart.
    #[error("all labels are {label}; both classes are needed")]
    OneClass {
        /// The only label that occurs.
        label: bool,
    },
    /// Bin edges are not finite or do not increase strictly.
    #[error("bin edge {index} is not finite or not greater than the one before; edges must increase strictly")]
    BadEdges {
        /// Position of the first faulty edge, from 0.
        index: usize,
    },
    /// Two histograms that should be compared or merged were counted on different bins.
    #[error("the two histograms have different bins; count the live rows on the bins of the reference")]
    DifferentBins,
    /// A parameter is outside its domain.
    #[error("parameter `{name}` is {value}, but must be {rule}")]
    BadParameter {
        /// The parameter.
        name: &'static str,
        /// The value given.
        value: f64,
        /// What it must be.
        rule: &'static str,
    },
    /// Fewer than two groups are left to compare.
    #[error("only {usable} group can be compared by `{rate}`; two are needed (lower the minimum group size?)")]
    TooFewGroups {
        /// The rate that was to be compared.
        rate: &'static str,
        /// Groups with enough rows and a defined rate.
        usable: usize,
    },
    /// The likelihood of the calibration line has no finite maximum, or none that can be told.
    #[error("no calibration line fits: the scores separate the labels perfectly, or hardly differ")]
    NoCalibrationLine,
}

pub(crate) fn same_length(what: &'static str, expected: usize, found: usize) -> Result<(), StatsError> {
    if expected == found { Ok(()) } else { Err(StatsError::LengthMismatch { what, expected, found }) }
}

pub(crate) fn all_finite(what: &'static str, values: &[f64]) -> Result<(), StatsError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(row) => Err(StatsError::NotFinite { what, row }),
        None => Ok(()),
    }
}

pub(crate) fn all_within(what: &'static str, values: &[f64], low: f64, high: f64) -> Result<(), StatsError> {
    all_finite(what, values)?;
    match values.iter().enumerate().find(|(_, v)| !(low..=high).contains(*v)) {
        Some((row, &value)) => Err(StatsError::OutOfRange { what, row, value, low, high }),
        None => Ok(()),
    }
}

/// A probability strictly between 0 and 1, such as a confidence level.
pub(crate) fn open_unit(name: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(StatsError::BadParameter { name, value, rule: "strictly between 0 and 1" })
    }
}

pub(crate) fn positive(name: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(StatsError::BadParameter { name, value, rule: "a finite number above 0" })
    }
}
