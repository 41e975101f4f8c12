//! The program that is measured, as a server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{Fault, fault, tenon};

/// `tenon serve` on a company folder, until it is dropped.
pub struct Server {
    process: Child,
    /// Where it answers: `http://127.0.0.1:PORT`.
    pub address: String,
}

impl Server {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When it does not say where it answers.
    pub fn start(folder: &Path) -> Result<Self, Fault> {
        let mut command = Command::new(tenon()?);
        command.arg("--dir").arg(folder).args(["--output", "json", "serve", "--listen", "127.0.0.1:0"]);
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let mut server = Self { process, address: String::new() };
        let ready: Value = serde_json::from_str(&line).map_err(|_| fault(format!("the server said {line:?}")))?;
        server.address.push_str(ready["address"].as_str().ok_or_else(|| fault(format!("the server said {line:?}")))?);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to end, as a service manager asks; killed where that cannot be said.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
