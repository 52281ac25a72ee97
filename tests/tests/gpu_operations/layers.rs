//! Normalisation and what follows it, losses, updates of parameters.

use burn::tensor::{DType, Device, Tensor};
use densecl::ops::{
    self, Activation, ConvWeights, FeatureMap, Following, Geometry, Operations, SgdSettings, choice,
};
use densecl_tests::network::cpu;

use crate::{AGREEMENT, Gpu, Values, assert_same, leaf, random, values};

/// Batch normalisation in groups, each activation, pooling, the fused convolution of inference, running statistics.
fn normalise(device: &Device, follows: usize) -> Values {
    let mut found = Vec::new();
    for (batch, channels, groups) in [(6, 5, 3), (4, 20, 1), (4, 64, 2)] {
        let shape = [batch, channels, 7, 5];
        let (x, shortcut) = (leaf(shape, 1, device), leaf(shape, 2, device));
        // Far from 0, so that sums of squares would lose digits.
        let shifted = x.clone() + 30.0;
        let (gamma, beta) = (leaf([channels], 3, device), leaf([channels], 4, device));
        let activation = |shortcut: &Tensor<4>| -> Activation {
            match follows {
                0 => Following::Identity,
                1 => Following::Relu,
                _ => Following::AddRelu(FeatureMap::new(shortcut.clone())),
            }
        };
        let map = FeatureMap::new(shifted.clone());
        let operations = map.operations(&gamma);
        let parameters = [gamma.clone(), beta.clone()];
        let out = operations.batch_norm(map, parameters, groups, 1e-5, activation(&shortcut));
        let running = [
            Tensor::zeros([channels], device),
            Tensor::ones([channels], device),
        ];
        let statistics = [out.mean.clone(), out.variance.clone()];
        let training = ops::training(device, DType::F32);
        let [mean, variance] = training.running(running, statistics, 0.1, 1.25);
        let output = out.output.max_pool().into_tensor();
        let along = random(output.dims(), 9, device).autodiff();
        let gradients = (output.clone() * along).sum().backward();
        found.push(values("output", output));
        found.push(values("mean", out.mean));
        found.push(values("variance", out.variance));
        found.push(values("running mean", mean));
        found.push(values("running variance", variance));
        let of = |leaf: &Tensor<4>| leaf.grad(&gradients).expect("tracked");
        found.push(values("gradient of x", of(&x)));
        if follows == 2 {
            found.push(values("gradient of the shortcut", of(&shortcut)));
        }
        for (name, parameter) in [("gradient of γ", &gamma), ("gradient of β", &beta)] {
            found.push(values(name, parameter.grad(&gradients).expect("tracked")));
        }
        let weights = ConvWeights::new(random([channels, channels, 3, 3], 5, device));
        let parameters = [gamma, beta].map(Tensor::inner);
        let map = FeatureMap::new(x.inner());
        let geometry = Geometry {
            stride: 1,
            dilation: 1,
        };
        let follow = activation(&shortcut.inner());
        let plain = ops::on(device, DType::F32);
        let fused = plain.conv2d_affine(map, &weights, geometry, parameters, follow);
        found.push(values("fused", fused.into_tensor()));
    }
    found
}

#[test]
fn normalisations_and_what_follows_agree_with_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    for follows in 0..3 {
        let expected = normalise(&cpu(), follows);
        for as_hardware in [false, true] {
            choice::treat_as_hardware(as_hardware);
            let found = normalise(&gpu.device, follows);
            assert_same(
                &format!("activation {follows}"),
                &found,
                &expected,
                AGREEMENT,
            );
        }
    }
}

#[test]
fn info_nce_agrees_with_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    let run = |device: &Device, [n, k, dim]: [usize; 3], tau: f64| {
        let unit = |rows, which| {
            let x: Tensor<2> = random([rows, dim], which, device);
            densecl::matching::l2_normalize(x, 1)
        };
        let vectors = [unit(n, 1), unit(n, 2), unit(k, 3)];
        let found = ops::training(device, DType::F32).info_nce(vectors, tau, true);
        vec![
            values("loss", found.loss),
            values("hit", found.hit),
            values("gradient", found.gradient.expect("asked for")),
        ]
    };
    // The last temperature is below what the kernels accept.
    for (sizes, tau) in [
        ([9, 50, 16], 0.2),
        ([70, 333, 128], 0.07),
        ([33, 100, 20], 0.2),
        ([5, 700, 256], 0.1),
        ([4, 30, 8], 0.01),
    ] {
        let expected = run(&cpu(), sizes, tau);
        for as_hardware in [false, true] {
            choice::treat_as_hardware(as_hardware);
            let found = run(&gpu.device, sizes, tau);
            assert_same(&format!("{sizes:?}, τ {tau}"), &found, &expected, AGREEMENT);
        }
    }
}

/// Three steps of the optimizer and the momentum encoder on tensors of many sizes, of which one has no gradient at first.
#[test]
fn updates_of_all_parameters_agree_with_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    let lengths = [3, 64, 65, 1, 1000, 128, 5];
    let run = |device: &Device| {
        let operations = ops::training(device, DType::F32);
        let tensors = |first: u64| -> Vec<Tensor<1>> {
            let each = lengths.iter().zip(first..);
            each.map(|(length, which)| random([*length], which, device))
                .collect()
        };
        let settings = SgdSettings {
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 0.01,
        };
        let (mut theta, mut keys) = (tensors(0), tensors(100));
        let mut velocity = vec![None; lengths.len()];
        let mut found = Vec::new();
        for step in 0..3 {
            let first = operations.gather(tensors(200 + 20 * step));
            let second = operations.gather(tensors(300 + 20 * step));
            let sum = operations.add_all(first, second);
            let norm = operations
                .sum_of_squares_all(sum.clone())
                .expect("there are tensors");
            found.push(values("norm", norm.clone()));
            let sum = operations.scale_all(sum, &norm.sqrt().recip());
            let mut gradient: Vec<_> = sum.into_iter().map(Some).collect();
            if step == 0 {
                gradient[2] = None;
            }
            let moved = operations.sgd_all(theta, velocity, gradient, settings, step != 1);
            // Only where it is asked for.
            assert_eq!(moved.squares.is_some(), step != 1);
            found.extend(moved.squares.map(|squares| values("squares", squares)));
            keys = operations.follow_all(keys, moved.theta.clone(), 0.9);
            theta = moved.theta;
            velocity = moved.velocity.into_iter().map(Some).collect();
        }
        for (name, tensors) in [("θ", theta), ("keys", keys)] {
            found.extend(tensors.into_iter().map(|x| values(name, x)));
        }
        found.extend(
            velocity
                .into_iter()
                .flatten()
                .map(|x| values("velocity", x)),
        );
        found
    };
    let expected = run(&cpu());
    for as_hardware in [false, true] {
        choice::treat_as_hardware(as_hardware);
        assert_same("updates", &run(&gpu.device), &expected, 1e-5);
    }
}

#[test]
fn nothing_that_is_not_finite_is_hidden() {
    let Some(gpu) = Gpu::new() else { return };
    for as_hardware in [false, true] {
        choice::treat_as_hardware(as_hardware);
        let x = random([2, 8, 5, 5], 1, &gpu.device);
        let weights = ConvWeights::new(random([8, 8, 3, 3], 2, &gpu.device) * f32::NAN);
        let channel = || random([8], 3, &gpu.device);
        let geometry = Geometry {
            stride: 1,
            dilation: 1,
        };
        let plain: &dyn Operations = ops::on(&gpu.device, DType::F32);
        let y = plain.conv2d_affine(
            FeatureMap::new(x),
            &weights,
            geometry,
            [channel(), channel()],
            Following::Relu,
        );
        let y = plain
            .batch_norm(y, [channel(), channel()], 1, 1e-5, Following::Relu)
            .output;
        let (_, found) = values("output", plain.max_pool(y).into_tensor());
        assert!(found.iter().all(|x| x.is_nan()), "{found:?}");
    }
}
