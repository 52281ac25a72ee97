//! Transfer to semantic segmentation: the head of a fully convolutional network, its loss, and the
//! classification of pixels.
//!
//! Long et al., "Fully Convolutional Networks for Semantic Segmentation" (CVPR 2015), with the head that
//! MoCo (He et al. 2020, appendix) puts on a pre-trained backbone and that the DenseCL paper evaluates
//! with, too: two 3×3 convolutions with dilation 6, batch normalisation and ReLU, then logits for each
//! cell. Logits are interpolated to the pixels. For a linear head this equals interpolating the features,
//! because both operations are linear.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};

use crate::{
    device::failure,
    error::Result,
    interpolate::{pixel_centers, resample},
    metrics::IGNORE,
    model::{BatchNorm, Conv2d, Init, TensorVisitor, Tensors},
    ops::{Activation, FeatureMap},
};

/// Channels of the hidden layers.
const HIDDEN: usize = 256;
/// Dilation of the convolutions in the hidden layers.
const DILATION: usize = 6;
/// Standard deviation of the classifier's initial weights.
const STD: f64 = 0.01;
/// The most logits in memory while pixels are classified, for a picture of any size: 64 MiB of `f32`.
const MAX_LOGITS: usize = 1 << 24;

/// The head of an FCN: [B, C, h, w] → logits [B, classes, h, w].
#[derive(Debug, Clone)]
pub struct FcnHead {
    convs: [(Conv2d, BatchNorm); 2],
    classifier: Conv2d,
}

impl FcnHead {
    /// A new head for feature maps of `input` channels, with initial weights from `init`.
    pub fn new(init: &Init, input: usize, classes: usize) -> Self {
        let layer = |name: &str, input: usize| {
            (
                Conv2d::backbone(init, name, [input, HIDDEN], 3, 1, DILATION),
                BatchNorm::new(init, HIDDEN),
            )
        };
        Self {
            convs: [layer("convs.0.conv", input), layer("convs.1.conv", HIDDEN)],
            classifier: Conv2d::normal(init, "conv_seg", [HIDDEN, classes], 1, STD, 0.0),
        }
    }

    /// Logits of every cell; batch normalisation uses the running statistics.
    pub fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let mut x = FeatureMap::new(map);
        for (conv, norm) in &self.convs {
            x = norm.forward(conv.map(x), Activation::Relu);
        }
        self.classifier.map(x).into_tensor()
    }

    /// Logits of every cell for training: batch normalisation uses the statistics of the batch and updates
    /// the running statistics.
    pub fn forward_train(&mut self, map: Tensor<4>) -> Tensor<4> {
        let mut x = FeatureMap::new(map);
        for (conv, norm) in &mut self.convs {
            x = norm.forward_train(conv.map(x), 1, Activation::Relu);
        }
        self.classifier.map(x).into_tensor()
    }
}

impl Tensors for FcnHead {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        // Tensors have the names of mmsegmentation's `FCNHead`.
        for (index, (conv, norm)) in self.convs.iter_mut().enumerate() {
            conv.visit(&format!("{prefix}convs.{index}.conv."), visitor);
            norm.visit(&format!("{prefix}convs.{index}.bn."), visitor);
        }
        self.classifier
            .visit(&format!("{prefix}conv_seg."), visitor);
    }
}

/// Mean cross entropy of logits [B, classes, H, W] over the pixels that have a class. `labels` holds B·H·W
/// classes, [`IGNORE`] for a pixel without one. `None` when all pixels are ignored.
///
/// # Panics
/// When the number of labels is not B·H·W.
pub fn pixel_loss(logits: Tensor<4>, labels: &[u8]) -> Option<Tensor<1>> {
    let [b, classes, h, w] = logits.dims();
    assert_eq!(labels.len(), b * h * w, "a label per pixel");
    let (places, targets): (Vec<i32>, Vec<i32>) = (0..)
        .zip(labels)
        .filter(|(_, label)| **label != IGNORE)
        .map(|(place, label)| (place, i32::from(*label)))
        .unzip();
    if places.is_empty() {
        return None;
    }
    let device = logits.device();
    let indices = |values: Vec<i32>| {
        let shape = [values.len()];
        Tensor::<1, Int>::from_data(TensorData::new(values, shape), &device)
    };
    let rows = logits.permute([0, 2, 3, 1]).reshape([b * h * w, classes]);
    let rows = rows.select(0, indices(places));
    let targets: Tensor<2, Int> = indices(targets).unsqueeze_dim(1);
    Some(-log_softmax(rows, 1).gather(1, targets).mean())
}

/// The class of every pixel of a picture of `width` × `height` pixels, row major: the largest of the
/// logits [1, classes, h, w], which cover the picture, interpolated bilinearly to the pixels.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) when the device fails.
pub fn classify(logits: Tensor<4>, width: usize, height: usize) -> Result<Vec<u8>> {
    let [_, classes, h, w] = logits.dims();
    let columns = pixel_centers(width, w);
    let rows_at_once = (MAX_LOGITS / (classes * width)).max(1);
    let mut labels = Vec::with_capacity(width * height);
    for rows in pixel_centers(height, h).chunks(rows_at_once) {
        let band = resample(logits.clone(), rows, &columns).argmax(1);
        let band: Vec<i32> = band
            .try_into_vec_as()
            .map_err(|e| failure("when the classes were read", e))?;
        labels.extend(band.into_iter().map(|class| class as u8));
    }
    Ok(labels)
}

/// A map [1, channels, h, w] on `device` from h·w cells in row-major order, each with `channels` values.
///
/// # Panics
/// When the number of values is no multiple of h·w.
pub fn map_of_cells(values: Vec<f32>, [h, w]: [usize; 2], device: &Device) -> Tensor<4> {
    let channels = values.len() / (h * w);
    let cells: Tensor<4> = Tensor::from_data(TensorData::new(values, [1, h, w, channels]), device);
    cells.permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(values: &[f32], [b, c, h, w]: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [b, c, h, w]),
            &Device::flex(),
        )
    }

    #[test]
    fn the_loss_is_the_mean_over_pixels_with_a_class() {
        // torch.nn.functional.cross_entropy(torch.tensor([[[[1., 2., 0.]], [[3., -1., 0.]]]]),
        // torch.tensor([[[0, 0, 255]]]), ignore_index=255) = 1.0877577
        let map = logits(&[1.0, 2.0, 0.0, 3.0, -1.0, 0.0], [1, 2, 1, 3]);
        let loss = pixel_loss(map.clone(), &[0, 0, IGNORE]).expect("two pixels");
        assert!((loss.into_scalar::<f32>() - 1.087_757_7).abs() < 1e-6);
        assert!(pixel_loss(map, &[IGNORE; 3]).is_none());
    }

    #[test]
    fn pixels_take_the_largest_interpolated_logit() {
        // The left cell has class 0, the right one class 1; the logits are equal in the middle between the centres.
        let map = logits(&[1.0, 0.0, 0.0, 1.0], [1, 2, 1, 2]);
        assert_eq!(
            classify(map, 4, 2).expect("on the CPU"),
            [0, 0, 1, 1, 0, 0, 1, 1]
        );
        let cells = map_of_cells(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 3], &Device::flex());
        assert_eq!(cells.dims(), [1, 2, 1, 3]);
        let values: Vec<f32> = cells.try_into_vec_as().expect("on the CPU");
        assert_eq!(values, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn the_head_learns_by_its_loss() {
        use crate::{
            config::OptimConfig,
            optim::{ParameterGradients, Sgd},
        };
        let device = Device::flex();
        let init = Init::new(0, &device);
        let mut head = FcnHead::new(&init, 3, 2).trainable();
        let labels: Vec<u8> = (0..32).map(|i| u8::from(i % 5 > 2)).collect();
        // The first channel determines the class, the others are noise.
        let values: Vec<f32> = (0..2 * 3 * 16)
            .map(|i| match (i / 48, i / 16 % 3, i % 16) {
                (image, 0, pixel) => f32::from(labels[16 * image + pixel]),
                _ => ((i * 7) % 11) as f32 / 11.0,
            })
            .collect();
        let map = logits(&values, [2, 3, 4, 4]);
        let mut sgd = Sgd::new(&OptimConfig::default());
        let mut losses = Vec::new();
        for _ in 0..30 {
            let logits = head.forward_train(map.clone().autodiff());
            let loss = pixel_loss(logits, &labels).expect("labels");
            losses.push(loss.clone().into_scalar::<f32>());
            let mut gradients = ParameterGradients::default();
            gradients.accumulate(&head, &loss.backward());
            sgd.step(&mut head, gradients, 0.05);
        }
        assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
        let frozen = head.inference();
        let out = frozen.forward(map);
        assert_eq!(out.dims(), [2, 2, 4, 4]);
    }
}
