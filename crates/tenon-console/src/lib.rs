//! The web pages: server-rendered HTML, SVG charts.
