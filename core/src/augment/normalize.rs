//! Conversion of RGB bytes, and of pixels on a device, to the network's input.

use burn::tensor::Tensor;
use image::RgbImage;

/// Mean of ImageNet's red, green and blue in [0, 1].
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's red, green and blue in [0, 1].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The normalised value of every byte, for each channel: (byte / 255 − mean) / std, as torchvision's
/// `ToTensor` and `Normalize` compute it in single precision.
pub(super) static NORMALIZED: [[f32; 256]; 3] = {
    let mut table = [[0.0; 256]; 3];
    let mut channel = 0;
    while channel < 3 {
        let mut byte = 0;
        while byte < 256 {
            table[channel][byte] =
                (byte as f32 / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel];
            byte += 1;
        }
        channel += 1;
    }
    table
};

/// Pixels [B, 3, H, W] in [0, 1], normalised by ImageNet's mean and standard deviation. A gradient flows through.
pub fn normalize(pixels: Tensor<4>) -> Tensor<4> {
    let [mean, std] = [IMAGENET_MEAN, IMAGENET_STD].map(|values| per_channel(values, &pixels));
    (pixels - mean) / std
}

/// The inverse of [`normalize`], up to rounding. A gradient flows through.
pub fn denormalize(images: Tensor<4>) -> Tensor<4> {
    let [mean, std] = [IMAGENET_MEAN, IMAGENET_STD].map(|values| per_channel(values, &images));
    images * std + mean
}

/// A constant [1, 3, 1, 1] where `like` is: on its device, and in its gradient graph if it is in one.
fn per_channel(values: [f32; 3], like: &Tensor<4>) -> Tensor<4> {
    let device = like.device().inner();
    let constant = Tensor::<1>::from_data(values, &device).reshape([1, 3, 1, 1]);
    if like.is_autodiff() {
        constant.autodiff()
    } else {
        constant
    }
}

/// Writes `image` as [3, height, width] (red plane first), normalised by ImageNet's mean and
/// standard deviation.
///
/// # Panics
/// When `out` does not hold exactly 3 · height · width values.
pub fn normalize_into(image: &RgbImage, out: &mut [f32]) {
    let (pixels, _) = image.as_chunks::<3>();
    assert_eq!(
        out.len(),
        3 * pixels.len(),
        "the output must hold [3, height, width]"
    );
    let (red, rest) = out.split_at_mut(pixels.len());
    let (green, blue) = rest.split_at_mut(pixels.len());
    let planes = red.iter_mut().zip(green).zip(blue);
    for (&[r, g, b], ((red, green), blue)) in pixels.iter().zip(planes) {
        *red = NORMALIZED[0][usize::from(r)];
        *green = NORMALIZED[1][usize::from(g)];
        *blue = NORMALIZED[2][usize::from(b)];
    }
}

/// Writes pictures whose channels are planes already, `bytes` = [N, 3, `pixels`], to `out` of the same
/// shape, normalised as by [`normalize_into`].
///
/// # Panics
/// When the length of `bytes` is no multiple of 3 · `pixels`, or differs from that of `out`.
pub fn normalize_planes(bytes: &[u8], pixels: usize, out: &mut [f32]) {
    assert!(
        pixels > 0 && bytes.len().is_multiple_of(3 * pixels) && bytes.len() == out.len(),
        "{} bytes of [N, 3, {pixels}] do not become {} values",
        bytes.len(),
        out.len()
    );
    let planes = bytes.chunks_exact(pixels).zip(out.chunks_exact_mut(pixels));
    for (plane, (bytes, out)) in planes.enumerate() {
        let table = &NORMALIZED[plane % 3];
        for (out, &byte) in out.iter_mut().zip(bytes) {
            *out = table[usize::from(byte)];
        }
    }
}
