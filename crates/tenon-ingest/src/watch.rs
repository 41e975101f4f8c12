//! Folders that are watched: files are taken as they come, each once by its bytes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tenon_core::{DatasetName, Principal};
use tokio_util::sync::CancellationToken;

use crate::{FileOutcome, Ingest, IngestError, files};

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    bytes: u64,
    changed: Option<SystemTime>,
}

/// What was seen of the files of a folder. A file is taken when it looks the same twice: until then somebody writes it.
#[derive(Debug, Default)]
struct Folder {
    seen: HashMap<PathBuf, (Look, bool)>,
}

impl Folder {
    /// The files among those that are there now that are whole and not taken yet, as they look.
    fn ready(&mut self, there: Vec<(PathBuf, Look)>) -> Vec<(PathBuf, Look)> {
        let mut ready = Vec::new();
        let before = std::mem::take(&mut self.seen);
        for (path, look) in there {
            let taken = match before.get(&path) {
                Some((same, taken)) if *same == look => {
                    if !taken {
                        ready.push((path.clone(), look));
                    }
                    *taken
                }
                _ => false,
            };
            self.seen.insert(path, (look, taken));
        }
        ready
    }

    fn taken(&mut self, path: &Path) {
        if let Some((_, taken)) = self.seen.get_mut(path) {
            *taken = true;
        }
    }
}

impl Ingest {
    /// Looks at a dataset's files every `every`, and takes those that have come until it is told to stop; `told` hears of
    /// each. What cannot be read is said in the log and tried again.
    pub async fn follow_files(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        root: &Path,
        every: Duration,
        stop: &CancellationToken,
        mut told: impl FnMut(&FileOutcome) + Send,
    ) {
        let (mut folder, mut trouble) = (Folder::default(), String::new());
        loop {
            match self.look(dataset, root) {
                Ok(there) => {
                    trouble.clear();
                    for (path, _) in folder.ready(there) {
                        if stop.is_cancelled() {
                            return;
                        }
                        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                        let outcome = self.file(by, dataset, &path, &name).await;
                        // What went wrong on our side is tried again at the next look.
                        if outcome.is_ok() {
                            folder.taken(&path);
                        }
                        told(&FileOutcome { path: name, outcome });
                    }
                }
                Err(error) => {
                    let why = crate::error::chain(&error);
                    if why != trouble {
                        tracing::warn!(%dataset, "its files cannot be looked at: {why}; tried again in {every:?}");
                    }
                    trouble = why;
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(every)).await.is_none() {
                return;
            }
        }
    }

    fn look(&self, dataset: &DatasetName, root: &Path) -> Result<Vec<(PathBuf, Look)>, IngestError> {
        let spec = self.spec(dataset)?;
        let pattern = spec.source.files.as_deref().ok_or_else(|| IngestError::NoFiles(dataset.to_string()))?;
        let look = |path: PathBuf| {
            // A file that is gone meanwhile is none.
            let metadata = path.metadata().ok()?;
            Some((path, Look { bytes: metadata.len(), changed: metadata.modified().ok() }))
        };
        Ok(files::matching(root, pattern)?.into_iter().filter_map(look).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(bytes: u64) -> Look {
        Look { bytes, changed: None }
    }

    #[test]
    fn a_file_is_ready_when_it_looks_the_same_twice_and_until_it_is_taken() {
        let mut folder = Folder::default();
        let path = PathBuf::from("a.csv");
        let mut ready = |bytes: u64, taken: bool| {
            let ready = folder.ready(vec![(path.clone(), look(bytes))]).len();
            if taken {
                folder.taken(&path);
            }
            ready
        };
        assert_eq!(ready(1, false), 0, "it has only just come");
        assert_eq!(ready(2, false), 0, "it grows");
        assert_eq!(ready(2, false), 1);
        assert_eq!(ready(2, true), 1, "it was not taken");
        assert_eq!(ready(2, false), 0, "it was taken");
        assert_eq!(ready(3, false), 0, "it changed");
        assert_eq!(ready(3, true), 1, "it is another file now");
    }
}
