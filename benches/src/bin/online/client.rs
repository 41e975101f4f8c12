//! The load: one connection a client, a thread each, and nothing between the request's bytes and the socket. Client and server
//! share the machine, so that what a client costs hides what a server costs.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tenon_benches::{Fault, fault};

use crate::company::{ENTITIES, FEATURES};

const WARM_UP: Duration = Duration::from_secs(2);
/// How long a turn lasts after that.
pub const TURN: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(30);
/// The most headers of an answer.
const HEADERS: usize = 32;

/// Clients of one server: the requests that they send in turn, and where.
#[derive(Clone)]
pub struct Clients {
    host: String,
    requests: Arc<[Vec<u8>]>,
}

impl Clients {
    /// Clients that ask for the features of one entity after the other at `http://HOST:PORT`.
    pub fn of(address: &str) -> Self {
        let host = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let features: Vec<String> = (0..FEATURES).map(|feature| format!("sensor:f{feature}")).collect();
        let request = |entity| {
            let body = json!({ "features": features, "entities": { "sensor": [format!("s{entity}")] } }).to_string();
            let length = body.len();
            let head = format!(
                "POST /get-online-features HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n"
            );
            (head + &body).into_bytes()
        };
        Self { requests: (0..ENTITIES).map(request).collect(), host }
    }

    /// One more connection.
    pub fn connect(&self) -> Result<Connection, Fault> {
        let stream = TcpStream::connect(&self.host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, requests: Arc::clone(&self.requests), held: Vec::new() })
    }

    /// The latencies, in seconds, of all answers of a turn of so many clients, after a warm-up. Each asks again when it has its
    /// answer.
    pub fn load(&self, clients: usize) -> Result<Vec<f64>, Fault> {
        let begin = Instant::now() + WARM_UP;
        let end = begin + TURN;
        let client = |first: usize| {
            let mut connection = self.connect()?;
            Ok::<_, Fault>(std::thread::spawn(move || {
                let mut latencies = Vec::new();
                for number in (first * 17..).step_by(7) {
                    let start = Instant::now();
                    if start >= end {
                        break;
                    }
                    connection.ask(number)?;
                    if start >= begin {
                        latencies.push(start.elapsed().as_secs_f64());
                    }
                }
                Ok::<_, Fault>(latencies)
            }))
        };
        let mut latencies = Vec::new();
        for client in (0..clients).map(client).collect::<Result<Vec<_>, _>>()? {
            latencies.extend(client.join().map_err(|_| fault("a client panicked"))??);
        }
        Ok(latencies)
    }
}

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    requests: Arc<[Vec<u8>]>,
    /// What came of an answer.
    held: Vec<u8>,
}

impl Connection {
    /// Sends the request of this number, from the first again after the last, and returns the body of the answer.
    pub fn ask(&mut self, number: usize) -> Result<&[u8], Fault> {
        self.stream.write_all(&self.requests[number % self.requests.len()])?;
        self.held.clear();
        let mut piece = [0; 16 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(fault("the server closed the connection")),
                Ok(count) => self.held.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            if let Some((head, length)) = head(&self.held)?
                && self.held.len() >= head + length
            {
                return Ok(&self.held[head..head + length]);
            }
        }
    }
}

/// How long the head of an answer is, and its body; none while the head is not all there. Any answer but a success is a fault.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(bytes)? else { return Ok(None) };
    if answer.code != Some(200) {
        return Err(fault(format!("the server answered {}", String::from_utf8_lossy(bytes))));
    }
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.ok_or_else(|| fault("the answer does not say how long it is"))?;
    Ok(Some((head, std::str::from_utf8(length.value)?.parse()?)))
}
