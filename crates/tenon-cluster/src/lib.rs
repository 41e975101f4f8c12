//! Queries on several machines, by Ballista: [`schedule`] and [`execute`] are its processes, [`session`] has queries run on
//! them. See `docs/decisions/0011-ballista.md`.
//!
//! A query is planned where it is asked, down to the files that are read, and travels as a physical plan: the scheduler cuts
//! it into stages, whose tasks the executors fetch, and knows no catalog, no policy and no version of a table. Executors read
//! the tables' files themselves, so that they must see them under the same paths.

mod ask;
mod codec;
mod execute;
mod schedule;

pub use ask::session;
pub use execute::{ExecutorOptions, execute};
pub use schedule::{Scheduler, schedule};

/// Why a process of the cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An address where nobody can listen.
    #[error("nothing can be heard at {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// An address that other machines reach, without anybody's consent.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it can read what it works on and have it work\n  \
         hint: say --trust-network where nobody else is in that network"
    )]
    Open(std::net::SocketAddr),
    /// An executor that listens at every address, and does not say under which one others reach it.
    #[error("{0} is every address of this machine, and others must be told one\n  hint: say --advertise HOST")]
    Nameless(std::net::SocketAddr),
    /// A folder that cannot be used.
    #[error("`{}` cannot be used: {source}", .path.display())]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A scheduler that does not answer an executor.
    #[error(
        "no scheduler answers at {scheduler}: {what}\n  hint: start one with `tenon scheduler --listen {scheduler}`"
    )]
    NoScheduler {
        /// `HOST:PORT`.
        scheduler: String,
        /// What happened.
        what: String,
    },
    /// Ballista's own words.
    #[error("{0}")]
    Failed(String),
}

/// Refuses addresses that other machines reach, where nobody said that the network is to be trusted.
fn guard(address: std::net::SocketAddr, trust_network: bool) -> Result<(), ClusterError> {
    if address.ip().is_loopback() || trust_network { Ok(()) } else { Err(ClusterError::Open(address)) }
}
