//! Where queries run that are too big for one machine.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an address begins with.
const SCHEME: &str = "ballista://";

/// The scheduler of a Ballista cluster: `ballista://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct EngineAddress {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

/// A text that is no address of an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no engine: say the scheduler's address, as `ballista://HOST:PORT`")]
pub struct EngineError(String);

impl EngineAddress {
    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for EngineAddress {
    type Err = EngineError;
    fn from_str(text: &str) -> Result<Self, EngineError> {
        let address = text.strip_prefix(SCHEME).and_then(|rest| rest.rsplit_once(':'));
        let good = address.and_then(|(host, port)| Some((host, port.parse().ok().filter(|port| *port != 0)?)));
        match good {
            Some((host, port)) if is_host(host) => Ok(Self { host: host.to_owned(), port }),
            _ => Err(EngineError(text.to_owned())),
        }
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    }
}

impl TryFrom<String> for EngineAddress {
    type Error = EngineError;
    fn try_from(text: String) -> Result<Self, EngineError> {
        text.parse()
    }
}

impl From<EngineAddress> for String {
    fn from(address: EngineAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_port() {
        for good in ["ballista://127.0.0.1:50050", "ballista://scheduler.internal:1", "ballista://[::1]:50050"] {
            let address: EngineAddress = good.parse().unwrap();
            assert_eq!(address.to_string(), good);
        }
        for bad in [
            "",
            "ballista://",
            "ballista://:1",
            "ballista://host",
            "ballista://host:0",
            "ballista://host:65536",
            "ballista://host:1/path",
            "ballista://user@host:1",
            "ballista://[::1:5",
            "http://host:1",
            "host:1",
        ] {
            assert!(bad.parse::<EngineAddress>().is_err(), "{bad}");
        }
    }
}
