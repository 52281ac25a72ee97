//! Which files are pictures, by their names; which are nobody's data; and an account of what is left out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use crate::notes::note;

/// Extensions of the pictures that are read, in lower or upper case.
pub const EXTENSIONS: [&str; 9] = [
    "jpg", "jpeg", "png", "webp", "jfif", "ppm", "pgm", "pbm", "pnm",
];

/// What file managers and archives leave in folders, compared in any case. Names that begin with a dot are left
/// out, too: `.DS_Store`, caches, and the `._name.jpg` shadows that macOS leaves on other disks.
const CLUTTER: [&str; 7] = [
    "__MACOSX",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
];

/// Kinds that a message names; the others are counted together.
const NAMED: usize = 6;

/// The extensions as a message shows them.
pub fn extensions_shown() -> String {
    EXTENSIONS
        .map(|extension| format!(".{extension}"))
        .join(", ")
}

/// Whether the name has the extension of a picture.
pub fn is_image_name(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(is_extension)
}

/// Whether this is, in any case, the extension of a picture that is read.
pub(super) fn is_extension(found: &str) -> bool {
    EXTENSIONS
        .iter()
        .any(|known| found.eq_ignore_ascii_case(known))
}

/// Whether a file or folder of this name is left out of every search, without a word: it is hidden, or a program
/// made it for itself.
pub fn is_clutter(name: &OsStr) -> bool {
    let shown = name.to_string_lossy();
    let known = CLUTTER
        .iter()
        .any(|known| shown.eq_ignore_ascii_case(known));
    known || name.as_encoded_bytes().starts_with(b".")
}

/// Files that a search left out because of their kind, counted by extension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    kinds: BTreeMap<String, u64>,
}

impl LeftOut {
    /// Counts a file.
    pub(super) fn add(&mut self, path: &Path) {
        let extension = path.extension().map(OsStr::to_string_lossy);
        let kind = match extension {
            // A long one is no kind, but a name with a dot in it.
            Some(extension) if extension.len() <= 8 => format!(".{}", extension.to_lowercase()),
            _ => "without an ending".to_string(),
        };
        *self.kinds.entry(kind).or_default() += 1;
    }

    /// Adds what another search left out.
    pub fn extend(&mut self, other: &Self) {
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Says in a line how many of which kind were left out in `place`; nothing where there are none.
    pub fn say(&self, place: &Path) {
        if !self.kinds.is_empty() {
            note(format_args!(
                "{}: {} files are of kinds that are not read, and left out: {self}",
                place.display(),
                self.count()
            ));
        }
    }
}

/// `12 .heic, 3 .tif`, the most first.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<(&String, &u64)> = self.kinds.iter().collect();
        kinds.sort_by_key(|&(kind, count)| (std::cmp::Reverse(count), kind));
        let rest: u64 = kinds.iter().skip(NAMED).map(|(_, count)| **count).sum();
        let named = kinds.iter().take(NAMED);
        let named: Vec<String> = named
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        f.write_str(&named.join(", "))?;
        if rest > 0 {
            write!(f, ", {rest} others")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_ending_in_any_case() {
        for name in ["a.JPG", "a.Png", "img (1).jfif", "x.y.WEBP", "1.ppm"] {
            assert!(is_image_name(Path::new(name)), "{name}");
        }
        for name in ["a.heic", "a", "jpg", ".jpg", "a.jpg.txt", "a.tiff"] {
            assert!(!is_image_name(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn what_programs_leave_in_folders_is_clutter() {
        for name in [
            "._a.jpg",
            ".DS_Store",
            "__MACOSX",
            "thumbs.db",
            "Desktop.ini",
        ] {
            assert!(is_clutter(OsStr::new(name)), "{name}");
        }
        for name in ["a.jpg", "thumbs", "MACOSX", "a.db"] {
            assert!(!is_clutter(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_is_left_out_is_counted_by_kind_the_most_first() {
        let mut left_out = LeftOut::default();
        for name in ["a.HEIC", "b.heic", "c.tif", "README", "v1.checkpoint-17"] {
            left_out.add(Path::new(name));
        }
        assert_eq!(left_out.to_string(), "2 .heic, 2 without an ending, 1 .tif");
        let mut more = LeftOut::default();
        for name in ["a.a", "a.b", "a.c", "a.d", "a.e", "a.f", "a.g"] {
            more.add(Path::new(name));
        }
        more.extend(&left_out);
        assert_eq!(more.count(), 12);
        assert!(more.to_string().ends_with(", 4 others"), "{more}");
    }
}
