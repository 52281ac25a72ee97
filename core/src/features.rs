//! Dense features of any picture, and the matches between two.

use std::ops::RangeInclusive;

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::{
    augment::normalize_into,
    matching::{l2_normalize, similarity},
    model::{Encoder, Phase, Stages},
};

/// Which features describe a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feature {
    /// The backbone's third stage.
    Stage3,
    /// The backbone's last stage: what the method matches by.
    Stage4,
    /// The dense head's output.
    Dense,
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

/// The feature map of a batch [B, C, h, w] as the network gives it, BN by its running statistics.
///
/// `encoder` and `images` are outside any gradient graph ([`inference`](crate::model::Tensors::inference)).
pub fn feature_map(encoder: &Encoder, images: Tensor<4>, feature: Feature) -> Tensor<4> {
    // Cheap: a copy shares its tensors. Evaluation must not move the statistics.
    let mut encoder = encoder.clone();
    let Stages([_, _, stage3, stage4]) = encoder.backbone.stages(images, Phase::Eval);
    match feature {
        Feature::Stage3 => stage3,
        Feature::Stage4 => stage4,
        Feature::Dense => encoder.dense_head.forward(stage4),
    }
}

/// [`feature_map`] with every cell's vector of unit length.
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
