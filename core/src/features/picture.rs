//! Pictures as the network sees them.

use std::ops::RangeInclusive;

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::augment::{CropBox, crop_resize, normalize_into};

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
