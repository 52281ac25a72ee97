//! The order of an epoch.

use densecl::rng::{self, Purpose};
use rand::RngExt;

/// A uniformly random order of `0..length` for `epoch` of the run with this `seed`
/// (Fisher and Yates, from the back).
pub(crate) fn epoch_order(seed: u64, epoch: u64, length: usize) -> Vec<usize> {
    let mut rng = rng::stream(seed, Purpose::Order, epoch);
    let mut order: Vec<usize> = (0..length).collect();
    for last in (1..length).rev() {
        // Drawn as u64, so that 32-bit machines get the same order.
        let chosen = rng.random_range(0..=last as u64) as usize;
        order.swap(last, chosen);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_that_depend_on_seed_and_epoch() {
        let order = epoch_order(7, 3, 100);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(order, epoch_order(7, 3, 100));
        assert_ne!(order, epoch_order(7, 4, 100));
        assert_ne!(order, epoch_order(8, 3, 100));
        assert_eq!(epoch_order(0, 0, 1), [0]);
    }

    /// Each of the 6 orders of 3 is expected 1000 times of 6000; 5 standard deviations are 145.
    #[test]
    fn every_order_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(epoch_order(1, epoch, 3)).or_insert(0i32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|count| (count - 1000).abs() < 145),
            "{counts:?}"
        );
    }
}
