//! Pictures by their names, as lists and annotations write them: with or without the ending, in any case.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::names::{LeftOut, is_clutter, is_extension, is_image_name};
use super::skip_or_fail;

/// All files that a search finds below `folder`, links followed and circles left out; of those that are no pictures
/// an account. Not sorted.
///
/// # Errors
/// When a folder cannot be listed.
pub fn pictures_below(folder: &Path) -> anyhow::Result<(Vec<PathBuf>, LeftOut)> {
    search(folder, usize::MAX)
}

fn search(folder: &Path, depth: usize) -> anyhow::Result<(Vec<PathBuf>, LeftOut)> {
    let mut pictures = Vec::new();
    let mut left_out = LeftOut::default();
    let root = fs::canonicalize(folder).ok();
    // `WalkDir` itself leaves out links to `folder` and below it that are circles.
    let leads_above = |entry: &DirEntry| {
        let target = (entry.path_is_symlink() && entry.file_type().is_dir())
            .then(|| fs::canonicalize(entry.path()).ok())
            .flatten();
        matches!((&root, target), (Some(root), Some(target)) if root.starts_with(&target))
    };
    let entries = WalkDir::new(folder)
        .max_depth(depth)
        .follow_links(true)
        .into_iter()
        .filter_entry(|entry| {
            entry.depth() == 0 || !(is_clutter(entry.file_name()) || leads_above(entry))
        });
    for entry in entries {
        match entry {
            Ok(entry) if !entry.file_type().is_file() => {}
            Ok(entry) if is_image_name(entry.path()) => pictures.push(entry.into_path()),
            Ok(entry) => left_out.add(entry.path()),
            Err(error) => skip_or_fail(folder, error)?,
        }
    }
    Ok((pictures, left_out))
}

/// The pictures below a folder, to be found by name.
#[derive(Debug, Clone)]
pub struct Pictures {
    folder: PathBuf,
    /// Sorted.
    paths: Vec<PathBuf>,
    /// The path below the folder without its ending, to places in `paths`.
    by_stem: HashMap<PathBuf, Vec<usize>>,
    left_out: LeftOut,
}

impl Pictures {
    /// Searches through `folder` and the folders in it.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn below(folder: &Path) -> anyhow::Result<Self> {
        Self::found(folder, usize::MAX)
    }

    /// Searches through `folder` alone.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        Self::found(folder, 1)
    }

    fn found(folder: &Path, depth: usize) -> anyhow::Result<Self> {
        let (mut paths, left_out) = search(folder, depth)?;
        paths.sort_unstable();
        let mut by_stem: HashMap<PathBuf, Vec<usize>> = HashMap::new();
        for (index, path) in paths.iter().enumerate() {
            let below = path.strip_prefix(folder).unwrap_or(path);
            by_stem
                .entry(below.with_extension(""))
                .or_default()
                .push(index);
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            paths,
            by_stem,
            left_out,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of them, sorted.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What the search left out because of its kind.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The picture that `name` means: a path below the folder, `/` or `\` between its parts, with or without the
    /// ending of a picture. Of several with one name the one whose ending is the same is taken, or else the first.
    pub fn find(&self, name: &str) -> Option<&Path> {
        self.find_path(&below(name)?)
    }

    /// The same for a path below the folder, which may be of a name that is not UTF-8.
    pub fn find_path(&self, name: &Path) -> Option<&Path> {
        let stem = without_extension(name);
        let found = self.by_stem.get(&stem)?;
        let paths = || found.iter().map(|&index| &self.paths[index]);
        let exact = paths().find(|path| path.ends_with(name));
        let same_kind = paths().find(|path| match (path.extension(), name.extension()) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        });
        let path = exact.or(same_kind).or_else(|| paths().next());
        path.map(PathBuf::as_path)
    }
}

/// `name` as a path that stays below a folder; none for one that leads elsewhere. Programs on Windows write `\`.
pub fn below(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name.replace('\\', "/"));
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts).filter(|parts| parts != Path::new(""))
}

/// `a/b.JPG` is `a/b`, and `a/b.v2` stays: only the ending of a picture is one.
pub fn without_extension(path: &Path) -> PathBuf {
    let extension = path.extension().and_then(|found| found.to_str());
    if extension.is_some_and(is_extension) {
        path.with_extension("")
    } else {
        path.to_path_buf()
    }
}

/// The file at `path`, or at the same path with its ending in lower or upper case.
pub fn with_extension_in_any_case(path: &Path) -> Option<PathBuf> {
    let cased = |case: fn(&str) -> String| {
        let extension = path.extension()?.to_str()?;
        Some(path.with_extension(case(extension)))
    };
    let others = [
        cased(str::to_ascii_lowercase),
        cased(str::to_ascii_uppercase),
    ];
    let mut places = std::iter::once(path.to_path_buf()).chain(others.into_iter().flatten());
    places.find(|path| path.is_file())
}

/// `folder/stem.extension`, for a stem with dots in it.
pub fn with_ending(folder: &Path, stem: &Path, extension: &str) -> PathBuf {
    let mut name: OsString = folder.join(stem).into_os_string();
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
            std::fs::write(path, b"").expect("a file");
        }
        root
    }

    #[test]
    fn pictures_are_found_by_names_with_and_without_ending() {
        let root = tree(&[
            "img (1).JPG",
            "a.png",
            "a.jpg",
            "sub/b.v2.jpeg",
            "c.ppm",
            "c.txt",
            "._c.jpg",
            "__MACOSX/d.jpg",
        ]);
        let pictures = Pictures::below(root.path()).expect("listed");
        for (name, file) in [
            ("img (1)", "img (1).JPG"),
            ("img (1).jpg", "img (1).JPG"),
            ("img (1).png", "img (1).JPG"),
            ("a.png", "a.png"),
            ("a.PNG", "a.png"),
            ("a", "a.jpg"),
            ("./a.jpg", "a.jpg"),
            ("sub/b.v2", "sub/b.v2.jpeg"),
            ("sub\\b.v2.jpeg", "sub/b.v2.jpeg"),
            ("c", "c.ppm"),
        ] {
            let found = pictures.find(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(found, root.path().join(file), "{name}");
        }
        for name in ["", ".", "b", "d", "../a.png", "/a.png", "sub", "b.v2"] {
            assert_eq!(pictures.find(name), None, "{name}");
        }
        assert_eq!(pictures.paths().len(), 5);
        assert_eq!(pictures.left_out().to_string(), "1 .txt");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_above_the_folder_is_a_circle() {
        let root = tree(&["a/1.jpg", "b/2.jpg", "c/3.jpg"]);
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(to, root.path().join(at)).expect("a link");
        };
        link("..", "a/up");
        link("../a", "a/here");
        link("../b", "a/beside");
        let (mut pictures, _) = pictures_below(&root.path().join("a")).expect("listed");
        pictures.sort();
        let expected = ["a/1.jpg", "a/beside/2.jpg"].map(|name| root.path().join(name));
        assert_eq!(pictures, expected);
    }

    #[test]
    fn a_file_is_found_whatever_the_case_of_its_ending() {
        let root = tree(&["a.JPG", "b.txt"]);
        let find = |name: &str| with_extension_in_any_case(&root.path().join(name));
        assert_eq!(find("a.jpg"), Some(root.path().join("a.JPG")));
        assert_eq!(find("b.TXT"), Some(root.path().join("b.txt")));
        assert_eq!(find("a.png"), None);
        assert_eq!(find("a"), None);
        let made = with_ending(Path::new("f"), Path::new("x.v1"), "png");
        assert_eq!(made, Path::new("f/x.v1.png"));
    }
}
