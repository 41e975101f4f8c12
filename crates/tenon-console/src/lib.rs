//! The web pages: server-rendered HTML, SVG charts.
//!
//! Each page is a pure function from a view to HTML. Views are plain values; whoever fills them has asked the policies
//! already. Nothing is fetched from elsewhere, and there is no script: what a page needs is in it and in [`STYLE`].

mod chart;
mod dataset;
mod decision;
mod facts;
mod home;
mod model;
mod page;
mod traffic;
pub mod view;
mod words;

pub use dataset::dataset;
pub use decision::decision;
pub use facts::facts;
pub use home::home;
pub use model::model;
pub use page::trouble;

/// The style sheet of all pages, which link it as `/console/style.css`.
pub const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests;
