//! Which of a file's tensors are looked at, where the user says it.

use super::Reason;
use crate::error::{Error, Result, SHOWN, first_names};

/// Most patterns, so that a file of many keys is compared with few.
const MAX_PATTERNS: usize = 64;

/// A part of a file, by the names of its tensors as the file has them. The default is all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only keys that begin with this are taken, and it is cut off; empty takes all.
    pub prefix: String,
    /// Keys that fit one of these patterns are left out. `*` stands for any characters, also for none.
    pub ignore: Vec<String>,
}

/// A key below the prefix, the key as the file has it, and its shape.
pub(super) type Selected<'k> = (&'k str, &'k str, &'k [usize]);
/// Keys that are left out, each for a reason.
type LeftOut = Vec<(String, Reason)>;

impl Selection {
    /// Whether it takes all of a file.
    pub fn is_all(&self) -> bool {
        self.prefix.is_empty() && self.ignore.is_empty()
    }

    /// The keys it takes, and the others.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the prefix or a pattern fits no key, which is most often a slip of the pen.
    pub(super) fn of<'k>(
        &self,
        keys: &'k [(String, Vec<usize>)],
    ) -> Result<(Vec<Selected<'k>>, LeftOut)> {
        if self.ignore.len() > MAX_PATTERNS {
            return Err(Error::Mismatch(format!(
                "--ignore: {} patterns, at most {MAX_PATTERNS} are compared; use * for several names",
                self.ignore.len()
            )));
        }
        let mut met = vec![false; self.ignore.len()];
        let (mut taken, mut left_out) = (Vec::new(), LeftOut::new());
        for (key, shape) in keys {
            let mut patterns = self.ignore.iter().zip(&mut met);
            if let Some((pattern, met)) = patterns.find(|(pattern, _)| fits(pattern, key)) {
                *met = true;
                left_out.push((key.clone(), Reason::Ignored(pattern.clone())));
            } else if let Some(below) = key.strip_prefix(&self.prefix) {
                taken.push((below, key.as_str(), shape.as_slice()));
            } else {
                left_out.push((key.clone(), Reason::OutsidePrefix(self.prefix.clone())));
            }
        }
        let first: Vec<&String> = keys.iter().map(|(key, _)| key).take(5).collect();
        let first = first_names(&first, SHOWN);
        if !self.prefix.is_empty() && taken.is_empty() {
            return Err(Error::Mismatch(format!(
                "--prefix {}: no tensor that is not ignored has a name that begins so; its keys: {first}",
                self.prefix
            )));
        }
        // A pattern behind another that takes the same keys is no slip.
        let unmet = self
            .ignore
            .iter()
            .zip(&met)
            .find(|(pattern, met)| !**met && !keys.iter().any(|(key, _)| fits(pattern, key)));
        match unmet {
            Some((pattern, _)) => Err(Error::Mismatch(format!(
                "--ignore {pattern}: no tensor has such a name (* stands for any characters); its keys: {first}"
            ))),
            None => Ok((taken, left_out)),
        }
    }
}

/// Whether `name` is as `pattern` says. Time is at most the product of both lengths.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Behind the last `*`, and how much of the name that has taken.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((behind, taken)) = star {
            star = Some((behind, taken + 1));
            p = behind;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<(String, Vec<usize>)> {
        let names = names.iter().map(|name| ((*name).to_string(), vec![1]));
        names.collect()
    }

    #[test]
    fn patterns_are_whole_names_with_stars() {
        for (pattern, name, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.", true),
            ("a.*", "b.a.c", false),
            ("*.bias", "x.y.bias", true),
            ("*.bias", "bias", false),
            ("*mid*", "amidst", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("**", "", true),
            ("", "a", false),
            ("*é", "é", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn each_key_is_taken_or_has_a_reason() {
        let selection = Selection {
            prefix: "net.".to_string(),
            ignore: vec!["net.head.*".to_string(), "*.head.b".to_string()],
        };
        let keys = keys(&["net.conv1", "net.head.a", "net.head.b", "loss.x"]);
        let (taken, left_out) = selection.of(&keys).expect("all fit");
        assert_eq!(taken, [("conv1", "net.conv1", &[1][..])]);
        let outside = Reason::OutsidePrefix("net.".to_string());
        let ignored = Reason::Ignored("net.head.*".to_string());
        assert_eq!(
            left_out,
            [
                ("net.head.a".to_string(), ignored.clone()),
                ("net.head.b".to_string(), ignored),
                ("loss.x".to_string(), outside),
            ]
        );
    }

    #[test]
    fn what_fits_nothing_is_refused_with_the_option_and_the_keys() {
        let message = |prefix: &str, ignore: &[&str]| {
            let selection = Selection {
                prefix: prefix.to_string(),
                ignore: ignore.iter().map(ToString::to_string).collect(),
            };
            let keys = keys(&["net.conv1"]);
            selection.of(&keys).expect_err("refused").to_string()
        };
        let prefix = message("model.", &[]);
        assert!(
            prefix.contains("--prefix model.") && prefix.contains("net.conv1"),
            "{prefix}"
        );
        let ignore = message("", &["head.*"]);
        assert!(ignore.contains("--ignore head.*"), "{ignore}");
        assert!(message("net.", &["*"]).contains("not ignored"));
        assert!(message("", &["x"; 65]).contains("at most 64"));
    }
}
