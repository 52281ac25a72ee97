//! The operations of GPUs against those of the CPU, value by value and gradient by gradient.
//!
//! A machine without a GPU runs these tests on Mesa's software Vulkan adapter ([`densecl_tests::needs`]). There the kernels
//! for hardware run too, because the tests ask for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{DType, Device, Tensor, TensorData};
use densecl::{
    config::Backbone,
    network::{ModelConfig, Network},
    ops::{
        self, Activation, ConvWeights, FeatureMap, Following, Geometry, Operations, SgdSettings,
        choice::{self, Algorithm, Mode},
    },
};
use densecl_tests::{needs, network::cpu};

/// Largest difference allowed, relative to the largest value. Both sides compute in f32 and sum in other orders; measured
/// on lavapipe: 2e-6.
const AGREEMENT: f32 = 1e-4;

/// How algorithms are chosen is a setting of the process, so the tests take turns.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The adapter, while no other test uses it. Afterwards algorithms are chosen as in a new process.
struct Gpu {
    device: Device,
    _alone: MutexGuard<'static, ()>,
}

impl Gpu {
    fn new() -> Option<Self> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let device = needs::gpu()?.device;
        Some(Self {
            device,
            _alone: alone,
        })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        choice::set_mode(Mode::Fixed);
        choice::treat_as_hardware(false);
    }
}

/// Numbers in [−1, 1) that look random.
fn random<const D: usize>(shape: [usize; D], which: u64, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values = (0..count as u64).map(|i| {
        // The finaliser of SplitMix64.
        let mut z = (i + (which << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
}

fn leaf<const D: usize>(shape: [usize; D], which: u64, device: &Device) -> Tensor<D> {
    random(shape, which, device).autodiff().require_grad()
}

type Values = Vec<(String, Vec<f32>)>;

fn values<const D: usize>(name: &str, x: Tensor<D>) -> (String, Vec<f32>) {
    let x = x.inner().cast(DType::F32);
    (
        name.to_string(),
        x.try_into_vec_as().expect("it can be read"),
    )
}

#[track_caller]
fn assert_same(what: &str, found: &Values, expected: &Values, agreement: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
        let scale = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let pairs = found.iter().zip(expected);
        let error = pairs.fold(0.0_f32, |most, (a, b)| {
            let difference = (a - b).abs();
            if difference.is_nan() {
                f32::INFINITY
            } else {
                most.max(difference)
            }
        });
        assert!(
            error <= agreement * scale,
            "{what}: {name} differs by {error} of {scale}"
        );
    }
}

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

/// Batch normalisation in groups, each activation, pooling, the fused convolution of inference, running statistics.
fn normalise(device: &Device, follows: usize) -> Values {
    let mut found = Vec::new();
    for (batch, channels, groups) in [(6, 5, 3), (4, 20, 1), (4, 64, 2)] {
        let shape = [batch, channels, 7, 5];
        let (x, shortcut) = (leaf(shape, 1, device), leaf(shape, 2, device));
        // Far from 0, so that sums of squares would lose digits.
        let shifted = x.clone() + 30.0;
        let (gamma, beta) = (leaf([channels], 3, device), leaf([channels], 4, device));
        let activation = |shortcut: &Tensor<4>| -> Activation {
            match follows {
                0 => Following::Identity,
                1 => Following::Relu,
                _ => Following::AddRelu(FeatureMap::new(shortcut.clone())),
            }
        };
        let map = FeatureMap::new(shifted.clone());
        let operations = map.operations(&gamma);
        let parameters = [gamma.clone(), beta.clone()];
        let out = operations.batch_norm(map, parameters, groups, 1e-5, activation(&shortcut));
        let running = [
            Tensor::zeros([channels], device),
            Tensor::ones([channels], device),
        ];
        let statistics = [out.mean.clone(), out.variance.clone()];
        let training = ops::training(device, DType::F32);
        let [mean, variance] = training.running(running, statistics, 0.1, 1.25);
        let output = out.output.max_pool().into_tensor();
        let along = random(output.dims(), 9, device).autodiff();
        let gradients = (output.clone() * along).sum().backward();
        found.push(values("output", output));
        found.push(values("mean", out.mean));
        found.push(values("variance", out.variance));
        found.push(values("running mean", mean));
        found.push(values("running variance", variance));
        let of = |leaf: &Tensor<4>| leaf.grad(&gradients).expect("tracked");
        found.push(values("gradient of x", of(&x)));
        if follows == 2 {
            found.push(values("gradient of the shortcut", of(&shortcut)));
        }
        for (name, parameter) in [("gradient of γ", &gamma), ("gradient of β", &beta)] {
            found.push(values(name, parameter.grad(&gradients).expect("tracked")));
        }
        let weights = ConvWeights::new(random([channels, channels, 3, 3], 5, device));
        let parameters = [gamma, beta].map(Tensor::inner);
        let map = FeatureMap::new(x.inner());
        let geometry = Geometry {
            stride: 1,
            dilation: 1,
        };
        let follow = activation(&shortcut.inner());
        let plain = ops::on(device, DType::F32);
        let fused = plain.conv2d_affine(map, &weights, geometry, parameters, follow);
        found.push(values("fused", fused.into_tensor()));
    }
    found
}

#[test]
fn normalisations_and_what_follows_agree_with_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    for follows in 0..3 {
        let expected = normalise(&cpu(), follows);
        for as_hardware in [false, true] {
            choice::treat_as_hardware(as_hardware);
            let found = normalise(&gpu.device, follows);
            assert_same(
                &format!("activation {follows}"),
                &found,
                &expected,
                AGREEMENT,
            );
        }
    }
}

#[test]
fn info_nce_agrees_with_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    let run = |device: &Device, [n, k, dim]: [usize; 3], tau: f64| {
        let unit = |rows, which| {
            let x: Tensor<2> = random([rows, dim], which, device);
            densecl::matching::l2_normalize(x, 1)
        };
        let vectors = [unit(n, 1), unit(n, 2), unit(k, 3)];
        let found = ops::training(device, DType::F32).info_nce(vectors, tau, true);
        vec![
            values("loss", found.loss),
            values("hit", found.hit),
            values("gradient", found.gradient.expect("asked for")),
        ]
    };
    // The last temperature is below what the kernels accept.
    for (sizes, tau) in [
        ([9, 50, 16], 0.2),
        ([70, 333, 128], 0.07),
        ([33, 100, 20], 0.2),
        ([5, 700, 256], 0.1),
        ([4, 30, 8], 0.01),
    ] {
        let expected = run(&cpu(), sizes, tau);
        for as_hardware in [false, true] {
            choice::treat_as_hardware(as_hardware);
            let found = run(&gpu.device, sizes, tau);
            assert_same(&format!("{sizes:?}, τ {tau}"), &found, &expected, AGREEMENT);
        }
    }
}

/// Three steps of the optimizer and the momentum encoder on tensors of many sizes, of which one has no gradient at first.
#[test]
fn updates_of_all_parameters_agree_with_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    let lengths = [3, 64, 65, 1, 1000, 128, 5];
    let run = |device: &Device| {
        let operations = ops::training(device, DType::F32);
        let tensors = |first: u64| -> Vec<Tensor<1>> {
            let each = lengths.iter().zip(first..);
            each.map(|(length, which)| random([*length], which, device))
                .collect()
        };
        let settings = SgdSettings {
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 0.01,
        };
        let (mut theta, mut keys) = (tensors(0), tensors(100));
        let mut velocity = vec![None; lengths.len()];
        let mut found = Vec::new();
        for step in 0..3 {
            let first = operations.gather(tensors(200 + 20 * step));
            let second = operations.gather(tensors(300 + 20 * step));
            let sum = operations.add_all(first, second);
            let norm = operations
                .sum_of_squares_all(sum.clone())
                .expect("there are tensors");
            found.push(values("norm", norm.clone()));
            let sum = operations.scale_all(sum, &norm.sqrt().recip());
            let mut gradient: Vec<_> = sum.into_iter().map(Some).collect();
            if step == 0 {
                gradient[2] = None;
            }
            let moved = operations.sgd_all(theta, velocity, gradient, settings);
            found.push(values(
                "squares",
                moved.squares.expect("there are gradients"),
            ));
            keys = operations.follow_all(keys, moved.theta.clone(), 0.9);
            theta = moved.theta;
            velocity = moved.velocity.into_iter().map(Some).collect();
        }
        for (name, tensors) in [("θ", theta), ("keys", keys)] {
            found.extend(tensors.into_iter().map(|x| values(name, x)));
        }
        found.extend(
            velocity
                .into_iter()
                .flatten()
                .map(|x| values("velocity", x)),
        );
        found
    };
    let expected = run(&cpu());
    for as_hardware in [false, true] {
        choice::treat_as_hardware(as_hardware);
        assert_same("updates", &run(&gpu.device), &expected, 1e-5);
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

#[test]
fn nothing_that_is_not_finite_is_hidden() {
    let Some(gpu) = Gpu::new() else { return };
    for as_hardware in [false, true] {
        choice::treat_as_hardware(as_hardware);
        let x = random([2, 8, 5, 5], 1, &gpu.device);
        let weights = ConvWeights::new(random([8, 8, 3, 3], 2, &gpu.device) * f32::NAN);
        let channel = || random([8], 3, &gpu.device);
        let geometry = Geometry {
            stride: 1,
            dilation: 1,
        };
        let plain: &dyn Operations = ops::on(&gpu.device, DType::F32);
        let y = plain.conv2d_affine(
            FeatureMap::new(x),
            &weights,
            geometry,
            [channel(), channel()],
            Following::Relu,
        );
        let y = plain
            .batch_norm(y, [channel(), channel()], 1, 1e-5, Following::Relu)
            .output;
        let (_, found) = values("output", plain.max_pool(y).into_tensor());
        assert!(found.iter().all(|x| x.is_nan()), "{found:?}");
    }
}
