//! Splits data into training and validation as the data set says, or else takes always the same quarter for
//! validation.

use std::path::Path;

use densecl::rng::{Purpose, stream};
use densecl_train::notes::note;
use rand::seq::SliceRandom;

/// Seed of every split: the same pictures for every backbone and every seed of an evaluation.
const SEED: u64 = 0;
/// One picture in this many is taken for validation, and at least one.
const SHARE: usize = 4;

/// Takes a quarter of `items` (rounded, at least one) for validation; returns training and validation, both in their
/// old order. Different values of `index` give independent splits.
pub(crate) fn split<T>(items: Vec<T>, index: u64) -> (Vec<T>, Vec<T>) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.shuffle(&mut stream(SEED, Purpose::Evaluation, index));
    let held_out = ((items.len() + SHARE / 2) / SHARE).max(1);
    let mut kept = vec![true; items.len()];
    for &i in order.iter().take(held_out) {
        kept[i] = false;
    }
    let (train, val): (Vec<_>, Vec<_>) = items.into_iter().zip(kept).partition(|(_, kept)| *kept);
    let plain = |pairs: Vec<(T, bool)>| pairs.into_iter().map(|(item, _)| item).collect();
    (plain(train), plain(val))
}

/// Says that [`split`] decided.
pub(crate) fn say_split(data: &Path) {
    note(format_args!(
        "{}: it has no parts, so a quarter of it is judged, always the same",
        data.display()
    ));
}

/// The part of a data set that the name of a folder, list or file refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Val,
    Test,
}

impl Part {
    /// Names of parts, whole and in any case; the first is the usual one. A class may be called `train_station` or
    /// `test_tube`, so how a name begins says nothing.
    const NAMES: [(Self, &[&str]); 3] = [
        (Self::Train, &["train", "training"]),
        (Self::Val, &["val", "valid", "validation"]),
        (Self::Test, &["test", "testing"]),
    ];

    /// Recognises the name of a part.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let is = |known: &&str| known.eq_ignore_ascii_case(name);
        let mut all = Self::NAMES.into_iter();
        all.find_map(|(part, names)| names.iter().any(is).then_some(part))
    }

    /// Of these names that of this part; of several the usual one.
    fn among(self, names: &[String]) -> Option<&String> {
        let (_, known) = Self::NAMES.into_iter().find(|(part, _)| *part == self)?;
        known.iter().find_map(|known| {
            let mut names = names.iter();
            names.find(|name| name.eq_ignore_ascii_case(known))
        })
    }
}

/// `train2017` is `train`: names of COCO's files and folders end in a year.
pub(crate) fn without_year(name: &str) -> &str {
    let digits = |year: &str| year.bytes().all(|byte| byte.is_ascii_digit());
    let at = name.len().checked_sub(4).filter(|&at| at > 0);
    match at.and_then(|at| name.split_at_checked(at)) {
        Some((name, year)) if digits(year) => name,
        _ => name,
    }
}

/// Which of a data set's parts are learned from and judged by. The rule is the same for every reader: `val` is judged,
/// or else `test`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// What the part for training is called; none where there is none.
    pub(crate) train: Option<String>,
    /// What the part is called that is judged.
    pub(crate) judged: Option<String>,
    /// Parts that are left alone.
    pub(crate) unused: Vec<String>,
}

impl Roles {
    /// The roles of parts among these names; names that are none are passed over.
    pub(crate) fn of(names: &[String]) -> Self {
        let train = Part::Train.among(names).cloned();
        let judged = Part::Val.among(names).or(Part::Test.among(names)).cloned();
        let unused = names.iter().filter(|name| {
            let used = [&train, &judged];
            Part::of(name).is_some() && !used.iter().any(|used| used.as_ref() == Some(*name))
        });
        Self {
            unused: unused.cloned().collect(),
            train,
            judged,
        }
    }

    /// The same, but for what was asked for by name.
    pub(crate) fn with(self, train: Option<&str>, judged: Option<&str>) -> Self {
        let chosen = |asked: Option<&str>, found| asked.map(str::to_string).or(found);
        let roles = Self {
            train: chosen(train, self.train.clone()),
            judged: chosen(judged, self.judged.clone()),
            unused: Vec::new(),
        };
        let found = [self.train, self.judged].into_iter().flatten();
        let left = found.chain(self.unused).filter(|name| {
            let used = [&roles.train, &roles.judged];
            !used.iter().any(|used| used.as_ref() == Some(name))
        });
        let unused = left.collect();
        Self { unused, ..roles }
    }

    /// Both, where both are there.
    pub(crate) fn both(&self) -> Option<(&str, &str)> {
        Some((self.train.as_deref()?, self.judged.as_deref()?))
    }

    /// Says in a line what is judged in `data`.
    pub(crate) fn say(&self, data: &Path) {
        if let Some((train, judged)) = self.both() {
            let unused = if self.unused.is_empty() {
                String::new()
            } else {
                format!("; not used: {}", self.unused.join(", "))
            };
            note(format_args!(
                "{}: learned from {train}, judged by {judged}{unused}",
                data.display()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_always_the_same_and_loses_nothing() {
        let (train, val) = split((0..10).collect(), 0);
        assert_eq!((train.len(), val.len()), (7, 3));
        assert_eq!(split((0..10).collect(), 0), (train.clone(), val.clone()));
        assert_ne!(split((0..10).collect(), 1).1, val);
        let mut all = [train, val].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(split(vec![1, 2], 0).1.len(), 1);
    }

    fn roles(names: &[&str]) -> Roles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Roles::of(&names)
    }

    #[test]
    fn val_is_judged_or_else_test() {
        let both = |names: &[&str]| {
            let roles = roles(names);
            let (train, judged) = roles.both()?;
            Some((train.to_string(), judged.to_string(), roles.unused.len()))
        };
        let expected = |train: &str, judged: &str, unused| {
            Some((train.to_string(), judged.to_string(), unused))
        };
        assert_eq!(both(&["test", "train", "val"]), expected("train", "val", 1));
        assert_eq!(both(&["test", "train"]), expected("train", "test", 0));
        assert_eq!(
            both(&["Train", "valid", "test"]),
            expected("Train", "valid", 1)
        );
        assert_eq!(
            both(&["train", "val", "valid"]),
            expected("train", "val", 1)
        );
        assert_eq!(both(&["train", "cat"]), None);
        assert_eq!(both(&["val", "test"]), None);
    }

    #[test]
    fn names_are_compared_whole() {
        for name in [
            "train_station",
            "test_tube",
            "valley",
            "trainer",
            "tests",
            "",
        ] {
            assert_eq!(Part::of(name), None, "{name}");
        }
        assert_eq!(
            roles(&["train_interior", "test_tube", "val_d_isere"]),
            Roles::default()
        );
        assert_eq!(Part::of("VALIDATION"), Some(Part::Val));
        assert_eq!(without_year("train2017"), "train");
        for name in ["2017", "train17", "é17", "val"] {
            assert_eq!(without_year(name), name);
        }
    }
}
