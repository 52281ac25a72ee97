//! What one training step holds in memory, from the settings alone: to be asked before the first step,
//! because a device that runs out says so late, or not at all.
//!
//! The counts follow the network layer by layer, from the same shapes it is built from. What the
//! backends need besides is not derivable; those few factors are named constants, and
//! `tests/cli/memory.rs` compares the whole with the measured peak of runs, so that they cannot go stale.

use burn::tensor::Device;

use crate::config::{MethodConfig, Precision};
use crate::method::MethodMemory;
use crate::network::{Map, ModelConfig, Network, encoder_parameters};
use crate::ops::{self, Footprint};

/// Bytes of a number.
const F32: f64 = 4.0;

/// The largest feature map, as often as it is there for a moment: unfolded for a convolution, its gradient.
const PASSING: f64 = 2.0;
/// Copies of the parameters within a step: the gradient, and what is being updated.
const UPDATE: f64 = 2.0;
/// Copies of the state on its way into a checkpoint: as numbers, and as the bytes of the file.
const SAVING: f64 = 2.0;

/// What a step is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct StepShape<'a> {
    /// The network.
    pub model: &'a ModelConfig,
    /// The method that trains it.
    pub method: &'a MethodConfig,
    /// Images per step.
    pub batch: usize,
    /// Micro-batches they go through the network in; divides `batch`.
    pub accumulate: usize,
    /// Side of a view, in pixels.
    pub size: usize,
    /// Keys in each queue; 0 for a method without queues.
    pub queue: usize,
    /// Where it runs.
    pub device: &'a Device,
    /// In which numbers.
    pub precision: Precision,
}

/// Bytes that a step is estimated to hold, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMemory {
    /// Both networks, the optimizer's velocity and the queues: what stays from step to step.
    pub state: u64,
    /// The gradient, and the parameters while they are replaced.
    pub update: u64,
    /// The views of the whole batch.
    pub views: u64,
    /// What a micro-batch's forward pass keeps for its backward pass.
    pub activations: u64,
    /// The most that is there for a moment besides: a convolution's working space, or the similarities
    /// of all cells with the queue.
    pub workspace: u64,
    /// The largest single tensor, which on some devices has a limit of its own.
    pub largest_tensor: u64,
    /// What the host holds while a checkpoint is written, wherever the step runs.
    pub saving: u64,
}

impl StepMemory {
    /// The estimate for one training step. Sums of sizes are exact; the peak they make is an estimate,
    /// good to a quarter.
    pub fn estimate(shape: &StepShape) -> Self {
        let StepShape {
            model,
            method,
            batch,
            accumulate,
            size,
            queue,
            device,
            precision,
        } = *shape;
        let dtype = precision.dtype().into();
        let footprint = ops::on(device, dtype).footprint(dtype);
        let micro = (batch / accumulate.max(1)) as f64;
        let network = Network::new(model);
        let maps = network.maps([size; 2]);
        let [_, _, _, [side, _]] = network.stage_sides([size; 2]);
        let grid = match model.num_grid {
            0 => side,
            grid => grid,
        };
        let cells = (grid as f64).powi(2);
        let own = MethodMemory::of(method, model, &footprint, micro, cells, queue);
        let views = F32 * 2.0 * 3.0 * batch as f64 * (size as f64).powi(2);

        let kept: f64 = maps
            .iter()
            .map(|map| micro * numbers(map) * kept(map, &footprint))
            .sum();
        let pooled = numbers(&maps[0]) / 4.0;
        let pool = micro * pooled * (F32 + f64::from(footprint.pooled_from));
        let largest_map = largest(&maps, F32 * micro);
        // Both networks, and the velocity of the one that learns.
        let state = F32 * (2.0 * own.learned + own.followed + own.queues);
        let bytes = |x: f64| x as u64; // saturates
        Self {
            state: bytes(state),
            update: bytes(UPDATE * F32 * own.learned),
            views: bytes(views),
            activations: bytes(kept + pool + F32 * own.heads),
            workspace: bytes((F32 * own.loss).max(PASSING * largest_map)),
            largest_tensor: bytes(
                largest_map
                    .max(F32 * own.largest)
                    .max(views / 2.0 / accumulate.max(1) as f64),
            ),
            saving: bytes(SAVING * state),
        }
    }

    /// Bytes on the device at the peak of a step.
    pub fn device(&self) -> u64 {
        let parts = [self.update, self.views, self.activations, self.workspace];
        parts
            .iter()
            .fold(self.state, |sum, &part| sum.saturating_add(part))
    }
}

/// Bytes at the peak of a forward pass without a gradient, for so many pictures [width, height] at once: the network,
/// the pictures, the maps of all stages, and the largest map as often as it is there for a moment. An estimate: 0.9 to
/// 1.5 times what was measured on the CPU.
pub fn forward(model: &ModelConfig, pictures: usize, [width, height]: [usize; 2]) -> u64 {
    // A square of as many pixels.
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

/// Numbers per image in a convolution's output.
fn numbers(map: &Map) -> f64 {
    let [rows, columns] = map.sides;
    map.convolution.output as f64 * (rows as f64 * columns as f64)
}

/// The largest of the maps, each number counted `times`.
fn largest(maps: &[Map], times: f64) -> f64 {
    let sizes = maps.iter().map(|map| times * numbers(map));
    sizes.fold(0.0, f64::max)
}

/// Bytes kept for the backward pass per number of a convolution's output.
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
    use crate::config::Backbone;
    use crate::model::{Encoder, Kind, Tensors};

    #[test]
    fn the_parameters_are_those_of_the_network_that_is_built() {
        for backbone in [Backbone::ResNet10, Backbone::ResNet18, Backbone::ResNet50] {
            for output_stride in [32, 8] {
                let model = ModelConfig {
                    backbone,
                    width: 4,
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
        // `densecl match --size 2048` on a CPU, at its peak, without the 173 MB that the program holds anyway.
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
            size,
            queue,
            device: &Device::flex(),
            precision: Precision::F32,
        })
    }

    #[test]
    fn the_papers_step_has_the_sizes_that_are_known() {
        let paper = step(256, 1, 224, 65_536);
        // The stem's output, 64 channels at half the side; not the 3.3 GB of all logits.
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
