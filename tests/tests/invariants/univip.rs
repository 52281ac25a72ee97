//! What holds for UniVIP whatever the weights: determinism, checkpoints, accumulation, views, and what the parts of the
//! loss depend on.

use burn::tensor::Tensor;
use densecl::{
    checkpoint::{self, Checkpoint},
    loss::marginal,
    method::{Method, MicroBatch, Shows, UniVip, instance_loss, instance_plan},
    weights::Weights,
    world::Alone,
};
use densecl_tests::{
    golden::assert_close,
    learner::settings,
    network::{cpu, input, named_values, tensor, values},
    univip::{TinyUniVip, batch, state},
};

const BATCH: usize = 8;

fn views(step: u64) -> MicroBatch {
    batch(&format!("univip invariants {step}"), BATCH, &cpu())
}

/// Takes the steps `from..to`.
fn train(learner: &mut UniVip, from: u64, to: u64) {
    for step in from..to {
        let output = learner.step(vec![views(step)], &settings(step), &mut Alone);
        let figures = output.expect("a step").figures().expect("figures");
        assert!((-5.0..=5.0).contains(&figures["loss"]));
        let parts = ["loss_scene", "loss_scene_instance", "loss_instance"];
        let sum: f64 = parts.iter().map(|part| figures[part]).sum();
        assert!((sum - figures["loss"]).abs() < 1e-5);
        assert!((0.0..1e-3).contains(&figures["transport_residual"]));
    }
}

fn bits(learner: &UniVip) -> Vec<(String, Vec<u32>)> {
    let state = state(learner).into_iter();
    state
        .map(|(name, values)| (name, values.iter().map(|v| v.to_bits()).collect()))
        .collect()
}

#[test]
fn the_same_steps_give_the_same_bits() {
    let tiny = TinyUniVip::default();
    let [first, second] = [0, 1].map(|_| {
        let mut learner = tiny.learner(&cpu());
        train(&mut learner, 0, 3);
        bits(&learner)
    });
    assert!(first == second);
}

#[test]
fn a_checkpoint_goes_on_to_the_bit() {
    let tiny = TinyUniVip::default();
    let mut learner = tiny.learner(&cpu());
    train(&mut learner, 0, 2);
    let saved = checkpoint::save(&mut learner, &tiny.model, 7, 20, 2).expect("finite");
    train(&mut learner, 2, 4);

    let mut resumed = tiny.learner(&cpu());
    let read = Checkpoint::read(&saved, &tiny.model).expect("a checkpoint");
    assert_eq!(read.info.method, "univip");
    read.restore(&mut resumed).expect("its own state");
    train(&mut resumed, 2, 4);
    assert!(bits(&learner) == bits(&resumed));
}

/// Weights are taken from a checkpoint as from a file of weights: the online backbone, and every other tensor
/// accounted for.
#[test]
fn a_checkpoint_is_read_as_weights() {
    let tiny = TinyUniVip::default();
    let mut learner = tiny.learner(&cpu());
    train(&mut learner, 0, 1);
    let saved = checkpoint::save(&mut learner, &tiny.model, 7, 20, 1).expect("finite");
    let weights = Weights::read(&saved).expect("a checkpoint of ours");
    assert_eq!(weights.info.method, "univip");
    assert!(!weights.heads().global && !weights.heads().dense);
    let (encoder, _) = weights.encoder(None, &cpu()).expect("an encoder");
    assert_eq!(named_values(&encoder), named_values(learner.encoder()));
}

/// The gradient is the mean over the micro-batches: of two equal ones, that of one.
#[test]
fn equal_micro_batches_have_the_gradient_of_one() {
    let tiny = TinyUniVip::default();
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
fn it_wants_two_scenes_and_every_instance_twice() {
    let tiny = TinyUniVip::default();
    let views = tiny.learner(&cpu()).views();
    assert_eq!(Shows::instances(&views), 3);
    let scene =
        |view: &densecl::method::ViewSpec| view.shows == Shows::Scene && view.size.is_none();
    assert!(views[..2].iter().all(scene));
    let instances: Vec<_> = views[2..].iter().map(|v| (v.shows, v.size)).collect();
    let wanted =
        [0, 1].map(|like| [0, 1, 2].map(|number| (Shows::Instance { number, like }, Some(32))));
    assert_eq!(instances, wanted.concat());
}

/// The order of an image's instances does not matter to the losses of instances: plan and cosines are permuted alike.
#[test]
fn the_order_of_the_instances_does_not_matter_to_their_loss() {
    let [o, t] = ["univip o", "univip t"].map(|name| input::<3>(name, [2, 3, 5]));
    let scenes = ["s1", "s2"].map(|name| input::<2>(name, [2, 5]));
    let loss = |o: Tensor<3>, t: Tensor<3>| {
        let found = instance_plan(
            [o.clone(), t.clone()],
            scenes.clone(),
            scenes.clone(),
            0.1,
            50,
        );
        values(&instance_loss(o, t, found.plan))[0]
    };
    let order = || Tensor::from_ints([2, 0, 1], &cpu());
    let want = loss(o.clone(), t.clone());
    let both = loss(o.clone().select(1, order()), t.clone().select(1, order()));
    let one = loss(o, t.select(1, order()));
    assert!((both - want).abs() < 1e-6 && (one - want).abs() < 1e-6);
}

/// An instance like the scenes has more weight in the plan than one unlike them.
#[test]
fn instances_weigh_by_their_likeness_to_the_scenes() {
    let scene = || tensor(vec![1.0, 0.0], [1, 2], &cpu());
    let vectors = || tensor(vec![3.0, 0.3, 0.1, 2.0, -1.0, 0.1], [1, 3, 2], &cpu());
    let found = instance_plan(
        [vectors(), vectors()],
        [scene(), scene()],
        [scene(), scene()],
        0.1,
        200,
    );
    let shares = values(&found.plan.sum_dim(2));
    let lengths = [(3.0f32, 0.3f32), (0.1, 2.0), (-1.0, 0.1)].map(|(x, y)| x / x.hypot(y));
    let want = values(&marginal(tensor(lengths.to_vec(), [1, 3], &cpu())));
    assert_close("shares", &shares, &want, 1e-3);
    assert!(
        shares[0] > 10.0 * shares[1] && shares[2] < 1e-2,
        "{shares:?}"
    );
}
