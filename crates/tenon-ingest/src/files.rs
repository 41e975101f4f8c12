//! The files that a pattern names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::IngestError;

/// The files below `root` that a pattern such as `data/flights/*.parquet` names, in the order of their names. `*` stands
/// for any text, in the last part of the path only.
///
/// # Errors
/// [`IngestError::Pattern`], and [`IngestError::Io`] when the folder cannot be read.
pub fn matching(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, IngestError> {
    let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    if folder.contains('*') || last.is_empty() {
        return Err(IngestError::Pattern(pattern.to_owned()));
    }
    let folder = root.join(folder);
    let failed = |source| IngestError::Io { path: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if path.is_file() && name.is_some_and(|name| is_match(last, name)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a name has the parts between the stars, in their order, the first at its start and the last at its end.
pub(crate) fn is_match(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let cases = [
            ("*.parquet", "2013-01.parquet", true),
            ("*.parquet", "2013-01.csv", false),
            ("flights-*-eu.csv", "flights-2013-eu.csv", true),
            ("flights-*-eu.csv", "flights-eu.csv", false),
            ("a*b*c", "aXbYbZc", true),
            ("ab*ba", "aba", false),
            ("exact.csv", "exact.csv", true),
            ("exact.csv", "exact.csv.gz", false),
            ("*", "anything", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(is_match(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_star_before_the_last_part_is_refused() {
        assert!(matches!(matching(Path::new("."), "*/x.csv"), Err(IngestError::Pattern(_))));
        assert!(matches!(matching(Path::new("."), "data/"), Err(IngestError::Pattern(_))));
    }
}
