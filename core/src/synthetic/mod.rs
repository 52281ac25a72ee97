//! Procedural scenes: small textured 3-D still lifes seen from two viewpoints, with exact dense
//! correspondence (visibility included) and a label for every pixel.
//!
//! Scenes need no download, so they are the data of the quick start and of the browser's examples.
//! Their geometry is known, so they also serve the tests as ground truth.
//!
//! A scene is a pure function of `(seed, index, config)`; `size` and `supersample` change how it is
//! drawn and leave its content as it is. Rays are traced with the five correctly rounded operations of
//! IEEE 754 `f32` and integer hashes, without the platform's transcendental functions, so the bytes are
//! the same on every target whose `f32` follows IEEE 754 (all major targets of Rust but 32-bit x86
//! without SSE 2).
//!
//! | module | what is in it |
//! |---|---|
//! | `math`, `noise` | vectors, rotations, lattice noise |
//! | `shape` | the solids and where rays meet them |
//! | `texture`, `palette` | the solids' materials |
//! | `object` | objects made of solids, by class, in stable poses |
//! | `scene`, `light`, `camera` | a random arrangement, its light, its two viewpoints |
//! | `render`, `correspondence` | pictures, labels, and where each pixel is found in the other view |
//! | `warp` | a second view, with exact truth, of a picture that is not a scene |

mod camera;
mod correspondence;
mod light;
mod math;
mod noise;
mod object;
mod palette;
mod render;
mod scene;
mod shape;
#[cfg(test)]
mod tests;
mod texture;
mod warp;

use std::collections::BTreeMap;

use image::{GrayImage, RgbImage};
use serde::{Deserialize, Serialize};

pub use self::correspondence::Correspondence;
use self::scene::{Hit, Scene, View};
pub use self::warp::{Homography, Warp, WarpMap, warp};
use crate::augment::CropBox;
use crate::boxes::Rect;
use crate::rng::{Purpose, stream};

/// The name of each class; a pixel's label is an index into it. Sky and walls are background.
pub const CLASS_NAMES: [&str; 15] = [
    "background",
    "ground",
    "sphere",
    "box",
    "rounded box",
    "cylinder",
    "cone",
    "capsule",
    "torus",
    "ellipsoid",
    "prism",
    "pyramid",
    "dome",
    "tree",
    "house",
];

/// The most objects of a scene. Each has at most three parts, so a `u128` has a bit for every part.
const MAX_OBJECTS: u32 = 32;

/// The settings of the scenes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneConfig {
    /// Width and height of the pictures in pixels, 16 to 2048.
    pub size: u32,
    /// The least and the greatest number of objects, 0 to 32.
    pub objects: [u32; 2],
    /// How far the second viewpoint is moved around the scene, as a fraction of the camera's distance
    /// from it, 0 to 1; 0.3 is an angle of about 17°. A little zoom, roll and shift are added.
    pub baseline: f32,
    /// Samples per pixel along each axis for anti-aliasing and soft shadows, 1 to 8. Pixels of uniform
    /// colour get two samples in all.
    pub supersample: u32,
}

impl Default for SceneConfig {
    fn default() -> Self {
        SceneConfig {
            size: 160,
            objects: [5, 9],
            baseline: 0.3,
            supersample: 2,
        }
    }
}

impl SceneConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// A message that names the first field that is out of range, its value and the range.
    pub fn validate(&self) -> Result<(), String> {
        let [least, most] = self.objects;
        if !(16..=2048).contains(&self.size) {
            return Err(format!("size = {}: must be 16 to 2048 pixels", self.size));
        }
        if least > most || most > MAX_OBJECTS {
            return Err(format!(
                "objects = [{least}, {most}]: must be [least, greatest], at most {MAX_OBJECTS}"
            ));
        }
        if !(0.0..=1.0).contains(&self.baseline) {
            return Err(format!("baseline = {}: must be 0 to 1", self.baseline));
        }
        if !(1..=8).contains(&self.supersample) {
            return Err(format!(
                "supersample = {}: must be 1 to 8",
                self.supersample
            ));
        }
        Ok(())
    }
}

/// One view of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The picture, anti-aliased.
    pub image: RgbImage,
    /// The class of the surface seen at each pixel's centre: an index into [`CLASS_NAMES`].
    pub labels: GrayImage,
    /// The number of the object seen at each pixel's centre, the same in both views and at least 1; 0 for
    /// ground and background.
    pub instances: GrayImage,
}

/// One scene from two viewpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenePair {
    /// The first view.
    pub a: Frame,
    /// The second view.
    pub b: Frame,
    /// Where the pixels of the first view are found in the second.
    pub a_to_b: Correspondence,
    /// Where the pixels of the second view are found in the first.
    pub b_to_a: Correspondence,
}

impl Frame {
    /// Renders a view; `hits` is what the ray through each pixel meets.
    fn of(view: &View<'_>, hits: &[Hit], config: &SceneConfig) -> Self {
        let (labels, instances) = render::label_maps(view.scene, hits, config.size);
        Frame {
            image: render::picture(view, config.size, config.supersample),
            labels,
            instances,
        }
    }

    /// The box in pixels around the visible part of each object, and its class. Objects with fewer than
    /// `least` visible pixels are left out.
    pub fn objects(&self, least: u32) -> Vec<(Rect, usize)> {
        // For each object number: visible pixels, [first column, first row, last column, last row], class.
        let mut seen: BTreeMap<u8, (u32, [u32; 4], u8)> = BTreeMap::new();
        for (x, y, number) in self.instances.enumerate_pixels() {
            if number.0[0] == 0 {
                continue;
            }
            let class = self.labels.get_pixel(x, y).0[0];
            let (pixels, edges, _) = seen.entry(number.0[0]).or_insert((0, [x, y, x, y], class));
            *pixels += 1;
            let [x0, y0, x1, y1] = *edges;
            *edges = [x0.min(x), y0.min(y), x1.max(x), y1.max(y)];
        }
        let enough = seen.into_values().filter(|(pixels, ..)| *pixels >= least);
        let boxes = enough.map(|(_, [x0, y0, x1, y1], class)| {
            let [x0, y0, x1, y1] = [x0, y0, x1 + 1, y1 + 1].map(f64::from);
            (Rect::new(x0, y0, x1, y1), usize::from(class))
        });
        boxes.collect()
    }

    /// Squares around the objects of which enough is visible to tell their class, and their classes: for pictures of
    /// single objects. A square may show parts of other objects, too.
    pub fn object_squares(&self) -> Vec<(CropBox, usize)> {
        let (width, height) = self.image.dimensions();
        // A hundredth of the picture: what is left of a hidden object is often less.
        let squares = self.objects(width * height / 100).into_iter();
        let square = |rect: Rect| {
            let [x, y] = rect.center();
            let longer = (rect.x1 - rect.x0).max(rect.y1 - rect.y0);
            let side = ((SQUARE * longer).round() as u32).clamp(1, width.min(height));
            let start = |center: f64, length: u32| {
                let start = (center - f64::from(side) / 2.0).round().max(0.0);
                (start as u32).min(length - side)
            };
            CropBox {
                left: start(x, width),
                top: start(y, height),
                width: side,
                height: side,
            }
        };
        squares.map(|(rect, class)| (square(rect), class)).collect()
    }
}

/// The side of [`Frame::object_squares`], as a multiple of the longer side of the object's box: with a margin, so that
/// the outline of the object can be seen.
const SQUARE: f64 = 1.25;

/// Renders scene number `index` of `seed` from two viewpoints.
///
/// # Panics
///
/// When `config` is not valid, see [`SceneConfig::validate`].
pub fn scene_pair(seed: u64, index: u64, config: &SceneConfig) -> ScenePair {
    let scene = random_scene(seed, index, config);
    let [view_a, view_b] = scene
        .cameras
        .each_ref()
        .map(|camera| View::new(&scene, camera));
    let size = config.size;
    let hits_a = render::centre_hits(&view_a, size);
    let hits_b = render::centre_hits(&view_b, size);
    ScenePair {
        a: Frame::of(&view_a, &hits_a, config),
        b: Frame::of(&view_b, &hits_b, config),
        a_to_b: Correspondence::between(&view_a, &hits_a, &view_b, size),
        b_to_a: Correspondence::between(&view_b, &hits_b, &view_a, size),
    }
}

/// Renders one frame of a video of the same scene: the camera moves from the first viewpoint (`share` 0) on a
/// straight line to the second (`share` 1). Object numbers are the same in all frames.
///
/// # Panics
///
/// When `config` is not valid, see [`SceneConfig::validate`], or `share` is not in [0, 1].
pub fn scene_frame(seed: u64, index: u64, share: f32, config: &SceneConfig) -> Frame {
    assert!((0.0..=1.0).contains(&share), "a share of {share}");
    let scene = random_scene(seed, index, config);
    let [first, second] = &scene.cameras;
    let camera = first.towards(second, share);
    let view = View::new(&scene, &camera);
    let hits = render::centre_hits(&view, config.size);
    Frame::of(&view, &hits, config)
}

/// Renders the first view's picture alone: equal to `scene_pair(seed, index, config).a.image`, but faster.
///
/// # Panics
///
/// When `config` is not valid, see [`SceneConfig::validate`].
pub fn scene_image(seed: u64, index: u64, config: &SceneConfig) -> RgbImage {
    let scene = random_scene(seed, index, config);
    render::picture(
        &View::new(&scene, &scene.cameras[0]),
        config.size,
        config.supersample,
    )
}

fn random_scene(seed: u64, index: u64, config: &SceneConfig) -> Scene {
    if let Err(problem) = config.validate() {
        panic!("{problem}");
    }
    Scene::random(&mut stream(seed, Purpose::Scene, index), config)
}
