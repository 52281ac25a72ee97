//! An estimate of the memory of one training step, from the settings. It is made before the first step, because
//! a device that runs out of memory reports it late or not at all.
//!
//! The estimate adds up the layers of the network's description. The temporary memory of the backends cannot be
//! derived from the description, so the numbers of temporary arrays are named constants. `tests/cli/memory.rs`
//! compares the estimate with the measured peak of runs, so that a wrong constant is noticed.

use burn::tensor::Device;

use crate::config::{MethodConfig, Precision};
use crate::method::MethodMemory;
use crate::network::{Map, ModelConfig, Network, encoder_parameters};
use crate::ops::{self, Footprint};

/// Bytes of an `f32`.
const F32: f64 = 4.0;

/// Temporary arrays of the size of the largest feature map: its patches for a convolution, and its gradient.
const PASSING: f64 = 2.0;
/// Arrays of the size of the parameters within an update: the gradient, and the parameters that are being replaced.
const UPDATE: f64 = 2.0;
/// Copies of the gradient in host memory while the ranks add theirs: the rank's own, the parts of the others, and the
/// sum.
const EXCHANGE: f64 = 3.0;
/// Copies of the state while a checkpoint is written: the values, and the bytes of the file.
const SAVING: f64 = 2.0;

/// The settings on which the memory of a training step depends.
#[derive(Debug, Clone, Copy)]
pub struct StepShape<'a> {
    /// The network.
    pub model: &'a ModelConfig,
    /// The method that trains it.
    pub method: &'a MethodConfig,
    /// Images per step.
    pub batch: usize,
    /// Number of micro-batches per step; divides `batch`.
    pub accumulate: usize,
    /// Number of ranks that share the micro-batches; divides `accumulate`. The estimate is that of one rank.
    pub ranks: usize,
    /// Side of a view, in pixels.
    pub size: usize,
    /// Keys in each queue; 0 for a method without queues.
    pub queue: usize,
    /// The device that computes the step.
    pub device: &'a Device,
    /// The number format of convolutions and activations.
    pub precision: Precision,
}

/// The estimated memory of a step by purpose, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMemory {
    /// What exists between steps: both networks, the optimizer's velocity and the queues.
    pub state: u64,
    /// The gradients, and the parameters that are being replaced.
    pub update: u64,
    /// The views of the whole batch, or of the rank's part of it.
    pub views: u64,
    /// What the forward pass of a micro-batch keeps for the backward pass.
    pub activations: u64,
    /// The largest temporary memory: the working space of a convolution, or the similarities in a loss.
    pub workspace: u64,
    /// The largest single tensor; some devices limit its size.
    pub largest_tensor: u64,
    /// Memory of the host while a checkpoint is written, whatever the device.
    pub saving: u64,
    /// Memory of the host while several ranks add their gradients, whatever the device; 0 for one rank.
    pub exchange: u64,
}

impl StepMemory {
    /// The estimate for one training step. The sizes of tensors are exact; the peak ([`Self::device`]) is
    /// within a quarter of the measured one.
    pub fn estimate(shape: &StepShape) -> Self {
        let StepShape {
            model,
            method,
            batch,
            accumulate,
            ranks,
            size,
            queue,
            device,
            precision,
        } = *shape;
        let (accumulate, ranks) = (accumulate.max(1), ranks.max(1));
        let dtype = precision.dtype().into();
        let footprint = ops::on(device, dtype).footprint(dtype);
        let micro = (batch / accumulate) as f64;
        let network = Network::new(model);
        let maps = network.maps([size; 2]);
        let [_, _, _, [side, _]] = network.stage_sides([size; 2]);
        let grid = match model.num_grid {
            0 => side,
            grid => grid,
        };
        let cells = (grid as f64).powi(2);
        let own = MethodMemory::of(method, model, &footprint, micro, cells, queue);
        let scene = (size as f64).powi(2);
        // Instances come under two augmentations.
        let of_image = own.views * scene + 2.0 * own.instances;
        let views = F32 * 3.0 * (batch / ranks) as f64 * of_image;
        let view = F32 * 3.0 * micro * scene.max(own.instances);
        // Scenes and instances go through the networks one after the other.
        let passing = micro * (own.instances / scene).max(1.0);
        // Gradients are added pairwise: of n passes up to log₂ n + 1 sums exist together.
        let passes = (own.passes * accumulate).div_ceil(ranks);
        let gradients = f64::from(passes.next_power_of_two().ilog2() + 1);

        let kept: f64 = maps
            .iter()
            .map(|map| passing * numbers(map) * kept(map, &footprint))
            .sum();
        let pooled = match network.pool {
            Some(pool) => numbers(&maps[0]) / (pool.stride as f64).powi(2),
            None => 0.0,
        };
        let pool = passing * pooled * (F32 + f64::from(footprint.pooled_from));
        let largest_map = largest(&maps, F32 * passing);
        // Both networks, and the velocity of the one that learns.
        let state = F32 * (2.0 * own.learned + own.followed + own.queues);
        let bytes = |x: f64| x as u64; // saturates
        Self {
            state: bytes(state),
            update: bytes(UPDATE.max(gradients) * F32 * own.learned),
            views: bytes(views),
            activations: bytes(kept + pool + F32 * own.heads),
            workspace: bytes((F32 * own.loss).max(PASSING * largest_map) + own.beside * view),
            largest_tensor: bytes(largest_map.max(F32 * own.largest).max(view)),
            saving: bytes(SAVING * state),
            exchange: if ranks > 1 {
                bytes(EXCHANGE * F32 * own.learned)
            } else {
                0
            },
        }
    }

    /// The peak of a step on the device, in bytes.
    pub fn device(&self) -> u64 {
        let parts = [self.update, self.views, self.activations, self.workspace];
        parts
            .iter()
            .fold(self.state, |sum, &part| sum.saturating_add(part))
    }
}

/// The estimated peak of a forward pass without a gradient, in bytes, for a batch of `pictures` of
/// [width, height] pixels: the network, the pictures, the feature maps of all stages, and temporary copies of
/// the largest one. It is 0.9 to 1.5 times what was measured on the CPU.
pub fn forward(model: &ModelConfig, pictures: usize, [width, height]: [usize; 2]) -> u64 {
    // The side of a square with the same number of pixels.
    let size = (width as f64 * height as f64).sqrt() as usize;
    let network = Network::new(model);
    let largest = largest(&network.maps([size; 2]), 1.0);
    let mut kept = 3.0 * (size as f64).powi(2);
    for (stage, [side, _]) in network.stages.iter().zip(network.stage_sides([size; 2])) {
        kept += stage.channels as f64 * (side as f64).powi(2);
    }
    let numbers = encoder_parameters(model) as f64 + pictures as f64 * (kept + PASSING * largest);
    (F32 * numbers) as u64 // saturates
}

/// Values per image in the output of a convolution.
fn numbers(map: &Map) -> f64 {
    let [rows, columns] = map.sides;
    map.convolution.output as f64 * (rows as f64 * columns as f64)
}

/// The number of values of the largest map, multiplied by `times`.
fn largest(maps: &[Map], times: f64) -> f64 {
    let sizes = maps.iter().map(|map| times * numbers(map));
    sizes.fold(0.0, f64::max)
}

/// Bytes that are kept for the backward pass, per value of a convolution's output.
fn kept(map: &Map, footprint: &Footprint) -> f64 {
    f64::from(if map.relu {
        footprint.to_relu
    } else {
        footprint.without
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backbone, Stem};
    use crate::model::{Encoder, Kind, Tensors};

    #[test]
    fn the_parameters_are_those_of_the_network_that_is_built() {
        for backbone in [Backbone::ResNet10, Backbone::ResNet18, Backbone::ResNet50] {
            for (stem, output_stride) in
                [(Stem::ImageNet, 32), (Stem::ImageNet, 8), (Stem::Cifar, 8)]
            {
                let model = ModelConfig {
                    backbone,
                    width: 4,
                    stem,
                    dim: 16,
                    output_stride,
                    ..ModelConfig::default()
                };
                let encoder = Encoder::new(&model, 0, &Device::flex());
                let built: usize = encoder
                    .named()
                    .iter()
                    .filter(|tensor| tensor.kind == Kind::Parameter)
                    .map(|tensor| tensor.shape.iter().product::<usize>())
                    .sum();
                assert_eq!(encoder_parameters(&model), built, "{model:?}");
            }
        }
    }

    #[test]
    fn a_forward_pass_holds_what_was_measured() {
        // Peak of `densecl match --size 2048` on a CPU, minus the 173 MB that the program needs without a network.
        for (backbone, measured) in [(Backbone::ResNet18, 525e6), (Backbone::ResNet50, 1320e6)] {
            let model = ModelConfig {
                backbone,
                ..ModelConfig::default()
            };
            let estimate = forward(&model, 1, [2048, 2048]) as f64 / measured;
            assert!((0.85..1.5).contains(&estimate), "{backbone:?}: {estimate}");
        }
        let model = ModelConfig::default();
        let [one, eight] = [1, 8].map(|pictures| forward(&model, pictures, [1024, 512]));
        assert!(eight > 3 * one && eight < 8 * one);
        assert_eq!(forward(&model, usize::MAX, [usize::MAX; 2]), u64::MAX);
    }

    fn step(batch: usize, accumulate: usize, size: usize, queue: usize) -> StepMemory {
        StepMemory::estimate(&StepShape {
            model: &ModelConfig::default(),
            method: &MethodConfig::default(),
            batch,
            accumulate,
            ranks: 1,
            size,
            queue,
            device: &Device::flex(),
            precision: Precision::F32,
        })
    }

    #[test]
    fn a_rank_holds_its_part_of_the_batch_and_the_tree_of_its_gradients() {
        let shared = |accumulate, ranks| {
            StepMemory::estimate(&StepShape {
                model: &ModelConfig::default(),
                method: &MethodConfig::default(),
                batch: 256,
                accumulate,
                ranks,
                size: 224,
                queue: 65_536,
                device: &Device::flex(),
                precision: Precision::F32,
            })
        };
        let (alone, four) = (shared(8, 1), shared(8, 4));
        assert_eq!(four.views, alone.views / 4);
        assert_eq!(four.activations, alone.activations);
        assert_eq!(four.largest_tensor, alone.largest_tensor);
        // 8 gradients alone: at most 4 sums. 2 for each of 4 ranks: 2, as many as an update needs.
        assert_eq!(alone.update, 2 * four.update);
        assert_eq!(four.update, shared(1, 1).update);
        assert_eq!((alone.exchange, four.exchange), (0, 3 * four.update / 2));
    }

    #[test]
    fn the_papers_step_has_the_sizes_that_are_known() {
        let paper = step(256, 1, 224, 65_536);
        // The largest tensor is the stem's output, 64 channels at half the side; all logits would take 3.3 GB.
        assert_eq!(paper.largest_tensor, 256 * 64 * 112 * 112 * 4);
        assert!(paper.workspace < 12_544 * 65_536 * 4, "{paper:?}");
        assert_eq!(paper.views, 2 * 256 * 3 * 224 * 224 * 4);
    }

    #[test]
    fn parts_of_a_batch_hold_less_and_nothing_overflows() {
        let (whole, parts) = (step(256, 1, 224, 65_536), step(256, 8, 224, 65_536));
        assert_eq!(whole.activations, 8 * parts.activations);
        assert_eq!(whole.state, parts.state);
        assert!(parts.device() < whole.device());
        assert_eq!(step(usize::MAX, 1, usize::MAX, 1).device(), u64::MAX);
    }
}
