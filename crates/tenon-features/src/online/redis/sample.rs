//! Some entities of a view, to say how its features stand.

use redis::cmd;
use tenon_query::point_in_time::Timeline;

use super::read::Wanted;
use super::{Down, InRedis, LiveView, Redis, as_pattern};

/// So many entities are looked at, or a few more. They come over the network, each with all of its rows.
const ENOUGH_ENTITIES: usize = 2_000;

/// So many keys are looked at in one step.
const KEYS_AT_ONCE: usize = 1_000;

/// After so many steps among others' keys the search ends.
const MOST_STEPS: usize = 500;

impl Redis {
    /// The rows of some entities; of all, where they are few. The server's own order is by a hash of the key, so that they are
    /// taken at random.
    pub(crate) async fn sample(&self, view: &LiveView, at: &InRedis) -> Result<Vec<Timeline>, Down> {
        let up = self.link.up()?;
        let Some(known) = at.known() else { return Err(super::read::read_again()) };
        let mut connection = up.reads.clone();
        let prefix = self.entity_prefix(view, known.cursor.generation);
        let pattern = [&as_pattern(&prefix)[..], b"*"].concat();
        let (mut cursor, mut sample) = (0_u64, Vec::new());
        for _ in 0..MOST_STEPS {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_AT_ONCE);
            let (next, keys): (u64, Vec<Vec<u8>>) = self.link.write(&up, scan.query_async(&mut connection)).await?;
            let mut keys: Vec<_> =
                keys.iter().filter_map(|key| Some(key.strip_prefix(&prefix[..])?.to_vec())).collect();
            keys.sort_unstable();
            keys.dedup();
            for found in self.fetch(vec![Wanted { view, at, keys }]).await {
                sample.extend(found?.into_rows());
            }
            if next == 0 || sample.len() >= ENOUGH_ENTITIES {
                return Ok(sample);
            }
            cursor = next;
        }
        match sample.is_empty() {
            false => Ok(sample),
            true => Err(Down("its entities are too few among the server's other keys to be found".into())),
        }
    }
}
