//! Computes the native features that the browser's are compared with. They are computed in each test run, so
//! there is no golden file that could become outdated.

use std::{fs, path::Path};

use burn::tensor::Device;
use densecl::{
    config::{Backbone, ModelConfig},
    features::{Feature, dense_features, image_batch},
    model::Encoder,
    synthetic::{SceneConfig, scene_pair},
    weights::{self, FORMAT_VERSION, WeightsInfo},
};
use densecl_tests::network::{cpu, values};
use image::RgbImage;
use serde_json::{Value, json};

/// Sides of the pictures: small enough for SwiftShader, and the size that visitors use. The pictures have the
/// network's input size, so that resampling cannot cause a difference.
const TINY: u32 = 64;
const SHIPPED: u32 = 224;

/// Writes to `out`:
///
/// - `tiny.safetensors`: a narrow untrained network;
/// - `wrong-architecture.safetensors`: the same tensors with another network in the metadata;
/// - `{tiny,shipped}-{a,b}.png`: two views of one scene;
/// - `{tiny,shipped}.json`: the list of features, strides and grids;
/// - `…-FEATURE-STRIDE.f32`: the unit-length features of both pictures, [2, C, h, w], little-endian.
pub(crate) fn write(out: &Path, root: &Path) {
    fs::create_dir_all(out).expect("the target folder can be written");
    let model = ModelConfig {
        backbone: Backbone::ResNet10,
        width: 8,
        output_stride: 32,
        dim: 16,
        ..ModelConfig::default()
    };
    let tiny = encoder_bytes(&model, Backbone::ResNet10);
    save(out, "tiny.safetensors", &tiny);
    let wrong = encoder_bytes(&model, Backbone::ResNet18);
    save(out, "wrong-architecture.safetensors", &wrong);
    features(out, "tiny", TINY, &tiny);
    features(out, "shipped", SHIPPED, &shipped(root));
}

/// A file with an untrained network, whose metadata declares the architecture `named`.
fn encoder_bytes(model: &ModelConfig, named: Backbone) -> Vec<u8> {
    let encoder = Encoder::new(model, 7, &cpu());
    let info = WeightsInfo {
        format_version: FORMAT_VERSION,
        method: "densecl".to_owned(),
        model: ModelConfig {
            backbone: named,
            ..model.clone()
        },
        steps: 0,
        data: "none: untrained".to_owned(),
        config: String::new(),
    };
    weights::save(&encoder, &info).expect("the CPU answers")
}

/// The included weights, from which the page's shards are made.
fn shipped(root: &Path) -> Vec<u8> {
    let path = root.join("weights/densecl_r18_photos.safetensors");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn features(out: &Path, name: &str, size: u32, bytes: &[u8]) {
    let scene = SceneConfig {
        size,
        ..SceneConfig::default()
    };
    let pair = scene_pair(11, 0, &scene);
    let pictures = [pair.a.image, pair.b.image];
    for (picture, side) in pictures.iter().zip(["a", "b"]) {
        let path = out.join(format!("{name}-{side}.png"));
        picture
            .save(path)
            .expect("the target folder can be written");
    }
    let cases: Vec<Value> = [32, 16, 8]
        .into_iter()
        .flat_map(|stride| Feature::COMPARED.map(|feature| (feature, stride)))
        .map(|(feature, stride)| case(out, name, &pictures, bytes, feature, stride))
        .collect();
    let summary = json!({ "size": size, "cases": cases });
    save(out, &format!("{name}.json"), summary.to_string().as_bytes());
}

fn case(
    out: &Path,
    name: &str,
    pictures: &[RgbImage],
    bytes: &[u8],
    feature: Feature,
    stride: usize,
) -> Value {
    let device: Device = cpu();
    let loaded = weights::load_with_stride(bytes, Some(stride), &device);
    let (encoder, _) = loaded.expect("weights that were just written, or that ship");
    let map = dense_features(&encoder, image_batch(pictures, &device), feature);
    let [_, channels, rows, columns] = map.dims();
    let feature = serde_json::to_value(feature).expect("a plain name");
    let file = format!("{name}-{}-{stride}.f32", feature.as_str().expect("a name"));
    let numbers: Vec<u8> = values(&map).iter().flat_map(|v| v.to_le_bytes()).collect();
    save(out, &file, &numbers);
    json!({
        "feature": feature, "stride": stride, "channels": channels, "grid": [rows, columns], "file": file,
    })
}

fn save(out: &Path, name: &str, bytes: &[u8]) {
    let path = out.join(name);
    fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
