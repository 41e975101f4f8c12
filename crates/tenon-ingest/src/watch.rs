//! Folders and buckets that are watched: files are taken as they come, each once by its bytes.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tenon_core::spec::Source;
use tenon_core::words::chain;
use tenon_core::{DatasetName, Principal, Span};
use tenon_lake::WriteOutcome;
use tokio_util::sync::CancellationToken;

use crate::shelf::{Found, Look, Shelf};
use crate::{FileOutcome, Ingest, IngestError};

/// How often a bucket is listed where its dataset declares no latency.
const LIST_EVERY: Duration = Duration::from_secs(10);

/// What was seen of the files of a shelf. A file is taken when it is whole, or looks the same twice: until then somebody
/// writes it.
#[derive(Debug, Default)]
struct Seen {
    files: HashMap<String, Standing>,
}

#[derive(Debug)]
struct Standing {
    look: Look,
    taken: bool,
    /// Why it was not taken, as it was told last.
    trouble: Option<String>,
}

impl Seen {
    /// The files among those that are there now that are whole and not taken yet.
    fn ready(&mut self, there: Vec<Found>) -> Vec<Found> {
        let mut ready = Vec::new();
        let mut before = std::mem::take(&mut self.files);
        for found in there {
            let before = before.remove(&found.name);
            let same = before.as_ref().filter(|before| before.look == found.look);
            let (rests, taken) = (same.is_some(), same.is_some_and(|same| same.taken));
            let trouble = before.and_then(|before| before.trouble);
            self.files.insert(found.name.clone(), Standing { look: found.look.clone(), taken, trouble });
            if !taken && (rests || found.look.is_whole) {
                ready.push(found);
            }
        }
        ready
    }

    /// Keeps in mind what became of a file; whether that is worth telling: trouble that goes on was told.
    fn is_news(&mut self, name: &str, outcome: &Result<WriteOutcome, IngestError>) -> bool {
        let Some(standing) = self.files.get_mut(name) else { return true };
        standing.taken = outcome.is_ok();
        let trouble = outcome.as_ref().err().map(|error| chain(error));
        let told = std::mem::replace(&mut standing.trouble, trouble);
        standing.taken || standing.trouble != told
    }
}

impl Ingest {
    /// Looks at a dataset's files every `every`, and takes those that have come until it is told to stop; `told` hears of
    /// each, once. What cannot be read is said in the log and tried again. A bucket is listed less often: every half of the
    /// dataset's latency.
    pub async fn follow_files(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        root: &Path,
        every: Duration,
        stop: &CancellationToken,
        mut told: impl FnMut(&FileOutcome) + Send,
    ) {
        let (mut seen, mut trouble, mut place) = (Seen::default(), String::new(), Place::default());
        loop {
            let mut wait = every;
            match self.look(dataset, root, &mut place).await {
                Ok((shelf, there)) => {
                    trouble.clear();
                    if matches!(shelf, Shelf::Bucket(_)) {
                        wait = self.spec(dataset).map_or(LIST_EVERY, |spec| list_every(spec.latency));
                    }
                    let mut earlier = None;
                    for found in seen.ready(there) {
                        if stop.is_cancelled() {
                            return;
                        }
                        // What went wrong on our side is tried again at the next look.
                        let outcome = match shelf.unfinished(&found) {
                            Ok(None) => self.file(by, dataset, shelf, &found, &mut earlier).await,
                            Ok(Some(what)) => Err(IngestError::Unfinished { what }),
                            Err(error) => Err(error),
                        };
                        if seen.is_news(&found.name, &outcome) {
                            told(&FileOutcome { path: found.name, outcome });
                        }
                    }
                }
                Err(error) => {
                    let why = chain(&error);
                    if why != trouble {
                        tracing::warn!(%dataset, "its files cannot be looked at: {why}; tried again in {wait:?}");
                    }
                    trouble = why;
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn look<'a>(
        &self,
        dataset: &DatasetName,
        root: &Path,
        place: &'a mut Place,
    ) -> Result<(&'a Shelf, Vec<Found>), IngestError> {
        let shelf = place.shelf(dataset, &self.spec(dataset)?.source, root)?;
        let there = shelf.list().await?;
        Ok((shelf, there))
    }
}

/// The shelf that is watched. It is opened anew when its declaration changes.
#[derive(Default)]
struct Place {
    opened: Option<(Source, Shelf)>,
}

impl Place {
    fn shelf(&mut self, dataset: &DatasetName, source: &Source, root: &Path) -> Result<&Shelf, IngestError> {
        let opened = match self.opened.take() {
            Some((declared, shelf)) if declared == *source => (declared, shelf),
            _ => (source.clone(), Shelf::open(dataset, source, root)?),
        };
        Ok(&self.opened.insert(opened).1)
    }
}

/// How often a bucket is listed: each listing is a request that costs.
fn list_every(latency: Option<Span>) -> Duration {
    let half = latency.map(|latency| Duration::from_micros(latency.as_micros().unsigned_abs()) / 2);
    half.map_or(LIST_EVERY, |half| half.max(Duration::from_millis(100)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_core::Digest;

    use super::*;

    fn done() -> Result<WriteOutcome, IngestError> {
        let refused = serde_json::json!({
            "dataset": "d", "source": "s", "source_digest": Digest::of(""), "sentence": "no", "reasons": []
        });
        Ok(WriteOutcome::Refused(serde_json::from_value(refused).unwrap()))
    }

    fn found(bytes: u64, is_whole: bool) -> Found {
        Found::for_tests("a.csv", Look { bytes, changed: None, etag: None, is_whole })
    }

    #[test]
    fn a_file_is_ready_when_it_looks_the_same_twice_and_until_it_is_taken() {
        let mut seen = Seen::default();
        let mut ready = |bytes: u64, taken: bool| {
            let ready = seen.ready(vec![found(bytes, false)]).len();
            if taken {
                assert!(seen.is_news("a.csv", &done()));
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

    #[test]
    fn an_object_is_ready_at_once() {
        let mut seen = Seen::default();
        assert_eq!(seen.ready(vec![found(1, true)]).len(), 1);
        assert!(seen.is_news("a.csv", &done()));
        assert_eq!(seen.ready(vec![found(1, true)]).len(), 0);
        assert_eq!(seen.ready(vec![found(2, true)]).len(), 1, "it is another one now");
    }

    #[test]
    fn trouble_is_told_once_however_the_file_grows() {
        let mut seen = Seen::default();
        let mut is_news = |bytes: u64, what: &'static str| {
            seen.ready(vec![found(bytes, false)]);
            seen.is_news("a.csv", &Err(IngestError::Unfinished { what }))
        };
        assert_eq!([is_news(1, "a"), is_news(1, "a"), is_news(2, "a"), is_news(2, "b")], [true, false, false, true]);
        assert!(seen.is_news("a.csv", &done()), "and that it is over");
        assert_eq!(seen.ready(vec![found(2, false)]).len(), 0);
    }

    #[test]
    fn a_bucket_is_listed_twice_within_the_latency() {
        let every = |latency: &str| list_every(Some(latency.parse().unwrap()));
        assert_eq!((every("4s"), every("1ms")), (Duration::from_secs(2), Duration::from_millis(100)));
        assert_eq!(list_every(None), LIST_EVERY);
    }
}
