//! What the measurements share: figures and how they are told, peers and how they are asked, places of files.
//!
//! Each measurement is a program of its own, `src/bin/NAME.rs`; `run.sh` builds them, installs the peers and runs them.
//! Claims of speed are ratios against a peer in the same run, on the same input, whose answers are compared first.

mod caller;
mod figure;
mod peer;
mod samples;
mod server;

use std::path::{Path, PathBuf};

pub use caller::Caller;
pub use figure::{Figure, Report};
pub use peer::Peer;
pub use samples::{best, median, quantile};
pub use server::Server;

/// Why a measurement could not be made.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The fault that says this.
pub fn fault(sentence: impl Into<String>) -> Fault {
    sentence.into().into()
}

/// A path of the repository, in which a measurement is started. A path known when it was built would be another clone's where
/// two share a target folder.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(path)
}

/// A folder to work in that goes away afterwards; on the disk that holds the build, because a folder in memory would
/// make durability free. `TENON_BENCH_WORK` names another place.
///
/// # Errors
/// When it cannot be made.
pub fn work_folder() -> Result<tempfile::TempDir, Fault> {
    let parent = match std::env::var_os("TENON_BENCH_WORK") {
        Some(named) => PathBuf::from(named),
        None => std::env::current_exe()?.parent().map_or_else(|| PathBuf::from("."), Path::to_owned),
    };
    std::fs::create_dir_all(&parent)?;
    Ok(tempfile::tempdir_in(parent)?)
}

/// The binary that is measured: `TENON`, or the one beside this program.
///
/// # Errors
/// When there is none.
pub fn tenon() -> Result<PathBuf, Fault> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("tenon"));
    let binary = std::env::var_os("TENON").map(PathBuf::from).or_else(beside);
    binary.filter(|path| path.is_file()).ok_or_else(|| fault("there is no `tenon` to measure; build it, or set TENON"))
}
