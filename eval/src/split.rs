//! Splits data into training and validation where the data set does not.

use densecl::rng::{Purpose, stream};
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

/// The part of a data set that a folder's name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Val,
}

impl Part {
    /// Recognises `train`, `train2017`, `training`, `val`, `validation` and `test`, in lower or upper case.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        if name.starts_with("train") {
            Some(Self::Train)
        } else if name.starts_with("val") || name.starts_with("test") {
            Some(Self::Val)
        } else {
            None
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
}
