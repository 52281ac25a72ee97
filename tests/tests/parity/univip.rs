//! UniVIP: each loss and its gradients, plans of optimal transport, whole steps; and Sinkhorn's algorithm against an exact
//! solver.
//!
//! The goldens are PyTorch's and SciPy's, in float64: `golden/univip/README.md`.

use burn::tensor::Tensor;
use densecl::{
    config::{Backbone, MethodConfig, MethodName, ModelConfig, OptimConfig},
    loss::{Transport, marginal, sinkhorn},
    method::{
        Method, StepSettings, UniVip, instance_loss, instance_plan, scene_instance_loss, scene_loss,
    },
    model::Tensors,
    world::Alone,
};
use densecl_tests::{
    golden::{Golden, TOLERANCE, assert_close},
    network::{Gradient, cpu, fill, input, tensor, values},
    univip::sized_batch,
};

use super::byol::agrees;

const BATCH: usize = 8;
const SIDES: [usize; 2] = [96, 64];
const INSTANCES: usize = 3;
const DIM: usize = 12;
const STEPS: u64 = 2;
const SETS: [usize; 3] = [5, INSTANCES, DIM];
const ROWS: [usize; 2] = [5, DIM];

fn learner(weight_decay: f64) -> UniVip {
    let model = ModelConfig {
        backbone: Backbone::ResNet10,
        width: 8,
        ..ModelConfig::default()
    };
    let method = MethodConfig {
        name: MethodName::UniVip,
        momentum: 0.9,
        bn_groups: 2,
        projector_hidden: 24,
        projector_dim: DIM,
        instances: INSTANCES,
        instance_size: 64,
        ..MethodConfig::default()
    };
    let optim = OptimConfig {
        weight_decay,
        ..OptimConfig::default()
    };
    let mut learner = UniVip::new(&model, &method, &optim, 0, &cpu());
    fill(&mut learner.online, "", Gradient::Tracked);
    fill(&mut learner.target, "target.", Gradient::None);
    learner
}

fn batch(step: u64) -> densecl::method::MicroBatch {
    let name = format!("univip/step{step}");
    sized_batch(&name, BATCH, INSTANCES, SIDES, &cpu())
}

fn settings(step: u64) -> StepSettings {
    StepSettings {
        step,
        total_steps: STEPS,
        learning_rate: 0.002,
    }
}

#[test]
fn two_steps_agree() {
    let golden = Golden::open_in("univip", "step");
    // Without decay the first velocity of SGD is the gradient.
    let mut first = learner(0.0);
    first
        .step(vec![batch(0)], &settings(0), &mut Alone)
        .expect("a step");
    for velocity in first.optimizer.state(&first.online) {
        let key = format!("step0/grad/{}", velocity.name);
        agrees(&golden, "step", &key, &values(&velocity.values));
    }

    let mut learner = learner(1e-2);
    let got = values(&learner.plans(&batch(0)).plan);
    golden.assert_close(
        "step0/plan",
        &[BATCH, INSTANCES, INSTANCES],
        &got,
        TOLERANCE,
    );
    for step in 0..STEPS {
        let output = learner.step(vec![batch(step)], &settings(step), &mut Alone);
        let figures = output.expect("a step").figures().expect("figures");
        for name in [
            "loss",
            "loss_scene",
            "loss_scene_instance",
            "loss_instance",
            "feature_std",
            "target_std",
            "grad_norm",
        ] {
            let got = [figures[name] as f32];
            golden.assert_close(&format!("step{step}/{name}"), &[1], &got, TOLERANCE);
        }
        assert!(figures["transport_residual"] < 1e-4);
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
            agrees(&golden, "step", &key, &values(&tensor.values));
        }
    }
    golden.assert_all_read();
}

#[test]
fn the_losses_and_the_plan_agree() {
    let golden = Golden::open_in("univip", "parts");
    let rows = |name: &str| input::<2>(&format!("univip/{name}"), ROWS);
    let sets = |name: &str| input::<3>(&format!("univip/{name}"), SETS);
    let (f, g) = ([rows("f1"), rows("f2")], [rows("g1"), rows("g2")]);
    let (o, t) = (sets("o"), sets("t"));

    let prediction = f[0].clone().autodiff().require_grad();
    let loss = scene_loss(prediction.clone(), g[1].clone());
    let backward = loss.clone().backward();
    let gradient = prediction.grad(&backward).expect("tracked");
    golden.assert_close("scene/value", &[1], &values(&loss), TOLERANCE);
    golden.assert_close("scene/grad", &ROWS, &values(&gradient), TOLERANCE);

    let joined = rows("joined").autodiff().require_grad();
    let loss = scene_instance_loss(joined.clone(), g.clone());
    let backward = loss.clone().backward();
    let gradient = joined.grad(&backward).expect("tracked");
    golden.assert_close("scene_instance/value", &[1], &values(&loss), TOLERANCE);
    golden.assert_close("scene_instance/grad", &ROWS, &values(&gradient), TOLERANCE);

    let found = |epsilon: f64, iterations: usize| -> Transport {
        let vectors = [o.clone(), t.clone()];
        instance_plan(vectors, f.clone(), g.clone(), epsilon, iterations)
    };
    for (name, epsilon, iterations) in [
        ("usual", 0.1, 50),
        ("short", 0.1, 2),
        ("sharp", 0.02, 20),
        ("wide", 1.0, 50),
    ] {
        let Transport { plan, residual } = found(epsilon, iterations);
        let shape = [5, INSTANCES, INSTANCES];
        golden.assert_close(
            &format!("plan/{name}/plan"),
            &shape,
            &values(&plan),
            TOLERANCE,
        );
        // Rounding is all that is left of the residual where the iteration has converged.
        let want = golden.scalar(&format!("plan/{name}/residual"));
        let got = values(&residual)[0];
        assert!(
            (got - want).abs() <= TOLERANCE * want + 2e-6,
            "{name}: {got} {want}"
        );
    }

    let online = o.clone().autodiff().require_grad();
    let loss = instance_loss(online.clone(), t.clone(), found(0.1, 50).plan);
    let backward = loss.clone().backward();
    let gradient = online.grad(&backward).expect("tracked");
    golden.assert_close("instance/value", &[1], &values(&loss), TOLERANCE);
    golden.assert_close("instance/grad", &SETS, &values(&gradient), TOLERANCE);
    golden.assert_all_read();
}

/// With a small ε the plan is that of the linear program, and its cost the least possible one; with the usual ε it is the
/// plan of another implementation, and costs no more than the entropy explains.
#[test]
fn sinkhorn_agrees_with_an_exact_solver() {
    let golden = Golden::open_in("univip", "transport");
    let sizes = [
        [2, 2],
        [3, 3],
        [4, 4],
        [4, 4],
        [4, 4],
        [3, 5],
        [6, 2],
        [8, 8],
    ];
    for (number, [m, n]) in sizes.into_iter().enumerate() {
        let name = format!("transport/{number}");
        let cost = input::<2>(&format!("{name}/cost"), [m, n]) + 1.0;
        let cost = cost.reshape([1, m, n]);
        let of_side =
            |side: &str, count: usize| marginal(input::<2>(&format!("{name}/{side}"), [1, count]));
        let (rows, columns) = (of_side("rows", m), of_side("columns", n));
        let found = |epsilon: f64, iterations: usize| {
            sinkhorn(
                cost.clone(),
                rows.clone(),
                columns.clone(),
                epsilon,
                iterations,
            )
        };
        let total = |plan: Tensor<3>| f64::from(values(&(plan * cost.clone()).sum())[0]);
        let optimum = f64::from(golden.scalar(&format!("{number}/optimum")));

        let usual = found(0.1, 50);
        let key = format!("{number}/usual");
        golden.assert_close(&key, &[m, n], &values(&usual.plan), TOLERANCE);
        let excess = total(usual.plan) - optimum;
        let entropy = 0.1 * ((m * n) as f64).ln();
        assert!((-1e-5..=entropy).contains(&excess), "{number}: {excess}");
        assert!(values(&usual.residual)[0] < 1e-5);

        // Exponents of up to 2/ε = 500 leave f32 an error of 3e-5 in each logarithm.
        let sharp = found(0.004, 4000);
        assert!(values(&sharp.residual)[0] < 1e-4);
        for key in ["exact", "sharp"] {
            let (_, want) = golden.f32(&format!("{number}/{key}"));
            let got = values(&sharp.plan);
            assert_close(&format!("{number}/{key}"), &got, &want, TOLERANCE);
        }
        let excess = total(sharp.plan) - optimum;
        assert!(excess.abs() < 1e-4, "{number}: {excess}");
    }
    golden.assert_all_read();
}

/// A gradient reaches the online vectors alone: plans and targets are constants.
#[test]
fn nothing_else_gets_a_gradient() {
    let leaf = |name: &str| input::<3>(name, SETS).autodiff().require_grad();
    let [online, target] = ["univip/o", "univip/t"].map(leaf);
    let scene = |name: &str| input::<2>(name, ROWS).autodiff().require_grad();
    let (f, g) = (
        ["univip/f1", "univip/f2"].map(scene),
        ["univip/g1", "univip/g2"].map(scene),
    );
    let vectors = [online.clone(), target.clone()];
    let found = instance_plan(vectors, f.clone(), g.clone(), 0.1, 5);
    assert!(!found.plan.is_autodiff() && !found.residual.is_autodiff());
    let uniform = tensor(vec![1.0 / 9.0; 45], [5, 3, 3], &cpu());
    let uniform = uniform.autodiff().require_grad();
    let loss = instance_loss(online.clone(), target.clone(), uniform.clone());
    let backward = loss.backward();
    assert!(online.grad(&backward).is_some());
    assert!(target.grad(&backward).is_none() && uniform.grad(&backward).is_none());
    let joined = scene("univip/joined");
    let backward = scene_instance_loss(joined.clone(), g.clone()).backward();
    assert!(joined.grad(&backward).is_some() && g[0].grad(&backward).is_none());
}
