//! Properties of whole steps: shuffling of keys, gradient accumulation, warm-up, ways of matching.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use densecl::{
    config::Matching,
    loss::in_view,
    matching::{best_match, centred, similarity},
    method::{DenseCl, Figures, key_order},
    model::Tensors,
    rng::{Purpose, stream},
};
use densecl_tests::{
    cases,
    golden::{assert_close, relative_error},
    in_view::{dense_loss, one, overlapping, true_cells},
    learner::{self, Tiny, Views, matches, settings, state, views},
    network::{cpu, named_values, values},
};
use proptest::prelude::*;
use rand::RngExt;

const BATCH: usize = 4;

fn tiny(groups: usize) -> Tiny {
    let mut tiny = Tiny::default();
    tiny.method.bn_groups = groups;
    tiny
}

/// Takes the first step of a new learner. Returns the figures, the matches and the learner after the step.
pub(super) fn one_step(
    tiny: &Tiny,
    micro_batches: Vec<Views>,
) -> (Figures, Vec<Vec<i64>>, DenseCl) {
    step_number(0, tiny, micro_batches)
}

/// Takes one step of a new learner, as if it were step `number`.
fn step_number(
    number: u64,
    tiny: &Tiny,
    micro_batches: Vec<Views>,
) -> (Figures, Vec<Vec<i64>>, DenseCl) {
    let mut learner = tiny.learner(&cpu());
    let output = learner::step(&mut learner, micro_batches, &settings(number)).expect("a step");
    let figures = output.figures().expect("the CPU answers");
    (figures, matches(&output), learner)
}

fn with_order(order: &[usize]) -> Views {
    Views {
        key_order: order.to_vec(),
        ..views("steps", BATCH, &cpu())
    }
}

/// Keys are returned in the batch's order whatever the order of encoding. Without groups of batch
/// normalisation the order of encoding changes only rounding.
#[test]
fn the_shuffle_of_the_keys_is_undone() {
    let (figures, cells, learner) = one_step(&tiny(1), vec![with_order(&[0, 1, 2, 3])]);
    // These orders differ from their inverses, so that undoing the shuffle in the wrong direction is detected.
    for order in [[1, 2, 3, 0], [2, 0, 3, 1]] {
        let (shuffled, shuffled_cells, other) = one_step(&tiny(1), vec![with_order(&order)]);
        assert_eq!(cells, shuffled_cells, "matches with {order:?}");
        let losses =
            |of: &Figures| learner::figures(of, ["loss", "loss_global", "loss_dense", "grad_norm"]);
        assert_close("figures", &losses(&shuffled), &losses(&figures), 1e-4);
        for ((name, got), (_, want)) in state(&other).iter().zip(&state(&learner)) {
            assert_close(name, got, want, 1e-4);
        }
    }
}

/// With groups of batch normalisation the shuffle decides which images share statistics, which is its purpose.
#[test]
fn the_shuffle_moves_keys_across_groups() {
    let keys = |order| {
        values(
            &one_step(&tiny(2), vec![with_order(order)])
                .2
                .global_queue
                .keys(),
        )
    };
    let straight = keys(&[0, 1, 2, 3]);
    // The image at place i of the order is in group i mod 2. This order has the groups {0, 2} and {1, 3},
    // as without a shuffle.
    let (error, _) = relative_error(&keys(&[2, 1, 0, 3]), &straight);
    assert!(error < 1e-4, "{error:e}");
    // This order has the groups {0, 1} and {2, 3}.
    let (error, _) = relative_error(&keys(&[0, 2, 1, 3]), &straight);
    assert!(error > 1e-2, "{error:e}");
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_key_order_is_a_permutation_of_seed_and_draw(
        n in 1usize..300,
        seed in any::<u64>(),
        draw in any::<u64>(),
    ) {
        let order = key_order(n, seed, draw);
        prop_assert_eq!(&order, &key_order(n, seed, draw));
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        if n > 20 {
            prop_assert_ne!(key_order(n, seed, draw), key_order(n, seed, draw.wrapping_add(1)));
        }
    }
}

/// SGD's velocity after the first step, which equals the gradient if there is no weight decay.
pub(super) fn velocity(learner: &DenseCl) -> BTreeMap<String, Vec<f32>> {
    let state = learner.optimizer.state(&learner.query).into_iter();
    state.map(|t| (t.name, values(&t.values))).collect()
}

/// With micro-batches a and b the gradient is the mean of theirs. Each is normalised by its own statistics and
/// contrasted with the queues from before the step; afterwards a's keys are enqueued, then b's.
#[test]
fn accumulation_averages_the_gradients_of_its_micro_batches() {
    let mut tiny = tiny(2);
    tiny.optim.weight_decay = 0.0;
    let [a, b] = ["a", "b"].map(|name| views(name, BATCH, &cpu()));
    let (figures_a, cells_a, with_a) = one_step(&tiny, vec![a.clone()]);
    let (figures_b, cells_b, with_b) = one_step(&tiny, vec![b.clone()]);
    let (figures, cells, with_both) = one_step(&tiny, vec![a, b]);

    assert_eq!(cells, [cells_a, cells_b].concat());
    let mean = |x: f32, y: f32| (x + y) / 2.0;
    let averaged = [
        "loss",
        "loss_global",
        "loss_dense",
        "accuracy_global",
        "accuracy_dense",
        "feature_std",
    ];
    let losses = |of: &Figures| learner::figures(of, averaged);
    let pairs = losses(&figures_a).into_iter().zip(losses(&figures_b));
    let want: Vec<f32> = pairs.map(|(x, y)| mean(x, y)).collect();
    assert_close("figures", &losses(&figures), &want, 1e-6);

    let (of_a, of_b) = (velocity(&with_a), velocity(&with_b));
    for (name, got) in velocity(&with_both) {
        let pairs = of_a[&name].iter().zip(&of_b[&name]);
        let want: Vec<f32> = pairs.map(|(&x, &y)| mean(x, y)).collect();
        assert_close(&name, &got, &want, 1e-5);
    }

    let queues = |l: &DenseCl| [&l.global_queue, &l.dense_queue].map(|q| values(&q.keys()));
    for ((both, a), b) in queues(&with_both)
        .iter()
        .zip(queues(&with_a))
        .zip(queues(&with_b))
    {
        let batch = BATCH * 16;
        assert_eq!(both[..batch], a[..batch], "keys of the first micro-batch");
        assert_eq!(both[batch..2 * batch], b[..batch], "keys of the second");
        assert_eq!(
            both[2 * batch..],
            a[2 * batch..],
            "keys from before the step"
        );
    }
    assert_eq!(with_both.global_queue.position(), 2 * BATCH);
}

/// During the warm-up λ = 0 and, without weight decay, the dense head does not change; afterwards it does.
#[test]
fn the_dense_head_learns_only_after_the_warm_up() {
    let mut tiny = tiny(1);
    tiny.optim.weight_decay = 0.0;
    tiny.method.lambda_warmup_steps = 1;
    let mut learner = tiny.learner(&cpu());
    for (step, lambda) in [(0, 0.0), (1, 0.5)] {
        let before = named_values(&learner.query);
        let batch = vec![views("steps", BATCH, &cpu())];
        let output = learner::step(&mut learner, batch, &settings(step)).expect("a step");
        let figures = output.figures().expect("the CPU answers");
        assert_eq!(figures["lambda"], lambda);
        assert!(figures["loss_dense"] > 0.0, "logged for every λ");
        let want = (1.0 - lambda) * figures["loss_global"] + lambda * figures["loss_dense"];
        assert_close("loss", &[figures["loss"] as f32], &[want as f32], 1e-6);
        for (name, after) in named_values(&learner.query) {
            let rests = lambda == 0.0 && name.starts_with("dense_head.");
            assert_eq!(after == before[&name], rests, "{name} at λ = {lambda}");
        }
    }
}

#[test]
fn clipping_scales_the_whole_gradient() {
    let mut free = tiny(1);
    free.optim.weight_decay = 0.0;
    let mut clipped = free.clone();
    clipped.optim.clip_norm = 0.1;
    let batch = || vec![views("steps", BATCH, &cpu())];
    let (figures, _, whole) = one_step(&free, batch());
    let (reported, _, part) = one_step(&clipped, batch());
    let norm = figures["grad_norm"];
    assert_eq!(norm, reported["grad_norm"], "the norm before clipping");
    assert!(norm > 0.1, "nothing to clip");
    let scale = (0.1 / norm) as f32;
    let whole = velocity(&whole);
    for (name, got) in velocity(&part) {
        let want: Vec<f32> = whole[&name].iter().map(|g| g * scale).collect();
        assert_close(&name, &got, &want, 1e-4);
    }
}

/// The figures and matches of a step on overlapping views, with the in-view loss.
fn step_by(matching: Matching, step: u64) -> (Figures, Vec<usize>) {
    let mut tiny = tiny(1);
    tiny.method.matching = matching;
    tiny.method.in_view_weight = 1.0;
    let batch = Views {
        geometry: Some(overlapping()),
        ..views("steps", BATCH, &cpu())
    };
    let (figures, mut cells, _) = step_number(step, &tiny, vec![batch]);
    let cells = cells.remove(0).into_iter();
    (figures, cells.map(|cell| cell as usize).collect())
}

/// Each way of matching uses its own positives. The expected matches and losses are computed here for each
/// way. They differ between all ways, so a step with the positives of another way would fail the test.
#[test]
fn each_matching_takes_its_own_positives() {
    let mut learner = tiny(1).learner(&cpu());
    densecl::model::follow(&mut learner.key, &learner.query, 0.9);
    let Views { query, key, .. } = views("steps", BATCH, &cpu());
    let q = learner.query.inference().forward_train(query, 1);
    let k = learner.key.forward_train(key, 1);
    let best = |query: &Tensor<3>, key: &Tensor<3>| -> Vec<usize> {
        let best = best_match(similarity(query.clone(), key.clone()));
        let best: Vec<i64> = best.try_into_vec_as().expect("the CPU answers");
        best.into_iter().map(|cell| cell as usize).collect()
    };
    let drawn = {
        let mut draws = stream(7, Purpose::Matching, 3);
        (0..BATCH * 16).map(|_| draws.random_range(0..16)).collect()
    };
    let by_backbone = best(&q.backbone, &k.backbone);
    let by_features = [
        (Matching::Backbone, by_backbone.clone()),
        (Matching::Dense, best(&q.dense, &k.dense)),
        (
            Matching::Centred,
            best(&centred(q.backbone.clone()), &centred(k.backbone.clone())),
        ),
        (Matching::Random, drawn),
    ];
    let all = |cells: &Vec<usize>| cells.iter().copied().map(Some).collect();
    let with_positives = by_features.map(|(matching, cells)| (matching, all(&cells), cells));
    let mut known: Vec<(Matching, Vec<Option<usize>>, Vec<usize>)> = with_positives.into();
    // With true positives a step still reports the features' matches, because the accuracy is measured on them.
    known.push((
        Matching::Geometry,
        true_cells(&overlapping(), 4),
        by_backbone,
    ));

    let method = tiny(1).method;
    for (matching, positives, cells) in &known {
        let (figures, chosen) = step_by(*matching, 3);
        assert_eq!(chosen, *cells, "{matching:?}");
        let queue = learner.dense_queue.keys();
        let [query, key] = [&q.dense, &k.dense].map(Tensor::clone);
        let dense = dense_loss(
            query.clone(),
            key.clone(),
            positives,
            queue,
            method.temperature,
        );
        let positives = one(positives, BATCH);
        let in_view = in_view(query, key, &positives, method.in_view_temperature);
        let want = [dense.loss, dense.accuracy, in_view.loss, in_view.accuracy];
        let of_cells = [
            "loss_dense",
            "accuracy_dense",
            "loss_in_view",
            "accuracy_in_view",
        ];
        let got = learner::figures(&figures, of_cells);
        let want = want.map(|figure| values(&figure)[0]);
        assert_close(&format!("figures of {matching:?}"), &got, &want, 1e-4);
    }
    for (index, (matching, positives, _)) in known.iter().enumerate() {
        for (other, others, _) in &known[..index] {
            assert_ne!(positives, others, "{matching:?} as {other:?}");
        }
    }
}

#[test]
fn random_matches_are_drawn_anew_each_step_from_the_seed() {
    let draw = |step| step_by(Matching::Random, step).1;
    let first = draw(0);
    assert_eq!(first.len(), BATCH * 16);
    assert!(first.iter().all(|&cell| cell < 16));
    assert_eq!(first, draw(0));
    assert_ne!(first, draw(1));
}

/// Two steps with the same inputs end in the same state, to the bit.
#[test]
fn the_same_step_twice_is_the_same_step() {
    let run = || state(&one_step(&tiny(2), vec![with_order(&[2, 0, 3, 1])]).2);
    assert_eq!(run(), run());
}
