//! Compares the gradients of losses, heads, normalisation and blocks with finite differences.
//!
//! Let L = Σ w·f(θ) with fixed weights w. For a direction d, the slope (L(θ + εd) − L(θ − εd)) / 2ε must
//! equal ⟨∇L, d⟩. Each direction is random and changes all values of one tensor, because the difference along
//! a single coordinate would be smaller than f32's rounding errors.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use densecl::{
    loss::{InfoNce, Positives, in_view, info_nce},
    matching::l2_normalize,
    method::{Projector, instance_loss, regression_loss, scene_instance_loss},
    model::{BatchNorm, Block, DenseHead, GlobalHead, Init, TensorVisitor, Tensors},
    network::{self, BlockKind, BlockSizes},
    ops::{Activation, FeatureMap},
};
use densecl_tests::{
    golden::formula,
    in_view::{one, overlapping},
    network::{Gradient, cpu, fill, gradients, input, named_values, set, tensor, values},
};

/// ε. With a smaller one rounding hides the difference; with a larger one more ReLUs switch on or off within
/// ±ε.
const STEP: f32 = 1e-3;
/// Allowed |slope − ⟨∇L, d⟩| relative to ‖∇L‖·‖d‖/√n, the typical size of ⟨∇L, d⟩ for a random d. A missing
/// or doubled term causes an error of about 1; rounding causes 2e-4 in functions without ReLU, and ReLUs that
/// switch within ±ε cause up to 2e-2.
const BOUND: f64 = 5e-2;
/// A gradient of this size is rounding: that of a bias before batch normalisation is 0. Its slope is then no
/// larger than rounding over ε.
const NOTHING: f64 = 1e-5;
const NO_SLOPE: f64 = 1e-2;
/// Number of random directions for each tensor.
const DIRECTIONS: usize = 4;

const INPUT: &str = "input";

/// A part of the network, as a function of its parameters and its input.
struct Function<M, const D: usize> {
    what: &'static str,
    part: M,
    input: Tensor<D>,
    forward: fn(&mut M, Tensor<D>) -> Tensor<1>,
}

impl<M: Tensors, const D: usize> Function<M, D> {
    /// Asserts that the gradients of all parameters and of the input agree with the slopes.
    fn check(&self) {
        let gradients = self.gradients();
        let mut base = named_values(&self.part);
        base.insert(INPUT.to_owned(), values(&self.input));
        base.retain(|name, _| !name.contains("running_"));
        assert_eq!(
            gradients.keys().collect::<Vec<_>>(),
            base.keys().collect::<Vec<_>>(),
            "{}: what has a gradient (left) and what should have one (right)",
            self.what
        );
        for (name, gradient) in &gradients {
            for index in 0..DIRECTIONS {
                let direction = formula(&format!("direction/{name}/{index}"), gradient.len());
                let [ahead, behind] = [STEP, -STEP].map(|step| {
                    let moved = base[name].iter().zip(&direction);
                    self.value(name, moved.map(|(x, d)| x + step * d).collect())
                });
                let slope = (ahead - behind) / (2.0 * f64::from(STEP));
                let expected = dot(gradient, &direction);
                let size = dot(gradient, gradient).sqrt()
                    * (dot(&direction, &direction) / direction.len() as f64).sqrt();
                if size < NOTHING {
                    assert!(slope.abs() < NO_SLOPE, "{}, {name}: {slope:e}", self.what);
                    continue;
                }
                let error = (slope - expected).abs() / size;
                assert!(
                    error <= BOUND,
                    "{}, {name}, direction {index}: slope {slope:e}, gradient {expected:e}, \
                     error {error:.1e}",
                    self.what
                );
            }
        }
    }

    /// ∇L from autodiff, by the name of the tensor.
    fn gradients(&self) -> BTreeMap<String, Vec<f32>> {
        let mut part = self.part.clone();
        let base = named_values(&part);
        set(&mut part, Gradient::Tracked, |name, _| base[name].clone());
        let input = self.input.clone().autodiff().require_grad();
        let output = (self.forward)(&mut part, input.clone());
        let weights = tensor(self.weights(output.dims()[0]), output.dims(), &cpu());
        let backward = (output * weights.autodiff()).sum().backward();
        let mut found = gradients(&part, &backward);
        let of_input = input.grad(&backward).expect("a gradient of the input");
        found.insert(INPUT.to_owned(), values(&of_input));
        found
    }

    /// L with the values of tensor `name` replaced, without autodiff, summed in f64.
    fn value(&self, name: &str, replacement: Vec<f32>) -> f64 {
        let mut part = self.part.clone();
        let mut input = self.input.clone();
        if name == INPUT {
            input = tensor(replacement, input.dims(), &cpu());
        } else {
            let mut base = named_values(&part);
            base.insert(name.to_owned(), replacement);
            set(&mut part, Gradient::None, |name, _| base[name].clone());
        }
        let output = values(&(self.forward)(&mut part, input));
        dot(&output, &self.weights(output.len()))
    }

    fn weights(&self, n: usize) -> Vec<f32> {
        formula(&format!("loss_weights/{}", self.what), n)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.sum()
}

/// `part` with formula weights.
fn filled<M: Tensors>(mut part: M, prefix: &str) -> M {
    fill(&mut part, prefix, Gradient::None);
    part
}

fn with_init<M>(build: impl FnOnce(&Init) -> M) -> M {
    let device = cpu();
    build(&Init::new(0, &device))
}

/// A part without parameters.
#[derive(Debug, Clone)]
struct Nothing;

impl Tensors for Nothing {
    fn visit<V: TensorVisitor>(&mut self, _: &str, _: &mut V) {}
}

#[test]
fn info_nce_by_its_query() {
    let function = Function {
        what: "info_nce",
        part: Nothing,
        input: input::<2>("gradients/query", [4, 8]),
        forward: |_, query| {
            let key = input("gradients/key", [4, 8]);
            info_nce(query, key, input("gradients/queue", [12, 8]), 0.2).loss
        },
    };
    function.check();
}

/// In equations 1 and 2 only the query is trained: keys get no gradient even if autodiff tracks them.
#[test]
fn no_gradient_reaches_keys() {
    let leaf = |name| input::<2>(name, [4, 8]).autodiff().require_grad();
    let [query, key, queue] = ["gradients/q", "gradients/k", "gradients/queue"].map(leaf);
    let backward = info_nce(query.clone(), key.clone(), queue.clone(), 0.2)
        .loss
        .backward();
    assert!(query.grad(&backward).is_some());
    assert!(key.grad(&backward).is_none() && queue.grad(&backward).is_none());
}

/// The in-view loss of two pictures of 3 × 3 cells with unit vectors, temperature 0.1.
fn in_view_of(query: Tensor<3>, positives: &Positives) -> InfoNce {
    let key = l2_normalize(input("gradients/in_view/key", [2, 8, 9]), 1);
    in_view(l2_normalize(query, 1), key, positives, 0.1)
}

/// The gradient passes through the normalisation of the query; some query cells have no positive.
#[test]
fn the_in_view_loss_of_one_positive_by_its_query() {
    let function = Function {
        what: "in_view, one positive",
        part: Nothing,
        input: input("gradients/in_view/query", [2, 8, 9]),
        forward: |_, query| {
            let cells = (0..18).map(|row| (row % 5 != 0).then_some(row * 4 % 9));
            in_view_of(query, &one(&cells.collect::<Vec<_>>(), 2)).loss
        },
    };
    function.check();
}

#[test]
fn the_in_view_loss_of_near_positives_by_its_query() {
    let function = Function {
        what: "in_view, near positives",
        part: Nothing,
        input: input("gradients/in_view/query", [2, 8, 9]),
        forward: |_, query| {
            let near = Positives::near(&overlapping()[2..], 3, &cpu());
            in_view_of(query, &near).loss
        },
    };
    function.check();
}

#[test]
fn no_gradient_reaches_key_cells() {
    let leaf = |name| input::<3>(name, [2, 8, 9]).autodiff().require_grad();
    let [query, key] = ["gradients/in_view/query", "gradients/in_view/key"].map(leaf);
    let near = Positives::near(&overlapping()[2..], 3, &cpu());
    let backward = in_view(query.clone(), key.clone(), &near, 0.1)
        .loss
        .backward();
    assert!(query.grad(&backward).is_some());
    assert!(key.grad(&backward).is_none());
}

#[test]
fn the_global_head() {
    let function = Function {
        what: "global_head",
        part: filled(
            with_init(|init| GlobalHead::new(init, 8, 4)),
            "global_head.",
        ),
        input: input("gradients/global_head", [2, 8, 3, 3]),
        forward: |head, features| head.forward(features).flatten(0, 1),
    };
    function.check();
}

#[test]
fn the_dense_head_with_and_without_a_grid() {
    for num_grid in [0, 2] {
        let head = with_init(|init| DenseHead::new(init, 8, 4, num_grid));
        let function = Function {
            what: "dense_head",
            part: filled(head, "dense_head."),
            input: input("gradients/dense_head", [2, 8, 3, 3]),
            forward: |head, features| head.forward(features).flatten(0, 3),
        };
        function.check();
    }
}

/// BYOL's projector, in two groups.
#[test]
fn the_projector() {
    let function = Function {
        what: "projector",
        part: filled(
            with_init(|init| Projector::new(init, "projector", [6, 10, 4])),
            "projector.",
        ),
        input: input("gradients/projector", [8, 6]),
        forward: |projector, x| projector.forward_train(x, 2).flatten(0, 1),
    };
    function.check();
}

#[test]
fn the_regression_loss_by_its_prediction() {
    let function = Function {
        what: "regression_loss",
        part: Nothing,
        input: input("gradients/prediction", [6, 8]),
        forward: |_, prediction| {
            regression_loss(prediction, input("gradients/regression_target", [6, 8]))
        },
    };
    function.check();
}

#[test]
fn no_gradient_reaches_the_target() {
    let leaf = |name| input::<2>(name, [6, 8]).autodiff().require_grad();
    let [prediction, target] = ["gradients/p", "gradients/z"].map(leaf);
    let backward = regression_loss(prediction.clone(), target.clone()).backward();
    assert!(prediction.grad(&backward).is_some());
    assert!(target.grad(&backward).is_none());
}

/// UniVIP's losses, by what reaches the online network: the vectors of the instances, and I.
#[test]
fn the_losses_of_instances_by_their_vectors() {
    let function = Function {
        what: "instance_loss",
        part: Nothing,
        input: input("gradients/instances", [4, 3, 8]),
        forward: |_, online| {
            let target = input("gradients/instance_targets", [4, 3, 8]);
            let plan = input::<3>("gradients/plan", [4, 3, 3]).abs();
            instance_loss(online, target, plan)
        },
    };
    function.check();
    let function = Function {
        what: "scene_instance_loss",
        part: Nothing,
        input: input("gradients/joined", [4, 8]),
        forward: |_, joined| {
            let scenes = ["gradients/scene1", "gradients/scene2"];
            scene_instance_loss(joined, scenes.map(|name| input(name, [4, 8])))
        },
    };
    function.check();
}

#[test]
fn split_batch_norm() {
    let function = Function {
        what: "split_bn",
        part: filled(with_init(|init| BatchNorm::new(init, 3)), "split_bn."),
        input: input("gradients/split_bn", [4, 3, 3, 3]),
        forward: |norm, x| {
            norm.forward_train(FeatureMap::new(x), 2, Activation::Identity)
                .into_tensor()
                .flatten(0, 3)
        },
    };
    function.check();
}

const DILATED: BlockSizes = BlockSizes {
    input: 4,
    planes: 6,
    stride: 1,
    dilation: 1,
    dilation_after: 2,
};

#[test]
fn a_dilated_basic_block_in_train_mode() {
    let function = Function {
        what: "basic block",
        part: filled(
            with_init(|init| Block::new(init, &network::Block::new("", BlockKind::Basic, DILATED))),
            "basic.",
        ),
        input: input("gradients/basic", [4, 4, 5, 5]),
        forward: |block, x| {
            block
                .forward_train(FeatureMap::new(x), 2)
                .into_tensor()
                .flatten(0, 3)
        },
    };
    function.check();
}

#[test]
fn a_dilated_bottleneck_in_train_mode() {
    let sizes = BlockSizes {
        planes: 2,
        dilation: 2,
        ..DILATED
    };
    let kind = BlockKind::Bottleneck {
        stride_in_1x1: false,
    };
    let function = Function {
        what: "bottleneck",
        part: filled(
            with_init(|init| Block::new(init, &network::Block::new("", kind, sizes))),
            "bottleneck.",
        ),
        input: input("gradients/bottleneck", [4, 4, 5, 5]),
        forward: |block, x| {
            block
                .forward_train(FeatureMap::new(x), 2)
                .into_tensor()
                .flatten(0, 3)
        },
    };
    function.check();
}
