//! Two overlapping scenes of an image, and the instances that both show (UniVIP: Li et al. 2022, algorithm 1).
//!
//! The scenes are drawn as any two views are. A pair is drawn again until enough of the image's boxes lie inside the
//! overlap of its crops. (The paper's algorithm has the inequality the other way round; its text says this.) After the
//! last try the boxes are drawn at random, within the limits that the image's boxes keep.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::curriculum::{Stage, draw_region};
use super::{CropBox, ViewConfig, ViewParams};
use crate::rng::{Purpose, Rng, stream};

/// Which boxes are instances, and how hard they are looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceConfig {
    /// The shortest side of a box in pixels of the image, at least 1.
    pub min_side: u32,
    /// The longest side of a box divided by its shortest, at least 1.
    pub max_ratio: f64,
    /// The greatest intersection over union of two boxes of an image, in [0, 1].
    pub max_iou: f64,
    /// How often a pair of scenes is drawn before the boxes are drawn at random, at least 1.
    pub tries: u32,
}

impl Default for InstanceConfig {
    fn default() -> Self {
        Self {
            min_side: 64,
            max_ratio: 3.0,
            max_iou: 0.5,
            tries: 20,
        }
    }
}

/// The most tries. It catches typing errors.
const MAX_TRIES: u32 = 10_000;
/// How often a random box is drawn again because it covers too much of another.
const BOX_TRIES: usize = 20;

impl InstanceConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// One line that names the first bad key, its value and the permitted range.
    pub fn validate(&self) -> Result<(), String> {
        let wrong = |key: &str, value: String, range: &str| {
            Err(format!("instances.{key} = {value}: must be {range}"))
        };
        if self.min_side == 0 {
            return wrong("min_side", "0".to_string(), "at least 1 pixel");
        }
        if !(self.max_ratio >= 1.0 && self.max_ratio.is_finite()) {
            return wrong("max_ratio", self.max_ratio.to_string(), "at least 1");
        }
        if !(0.0..=1.0).contains(&self.max_iou) {
            return wrong("max_iou", self.max_iou.to_string(), "between 0 and 1");
        }
        if !(1..=MAX_TRIES).contains(&self.tries) {
            return wrong("tries", self.tries.to_string(), "1 to 10,000");
        }
        Ok(())
    }

    /// The boxes that keep the limits, in their order: those with a permitted shape that cover none before them by more
    /// than permitted.
    pub fn choose(&self, boxes: impl IntoIterator<Item = CropBox>) -> Vec<CropBox> {
        let mut chosen: Vec<CropBox> = Vec::new();
        for candidate in boxes {
            if self.has_shape(candidate) && self.is_apart(candidate, &chosen) {
                chosen.push(candidate);
            }
        }
        chosen
    }

    fn has_shape(&self, CropBox { width, height, .. }: CropBox) -> bool {
        let (short, long) = (width.min(height), width.max(height));
        short >= self.min_side && f64::from(long) <= self.max_ratio * f64::from(short)
    }

    fn is_apart(&self, candidate: CropBox, others: &[CropBox]) -> bool {
        let rect = candidate.rect();
        others
            .iter()
            .all(|other| other.rect().iou(&rect) <= self.max_iou)
    }

    /// A random box inside `within`: sides uniform between the limits, at a uniform place. Where `within` is too small
    /// for the limits, a box of its shorter side.
    fn draw(&self, rng: &mut Rng, within: CropBox) -> CropBox {
        let least = self.min_side.min(within.width).min(within.height);
        let width = rng.random_range(least..=within.width);
        let side = f64::from(width);
        let low = ((side / self.max_ratio).ceil() as u32).clamp(least, within.height);
        let high = ((side * self.max_ratio).floor() as u32).clamp(low, within.height);
        let height = rng.random_range(low..=high);
        CropBox {
            left: within.left + rng.random_range(0..=within.width - width),
            top: within.top + rng.random_range(0..=within.height - height),
            width,
            height,
        }
    }

    /// `count` random boxes inside `within` that cover each other as little as the limits ask, as far as some tries go.
    fn draw_all(&self, rng: &mut Rng, within: CropBox, count: usize) -> Vec<CropBox> {
        let mut drawn = Vec::with_capacity(count);
        for _ in 0..count {
            let mut candidate = self.draw(rng, within);
            for _ in 1..BOX_TRIES {
                if self.has_shape(candidate) && self.is_apart(candidate, &drawn) {
                    break;
                }
                candidate = self.draw(rng, within);
            }
            drawn.push(candidate);
        }
        drawn
    }
}

/// The views of one sample: two scenes, and each instance under two augmentations.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenesAndInstances {
    /// Both scenes.
    pub scenes: [ViewParams; 2],
    /// For each instance its view with the settings of the first scene, and that with those of the second. Both show the
    /// whole box.
    pub instances: Vec<[ViewParams; 2]>,
    /// Whether the instances are boxes of the image; otherwise they are random.
    pub from_boxes: bool,
}

/// The views of the sample at position `index` of the run with this `seed`, whose image has `width` × `height` pixels and
/// these boxes, with `count` instances, at a stage of the curriculum. The first pair of scenes that is tried is that of
/// [`draw_views`](super::draw_views). An image without boxes gets random ones, in the first pair that has room for them.
///
/// # Panics
/// When the image has no pixels, a box reaches outside it, or `config` is not valid (see [`ViewConfig::validate`]).
pub fn draw_instances(
    [width, height]: [u32; 2],
    boxes: &[CropBox],
    config: &ViewConfig,
    stage: Stage,
    [seed, index]: [u64; 2],
    count: usize,
) -> ScenesAndInstances {
    let limits = &config.instances;
    let region = draw_region(width, height, stage.region, seed, index);
    let settings = [0, 1].map(|number| config.of_view(number));
    let mut views = stream(seed, Purpose::Views, index);
    let mut rng = stream(seed, Purpose::Instances, index);
    // The pair whose overlap has the most room, for the random boxes: the longest of the overlaps' shorter sides, up to
    // the limit that the boxes need.
    let mut roomy: Option<(u32, [ViewParams; 2], CropBox)> = None;
    let mut found = None;
    for _ in 0..limits.tries {
        let scenes = settings
            .each_ref()
            .map(|config| ViewParams::draw_within(&mut views, region, config));
        let Some(overlap) = scenes[0].crop.intersection(scenes[1].crop) else {
            roomy.get_or_insert_with(|| {
                let crop = scenes[0].crop;
                (0, scenes, crop)
            });
            continue;
        };
        let mut inside: Vec<CropBox> = boxes.to_vec();
        inside.retain(|candidate| overlap.contains(*candidate));
        if count > 0 && inside.len() >= count {
            inside.shuffle(&mut rng);
            inside.truncate(count);
            found = Some((scenes, inside));
            break;
        }
        let room = overlap.width.min(overlap.height).min(limits.min_side);
        if roomy.as_ref().is_none_or(|(before, ..)| room > *before) {
            roomy = Some((room, scenes, overlap));
        }
        if boxes.len() < count && room == limits.min_side {
            break;
        }
    }
    let from_boxes = found.is_some();
    let (scenes, chosen) = found.unwrap_or_else(|| {
        let (_, scenes, within) = roomy.expect("at least one pair was tried");
        (scenes, limits.draw_all(&mut rng, within, count))
    });
    let instances = chosen.into_iter().map(|crop| {
        let mut view = |config: &ViewConfig| ViewParams::draw_of(&mut rng, crop, config);
        [view(&settings[0]), view(&settings[1])]
    });
    ScenesAndInstances {
        scenes,
        instances: instances.collect(),
        from_boxes,
    }
}

#[cfg(test)]
mod tests;
