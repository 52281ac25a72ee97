//! The few keys of a `data.yaml` that say what YOLO's numbers mean: `names`, `train`, `val`, `test`.
//!
//! YAML is large, and these files are small and written by programs. Read are keys at the left margin with a text, a
//! list or a map of texts: on one line, in brackets over several lines, or as an indented block. Everything else is
//! passed over.

use anyhow::{Context, bail};

/// Longest file.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// Most classes or paths in a list.
const MAX_ITEMS: usize = 100_000;

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DataYaml {
    /// Names of the classes, by their numbers.
    pub(super) names: Vec<String>,
    /// What a part is called, and its folders or lists.
    pub(super) parts: Vec<(String, Vec<String>)>,
}

/// The value of a key: texts, each perhaps with a key of its own.
type Items = Vec<(Option<String>, String)>;

impl DataYaml {
    /// # Errors
    /// Naming the line that is not understood.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let lines: Vec<&str> = text.lines().map(without_comment).collect();
        let mut at = 0;
        while at < lines.len() {
            let number = at + 1;
            let line = lines[at];
            at += 1;
            let key = match line.split_once(':') {
                Some((key, _)) if !key.is_empty() && !key.starts_with([' ', '\t', '-', '#']) => key,
                _ => continue,
            };
            let name = unquoted(key.trim());
            if !["names", "train", "val", "valid", "test"].contains(&name.as_str()) {
                continue;
            }
            let mut value = line[key.len() + 1..].trim().to_string();
            let items = if value.starts_with(['[', '{']) {
                while !is_closed(&value) && at < lines.len() {
                    value.push(' ');
                    value.push_str(lines[at].trim());
                    at += 1;
                }
                in_brackets(&value)
            } else if value.is_empty() {
                let from = at;
                let inside =
                    |line: &&str| line.trim().is_empty() || line.starts_with([' ', '\t', '-']);
                at += lines[from..].iter().take_while(|line| inside(line)).count();
                block(&lines[from..at])
            } else {
                Ok(vec![(None, unquoted(&value))])
            };
            let items =
                items.with_context(|| format!("line {number}: `{name}` is not understood"))?;
            if items.len() > MAX_ITEMS {
                bail!("line {number}: `{name}` has more than {MAX_ITEMS} entries");
            }
            if name == "names" {
                found.names = in_order(items).with_context(|| format!("line {number}"))?;
            } else {
                let paths = items.into_iter().map(|(_, path)| path);
                let paths = paths.filter(|path| !path.is_empty()).collect();
                found.parts.push((name, paths));
            }
        }
        found
            .parts
            .retain(|(_, paths): &(String, Vec<String>)| !paths.is_empty());
        Ok(found)
    }
}

/// The line up to a `#` that begins a comment: at its beginning or behind a space, and in no quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '#') if before.is_whitespace() => return line[..at].trim_end(),
            _ => {}
        }
        before = c;
    }
    line.trim_end()
}

/// The text in quotes, or as it is.
fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        let inside = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(inside) = inside {
            return inside.replace("''", "'");
        }
    }
    text.to_string()
}

/// Splits at `separator` where it is in no quotes.
fn divided(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut quote, mut from) = (Vec::new(), None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, _) if c == separator => {
                parts.push(&text[from..at]);
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn is_closed(value: &str) -> bool {
    value.ends_with([']', '}'])
}

/// `[a, "b, c"]` or `{0: a, 1: b}`.
fn in_brackets(value: &str) -> anyhow::Result<Items> {
    let inside = |open: char, close: char| {
        let value = value.strip_prefix(open)?;
        value.strip_suffix(close)
    };
    let (inside, is_map) = match (inside('[', ']'), inside('{', '}')) {
        (Some(inside), _) => (inside, false),
        (_, Some(inside)) => (inside, true),
        _ => bail!("its bracket is not closed"),
    };
    let parts = divided(inside, ',').into_iter().map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    let items = parts.map(|part| {
        if is_map {
            let (key, value) = part.split_once(':').context("an entry without a `:`")?;
            Ok((Some(unquoted(key.trim())), unquoted(value.trim())))
        } else {
            Ok((None, unquoted(part)))
        }
    });
    items.collect()
}

/// `- a` or `0: a`, a line each.
fn block(lines: &[&str]) -> anyhow::Result<Items> {
    let lines = lines.iter().map(|line| line.trim());
    let lines = lines.filter(|line| !line.is_empty());
    let items = lines.map(|line| {
        if let Some(item) = line.strip_prefix('-') {
            return Ok((None, unquoted(item.trim())));
        }
        let (key, value) = line.split_once(':').context("a line without `-` or `:`")?;
        Ok((Some(unquoted(key.trim())), unquoted(value.trim())))
    });
    items.collect()
}

/// The names by their numbers, which count from 0 without a gap.
fn in_order(items: Items) -> anyhow::Result<Vec<String>> {
    let count = items.len();
    let mut names: Vec<Option<String>> = vec![None; count];
    for (place, (key, name)) in items.into_iter().enumerate() {
        let number: usize = match key {
            None => place,
            Some(key) => key
                .parse()
                .ok()
                .with_context(|| format!("`names`: {key} is not the number of a class"))?,
        };
        let Some(slot) = names.get_mut(number) else {
            bail!("`names`: class {number}, but there are {count} names: number them from 0 on");
        };
        if slot.is_some() {
            bail!("`names`: class {number} is there twice");
        }
        if name.is_empty() {
            bail!("`names`: class {number} has no name");
        }
        *slot = Some(name);
    }
    // As many slots as items, each filled once.
    Ok(names.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        DataYaml::read(text).expect("understood").names
    }

    #[test]
    fn names_are_read_in_every_way_of_writing_them() {
        let expected = ["cat", "hot dog", "it's, #1"];
        for text in [
            "names: [cat, 'hot dog', \"it's, #1\"]\n",
            "nc: 3\nnames: ['cat',\n  'hot dog',\n  'it''s, #1'] # three\n",
            "names:\n- cat\n- hot dog\n- \"it's, #1\"\n",
            "# a data set\nnames:\n  0: cat\n  1: hot dog\n\n  2: 'it''s, #1'\nnc: 3\n",
            "names: {0: cat, 2: \"it's, #1\", 1: hot dog}",
            "'names':\n  - cat   # purrs\n  - hot dog\n  - \"it's, #1\"\nroboflow:\n  workspace: x\n",
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
        assert!(names("nc: 3\nkpt_shape: [17, 3]\n").is_empty());
    }

    #[test]
    fn parts_are_a_path_or_several() {
        let read = DataYaml::read(
            "path: ../datasets/coco8\ntrain: images/train\nval:\n  - a\n  - b\ntest: # none\n\
             names: []\n",
        );
        let expected = [
            ("train".to_string(), vec!["images/train".to_string()]),
            ("val".to_string(), vec!["a".to_string(), "b".to_string()]),
        ];
        assert_eq!(read.expect("understood").parts, expected);
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, parts) in [
            ("\nnames: [a, b", &["line 2", "bracket"][..]),
            ("names:\n  0: a\n  2: b\n", &["class 2", "2 names"]),
            ("names:\n  0: a\n  0: b\n", &["class 0 is there twice"]),
            ("names:\n  a: 0\n", &["a is not the number"]),
            ("names:\n  a\n", &["line 1", "without `-`"]),
            ("names: ['']\n", &["class 0 has no name"]),
        ] {
            let error = format!("{:#}", DataYaml::read(text).expect_err("refused"));
            for part in parts {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
    }
}
