//! Compares the features of torchvision's ResNets at 224 px and at an odd size, at every output stride.

use std::{fs, path::PathBuf};

use densecl::{foreign::names::Layout, weights::Weights};
use densecl_tests::{
    golden::{Golden, TOLERANCE, assert_close, relative_error},
    network::{cpu, input, tensor, values},
};
use safetensors::SafeTensors;

use crate::bytes;

fn features_agree(depth: usize) {
    let file = format!("features_r{depth}");
    let golden = Golden::open_in("interop", &file);
    let weights = bytes("interop", &format!("torchvision_r{depth}.pth"));
    let weights = Weights::read(&weights).expect("a state of torchvision");
    assert_eq!(weights.account.layout, Layout::Torchvision);
    assert_eq!(
        weights.info.steps, 1234,
        "steps are read from the file's counters"
    );
    for [height, width] in [[224, 224], [375, 500]] {
        let images = input(&format!("{file}/{height}x{width}"), [1, 3, height, width]);
        for stride in [32, 16, 8] {
            let (encoder, info) = weights
                .clone()
                .encoder(Some(stride), &cpu())
                .expect("a known stride");
            assert_eq!(info.model.output_stride, stride);
            let map = encoder.backbone.forward(images.clone());
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

/// torchvision's full-width networks. Their files take 140 MB and are not in the repository: DENSECL_INTEROP
/// names the folder that holds them.
#[test]
#[ignore = "DENSECL_INTEROP names the folder that golden/interop/check_exports.py --work has filled"]
fn whole_networks() {
    let folder = std::env::var("DENSECL_INTEROP").expect("DENSECL_INTEROP is set");
    let read = |file: String| {
        let path = PathBuf::from(&folder).join(file);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    for depth in [18, 50] {
        let weights = Weights::read(&read(format!("resnet{depth}_original.pth"))).expect("whole");
        let recorded = read(format!("resnet{depth}_features.safetensors"));
        let recorded = SafeTensors::deserialize(&recorded).expect("whole");
        let floats = |key: &str| {
            let view = recorded.tensor(key).expect(key);
            let (chunks, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = chunks.iter().map(|&b| f32::from_le_bytes(b)).collect();
            (values, view.shape().to_vec())
        };
        let mut compared = 0;
        for key in recorded.names() {
            let Some((size, stride)) = key
                .strip_prefix("features/")
                .and_then(|key| key.split_once("/stride"))
            else {
                continue;
            };
            let stride = stride.parse().expect("a number");
            let (images, shape) = floats(&format!("images/{size}"));
            let shape: [usize; 4] = shape.try_into().expect("a batch of images");
            let images = tensor(images, shape, &cpu());
            let encoder = weights.clone().encoder(Some(stride), &cpu());
            let (encoder, _) = encoder.expect("a known stride");
            let map = encoder.backbone.forward(images);
            let (want, shape) = floats(key);
            assert_eq!(map.dims().to_vec(), shape, "{key}");
            let got = values(&map);
            println!("resnet{depth} {key}: {:.1e}", relative_error(&got, &want).0);
            assert_close(key, &got, &want, TOLERANCE);
            compared += 1;
        }
        assert!(compared >= 2, "nothing to compare");
    }
}
