//! The two views of an image: MoCo v2's augmentation, and the geometry that relates the views.
//!
//! A view is made in the order of MoCo v2: random resized crop, colour jitter, grayscale, Gaussian blur,
//! horizontal flip; before the flip BYOL's solarisation. Every operation follows torchvision 0.20 working on a
//! PIL image, down to PIL's roundings, so that training here and training with the authors' code use pictures
//! from the same distribution. `tests/tests/augment_parity` compares the views with PIL's.
//!
//! Random decisions are separate from the operations: [`ViewParams::draw`] makes every random
//! decision of a view, and [`apply`] is a pure function of the source and those decisions. The
//! operations can therefore be tested at fixed parameters, and a view depends only on
//! `(seed, index)`, whichever thread makes it.
//!
//! By default every view is drawn from the whole picture. With a [`Curriculum`] all views of a picture are
//! drawn from a region of it that shrinks over a run.
//!
//! [`draw_instances`] draws two views, and boxes that both show.
//!
//! By default, DenseCL trains on the pictures alone, and the [`ViewGeometry`] of each view is used only
//! for evaluation: it gives the true position of every cell of one view in the other, hence whether the
//! matches by features are correct.

mod blur;
mod color;
mod config;
mod crop;
mod curriculum;
mod geometry;
mod instances;
mod maker;
mod normalize;
mod planes;
mod upload;

use image::RgbImage;
use rand::RngExt;
use rand::seq::SliceRandom;

pub use blur::{MAX_SIGMA, gaussian_blur};
pub use color::{ColorOp, brightness, contrast, flip, grayscale, hue, saturation, solarize};
pub use config::{SecondView, ViewConfig};
pub use crop::{CropBox, crop_resize, resize};
pub use curriculum::{Curriculum, Stage, draw_region};
pub use geometry::ViewGeometry;
pub use instances::{InstanceConfig, ScenesAndInstances, draw_instances};
pub use maker::ViewMaker;
pub use normalize::{
    IMAGENET_MEAN, IMAGENET_STD, denormalize, normalize, normalize_into, normalize_planes,
};
pub use planes::Planes;
pub use upload::upload;

use crate::rng::{self, Purpose, Rng};

/// One augmented view of a source image.
#[derive(Debug, Clone)]
pub struct View {
    /// The picture, `size` × `size` pixels.
    pub image: RgbImage,
    /// Which part of the source it shows, and whether it is mirrored.
    pub geometry: ViewGeometry,
}

/// Everything that is drawn at random for one view.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewParams {
    /// The part of the source that the view shows.
    pub crop: CropBox,
    /// The operations of the colour jitter in the order of their application; empty when the view
    /// is not jittered.
    pub color: Vec<ColorOp>,
    /// Whether the colours are replaced by their luma.
    pub grayscale: bool,
    /// The standard deviation of the Gaussian blur in pixels of the view; `None`: no blur.
    pub blur_sigma: Option<f64>,
    /// Whether every value of at least 128 is inverted.
    pub solarize: bool,
    /// Whether the view is mirrored left to right.
    pub flip: bool,
}

impl ViewParams {
    /// Draws the parameters of one view of a source of `source_width` × `source_height` pixels.
    ///
    /// # Panics
    /// When the source has no pixels or `config` is not valid (see [`ViewConfig::validate`]).
    pub fn draw(rng: &mut Rng, source_width: u32, source_height: u32, config: &ViewConfig) -> Self {
        let crop = CropBox::draw(rng, source_width, source_height, config.scale, config.ratio);
        Self::draw_of(rng, crop, config)
    }

    /// Draws the parameters of one view of a region of a source: the crop lies in the region.
    ///
    /// # Panics
    /// As [`Self::draw`].
    pub fn draw_within(rng: &mut Rng, region: CropBox, config: &ViewConfig) -> Self {
        let mut params = Self::draw(rng, region.width, region.height, config);
        params.crop.left += region.left;
        params.crop.top += region.top;
        params
    }

    /// Draws the parameters of a view of exactly this crop.
    ///
    /// # Panics
    /// When `config` is not valid (see [`ViewConfig::validate`]).
    pub fn draw_of(rng: &mut Rng, crop: CropBox, config: &ViewConfig) -> Self {
        let color = if rng.random_bool(config.jitter_p) {
            draw_jitter(rng, config)
        } else {
            Vec::new()
        };
        let grayscale = rng.random_bool(config.grayscale_p);
        let blurred = rng.random_bool(config.blur_p);
        let blur_sigma = blurred.then(|| uniform(rng, config.blur_sigma));
        let flip = rng.random_bool(config.flip_p);
        // No draw where there is no solarisation: the views of older settings stay as they were.
        let solarize = config.solarize_p > 0.0 && rng.random_bool(config.solarize_p);
        Self {
            crop,
            color,
            grayscale,
            blur_sigma,
            solarize,
            flip,
        }
    }

    /// The view of a whole picture without any augmentation: its largest centred square.
    pub fn whole([width, height]: [u32; 2]) -> Self {
        Self {
            crop: CropBox::centred_square(width, height),
            color: Vec::new(),
            grayscale: false,
            blur_sigma: None,
            solarize: false,
            flip: false,
        }
    }

    /// The map between the view of `size` × `size` pixels and its source.
    pub fn geometry(&self, size: u32) -> ViewGeometry {
        ViewGeometry {
            crop: self.crop,
            flip: self.flip,
            size,
        }
    }
}

/// torchvision's `ColorJitter`: each factor uniform in its range, the operations in random order.
/// As in torchvision, an operation of strength 0 is left out, because hue by 0 is not the identity.
fn draw_jitter(rng: &mut Rng, config: &ViewConfig) -> Vec<ColorOp> {
    let around_one = |strength: f64| [(1.0 - strength).max(0.0), 1.0 + strength];
    let brightness: fn(f64) -> ColorOp = ColorOp::Brightness;
    let candidates = [
        (brightness, around_one(config.brightness)),
        (ColorOp::Contrast, around_one(config.contrast)),
        (ColorOp::Saturation, around_one(config.saturation)),
        (ColorOp::Hue, [-config.hue, config.hue]),
    ];
    let mut ops: Vec<ColorOp> = candidates
        .into_iter()
        .filter(|(_, [low, high])| low < high)
        .map(|(op, range)| op(uniform(rng, range)))
        .collect();
    ops.shuffle(rng);
    ops
}

/// Uniform from `low` to `high`.
fn uniform(rng: &mut Rng, [low, high]: [f64; 2]) -> f64 {
    rng.random_range(low..=high)
}

/// Makes the view of `size` × `size` pixels that `params` describe.
///
/// # Panics
/// When the crop does not lie inside `source`.
pub fn apply(source: &RgbImage, params: &ViewParams, size: u32) -> View {
    let mut maker = ViewMaker::default();
    View {
        image: maker.make(source, params, size).to_rgb(),
        geometry: params.geometry(size),
    }
}

/// The parameters of `count` views of the sample at position `index` of the run with this `seed`, whose source
/// has `source_width` × `source_height` pixels, at a stage of the curriculum. A larger `count` appends views
/// and leaves the first ones unchanged.
///
/// # Panics
/// When the source has no pixels or `config` is not valid (see [`ViewConfig::validate`]).
pub fn draw_views(
    [source_width, source_height]: [u32; 2],
    config: &ViewConfig,
    stage: Stage,
    seed: u64,
    index: u64,
    count: usize,
) -> Vec<ViewParams> {
    let region = draw_region(source_width, source_height, stage.region, seed, index);
    let mut rng = rng::stream(seed, Purpose::Views, index);
    (0..count)
        .map(|number| ViewParams::draw_within(&mut rng, region, &config.of_view(number)))
        .collect()
}

/// The parameters of the two views of the sample at position `index` of the run with this `seed`,
/// whose source has `source_width` × `source_height` pixels, without a curriculum.
///
/// # Panics
/// When the source has no pixels or `config` is not valid (see [`ViewConfig::validate`]).
pub fn draw_two(
    source_width: u32,
    source_height: u32,
    config: &ViewConfig,
    seed: u64,
    index: u64,
) -> [ViewParams; 2] {
    let (source, stage) = ([source_width, source_height], Stage::whole(config.size));
    let views = draw_views(source, config, stage, seed, index, 2);
    views.try_into().expect("two views")
}

/// The two views of the sample at position `index` of the run with this `seed`, without a curriculum.
///
/// # Panics
/// When `source` has no pixels or `config` is not valid (see [`ViewConfig::validate`]).
pub fn two_views(source: &RgbImage, config: &ViewConfig, seed: u64, index: u64) -> [View; 2] {
    let (width, height) = source.dimensions();
    draw_two(width, height, config, seed, index).map(|params| apply(source, &params, config.size))
}
