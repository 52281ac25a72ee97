//! Outputs, running statistics and gradients of residual blocks, split batch normalisation and heads.

use burn::tensor::{Tensor, activation::relu, module::conv2d, ops::ConvOptions};
use densecl::{
    matching::l2_normalize,
    model::{BatchNorm, Block, DenseHead, GlobalHead, Init},
    network::{self, BlockKind, BlockSizes},
    ops::{Activation, FeatureMap},
};
use densecl_tests::{
    golden::{Golden, TOLERANCE, assert_close},
    network::{Gradient, cpu, fill, gradients, input, named_values, tensor, values},
};

const BOTTLENECK: BlockKind = BlockKind::Bottleneck {
    stride_in_1x1: false,
};

/// Name, kind, input channels, planes, stride, dilation of the first 3×3 convolution and of the following ones.
const CASES: [(&str, BlockKind, usize, usize, usize, usize, usize); 8] = [
    ("basic_plain", BlockKind::Basic, 8, 8, 1, 1, 1),
    ("basic_stride2", BlockKind::Basic, 8, 16, 2, 1, 1),
    ("basic_dilated_first", BlockKind::Basic, 8, 16, 1, 1, 2),
    ("basic_dilated", BlockKind::Basic, 8, 8, 1, 2, 2),
    ("bottleneck_plain", BOTTLENECK, 16, 4, 1, 1, 1),
    ("bottleneck_stride2", BOTTLENECK, 8, 4, 2, 1, 1),
    ("bottleneck_dilated_first", BOTTLENECK, 8, 4, 1, 1, 2),
    ("bottleneck_dilated", BOTTLENECK, 16, 4, 1, 2, 2),
];

#[test]
fn every_block_agrees() {
    let golden = Golden::open("blocks");
    for (case, kind, channels, planes, stride, dilation, dilation_after) in CASES {
        let device = cpu();
        let init = Init::new(0, &device);
        let sizes = BlockSizes {
            input: channels,
            planes,
            stride,
            dilation,
            dilation_after,
        };
        let mut block = Block::new(&init, &network::Block::new(case, kind, sizes));
        let prefix = format!("{case}.");
        let x = input(&format!("input/{case}"), [2, channels, 9, 9]);

        fill(&mut block, &prefix, Gradient::None);
        let eval = block.forward(FeatureMap::new(x.clone())).into_tensor();
        golden.assert_close(
            &format!("{case}/eval"),
            &eval.dims(),
            &values(&eval),
            TOLERANCE,
        );

        fill(&mut block, &prefix, Gradient::Tracked);
        let x = x.autodiff().require_grad();
        let train = block
            .forward_train(FeatureMap::new(x.clone()), 1)
            .into_tensor();
        golden.assert_close(
            &format!("{case}/train"),
            &train.dims(),
            &values(&train),
            TOLERANCE,
        );
        let weights = input(&format!("loss_weights/{case}"), train.dims()).autodiff();
        let backward = (train * weights).sum().backward();
        let of_input = x.grad(&backward).expect("a gradient of the input");
        golden.assert_close(
            &format!("{case}/grad/input"),
            &of_input.dims(),
            &values(&of_input),
            TOLERANCE,
        );
        let by_name = gradients(&block, &backward);
        for key in golden.keys(&format!("{case}/grad/")) {
            let name = key.rsplit('/').next().expect("a last part");
            if name != "input" {
                let (shape, _) = golden.f32(key);
                golden.assert_close(key, &shape, &by_name[name], TOLERANCE);
            }
        }
        for (name, got) in named_values(&block) {
            if name.contains(".running_") {
                golden.assert_close(&format!("{case}/{name}"), &[got.len()], &got, TOLERANCE);
            }
        }
    }
    golden.assert_all_read();
}

/// Compares a bottleneck whose stride is in the first 1×1 convolution with the same layers computed by
/// Burn's operations.
#[test]
fn a_bottleneck_with_the_stride_in_the_1x1_is_its_convolutions_one_after_the_other() {
    let (channels, planes, epsilon) = (8, 4, 1e-5);
    let x = input("input/v1", [2, channels, 9, 9]);
    for (stride, dilation) in [(2, 1), (1, 2)] {
        let device = cpu();
        let kind = BlockKind::Bottleneck {
            stride_in_1x1: true,
        };
        let sizes = BlockSizes {
            input: channels,
            planes,
            stride,
            dilation: 1,
            dilation_after: dilation,
        };
        let mut block = Block::new(
            &Init::new(0, &device),
            &network::Block::new("v1", kind, sizes),
        );
        fill(&mut block, "v1.", Gradient::None);
        let got = block.forward(FeatureMap::new(x.clone())).into_tensor();

        let tensors = named_values(&block);
        let layer = |x: Tensor<4>,
                     [conv, norm]: [&str; 2],
                     [out, input, size, stride, dilation]: [usize; 5]| {
            let weight = tensors[&format!("{conv}.weight")].clone();
            let weight = tensor(weight, [out, input, size, size], &device);
            let padding = dilation * (size - 1) / 2;
            let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], 1);
            let y = conv2d(x, weight, None, options);
            let of = |leaf: &str| -> Tensor<4> {
                tensor(
                    tensors[&format!("{norm}.{leaf}")].clone(),
                    [1, out, 1, 1],
                    &device,
                )
            };
            (y - of("running_mean")) / (of("running_var") + epsilon).sqrt() * of("weight")
                + of("bias")
        };
        let y = relu(layer(
            x.clone(),
            ["conv1", "bn1"],
            [planes, channels, 1, stride, 1],
        ));
        let y = relu(layer(y, ["conv2", "bn2"], [planes, planes, 3, 1, dilation]));
        let y = layer(y, ["conv3", "bn3"], [4 * planes, planes, 1, 1, 1]);
        let names = ["downsample.0", "downsample.1"];
        let expected = relu(y + layer(x.clone(), names, [4 * planes, channels, 1, stride, 1]));
        assert_eq!(got.dims(), expected.dims());
        assert_close(
            &format!("stride {stride}"),
            &values(&got),
            &values(&expected),
            1e-5,
        );

        // With the stride in the 3×3 convolution, as in torchvision, the same weights must give another result.
        let usual = network::Block::new("v1", BOTTLENECK, sizes);
        let mut usual = Block::new(&Init::new(0, &device), &usual);
        fill(&mut usual, "v1.", Gradient::None);
        let usual = usual.forward(FeatureMap::new(x.clone())).into_tensor();
        assert_eq!(usual.dims(), got.dims());
        assert_ne!(values(&usual), values(&got));
    }
}

#[test]
fn split_batch_norm_agrees() {
    let golden = Golden::open("split_bn");
    let device = cpu();
    let init = Init::new(0, &device);
    let mut norm = BatchNorm::new(&init, 5);
    fill(&mut norm, "split_bn.", Gradient::Tracked);
    let x = input("input/split_bn", [8, 5, 3, 3]);
    let leaf = x.clone().autodiff().require_grad();

    let train = norm
        .forward_train(FeatureMap::new(leaf.clone()), 4, Activation::Identity)
        .into_tensor();
    golden.assert_close("train", &train.dims(), &values(&train), TOLERANCE);
    let weights = input("loss_weights/split_bn", train.dims()).autodiff();
    let backward = (train * weights).sum().backward();
    let of_input = leaf.grad(&backward).expect("a gradient of the input");
    golden.assert_close(
        "grad/input",
        &of_input.dims(),
        &values(&of_input),
        TOLERANCE,
    );
    for (name, got) in gradients(&norm, &backward) {
        golden.assert_close(&format!("grad/{name}"), &[5], &got, TOLERANCE);
    }
    let buffers = named_values(&norm);
    for name in ["running_mean", "running_var"] {
        golden.assert_close(name, &[5], &buffers[name], TOLERANCE);
    }

    let eval = norm
        .forward(FeatureMap::new(x.autodiff()), Activation::Identity)
        .into_tensor();
    golden.assert_close("eval", &eval.dims(), &values(&eval), TOLERANCE);
    golden.assert_all_read();
}

#[test]
fn both_heads_agree() {
    let golden = Golden::open("heads");
    let device = cpu();
    let init = Init::new(0, &device);
    let x = input("input/heads", [2, 16, 7, 7]);

    let mut head = GlobalHead::new(&init, 16, 8);
    fill(&mut head, "global_head.", Gradient::None);
    let global = head.forward(x.clone());
    golden.assert_close("global", &global.dims(), &values(&global), TOLERANCE);

    for (case, num_grid) in [("dense", 0), ("dense_grid4", 4)] {
        let mut head = DenseHead::new(&init, 16, 8, num_grid);
        fill(&mut head, "dense_head.", Gradient::None);
        let cells = head.forward(x.clone());
        let key = format!("{case}/cells");
        golden.assert_close(&key, &cells.dims(), &values(&cells), TOLERANCE);
        let mean: Tensor<2> = cells.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2);
        let pooled = l2_normalize(mean, 1);
        let key = format!("{case}/pooled");
        golden.assert_close(&key, &pooled.dims(), &values(&pooled), TOLERANCE);
    }
    golden.assert_all_read();
}
