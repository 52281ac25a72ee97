//! Residual blocks, split batch normalisation and heads: outputs, running statistics, gradients.

use burn::tensor::Tensor;
use densecl::{
    matching::l2_normalize,
    model::{BatchNorm, Block, BlockShape, DenseHead, GlobalHead, Init, Phase},
    ops::{FeatureMap, Then},
};
use densecl_tests::{
    golden::{Golden, TOLERANCE},
    network::{Gradient, cpu, fill, gradients, input, named_values, values},
};

#[derive(Clone, Copy)]
enum BlockKind {
    Basic,
    Bottleneck,
}
use BlockKind::{Basic, Bottleneck};

/// Name, kind, channels in, planes, stride, dilation of the first 3×3 and of the following.
const CASES: [(&str, BlockKind, usize, usize, usize, usize, usize); 8] = [
    ("basic_plain", Basic, 8, 8, 1, 1, 1),
    ("basic_stride2", Basic, 8, 16, 2, 1, 1),
    ("basic_dilated_first", Basic, 8, 16, 1, 1, 2),
    ("basic_dilated", Basic, 8, 8, 1, 2, 2),
    ("bottleneck_plain", Bottleneck, 16, 4, 1, 1, 1),
    ("bottleneck_stride2", Bottleneck, 8, 4, 2, 1, 1),
    ("bottleneck_dilated_first", Bottleneck, 8, 4, 1, 1, 2),
    ("bottleneck_dilated", Bottleneck, 16, 4, 1, 2, 2),
];

#[test]
fn every_block_agrees() {
    let golden = Golden::open("blocks");
    for (case, kind, channels, planes, stride, dilation, dilation_after) in CASES {
        let device = cpu();
        let init = Init::new(0, &device);
        let shape = BlockShape {
            input: channels,
            planes,
            stride,
            dilation,
            dilation_after,
        };
        let mut block = match kind {
            Basic => Block::basic(&init, case, shape),
            Bottleneck => Block::bottleneck(&init, case, shape),
        };
        let prefix = format!("{case}.");
        let x = input(&format!("input/{case}"), [2, channels, 9, 9]);

        fill(&mut block, &prefix, Gradient::None);
        let eval = block
            .forward(FeatureMap::new(x.clone()), Phase::Eval)
            .into_tensor();
        golden.assert_close(
            &format!("{case}/eval"),
            &eval.dims(),
            &values(&eval),
            TOLERANCE,
        );

        fill(&mut block, &prefix, Gradient::Tracked);
        let x = x.autodiff().require_grad();
        let train = block
            .forward(FeatureMap::new(x.clone()), Phase::Train { groups: 1 })
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
        .forward(
            FeatureMap::new(leaf.clone()),
            Phase::Train { groups: 4 },
            Then::Nothing,
        )
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
        .forward(FeatureMap::new(x.autodiff()), Phase::Eval, Then::Nothing)
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
