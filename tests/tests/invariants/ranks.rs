//! The number of ranks changes no bit: 1, 2 and 4 ranks that share the same micro-batches end in the same state.

use std::thread;

use densecl::{
    checkpoint,
    config::{Matching, Precision},
    method::{DenseCl, Method, MicroBatch},
    world::{Alone, World},
};
use densecl_tests::{
    byol::{self, TinyByol},
    learner::{Tiny, settings, state, views},
    network::cpu,
    three_sat::{self, TinyThreeSat},
    univip::{self, TinyUniVip},
};
use densecl_train::threads::Threads;

const IMAGES: usize = 4;
const STEPS: u64 = 10;
/// So large that some of the first steps overflow in f16, and not all.
const FIRST_SCALE: f64 = 1048576.0;

/// State and figures in bits, by name.
type Bits = Vec<(String, Vec<u32>)>;

fn bits(state: Vec<(String, Vec<f32>)>) -> Bits {
    let state = state.into_iter();
    state
        .map(|(name, values)| (name, values.iter().map(|value| value.to_bits()).collect()))
        .collect()
}

/// Trains a learner on its part of `count` micro-batches in each of `steps` steps. Returns the figures of every step
/// that are finite; the gradient of a skipped step is not.
fn train(
    learner: &mut dyn Method,
    world: &mut dyn World,
    (steps, count): (u64, usize),
    batch: &dyn Fn(&str) -> MicroBatch,
) -> Bits {
    let own = count / world.size();
    let first = world.rank() * own;
    let mut figures = Vec::new();
    for step in 0..steps {
        let batches = (first..first + own).map(|index| batch(&format!("ranks {step} {index}")));
        let output = learner.step(batches.collect(), &settings(step), world);
        let of_step = output.expect("a step").figures().expect("the CPU answers");
        let finite = of_step.iter().filter(|(_, value)| value.is_finite());
        figures.extend(finite.map(|(name, value)| (format!("{name} {step}"), vec![value as f32])));
    }
    bits(figures)
}

/// What each of `ranks` ranks ends with.
fn on_ranks(ranks: usize, run: &(dyn Fn(&mut dyn World) -> Bits + Sync)) -> Vec<Bits> {
    if ranks == 1 {
        return vec![run(&mut Alone)];
    }
    thread::scope(|scope| {
        let started = Threads::worlds(ranks).into_iter().map(|mut world| {
            scope.spawn(move || {
                let guard = world.guard();
                let bits = run(&mut world);
                guard.finished();
                bits
            })
        });
        let started: Vec<_> = started.collect();
        let ended = started
            .into_iter()
            .map(|rank| rank.join().expect("no panic"));
        ended.collect()
    })
}

/// Every rank of 2 and of 4 ends with what one alone ends with.
fn assert_alike(what: &str, ranks: &[usize], run: &(dyn Fn(&mut dyn World) -> Bits + Sync)) {
    let alone = &on_ranks(1, run)[0];
    for &ranks in ranks {
        for (rank, bits) in on_ranks(ranks, run).iter().enumerate() {
            assert_eq!(bits.len(), alone.len());
            for ((name, got), (_, want)) in bits.iter().zip(alone) {
                assert!(
                    got == want,
                    "{what}: {name} of rank {rank} of {ranks} differs"
                );
            }
        }
    }
}

fn of_densecl(tiny: &Tiny, (steps, count): (u64, usize), world: &mut dyn World) -> Bits {
    let mut learner: DenseCl = tiny.learner(&cpu());
    if let Some(scale) = &mut learner.loss_scale {
        scale.factor = FIRST_SCALE;
    }
    let batch = |name: &str| views(name, IMAGES, &cpu()).micro_batch();
    let mut all = train(&mut learner, world, (steps, count), &batch);
    all.extend(bits(state(&learner)));
    if let Some(scale) = learner.loss_scale {
        all.push((
            "loss scale".to_string(),
            vec![scale.factor as u32, scale.skipped as u32],
        ));
    }
    all
}

#[test]
fn densecl_ends_in_the_same_bits_on_any_number_of_ranks() {
    for groups in [1, 2] {
        // Random positives and the order of the keys depend on the number of the micro-batch in the run.
        for matching in [Matching::Backbone, Matching::Random] {
            let mut tiny = Tiny::default();
            tiny.method.bn_groups = groups;
            tiny.method.matching = matching;
            tiny.optim.clip_norm = 1.0;
            let what = format!("{groups} groups, {matching:?}");
            assert_alike(&what, &[2, 4], &|world| {
                of_densecl(&tiny, (STEPS, 4), world)
            });
        }
    }
    let tiny = Tiny::default();
    assert_alike("2 parts", &[2], &|world| {
        of_densecl(&tiny, (STEPS, 2), world)
    });
    assert_alike("3 parts", &[3], &|world| of_densecl(&tiny, (2, 3), world));
}

/// In f16 an overflow on one rank must skip the step on all of them.
#[test]
fn skipped_steps_are_decided_together() {
    let mut tiny = Tiny::default();
    tiny.optim.precision = Precision::F16;
    let skipped = |world: &mut dyn World| {
        let all = of_densecl(&tiny, (6, 2), world);
        let (_, scale) = all.last().expect("a loss scale");
        assert!(
            (1..6).contains(&scale[1]),
            "{} of 6 steps were skipped",
            scale[1]
        );
        all
    };
    assert_alike("f16", &[2], &skipped);
}

#[test]
fn byol_ends_in_the_same_bits_on_any_number_of_ranks() {
    for tiny in [TinyByol::default(), TinyByol::default().with_lars()] {
        let run = |world: &mut dyn World| {
            let mut learner = tiny.learner(&cpu());
            let batch = |name: &str| byol::batch(name, IMAGES, &cpu());
            let mut all = train(&mut learner, world, (STEPS, 4), &batch);
            all.extend(bits(byol::state(&learner)));
            all
        };
        assert_alike("byol", &[2, 4], &run);
    }
}

/// Three backward passes for each micro-batch, which is not a power of two.
#[test]
fn univip_ends_in_the_same_bits_on_any_number_of_ranks() {
    let run = |world: &mut dyn World| {
        let mut learner = TinyUniVip::default().learner(&cpu());
        let batch = |name: &str| univip::batch(name, IMAGES, &cpu());
        let mut all = train(&mut learner, world, (3, 4), &batch);
        all.extend(bits(univip::state(&learner)));
        all
    };
    assert_alike("univip", &[2, 4], &run);
}

/// The start of an attack depends on the number of the micro-batch in the run. Three backward passes, and four with the
/// terms of the authors' code.
#[test]
fn three_sat_ends_in_the_same_bits_on_any_number_of_ranks() {
    for unaugmented_terms in [false, true] {
        let mut tiny = TinyThreeSat::default();
        tiny.method.unaugmented_terms = unaugmented_terms;
        let run = |world: &mut dyn World| {
            let mut learner = tiny.learner(&cpu());
            let batch = |name: &str| three_sat::batch(name, IMAGES, &cpu());
            let mut all = train(&mut learner, world, (3, 4), &batch);
            all.extend(bits(three_sat::state(&learner)));
            all
        };
        assert_alike("3sat", &[2, 4], &run);
    }
}

/// The first rank's state replaces that of the others, before the first step and after some.
#[test]
fn ranks_begin_with_the_state_of_the_first() {
    for steps in [0, 2] {
        let run = |world: &mut dyn World| {
            let mut learner = Tiny::default().learner(&cpu());
            if world.rank() == 0 {
                let batch = |name: &str| views(name, IMAGES, &cpu()).micro_batch();
                train(&mut learner, &mut Alone, (steps, 1), &batch);
            } else {
                let other = Tiny::default();
                learner = DenseCl::new(
                    &other.model,
                    &other.method,
                    &other.optim,
                    other.queue,
                    3,
                    &cpu(),
                );
            }
            checkpoint::share(&mut learner, world).expect("shared");
            bits(state(&learner))
        };
        assert_alike(&format!("after {steps} steps"), &[2, 4], &run);
    }
}
