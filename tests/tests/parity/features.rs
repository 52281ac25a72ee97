//! Features of every stage of full-width backbones at every output stride.

use densecl::{
    config::{Backbone, ModelConfig},
    model::{Init, ResNet},
};
use densecl_tests::{
    golden::{Golden, TOLERANCE},
    network::{Gradient, cpu, fill, input, named_values, values},
};

fn resnet(backbone: Backbone, output_stride: usize) -> ResNet {
    let device = cpu();
    let init = Init::new(0, &device);
    let config = ModelConfig {
        backbone,
        output_stride,
        ..ModelConfig::default()
    };
    let mut network = ResNet::new(&init, &config);
    fill(&mut network, "", Gradient::None);
    network
}

/// Compares all goldens of one backbone; `last_norm` is the name of its last batch normalisation.
fn backbone_agrees(backbone: Backbone, last_norm: &str) {
    let file = backbone.name();
    let golden = Golden::open(file);
    let even = input(&format!("input/{file}"), [2, 3, 64, 64]);
    let odd = input(&format!("input/{file}/odd"), [1, 3, 75, 101]);

    // Stages 1 and 2 do not depend on the output stride.
    for (stride, suffix, images, first) in [
        (32, "", &even, 1),
        (16, "", &even, 3),
        (8, "", &even, 3),
        (32, "_odd", &odd, 1),
    ] {
        let stages = resnet(backbone, stride).stages(images.clone());
        for (stage, map) in (1..).zip(&stages.0).skip(first - 1) {
            let key = format!("eval{stride}{suffix}/stage{stage}");
            golden.assert_digest(&key, &map.dims(), &values(map), TOLERANCE);
        }
    }

    let mut network = resnet(backbone, 32);
    let stages = network.stages_train(even, 1);
    for (stage, map) in (1..).zip(&stages.0) {
        let key = format!("train32/stage{stage}");
        golden.assert_digest(&key, &map.dims(), &values(map), TOLERANCE);
    }
    let buffers = named_values(&network);
    for norm in ["bn1", last_norm] {
        for statistic in ["running_mean", "running_var"] {
            let name = format!("{norm}.{statistic}");
            let got = &buffers[&name];
            golden.assert_close(&format!("train32/{name}"), &[got.len()], got, TOLERANCE);
        }
    }
    golden.assert_all_read();
}

#[test]
fn resnet18_agrees_at_every_stride_and_in_train_mode() {
    backbone_agrees(Backbone::ResNet18, "layer4.1.bn2");
}

#[test]
fn resnet50_agrees_at_every_stride_and_in_train_mode() {
    backbone_agrees(Backbone::ResNet50, "layer4.2.bn3");
}

#[test]
fn the_other_depths_agree() {
    let golden = Golden::open("other_depths");
    for backbone in [Backbone::ResNet10, Backbone::ResNet34, Backbone::ResNet101] {
        let name = backbone.name();
        let images = input(&format!("input/{name}"), [1, 3, 64, 64]);
        let features = resnet(backbone, 32).forward(images);
        let key = format!("{name}/stage4");
        golden.assert_digest(&key, &features.dims(), &values(&features), TOLERANCE);
    }
    golden.assert_all_read();
}
