//! Features of any picture, and the matches between two.

use std::ops::RangeInclusive;

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::{
    augment::{CropBox, crop_resize, normalize_into},
    config::ModelConfig,
    device::failure,
    error::{Error, Result},
    matching::{l2_normalize, similarity},
    model::{Encoder, Phase, Stages},
    ops,
};

/// Which features describe a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feature {
    /// The backbone's first stage, at stride 4.
    Stage1,
    /// The backbone's second stage, at stride 8.
    Stage2,
    /// The backbone's third stage.
    Stage3,
    /// The backbone's last stage: what the method matches by.
    Stage4,
    /// The dense head's output.
    Dense,
}

/// How a picture of any shape becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The largest square about its centre: nothing is distorted, the longer side loses its ends.
    Crop,
    /// All of it, squeezed: nothing is lost.
    Stretch,
}

/// `image` as a square of `size` pixels: torchvision's `CenterCrop` of the shorter side, or all of it,
/// then its `Resize` as in the views of training.
///
/// # Panics
/// When `image` has no pixels, or `size` is 0.
pub fn square(image: &RgbImage, size: u32, fit: Fit) -> RgbImage {
    let (width, height) = image.dimensions();
    let crop = match fit {
        Fit::Crop => {
            let side = width.min(height);
            // Python's round(), hence ties to even.
            let margin = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as u32;
            CropBox {
                left: margin(width),
                top: margin(height),
                width: side,
                height: side,
            }
        }
        Fit::Stretch => CropBox {
            left: 0,
            top: 0,
            width,
            height,
        },
    };
    crop_resize(image, crop, size)
}

/// Lengths in pixels that the longer side of a picture may have for the network.
pub const SIDES: RangeInclusive<u32> = 32..=4096;

/// Both sides of a picture that the network sees are multiples of this: the coarsest stride.
const STEP: u32 = 32;

/// A picture as the network sees it: resized so that the longer side is about `side` pixels and both
/// are multiples of 32, at least 32.
///
/// # Panics
/// When `side` is not in [`SIDES`], or the picture is empty.
pub fn network_picture(image: &RgbImage, side: u32) -> RgbImage {
    assert!(SIDES.contains(&side), "a side of {side} pixels");
    let (width, height) = image.dimensions();
    assert!(width > 0 && height > 0, "an empty picture");
    let longer = f64::from(width.max(height));
    let fit = |pixels: u32| {
        let wanted = f64::from(pixels) * f64::from(side) / longer;
        (wanted / f64::from(STEP)).round().max(1.0) as u32 * STEP
    };
    let filter = imageops::FilterType::Triangle;
    imageops::resize(image, fit(width), fit(height), filter)
}

/// Pictures of one size to a batch [B, 3, H, W], normalised as in training.
///
/// # Panics
/// When there is no picture, or their sizes differ.
pub fn image_batch(images: &[RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = images.first().expect("at least one picture").dimensions();
    let pixels = (width * height) as usize;
    let mut values = vec![0.0; images.len() * 3 * pixels];
    for (image, out) in images.iter().zip(values.chunks_exact_mut(3 * pixels)) {
        normalize_into(image, out);
    }
    let shape = [images.len(), 3, height as usize, width as usize];
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Feature {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
            Self::Stage3 => "stage3",
            Self::Stage4 => "stage4",
            Self::Dense => "dense",
        }
    }

    /// Pixels per cell in a network of `model`; `None` where the dense head pools to a grid of its own.
    pub fn stride(self, model: &ModelConfig) -> Option<usize> {
        let last = model.output_stride;
        match self {
            Self::Stage1 => Some(4),
            Self::Stage2 => Some(8),
            Self::Stage3 => Some(last.min(16)),
            Self::Stage4 => Some(last),
            Self::Dense => (model.num_grid == 0).then_some(last),
        }
    }

    /// Whether `encoder` has this feature: a backbone from elsewhere has no dense head.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it has not.
    pub fn ensure_in(self, encoder: &Encoder) -> Result<()> {
        if self == Self::Dense && encoder.dense_head.is_none() {
            return Err(Error::Mismatch(
                "the weights have no dense head: use the features of a stage, such as stage4"
                    .to_string(),
            ));
        }
        Ok(())
    }
}

/// The feature maps of a batch [B, 3, H, W], BN by its running statistics.
///
/// `encoder` and `images` are outside any gradient graph ([`Tensors::inference`](crate::model::Tensors::inference)).
pub fn stages(encoder: &Encoder, images: Tensor<4>) -> Stages {
    // Cheap: a copy shares its tensors. Evaluation must not move the statistics.
    let mut backbone = encoder.backbone.clone();
    ops::together(&images.device(), move || {
        backbone.stages(images, Phase::Eval)
    })
}

/// One of the maps [B, C, h, w] that an encoder makes of these stages, as it is: of any length.
///
/// # Panics
/// When the encoder has no such feature; ask [`Feature::ensure_in`] first.
pub fn map_of(encoder: &Encoder, stages: &Stages, feature: Feature) -> Tensor<4> {
    let Stages([stage1, stage2, stage3, stage4]) = stages;
    match feature {
        Feature::Stage1 => stage1.clone(),
        Feature::Stage2 => stage2.clone(),
        Feature::Stage3 => stage3.clone(),
        Feature::Stage4 => stage4.clone(),
        Feature::Dense => {
            let head = encoder.dense_head.as_ref();
            head.expect("asked for before").forward(stage4.clone())
        }
    }
}

/// The feature map of a batch [B, C, h, w] as the network gives it, BN by its running statistics.
///
/// `encoder` and `images` are outside any gradient graph ([`Tensors::inference`](crate::model::Tensors::inference)).
///
/// # Panics
/// When the encoder has no such feature; ask [`Feature::ensure_in`] first.
pub fn feature_map(encoder: &Encoder, images: Tensor<4>, feature: Feature) -> Tensor<4> {
    map_of(encoder, &stages(encoder, images), feature)
}

/// [`feature_map`] with every cell's vector of unit length.
///
/// # Panics
/// As [`feature_map`].
pub fn dense_features(encoder: &Encoder, images: Tensor<4>, feature: Feature) -> Tensor<4> {
    l2_normalize(feature_map(encoder, images, feature), 1)
}

/// Similarity of every cell of A with every cell of B: unit-length maps [B, C, h, w] and
/// [B, C, h', w'] → [B, h·w, h'·w'].
pub fn map_similarity(a: Tensor<4>, b: Tensor<4>) -> Tensor<3> {
    let cells = |map: Tensor<4>| {
        let [n, c, h, w] = map.dims();
        map.reshape([n, c, h * w])
    };
    similarity(cells(a), cells(b))
}

/// The values of a tensor, row major: the way to read that works in a browser too.
///
/// # Errors
/// [`Error::Device`] when the device failed (lost, out of memory).
pub async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let failed = |e: &dyn std::fmt::Display| failure("when it was read", e);
    let data = tensor.into_data_async().await.map_err(|e| failed(&e))?;
    data.try_into_vec().map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_become_multiples_of_32_and_the_longer_one_about_as_asked() {
        let sides =
            |width, height, side| network_picture(&RgbImage::new(width, height), side).dimensions();
        assert_eq!(sides(640, 480, 224), (224, 160));
        assert_eq!(sides(480, 640, 224), (160, 224));
        assert_eq!(sides(64, 64, 100), (96, 96));
        assert_eq!(sides(1000, 1, 64), (64, 32));
    }
}
