//! Features of torchvision's ResNets, at 224 px and at an odd size, at every output stride.

use densecl::{model::Phase, torch::keys::Layout, weights::Weights};
use densecl_tests::{
    golden::{Golden, TOLERANCE},
    network::{cpu, input, values},
};

use crate::bytes;

fn features_agree(depth: usize) {
    let file = format!("features_r{depth}");
    let golden = Golden::open_in("interop", &file);
    let weights = bytes("interop", &format!("torchvision_r{depth}.pth"));
    let weights = Weights::read(&weights).expect("a state of torchvision");
    assert_eq!(weights.account.layout, Layout::Torchvision);
    assert_eq!(weights.info.steps, 1234, "the counters of the file");
    for [height, width] in [[224, 224], [375, 500]] {
        let images = input(&format!("{file}/{height}x{width}"), [1, 3, height, width]);
        for stride in [32, 16, 8] {
            let (mut encoder, info) = weights
                .clone()
                .encoder(Some(stride), &cpu())
                .expect("a known stride");
            assert_eq!(info.model.output_stride, stride);
            let map = encoder.backbone.forward(images.clone(), Phase::Eval);
            let key = format!("{height}x{width}/stride{stride}");
            golden.assert_digest(&key, &map.dims(), &values(&map), TOLERANCE);
        }
    }
    golden.assert_all_read();
}

#[test]
fn resnet18() {
    features_agree(18);
}

#[test]
fn resnet50() {
    features_agree(50);
}
