//! BYOL: losses, gradients, whole steps with SGD and with LARS, the momentum schedule, solarisation.
//!
//! The goldens are of NumPy in float64, and PyTorch agrees with them: `golden/byol/README.md`.

use burn::tensor::Tensor;
use densecl::{
    augment::{Planes, solarize},
    config::{
        Backbone, MethodConfig, MethodName, ModelConfig, MomentumSchedule, OptimConfig,
        OptimizerName,
    },
    method::{Byol, Method, Projector, StepSettings, regression_loss},
    model::{Init, Kind, TensorVisitor, Tensors},
    optim::{ParameterGradients, Sgd},
    schedule,
    world::Alone,
};
use densecl_tests::{
    byol::sized_batch,
    golden::{Golden, TOLERANCE, assert_close, formula, indices},
    network::{Gradient, cpu, fill, gradients, input, named_values, tensor, values},
};

const BATCH: usize = 8;
const SIDE: usize = 96;
const GROUPS: usize = 2;
const STEPS: u64 = 3;
const DIM: usize = 12;
/// Largest value of a tensor that is 0 but for rounding, and has no golden.
const NOTHING: f32 = 1e-4;

struct Case {
    file: &'static str,
    /// Name of the inputs, as in `golden/byol/cases.py`.
    views: &'static str,
    optim: OptimConfig,
    learning_rate: f64,
    momentum: f64,
    schedule: MomentumSchedule,
}

impl Case {
    fn learner(&self, optim: &OptimConfig) -> Byol {
        let model = ModelConfig {
            backbone: Backbone::ResNet10,
            width: 8,
            ..ModelConfig::default()
        };
        let method = MethodConfig {
            name: MethodName::Byol,
            momentum: self.momentum,
            momentum_schedule: self.schedule,
            bn_groups: GROUPS,
            projector_hidden: 24,
            projector_dim: DIM,
            ..MethodConfig::default()
        };
        let mut learner = Byol::new(&model, &method, optim, 0, &cpu());
        fill(&mut learner.online, "", Gradient::Tracked);
        fill(&mut learner.target, "target.", Gradient::None);
        learner
    }

    fn agrees(&self) {
        let golden = Golden::open_in("byol", self.file);
        self.start_agrees(&golden);
        let mut learner = self.learner(&self.optim);
        for step in 0..STEPS {
            let settings = StepSettings {
                step,
                total_steps: STEPS,
                learning_rate: self.learning_rate,
            };
            let batch = sized_batch(&self.images(step), [BATCH, SIDE], &cpu());
            let output = learner
                .step(vec![batch], &settings, &mut Alone)
                .expect("a step");
            let measured = output.figures().expect("the CPU answers");
            for name in ["loss", "grad_norm", "feature_std", "target_std", "momentum"] {
                let got = [measured[name] as f32];
                golden.assert_close(&format!("step{step}/{name}"), &[1], &got, TOLERANCE);
            }
            let mean_cosine = 1.0 - measured["loss"] / 4.0;
            assert!((measured["cosine"] - mean_cosine).abs() < 1e-6);
        }
        for (which, tensors) in [
            ("online", learner.online.named()),
            ("target", learner.target.named()),
            ("velocity", learner.optimizer.state(&learner.online)),
        ] {
            for tensor in tensors {
                // A velocity of rounding noise beside a decay has no golden.
                if which == "velocity" && tensor.name.ends_with("fc1.bias") {
                    continue;
                }
                let key = format!("end/{which}/{}", tensor.name);
                agrees(&golden, self.file, &key, &values(&tensor.values));
            }
        }
        golden.assert_all_read();
    }

    fn images(&self, step: u64) -> String {
        format!("byol/{}/step{step}", self.views)
    }

    /// Projections and gradients of the first step, whatever the optimizer.
    fn start_agrees(&self, golden: &Golden) {
        // Without decay the first velocity of SGD is the gradient.
        let plain = OptimConfig {
            weight_decay: 0.0,
            ..OptimConfig::default()
        };
        let mut learner = self.learner(&plain);
        let batch = sized_batch(&self.images(0), [BATCH, SIDE], &cpu());
        let first = batch.views[0].pixels.clone();
        let online = learner.online.clone().inference().branch;
        for (key, mut branch) in [("projection", online), ("target", learner.target.clone())] {
            let projected = branch.forward_train(first.clone(), GROUPS);
            let key = format!("step0/{key}");
            golden.assert_close(&key, &[BATCH, DIM], &values(&projected), TOLERANCE);
        }
        let settings = StepSettings {
            step: 0,
            total_steps: STEPS,
            learning_rate: self.learning_rate,
        };
        learner
            .step(vec![batch], &settings, &mut Alone)
            .expect("a step");
        for velocity in learner.optimizer.state(&learner.online) {
            let key = format!("step0/grad/{}", velocity.name);
            agrees(golden, self.file, &key, &values(&velocity.values));
        }
    }
}

/// Asserts that `got` is the tensor `key`: whole, by norm and samples, or where there is no golden, nothing.
pub(super) fn agrees(golden: &Golden, file: &str, key: &str, got: &[f32]) {
    let what = format!("{file}: {key}");
    let samples = format!("{key}/samples");
    let keys: Vec<&str> = golden.keys(key).collect();
    if keys.contains(&key) {
        assert_close(&what, got, &golden.f32(key).1, TOLERANCE);
    } else if keys.contains(&samples.as_str()) {
        let (_, want) = golden.f32(&samples);
        let places = indices(&format!("samples/{file}/{key}"), got.len(), want.len());
        let sampled: Vec<f32> = places.iter().map(|&at| got[at]).collect();
        assert_close(&what, &sampled, &want, TOLERANCE);
        let norm = got
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        let want = golden.scalar(&format!("{key}/norm"));
        assert_close(&what, &[norm as f32], &[want], TOLERANCE);
    } else {
        let largest = got.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        assert!(largest < NOTHING, "{what} is not 0: {largest}");
    }
}

#[test]
fn three_steps_with_sgd_agree() {
    let case = Case {
        file: "step_sgd",
        views: "step_sgd",
        optim: OptimConfig {
            weight_decay: 1e-2,
            ..OptimConfig::default()
        },
        learning_rate: 0.002,
        momentum: 0.9,
        schedule: MomentumSchedule::Constant,
    };
    case.agrees();
}

#[test]
fn three_steps_with_lars_agree() {
    let case = Case {
        file: "step_lars",
        views: "step_lars g",
        optim: OptimConfig {
            name: OptimizerName::Lars,
            weight_decay: 1e-2,
            trust: 0.1,
            ..OptimConfig::default()
        },
        learning_rate: 0.004,
        momentum: 0.8,
        schedule: MomentumSchedule::Cosine,
    };
    case.agrees();
}

#[test]
fn the_loss_the_projector_and_solarisation_agree() {
    let golden = Golden::open_in("byol", "parts");
    let prediction = input::<2>("byol/prediction", [6, DIM]);
    let prediction = prediction.autodiff().require_grad();
    let loss = regression_loss(prediction.clone(), input("byol/target", [6, DIM]));
    let backward = loss.clone().backward();
    golden.assert_close("loss/value", &[1], &values(&loss), TOLERANCE);
    let gradient = prediction.grad(&backward).expect("tracked");
    golden.assert_close("loss/grad", &[6, DIM], &values(&gradient), TOLERANCE);

    let device = cpu();
    let mut projector = Projector::new(&Init::new(0, &device), "", [DIM, 24, DIM]);
    fill(&mut projector, "predictor.", Gradient::Tracked);
    let rows = input::<2>("byol/rows", [BATCH, DIM]);
    let rows = rows.autodiff().require_grad();
    let out = projector.forward_train(rows.clone(), GROUPS);
    let key = "projector/output";
    golden.assert_close(key, &[BATCH, DIM], &values(&out), TOLERANCE);
    let slopes = input::<2>("byol/slopes", [BATCH, DIM]).autodiff();
    let backward = (out * slopes).sum().backward();
    let gradient = values(&rows.grad(&backward).expect("tracked"));
    agrees(&golden, "parts", "projector/grad/input", &gradient);
    for (name, gradient) in gradients(&projector, &backward) {
        agrees(
            &golden,
            "parts",
            &format!("projector/grad/{name}"),
            &gradient,
        );
    }
    for (name, after) in named_values(&projector) {
        if name.contains("running_") {
            agrees(&golden, "parts", &format!("projector/after/{name}"), &after);
        }
    }

    let picture = |key: &str| -> image::RgbImage {
        let bytes = golden.i64(key).1.iter().map(|&level| level as u8).collect();
        image::RgbImage::from_raw(16, 16, bytes).expect("16 × 16 pixels")
    };
    let mut planes = Planes::from_rgb(&picture("solarize/before"));
    solarize(&mut planes);
    assert!(planes.to_rgb() == picture("solarize/after"));
    golden.assert_all_read();
}

/// The tensors of the case of LARS alone.
#[derive(Debug, Clone)]
struct Five {
    matrix: Tensor<2>,
    kernel: Tensor<4>,
    bias: Tensor<1>,
    zero: Tensor<2>,
    still: Tensor<2>,
}

impl Tensors for Five {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        let name = |leaf: &str| format!("{prefix}{leaf}");
        visitor.tensor(&name("matrix"), Kind::Parameter, &mut self.matrix);
        visitor.tensor(&name("kernel"), Kind::Parameter, &mut self.kernel);
        visitor.tensor(&name("bias"), Kind::Parameter, &mut self.bias);
        visitor.tensor(&name("zero"), Kind::Parameter, &mut self.zero);
        visitor.tensor(&name("still"), Kind::Parameter, &mut self.still);
    }
}

impl Five {
    /// Inputs by name; `nothing` is the tensor that is 0.
    fn of(kind: &str, nothing: &str) -> Self {
        fn of<const D: usize>(
            kind: &str,
            nothing: &str,
            name: &str,
            shape: [usize; D],
        ) -> Tensor<D> {
            let count = shape.iter().product();
            let factor = if name == nothing { 0.0 } else { 1.0 };
            let values = formula(&format!("byol/lars/{kind}/{name}"), count);
            let values = values.into_iter().map(|v| factor * v).collect();
            tensor(values, shape, &cpu())
        }
        Self {
            matrix: of(kind, nothing, "matrix", [5, 7]),
            kernel: of(kind, nothing, "kernel", [4, 3, 3, 3]),
            bias: of(kind, nothing, "bias", [6]),
            zero: of(kind, nothing, "zero", [3, 4]),
            still: of(kind, nothing, "still", [4, 5]),
        }
    }

    /// Σ θ·g, whose gradient is g.
    fn product(&self, gradient: Self) -> Tensor<1> {
        fn sum<const D: usize>(theta: &Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
            (theta.clone() * gradient.autodiff()).sum()
        }
        sum(&self.matrix, gradient.matrix)
            + sum(&self.kernel, gradient.kernel)
            + sum(&self.bias, gradient.bias)
            + sum(&self.zero, gradient.zero)
            + sum(&self.still, gradient.still)
    }
}

#[test]
fn lars_and_the_momentum_schedule_agree() {
    let golden = Golden::open_in("byol", "lars");
    let mut network = Five::of("theta", "zero").trainable();
    let mut lars = Sgd::new(&OptimConfig {
        name: OptimizerName::Lars,
        momentum: 0.9,
        weight_decay: 0.05,
        trust: 0.01,
        ..OptimConfig::default()
    });
    for step in 0..3 {
        let loss = network.product(Five::of(&format!("gradient{step}"), "still"));
        let mut gradients = ParameterGradients::default();
        gradients.accumulate(&network, &loss.backward());
        lars.step(&mut network, gradients, 0.7);
        for (which, tensors) in [
            ("theta", network.named()),
            ("velocity", lars.state(&network)),
        ] {
            for tensor in tensors {
                let key = format!("step{step}/{which}/{}", tensor.name);
                let got = values(&tensor.values);
                golden.assert_close(&key, &tensor.shape, &got, TOLERANCE);
            }
        }
    }
    let keys: Vec<&str> = golden.keys("momentum/").collect();
    for key in keys {
        let mut parts = key.split('/').skip(1);
        let mut number = || parts.next().and_then(|part| part.parse::<f64>().ok());
        let (base, total, step) = (number(), number(), number());
        let got = schedule::momentum(
            base.expect("a base"),
            MomentumSchedule::Cosine,
            step.expect("a step") as u64,
            total.expect("a total") as u64,
        );
        let want = f64::from(golden.scalar(key));
        assert!((got - want).abs() < 1e-7, "{key}: {got}, {want}");
    }
    golden.assert_all_read();
}
