//! Lists of pictures: text files with a name or path per line, as programs and editors write them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::names::{is_clutter, is_image_name};
use super::{REMEDY, unreadable};
use crate::files::to_utf8;

/// Largest permitted list of paths; that of ImageNet's 1.28 million takes about 60 MB.
const MAX_LIST_BYTES: u64 = 512 << 20;

/// The paths of a list, relative to its folder unless they are absolute.
///
/// Lines that are blank or begin with `#` are skipped, as are those that name a shadow of macOS (`._a.jpg`) or a file
/// in `__MACOSX`. Of two paths a line, as lists of pictures with their label maps have them, the first is taken.
///
/// # Errors
/// When the list cannot be read, is too long, is no text, or names nothing.
pub(super) fn read_list(file: &Path) -> anyhow::Result<Vec<PathBuf>> {
    use std::io::Read;
    let shown = file.display();
    if is_image_name(file) {
        bail!("{shown} is a single image: {REMEDY}");
    }
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(file, &error))?;
    if bytes.len() as u64 > MAX_LIST_BYTES {
        bail!(
            "{shown} is longer than {} MiB: split the list",
            MAX_LIST_BYTES >> 20
        );
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let images =
        paths_in(bytes, folder).with_context(|| format!("{shown} is not a text file: {REMEDY}"))?;
    if images.is_empty() {
        bail!(
            "{shown} lists no images: write a path per line, relative to the folder of this file \
             (lines that begin with # are comments)"
        );
    }
    Ok(images)
}

/// The paths in the bytes of a list in `folder`; none where they are no text.
pub fn paths_in(bytes: Vec<u8>, folder: &Path) -> Option<Vec<PathBuf>> {
    let text = to_utf8(bytes)?;
    if text.contains(&0) {
        return None;
    }
    let mut images = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let path = match std::str::from_utf8(line) {
            Ok(line) => PathBuf::from(first_path(line.trim(), folder)),
            Err(_) => path_of_bytes(line.trim_ascii())?,
        };
        let name = path.as_os_str().as_encoded_bytes();
        if !name.is_empty() && !name.starts_with(b"#") && !is_shadow(&path) {
            images.push(folder.join(path));
        }
    }
    Some(images)
}

/// Whether macOS made this beside the real file: in a list, unlike in a folder, a hidden folder may be meant.
fn is_shadow(path: &Path) -> bool {
    let shadow = |name: &OsStr| name.as_encoded_bytes().starts_with(b"._") && is_clutter(name);
    path.file_name().is_some_and(shadow)
        || path.components().any(|part| part.as_os_str() == "__MACOSX")
}

/// The first path of a line. A name may have spaces, so a line with them is one path if there is such a file.
fn first_path<'l>(line: &'l str, folder: &Path) -> &'l str {
    match two_paths(line) {
        Some((first, _)) if !folder.join(line).is_file() => first,
        _ => line,
    }
}

/// Both parts of a line that is divided by white space behind the ending of a picture: `a.jpg a.png`, `a.jpg 3`.
pub fn two_paths(line: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(at) = line[from..].find(|c: char| c.is_whitespace()) {
        let at = from + at;
        let (first, rest) = (&line[..at], line[at..].trim());
        if is_image_name(Path::new(first)) && !rest.is_empty() {
            return Some((first, rest));
        }
        from = at + line[at..].chars().next().map_or(1, char::len_utf8);
    }
    None
}

/// A path that is not UTF-8, as on old disks; `None` on systems where paths are not bytes.
#[cfg(unix)]
fn path_of_bytes(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn path_of_bytes(_: &[u8]) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Vec<String> {
        let paths = paths_in(bytes.to_vec(), Path::new("d")).expect("text");
        let shown = paths.iter().map(|path| path.display().to_string());
        shown.collect()
    }

    /// The text as an editor on Windows saves it: UTF-16 with a byte order mark.
    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        let bytes = units.flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        });
        bytes.collect()
    }

    #[test]
    fn one_list_in_every_encoding_and_with_every_line_end() {
        let expected = ["d/img (1).jpg", "d/sub/é.PNG"];
        let text = "# a comment\n\nimg (1).jpg\n  sub/é.PNG \n";
        assert_eq!(list(text.as_bytes()), expected);
        assert_eq!(list(text.replace('\n', "\r\n").as_bytes()), expected);
        assert_eq!(list(format!("\u{feff}{text}").as_bytes()), expected);
        for big in [false, true] {
            let text = text.replace('\n', "\r\n");
            assert_eq!(list(&utf16(&text, big)), expected, "big-endian: {big}");
        }
        assert_eq!(paths_in(vec![0xFF, 0xFE, 0], Path::new("")), None);
        assert_eq!(paths_in(b"a\0b".to_vec(), Path::new("")), None);
    }

    #[test]
    fn of_two_paths_a_line_the_first_is_taken() {
        assert_eq!(
            list(b"/a/1.jpg /b/1.png\nx y.JPG\tx y.png\nn01/2.JPEG 7\nno ending here\n"),
            ["/a/1.jpg", "d/x y.JPG", "d/n01/2.JPEG", "d/no ending here"]
        );
        assert_eq!(two_paths("a.jpg  b c.png"), Some(("a.jpg", "b c.png")));
        assert_eq!(two_paths("a b.jpg"), None);
        assert_eq!(two_paths(""), None);
        assert_eq!(two_paths("a.jpg\u{3000}b.png"), Some(("a.jpg", "b.png")));
    }

    #[test]
    fn a_name_with_a_picture_in_it_is_one_where_there_is_such_a_file() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let name = "a.jpg copy.jpg";
        std::fs::write(root.path().join(name), b"").expect("a file");
        let paths = paths_in(name.as_bytes().to_vec(), root.path()).expect("text");
        assert_eq!(paths, [root.path().join(name)]);
    }

    #[test]
    fn shadows_of_macos_are_left_out_and_hidden_folders_are_not() {
        assert_eq!(
            list(b"._a.jpg\n__MACOSX/b.jpg\n.cache/c.jpg\nsub/._d.jpg\n"),
            ["d/.cache/c.jpg"]
        );
    }
}
