//! Tests that the written graph, evaluated node by node, computes the same as the network.

use std::collections::HashMap;

use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::{
    model::Encoder,
    network::{Backbone, Stem},
    weights::{self, FORMAT_VERSION, Weights, WeightsInfo},
};

/// An evaluator of graphs. All values are tensors of rank 4; shapes of lower rank are extended by sides of 1.
struct Runtime {
    values: HashMap<String, Tensor<4>>,
}

impl Runtime {
    fn load(graph: &Graph) -> Self {
        let values = graph.initializer.iter().map(|tensor| {
            assert_eq!(tensor.data_type, FLOAT);
            let (chunks, rest) = tensor.raw_data.as_chunks::<4>();
            assert!(rest.is_empty());
            let values: Vec<f32> = chunks.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let mut shape = [1; 4];
            for (side, &dim) in shape.iter_mut().zip(&tensor.dims) {
                *side = dim as usize;
            }
            let data = TensorData::new(values, shape);
            (
                tensor.name.clone(),
                Tensor::from_data(data, &Device::flex()),
            )
        });
        Self {
            values: values.collect(),
        }
    }

    fn run(&mut self, node: &Node) {
        let input = |index: usize| self.values[&node.input[index]].clone();
        let pair = |name: &str| {
            let found = node.attribute.iter().find(|a| a.name == name);
            let ints = &found.expect("an attribute").ints;
            assert_eq!(ints[0], ints[1]);
            [ints[0] as usize; 2]
        };
        let along_channels = |index: usize| input(index).permute([1, 0, 2, 3]);
        let x = input(0);
        let y = match node.op_type.as_str() {
            "Conv" => {
                let bias = node.input.get(2).map(|_| input(2).flatten(0, 3));
                let options = ConvOptions::new(pair("strides"), pair("pads"), pair("dilations"), 1);
                conv2d(x, input(1), bias, options)
            }
            "BatchNormalization" => {
                let epsilon = node.attribute[0].f;
                let deviation = (along_channels(4) + epsilon).sqrt();
                (x - along_channels(3)) / deviation * along_channels(1) + along_channels(2)
            }
            "Relu" => relu(x),
            "Add" => x + input(1),
            "MaxPool" => {
                let options = MaxPoolOptions::new(pair("kernel_shape"))
                    .with_stride(pair("strides"))
                    .with_padding(pair("pads"));
                max_pool2d(x, options)
            }
            "GlobalAveragePool" => x.mean_dim(2).mean_dim(3),
            "Flatten" => x,
            "Gemm" => {
                let rows = |t: Tensor<4>| -> Tensor<2> {
                    let [a, b, ..] = t.dims();
                    t.reshape([a, b])
                };
                let bias: Tensor<1> = input(2).flatten(0, 3);
                let y = rows(x).matmul(rows(input(1)).transpose()) + bias.unsqueeze();
                let [n, c] = y.dims();
                y.reshape([n, c, 1, 1])
            }
            other => panic!("{other} is not expected in the graph"),
        };
        self.values.insert(node.output[0].clone(), y);
    }
}

fn weights(model: ModelConfig) -> Weights {
    let mut encoder = Encoder::new(&model, 1, &Device::flex());
    // A forward pass in training mode, so that the running statistics differ from 0 and 1.
    let images = pictures([4, 3, 64, 64]);
    encoder.backbone.forward_train(images, 1);
    let info = WeightsInfo {
        format_version: FORMAT_VERSION,
        method: "densecl".to_string(),
        model,
        steps: 7,
        data: "scenes".to_string(),
        config: String::new(),
    };
    let bytes = weights::save(&encoder, &info).expect("saved");
    Weights::read(&bytes).expect("our own")
}

fn tiny(backbone: Backbone, stem: Stem, output_stride: usize, stride_in_1x1: bool) -> ModelConfig {
    ModelConfig {
        backbone,
        width: 4,
        stem,
        output_stride,
        dim: 6,
        stride_in_1x1,
        ..ModelConfig::default()
    }
}

fn pictures(shape: [usize; 4]) -> Tensor<4> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn assert_close<const D: usize>(what: &str, graph: Tensor<4>, network: Tensor<D>) {
    let shape = network.shape();
    let difference = (graph.reshape(shape) - network.clone()).abs().max();
    let [difference, scale]: [f32; 2] = [difference, network.abs().max()].map(|t| t.into_scalar());
    // Results differ by rounding: the graph divides by the standard deviation, the network multiplies by its
    // inverse.
    assert!(
        difference <= 1e-5 * scale,
        "{what}: {difference} of {scale}"
    );
}

#[test]
fn the_graph_computes_what_the_network_does() {
    let (photographs, small) = (Stem::ImageNet, Stem::Cifar);
    for (backbone, stem, stride, in_1x1) in [
        (Backbone::ResNet18, photographs, 32, false),
        (Backbone::ResNet18, photographs, 8, false),
        (Backbone::ResNet50, photographs, 16, false),
        (Backbone::ResNet50, photographs, 32, true),
        (Backbone::ResNet50, photographs, 16, true),
        (Backbone::ResNet18, small, 8, false),
    ] {
        let model = tiny(backbone, stem, stride, in_1x1);
        let what = format!("{} at stride {stride}", model.describe());
        let weights = weights(model);
        let bytes = describe(&weights.source(), true)
            .expect("both heads")
            .encode_to_vec();
        let model = Model::decode(&bytes[..]).expect("what was written");
        let graph = model.graph.expect("a graph");
        let mut runtime = Runtime::load(&graph);
        let images = pictures([2, 3, 75, 98]);
        runtime.values.insert(INPUT.to_string(), images.clone());
        for node in &graph.node {
            runtime.run(node);
        }
        let (encoder, _) = weights.encoder(None, &Device::flex()).expect("an encoder");
        let features = encoder.backbone.forward(images);
        let dense = encoder
            .dense_head
            .expect("a head")
            .forward(features.clone());
        let global = encoder
            .global_head
            .expect("a head")
            .forward(features.clone());
        let names: Vec<&str> = graph
            .output
            .iter()
            .map(|output| output.name.as_str())
            .collect();
        assert_eq!(names, [FEATURES, DENSE, GLOBAL], "{what}");
        let output = |name: &str| runtime.values[name].clone();
        assert_close(&what, output(FEATURES), features);
        assert_close(&what, output(DENSE), dense);
        assert_close(&what, output(GLOBAL), global);
    }
}

/// Each name is defined once and before its use, and each tensor of the graph is used.
#[test]
fn the_graph_is_in_order() {
    let weights = weights(tiny(Backbone::ResNet10, Stem::ImageNet, 16, false));
    let model = describe(&weights.source(), false).expect("a backbone");
    assert_eq!(
        (model.ir_version, model.opset_import[0].version),
        (7, OPSET)
    );
    let graph = model.graph.expect("a graph");
    let mut known: Vec<&str> = vec![INPUT];
    known.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    let tensors = known.len() - 1;
    let mut used = Vec::new();
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(&input.as_str()), "{input} is not there yet");
            used.push(input.as_str());
        }
        assert!(!known.contains(&node.output[0].as_str()));
        known.push(&node.output[0]);
    }
    assert!(known.contains(&FEATURES));
    used.retain(|name| weights.tensors().get(name).is_some());
    assert_eq!(used.len(), tensors);
    let backbone = weights
        .tensors()
        .iter()
        .filter(|(name, _)| !name.contains("head"));
    assert_eq!(backbone.count(), tensors);
}
