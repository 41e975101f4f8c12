//! The ledger as C2SP's tlog-tiles serves a log: <https://c2sp.org/tlog-tiles>, under `/log/`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tenon_core::Digest;
use tenon_ledger::tiles::{bundle_path, tile_path};
use tenon_ledger::{Ledger, LedgerError, merkle};

use crate::house::{House, aside};
use crate::problem::Problem;

/// Hashes in a complete tile, entries in a complete bundle.
const WIDTH: u64 = 256;
/// What stands under a tile's address never changes. Only who may read the log may have it, so no cache is shared.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// `GET /log/checkpoint`: the newest signed checkpoint.
pub(crate) async fn checkpoint(State(house): State<Arc<House>>) -> Result<Response, Problem> {
    let checkpoint = house.ledger.checkpoint()?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], checkpoint)
        .into_response())
}

/// `GET /log/key`: the key that checkpoints are checked with. Whoever audits gets it from somewhere else as well.
pub(crate) async fn key(State(house): State<Arc<House>>) -> String {
    format!("{}\n", house.ledger.verifier_key())
}

/// `GET /log/tile/…`: a tile of hashes, or a bundle of entries.
pub(crate) async fn tile(State(house): State<Arc<House>>, Path(path): Path<String>) -> Result<Response, Problem> {
    let gone = || Problem::not_found("there is no such tile");
    let tile = Tile::parse(&path).ok_or_else(gone)?;
    let bytes = aside(move || Ok(tile.bytes(&house.ledger)?)).await?.ok_or_else(gone)?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, FOR_EVER)];
    Ok((headers, bytes).into_response())
}

/// The address of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    /// None: a bundle of entries.
    level: Option<u32>,
    number: u64,
    /// Hashes or entries asked for, 1 to 256.
    width: u64,
}

impl Tile {
    /// Reads what follows `tile/`, in the one way of writing it.
    fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.split_once('/')?;
        let level = match kind {
            "entries" => None,
            level => Some(level.parse().ok().filter(|level| *level <= 7)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let digits: String = number.split('/').map(|part| part.trim_start_matches('x')).collect();
        let tile = Self { level, number: digits.parse().ok()?, width };
        (tile.path().strip_prefix("tile/") == Some(path)).then_some(tile)
    }

    fn path(self) -> String {
        match self.level {
            Some(level) => tile_path(level, self.number, self.width as usize),
            None => bundle_path(self.number, self.width as usize),
        }
    }

    /// Its bytes; none when the log is too short for it.
    fn bytes(self, ledger: &Ledger) -> Result<Option<Vec<u8>>, LedgerError> {
        let level = self.level.unwrap_or(0);
        let there = ledger.size()?.checked_shr(8 * level).unwrap_or(0);
        let Some(first) = self.number.checked_mul(WIDTH) else { return Ok(None) };
        let Some(end) = first.checked_add(self.width).filter(|end| *end <= there) else { return Ok(None) };
        let mut bytes = Vec::new();
        for index in first..end {
            match self.level {
                Some(level) => bytes.extend_from_slice(node(ledger, level, index)?.as_bytes()),
                None => {
                    let entry = ledger.leaf(index)?;
                    // The ledger takes no fact that is longer than the format's 65,535 bytes.
                    bytes.extend_from_slice(&u16::try_from(entry.len()).unwrap_or(u16::MAX).to_be_bytes());
                    bytes.extend_from_slice(&entry);
                }
            }
        }
        Ok(Some(bytes))
    }
}

/// The root of the complete subtree `index` over `256^level` leaves: read off the inclusion proof of a leaf beside it,
/// whose path holds it, or, where nothing complete stands beside it, from the subtrees below.
fn node(ledger: &Ledger, level: u32, index: u64) -> Result<Digest, LedgerError> {
    if level == 0 {
        return Ok(merkle::leaf_hash(&ledger.leaf(index)?));
    }
    let beside = index ^ 1;
    if (beside + 1) << (8 * level) <= ledger.size()? {
        let proof = ledger.inclusion(beside << (8 * level))?;
        if let Some(node) = proof.path.get(8 * level as usize) {
            return Ok(*node);
        }
    }
    let below = (index * WIDTH..(index + 1) * WIDTH).map(|child| node(ledger, level - 1, child));
    Ok(merkle::root_of(&below.collect::<Result<Vec<_>, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        let tile = |level, number, width| Some(Tile { level, number, width });
        for (path, expected) in [
            ("0/000", tile(Some(0), 0, 256)),
            ("1/x001/234.p/17", tile(Some(1), 1_234, 17)),
            ("entries/x001/x234/067", tile(None, 1_234_067, 256)),
            ("entries/067.p/255", tile(None, 67, 255)),
        ] {
            assert_eq!(Tile::parse(path), expected, "{path}");
        }
        for bad in [
            "0",
            "0/0",
            "0/1234",
            "00/000",
            "+0/000",
            "0/x000/001",
            "0/001/234",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/07",
            "8/000",
            "-1/000",
            "entries/xx01/234",
            "entries/../000",
            "0/000.p/",
            "0/99999999999999999999999",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
    }
}
