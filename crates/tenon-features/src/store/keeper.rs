//! Who keeps a store in Redis as new as the lake, whatever happens to the server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{FeatureStore, Inner};
use crate::FeatureError;
use crate::online::{LiveView, Redis, Wrote};

/// How often the keeper of a store in Redis looks whether there is something to do.
const EVERY: Duration = Duration::from_millis(500);
/// Where it does not come to an end, it looks less and less often, down to this.
const SELDOM: Duration = Duration::from_secs(30);

/// Keeps a store in Redis: connects again, and writes or reads again what could not be written, until the store is gone.
pub(super) async fn keep(redis: Arc<Redis>, inner: Weak<Inner>) {
    let mut wait = EVERY;
    loop {
        // A wake-up while nothing works would be one more try for nothing.
        match wait == EVERY {
            true => _ = tokio::time::timeout(wait, redis.link.wake.notified()).await,
            false => tokio::time::sleep(wait).await,
        }
        let Some(inner) = inner.upgrade() else { return };
        let store = FeatureStore { inner };
        let done = store.catch_up(&redis).await;
        if done && redis.sweep_due.load(Ordering::SeqCst) {
            store.sweep(&redis).await;
        }
        // Connecting is cheap, and somebody waits for it; reading views again and again is not.
        wait = if done || !redis.link.is_up() { EVERY } else { (wait * 2).min(SELDOM) };
    }
}

impl FeatureStore {
    /// Writes what views have to write. Those that Redis holds nothing of are left to the keeper.
    pub(super) async fn write_to_redis(&self, views: &[Arc<LiveView>]) -> Result<(), FeatureError> {
        let mut outcome = Ok(());
        for view in views.iter().filter(|view| view.log().stale && !view.is_lost()) {
            let Some(at) = &view.redis else { continue };
            if view.write_to_redis(at).await == Wrote::ReadAgain {
                outcome = outcome.and(self.read_again(view).await);
            }
        }
        outcome
    }

    /// Brings every view's rows to where they belong. False where that is not done yet.
    async fn catch_up(&self, redis: &Redis) -> bool {
        if !redis.link.is_up() && redis.link.connect().await.is_err() {
            return false;
        }
        let _writer = self.inner.writer.lock().await;
        let mut done = true;
        for view in &self.live().kept() {
            let Some(at) = &view.redis else { continue };
            if !at.is_suspect() && !view.log().stale {
                continue;
            }
            if (view.is_lost() || view.write_to_redis(at).await == Wrote::ReadAgain)
                && let Err(error) = self.read_again(view).await
            {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(view = %view.shape.name, error, "a feature view could not be read again from the lake");
            }
            done &= !view.is_lost() && !view.log().stale;
        }
        done
    }

    /// Takes away the keys of Redis that nobody reads any more.
    async fn sweep(&self, redis: &Redis) {
        let kept = {
            let _writer = self.inner.writer.lock().await;
            redis.kept(&self.live())
        };
        redis.sweep_due.store(redis.sweep(&kept).await.is_err(), Ordering::SeqCst);
    }
}
