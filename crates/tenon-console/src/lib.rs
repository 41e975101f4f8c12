//! The web pages: server-rendered HTML, SVG charts.
//!
//! Each page is a pure function from a view to HTML. Views are plain values; whoever fills them has asked the policies
//! already. Nothing is fetched from elsewhere, and there is no script: what a page needs is in it and in [`STYLE`].

mod activity;
mod chart;
mod dataset;
mod decision;
mod decisions;
mod deployment;
mod facts;
mod home;
mod lanes;
mod model;
mod page;
mod profile;
mod traffic;
pub mod view;
mod words;

pub use dataset::dataset;
pub use decision::decision;
pub use decisions::decisions;
pub use deployment::deployment;
pub use facts::facts;
pub use home::home;
pub use model::model;
pub use page::trouble;

/// The style sheet of all pages, which link it as `/console/style.css`.
pub const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests;
