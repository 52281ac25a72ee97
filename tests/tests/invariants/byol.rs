//! What holds for BYOL whatever the weights: determinism, checkpoints, accumulation, who follows whom.

use burn::tensor::Tensor;
use densecl::{
    checkpoint::{self, Checkpoint},
    config::MomentumSchedule,
    method::{Byol, Method, MicroBatch, regression_loss},
    model::{Encoder, Kind, Tensors},
    weights::{self, FORMAT_VERSION, Weights, WeightsInfo},
    world::Alone,
};
use densecl_tests::{
    byol::{TinyByol, batch, state},
    golden::assert_close,
    learner::{Tiny, settings},
    network::{cpu, input, named_values, values},
};

const BATCH: usize = 8;

fn views(step: u64) -> MicroBatch {
    batch(&format!("byol invariants {step}"), BATCH, &cpu())
}

/// Takes the steps `from..to`.
fn train(learner: &mut Byol, from: u64, to: u64) {
    for step in from..to {
        let output = learner.step(vec![views(step)], &settings(step), &mut Alone);
        let figures = output.expect("a step").figures().expect("figures");
        assert!((0.0..=8.0).contains(&figures["loss"]));
        assert!((-1.0..=1.0).contains(&figures["cosine"]));
    }
}

fn bits(learner: &Byol) -> Vec<(String, Vec<u32>)> {
    let state = state(learner).into_iter();
    state
        .map(|(name, values)| (name, values.iter().map(|v| v.to_bits()).collect()))
        .collect()
}

#[test]
fn the_same_steps_give_the_same_bits() {
    let tiny = TinyByol::default().with_lars();
    let [first, second] = [0, 1].map(|_| {
        let mut learner = tiny.learner(&cpu());
        train(&mut learner, 0, 3);
        bits(&learner)
    });
    assert!(first == second);
}

#[test]
fn a_checkpoint_goes_on_to_the_bit() {
    for tiny in [TinyByol::default(), TinyByol::default().with_lars()] {
        let mut learner = tiny.learner(&cpu());
        train(&mut learner, 0, 2);
        let saved = checkpoint::save(&mut learner, &tiny.model, 7, 20, 2).expect("finite");
        train(&mut learner, 2, 4);

        let mut resumed = tiny.learner(&cpu());
        let read = Checkpoint::read(&saved, &tiny.model).expect("a checkpoint");
        assert_eq!(read.info.method, "byol");
        read.restore(&mut resumed).expect("its own state");
        train(&mut resumed, 2, 4);
        assert!(bits(&learner) == bits(&resumed));
    }
}

/// Weights are taken from a checkpoint as from a file of weights: the online backbone, and every other tensor
/// accounted for.
#[test]
fn a_checkpoint_is_read_as_weights() {
    let tiny = TinyByol::default();
    let mut learner = tiny.learner(&cpu());
    train(&mut learner, 0, 1);
    let saved = checkpoint::save(&mut learner, &tiny.model, 7, 20, 1).expect("finite");
    let weights = Weights::read(&saved).expect("a checkpoint of ours");
    assert_eq!(weights.info.method, "byol");
    assert!(!weights.heads().global && !weights.heads().dense);
    let (encoder, _) = weights.encoder(None, &cpu()).expect("an encoder");
    assert_eq!(named_values(&encoder), named_values(learner.encoder()));
}

#[test]
fn a_checkpoint_of_another_method_is_refused() {
    let tiny = TinyByol::default();
    let mut dense = Tiny {
        model: tiny.model.clone(),
        ..Tiny::default()
    }
    .learner(&cpu());
    let saved = checkpoint::save(&mut dense, &tiny.model, 7, 20, 0).expect("finite");
    let read = Checkpoint::read(&saved, &tiny.model).expect("a checkpoint");
    let refused = read.restore(&mut tiny.learner(&cpu()));
    let message = refused.expect_err("another method").to_string();
    assert_eq!(
        message,
        "the checkpoint is one of densecl, the run trains byol"
    );
}

/// The gradient is the mean over the micro-batches: of two equal ones, that of one.
#[test]
fn equal_micro_batches_have_the_gradient_of_one() {
    let tiny = TinyByol::default();
    let step = |count: usize| {
        let mut learner = tiny.learner(&cpu());
        let batches = vec![views(0); count];
        let output = learner
            .step(batches, &settings(0), &mut Alone)
            .expect("a step");
        let loss = output.figures().expect("figures")["loss"];
        (loss, named_values(&learner.online))
    };
    let ((loss, one), (same_loss, two)) = (step(1), step(2));
    assert_eq!(loss, same_loss);
    for (name, values) in one {
        // The running statistics follow each micro-batch.
        if !name.contains("running_") {
            assert_close(&name, &two[&name], &values, 1e-5);
        }
    }
}

#[test]
fn the_target_follows_after_the_step_as_the_momentum_says() {
    let parameters = |network: &dyn densecl::model::AnyNetwork| {
        let tensors = network.list().into_iter();
        let tensors = tensors.filter(|t| t.kind == Kind::Parameter);
        let tensors = tensors.map(|t| (t.name, values(&t.values)));
        tensors.collect::<Vec<_>>()
    };
    let step = |momentum: f64| {
        let mut tiny = TinyByol::default();
        tiny.method.momentum = momentum;
        tiny.method.momentum_schedule = MomentumSchedule::Constant;
        let mut learner = tiny.learner(&cpu());
        let before = parameters(&learner.target);
        train(&mut learner, 0, 1);
        (before, learner)
    };
    let (before, learner) = step(1.0);
    assert_eq!(parameters(&learner.target), before);
    let (_, learner) = step(0.0);
    assert_eq!(
        parameters(&learner.target),
        parameters(&learner.online.branch)
    );
}

#[test]
fn the_loss_is_a_distance_of_directions() {
    let loss = |a: Tensor<2>, b: Tensor<2>| values(&regression_loss(a, b))[0];
    let x = input::<2>("byol direction", [5, 7]);
    assert!(loss(x.clone(), x.clone() * 3.0).abs() < 1e-6);
    assert!((loss(x.clone(), x * -0.5) - 4.0).abs() < 1e-6);
}

/// Any encoder will do, heads or not; what is exported is the backbone alone.
#[test]
fn it_begins_with_a_backbone_and_exports_one() {
    let tiny = TinyByol::default();
    let mut learner = tiny.learner(&cpu());
    let begun = Encoder::new(&tiny.model, 99, &cpu());
    learner.begin_with(begun.clone());
    let backbone = named_values(&begun.backbone);
    assert_eq!(named_values(learner.encoder()), backbone);
    assert_eq!(named_values(&learner.target.encoder), backbone);
    train(&mut learner, 0, 1);

    let encoder = learner.encoder().clone().inference();
    let info = WeightsInfo {
        format_version: FORMAT_VERSION,
        method: "byol".to_string(),
        model: tiny.model.clone(),
        steps: 1,
        data: "formula".to_string(),
        config: String::new(),
    };
    let bytes = weights::save(&encoder, &info).expect("finite");
    let read = Weights::read(&bytes).expect("our own file");
    assert!(!read.heads().global && !read.heads().dense);
    let (again, _) = read.encoder(None, &cpu()).expect("an encoder");
    assert_eq!(named_values(&again), named_values(&encoder));
}
