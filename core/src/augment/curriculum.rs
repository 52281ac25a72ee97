//! The view-scale curriculum: views that go from whole scenes to small objects over a run.
//!
//! It is this project's own, and reproduces no paper. The crops of an image are not drawn from the whole
//! picture but from a region of it that is common to all views of the image, and that shrinks as training goes
//! on. Within the region crops are drawn as usual, so the views overlap as much late in a run as early: smaller
//! crops of the whole picture would soon show different objects, and nothing in one view would have a
//! counterpart in the other. The views may become smaller along with the region, since a small region has few
//! pixels.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::crop::CropBox;
use crate::rng::{Purpose, stream};

/// The schedule of the regions and of the view size. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Curriculum {
    /// Area of the region at the end, as a share of the picture's, above 0 and at most 1. It starts at 1 and
    /// falls by the same factor in the same time.
    pub region: f64,
    /// Side of a view in pixels at the end, a multiple of 32; 0 = the size does not change. In between it is the
    /// multiple of 32 nearest to the straight line from `views.size`.
    pub size: u32,
    /// Share of the run after which the end is reached, above 0 and at most 1.
    pub until: f64,
}

impl Default for Curriculum {
    fn default() -> Self {
        Self {
            region: 1.0,
            size: 0,
            until: 1.0,
        }
    }
}

/// View sizes are multiples of this, so that feature grids of every stride cover a view exactly.
const SIZE_STEP: u32 = 32;

/// What the curriculum says about one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Area of the region that the crops are drawn from, as a share of the picture's, in (0, 1].
    pub region: f64,
    /// Side of a view in pixels.
    pub size: u32,
}

impl Stage {
    /// Whole pictures, and views of `size` pixels: without a curriculum.
    pub fn whole(size: u32) -> Self {
        Self { region: 1.0, size }
    }
}

impl Curriculum {
    /// The stage of the step after `step` of `total_steps` steps, where views have `size` pixels at the start:
    /// a pure function, so that a resumed run sees the views it would have seen.
    pub fn stage(&self, size: u32, step: u64, total_steps: u64) -> Stage {
        let share = step as f64 / (total_steps.max(1) as f64 * self.until);
        let share = share.min(1.0);
        Stage {
            region: self.region.powf(share),
            size: self.size_at(size, share),
        }
    }

    fn size_at(&self, from: u32, share: f64) -> u32 {
        if self.size == 0 || self.size == from || share == 0.0 {
            return from;
        }
        let steps = |size: u32| f64::from(size) / f64::from(SIZE_STEP);
        let between = steps(from) + share * (steps(self.size) - steps(from));
        between.round() as u32 * SIZE_STEP
    }

    /// The first and the last view size of a run that starts with `size`.
    pub fn sizes(&self, size: u32) -> [u32; 2] {
        [size, if self.size == 0 { size } else { self.size }]
    }

    /// Checks every value.
    ///
    /// # Errors
    /// One line that names the first bad key, its value and the permitted range.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, share) in [("region", self.region), ("until", self.until)] {
            if !(share > 0.0 && share <= 1.0) {
                return Err(format!(
                    "curriculum.{key} = {share}: must lie above 0 and be at most 1"
                ));
            }
        }
        if !self.size.is_multiple_of(SIZE_STEP) {
            return Err(format!(
                "curriculum.size = {}: must be a multiple of {SIZE_STEP}, or 0",
                self.size
            ));
        }
        Ok(())
    }
}

/// A region with this share of the area of a picture of `width` × `height` pixels, of the picture's own
/// proportions and at least one pixel wide and high, at a uniform position that depends on `(seed, index)`.
///
/// # Panics
/// When the picture has no pixels.
pub fn draw_region(width: u32, height: u32, share: f64, seed: u64, index: u64) -> CropBox {
    let side = |length: u32| {
        let scaled = (f64::from(length) * share.sqrt()).round() as u32;
        scaled.clamp(1, length)
    };
    let (region_width, region_height) = (side(width), side(height));
    // A stream of its own: where the region is the whole picture, the crops are those without a curriculum.
    let mut rng = stream(seed, Purpose::Region, index);
    CropBox {
        left: rng.random_range(0..=width - region_width),
        top: rng.random_range(0..=height - region_height),
        width: region_width,
        height: region_height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curriculum() -> Curriculum {
        Curriculum {
            region: 0.04,
            size: 64,
            until: 0.5,
        }
    }

    #[test]
    fn the_region_shrinks_by_the_same_factor_in_the_same_time() {
        let at = |step| curriculum().stage(224, step, 1000);
        assert_eq!(at(0), Stage::whole(224));
        assert!((at(250).region - 0.2).abs() < 1e-12);
        assert!((at(500).region - 0.04).abs() < 1e-12);
        assert_eq!(at(500), at(999));
        // From 224 to 64 in five steps of 32, changing half-way between them.
        assert_eq!(at(49).size, 224);
        assert_eq!(at(51).size, 192);
        assert_eq!(at(250).size, 160);
        assert_eq!(at(1000).size, 64);
    }

    #[test]
    fn without_a_curriculum_nothing_changes() {
        for step in [0, 17, 999] {
            let stage = Curriculum::default().stage(100, step, 1000);
            assert_eq!(stage, Stage::whole(100));
        }
        let whole = draw_region(7, 5, 1.0, 3, 9);
        let expected = CropBox {
            left: 0,
            top: 0,
            width: 7,
            height: 5,
        };
        assert_eq!(whole, expected);
    }

    #[test]
    fn a_region_lies_in_the_picture_and_has_its_share() {
        let mut places = std::collections::BTreeSet::new();
        for index in 0..200 {
            let CropBox {
                left,
                top,
                width,
                height,
            } = draw_region(640, 480, 0.25, 1, index);
            assert_eq!((width, height), (320, 240));
            assert!(left <= 320 && top <= 240);
            places.insert((left, top));
        }
        assert!(places.len() > 190);
        // However small the share is, a pixel is left.
        let smallest = draw_region(3, 2, 1e-9, 1, 0);
        assert_eq!((smallest.width, smallest.height), (1, 1));
    }

    #[test]
    fn bad_values_are_named() {
        let message = |curriculum: Curriculum| curriculum.validate().expect_err("bad");
        let good = curriculum();
        let region = Curriculum {
            region: 0.0,
            ..good
        };
        assert!(message(region).starts_with("curriculum.region = 0: "));
        let size = Curriculum { size: 50, ..good };
        assert!(message(size).starts_with("curriculum.size = 50: "));
        let until = Curriculum {
            until: f64::NAN,
            ..good
        };
        assert!(message(until).starts_with("curriculum.until = NaN: "));
    }
}
