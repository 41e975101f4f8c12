//! Reading the company folder.

use std::fs;
use std::path::{Path, PathBuf};

use tenon_core::spec::SpecFile;

use crate::CompanyError;

const LARGEST_FILE_BYTES: u64 = 1024 * 1024;

/// Every declaration in a company folder: `company.toml`, `budgets.toml`, `policies/*.cedar` and all files under `pods/`,
/// sorted by path. Hidden files and folders are passed over.
///
/// # Errors
/// When a file cannot be read, is over 1 MiB, or is not UTF-8.
pub fn read_folder(dir: &Path) -> Result<Vec<SpecFile>, CompanyError> {
    let mut paths = Vec::new();
    for name in ["company.toml", "budgets.toml"] {
        let path = dir.join(name);
        if path.is_file() {
            paths.push(path);
        }
    }
    for folder in ["policies", "pods"] {
        let folder = dir.join(folder);
        if folder.is_dir() {
            walk(&folder, &mut paths)?;
        }
    }
    let mut files: Vec<SpecFile> = paths.iter().map(|path| read_file(dir, path)).collect::<Result<_, _>>()?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), CompanyError> {
    let read = |source| CompanyError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        // A link could lead anywhere, also round in a circle: declarations are plain files.
        if hidden || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

fn read_file(dir: &Path, path: &Path) -> Result<SpecFile, CompanyError> {
    let read = |source| CompanyError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(read)?.len() > LARGEST_FILE_BYTES {
        return Err(CompanyError::TooLarge { path: path.to_owned() });
    }
    let bytes = fs::read(path).map_err(read)?;
    let text = String::from_utf8(bytes).map_err(|_| CompanyError::NotText { path: path.to_owned() })?;
    let relative = path.strip_prefix(dir).unwrap_or(path);
    let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    Ok(SpecFile { path: parts.join("/"), text })
}
