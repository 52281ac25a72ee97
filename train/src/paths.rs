//! Lossless conversion of paths to text, for JSON, indexes and lists.
//!
//! A path on Unix is bytes that need not be UTF-8. The usual lossy conversion replaces every invalid byte by the
//! same character, so that two files can get the same name. Here a valid UTF-8 path is its own text, and any other
//! is quoted with escapes as Git does.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Serializer;

/// The path as text; different paths give different texts.
pub fn text(path: impl AsRef<OsStr>) -> String {
    let path = path.as_ref();
    match path.to_str() {
        // A path that begins with a quote is quoted too, so that it is not taken for an escaped one.
        Some(text) if !text.starts_with('"') => text.to_string(),
        _ => quoted(path.as_encoded_bytes()),
    }
}

/// The path from which [`text`] or [`line()`] made this text.
pub fn path_of(text: &str) -> PathBuf {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let unquoted = inner.and_then(unescaped).and_then(path_of_bytes);
    unquoted.unwrap_or_else(|| PathBuf::from(text))
}

/// The path as one line of text: control characters are escaped too.
pub fn line(path: impl AsRef<OsStr>) -> String {
    in_line(&text(path)).into_owned()
}

/// Turns the output of [`text`] into that of [`line()`].
pub fn in_line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(quoted(text.as_bytes()))
    } else {
        Cow::Borrowed(text)
    }
}

/// Serialises a path by [`text`]; for serde's `serialize_with`.
pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(path))
}

/// `"a\xE9\n.jpg"`: quotes, backslashes, control characters and invalid bytes are escaped, all else is UTF-8.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '"' | '\\' => out.extend(['\\', letter]),
                letter if letter.is_control() => {
                    let mut utf8 = [0; 4];
                    escape(&mut out, letter.encode_utf8(&mut utf8).as_bytes());
                }
                letter => out.push(letter),
            }
        }
        escape(&mut out, chunk.invalid());
    }
    out.push('"');
    out
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str(&format!("\\x{byte:02X}"));
    }
}

/// The inverse of [`quoted`], without the quotes; `None` for an escape that [`quoted`] never writes.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            byte @ (b'"' | b'\\') => byte,
            b'x' => {
                let digits = [char::from(rest.next()?), char::from(rest.next()?)];
                let [high, low] = digits.map(|digit| digit.to_digit(16));
                (high? * 16 + low?) as u8
            }
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(unix)]
fn path_of_bytes(bytes: Vec<u8>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_of_bytes(bytes: Vec<u8>) -> Option<PathBuf> {
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_text_are_that_text() {
        for plain in [
            "a.jpg",
            "dir/ä b.jpg",
            "C:\\a\\n.jpg",
            "a\"b",
            "a\\xE9.jpg",
            "",
        ] {
            assert_eq!(
                (text(plain), line(plain)),
                (plain.to_string(), plain.to_string())
            );
            assert_eq!(path_of(plain), Path::new(plain));
        }
        assert_eq!(text("a\nb"), "a\nb");
        assert_eq!(line("a\nb\u{1b}[0m"), r#""a\nb\x1B[0m""#);
        // `\q` is not a valid escape: the text is taken as a path unchanged.
        assert_eq!(path_of("\"a\\q\""), Path::new("\"a\\q\""));
    }

    #[cfg(unix)]
    #[test]
    fn no_two_paths_have_one_text_and_each_is_found_again() {
        use std::collections::HashSet;
        use std::os::unix::ffi::OsStrExt;

        let names: [&[u8]; 14] = [
            b"a\xE9.jpg",
            b"a\xE8.jpg",
            b"a\\xE9.jpg",
            b"\"a\\xE9.jpg\"",
            b"\"a\xE9.jpg\"",
            b"\xFF",
            b"\"",
            b"\"\"",
            b"a\xC3\xA9.jpg",
            b"a\n\xE9",
            b"a\\n\xE9",
            "a\u{FFFD}.jpg".as_bytes(),
            b"a\x85",
            b"a\n",
        ];
        let mut texts = HashSet::new();
        let mut lines = HashSet::new();
        for name in names {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(path_of(&text(path)), path);
            assert_eq!(path_of(&line(path)), path);
            assert!(!line(path).contains(char::is_control));
            texts.insert(text(path));
            lines.insert(line(path));
        }
        assert_eq!((texts.len(), lines.len()), (names.len(), names.len()));
    }
}
