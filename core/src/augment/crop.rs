//! Random resized crop: torchvision's draw of the rectangle, PIL's bilinear resize of its pixels.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use rand::RngExt;

use serde::{Deserialize, Serialize};

use crate::boxes::Rect;
use crate::rng::Rng;

/// A rectangle of whole source pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CropBox {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

impl CropBox {
    /// The same box in continuous coordinates.
    pub fn rect(self) -> Rect {
        let [left, top, width, height] =
            [self.left, self.top, self.width, self.height].map(f64::from);
        Rect::new(left, top, left + width, top + height)
    }

    /// Whether no pixel of `other` lies outside.
    pub fn contains(self, other: Self) -> bool {
        self.intersection(other) == Some(other)
    }

    /// The pixels that lie in both; `None` if there are none.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let left = self.left.max(other.left);
        let top = self.top.max(other.top);
        let right = (self.left + self.width).min(other.left + other.width);
        let bottom = (self.top + self.height).min(other.top + other.height);
        (left < right && top < bottom).then(|| Self {
            left,
            top,
            width: right - left,
            height: bottom - top,
        })
    }

    /// The largest centred square of a picture, as torchvision's `CenterCrop` places it.
    pub fn centred_square(width: u32, height: u32) -> Self {
        let side = width.min(height);
        // Python's round(), hence ties to even.
        let margin = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as u32;
        Self {
            left: margin(width),
            top: margin(height),
            width: side,
            height: side,
        }
    }

    /// Draws a rectangle as torchvision's `RandomResizedCrop.get_params` does: up to ten times an area
    /// uniform in `scale` (as a share of the source's) and an aspect ratio (width / height)
    /// log-uniform in `ratio`. The first rectangle that fits into the source is placed at a uniform
    /// position. When none fits, the result is the largest centred rectangle with a permitted ratio.
    ///
    /// # Panics
    /// When the source has no pixels, or a range is empty or not positive.
    pub fn draw(
        rng: &mut Rng,
        source_width: u32,
        source_height: u32,
        scale: [f64; 2],
        ratio: [f64; 2],
    ) -> Self {
        assert!(
            source_width > 0 && source_height > 0,
            "the source image has no pixels"
        );
        let source_area = f64::from(source_width) * f64::from(source_height);
        let log_ratio = ratio.map(f64::ln);
        for _ in 0..10 {
            let area = source_area * rng.random_range(scale[0]..=scale[1]);
            let aspect = rng.random_range(log_ratio[0]..=log_ratio[1]).exp();
            // Python's round(), hence ties to even.
            let width = (area * aspect).sqrt().round_ties_even() as u32;
            let height = (area / aspect).sqrt().round_ties_even() as u32;
            if (1..=source_width).contains(&width) && (1..=source_height).contains(&height) {
                let top = rng.random_range(0..=source_height - height);
                let left = rng.random_range(0..=source_width - width);
                return Self {
                    left,
                    top,
                    width,
                    height,
                };
            }
        }
        Self::centered(source_width, source_height, ratio)
    }

    /// The largest centred rectangle whose aspect ratio lies in `ratio`.
    fn centered(source_width: u32, source_height: u32, ratio: [f64; 2]) -> Self {
        let (w, h) = (f64::from(source_width), f64::from(source_height));
        let aspect = (w / h).clamp(ratio[0], ratio[1]);
        // Only the side that is too long for the ratio changes.
        let (width, height) = if w / h < aspect {
            (source_width, ((w / aspect).round_ties_even() as u32).max(1))
        } else if w / h > aspect {
            (
                ((h * aspect).round_ties_even() as u32).max(1),
                source_height,
            )
        } else {
            (source_width, source_height)
        };
        Self {
            left: (source_width - width) / 2,
            top: (source_height - height) / 2,
            width,
            height,
        }
    }
}

/// Cuts `crop` out of `source` and resizes it to `size` × `size` pixels with PIL's bilinear filter:
/// a triangular kernel that widens in proportion to the reduction (antialiasing) and uses no pixel
/// outside the crop.
///
/// The result differs from PIL's by at most 1 grey level: PIL resizes along x first and rounds to
/// bytes between the axes; `fast_image_resize` resizes along y first, which is faster for bytes.
///
/// # Panics
/// When `crop` is empty or does not lie inside `source`, or `size` is 0.
pub fn crop_resize(source: &RgbImage, crop: CropBox, size: u32) -> RgbImage {
    let mut out = RgbImage::new(size, size);
    resize_into(&mut Resizer::new(), source, crop, (size, size), &mut out);
    out
}

/// Resizes all of `source` to `width` × `height` pixels with the filter of [`crop_resize`].
///
/// # Panics
/// When `source` has no pixels, or `width` or `height` is 0.
pub fn resize(source: &RgbImage, width: u32, height: u32) -> RgbImage {
    let mut out = RgbImage::new(width, height);
    let all = CropBox {
        left: 0,
        top: 0,
        width: source.width(),
        height: source.height(),
    };
    resize_into(&mut Resizer::new(), source, all, (width, height), &mut out);
    out
}

/// [`crop_resize`] with buffers that are reused from one picture to the next.
#[derive(Debug, Default)]
pub(super) struct Cropper {
    resizer: Resizer,
    pixels: Vec<u8>,
}

impl Cropper {
    /// Returns the pixels with interleaved channels.
    pub(super) fn crop_resize(&mut self, source: &RgbImage, crop: CropBox, size: u32) -> &[u8] {
        self.pixels.resize(3 * size as usize * size as usize, 0);
        resize_into(
            &mut self.resizer,
            source,
            crop,
            (size, size),
            &mut self.pixels,
        );
        &self.pixels
    }
}

fn resize_into(
    resizer: &mut Resizer,
    source: &RgbImage,
    crop: CropBox,
    (out_width, out_height): (u32, u32),
    out: &mut [u8],
) {
    let CropBox {
        left,
        top,
        width,
        height,
    } = crop;
    let (source_width, source_height) = source.dimensions();
    let fits = |start: u32, length: u32, limit: u32| {
        length > 0 && start.checked_add(length).is_some_and(|end| end <= limit)
    };
    assert!(
        out_width > 0
            && out_height > 0
            && fits(left, width, source_width)
            && fits(top, height, source_height),
        "crop {crop:?} to {out_width} × {out_height} px does not fit a source of {source_width} × \
         {source_height} px",
    );

    const CHECKED: &str = "sizes were checked above";
    let pixels = TypedImageRef::<U8x3>::from_buffer(source_width, source_height, source);
    let pixels = pixels.expect(CHECKED);
    let cropped = TypedCroppedImage::new(pixels, left, top, width, height).expect(CHECKED);
    let mut out = TypedImage::<U8x3>::from_buffer(out_width, out_height, out).expect(CHECKED);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    resizer
        .resize_typed(&cropped, &mut out, &options)
        .expect(CHECKED);
}
