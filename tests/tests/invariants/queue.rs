//! Queues are first in, first out; schedules have the right values at the start and at the end.

use std::f64::consts::PI;

use densecl::{
    config::SchedulePer,
    queue::Queue,
    schedule::{Progress, lambda, learning_rate},
};
use densecl_tests::{
    cases,
    network::{cpu, tensor, values},
};
use proptest::prelude::*;

const DIM: usize = 3;

proptest! {
    #![proptest_config(cases(64))]

    /// Compared with a Vec that drops its oldest entries, for batches of any size, including those that do
    /// not divide K.
    #[test]
    fn keeps_the_newest_keys_in_order_of_arrival(
        len in 1usize..12,
        batches in prop::collection::vec(1usize..12, 1..8),
    ) {
        let device = cpu();
        let mut queue = Queue::new(len, DIM, 3, 0, &device);
        let mut arrived: Vec<Vec<f32>> =
            values(&queue.keys()).chunks_exact(DIM).map(<[f32]>::to_vec).collect();
        let mut next = 0.0;
        for batch in batches.into_iter().map(|batch| batch.min(len)) {
            let keys: Vec<f32> = (0..batch * DIM).map(|i| next + i as f32).collect();
            next += keys.len() as f32;
            arrived.extend(keys.chunks_exact(DIM).map(<[f32]>::to_vec));
            queue.enqueue(tensor(keys, [batch, DIM], &device));

            let written = arrived.len() - len;
            prop_assert_eq!(queue.position(), written % len);
            // The next key overwrites the oldest, so the oldest is at the queue's position.
            let stored = values(&queue.keys());
            for (age, want) in arrived[written..].iter().enumerate() {
                let row = (queue.position() + age) % len;
                prop_assert_eq!(&stored[row * DIM..(row + 1) * DIM], &want[..]);
            }
        }
    }

    /// The learning rate starts at its base value, never rises, and ends at zero.
    #[test]
    fn the_learning_rate_falls_from_its_base_to_zero(
        base in 1e-4f64..10.0,
        steps_per_epoch in 1u64..50,
        epochs in 1u64..20,
        per_epoch in any::<bool>(),
    ) {
        let per = if per_epoch { SchedulePer::Epoch } else { SchedulePer::Step };
        let total_steps = steps_per_epoch * epochs;
        let at = |step| learning_rate(base, per, Progress { step, total_steps, steps_per_epoch });
        prop_assert_eq!(at(0), base);
        prop_assert!(at(total_steps).abs() < 1e-12 * base);
        let rates: Vec<f64> = (0..=total_steps).map(at).collect();
        prop_assert!(rates.windows(2).all(|pair| pair[1] <= pair[0]));
        prop_assert!(at(total_steps - 1) > 0.0, "the learning rate of the last step is 0");
        if !per_epoch {
            let share = PI * (total_steps / 2) as f64 / total_steps as f64;
            let want = base * (share / 2.0).cos().powi(2);
            prop_assert!((at(total_steps / 2) - want).abs() < 1e-12 * base);
        }
    }

    /// λ is 0 before the end of the warm-up and its value from there on.
    #[test]
    fn lambda_steps_up_once(value in 0.0f64..=1.0, warmup in 0u64..100, step in 0u64..200) {
        let want = if step < warmup { 0.0 } else { value };
        prop_assert_eq!(lambda(value, warmup, step), want);
    }
}

#[test]
fn a_new_queue_holds_unit_vectors_that_depend_on_seed_and_queue() {
    let keys = |seed, which| values(&Queue::new(9, 16, seed, which, &cpu()).keys());
    for key in keys(1, 0).chunks_exact(16) {
        let norm: f32 = key.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() < 1e-6, "norm {norm}");
    }
    assert_eq!(keys(1, 0), keys(1, 0));
    assert_ne!(keys(1, 0), keys(1, 1));
    assert_ne!(keys(1, 0), keys(2, 0));
}
