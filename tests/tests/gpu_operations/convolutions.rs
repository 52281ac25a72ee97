//! Convolutions with their gradients by every algorithm, and the choice among these.

use burn::tensor::{DType, Device};
use densecl::{
    config::Backbone,
    network::{ModelConfig, Network},
    ops::{
        ConvWeights, FeatureMap, Geometry,
        choice::{self, Algorithm, Mode},
    },
};
use densecl_tests::network::cpu;

use crate::{AGREEMENT, Gpu, Values, assert_same, leaf, random, values};

/// A convolution of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Conv {
    batch: usize,
    sides: [usize; 2],
    channels: [usize; 2],
    kernel: usize,
    geometry: Geometry,
    bias: bool,
}

impl Conv {
    /// Output, and gradients of input, weights and bias for a random gradient of the output.
    fn run(&self, device: &Device, dtype: DType) -> Values {
        let [height, width] = self.sides;
        let [input, output] = self.channels;
        let x = leaf([self.batch, input, height, width], 1, device);
        let weight = leaf([output, input, self.kernel, self.kernel], 2, device);
        let bias = self.bias.then(|| leaf([output], 3, device));
        let map = FeatureMap::new(x.clone().cast(dtype));
        let operations = map.operations(&weight);
        let weights = ConvWeights::new(weight.clone());
        let out = operations.conv2d(map, &weights, bias.clone(), self.geometry);
        let out = out.into_tensor();
        let along = random(out.dims(), 9, device).cast(dtype).autodiff();
        let gradients = (out.clone() * along).cast(DType::F32).sum().backward();
        let mut found = vec![
            values("output", out),
            values("gradient of x", x.grad(&gradients).expect("tracked")),
            values(
                "gradient of the weights",
                weight.grad(&gradients).expect("tracked"),
            ),
        ];
        found.extend(bias.map(|bias| {
            values(
                "gradient of the bias",
                bias.grad(&gradients).expect("tracked"),
            )
        }));
        found
    }
}

/// All kernels of a ResNet with their strides and dilations, on odd sizes and with few and many channels. Each algorithm
/// compiles anew for each of them, so only the two that most layers have take all numbers of channels.
fn odd_convolutions() -> Vec<Conv> {
    let mut convolutions = Vec::new();
    for (index, (kernel, stride, dilation)) in [
        (7, 2, 1),
        (3, 1, 1),
        (3, 2, 1),
        (3, 1, 2),
        (3, 2, 2),
        (1, 1, 1),
        (1, 2, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let sizes = [([8, 11], [3, 12]), ([5, 6], [7, 5]), ([9, 7], [20, 18])];
        let is_common = kernel < 7 && stride == 1 && dilation == 1;
        for (place, (sides, channels)) in sizes.into_iter().enumerate() {
            if !is_common && index % sizes.len() != place {
                continue;
            }
            convolutions.push(Conv {
                batch: 2,
                sides,
                channels,
                kernel,
                geometry: Geometry { stride, dilation },
                bias: channels == [20, 18],
            });
        }
    }
    convolutions
}

#[test]
fn every_algorithm_convolves_odd_sizes_like_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    for conv in odd_convolutions() {
        let expected = conv.run(&cpu(), DType::F32);
        for algorithm in Algorithm::ALL {
            choice::set_mode(Mode::Only(algorithm));
            let found = conv.run(&gpu.device, DType::F32);
            assert_same(
                &format!("{conv:?} by {algorithm}"),
                &found,
                &expected,
                AGREEMENT,
            );
        }
    }
}

/// Measured on lavapipe: 6e-4, half a unit in the last place of f16.
#[test]
fn algorithms_in_f16_agree_within_its_precision() {
    let Some(gpu) = Gpu::new() else { return };
    if !gpu.device.supports_dtype(DType::F16) {
        return;
    }
    for conv in odd_convolutions() {
        let expected = conv.run(&cpu(), DType::F32);
        for algorithm in [
            Algorithm::Planes,
            Algorithm::Implicit64,
            Algorithm::Unshared,
        ] {
            choice::set_mode(Mode::Only(algorithm));
            let found = conv.run(&gpu.device, DType::F16);
            assert_same(&format!("{conv:?} by {algorithm}"), &found, &expected, 4e-3);
        }
    }
}

/// All convolutions of ResNet-18 and ResNet-50 at output strides 32, 16 and 8, on small pictures with odd sides.
fn convolutions_of_resnets() -> Vec<Conv> {
    let mut convolutions: Vec<Conv> = Vec::new();
    for backbone in [Backbone::ResNet18, Backbone::ResNet50] {
        for output_stride in [32, 16, 8] {
            let network = Network::new(&ModelConfig {
                backbone,
                output_stride,
                ..ModelConfig::default()
            });
            for map in network.maps([36, 36]) {
                let convolution = map.convolution;
                let conv = Conv {
                    batch: 1,
                    // The odd sides of an input that has these sides of the output.
                    sides: map.sides.map(|side| (side - 1) * convolution.stride + 1),
                    channels: [convolution.input, convolution.output],
                    kernel: convolution.size,
                    geometry: Geometry {
                        stride: convolution.stride,
                        dilation: convolution.dilation,
                    },
                    bias: false,
                };
                if !convolutions.contains(&conv) {
                    convolutions.push(conv);
                }
            }
        }
    }
    convolutions
}

#[test]
fn all_convolutions_of_the_resnets_agree_with_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    let convolutions = convolutions_of_resnets();
    assert!(convolutions.len() > 40, "{}", convolutions.len());
    for conv in convolutions {
        let expected = conv.run(&cpu(), DType::F32);
        for as_hardware in [false, true] {
            choice::treat_as_hardware(as_hardware);
            let found = conv.run(&gpu.device, DType::F32);
            assert_same(&format!("{conv:?}"), &found, &expected, AGREEMENT);
        }
    }
}

#[test]
fn measuring_finds_that_all_algorithms_agree_and_is_done_once() {
    let Some(gpu) = Gpu::new() else { return };
    let conv = Conv {
        batch: 2,
        sides: [9, 7],
        channels: [8, 12],
        kernel: 1,
        geometry: Geometry {
            stride: 1,
            dilation: 1,
        },
        bias: false,
    };
    choice::set_mode(Mode::AlwaysMeasured);
    let expected = conv.run(&cpu(), DType::F32);
    assert_same(
        "measured",
        &conv.run(&gpu.device, DType::F32),
        &expected,
        AGREEMENT,
    );
    let chosen = choice::chosen();
    assert_eq!(choice::take_notes(), Vec::<String>::new());
    assert_eq!(chosen.len(), 3, "{chosen:?}");
    for case in &chosen {
        let times = &case.milliseconds;
        assert!(times.len() >= 5, "{case:?}");
        assert!(times.is_sorted_by(|a, b| a.1 <= b.1), "{case:?}");
        assert_eq!(case.algorithm, times[0].0, "{case:?}");
    }
    conv.run(&gpu.device, DType::F32);
    assert_eq!(choice::chosen(), chosen);
    // A run that continues takes what was chosen, whatever is fastest now.
    choice::set_mode(Mode::AlwaysMeasured);
    let slowest = chosen.iter().map(|case| {
        let mut case = case.clone();
        case.algorithm = case.milliseconds.last().expect("several").0;
        case
    });
    let slowest: Vec<_> = slowest.collect();
    choice::remember(slowest.clone());
    assert_same(
        "remembered",
        &conv.run(&gpu.device, DType::F32),
        &expected,
        AGREEMENT,
    );
    assert_eq!(choice::chosen(), slowest);
}
