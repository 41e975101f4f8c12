//! The files beside the database: the lock, the signing key, the key that checks what it signs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::LedgerError;
use crate::note::{NoteSigner, NoteVerifier};

const LOCK: &str = "ledger.lock";
const KEY: &str = "ledger.key";
const VERIFIER: &str = "ledger.vkey";

/// Takes the folder for one process; the lock ends with the file.
pub(crate) fn lock(dir: &Path) -> Result<File, LedgerError> {
    let path = dir.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(LedgerError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {
            let pid = format!("{}\n", std::process::id());
            let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes()));
            written.map_err(LedgerError::io("write", &path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid);
            let pid = if read.is_ok() && !pid.trim().is_empty() { pid.trim().to_owned() } else { "unknown".to_owned() };
            Err(LedgerError::Locked { dir: dir.to_owned(), pid })
        }
        Err(TryLockError::Error(source)) => Err(LedgerError::io("lock", &path)(source)),
    }
}

/// Whether a signing key is there, left by a creation that a crash cut short.
pub(crate) fn has_key(dir: &Path) -> bool {
    dir.join(KEY).exists()
}

/// Keeps a signing key for the owner's eyes alone, and its public half beside it.
pub(crate) fn write_key(dir: &Path, signer: &NoteSigner) -> Result<(), LedgerError> {
    write_verifier(dir, signer)?;
    // Under another name first: a key that is there is whole.
    let (path, temporary) = (dir.join(KEY), dir.join("ledger.key.new"));
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.write_all(format!("{}\n", signer.to_secret_text()).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(dir)?.sync_all()
        });
    written.map_err(LedgerError::io("write", path))
}

fn write_verifier(dir: &Path, signer: &NoteSigner) -> Result<(), LedgerError> {
    let path = dir.join(VERIFIER);
    std::fs::write(&path, format!("{}\n", signer.verifier())).map_err(LedgerError::io("write", path))
}

/// Reads the signing key, unless others could read it too.
pub(crate) fn read_key(dir: &Path) -> Result<NoteSigner, LedgerError> {
    let path = dir.join(KEY);
    let mut text = String::new();
    let mut file = File::open(&path).map_err(LedgerError::io("read", &path))?;
    let mode = file.metadata().map_err(LedgerError::io("read", &path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(LedgerError::KeyExposed { path, mode });
    }
    file.read_to_string(&mut text).map_err(LedgerError::io("read", &path))?;
    NoteSigner::from_secret_text(&text).map_err(|source| LedgerError::Key { path, source })
}

/// Reads the public key.
pub(crate) fn read_verifier(dir: &Path) -> Result<NoteVerifier, LedgerError> {
    let path = dir.join(VERIFIER);
    let text = std::fs::read_to_string(&path).map_err(LedgerError::io("read", &path))?;
    text.parse().map_err(|source| LedgerError::Key { path, source })
}

/// The public key, made again from the signing key where it is gone; one that differs is an error.
pub(crate) fn check_verifier(dir: &Path, signer: &NoteSigner) -> Result<NoteVerifier, LedgerError> {
    if !dir.join(VERIFIER).exists() {
        write_verifier(dir, signer)?;
    }
    let found = read_verifier(dir)?;
    let fits = found == signer.verifier();
    let other = || LedgerError::Damaged(format!("{VERIFIER} is not the public half of {KEY}"));
    if fits { Ok(found) } else { Err(other()) }
}
