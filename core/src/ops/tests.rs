//! Compares values and gradients of this project's kernels with those of Burn's operations.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    Activation, ConvWeights, FeatureMap, Geometry, Operations, Training,
    cpu::{Cpu, gradient::CpuKernels},
    gradient::Tracked,
    stock,
};
use crate::rng::{Purpose, normal_pair, stream};

fn random<const D: usize>(shape: [usize; D], which: u64) -> Tensor<D> {
    let mut rng = stream(1, Purpose::Weights, which);
    let count = shape.iter().product();
    let values: Vec<f32> = std::iter::repeat_with(|| normal_pair(&mut rng))
        .flatten()
        .map(|z| z as f32)
        .take(count)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn leaf<const D: usize>(shape: [usize; D], which: u64) -> Tensor<D> {
    random(shape, which).autodiff().require_grad()
}

#[track_caller]
fn assert_same<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(found.dims(), expected.dims());
    let scale: f32 = expected.clone().abs().max().into_scalar();
    let error: f32 = (found - expected).abs().max().into_scalar();
    assert!(error <= 2e-5 * scale, "off by {error} of {scale}");
}

/// Runs `compute` with both implementations of the operations and compares the outputs, and the gradients of
/// `leaves` for a random gradient of the first output.
fn compare(leaves: &[Tensor<4>], compute: impl Fn(&dyn Operations) -> Vec<Tensor<4>>) {
    let run = |operations: &dyn Operations| {
        let outputs = compute(operations);
        let along = random(outputs[0].dims(), 99).autodiff();
        let gradients = (outputs[0].clone() * along).sum().backward();
        let of = |leaf: &Tensor<4>| leaf.grad(&gradients).expect("a gradient");
        let gradients: Vec<_> = leaves.iter().map(of).collect();
        let outputs = outputs.into_iter().map(Tensor::inner);
        outputs.chain(gradients).collect::<Vec<_>>()
    };
    let (ours, burns) = (run(&Tracked::<CpuKernels>::new()), run(&stock::Burn));
    assert_eq!(ours.len(), burns.len());
    for (ours, burns) in ours.into_iter().zip(burns) {
        assert_same(ours, burns);
    }
}

/// The feature map in the memory order of `operations`, which need not be the device's.
fn map(operations: &dyn Operations, x: &Tensor<4>) -> FeatureMap {
    let channels_last = operations.channels_last();
    let order = if channels_last {
        [0, 2, 3, 1]
    } else {
        [0, 1, 2, 3]
    };
    FeatureMap {
        ordered: x.clone().permute(order),
        channels_last,
    }
}

/// The vector of a leaf. Leaves have four dimensions, so that vectors and maps fit into one list.
fn vector(leaf: &Tensor<4>) -> Tensor<1> {
    leaf.clone().flatten(0, 3)
}

#[test]
fn convolutions() {
    for (kernel, stride, dilation) in [
        (7, 2, 1),
        (3, 1, 1),
        (3, 2, 1),
        (3, 1, 2),
        (1, 1, 1),
        (1, 2, 1),
    ] {
        let (x, weight, bias) = (
            leaf([2, 20, 9, 7], 1),
            leaf([18, 20, kernel, kernel], 2),
            leaf([1, 18, 1, 1], 3),
        );
        let geometry = Geometry { stride, dilation };
        compare(&[x.clone(), weight.clone()], |ops| {
            vec![
                ops.conv2d(
                    map(ops, &x),
                    &ConvWeights::new(weight.clone()),
                    None,
                    geometry,
                )
                .into_tensor(),
            ]
        });
        compare(&[x.clone(), weight.clone(), bias.clone()], |ops| {
            vec![
                ops.conv2d(
                    map(ops, &x),
                    &ConvWeights::new(weight.clone()),
                    Some(vector(&bias)),
                    geometry,
                )
                .into_tensor(),
            ]
        });
        let plain = |ops: &dyn Operations| {
            ops.conv2d(
                map(ops, &x.clone().inner()),
                &ConvWeights::new(weight.clone().inner()),
                None,
                geometry,
            )
            .into_tensor()
        };
        assert_same(plain(&Cpu), plain(&stock::Burn));
        for follows in 0..3 {
            let normalized = |ops: &dyn Operations| {
                let weights = ConvWeights::new(weight.clone().inner());
                let (channel, shortcut) = (vector(&bias).inner(), plain(ops) * 0.5);
                let activation = match follows {
                    0 => Activation::Identity,
                    1 => Activation::Relu,
                    _ => Activation::AddRelu(map(ops, &shortcut)),
                };
                let x = map(ops, &x.clone().inner());
                let scale_shift = [channel.clone() * 2.0, channel];
                let y = ops.conv2d_affine(x, &weights, geometry, scale_shift, activation);
                y.into_tensor()
            };
            assert_same(normalized(&Cpu), normalized(&stock::Burn));
        }
    }
}

#[test]
fn what_was_made_of_weights_lasts_until_they_change() {
    let x = random([1, 16, 4, 4], 1);
    let geometry = Geometry {
        stride: 1,
        dilation: 1,
    };
    let mut weights = ConvWeights::new(random([16, 16, 3, 3], 2));
    let out = |weights: &ConvWeights| {
        let y = Cpu.conv2d(FeatureMap::new(x.clone()), weights, None, geometry);
        y.into_tensor()
    };
    assert!(weights.made().is_none());
    let before = out(&weights);
    let made = weights.made().expect("the kernel keeps what it made");
    let copy = weights.clone();
    assert_same(out(&weights), before.clone());
    assert_same(out(&copy), before.clone());
    for kept in [&weights, &copy] {
        assert!(kept.made().is_some_and(|kept| Arc::ptr_eq(&kept, &made)));
    }

    *weights.change() = weights.tensor().clone() * 2.0;
    assert!(weights.made().is_none());
    assert_same(out(&weights), before.clone() * 2.0);
    assert_same(out(&copy), before);
    assert!(copy.made().is_some_and(|kept| Arc::ptr_eq(&kept, &made)));
}

#[test]
fn batch_normalisations_and_what_follows() {
    let (x, shortcut) = (leaf([6, 5, 4, 3], 1), leaf([6, 5, 4, 3], 2));
    let (gamma, beta) = (leaf([1, 5, 1, 1], 3), leaf([1, 5, 1, 1], 4));
    for follows in 0..3 {
        let chosen = |ops: &dyn Operations, shortcut: &Tensor<4>| match follows {
            0 => Activation::Identity,
            1 => Activation::Relu,
            _ => Activation::AddRelu(map(ops, shortcut)),
        };
        let mut leaves = vec![x.clone(), gamma.clone(), beta.clone()];
        leaves.extend((follows == 2).then(|| shortcut.clone()));
        compare(&leaves, |ops| {
            let parameters = [vector(&gamma), vector(&beta)];
            let activation = chosen(ops, &shortcut);
            let out = ops.batch_norm(map(ops, &x), parameters, 3, 1e-5, activation);
            let statistic = |t: Tensor<1>| t.reshape([1, 15, 1, 1]).autodiff();
            vec![
                out.output.into_tensor(),
                statistic(out.mean),
                statistic(out.variance),
            ]
        });
        let affine = |ops: &dyn Operations| {
            let parameters = [&gamma, &beta].map(|t| vector(t).inner());
            let activation = chosen(ops, &shortcut.clone().inner());
            let x = map(ops, &x.clone().inner());
            ops.affine(x, parameters, activation).into_tensor()
        };
        assert_same(affine(&Cpu), affine(&stock::Burn));
    }
}

#[test]
fn pooling() {
    for side in [8, 7] {
        let x = leaf([2, 3, side, 5], 1);
        compare(std::slice::from_ref(&x), |ops| {
            vec![ops.max_pool(map(ops, &x)).into_tensor()]
        });
    }
}

#[test]
fn info_nce_in_any_tiles() {
    let unit = |n, which| {
        let x: Tensor<2> = random([n, 16], which);
        crate::matching::l2_normalize(x, 1)
    };
    let vectors = || [unit(9, 1), unit(9, 2), unit(50, 3)];
    let kernel = Cpu.info_nce(vectors(), 0.2, true);
    for tile in [1, 7, 50, 64] {
        let tiled = stock::info_nce_in_tiles(vectors(), 0.2, true, tile);
        assert_same(tiled.loss, kernel.loss.clone());
        assert_same(tiled.hit, kernel.hit.clone());
        let gradient = |t: Option<Tensor<2>>| t.expect("it was asked for");
        assert_same(gradient(tiled.gradient), gradient(kernel.gradient.clone()));
    }
    assert!(Cpu.info_nce(vectors(), 0.2, false).gradient.is_none());
}
