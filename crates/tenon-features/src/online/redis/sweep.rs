//! Keys that nobody reads any more: of earlier generations, and of views that are gone.

use std::collections::{BTreeSet, HashMap};

use redis::{cmd, pipe};

use super::super::Live;
use super::{Down, LiveView, Redis, as_pattern};

/// So many keys are looked at in one step.
const KEYS_AT_ONCE: usize = 1_000;

/// What must stay, at one moment.
pub(crate) struct Kept {
    /// The generation of each view that is kept up, by what the store calls it; none: it is not known now, and all of its
    /// keys stay.
    views: HashMap<String, Option<u64>>,
    /// Views that cannot be served now: all of their keys stay.
    broken: BTreeSet<String>,
    /// Generations from here on came later.
    before: u64,
}

impl Redis {
    /// What must stay of what is there now. No view may be written meanwhile.
    pub(crate) fn kept(&self, live: &Live) -> Kept {
        let generation = |view: &LiveView| view.redis.as_ref()?.known().map(|known| known.cursor.generation);
        let views = live.kept().iter().map(|view| (view.stored_as(), generation(view))).collect();
        let broken = live.views.iter().filter(|(_, view)| view.is_err()).map(|(name, _)| name.to_string()).collect();
        Kept { views, broken, before: self.next_generation() }
    }

    /// Takes away what need not stay, step by step beside reads and writes. Of a view that is gone the cursor goes first, so
    /// that nobody takes up a part of its rows.
    pub(crate) async fn sweep(&self, kept: &Kept) -> Result<(), Down> {
        let up = self.link.up()?;
        let mut connection = up.reads.clone();
        let pattern = [&as_pattern(self.prefix.as_bytes())[..], b"*"].concat();
        let mut at = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(at).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_AT_ONCE);
            let (next, keys): (u64, Vec<Vec<u8>>) = self.link.write(&up, scan.query_async(&mut connection)).await?;
            let mut gone: BTreeSet<&[u8]> = BTreeSet::new();
            let mut cursors: BTreeSet<Vec<u8>> = BTreeSet::new();
            for key in &keys {
                let Some((view, generation)) = self.parts(key) else { continue };
                let name = view.split_once('@').map_or(view, |(name, _)| name);
                let stands = kept.broken.contains(name)
                    || match (kept.views.get(view), generation) {
                        (Some(_), None) | (Some(None), _) => true,
                        (Some(Some(now)), Some(generation)) => generation == *now || generation >= kept.before,
                        (None, Some(generation)) => generation >= kept.before,
                        (None, None) => false,
                    };
                if !stands {
                    gone.insert(key);
                    if !kept.views.contains_key(view) {
                        cursors.insert(format!("{}{view}", self.prefix).into_bytes());
                    }
                }
            }
            if !gone.is_empty() {
                let mut unlink = pipe();
                for key in cursors.iter().map(Vec::as_slice).chain(gone) {
                    unlink.cmd("UNLINK").arg(key).ignore();
                }
                self.link.write(&up, unlink.exec_async(&mut connection)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            at = next;
        }
    }

    /// The view and the generation of a key; without a generation it is a cursor.
    fn parts<'a>(&self, key: &'a [u8]) -> Option<(&'a str, Option<u64>)> {
        let mut parts = key.strip_prefix(self.prefix.as_bytes())?.splitn(3, |byte| *byte == b':');
        let view = std::str::from_utf8(parts.next()?).ok()?;
        let generation = parts.next().map(|text| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok());
        match generation {
            None => Some((view, None)),
            Some(generation) => Some((view, Some(generation?))),
        }
    }
}
