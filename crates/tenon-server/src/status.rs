//! How the server is: for probes and for Prometheus.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tenon_serve::{decisions_table, outcomes_table};

use crate::house::{House, aside};
use crate::metrics::{head, line};
use crate::problem::Problem;

/// `GET /health`: ready when the ledger answers.
pub(crate) async fn health(State(house): State<Arc<House>>) -> Result<Json<Value>, Problem> {
    house.ledger.size()?;
    Ok(Json(json!({ "ready": true })))
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(house): State<Arc<House>>) -> Result<Response, Problem> {
    let text = aside(move || {
        let mut text = house.metrics.text();
        head(&mut text, "tenon_facts_total", "counter", "Facts on the ledger.");
        line(&mut text, "tenon_facts_total", "", house.ledger.size()? as f64);
        for (name, help, table) in [
            ("tenon_decisions_total", "Decisions in the lake.", (|name| decisions_table(name)) as fn(&str) -> String),
            ("tenon_outcomes_total", "Outcomes that joined a decision.", |name| outcomes_table(name)),
        ] {
            head(&mut text, name, "counter", help);
            for deployment in house.catalog.specs().deployments.keys() {
                let rows = house.lake.state(&table(deployment.as_str()))?.map_or(0, |state| state.rows);
                line(&mut text, name, &format!("deployment=\"{deployment}\""), rows as f64);
            }
        }
        Ok(text)
    });
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.await?).into_response())
}
