//! Tolerant JSON: accepts numbers as strings, booleans as numbers, and NaN, as programs write them.

use std::fmt;

use anyhow::bail;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A value of any type; the content of lists and objects is dropped.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Loose {
    /// Absent, `null`, a list or an object.
    #[default]
    Nothing,
    Whole(i64),
    Number(f64),
    Text(String),
    Truth(bool),
}

impl Loose {
    /// The value as a number; strings are parsed.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Nothing | Self::Truth(_) => None,
        }
    }

    /// Whether the value is `true`, a non-zero number, or one of these as a string.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Truth(truth) => *truth,
            Self::Text(text) if text.trim().eq_ignore_ascii_case("true") => true,
            other => other.number().is_some_and(|number| number != 0.0),
        }
    }

    /// The value as an id: 3, 3.0 and "3" are the same.
    pub(super) fn id(&self) -> Option<Id> {
        // From 2^53 on not every integer has a floating-point number of its own.
        let whole = |number: f64| number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
        match self {
            Self::Whole(number) => Some(Id::Number(*number)),
            Self::Number(number) if whole(*number) => Some(Id::Number(*number as i64)),
            Self::Number(number) if number.is_finite() => Some(Id::Text(number.to_string())),
            Self::Text(text) => {
                let text = text.trim();
                let number = text.parse::<i64>().ok();
                let number =
                    number.or_else(|| text.parse().ok().filter(|n| whole(*n)).map(|n| n as i64));
                Some(number.map_or_else(|| Id::Text(text.to_string()), Id::Number))
                    .filter(|_| !text.is_empty())
            }
            _ => None,
        }
    }
}

/// The id of an image or category. Numbers sort before texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text}"),
        }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Truth(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        // Larger numbers become texts, so that no digit is lost.
        Ok(i64::try_from(value).map_or_else(|_| Loose::Text(value.to_string()), Loose::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Loose, E> {
        Ok(Loose::Text(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Nothing)
    }
}

/// A list of [`Loose`] values; empty for any other type.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct LooseList(pub(super) Vec<Loose>);

impl<'de> Deserialize<'de> for LooseList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = LooseList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LooseList, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    // Boxes have four values; a fifth suffices to detect a list that is too long.
                    if values.len() < 5 {
                        values.push(value);
                    }
                }
                Ok(LooseList(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LooseList, A::Error> {
                LooseVisitor.visit_map(map).map(|_| LooseList::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<LooseList, E> {
                Ok(LooseList::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<LooseList, E> {
                Ok(LooseList::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<LooseList, E> {
                Ok(LooseList::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<LooseList, E> {
                Ok(LooseList::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<LooseList, E> {
                Ok(LooseList::default())
            }

            fn visit_unit<E>(self) -> Result<LooseList, E> {
                Ok(LooseList::default())
            }
        }

        from.deserialize_any(ListVisitor)
    }
}

/// Parses the JSON of a file; `expected` describes its content for errors.
///
/// # Errors
/// One line with the position of the error and the remedy.
pub(super) fn read<T: DeserializeOwned>(mut bytes: Vec<u8>, expected: &str) -> anyhow::Result<T> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes[..3].fill(b' '); // Editors on Windows begin files with a byte order mark.
    }
    let error = match serde_json::from_slice(&bytes) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    // Python writes NaN and Infinity, which are not valid JSON.
    let error = if error.is_syntax() && without_nan(&mut bytes) {
        match serde_json::from_slice(&bytes) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        }
    } else {
        error
    };
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.is_eof() {
        bail!("it ends in the middle, at {place}: copy or write it again");
    }
    if error.is_syntax() {
        bail!("not JSON at {place}: repair it there, or write it again");
    }
    bail!("not as COCO has it at {place}: {expected}")
}

/// Replaces NaN, Infinity and -Infinity outside of strings by empty strings; returns whether there were any.
fn without_nan(bytes: &mut [u8]) -> bool {
    let (mut at, mut in_text, mut found) = (0, false, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_text => at += 1,
            b'"' => in_text = !in_text,
            b'N' | b'I' | b'-' if !in_text => {
                let names: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
                if let Some(name) = names.iter().find(|name| bytes[at..].starts_with(name)) {
                    // The replacement is written in place and must not be longer than `NaN`, as `null` would be.
                    bytes[at..at + name.len()].fill(b' ');
                    bytes[at..at + 2].fill(b'"');
                    at += name.len() - 1;
                    found = true;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}
