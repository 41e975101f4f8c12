//! What a read needs: nothing more of a view that is in memory, and of one in Redis the rows of its entities, fetched before.

use std::sync::Arc;

use tenon_core::Timestamp;
use tenon_query::point_in_time::Rows;

use super::LiveView;
use super::redis::{Down, Found, Wanted};
use crate::FeatureError;

/// The rows that were fetched for one request.
#[derive(Default)]
pub(crate) struct Fetched {
    views: Vec<(Arc<LiveView>, Result<Found, Down>)>,
}

/// Why a view cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// This is the earliest moment that can be served.
    TooFarBack(Timestamp),
    /// The store does not answer, or has lost what it held.
    Unavailable,
}

impl Fetched {
    /// Fetches what is not in memory: the rows of the entities `keys` of each view, all in one round trip.
    pub(crate) async fn of<'a, K: Fn() -> Vec<Vec<u8>>>(
        asked: impl IntoIterator<Item = (&'a Arc<LiveView>, K)>,
    ) -> Self {
        let in_redis = |(view, keys): (&'a Arc<LiveView>, K)| {
            let at = view.redis.as_ref()?;
            let mut keys = keys();
            keys.sort_unstable();
            keys.dedup();
            Some((Arc::clone(view), Wanted { view, at, keys }))
        };
        let (views, wanted): (Vec<_>, Vec<_>) = asked.into_iter().filter_map(in_redis).unzip();
        // One company has one store.
        let Some(redis) = wanted.first().map(|wanted: &Wanted<'_>| Arc::clone(&wanted.at.redis)) else {
            return Self::default();
        };
        Self { views: views.into_iter().zip(redis.fetch(wanted).await).collect() }
    }

    /// As [`LiveView::read`].
    pub(crate) fn read<T>(
        &self,
        view: &Arc<LiveView>,
        key: &[u8],
        at: i64,
        read: impl FnOnce(Rows<'_>, Option<i64>) -> T,
    ) -> Result<T, Unread> {
        if view.redis.is_none() {
            return view.read(key, at, read).map_err(Unread::TooFarBack);
        }
        let found = self.found(view)?;
        match found.from.filter(|from| at < *from) {
            Some(from) => Err(Unread::TooFarBack(Timestamp::from_micros(from))),
            None => Ok(read(found.rows(key), found.began)),
        }
    }

    /// The newest event of an entity, in microseconds; none: it has no rows.
    pub(crate) fn newest(&self, view: &Arc<LiveView>, key: &[u8]) -> Result<Option<i64>, Unread> {
        match view.redis {
            None => Ok(view.newest(key)),
            Some(_) => Ok(self.found(view)?.rows(key).events().last().copied()),
        }
    }

    /// Why a view cannot be read, of the first that cannot.
    pub(crate) fn unavailable(&self) -> Result<(), FeatureError> {
        for (view, found) in &self.views {
            if let (Err(Down(why)), Some(at)) = (found, &view.redis) {
                let (store, reason) = (at.redis.link.name.clone(), why.to_string());
                return Err(FeatureError::Unavailable { view: view.shape.name.clone(), store, reason });
            }
        }
        Ok(())
    }

    fn found(&self, view: &Arc<LiveView>) -> Result<&Found, Unread> {
        let found = self.views.iter().find(|(known, _)| Arc::ptr_eq(known, view));
        found.and_then(|(_, found)| found.as_ref().ok()).ok_or(Unread::Unavailable)
    }
}
