//! Makes a view from a picture and its parameters, with buffers that are reused for the next view.

use image::RgbImage;

use super::blur::Blur;
use super::color::{flip, grayscale, solarize};
use super::crop::{CropBox, Cropper};
use super::planes::Planes;
use super::{ColorOp, ViewParams};

/// Makes views one after the other in the same buffers, without an allocation per view.
///
/// [`ViewMaker::make`] makes a whole view. Its steps are public so that benchmarks can time them.
#[derive(Debug, Default)]
pub struct ViewMaker {
    cropper: Cropper,
    planes: Planes,
    blur: Blur,
}

impl ViewMaker {
    /// Makes the view of `size` × `size` pixels that `params` describe.
    ///
    /// # Panics
    /// When the crop does not lie inside `source`.
    pub fn make(&mut self, source: &RgbImage, params: &ViewParams, size: u32) -> &Planes {
        self.crop_resize(source, params.crop, size);
        self.recolor(&params.color, params.grayscale);
        self.blur(params.blur_sigma);
        if params.solarize {
            solarize(&mut self.planes);
        }
        self.flip(params.flip)
    }

    /// The first step: cuts out `crop` and resizes it to `size` × `size` pixels.
    ///
    /// # Panics
    /// When `crop` does not lie inside `source`.
    pub fn crop_resize(&mut self, source: &RgbImage, crop: CropBox, size: u32) {
        let pixels = self.cropper.crop_resize(source, crop, size);
        self.planes.set(size, size, pixels);
    }

    /// The second step: applies the operations of the colour jitter, then grayscale if `gray`.
    pub fn recolor(&mut self, ops: &[ColorOp], gray: bool) {
        for op in ops {
            op.apply(&mut self.planes);
        }
        if gray {
            grayscale(&mut self.planes);
        }
    }

    /// The third step: blurs with the standard deviation `sigma` in pixels; `None` does nothing.
    ///
    /// # Panics
    /// When `sigma` does not lie between 0 and [`MAX_SIGMA`](super::MAX_SIGMA).
    pub fn blur(&mut self, sigma: Option<f64>) {
        if let Some(sigma) = sigma {
            self.blur.apply(&mut self.planes, sigma);
        }
    }

    /// The last step, after solarising: mirrors the view left to right if `mirrored`, and returns it.
    pub fn flip(&mut self, mirrored: bool) -> &Planes {
        if mirrored {
            flip(&mut self.planes);
        }
        &self.planes
    }
}
