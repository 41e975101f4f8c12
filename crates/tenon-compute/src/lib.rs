//! Prices, spend and budgets.
