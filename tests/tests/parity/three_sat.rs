//! 3SAT: the attack from a given start, its loss and the gradient of the pixels, and whole steps, with and without
//! the terms of the authors' code.
//!
//! The goldens are PyTorch's, in float64: `golden/three_sat/README.md`.

use densecl::{
    augment::normalize,
    config::OptimConfig,
    method::{Method, StepSettings, ThreeSat, regression_loss},
    model::{Kind, Tensors},
    world::Alone,
};
use densecl_tests::{
    golden::{Golden, TOLERANCE},
    network::{cpu, input, named_values, values},
    three_sat::{SIDE, TinyThreeSat, batch, pixels},
};

use super::byol::agrees;

const BATCH: usize = 8;
const DIM: usize = 12;
const GROUPS: usize = 2;
const SHAPE: [usize; 4] = [BATCH, 3, SIDE, SIDE];
const EPSILON: f64 = 8.0 / 255.0;

#[test]
fn the_attack_agrees_and_leaves_the_learner_as_it_was() {
    let golden = Golden::open_in("three_sat", "attack");
    let x = pixels("three_sat/attack 135/pixels", BATCH, &cpu());
    let target = input::<2>("three_sat/attack 135/target", [BATCH, DIM]);
    let start = input::<4>("three_sat/attack 135/start", SHAPE) * EPSILON;

    for (key, iterations) in [("delta1", 1), ("delta5", 5)] {
        let mut tiny = TinyThreeSat::default();
        tiny.method.attack_steps = iterations;
        let learner = tiny.learner(&cpu());
        let before = named_values(&learner.byol.online);
        let found = learner.attack(&x, &target, start.clone());
        let delta = values(&found.delta);
        golden.assert_close(key, &SHAPE, &delta, TOLERANCE);
        assert!(delta.iter().all(|d| d.abs() <= EPSILON as f32));
        let first_loss = values(&found.first_loss);
        golden.assert_close("loss/before", &[1], &first_loss, TOLERANCE);
        // Parameters and running statistics.
        assert!(named_values(&learner.byol.online) == before);
        if iterations == 5 {
            let mut online = learner.byol.online.inference();
            let [_, prediction] = online.forward_train(normalize(x.clone() + found.delta), GROUPS);
            let loss = values(&regression_loss(prediction, target.clone()));
            golden.assert_close("loss/after", &[1], &loss, TOLERANCE);
        }
    }

    let mut online = TinyThreeSat::default()
        .learner(&cpu())
        .byol
        .online
        .constant();
    // Where the attack begins: the start, cut so that pixels + δ stay in [0, 1].
    let begun = start.max_pair(-x.clone()).min_pair(-x.clone() + 1.0);
    let leaf = begun.autodiff().require_grad();
    let images = normalize(x.autodiff() + leaf.clone());
    let [_, prediction] = online.forward_train(images, GROUPS);
    let gradients = regression_loss(prediction, target).backward();
    let gradient = leaf.grad(&gradients).expect("tracked");
    golden.assert_close("gradient", &SHAPE, &values(&gradient), TOLERANCE);
    // The parameters are constants: they have no gradient.
    let of_parameters = densecl_tests::network::gradients(&online, &gradients);
    assert!(of_parameters.is_empty());
    golden.assert_all_read();
}

struct Case {
    file: &'static str,
    views: &'static str,
    attack_steps: usize,
    steps: std::ops::Range<u64>,
    total: u64,
    warmup: f64,
    terms_of_the_code: bool,
}

impl Case {
    fn learner(&self, weight_decay: f64) -> ThreeSat {
        let mut tiny = TinyThreeSat::default();
        tiny.method.attack_steps = self.attack_steps;
        tiny.method.adversarial_warmup = self.warmup;
        tiny.method.unaugmented_terms = self.terms_of_the_code;
        tiny.optim = OptimConfig {
            weight_decay,
            ..tiny.optim
        };
        tiny.learner(&cpu())
    }

    fn step(&self, learner: &mut ThreeSat, step: u64) -> densecl::method::Figures {
        let settings = StepSettings {
            step,
            total_steps: self.total,
            learning_rate: 0.002,
        };
        let views = batch(&format!("three_sat/{}{step}", self.views), BATCH, &cpu());
        let output = learner.step(vec![views], &settings, &mut Alone);
        output.expect("a step").figures().expect("figures")
    }

    fn agrees(&self) {
        let golden = Golden::open_in("three_sat", self.file);
        // Without decay the first velocity of SGD is the gradient.
        let mut first = self.learner(0.0);
        self.step(&mut first, self.steps.start);
        let byol = &first.byol;
        for velocity in byol.optimizer.state(&byol.online) {
            let key = format!("first/grad/{}", velocity.name);
            agrees(&golden, self.file, &key, &values(&velocity.values));
        }

        let mut learner = self.learner(1e-2);
        for step in self.steps.clone() {
            let figures = self.step(&mut learner, step);
            for name in [
                "loss",
                "loss_byol",
                "loss_adversarial",
                "loss_before_attack",
                "adversarial_weight",
                "feature_std",
                "target_std",
                "grad_norm",
            ] {
                let got = [figures[name] as f32];
                golden.assert_close(&format!("step{step}/{name}"), &[1], &got, TOLERANCE);
            }
        }
        let byol = &learner.byol;
        let networks = [
            ("online", byol.online.named()),
            ("target", byol.target.named()),
            ("velocity", byol.optimizer.state(&byol.online)),
        ];
        let mut statistics = 0;
        for (which, tensors) in networks {
            for tensor in tensors {
                // A velocity of rounding noise beside a decay has no golden.
                if which == "velocity" && tensor.name.ends_with("fc1.bias") {
                    continue;
                }
                statistics += usize::from(tensor.kind == Kind::Buffer);
                let key = format!("end/{which}/{}", tensor.name);
                agrees(&golden, self.file, &key, &values(&tensor.values));
            }
        }
        assert!(statistics > 50, "running statistics are compared, too");
        golden.assert_all_read();
    }
}

#[test]
fn two_steps_agree() {
    Case {
        file: "step",
        views: "step 24",
        attack_steps: 2,
        steps: 1..3,
        total: 3,
        warmup: 0.25,
        terms_of_the_code: false,
    }
    .agrees();
}

#[test]
fn a_step_with_the_terms_of_the_authors_code_agrees() {
    Case {
        file: "step_code",
        views: "step_code 41",
        attack_steps: 5,
        steps: 1..2,
        total: 2,
        warmup: 0.0,
        terms_of_the_code: true,
    }
    .agrees();
}
