//! From a picture and parameters to a view, without asking for memory each time.

use image::RgbImage;

use super::blur::Blur;
use super::color::{flip, grayscale};
use super::crop::{CropBox, Cropper};
use super::planes::Planes;
use super::{ColorOp, ViewParams};

/// Makes views one after the other in the same memory.
///
/// [`ViewMaker::make`] is all of it. Its steps are public for whoever measures them.
#[derive(Debug, Default)]
pub struct ViewMaker {
    cropper: Cropper,
    planes: Planes,
    blur: Blur,
}

impl ViewMaker {
    /// The view of `size` × `size` pixels that `params` describe.
    ///
    /// # Panics
    /// When the crop does not lie inside `source`.
    pub fn make(&mut self, source: &RgbImage, params: &ViewParams, size: u32) -> &Planes {
        self.crop_resize(source, params.crop, size);
        self.recolor(&params.color, params.grayscale);
        self.blur(params.blur_sigma);
        self.flip(params.flip)
    }

    /// Begins a view: the first step.
    ///
    /// # Panics
    /// When `crop` does not lie inside `source`.
    pub fn crop_resize(&mut self, source: &RgbImage, crop: CropBox, size: u32) {
        let pixels = self.cropper.crop_resize(source, crop, size);
        self.planes.set(size, size, pixels);
    }

    /// The second step: the colour jitter, then perhaps grayscale.
    pub fn recolor(&mut self, ops: &[ColorOp], gray: bool) {
        for op in ops {
            op.apply(&mut self.planes);
        }
        if gray {
            grayscale(&mut self.planes);
        }
    }

    /// The third step: the blur, if any.
    ///
    /// # Panics
    /// When `sigma` is out of range.
    pub fn blur(&mut self, sigma: Option<f64>) {
        if let Some(sigma) = sigma {
            self.blur.apply(&mut self.planes, sigma);
        }
    }

    /// The last step: perhaps mirrored.
    pub fn flip(&mut self, mirrored: bool) -> &Planes {
        if mirrored {
            flip(&mut self.planes);
        }
        &self.planes
    }
}
