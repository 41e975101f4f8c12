//! A log as files in the C2SP tlog-tiles layout: a folder that any web server can offer and any auditor can check.

use std::path::Path;

use crate::LedgerError;
use crate::note::NoteVerifier;
use crate::store::Store;
use crate::tiles::{self, WIDTH, bundle_path, push_entry, tile_path};
use crate::verify::{CHECKPOINT_FILE, VERIFIER_FILE};

/// Writes the log as of its newest checkpoint. The checkpoint comes last, so that it never promises what isn't there.
pub(crate) fn export(store: &Store, verifier: &NoteVerifier, to: &Path) -> Result<(), LedgerError> {
    let (size, checkpoint) = store.checkpoint()?;
    for number in 0..size.div_ceil(WIDTH) {
        let range = number * WIDTH..size.min((number + 1) * WIDTH);
        let mut bundle = Vec::new();
        let rows = store.rows(range.clone())?;
        store.check(rows.iter().map(|row| (row.index, row.bytes.as_slice())))?;
        let fits = rows.iter().all(|row| push_entry(&mut bundle, &row.bytes));
        if !fits {
            return Err(LedgerError::Damaged(format!("a fact between {} and {} is too long", range.start, range.end)));
        }
        write(to, &bundle_path(number, (range.end - range.start) as usize), &bundle)?;
    }
    for level in 0_u32.. {
        if tiles::width(level, 0, size) == 0 {
            break;
        }
        for number in 0.. {
            let width = tiles::width(level, number, size);
            if width == 0 {
                break;
            }
            let tile = store.tile(level, number)?.filter(|tile| tile.len() >= width);
            let gone = || LedgerError::Damaged(format!("tile {number} on level {level} is gone"));
            write(to, &tile_path(level, number, width), &tiles::to_bytes(&tile.ok_or_else(gone)?[..width]))?;
        }
    }
    write(to, VERIFIER_FILE, format!("{verifier}\n").as_bytes())?;
    write(to, CHECKPOINT_FILE, checkpoint.as_bytes())
}

fn write(to: &Path, path: &str, bytes: &[u8]) -> Result<(), LedgerError> {
    let path = to.join(path);
    let folder = path.parent().unwrap_or(to);
    std::fs::create_dir_all(folder).map_err(LedgerError::io("make", folder))?;
    // Under another name first, so that whoever reads the folder meanwhile sees whole files.
    let temporary = path.with_extension("new");
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, &path));
    written.map_err(LedgerError::io("write", path))
}
