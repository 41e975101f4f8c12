//! The folder that a process spills into, and what processes that were killed left behind.
//!
//! ```text
//! _spill/spill.lock        held while somebody looks around or moves in
//! _spill/run-PID-N/        of one session; DataFusion makes its folders in it
//! _spill/run-PID-N.lock    held as long as the session lives, and free once its process is dead, however it died
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const RUN: &str = "run-";
const DOOR: &str = "spill.lock";
const LOCK: &str = ".lock";

/// Tells sessions of one process apart: a name, never a meaning.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A folder of one session, which goes with it.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl SpillFolder {
    /// Moves in below `root`, and removes what dead processes left there.
    pub fn create(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let door = open(&root.join(DOOR))?;
        door.lock()?;
        remove_leftovers(root);
        let name = format!("{RUN}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (path, lock) = (root.join(&name), root.join(format!("{name}{LOCK}")));
        let held = open(&lock)?;
        held.lock()?;
        fs::create_dir_all(&path)?;
        Ok(Self { path, lock, _held: held })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // Whatever stays is removed by the next one who moves in.
        fs::remove_dir_all(&self.path).ok();
        fs::remove_file(&self.lock).ok();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Removes the folders whose processes are dead. That it does not succeed is no reason not to work: they only take room.
fn remove_leftovers(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(run) = name.strip_suffix(LOCK).filter(|run| run.starts_with(RUN)) else { continue };
        if open(&entry.path()).is_ok_and(|lock| lock.try_lock().is_ok()) {
            fs::remove_dir_all(root.join(run)).ok();
            fs::remove_file(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn leftovers_of_the_dead_go_and_the_folders_of_the_living_stay() {
        let root = tempfile::tempdir().unwrap();
        let living = SpillFolder::create(root.path()).unwrap();
        fs::create_dir(living.path().join("datafusion-living")).unwrap();
        fs::create_dir_all(root.path().join("run-1-0/datafusion-dead")).unwrap();
        fs::write(root.path().join("run-1-0.lock"), "").unwrap();
        fs::write(root.path().join("a stranger's file"), "").unwrap();

        let second = SpillFolder::create(root.path()).unwrap();
        assert!(living.path().join("datafusion-living").exists());
        assert!(!root.path().join("run-1-0").exists() && !root.path().join("run-1-0.lock").exists());
        drop((living, second));
        let mut left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a stranger's file", "spill.lock"]);
    }
}
