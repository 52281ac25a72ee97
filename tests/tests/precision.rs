//! Half precision: a step agrees with f32 as far as its rounding lets it, what must stay f32 does, and an
//! overflow leaves everything as it was.

use burn::tensor::DType;
use densecl::{
    checkpoint,
    config::{Matching, Precision},
    densecl::{DenseCl, Views},
    loss_scale::LossScale,
    model::Tensors,
};
use densecl_tests::{
    learner::{Tiny, settings, state, views},
    network::cpu,
};

const BATCH: usize = 4;
const SEED: u64 = 7;

fn tiny(precision: Precision) -> Tiny {
    let mut tiny = Tiny::default();
    tiny.optim.precision = precision;
    // Rounding may turn a close match into another; the losses then differ by more than rounding does.
    tiny.method.matching = Matching::Random;
    tiny
}

fn batch(step: u64) -> Vec<Views> {
    vec![views(&format!("precision {step}"), BATCH, &cpu())]
}

/// ‖a − b‖ / ‖b‖.
fn relative_distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let apart: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| square(f64::from(a - b)))
        .sum();
    let length: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    (apart / length.max(1e-30)).sqrt()
}

/// The gradient of the whole network, as the velocity after one step from rest; weight decay off.
fn gradient_and_loss(precision: Precision) -> (Vec<f32>, f32) {
    let mut tiny = tiny(precision);
    tiny.optim.weight_decay = 0.0;
    let mut learner = tiny.learner(&cpu());
    let output = learner.step(batch(0), &settings(0));
    assert!(!output.skipped);
    let loss = output.figures().expect("the device answers").loss;
    let velocity = learner.optimizer.state(&learner.query);
    let gradient = velocity.iter().flat_map(|v| {
        let values: Vec<f32> = v.values.try_to_vec_as().expect("the device answers");
        values
    });
    (gradient.collect(), loss)
}

/// Some twenty layers round one after another, forth and back, each by half a unit in the last place: 2⁻⁹
/// in bf16, 2⁻¹² in f16. Batch normalisation of few values enlarges what comes out of them.
#[test]
fn a_step_agrees_with_f32_up_to_rounding() {
    let (exact, exact_loss) = gradient_and_loss(Precision::F32);
    for (precision, bound, loss_bound) in
        [(Precision::F16, 0.02, 2e-3), (Precision::Bf16, 0.15, 1e-2)]
    {
        let (rounded, loss) = gradient_and_loss(precision);
        let found = relative_distance(&rounded, &exact);
        let of_loss = f64::from((loss - exact_loss) / exact_loss).abs();
        println!(
            "{}: gradient {found:.2e}, loss {of_loss:.2e}",
            precision.name()
        );
        assert!(found > 0.0, "{} computes in f32", precision.name());
        assert!(found < bound, "{}: gradient {found}", precision.name());
        assert!(of_loss < loss_bound, "{}: loss {of_loss}", precision.name());
    }
}

#[test]
fn whatever_is_kept_from_step_to_step_is_f32() {
    for precision in Precision::ALL {
        let mut learner = tiny(precision).learner(&cpu());
        learner.step(batch(0), &settings(0));
        let kept = [&learner.query, &learner.key]
            .into_iter()
            .flat_map(Tensors::named);
        let kept = kept.chain(learner.optimizer.state(&learner.query));
        for tensor in kept {
            assert_eq!(tensor.values.dtype(), DType::F32, "{}", tensor.name);
        }
        let queues = [learner.global_queue.keys(), learner.dense_queue.keys()];
        assert_eq!(queues.map(|keys| keys.dtype()), [DType::F32; 2]);
    }
}

#[test]
fn a_gradient_that_overflows_changes_nothing_but_the_scale() {
    let mut learner = tiny(Precision::F16).learner(&cpu());
    learner.step(batch(0), &settings(0));
    let before = state(&learner);
    // Beyond the range of f16 whatever the gradient.
    let huge = LossScale {
        factor: 2f64.powi(60),
        good_steps: 5,
        skipped: 1,
    };
    learner.loss_scale = Some(huge);
    let output = learner.step(batch(1), &settings(1));
    assert!(output.skipped);
    assert!(state(&learner) == before, "a skipped step left a trace");
    let halved = LossScale {
        factor: huge.factor / 2.0,
        good_steps: 0,
        skipped: 2,
    };
    assert_eq!(learner.loss_scale, Some(halved));

    learner.loss_scale = Some(LossScale::default());
    assert!(!learner.step(batch(1), &settings(1)).skipped);
    assert!(state(&learner) != before);
}

#[test]
fn a_run_in_f16_is_continued_exactly_its_scale_included() {
    let tiny = tiny(Precision::F16);
    let mut whole = tiny.learner(&cpu());
    whole.loss_scale = Some(LossScale {
        factor: 2f64.powi(60),
        ..LossScale::default()
    });
    whole.step(batch(0), &settings(0));
    whole.loss_scale = whole.loss_scale.map(|scale| LossScale {
        factor: 1024.0,
        ..scale
    });
    whole.step(batch(1), &settings(1));
    let bytes = checkpoint::save(&whole, &tiny.model, SEED, 8, 2).expect("saved");
    let (mut continued, _): (DenseCl, _) = checkpoint::load(
        &bytes,
        &tiny.model,
        &tiny.method,
        &tiny.optim,
        tiny.queue,
        &cpu(),
    )
    .expect("loaded");
    let scale = continued.loss_scale.expect("f16 has one");
    assert_eq!(
        (scale.factor, scale.good_steps, scale.skipped),
        (1024.0, 1, 1)
    );
    for learner in [&mut whole, &mut continued] {
        learner.step(batch(2), &settings(2));
    }
    assert!(state(&whole) == state(&continued));
    assert_eq!(whole.loss_scale, continued.loss_scale);
}
