//! Half precision: a step agrees with f32 within rounding, the state stays in f32, and a step whose gradient
//! overflows changes nothing but the loss scale.

use burn::tensor::{DType, Device};
use densecl::{
    checkpoint::{self, Checkpoint},
    config::{Matching, Precision},
    loss_scale::LossScale,
    method::DenseCl,
    model::Tensors,
};
use densecl_tests::{
    in_view::overlapping,
    learner::{self, Tiny, Views, settings, state, views},
    needs,
    network::cpu,
};

const BATCH: usize = 4;
const SEED: u64 = 7;
/// Number of steps that may overflow before the loss scale of f16 is small enough.
const SKIPPED: usize = 6;

fn tiny(precision: Precision) -> Tiny {
    let mut tiny = Tiny::default();
    tiny.optim.precision = precision;
    // Random matches, because rounding can change a match between similar cells, and the losses would then
    // differ by more than rounding errors.
    tiny.method.matching = Matching::Random;
    tiny
}

/// The tiny learner with true positives and the in-view loss, whose weight of 4 makes its gradient the largest.
fn with_in_view(precision: Precision) -> Tiny {
    let mut tiny = tiny(precision);
    tiny.method.matching = Matching::Geometry;
    tiny.method.in_view_weight = 4.0;
    tiny.method.in_view_temperature = 0.1;
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

/// The gradient of each parameter and the loss. The gradient is SGD's velocity after the first step, without
/// weight decay.
fn gradients_and_loss(mut tiny: Tiny, device: &Device) -> (Vec<(String, Vec<f32>)>, f32) {
    tiny.optim.weight_decay = 0.0;
    let mut learner = tiny.learner(device);
    let mut step = || {
        let views = Views {
            geometry: Some(overlapping()),
            ..views("precision 0", BATCH, device)
        };
        learner::step(&mut learner, vec![views], &settings(0)).expect("a step")
    };
    // The first loss scale may be too large; a skipped step halves it and changes nothing else.
    let taken = (0..=SKIPPED).map(|_| step()).find(|step| !step.skipped);
    let output = taken.expect("a step whose gradient is finite");
    let loss = output.figures().expect("the device answers")["loss"] as f32;
    let velocity = learner.optimizer.state(&learner.query).into_iter();
    let gradients = velocity.map(|v| {
        let values = v.values.try_to_vec_as().expect("the device answers");
        (v.name, values)
    });
    (gradients.collect(), loss)
}

/// Allowed relative differences from a step in f32: of the loss, of the gradients of the heads' last layers,
/// and of the gradients of all other kernels. Rounding causes relative errors of half a unit in the last
/// place, 2⁻¹² in f16 and 2⁻⁹ in bf16. In the layers before the heads' last it also switches ReLUs on or off,
/// which weighs much in a network with few of them: even in f32, changing the views by 2⁻⁹ of their values
/// changes the stem's gradient by 0.27. Measured on the CPU: 7e-5, 4e-3 and 0.26 in f16; 3.5e-4, 9e-3 and
/// 0.49 in bf16.
const BOUNDS: [(Precision, [f64; 3]); 2] = [
    (Precision::F16, [5e-4, 1e-2, 0.4]),
    (Precision::Bf16, [3e-3, 3e-2, 0.7]),
];

/// The allowed differences with the in-view loss. Cells of one picture are similar, so its gradient is a small
/// difference of large numbers and has larger rounding errors; half the usual temperature enlarges them further.
/// Measured on the CPU: 4e-4, 1.9e-2 and 0.24 in f16; 1e-3, 3.5e-2 and 0.39 in bf16.
const BOUNDS_IN_VIEW: [(Precision, [f64; 3]); 2] = [
    (Precision::F16, [2e-3, 4e-2, 0.4]),
    (Precision::Bf16, [4e-3, 7e-2, 0.7]),
];

fn agrees_with_f32(
    tiny: fn(Precision) -> Tiny,
    precision: Precision,
    [of_loss, of_last, of_any]: [f64; 3],
    device: &Device,
) {
    let (exact, exact_loss) = gradients_and_loss(tiny(Precision::F32), &cpu());
    let (rounded, loss) = gradients_and_loss(tiny(precision), device);
    let name = precision.name();
    let found = f64::from((loss - exact_loss) / exact_loss).abs();
    assert!(found < of_loss, "{name}: loss {found}");
    assert_eq!(rounded.len(), exact.len());
    let mut furthest = 0.0_f64;
    for ((parameter, rounded), (_, exact)) in rounded.iter().zip(&exact) {
        // The gradients of γ and β are sums that nearly cancel, so any rounding is large relative to them.
        if !parameter.contains("conv") && !parameter.contains("fc") {
            continue;
        }
        let last = ["global_head.fc2", "dense_head.conv2"];
        let is_last = last.iter().any(|layer| parameter.starts_with(layer));
        let bound = if is_last { of_last } else { of_any };
        let found = relative_distance(rounded, exact);
        assert!(found < bound, "{name}: gradient of {parameter} {found}");
        furthest = furthest.max(found);
    }
    assert!(furthest > 1e-4, "{name} gives the same gradients as f32");
}

#[test]
fn a_step_agrees_with_f32_up_to_rounding() {
    for (precision, bounds) in BOUNDS {
        agrees_with_f32(tiny, precision, bounds, &cpu());
    }
}

#[test]
fn a_step_with_the_in_view_loss_agrees_with_f32_up_to_rounding() {
    for (precision, bounds) in BOUNDS_IN_VIEW {
        agrees_with_f32(with_in_view, precision, bounds, &cpu());
    }
}

/// A GPU may lack f16, and WGSL has no bf16; the error then suggests f32.
#[test]
fn a_gpu_computes_in_half_or_says_in_what_it_does() {
    let Some(gpu) = needs::gpu() else { return };
    let plain = BOUNDS.map(|(precision, bounds)| (tiny as fn(_) -> _, precision, bounds));
    let in_view =
        BOUNDS_IN_VIEW.map(|(precision, bounds)| (with_in_view as fn(_) -> _, precision, bounds));
    for (tiny, precision, bounds) in plain.into_iter().chain(in_view) {
        match gpu.ensure_computes_in(precision) {
            Ok(()) => agrees_with_f32(tiny, precision, bounds, &gpu.device),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains(&gpu.name) && error.contains("f32"),
                    "{error}"
                );
                assert!(error.contains(precision.name()), "{error}");
            }
        }
    }
}

#[test]
fn whatever_is_kept_from_step_to_step_is_f32() {
    for precision in Precision::ALL {
        let mut learner = tiny(precision).learner(&cpu());
        learner::step(&mut learner, batch(0), &settings(0)).expect("a step");
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
    learner::step(&mut learner, batch(0), &settings(0)).expect("a step");
    let before = state(&learner);
    // So large that any gradient overflows f16.
    let huge = LossScale {
        factor: 2f64.powi(60),
        good_steps: 5,
        skipped: 1,
    };
    learner.loss_scale = Some(huge);
    let output = learner::step(&mut learner, batch(1), &settings(1)).expect("a step");
    assert!(output.skipped);
    assert!(
        state(&learner) == before,
        "a skipped step changed the state"
    );
    let halved = LossScale {
        factor: huge.factor / 2.0,
        good_steps: 0,
        skipped: 2,
    };
    assert_eq!(learner.loss_scale, Some(halved));

    learner.loss_scale = Some(LossScale::default());
    assert!(
        !learner::step(&mut learner, batch(1), &settings(1))
            .expect("a step")
            .skipped
    );
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
    learner::step(&mut whole, batch(0), &settings(0)).expect("a step");
    whole.loss_scale = whole.loss_scale.map(|scale| LossScale {
        factor: 1024.0,
        ..scale
    });
    learner::step(&mut whole, batch(1), &settings(1)).expect("a step");
    let bytes = checkpoint::save(&mut whole, &tiny.model, SEED, 8, 2).expect("saved");
    let mut continued: DenseCl = tiny.learner(&cpu());
    let saved = Checkpoint::read(&bytes, &tiny.model).expect("whole");
    saved.restore(&mut continued).expect("loaded");
    let scale = continued.loss_scale.expect("f16 has one");
    assert_eq!(
        (scale.factor, scale.good_steps, scale.skipped),
        (1024.0, 1, 1)
    );
    for learner in [&mut whole, &mut continued] {
        learner::step(learner, batch(2), &settings(2)).expect("a step");
    }
    assert!(state(&whole) == state(&continued));
    assert_eq!(whole.loss_scale, continued.loss_scale);
}
