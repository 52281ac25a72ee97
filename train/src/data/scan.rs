//! Lists the images of a folder, searched recursively, or of a text file with a path per line.
//!
//! ImageNet's class folders and COCO's `train2017` are plain folders: labels are not used. Files are not opened
//! here, so that a scan of a million files only reads directories; whether a file is an image is decided when it is
//! decoded.

mod find;
mod lists;
mod names;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::bail;

use self::lists::read_list;
pub use self::{
    find::{
        Pictures, below, pictures_below, with_ending, with_extension_in_any_case, without_extension,
    },
    lists::{paths_in, two_paths},
    names::{EXTENSIONS, LeftOut, extensions_shown, is_clutter, is_image_name},
};
use super::pack::Pack;
use crate::spread::spread;

const REMEDY: &str = "give a folder of images or a text file with a path per line";

/// The images to train on, in an order that is the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    paths: Vec<PathBuf>,
    left_out: LeftOut,
}

impl Dataset {
    /// Finds the images of `source`, sorted by path component.
    ///
    /// - A folder: all files below it with one of [`EXTENSIONS`]. Symbolic links are followed, except those that
    ///   form a cycle. What [`is_clutter`] recognises is left out. Files of other kinds are counted
    ///   ([`Self::left_out`]).
    /// - A text file: a path per line, relative to the folder of the text file, whatever the
    ///   extension; blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// When the source does not exist, cannot be read or names no image.
    pub fn scan(source: &Path) -> anyhow::Result<Self> {
        let shown = source.display();
        if Pack::is_one(source) {
            bail!("{shown} is a pack, which only `densecl pretrain` reads: {REMEDY}");
        }
        let metadata = match std::fs::metadata(source) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("{shown} does not exist: {REMEDY}")
            }
            Err(error) => return Err(unreadable(source, &error)),
        };
        let (mut paths, left_out) = if metadata.is_dir() {
            pictures_below(source)?
        } else {
            (read_list(source)?, LeftOut::default())
        };
        if paths.is_empty() {
            let seen = match left_out.count() {
                0 => "no other files either".to_string(),
                _ => format!("there are {left_out}"),
            };
            bail!(
                "{shown} contains no images: no file in it or below it ends in {} ({seen}); convert them, or \
                 give another folder",
                extensions_shown()
            );
        }
        paths.sort_unstable();
        Ok(Self { paths, left_out })
    }

    /// The files of other kinds in the folder.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The files, sorted.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// CRC-32C of the paths in their order, to detect that a run is resumed on other files.
    pub fn fingerprint(&self) -> u32 {
        self.paths.iter().fold(0, |sum, path| {
            let sum = crc32c::crc32c_append(sum, path.as_os_str().as_encoded_bytes());
            crc32c::crc32c_append(sum, b"\0")
        })
    }

    /// Holds out `count` images, evenly spread; returns the others and those held out.
    pub(crate) fn hold_out(self, count: usize) -> (Self, Self) {
        let (paths, held_out) = spread(self.paths, count);
        let held_out = Self {
            paths: held_out,
            left_out: LeftOut::default(),
        };
        let left_out = self.left_out;
        (Self { paths, left_out }, held_out)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "cannot read {}: {error}; check its permissions",
        path.display()
    )
}

/// Skips links that form a cycle or lead nowhere: at most one file is lost. Fails for a folder that cannot be
/// listed, because it could hold half of the data.
fn skip_or_fail(folder: &Path, error: walkdir::Error) -> anyhow::Result<()> {
    let path = error.path().unwrap_or(folder).to_path_buf();
    let Some(error) = error.into_io_error() else {
        return Ok(()); // A link to a parent folder.
    };
    if path.is_symlink() && std::fs::metadata(&path).is_err() {
        log::warn!("skipped {}: a link that leads nowhere", path.display());
        return Ok(());
    }
    Err(unreadable(&path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_images_are_spread_and_the_rest_is_kept() {
        let paths: Vec<PathBuf> = (0..10).map(|i| PathBuf::from(i.to_string())).collect();
        let dataset = Dataset {
            paths: paths.clone(),
            left_out: LeftOut::default(),
        };
        let (rest, held_out) = dataset.clone().hold_out(3);
        assert_eq!(held_out.paths, ["3", "6", "9"].map(PathBuf::from));
        assert_eq!(rest.paths.len(), 7);
        let (rest, held_out) = dataset.hold_out(0);
        assert_eq!((rest.paths, held_out.paths), (paths, Vec::new()));
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("folders");
            std::fs::write(path, b"").expect("a file");
        }
        root
    }

    fn names(dataset: &Dataset, root: &Path) -> Vec<String> {
        let relative = |path: &PathBuf| path.strip_prefix(root).map(Path::to_path_buf);
        let relative = dataset
            .paths()
            .iter()
            .map(|path| relative(path).expect("below the root"));
        relative.map(|path| path.display().to_string()).collect()
    }

    fn message(source: &Path) -> String {
        Dataset::scan(source)
            .expect_err("nothing to train on")
            .to_string()
    }

    #[test]
    fn folders_are_walked_in_one_order_with_any_case_of_extension() {
        let root = tree(&[
            "b/2.JPG",
            "b/1.jpeg",
            "a.png",
            "b.WebP",
            "c.txt",
            "b/.x/3.jpg",
            "._a.png",
        ]);
        let found = Dataset::scan(root.path()).expect("images");
        assert_eq!(
            names(&found, root.path()),
            ["a.png", "b/1.jpeg", "b/2.JPG", "b.WebP"]
        );
        assert_eq!(found.left_out().to_string(), "1 .txt");
    }

    #[test]
    fn lists_are_relative_to_themselves() {
        let root = tree(&[]);
        let list = root.path().join("train.txt");
        std::fs::write(&list, "\u{feff}# a comment\n\nsub/b.jpg\r\n  a.tif \n").expect("a file");
        let found = Dataset::scan(&list).expect("paths");
        assert_eq!(names(&found, root.path()), ["a.tif", "sub/b.jpg"]);
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_are_found_in_folders_and_lists() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let names = [b"\xE8.jpg", b"\xE9.jpg"].map(|name| Path::new(OsStr::from_bytes(name)));
        let root = tree(&[]);
        for name in names {
            std::fs::write(root.path().join(name), b"").expect("a file");
        }
        let list = root.path().join("list.txt");
        std::fs::write(&list, b"# caf\xE9\n \xE9.jpg \r\n\xE8.jpg").expect("a file");
        for source in [root.path(), &list] {
            let found = Dataset::scan(source).expect("images");
            let expected = names.map(|name| root.path().join(name));
            assert_eq!(found.paths(), expected, "{}", source.display());
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_circles_are_not() {
        use std::os::unix::fs::symlink;
        let root = tree(&["real/a.jpg", "set/b.jpg"]);
        let set = root.path().join("set");
        symlink(root.path().join("real"), set.join("linked")).expect("a link");
        symlink(&set, set.join("circle")).expect("a link");
        symlink(set.join("self.jpg"), set.join("self.jpg")).expect("a link");
        symlink(root.path().join("nowhere"), set.join("gone.jpg")).expect("a link");
        let found = Dataset::scan(&set).expect("images");
        assert_eq!(names(&found, &set), ["b.jpg", "linked/a.jpg"]);
    }

    #[test]
    fn each_error_is_one_line_with_path_and_remedy() {
        let root = tree(&[
            "notes.txt",
            "deep/x.gif",
            "one.png",
            "empty.lst",
            "all.pack",
        ]);
        let path = |name: &str| root.path().join(name);

        let missing = message(&path("nope"));
        assert!(
            missing.contains("nope does not exist: give a folder"),
            "{missing}"
        );

        let other = message(&path("deep"));
        assert!(other.contains("deep contains no images"), "{other}");
        assert!(
            other.contains(".jpg, .jpeg, .png, .webp, .jfif") && other.contains("there are 1 .gif"),
            "{other}"
        );

        let single = message(&path("one.png"));
        assert!(single.contains("one.png is a single image"), "{single}");

        let pack = message(&path("all.pack"));
        assert!(
            pack.contains("which only `densecl pretrain` reads"),
            "{pack}"
        );

        let nothing = message(&path("empty.lst"));
        assert!(
            nothing.contains("empty.lst lists no images: write a path per line"),
            "{nothing}"
        );

        std::fs::write(path("tar.bin"), [0xff, 0xfe, 0]).expect("a file");
        let binary = message(&path("tar.bin"));
        assert!(binary.contains("tar.bin is not a text file"), "{binary}");

        for error in [missing, other, single, pack, nothing, binary] {
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
