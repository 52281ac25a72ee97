//! Transfer to instance segmentation: CondInst's masks on the detector of [`super::detection`].
//!
//! Tian et al., "Conditional Convolutions for Instance Segmentation" (ECCV 2020). A branch computes a few maps for the
//! whole picture, the bases. Every cell of the detector also predicts the weights of a tiny network, which maps the bases
//! and the position relative to the cell to the mask of the cell's object. Here as in the paper: 8 bases, three 1×1
//! convolutions with 8 channels (169 numbers), the dice loss, and masks at twice the resolution of the bases. Other than
//! in the paper there is one feature level; the activation is a leaky ReLU; the branch has one convolution at the level's stride and one at half of it,
//! where the paper has four on its finest level; distances are divided by eight strides, where the paper divides by a size
//! for each level; and the loss has cross entropy beside dice. The gradient of dice vanishes where a mask is empty and sure
//! of it, which at the learning rates of a training of minutes happened in the first steps and lasted.

use burn::tensor::{
    Int, Tensor, TensorData,
    activation::{leaky_relu, sigmoid},
};

use super::detection::{
    CellTarget, FcosHead, Predictions,
    head::{GROUPS, Layer, STD},
    loss::cross_entropy,
};
use crate::{
    interpolate::{pixel_centers, resample},
    model::{Conv2d, GroupNorm, Init, TensorVisitor, Tensors},
};

/// Channels of the bases and of the hidden layers of a cell's network.
const CHANNELS: usize = 8;
/// Channels in and out of the three layers of a cell's network.
const LAYERS: [[usize; 2]; 3] = [
    [CHANNELS + 2, CHANNELS],
    [CHANNELS, CHANNELS],
    [CHANNELS, 1],
];
/// Weights and biases of the three layers: (8 + 2)·8 + 8, 8·8 + 8, 8·1 + 1.
const PARAMETERS: usize =
    (CHANNELS + 2) * CHANNELS + CHANNELS + CHANNELS * CHANNELS + 2 * CHANNELS + 1;
/// The slope for negative numbers of the activation between the layers, which is a leaky ReLU here.
const SLOPE: f64 = 0.1;
/// Cells of the bases per cell of the features, along each axis.
const FINER: usize = 2;
/// Cells of a mask per cell of the features, along each axis.
pub const MASK_CELLS: usize = 2 * FINER;
/// Distances are divided by this many strides of the features.
const REACH: f32 = 8.0;
/// Cells whose masks are compared with the truth in a step; more of them would need more memory and say little more.
const MOST_CELLS: usize = 64;

/// FCOS's head with CondInst's masks.
#[derive(Debug, Clone)]
pub struct CondInst {
    /// The detector.
    pub detector: FcosHead,
    /// Predicts the networks of the cells from the tower of the boxes.
    controller: Conv2d,
    coarse: Layer,
    fine: Layer,
    bases: Conv2d,
}

/// What a head predicts for a map of h × w cells.
#[derive(Debug, Clone)]
pub struct InstancePredictions {
    /// The detector's predictions.
    pub boxes: Predictions,
    /// The network of each cell [B, 169, h, w].
    networks: Tensor<4>,
    /// [B, 8, 2h, 2w].
    bases: Tensor<4>,
}

impl CondInst {
    /// A new head for feature maps of `input` channels; the arguments are those of [`FcosHead::new`].
    ///
    /// # Panics
    /// When `hidden` is not a multiple of 32.
    pub fn new(init: &Init, input: usize, classes: usize, hidden: usize, convs: usize) -> Self {
        let conv =
            |name: &str, channels: [usize; 2]| Conv2d::normal(init, name, channels, 3, STD, 0.0);
        let layer = |name: &str| Layer {
            conv: conv(name, [hidden, hidden]),
            norm: GroupNorm::new(init, hidden, GROUPS),
        };
        Self {
            detector: FcosHead::new(init, input, classes, hidden, convs),
            controller: conv("controller", [hidden, PARAMETERS]).with_bias(usual_network(init)),
            coarse: layer("mask_branch.0"),
            fine: layer("mask_branch.3"),
            bases: Conv2d::pointwise(init, "mask_branch.6", [hidden, CHANNELS]),
        }
    }

    /// Predictions from features [B, input, h, w].
    pub fn forward(&self, features: Tensor<4>) -> InstancePredictions {
        let (boxes, [neck, tower]) = self.detector.forward_with_maps(features);
        let coarse = self.coarse.forward(neck);
        let fine = self.fine.forward(finer(coarse, FINER));
        InstancePredictions {
            boxes,
            networks: self.controller.forward(tower),
            bases: self.bases.forward(fine),
        }
    }
}

impl Tensors for CondInst {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        let p = prefix;
        self.detector.visit(p, visitor);
        self.controller.visit(&format!("{p}controller."), visitor);
        for (at, layer) in [(0, &mut self.coarse), (3, &mut self.fine)] {
            let place = |at: usize| format!("{p}mask_branch.{at}.");
            layer.visit(&place(at), &place(at + 1), visitor);
        }
        self.bases.visit(&format!("{p}mask_branch.6."), visitor);
    }
}

/// Where the networks of all cells begin: weights Kaiming normal with ReLU gain and fan_in, layer by layer, and biases of 0.
/// The paper begins with small random numbers and trains for hours. In a training of minutes, every ReLU then came to be 0
/// for all pixels in the first steps of two of five trainings, so that the masks were one constant to the end; this
/// beginning and the slope for negative numbers prevent it.
fn usual_network(init: &Init) -> Tensor<1> {
    let layers = LAYERS.iter().enumerate().flat_map(|(number, &[from, to])| {
        let std = (2.0 / from as f64).sqrt();
        let weights: Tensor<1> = init.normal(&format!("controller.{number}"), [from * to], std);
        let bias = Tensor::zeros([to], &weights.device());
        [weights, bias]
    });
    Tensor::cat(layers.collect(), 0)
}

/// A map with `times` as many rows and columns, interpolated bilinearly.
fn finer(map: Tensor<4>, times: usize) -> Tensor<4> {
    let [_, _, rows, columns] = map.dims();
    resample(
        map,
        &pixel_centers(times * rows, rows),
        &pixel_centers(times * columns, columns),
    )
}

impl InstancePredictions {
    /// The logits of the masks of these cells, each (picture, cell in row-major order): [N, 4h, 4w].
    ///
    /// # Panics
    /// When there is no cell, or one is not of the batch.
    pub fn masks(&self, cells: &[(usize, usize)]) -> Tensor<3> {
        let count = cells.len();
        let [batch, _, rows, columns] = self.networks.dims();
        let [_, _, base_rows, base_columns] = self.bases.dims();
        let points = base_rows * base_columns;
        let device = self.bases.device();
        let indices = |of: &dyn Fn(usize, usize) -> usize| {
            let indices: Vec<i64> = cells.iter().map(|&(b, cell)| of(b, cell) as i64).collect();
            Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device)
        };
        let networks: Tensor<2> = self
            .networks
            .clone()
            .permute([0, 2, 3, 1])
            .reshape([batch * rows * columns, PARAMETERS]);
        let networks = networks.select(0, indices(&|b, cell| b * rows * columns + cell));
        let bases = self.bases.clone().reshape([batch, CHANNELS, points]);
        let bases = bases.select(0, indices(&|b, _| b));
        let distances = distances(cells, [rows, columns]);
        let distances =
            Tensor::<3>::from_data(TensorData::new(distances, [count, 2, points]), &device);

        let mut at = 0;
        let mut layer = |input: Tensor<3>, [from, to]: [usize; 2]| {
            let weights = networks.clone().narrow(1, at, from * to);
            let bias = networks.clone().narrow(1, at + from * to, to);
            at += from * to + to;
            weights.reshape([count, to, from]).matmul(input) + bias.reshape([count, to, 1])
        };
        let x = Tensor::cat(vec![bases, distances], 1);
        let [first, second, last] = LAYERS;
        let x = leaky_relu(layer(x, first), SLOPE);
        let x = leaky_relu(layer(x, second), SLOPE);
        let logits = layer(x, last);
        let logits = logits.reshape([count, 1, base_rows, base_columns]);
        finer(logits, MASK_CELLS / FINER).squeeze_dim(1)
    }
}

/// For each cell the distances of all points of the bases from it, x then y: [cells, 2, points], row major.
fn distances(cells: &[(usize, usize)], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut distances = Vec::with_capacity(cells.len() * 2 * rows * columns * FINER * FINER);
    for &(_, cell) in cells {
        let own = [cell % columns, cell / columns].map(|at| at as f32 + 0.5);
        for axis in [0, 1] {
            for row in 0..rows * FINER {
                for column in 0..columns * FINER {
                    let at = ([column, row][axis] as f32 + 0.5) / FINER as f32;
                    distances.push((own[axis] - at) / REACH);
                }
            }
        }
    }
    distances
}

/// The loss of the masks of a batch, dice (1 − 2·Σpt / (Σp² + Σt²)) plus the mean binary cross entropy, as a mean over
/// foreground cells (at most 64 of them, spread evenly); one element, 0 without foreground. `targets` are those of [`super::detection::assign`];
/// `mask(picture, object)` is the true mask, 1 inside and 0 outside, row by row for 4h × 4w cells.
///
/// # Panics
/// When a mask has another number of cells.
pub fn mask_loss(
    predictions: &InstancePredictions,
    targets: &[Vec<Option<CellTarget>>],
    mask: impl Fn(usize, usize) -> Vec<f32>,
) -> Tensor<1> {
    let mut cells: Vec<(usize, usize, usize)> = Vec::new();
    for (picture, targets) in targets.iter().enumerate() {
        for (cell, target) in targets.iter().enumerate() {
            if let Some(target) = target {
                cells.push((picture, cell, target.object));
            }
        }
    }
    let device = predictions.bases.device();
    if cells.is_empty() {
        return Tensor::zeros([1], &device);
    }
    let all = cells.len();
    let count = all.min(MOST_CELLS);
    let chosen: Vec<_> = (0..count).map(|i| cells[i * all / count]).collect();
    let places: Vec<(usize, usize)> = chosen.iter().map(|&(b, cell, _)| (b, cell)).collect();
    let logits = predictions.masks(&places);
    let [_, rows, columns] = logits.dims();
    let truth: Vec<f32> = chosen
        .iter()
        .flat_map(|&(b, _, object)| mask(b, object))
        .collect();
    assert_eq!(
        truth.len(),
        count * rows * columns,
        "a value per cell of a mask"
    );
    let truth = Tensor::<3>::from_data(TensorData::new(truth, [count, rows, columns]), &device);
    dice(sigmoid(logits.clone()), truth.clone()) + cross_entropy(logits, truth).mean()
}

/// The mean dice loss of masks [N, h, w] with values in [0, 1].
fn dice(found: Tensor<3>, truth: Tensor<3>) -> Tensor<1> {
    /// As in the paper's code; avoids a division by 0.
    const EPSILON: f64 = 1e-5;
    let [count, rows, columns] = found.dims();
    let sum = |map: Tensor<3>| map.reshape([count, rows * columns]).sum_dim(1);
    let both = sum(found.clone() * truth.clone());
    let squares = sum(found.square()) + sum(truth.square()) + EPSILON;
    (both * 2.0 / squares).neg().add_scalar(1.0).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn head() -> CondInst {
        CondInst::new(&Init::new(0, &Device::flex()), 4, 3, 32, 1)
    }

    fn features() -> Tensor<4> {
        let values: Vec<f32> = (0..2 * 4 * 12).map(|i| (i as f32 * 0.37).sin()).collect();
        Tensor::from_data(TensorData::new(values, [2, 4, 3, 4]), &Device::flex())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().expect("on the CPU")
    }

    #[test]
    fn a_cells_network_computes_its_mask() {
        assert_eq!(PARAMETERS, 169);
        let predictions = head().forward(features());
        let masks = predictions.masks(&[(1, 7), (0, 2)]);
        assert_eq!(masks.dims(), [2, 12, 16]);
        // The first mask, by hand at the cell of the bases in row 3 and column 5, whose value the upsampled mask has as a
        // mean of its four cells.
        let network: Vec<f32> = values(
            predictions
                .networks
                .clone()
                .permute([0, 2, 3, 1])
                .reshape([2 * 12, PARAMETERS]),
        )[(12 + 7) * PARAMETERS..][..PARAMETERS]
            .to_vec();
        let bases = values(predictions.bases.clone());
        let at = |row: usize, column: usize| {
            let base = |channel: usize| bases[((CHANNELS + channel) * 6 + row) * 8 + column];
            let own = [3.5, 1.5];
            let point = [column, row].map(|at| (at as f32 + 0.5) / 2.0);
            let mut x: Vec<f32> = (0..CHANNELS).map(base).collect();
            x.extend([0, 1].map(|axis| (own[axis] - point[axis]) / REACH));
            let mut rest = &network[..];
            for (i, to) in [CHANNELS, CHANNELS, 1].into_iter().enumerate() {
                let (weights, after) = rest.split_at(x.len() * to);
                let (bias, after) = after.split_at(to);
                rest = after;
                let rows = weights.chunks_exact(x.len()).zip(bias);
                x = rows
                    .map(|(row, bias)| {
                        let sum: f32 = row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>() + bias;
                        if i < 2 {
                            sum.max(0.0) + SLOPE as f32 * sum.min(0.0)
                        } else {
                            sum
                        }
                    })
                    .collect();
            }
            x[0]
        };
        let mask = values(masks);
        // Between the centres (3, 5) and (3, 6) of the bases, a quarter of the way from the first.
        let rows = [
            at(2, 5) * 0.25 + at(3, 5) * 0.75,
            at(2, 6) * 0.25 + at(3, 6) * 0.75,
        ];
        let expected = rows[0] * 0.75 + rows[1] * 0.25;
        let found = mask[6 * 16 + 11];
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }

    #[test]
    fn dice_is_0_for_equal_masks_and_1_for_masks_without_overlap() {
        let mask = |values: [f32; 4]| {
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, 2, 2]), &Device::flex())
        };
        let loss = |a, b| values(dice(mask(a), mask(b)))[0];
        assert!(loss([1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0]).abs() < 1e-5);
        assert!((loss([1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]) - 1.0).abs() < 1e-5);
        // 1 − 2·0.5 / (0.25 + 1).
        assert!((loss([0.5, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]) - 0.2).abs() < 1e-4);
    }

    #[test]
    fn masks_are_learned_by_their_loss() {
        use crate::{
            boxes::Rect,
            config::OptimConfig,
            optim::{ParameterGradients, Sgd},
            transfer::detection::assign,
        };
        // The left half of each picture.
        let targets = vec![assign(&[(Rect::new(0.0, 0.0, 16.0, 24.0), 0)], [3, 4], 8.0); 2];
        let truth = |_, _| {
            (0..12 * 16)
                .map(|i| f32::from(u8::from(i % 16 < 8)))
                .collect()
        };
        let mut head = head().trainable();
        let mut sgd = Sgd::new(&OptimConfig::default());
        let mut losses = Vec::new();
        for _ in 0..100 {
            let loss = mask_loss(&head.forward(features().autodiff()), &targets, truth);
            losses.push(values(loss.clone().inner())[0]);
            let mut gradients = ParameterGradients::default();
            gradients.accumulate(&head, &loss.backward());
            sgd.step(&mut head, gradients, 0.1);
        }
        // Were every logit 0 at first, it would be 1/3 of dice and ln 2 of cross entropy.
        let (first, last) = (losses[0], losses[99]);
        assert!((first - 1.026).abs() < 0.2 && last < 0.2, "{first} {last}");
        let none = mask_loss(
            &head.forward(features().autodiff()),
            &[vec![None; 12], vec![None; 12]],
            truth,
        );
        assert_eq!(values(none.inner()), [0.0]);
    }
}
