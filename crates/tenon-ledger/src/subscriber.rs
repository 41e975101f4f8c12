//! Subscribers: named readers of facts, each with a durable cursor.
//!
//! A fact is handled *at least once*: the cursor moves after the handler returned, in a commit of its own. A handler
//! that appends therefore seals an operation derived from the fact, and the ledger recognises the repetition.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::LedgerError;
use crate::ledger::{Ledger, Parked, StoredFact};
use crate::store::Store;
use crate::writer::Work;

/// A named, idempotent reader of facts with a durable cursor.
#[async_trait::async_trait]
pub trait Subscriber: Send + Sync {
    /// Its name; the cursor belongs to it.
    fn name(&self) -> &str;
    /// The kinds of fact that it reacts to; all when empty.
    fn kinds(&self) -> &[&str];
    /// Whether a subscriber that is new to the ledger skips the facts that are there already.
    fn starts_at_end(&self) -> bool {
        false
    }
    /// Reacts. May be called again for the same fact after a crash or an error.
    async fn handle(&self, stored: &StoredFact) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// How often and how soon a failed fact is tried again before it is parked.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// Attempts in all.
    pub attempts: u32,
    /// The wait after the first failure; each further one doubles it.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 5, first_wait: Duration::from_millis(20), longest_wait: Duration::from_secs(5) }
    }
}

impl Retries {
    fn wait(&self, failures: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.longest_wait)
    }
}

/// Facts are fetched so many at a time.
const FETCH: usize = 64;
/// A cursor that only skipped facts of other kinds is written down once it is so far behind.
const LAG: u64 = 10_000;

/// Runs subscribers over the facts of one ledger.
pub struct Subscribers {
    ledger: Ledger,
    retries: Retries,
    readers: Mutex<Vec<Reader>>,
}

struct Reader {
    subscriber: Arc<dyn Subscriber>,
    /// Facts to handle, in order.
    pending: VecDeque<StoredFact>,
    /// Every fact before it is handled, pending or of no interest; nothing before the cursor was read.
    scanned: Option<u64>,
    /// The cursor as written.
    written: u64,
    failures: u32,
    not_before: Option<Instant>,
}

/// What one step did.
enum Step {
    Handled,
    Failed,
    Idle,
    Waiting(Instant),
}

impl Subscribers {
    /// Subscribers of one ledger; their names must differ.
    pub fn new(ledger: Ledger, subscribers: Vec<Arc<dyn Subscriber>>) -> Self {
        let readers = subscribers.into_iter().map(|subscriber| Reader {
            subscriber,
            pending: VecDeque::new(),
            scanned: None,
            written: 0,
            failures: 0,
            not_before: None,
        });
        Self { ledger, retries: Retries::default(), readers: Mutex::new(readers.collect()) }
    }

    /// The same subscribers with another patience.
    #[must_use]
    pub fn with_retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Handles facts until no subscriber has anything left, also none of those that handling brought; how many were
    /// handled. Of all that is pending, the oldest fact comes first, and for one fact the subscribers in their order.
    ///
    /// # Errors
    /// When the ledger fails. What a handler fails at is tried again and then parked.
    pub async fn run_until_idle(&self) -> Result<usize, LedgerError> {
        let mut readers = self.readers.lock().await;
        let mut handled = 0;
        loop {
            match self.step(&mut readers).await? {
                Step::Handled => handled += 1,
                Step::Failed => {}
                Step::Waiting(until) => tokio::time::sleep_until(until).await,
                Step::Idle => return Ok(handled),
            }
        }
    }

    /// Handles facts as they come, until `shutdown` is ready; a handler that runs then is waited for.
    ///
    /// # Errors
    /// When the ledger is closed or read-only, or two subscribers share a name. Other failures of the ledger are tried
    /// again.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), LedgerError> {
        let mut readers = self.readers.lock().await;
        let mut size = self.ledger.watch();
        let mut shutdown = pin!(shutdown);
        let mut failures = 0;
        loop {
            size.mark_unchanged();
            let until = match self.step(&mut readers).await {
                Ok(Step::Handled | Step::Failed) => Some(Instant::now()),
                Ok(Step::Waiting(until)) => Some(until),
                Ok(Step::Idle) => None,
                Err(error @ (LedgerError::Closed | LedgerError::ReadOnly | LedgerError::SameName(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(error = &error as &dyn std::error::Error, "subscribers wait: the ledger failed");
                    tokio::select! {
                        () = &mut shutdown => return Ok(()),
                        () = tokio::time::sleep(self.retries.wait(failures)) => continue,
                    }
                }
            };
            failures = 0;
            let woken = async {
                match until {
                    Some(until) if until <= Instant::now() => {}
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                changed = size.changed() => if changed.is_err() { return Err(LedgerError::Closed) },
                () = woken => {}
            }
        }
    }

    /// Facts that were given up on, by index.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn parked(&self) -> Result<Vec<Parked>, LedgerError> {
        self.ledger.read(Store::parked)
    }

    /// Handles the oldest fact that is pending and not waiting for a retry.
    async fn step(&self, readers: &mut [Reader]) -> Result<Step, LedgerError> {
        self.refill(readers).await?;
        let now = Instant::now();
        let ready = readers.iter_mut().filter(|reader| reader.not_before.is_none_or(|moment| moment <= now));
        let oldest =
            ready.filter_map(|reader| Some((reader.pending.front()?.index, reader))).min_by_key(|(index, _)| *index);
        if let Some((_, reader)) = oldest {
            return self.handle(reader).await;
        }
        let waiting = readers.iter().filter(|reader| !reader.pending.is_empty());
        Ok(waiting.filter_map(|reader| reader.not_before).min().map_or(Step::Idle, Step::Waiting))
    }

    async fn handle(&self, reader: &mut Reader) -> Result<Step, LedgerError> {
        let Some(stored) = reader.pending.front() else { return Ok(Step::Idle) };
        let subscriber = reader.subscriber.name().to_owned();
        let parked = match reader.subscriber.handle(stored).await {
            Ok(()) => None,
            Err(error) => {
                reader.failures += 1;
                let (index, attempt) = (stored.index, reader.failures);
                tracing::warn!(
                    subscriber,
                    index,
                    attempt,
                    error = &*error as &dyn std::error::Error,
                    "a subscriber failed"
                );
                if attempt < self.retries.attempts {
                    reader.not_before = Some(Instant::now() + self.retries.wait(attempt));
                    return Ok(Step::Failed);
                }
                Some((index, tenon_core::words::chain(&*error)))
            }
        };
        let (next, failed) = (stored.index + 1, parked.is_some());
        self.ledger.ask(Work::Advance { subscriber, next, parked }).await?;
        reader.pending.pop_front();
        (reader.failures, reader.not_before, reader.written) = (0, None, next);
        Ok(if failed { Step::Failed } else { Step::Handled })
    }

    /// Fetches for whoever has nothing pending, and reads cursors the first time.
    async fn refill(&self, readers: &mut [Reader]) -> Result<(), LedgerError> {
        if readers.iter().any(|reader| reader.scanned.is_none()) {
            self.start(readers).await?;
        }
        let size = self.ledger.size()?;
        for reader in readers {
            let Some(scanned) = reader.scanned.filter(|scanned| *scanned < size && reader.pending.is_empty()) else {
                continue;
            };
            let facts = self.ledger.facts_of(reader.subscriber.kinds(), scanned, FETCH)?;
            // Facts may have landed since `size` was read; they are seen next time, each exactly once.
            let facts: Vec<_> = facts.into_iter().filter(|stored| stored.index < size).collect();
            let full = facts.len() == FETCH;
            reader.scanned = Some(facts.last().filter(|_| full).map_or(size, |last| last.index + 1));
            reader.pending.extend(facts);
            if reader.pending.is_empty() && size - reader.written >= LAG {
                let subscriber = reader.subscriber.name().to_owned();
                self.ledger.ask(Work::Advance { subscriber, next: size, parked: None }).await?;
                reader.written = size;
            }
        }
        Ok(())
    }

    async fn start(&self, readers: &mut [Reader]) -> Result<(), LedgerError> {
        let mut names = BTreeSet::new();
        if let Some(twin) = readers.iter().find(|reader| !names.insert(reader.subscriber.name())) {
            return Err(LedgerError::SameName(twin.subscriber.name().to_owned()));
        }
        for reader in readers.iter_mut().filter(|reader| reader.scanned.is_none()) {
            let subscriber = reader.subscriber.name().to_owned();
            let cursor = self.ledger.read(|store| store.cursor(&subscriber))?;
            let next = match cursor {
                Some(next) => next,
                None => {
                    let next = if reader.subscriber.starts_at_end() { self.ledger.size()? } else { 0 };
                    self.ledger.ask(Work::Advance { subscriber, next, parked: None }).await?;
                    next
                }
            };
            (reader.scanned, reader.written) = (Some(next), next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let retries = Retries::default();
        let waits: Vec<u128> = (1..=10).map(|failures| retries.wait(failures).as_millis()).collect();
        assert_eq!(waits, [20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000]);
        assert_eq!(retries.wait(u32::MAX), retries.longest_wait);
    }
}
