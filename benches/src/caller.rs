//! Requests to a server that is measured.

use std::sync::Arc;

use crate::{Fault, fault};

/// A caller of one address, of as many connections as it takes, with bodies that it sends in turn.
#[derive(Clone)]
pub struct Caller {
    /// What it calls with.
    pub client: reqwest::Client,
    /// What it calls.
    pub url: String,
    /// What it sends, in JSON.
    pub bodies: Arc<[String]>,
}

impl Caller {
    /// Sends the body of this number, from the first again after the last. Any answer but a success is a fault.
    ///
    /// # Errors
    /// When there is no answer, or that it is none.
    pub async fn ask(&self, number: usize) -> Result<Vec<u8>, Fault> {
        let body = self.bodies[number % self.bodies.len()].clone();
        let reply = self.client.post(&self.url).header("content-type", "application/json").body(body).send().await?;
        let status = reply.status();
        let bytes = reply.bytes().await?;
        match status.is_success() {
            true => Ok(bytes.to_vec()),
            false => Err(fault(format!("{} answered {status}: {}", self.url, String::from_utf8_lossy(&bytes)))),
        }
    }
}
