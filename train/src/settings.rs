//! Resolves settings from defaults, a file and `--set section.key=value`, each overriding the one before. Errors are
//! one line with the wrong key, where it was set and the remedy.
//!
//! The settings are plain serde structs; this module is generic over them. The existing keys are found by serialising
//! the struct to JSON, where an optional setting that is not given appears as null (TOML would omit it). Therefore a
//! struct must not use serde's `skip_serializing_if`.

#[cfg(feature = "files")]
mod file;
#[cfg(all(test, feature = "files"))]
mod tests;

use anyhow::{Context, anyhow, bail};
#[cfg(feature = "files")]
pub use file::resolve_file;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Minimum Jaro-Winkler similarity, in [0, 1], of a known key to be suggested for a wrong one.
const ALIKE: f64 = 0.7;

/// Resolves settings: `T::default()`, overridden by each of `texts` (a name for messages, and TOML), then by each of
/// `sets` in turn.
///
/// A `--set` value is parsed as TOML. Where that fails, or the default is a string, it is taken literally, so that
/// `--set model.backbone=resnet18` needs no quotes.
///
/// # Errors
/// One line with the key, where it was set and the remedy: for an unknown key, a value of the wrong type, and
/// invalid TOML. Ranges are checked by the settings' own `validate`.
pub fn resolve<T: Default + Serialize + DeserializeOwned>(
    texts: &[(&str, &str)],
    sets: &[String],
) -> anyhow::Result<T> {
    let default = T::default();
    let known = serde_json::to_value(&default).context("serialising the default settings")?;
    let base = Table::try_from(&default).context("serialising the default settings")?;

    let mut assignments = Vec::new();
    for (name, text) in texts {
        assignments.extend(read_toml(name, text, &known)?);
    }
    for set in sets {
        assignments.extend(read_set(set, &known)?);
    }
    for assignment in &assignments {
        assignment.check_known(&known)?;
    }

    let mut table = base.clone();
    for assignment in &assignments {
        assignment.apply(&mut table)?;
    }
    let resolved: T = table
        .try_into()
        .map_err(|error| blame::<T>(base, &assignments, error))?;
    // The keys of an optional section exist in the JSON only when the section is set, so check after resolving.
    let known = serde_json::to_value(&resolved).context("serialising the settings")?;
    for assignment in &assignments {
        assignment.check_known(&known)?;
    }
    Ok(resolved)
}

/// The settings as TOML, to be saved with a run; [`resolve`] reads them back unchanged.
///
/// # Errors
/// When a value has no TOML form, such as an integer above 2⁶³ − 1.
pub fn to_toml<T: Serialize>(settings: &T) -> anyhow::Result<String> {
    let context = "the settings cannot be written as TOML";
    // The TOML writer accepts integers above 2⁶³ − 1, which no reader does; this conversion refuses them.
    Table::try_from(settings).context(context)?;
    toml::to_string(settings).context(context)
}

/// The differences of two settings, one per key, in their order: `method.lambda is 0.5 and not 0.7`.
///
/// # Errors
/// When they cannot be serialised.
pub fn differences<T: Serialize>(is: &T, not: &T) -> anyhow::Result<Vec<String>> {
    let context = "serialising the settings";
    let (is, not) = (serde_json::to_value(is), serde_json::to_value(not));
    let mut found = Vec::new();
    compare(
        "",
        &is.context(context)?,
        &not.context(context)?,
        &mut found,
    );
    Ok(found)
}

fn compare(key: &str, is: &Json, not: &Json, found: &mut Vec<String>) {
    match (is, not) {
        (Json::Object(sections), Json::Object(others)) => {
            for (name, value) in sections {
                let key = match key {
                    "" => name.clone(),
                    section => format!("{section}.{name}"),
                };
                compare(&key, value, &others[name], found);
            }
        }
        _ if is == not => {}
        _ => found.push(format!("{key} is {is} and not {not}")),
    }
}

/// One key and its value.
struct Assignment {
    key: Vec<String>,
    value: Value,
    /// Where it was set, for messages: "configs/a.toml, line 3" or "--set a.b=c".
    place: String,
}

impl Assignment {
    /// # Errors
    /// When a part of the key does not exist in `known`. Keys below null, or below values that are not sections, are
    /// not checked.
    fn check_known(&self, known: &Json) -> anyhow::Result<()> {
        let mut section = known;
        for (depth, part) in self.key.iter().enumerate() {
            let Some(keys) = section.as_object() else {
                return Ok(());
            };
            let Some(found) = keys.get(part) else {
                let prefix = &self.key[..depth];
                let wrong = self.key[..=depth].join(".");
                let hint = suggestion(prefix, part, known, keys.keys());
                bail!("{}: there is no setting `{wrong}`; {hint}", self.place);
            };
            section = found;
        }
        Ok(())
    }

    /// # Errors
    /// When a part of the key before the last is a value instead of a section.
    fn apply(&self, table: &mut Table) -> anyhow::Result<()> {
        let Some((last, sections)) = self.key.split_last() else {
            return Ok(());
        };
        let mut table = table;
        for (depth, section) in sections.iter().enumerate() {
            let entry = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else {
                let name = self.key[..=depth].join(".");
                bail!(
                    "{}: `{name}` is a value, not a section with keys of its own",
                    self.place
                );
            };
            table = inner;
        }
        table.insert(last.clone(), self.value.clone());
        Ok(())
    }
}

/// "did you mean `optim.lr`?": a key of the same name in another section, or a similar one of this section; if there
/// is none, the list of this section's keys.
fn suggestion<'a>(
    prefix: &[String],
    part: &str,
    known: &Json,
    siblings: impl Iterator<Item = &'a String>,
) -> String {
    let full = |key: &str| {
        prefix
            .iter()
            .map(String::as_str)
            .chain([key])
            .collect::<Vec<_>>()
            .join(".")
    };
    let siblings: Vec<&String> = siblings.collect();
    let nearest = siblings
        .iter()
        .map(|key| (strsim::jaro_winkler(part, key), key))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= ALIKE);
    let elsewhere = all_keys(known, "")
        .into_iter()
        .find(|key| key.rsplit('.').next() == Some(part));
    if let Some(key) = elsewhere {
        format!("did you mean `{key}`?")
    } else if let Some((_, key)) = nearest {
        format!("did you mean `{}`?", full(key))
    } else {
        let keys: Vec<String> = siblings
            .iter()
            .map(|key| format!("`{}`", full(key)))
            .collect();
        format!("there are {}", keys.join(", "))
    }
}

/// The dotted names of all keys below `known`.
fn all_keys(known: &Json, prefix: &str) -> Vec<String> {
    let Some(keys) = known.as_object() else {
        return Vec::new();
    };
    let below = |(key, value): (&String, &Json)| {
        let name = format!("{prefix}{key}");
        let inner = all_keys(value, &format!("{name}."));
        [vec![name], inner].concat()
    };
    keys.iter().flat_map(below).collect()
}

/// The assignments of a TOML text, with the line of each.
fn read_toml(name: &str, text: &str, known: &Json) -> anyhow::Result<Vec<Assignment>> {
    let syntax = |error: toml::de::Error| {
        let at = error.span().map_or_else(String::new, |span| {
            let before = &text[..text.floor_char_boundary(span.start)];
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            format!(", line {}, column {column}", line_of(text, span.start))
        });
        anyhow!("{name}{at}: not valid TOML: {}", one_line(error.message()))
    };
    let values: Table = toml::from_str(text).map_err(syntax)?;
    let spans = DeTable::parse(text).map_err(syntax)?;
    let place = |key: &[String]| {
        let line = line_of(text, start_of(spans.get_ref(), key).unwrap_or(0));
        format!("{name}, line {line}")
    };
    let leaves = leaves(Vec::new(), Value::Table(values), Some(known));
    Ok(leaves
        .into_iter()
        .map(|(key, value)| Assignment {
            place: place(&key),
            key,
            value,
        })
        .collect())
}

fn read_set(set: &str, known: &Json) -> anyhow::Result<Vec<Assignment>> {
    let place = format!("--set {set}");
    let Some((key, text)) = set.split_once('=') else {
        bail!("{place}: write --set section.key=value");
    };
    let key: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
    if key.iter().any(String::is_empty) {
        bail!("{place}: a part of the key is empty; write --set section.key=value");
    }
    let text = text.trim();
    let default = key
        .iter()
        .try_fold(known, |section, part| section.get(part));
    // For a string setting a value that looks like a number is still text.
    let is_string = default.is_some_and(Json::is_string);
    let as_written = || Value::String(text.to_owned());
    let value = match text.parse::<Value>() {
        Ok(Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_))
            if is_string =>
        {
            as_written()
        }
        Ok(value) => value,
        Err(_) => as_written(),
    };
    let leaves = leaves(key, value, default);
    Ok(leaves
        .into_iter()
        .map(|(key, value)| Assignment {
            place: place.clone(),
            key,
            value,
        })
        .collect())
}

/// Splits `value` at `key` into single assignments, so that a file overrides a section key by key and not as a
/// whole. A table that is not a section is one value, such as an enum variant with data.
fn leaves(key: Vec<String>, value: Value, known: Option<&Json>) -> Vec<(Vec<String>, Value)> {
    let is_section = known.is_none_or(|known| known.is_object() || known.is_null());
    match value {
        Value::Table(table) if is_section && (!table.is_empty() || known.is_some()) => table
            .into_iter()
            .flat_map(|(name, value)| {
                let known = known.and_then(|known| known.get(&name));
                leaves([key.as_slice(), &[name]].concat(), value, known)
            })
            .collect(),
        value => vec![(key, value)],
    }
}

/// The byte offset in the text at which the last part of a key begins.
fn start_of(spans: &DeTable<'_>, key: &[String]) -> Option<usize> {
    let (first, rest) = key.split_first()?;
    let (name, value) = spans
        .iter()
        .find(|(name, _)| name.get_ref().as_ref() == first.as_str())?;
    match value.get_ref() {
        DeValue::Table(inner) if !rest.is_empty() => start_of(inner, rest),
        _ => Some(name.span().start),
    }
}

/// The error for settings that do not deserialise: it names the first assignment after which they fail.
fn blame<T: DeserializeOwned>(
    base: Table,
    assignments: &[Assignment],
    error: toml::de::Error,
) -> anyhow::Error {
    let mut table = base;
    for assignment in assignments {
        if let Err(error) = assignment.apply(&mut table) {
            return error;
        }
        if let Err(error) = table.clone().try_into::<T>() {
            let key = assignment.key.join(".");
            return anyhow!(
                "{}: `{key}`: {}",
                assignment.place,
                one_line(error.message())
            );
        }
    }
    anyhow!(
        "the settings do not fit together: {}",
        one_line(&error.to_string())
    )
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
