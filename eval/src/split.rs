//! Which pictures to train on and which to judge by, where the data does not say.

use densecl::rng::{Purpose, stream};
use rand::seq::SliceRandom;

/// The seed of every split: the same pictures for every backbone and every seed of an evaluation.
const SEED: u64 = 0;
/// One picture in this many is kept for validation, and at least one.
const SHARE: usize = 4;

/// Takes a quarter of `items` (rounded, at least one) out for validation: training, validation, both
/// in their old order. `index` tells several splits of one data set apart.
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

/// What the name of a folder says of the pictures in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Val,
}

impl Part {
    /// `train`, `train2017`, `training`; `val`, `validation`, `test`; in any case.
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
