//! The reference of a monitored column: small enough to store with a model version, and enough to compare with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drift::psi::{Psi, psi_categorical, quantile_edges};
use crate::drift::two_sample::{Chi2Test, chi2_two_sample};
use crate::error::StatsError;

/// The distribution of one column, numeric or categorical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reference {
    /// Counts by bin.
    Numeric(Histogram),
    /// Counts by category.
    Categorical(Categories),
}

impl Reference {
    /// Population stability index of `live` against this reference.
    ///
    /// # Errors
    /// `DifferentBins` when `live` was not counted on this reference's bins; `Empty` when either side has no rows.
    pub fn psi(&self, live: &Self) -> Result<Psi, StatsError> {
        let (reference, live) = self.aligned(live)?;
        psi_categorical(&reference, &live)
    }

    /// Chi-squared test of the two distributions over the bins.
    ///
    /// # Errors
    /// As [`Reference::psi`].
    pub fn chi2(&self, live: &Self) -> Result<Chi2Test, StatsError> {
        let (reference, live) = self.aligned(live)?;
        chi2_two_sample(&reference, &live)
    }

    fn aligned(&self, live: &Self) -> Result<(Vec<u64>, Vec<u64>), StatsError> {
        match (self, live) {
            (Self::Numeric(reference), Self::Numeric(live)) => reference.aligned(live),
            (Self::Categorical(reference), Self::Categorical(live)) => reference.aligned(live),
            _ => Err(StatsError::DifferentBins),
        }
    }
}

/// Counts of a numeric column by bin. Bin `i` holds the values above `edges[i - 1]` up to and including `edges[i]`;
/// the first and the last bin are open-ended. Missing values are counted apart.
///
/// Histograms on the same edges merge, so windows can be counted by the hour and added up to days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredHistogram")]
pub struct Histogram {
    edges: Vec<f64>,
    counts: Vec<u64>,
    missing: u64,
}

impl Histogram {
    /// Counts `values` on the given edges; `NaN` is missing, an infinity falls into the first or the last bin.
    ///
    /// # Errors
    /// `BadEdges` unless `edges` are finite and increase strictly. No values is no error: it is an empty window.
    pub fn count(values: &[f64], edges: &[f64]) -> Result<Self, StatsError> {
        check_edges(edges)?;
        let mut histogram = Self { edges: edges.to_vec(), counts: vec![0; edges.len() + 1], missing: 0 };
        histogram.add(values);
        Ok(histogram)
    }

    /// Counts the reference `values` on their own [`quantile_edges`].
    ///
    /// # Errors
    /// Those of [`quantile_edges`].
    pub fn reference(values: &[f64], bins: usize) -> Result<Self, StatsError> {
        Self::count(values, &quantile_edges(values, bins)?)
    }

    /// An empty histogram on the bins of this one, to count live rows on.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { edges: self.edges.clone(), counts: vec![0; self.counts.len()], missing: 0 }
    }

    /// Counts more values.
    pub fn add(&mut self, values: &[f64]) {
        for value in values {
            if value.is_nan() {
                self.missing += 1;
            } else {
                self.counts[self.edges.partition_point(|edge| edge < value)] += 1;
            }
        }
    }

    /// Adds the rows of another histogram.
    ///
    /// # Errors
    /// `DifferentBins` when the edges differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.edges != other.edges {
            return Err(StatsError::DifferentBins);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
        self.missing = self.missing.saturating_add(other.missing);
        Ok(())
    }

    /// Population stability index of `live` against this reference; the last bin of the answer is the missing rows.
    ///
    /// # Errors
    /// `DifferentBins` when the edges differ; `Empty` when either side has no rows.
    pub fn psi(&self, live: &Self) -> Result<Psi, StatsError> {
        let (reference, live) = self.aligned(live)?;
        psi_categorical(&reference, &live)
    }

    /// Edges of the bins, one fewer than there are bins.
    #[must_use]
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Rows by bin, without the missing ones.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Rows without a value.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// All rows, the missing ones too.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.counts.iter().fold(self.missing, |rows, count| rows.saturating_add(*count))
    }

    fn aligned(&self, live: &Self) -> Result<(Vec<u64>, Vec<u64>), StatsError> {
        if self.edges != live.edges {
            return Err(StatsError::DifferentBins);
        }
        let with_missing = |h: &Self| h.counts.iter().copied().chain([h.missing]).collect();
        Ok((with_missing(self), with_missing(live)))
    }
}

/// What a stored histogram looks like before it is known to be sound.
#[derive(Deserialize)]
struct StoredHistogram {
    edges: Vec<f64>,
    counts: Vec<u64>,
    missing: u64,
}

impl TryFrom<StoredHistogram> for Histogram {
    type Error = StatsError;

    fn try_from(stored: StoredHistogram) -> Result<Self, StatsError> {
        check_edges(&stored.edges)?;
        crate::error::same_length("counts", stored.edges.len() + 1, stored.counts.len())?;
        Ok(Self { edges: stored.edges, counts: stored.counts, missing: stored.missing })
    }
}

fn check_edges(edges: &[f64]) -> Result<(), StatsError> {
    let faulty = |&i: &usize| !edges[i].is_finite() || (i > 0 && edges[i] <= edges[i - 1]);
    match (0..edges.len()).find(faulty) {
        Some(index) => Err(StatsError::BadEdges { index }),
        None => Ok(()),
    }
}

/// Counts of a text column by category; rare categories and those that the reference didn't know are one, `other`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Categories {
    counts: BTreeMap<String, u64>,
    other: u64,
    missing: u64,
}

impl Categories {
    /// Counts the reference `values` and names its `max_named` commonest categories (ties by name); `None` is
    /// missing.
    pub fn reference<S: AsRef<str>>(values: impl IntoIterator<Item = Option<S>>, max_named: usize) -> Self {
        let mut found = Self { counts: BTreeMap::new(), other: 0, missing: 0 };
        for value in values {
            match value {
                Some(name) => match found.counts.get_mut(name.as_ref()) {
                    Some(count) => *count += 1,
                    None => drop(found.counts.insert(name.as_ref().to_owned(), 1)),
                },
                None => found.missing += 1,
            }
        }
        if found.counts.len() > max_named {
            let mut commonest: Vec<(String, u64)> = std::mem::take(&mut found.counts).into_iter().collect();
            commonest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            found.other = commonest.drain(max_named..).map(|(_, count)| count).sum();
            found.counts = commonest.into_iter().collect();
        }
        found
    }

    /// The same categories without rows, to count live rows on.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { counts: self.counts.keys().map(|name| (name.clone(), 0)).collect(), other: 0, missing: 0 }
    }

    /// Counts more values; a category that isn't named falls under `other`.
    pub fn add<S: AsRef<str>>(&mut self, values: impl IntoIterator<Item = Option<S>>) {
        for value in values {
            let count = match &value {
                Some(name) => self.counts.get_mut(name.as_ref()).unwrap_or(&mut self.other),
                None => &mut self.missing,
            };
            *count += 1;
        }
    }

    /// Adds the rows of other counts over the same names.
    ///
    /// # Errors
    /// `DifferentBins` when the names differ.
    pub fn merge(&mut self, more: &Self) -> Result<(), StatsError> {
        if !self.counts.keys().eq(more.counts.keys()) {
            return Err(StatsError::DifferentBins);
        }
        self.counts
            .values_mut()
            .zip(more.counts.values())
            .for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
        self.other = self.other.saturating_add(more.other);
        self.missing = self.missing.saturating_add(more.missing);
        Ok(())
    }

    /// Rows by named category.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// Rows of all categories that aren't named.
    #[must_use]
    pub fn other(&self) -> u64 {
        self.other
    }

    /// Rows without a value.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Population stability index of `live` against this reference; the last two bins of the answer are the other
    /// categories and the missing rows.
    ///
    /// # Errors
    /// `DifferentBins` when the names differ; `Empty` when either side has no rows.
    pub fn psi(&self, live: &Self) -> Result<Psi, StatsError> {
        let (reference, live) = self.aligned(live)?;
        psi_categorical(&reference, &live)
    }

    fn aligned(&self, live: &Self) -> Result<(Vec<u64>, Vec<u64>), StatsError> {
        if !self.counts.keys().eq(live.counts.keys()) {
            return Err(StatsError::DifferentBins);
        }
        let with_rest = |c: &Self| c.counts.values().copied().chain([c.other, c.missing]).collect();
        Ok((with_rest(self), with_rest(live)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bins_are_closed_on_the_right() {
        let found = Histogram::count(&[f64::NEG_INFINITY, 1.0, 1.5, 2.0, 2.1, f64::INFINITY, f64::NAN], &[1.0, 2.0]);
        let found = found.unwrap();
        assert_eq!((found.counts(), found.missing(), found.rows()), (&[2, 2, 2][..], 1, 7));
    }

    #[test]
    fn windows_add_up() {
        let reference = Histogram::reference(&[1.0, 2.0, 3.0, 4.0, f64::NAN], 2).unwrap();
        let (mut first, mut second) = (reference.emptied(), reference.emptied());
        first.add(&[1.0, 4.0, f64::NAN]);
        second.add(&[2.0, 3.0]);
        first.merge(&second).unwrap();
        assert_eq!(first, reference);
        assert_eq!(first.merge(&Histogram::count(&[], &[9.0]).unwrap()), Err(StatsError::DifferentBins));
        assert_eq!(reference.psi(&reference.emptied()), Err(StatsError::Empty { what: "live" }));
    }

    #[test]
    fn a_stored_reference_comes_back_whole() {
        let mostly_zero = [0.0, 0.0, 0.0, 0.1, 0.2 + 0.1, f64::NAN];
        for reference in [
            Reference::Numeric(Histogram::reference(&mostly_zero, 4).unwrap()),
            Reference::Categorical(Categories::reference([Some("UA"), None, Some("B6"), Some("UA")], 1)),
        ] {
            let stored = serde_json::to_string(&reference).unwrap();
            assert_eq!(serde_json::from_str::<Reference>(&stored).unwrap(), reference, "{stored}");
        }
    }

    #[test]
    fn a_stored_reference_that_is_damaged_is_refused() {
        for stored in [
            r#"{"kind":"numeric","edges":[2.0,1.0],"counts":[1,1,1],"missing":0}"#,
            r#"{"kind":"numeric","edges":[1.0,2.0],"counts":[1,1],"missing":0}"#,
        ] {
            assert!(serde_json::from_str::<Reference>(stored).is_err(), "{stored}");
        }
    }

    #[test]
    fn rare_and_unknown_categories_are_other() {
        let reference = Categories::reference(["a", "a", "a", "b", "b", "c", "d"].map(Some), 2);
        assert_eq!(reference.counts().keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(reference.other(), 2);
        let mut live = reference.emptied();
        live.add([Some("a"), Some("new"), Some("c"), None]);
        assert_eq!((live.counts()["a"], live.other(), live.missing()), (1, 2, 1));
        assert_eq!(reference.psi(&live).unwrap().bins.len(), 4);
        let numeric = Reference::Numeric(Histogram::count(&[1.0], &[0.0]).unwrap());
        assert_eq!(Reference::Categorical(reference).psi(&numeric), Err(StatsError::DifferentBins));
    }
}
