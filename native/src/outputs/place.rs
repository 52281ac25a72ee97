//! Resolves paths to compare them, also those that do not exist yet.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// A path without links, `.` and `..`, and the identity of its file.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Device and inode of the file or folder, on systems that have them.
    identity: Option<(u64, u64)>,
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: resolve(path),
            identity: identity(path),
        }
    }

    /// Whether both lead to the same file or folder, also through links and hard links. A path that does not exist
    /// yet is compared by its resolved text.
    pub(super) fn is(&self, other: &Self) -> bool {
        let same_file = self.identity.is_some() && self.identity == other.identity;
        same_file || key(&self.path) == key(&other.path)
    }

    /// Whether this is the folder `other` or lies below it, and a search for pictures would find it: names that
    /// begin with a dot are skipped.
    pub(super) fn is_seen_below(&self, other: &Self) -> bool {
        let (path, folder) = (key(&self.path), key(&other.path));
        path.strip_prefix(&folder).is_ok_and(|below| {
            let mut names = below.components();
            names.all(|name| !name.as_os_str().as_encoded_bytes().starts_with(b"."))
        })
    }

    /// Whether this is a parent folder of `other`.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        let (path, below) = (key(&self.path), key(&other.path));
        path != below && below.starts_with(path)
    }
}

/// The text by which paths are compared. Windows and macOS ignore case.
fn key(path: &Path) -> PathBuf {
    if cfg!(any(windows, target_os = "macos")) {
        PathBuf::from(path.to_string_lossy().to_lowercase())
    } else {
        path.to_path_buf()
    }
}

/// Resolves links in the part of the path that exists; the rest is appended unchanged.
fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut missing = Vec::new();
    let mut known = absolute.as_path();
    let mut resolved = loop {
        match (fs::canonicalize(known), known.parent()) {
            (Ok(found), _) => break found,
            (Err(_), Some(parent)) => {
                missing.extend(known.components().next_back());
                known = parent;
            }
            (Err(_), None) => break known.to_path_buf(),
        }
    };
    for component in missing.into_iter().rev() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    resolved
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path).ok()?;
    // Devices are left out: several outputs may go to /dev/null.
    (found.is_file() || found.is_dir()).then(|| (found.dev(), found.ino()))
}

/// Other systems compare resolved paths only.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_does_not_depend_on_how_its_path_is_written() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let at = |path: &str| Place::of(&root.path().join(path));
        fs::create_dir(root.path().join("a")).expect("made");
        fs::write(root.path().join("x"), "").expect("written");
        for same in ["./x", "a/../x", "a/.././x"] {
            assert!(at("x").is(&at(same)), "{same}");
        }
        // Paths that do not exist yet.
        assert!(at("new").is(&at("a/../new")));
        assert!(at("b/new").is(&at("b/c/../new")));
        assert!(!at("x").is(&at("new")) && !at("a/x").is(&at("x")));
        assert!(at("a/x/y").is_seen_below(&at("a")) && at("a").is_seen_below(&at("a")));
        assert!(!at("a/.x/y").is_seen_below(&at("a")) && !at("ab").is_seen_below(&at("a")));
        assert!(at("a").is_above(&at("a/x")) && !at("a").is_above(&at("a")));
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_one_place() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().expect("a temporary folder");
        let path = |path: &str| root.path().join(path);
        fs::create_dir(path("a")).expect("made");
        fs::write(path("a/x"), "").expect("written");
        symlink(path("a"), path("folder")).expect("a link");
        symlink(path("a/x"), path("link")).expect("a link");
        fs::hard_link(path("a/x"), path("hard")).expect("a link");
        for same in ["folder/x", "link", "hard"] {
            assert!(
                Place::of(&path("a/x")).is(&Place::of(&path(same))),
                "{same}"
            );
        }
        assert!(Place::of(&path("a/new")).is(&Place::of(&path("folder/new"))));
        assert!(Place::of(&path("folder/new")).is_seen_below(&Place::of(&path("a"))));
    }
}
