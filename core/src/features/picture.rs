//! Pictures as the network sees them.

use std::ops::RangeInclusive;

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::augment::{CropBox, crop_resize, normalize_into};

/// How a picture of any aspect ratio becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The largest centred square: no distortion, but the ends of the longer side are cut off.
    Crop,
    /// The whole picture, with its aspect ratio changed: nothing is cut off, but shapes are distorted.
    Stretch,
}

/// `image` as a square of `size` × `size` pixels: the centred square as by torchvision's `CenterCrop`, or the
/// whole picture, resized as the views of training are.
///
/// # Panics
/// When `image` has no pixels, or `size` is 0.
pub fn square(image: &RgbImage, size: u32, fit: Fit) -> RgbImage {
    let (width, height) = image.dimensions();
    let crop = match fit {
        Fit::Crop => CropBox::centred_square(width, height),
        Fit::Stretch => CropBox {
            left: 0,
            top: 0,
            width,
            height,
        },
    };
    crop_resize(image, crop, size)
}

/// Permitted lengths of the longer side of a network's input, in pixels.
pub const SIDES: RangeInclusive<u32> = 32..=4096;

/// Both sides of a network's input are multiples of this, the largest output stride, in pixels.
const STEP: u32 = 32;

/// Resizes a picture for the network: the longer side becomes about `side` pixels, and both sides are multiples
/// of 32, at least 32.
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

/// Converts pictures of one size to a batch [B, 3, H, W], normalised as in training.
///
/// # Panics
/// When there is no picture, or a picture has another number of pixels than the first.
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
