//! Is a live window distributed like the reference?
//!
//! [`psi`](fn@psi) measures *how much* a column moved, bin by bin, and works on stored histograms; the two-sample
//! tests say how surely it moved at all; the adjustments keep a monitor of many columns from crying wolf.
//!
//! Every p-value here takes rows as independent. Rows that cluster (a storm delays a whole day of flights) make
//! small p-values too easy to reach: pair them with a threshold on the measure itself.

mod adjust;
mod kolmogorov;
mod psi;
mod reference;
mod two_sample;

pub use adjust::{benjamini_hochberg, holm};
pub use psi::{BinShift, Psi, psi, psi_categorical, quantile_edges};
pub use reference::{Categories, Histogram, Reference};
pub use two_sample::{Chi2Test, KsMethod, KsTest, chi2_two_sample, ks_two_sample, wasserstein_1};
