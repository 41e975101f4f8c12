//! What is behind the doors: the parts, and what all requests share.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use tenon_policy::{Action, Reception, Request, Target};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::caller::Caller;
use crate::doors::Doors;
use crate::lately::Lately;
use crate::metrics::Metrics;
use crate::problem::Problem;

/// Requests that are answered at once.
const LIGHT: usize = 512;
/// Among them, requests that hold much memory or all processors, such as a push of rows or a query.
const HEAVY: usize = 6;

/// How much a route asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Light,
    Heavy,
}

/// The parts behind the doors, with the room for requests and the counts of them.
pub(crate) struct House {
    doors: Doors,
    pub(crate) metrics: Metrics,
    /// Gives first tokens.
    pub(crate) reception: Reception,
    /// Versions whose features were read.
    pub(crate) lately: Lately,
    light: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
}

/// A place for one request, free again when the last who holds it lets go: work that goes on after its caller was told that
/// time ran out takes it along, since it goes on to take memory.
#[derive(Debug, Clone)]
pub(crate) struct Room(#[expect(dead_code, reason = "it is held, and never looked at")] Arc<OwnedSemaphorePermit>);

impl Deref for House {
    type Target = Doors;
    fn deref(&self) -> &Doors {
        &self.doors
    }
}

impl House {
    pub(crate) fn new(doors: Doors, metrics: Metrics) -> Self {
        let reception = Reception::new(doors.tokens.clone(), doors.guard.clone(), Arc::clone(&doors.clock));
        let (light, heavy) = (Arc::new(Semaphore::new(LIGHT)), Arc::new(Semaphore::new(HEAVY)));
        Self { doors, metrics, reception, lately: Lately::default(), light, heavy }
    }

    /// A place for one more request. Waiting in line here would only use up the caller's patience and our memory.
    pub(crate) fn room(&self, weight: Weight) -> Result<Room, Problem> {
        let (places, full): (_, fn() -> Problem) = match weight {
            Weight::Light => (&self.light, Problem::busy),
            Weight::Heavy => (&self.heavy, Problem::slow_down),
        };
        Ok(Room(Arc::new(Arc::clone(places).try_acquire_owned().map_err(|_| full())?)))
    }

    /// Asks the policies; a refusal is on the record when this returns.
    ///
    /// # Errors
    /// 403 with the reason in plain words.
    pub(crate) async fn allow(
        &self,
        caller: &Caller,
        action: Action,
        target: impl Into<Target>,
    ) -> Result<(), Problem> {
        self.allow_request(&Request::new(caller.0.clone(), action, target)).await
    }

    /// The same for a request with context.
    pub(crate) async fn allow_request(&self, request: &Request) -> Result<(), Problem> {
        let answer = self.guard.check(request).await?;
        if answer.allowed { Ok(()) } else { Err(Problem::forbidden(answer.sentence)) }
    }
}

/// Runs to its end what must not stop half-way when a caller hangs up or time runs out.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(Problem::internal("working", &error)))
}

/// Runs what keeps a processor busy, or waits for a disk, beside the requests.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Problem::internal("working", &error)))
}
