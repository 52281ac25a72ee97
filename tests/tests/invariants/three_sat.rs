//! What holds for 3SAT whatever the weights: determinism, checkpoints, the range of the attack, the warm-up, and what
//! an attack leaves alone.

use burn::tensor::Tensor;
use densecl::{
    attack::{perturb, random_start},
    augment::{denormalize, normalize},
    checkpoint::{self, Checkpoint},
    config::{Attack, MethodName, Precision},
    method::{Byol, Method, MicroBatch, Shows, StepSettings, ThreeSat},
    model::Tensors,
    rng::{Purpose, stream},
    weights::Weights,
    world::Alone,
};
use densecl_tests::{
    byol,
    learner::settings,
    network::{Gradient, cpu, fill, input, named_values, values},
    three_sat::{SIDE, TinyThreeSat, batch, pixels, state},
};

const BATCH: usize = 8;
const SHAPE: [usize; 4] = [BATCH, 3, SIDE, SIDE];

fn views(step: u64) -> MicroBatch {
    batch(&format!("three_sat invariants {step}"), BATCH, &cpu())
}

/// Takes the steps `from..to`, each as two micro-batches.
fn train(learner: &mut ThreeSat, from: u64, to: u64) {
    for step in from..to {
        let batches = vec![views(2 * step), views(2 * step + 1)];
        let output = learner.step(batches, &settings(step), &mut Alone);
        let figures = output.expect("a step").figures().expect("figures");
        let weight = figures["adversarial_weight"];
        assert!((weight - step as f64 / 100.0).abs() < 1e-12);
        let sum = match figures.get("loss_adversarial") {
            Some(adversarial) => figures["loss_byol"] + weight * adversarial,
            None => figures["loss_byol"],
        };
        assert!((sum - figures["loss"]).abs() < 1e-5, "step {step}");
        assert_eq!(figures.get("loss_adversarial").is_some(), step > 0);
    }
}

fn bits(state: Vec<(String, Vec<f32>)>) -> Vec<(String, Vec<u32>)> {
    let state = state.into_iter();
    state
        .map(|(name, values)| (name, values.iter().map(|v| v.to_bits()).collect()))
        .collect()
}

#[test]
fn the_same_steps_give_the_same_bits_and_another_seed_another_start() {
    let tiny = TinyThreeSat::default();
    let trained = |mut learner: ThreeSat| {
        train(&mut learner, 1, 4);
        bits(state(&learner))
    };
    let first = trained(tiny.learner(&cpu()));
    assert!(first == trained(tiny.learner(&cpu())));
    let mut other = ThreeSat::new(&tiny.model, &tiny.method, &tiny.optim, 8, &cpu());
    fill(&mut other.byol.online, "", Gradient::Tracked);
    fill(&mut other.byol.target, "target.", Gradient::None);
    assert!(first != trained(other));
}

#[test]
fn a_checkpoint_goes_on_to_the_bit_and_is_read_as_weights() {
    let tiny = TinyThreeSat::default();
    let mut learner = tiny.learner(&cpu());
    train(&mut learner, 0, 2);
    let saved = checkpoint::save(&mut learner, &tiny.model, 7, 20, 2).expect("finite");
    let weights = Weights::read(&saved).expect("a checkpoint of ours");
    assert_eq!(weights.info.method, "3sat");
    assert_eq!(weights.info.model.stem, tiny.model.stem);
    let (encoder, _) = weights.encoder(None, &cpu()).expect("an encoder");
    assert_eq!(named_values(&encoder), named_values(learner.encoder()));
    train(&mut learner, 2, 4);

    let mut resumed = tiny.learner(&cpu());
    let read = Checkpoint::read(&saved, &tiny.model).expect("a checkpoint");
    assert_eq!(read.info.method, "3sat");
    read.restore(&mut resumed).expect("its own state");
    train(&mut resumed, 2, 4);
    assert!(bits(state(&learner)) == bits(state(&resumed)));
}

/// As long as the adversarial loss has no weight, a step is BYOL's to the bit, and costs as much: there is no attack.
#[test]
fn a_step_of_the_warm_up_is_byols() {
    let mut tiny = TinyThreeSat::default();
    tiny.method.adversarial_warmup = 0.5;
    let mut learner = tiny.learner(&cpu());
    let mut method = tiny.method.clone();
    method.name = MethodName::Byol;
    let mut byol = Byol::new(&tiny.model, &method, &tiny.optim, 7, &cpu());
    fill(&mut byol.online, "", Gradient::Tracked);
    fill(&mut byol.target, "target.", Gradient::None);
    for step in 0..3 {
        let both: [&mut dyn Method; 2] = [&mut learner, &mut byol];
        let losses = both.map(|method| {
            let output = method.step(vec![views(step)], &settings(step), &mut Alone);
            output.expect("a step").figures().expect("figures")["loss"]
        });
        assert_eq!(losses[0], losses[1]);
    }
    assert!(bits(state(&learner)) == bits(byol::state(&byol)));
}

#[test]
fn the_weight_rises_linearly_after_the_warm_up() {
    let mut tiny = TinyThreeSat::default();
    tiny.method.adversarial_warmup = 0.3;
    let learner = tiny.learner(&cpu());
    let weight = |step| {
        learner.adversarial_weight(&StepSettings {
            step,
            total_steps: 1000,
            learning_rate: 0.0,
        })
    };
    for (step, expected) in [(0, 0.0), (299, 0.0), (300, 0.0), (650, 0.5), (1000, 1.0)] {
        assert!((weight(step) - expected).abs() < 1e-12, "step {step}");
    }
}

/// Pictures with pixels at both ends of the range; many sizes of ε and α.
#[test]
fn a_perturbation_stays_in_its_range_and_raises_the_loss() {
    let x = pixels("three_sat range", BATCH, &cpu());
    // A third of the pixels are black, a third white.
    let x = ((x * 3.0) - 1.0).clamp(0.0, 1.0);
    let target = input::<2>("three_sat range/target", [BATCH, 12]);
    for (number, (epsilon, step, steps)) in [
        (8.0 / 255.0, 2.0 / 255.0, 5),
        (1.0 / 255.0, 1.0 / 255.0, 1),
        (0.3, 0.07, 3),
        (1.0, 1.0, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let mut tiny = TinyThreeSat::default();
        tiny.method.attack_epsilon = epsilon;
        tiny.method.attack_step = step;
        tiny.method.attack_steps = steps;
        tiny.method.validate().expect("in range");
        let learner = tiny.learner(&cpu());
        let mut rng = stream(7, Purpose::Attack, number as u64);
        let start = random_start(&tiny.method.attack(), SHAPE, &mut rng, &cpu());
        let found = learner.attack(&x, &target, start);
        for (delta, pixel) in values(&found.delta).into_iter().zip(values(&x)) {
            assert!(delta.abs() <= epsilon as f32, "{delta} of {epsilon}");
            assert!((0.0..=1.0).contains(&(pixel + delta)), "{pixel} + {delta}");
        }
        // The loss behind the attack is the first of a further one that begins there.
        let again = learner.attack(&x, &target, found.delta.clone());
        let [before, after] = [&found, &again].map(|found| values(&found.first_loss)[0]);
        assert!(after > before, "ε = {epsilon}: {before} to {after}");
    }
}

/// In f16 the gradients of pixels are small enough to vanish without the loss scale.
#[test]
fn a_step_in_half_precision_attacks_too() {
    let mut tiny = TinyThreeSat::default();
    tiny.optim.precision = Precision::F16;
    let mut learner = tiny.learner(&cpu());
    let mut attacked = 0;
    for step in 1..8 {
        let output = learner.step(vec![views(step)], &settings(step), &mut Alone);
        let output = output.expect("a step");
        let figures = output.figures().expect("figures");
        if !output.skipped {
            assert!(figures["loss_adversarial"] > figures["loss_before_attack"]);
            attacked += 1;
        }
    }
    assert!(attacked > 0, "all steps were skipped");
}

#[test]
fn it_wants_two_views_and_the_picture_as_it_is() {
    let views = TinyThreeSat::default().learner(&cpu()).views();
    let shows: Vec<Shows> = views.iter().map(|view| view.shows).collect();
    assert_eq!(shows, [Shows::Scene, Shows::Scene, Shows::Whole]);
    assert_eq!(Shows::instances(&views), 0);
}

#[test]
fn normalisation_has_an_inverse() {
    let x = pixels("three_sat normalise", 2, &cpu());
    let there_and_back = values(&denormalize(normalize(x.clone())));
    for (back, pixel) in there_and_back.into_iter().zip(values(&x)) {
        assert!((back - pixel).abs() < 1e-6);
    }
}

/// A constant network lets a gradient through to the pixels with running statistics, too, as evaluations attack it.
#[test]
fn a_frozen_network_can_be_attacked() {
    let backbone = TinyThreeSat::default()
        .learner(&cpu())
        .byol
        .online
        .branch
        .encoder
        .backbone;
    let constant = backbone.clone().constant();
    let x = pixels("three_sat frozen", BATCH, &cpu());
    let slopes = input::<4>("three_sat frozen/slopes", [BATCH, 64, 2, 2]);
    let attack = Attack {
        epsilon: 0.02,
        step: 0.01,
        steps: 3,
    };
    let loss = |pixels: Tensor<4>| {
        let map = constant.forward(normalize(pixels));
        (map * slopes.clone().autodiff()).sum()
    };
    let found = perturb(&attack, &x, Tensor::zeros(SHAPE, &cpu()), loss);
    let value = |x: Tensor<4>| {
        let map = backbone.clone().inference().forward(normalize(x));
        values(&(map * slopes.clone()).sum())[0]
    };
    assert!((value(x.clone()) - values(&found.first_loss)[0]).abs() < 1e-2);
    assert!(value(x.clone() + found.delta) > value(x));
}
