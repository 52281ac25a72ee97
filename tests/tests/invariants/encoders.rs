//! Which batch statistics an encoder uses, and what the key encoder takes over from the query encoder.

use burn::tensor::Tensor;
use densecl::{
    config::MomentumSchedule,
    model::{BatchNorm, Encoder, Init, Kind, TensorVisitor, Tensors, follow},
    ops::{Activation, FeatureMap},
    rng::{Purpose, stream},
};
use densecl_tests::{
    cases,
    golden::{assert_close, formula},
    learner::{Tiny, settings, step, views, with_other_image},
    network::{Gradient, cpu, fill, named_values, tensor, values},
};
use proptest::prelude::*;
use rand::seq::SliceRandom;

/// The key encoder normalises by the statistics of its batch. In eval mode a key would depend on its image
/// only.
#[test]
fn a_key_depends_on_the_other_images_of_its_batch() {
    let first_key = |other: bool| {
        let mut learner = Tiny::default().learner(&cpu());
        let mut views = views("encoders", 4, &cpu());
        if other {
            views.key = with_other_image(views.key, 3);
        }
        step(&mut learner, vec![views], &settings(0)).expect("a step");
        [&learner.global_queue, &learner.dense_queue]
            .map(|queue| values(&queue.keys().slice([0..1, 0..16])))
    };
    let (with, without) = (first_key(false), first_key(true));
    for (with, without) in with.iter().zip(&without) {
        let change = with
            .iter()
            .zip(without)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(change > 1e-3, "the key changed by {change:e} only");
    }
}

#[test]
fn a_step_moves_the_key_encoders_own_statistics() {
    let mut learner = Tiny::default().learner(&cpu());
    let before = named_values(&learner.key);
    step(
        &mut learner,
        vec![views("encoders", 4, &cpu())],
        &settings(0),
    )
    .expect("a step");
    let after = named_values(&learner.key);
    let query = named_values(&learner.query);
    for (name, values) in after.iter().filter(|(name, _)| name.contains("running_")) {
        assert_ne!(values, &before[name], "{name} was not updated");
        assert_ne!(values, &query[name], "{name} equals the query encoder's");
    }
}

struct Untracked;

impl TensorVisitor for Untracked {
    fn tensor<const D: usize>(&mut self, name: &str, _: Kind, tensor: &mut Tensor<D>) {
        let outside = !tensor.is_autodiff() && !tensor.is_require_grad();
        assert!(outside, "{name} is part of a gradient graph");
    }
}

/// θk ← m·θk + (1−m)·θq with θq from before the step; nothing else changes the key encoder's parameters.
#[test]
fn key_parameters_follow_the_query_and_get_no_gradient() {
    let tiny = Tiny::default();
    let mut learner = tiny.learner(&cpu());
    for number in 0..2 {
        let (key, query) = (named_values(&learner.key), named_values(&learner.query));
        step(
            &mut learner,
            vec![views("encoders", 4, &cpu())],
            &settings(number),
        )
        .expect("a step");
        learner.key.visit("", &mut Untracked);
        let m = tiny.method.momentum as f32;
        for tensor in learner.key.named() {
            if tensor.kind == Kind::Parameter {
                let pairs = key[&tensor.name].iter().zip(&query[&tensor.name]);
                let want: Vec<f32> = pairs.map(|(k, q)| m * k + (1.0 - m) * q).collect();
                assert_close(&tensor.name, &values(&tensor.values), &want, 1e-6);
            }
        }
    }
}

/// With the cosine schedule m rises from its value to 1, at which the key encoder rests.
#[test]
fn the_momentum_follows_its_schedule() {
    let mut tiny = Tiny::default();
    tiny.method.momentum_schedule = MomentumSchedule::Cosine;
    let m = tiny.method.momentum;
    let total = settings(0).total_steps;
    for (number, m) in [(0, m), (total / 2, (1.0 + m) / 2.0), (total, 1.0)] {
        let mut learner = tiny.learner(&cpu());
        let mut want = learner.key.clone();
        follow(&mut want, &learner.query, m);
        let batch = vec![views("encoders", 4, &cpu())];
        step(&mut learner, batch, &settings(number)).expect("a step");
        let want = named_values(&want);
        for tensor in learner.key.named() {
            if tensor.kind == Kind::Parameter {
                assert_close(
                    &tensor.name,
                    &values(&tensor.values),
                    &want[&tensor.name],
                    1e-6,
                );
            }
        }
    }
}

/// A browser reads the figures without blocking.
#[test]
fn figures_read_asynchronously_are_the_same() {
    let mut learner = Tiny::default().learner(&cpu());
    let batch = vec![views("encoders", 4, &cpu())];
    let output = step(&mut learner, batch, &settings(0)).expect("a step");
    let blocking = output.figures().expect("the CPU answers");
    let asynchronous = pollster::block_on(output.figures_async()).expect("the CPU answers");
    assert_eq!(asynchronous, blocking);
    assert!(blocking.iter().count() > 6);
}

#[test]
fn following_leaves_the_statistics_alone() {
    let learner = Tiny::default().learner(&cpu());
    for m in [0.0, 0.5, 1.0] {
        let mut key = learner.key.clone();
        follow(&mut key, &learner.query, m);
        let (got, before) = (named_values(&key), named_values(&learner.key));
        let query = named_values(&learner.query);
        for (name, values) in &got {
            if name.contains("running_") || m == 1.0 {
                assert_eq!(values, &before[name], "{name} at m = {m}");
            } else if m == 0.0 {
                assert_eq!(values, &query[name], "{name} at m = {m}");
            } else {
                assert_ne!(values, &before[name], "{name} at m = {m}");
            }
        }
    }
}

/// Evaluation does not use a batch's statistics and does not change the running statistics.
#[test]
fn features_of_an_image_do_not_depend_on_the_others() {
    use densecl::features::{Feature, dense_features};
    let encoder = Tiny::default().learner(&cpu()).query.inference();
    let images = views("encoders", 2, &cpu()).query;
    let before = named_values(&encoder);
    for feature in Feature::ALL {
        let first = |images| {
            let map = dense_features(&encoder, images, feature);
            let per_image = map.dims()[1..].iter().product();
            values(&map)[..per_image].to_vec()
        };
        assert_eq!(
            first(images.clone()),
            first(with_other_image(images.clone(), 1))
        );
    }
    assert_eq!(named_values(&encoder), before);
}

/// Indices of the samples of group `of`, if `n` samples are split into `groups` interleaved groups.
fn members(n: usize, groups: usize, of: usize) -> impl Iterator<Item = usize> {
    (of..n).step_by(groups)
}

proptest! {
    #![proptest_config(cases(24))]

    /// Changing the samples of one group leaves the output of the other groups the same to the bit.
    #[test]
    fn statistics_do_not_cross_groups(
        groups in 2usize..5,
        per_group in 2usize..4,
        changed in any::<prop::sample::Index>(),
        seed in any::<u32>(),
    ) {
        const CHANNELS: usize = 3;
        const SAMPLE: usize = CHANNELS * 4;
        let n = groups * per_group;
        let changed = changed.index(groups);
        let device = cpu();
        let init = Init::new(0, &device);
        let mut norm = BatchNorm::new(&init, CHANNELS);
        fill(&mut norm, "split_bn.", Gradient::None);
        let mut forward = |x: &[f32]| {
            let x = tensor(x.to_vec(), [n, CHANNELS, 2, 2], &device);
            values(&norm.forward_train(FeatureMap::new(x), groups, Activation::Identity).into_tensor())
        };
        let x = formula(&format!("groups/{seed}"), n * SAMPLE);
        let mut other = x.clone();
        // Changing one sample suffices to change the statistics of its group.
        let first = members(n, groups, changed).next().expect("a group has members");
        for value in &mut other[first * SAMPLE..(first + 1) * SAMPLE] {
            *value = 2.0 * *value + 0.5;
        }
        let (with, without) = (forward(&x), forward(&other));
        for group in 0..groups {
            for sample in members(n, groups, group) {
                let range = sample * SAMPLE..(sample + 1) * SAMPLE;
                if group == changed {
                    prop_assert_ne!(&with[range.clone()], &without[range]);
                } else {
                    prop_assert_eq!(&with[range.clone()], &without[range]);
                }
            }
        }
    }

    /// Within a group the order of the samples does not matter.
    #[test]
    fn a_groups_statistics_are_those_of_its_samples_in_any_order(seed in any::<u64>()) {
        const SHAPE: [usize; 4] = [6, 2, 2, 2];
        const GROUPS: usize = 2;
        let device = cpu();
        let init = Init::new(0, &device);
        let forward = |x: Vec<f32>| {
            let mut norm = BatchNorm::new(&init, 2);
            values(&norm.forward_train(FeatureMap::new(tensor(x, SHAPE, &device)), GROUPS, Activation::Identity).into_tensor())
        };
        // Sample i of the shuffled batch is sample `order[i]`, of the same group.
        let mut order: Vec<usize> = (0..6).collect();
        let mut evens = [0, 2, 4];
        evens.shuffle(&mut stream(seed, Purpose::Shuffle, 0));
        for (place, sample) in [0, 2, 4].into_iter().zip(evens) {
            order[place] = sample;
        }
        let shuffled = |x: &[f32]| -> Vec<f32> {
            order.iter().flat_map(|&i| x[i * 8..(i + 1) * 8].to_vec()).collect()
        };
        let x = formula("order", 48);
        assert_close("shuffled", &forward(shuffled(&x)), &shuffled(&forward(x)), 1e-5);
    }
}

/// The same property for a whole encoder: with two groups, image 1 shares its statistics with image 3 only.
#[test]
fn embeddings_do_not_cross_groups() {
    let mut encoder: Encoder = Tiny::default().learner(&cpu()).key;
    let images = views("encoders", 4, &cpu()).key;
    let mut per_image = |images| {
        let e = encoder.forward_train(images, 2);
        let rows = |t: &Tensor<2>| {
            values(t)
                .chunks(16)
                .map(<[f32]>::to_vec)
                .collect::<Vec<_>>()
        };
        let dense = e.dense.clone().reshape([4, 16 * 16]);
        let dense: Vec<_> = values(&dense).chunks(256).map(<[f32]>::to_vec).collect();
        let rows = rows(&e.global).into_iter().zip(rows(&e.dense_pooled));
        rows.zip(dense).collect::<Vec<_>>()
    };
    let with = per_image(images.clone());
    let without = per_image(with_other_image(images, 1));
    for image in [0, 2] {
        assert_eq!(with[image], without[image], "image {image}");
    }
    for image in [1, 3] {
        assert_ne!(with[image], without[image], "image {image}");
    }
}
