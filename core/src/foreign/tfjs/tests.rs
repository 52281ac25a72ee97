//! Models made here in TensorFlow.js's format, read and compared with what Keras computes.

use rand::RngExt;
use serde_json::{Value, json};

use super::*;
use crate::{
    network::{Backbone, Convolution, ModelConfig, Network},
    rng::{Purpose, stream},
    weights::Weights,
};

const EPSILON_OF_KERAS: f64 = 1e-3;

fn model(stride_in_1x1: bool) -> ModelConfig {
    ModelConfig {
        backbone: Backbone::ResNet50,
        width: 8,
        stride_in_1x1,
        ..ModelConfig::default()
    }
}

/// Keras' names of a convolution and its batch normalisation, in its first versions and since.
fn keras_names(convolution: &Convolution, first_version: bool) -> [String; 2] {
    let Some((block, part)) = convolution.name.split_once(".conv") else {
        if convolution.name == "conv1" {
            let names = if first_version {
                ["conv1", "bn_conv1"]
            } else {
                ["conv1_conv", "conv1_bn"]
            };
            return names.map(str::to_string);
        }
        let block = convolution.name.trim_end_matches(".downsample.0");
        return block_names(block, 0, first_version);
    };
    block_names(block, part.parse().expect("a number"), first_version)
}

fn block_names(block: &str, branch: usize, first_version: bool) -> [String; 2] {
    let (stage, block) = block
        .strip_prefix("layer")
        .and_then(|rest| rest.split_once('.'))
        .expect("a block");
    let stage = stage.parse::<usize>().expect("a number") + 1;
    let block: u8 = block.parse().expect("a number");
    if first_version {
        let branch = ["1", "2a", "2b", "2c"][branch];
        let letter = char::from(b'a' + block);
        ["res", "bn"].map(|kind| format!("{kind}{stage}{letter}_branch{branch}"))
    } else {
        let number = block + 1;
        ["conv", "bn"].map(|kind| format!("conv{stage}_block{number}_{branch}_{kind}"))
    }
}

/// `model.json` as a value, and the numbers of all tensors.
fn keras(model: &ModelConfig, first_version: bool) -> (Value, Vec<u8>) {
    let mut rng = stream(1, Purpose::Weights, 0);
    let (mut layers, mut weights, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |name: String, shape: Vec<usize>, least: f32| {
        let count = shape.iter().product();
        let values = (0..count).map(|_| rng.random_range(least..least + 1.0));
        numbers.extend(values.flat_map(f32::to_le_bytes));
        weights.push(json!({ "name": name, "shape": shape, "dtype": "float32" }));
    };
    let network = Network::new(model);
    for convolution in network.convolutions() {
        let [conv, norm] = keras_names(convolution, first_version);
        let Convolution {
            input,
            output,
            size,
            stride,
            ..
        } = *convolution;
        let config = json!({ "name": conv, "strides": [stride, stride], "use_bias": true });
        layers.push(json!({ "class_name": "Conv2D", "config": config }));
        let config = json!({ "name": norm, "epsilon": EPSILON_OF_KERAS });
        layers.push(json!({ "class_name": "BatchNormalization", "config": config }));
        add(
            format!("{conv}/kernel"),
            vec![size, size, input, output],
            -0.5,
        );
        add(format!("{conv}/bias"), vec![output], -0.5);
        for (tensor, least) in [("gamma", 0.5), ("beta", -0.5), ("moving_mean", -0.5)] {
            add(format!("{norm}/{tensor}"), vec![output], least);
        }
        add(format!("{norm}/moving_variance"), vec![output], 0.5);
    }
    add(
        "fc1000/kernel".to_string(),
        vec![network.channels(), 10],
        0.0,
    );
    add("fc1000/bias".to_string(), vec![10], 0.0);
    let json = json!({
        "format": "layers-model",
        "modelTopology": { "model_config": { "config": { "layers": layers } } },
        "weightsManifest": [{ "paths": ["a.bin", "b.bin"], "weights": weights }],
    });
    (json, numbers)
}

fn bytes(json: &Value, numbers: &[u8]) -> Vec<u8> {
    // Two files, cut in the middle of a number.
    let (a, b) = numbers.split_at(1001);
    joined(json.to_string().as_bytes(), &[a.to_vec(), b.to_vec()])
}

fn message(json: &Value, numbers: &[u8]) -> String {
    let error = Weights::read(&bytes(json, numbers)).expect_err("refused");
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn every_tensor_is_used_or_dropped_and_the_stride_is_where_the_layers_say() {
    for first_version in [true, false] {
        for stride_in_1x1 in [true, false] {
            let model = model(stride_in_1x1);
            let (json, numbers) = keras(&model, first_version);
            let weights = Weights::read(&bytes(&json, &numbers)).expect("a model");
            assert_eq!(weights.info.model, model);
            // 53 convolutions; of each the kernel and four numbers of its batch normalisation.
            assert_eq!(weights.account.used.len(), 53 * 5);
            assert_eq!(weights.account.dropped.len(), 53 + 2);
            assert_eq!(
                files(json.to_string().as_bytes()).expect("files"),
                ["a.bin", "b.bin"]
            );
        }
    }
}

#[test]
fn the_first_convolution_gives_what_keras_gives() {
    let (json, numbers) = keras(&model(true), true);
    let bytes = bytes(&json, &numbers);
    let file = LayersModel::open(&bytes).expect("a model");
    let raw = |name: &str| -> Vec<f64> {
        let tensor = file.tensors.iter().find(|t| t.name == name).expect("there");
        let count: usize = tensor.shape.iter().product();
        let bytes = &numbers[tensor.start..][..4 * count];
        let (values, _) = bytes.as_chunks();
        values
            .iter()
            .map(|&v| f64::from(f32::from_le_bytes(v)))
            .collect()
    };
    let ours = |name: &str| -> Vec<f64> {
        let stored = file.read(name).expect("there");
        stored.values.into_iter().map(f64::from).collect()
    };
    // A patch of 7 × 7 pixels, RGB in 0 … 255.
    let mut rng = stream(2, Purpose::Weights, 0);
    let patch: Vec<[f64; 3]> = (0..49)
        .map(|_| [0; 3].map(|_: i32| rng.random_range(0.0..255.0)))
        .collect();
    let outputs = 8;
    for output in 0..outputs {
        let kernel = raw("conv1/kernel");
        let mut theirs = raw("conv1/bias")[output];
        for (place, pixel) in patch.iter().enumerate() {
            for channel in 0..3 {
                // Channel 0 of Keras' is blue.
                let color = 2 - channel;
                let value = pixel[color] - CAFFE_MEAN[color];
                theirs += kernel[(place * 3 + channel) * outputs + output] * value;
            }
        }
        let normal = |value: f64, of: &dyn Fn(&str) -> Vec<f64>, epsilon: f64| {
            let [gamma, beta, mean, variance] = ["gamma", "beta", "moving_mean", "moving_variance"]
                .map(|t| of(&format!("bn_conv1/{t}"))[output]);
            (value - mean) / (variance + epsilon).sqrt() * gamma + beta
        };
        let theirs = normal(theirs, &raw, EPSILON_OF_KERAS);
        let kernel = ours("conv1/kernel");
        let mut value = 0.0;
        for (place, pixel) in patch.iter().enumerate() {
            for color in 0..3 {
                let normalised = (pixel[color] / 255.0 - f64::from(IMAGENET_MEAN[color]))
                    / f64::from(IMAGENET_STD[color]);
                value += kernel[(output * 3 + color) * 49 + place] * normalised;
            }
        }
        let value = normal(value, &ours, EPSILON);
        // The tensors are f32; values are some hundreds.
        assert!(
            (value - theirs).abs() < 1e-5 * theirs.abs().max(100.0),
            "{value} {theirs}"
        );
    }
}

#[test]
fn an_inner_kernel_has_its_axes_turned_and_its_bias_in_the_mean() {
    let (json, numbers) = keras(&model(true), false);
    let bytes = bytes(&json, &numbers);
    let file = LayersModel::open(&bytes).expect("a model");
    let raw = |name: &str, at: usize| {
        let tensor = file.tensors.iter().find(|t| t.name == name).expect("there");
        let (values, _) = numbers[tensor.start + 4 * at..].as_chunks();
        f32::from_le_bytes(values[0])
    };
    let kernel = file.read("conv2_block1_2_conv/kernel").expect("there");
    assert_eq!(kernel.shape, [8, 8, 3, 3]);
    // Output 5, input 2, row 1, column 0.
    let ours = kernel.values[((5 * 8 + 2) * 3 + 1) * 3];
    assert_eq!(
        ours,
        raw("conv2_block1_2_conv/kernel", ((3 * 8) + 2) * 8 + 5)
    );
    let mean = file.read("conv2_block1_0_bn/moving_mean").expect("there");
    let expected = raw("conv2_block1_0_bn/moving_mean", 3) - raw("conv2_block1_0_conv/bias", 3);
    assert_eq!(mean.values[3], expected);
}

#[test]
fn bad_models_are_refused_in_a_line() {
    let (json, numbers) = keras(&model(true), true);
    assert!(message(&json, &numbers[..numbers.len() - 4]).contains("fc1000/bias"));
    let more = [&numbers[..], &[0; 8]].concat();
    assert!(message(&json, &more).contains("bytes, but the tensors need"));
    let changed = |path: &str, value: Value| {
        let mut json = json.clone();
        *json.pointer_mut(path).expect("there") = value;
        json
    };
    let first = "/weightsManifest/0/weights/0";
    let cases = [
        (changed("/format", json!("graph-model")), "graph-model"),
        (
            changed(&format!("{first}/dtype"), json!("uint8")),
            "conv1/kernel is uint8",
        ),
        (
            changed(&format!("{first}/shape"), json!([u64::MAX, 9])),
            "ends past",
        ),
        (
            changed(&format!("{first}/name"), json!("conv0/kernel")),
            "no layout known",
        ),
        (changed("/modelTopology", json!({})), "lists no layers"),
        (changed("/weightsManifest", json!(3)), "model.json"),
    ];
    for (json, part) in cases {
        let message = message(&json, &numbers);
        assert!(message.contains(part), "{message}");
    }
    let mut quantized = json.clone();
    quantized["weightsManifest"][0]["weights"][0]["quantization"] = json!({ "dtype": "uint8" });
    assert!(message(&quantized, &numbers).contains("quantized"));
    let alone = Weights::read(json.to_string().as_bytes()).expect_err("refused");
    assert!(alone.to_string().contains("give the path of model.json"));
    for outside in ["../a.bin", "/etc/passwd", "a//b", "c:\\x"] {
        let json = changed("/weightsManifest/0/paths/0", json!(outside));
        let error = files(json.to_string().as_bytes()).expect_err("refused");
        assert!(error.to_string().contains("not in its folder"), "{error}");
    }
}
