//! Selective search (Uijlings et al., "Selective Search for Object Recognition", IJCV 2013) in its "fast" form: boxes that
//! may hold an object, without learning.
//!
//! A picture is segmented in two colour spaces with two scales each; the segments are joined by similarity, with colour
//! and without; the box around each region on the way is a candidate. The published form orders candidates with a
//! random factor; here the order is that of the hierarchy, so that the boxes are a function of the picture.

mod features;
mod group;
mod segment;

use densecl::augment::{CropBox, InstanceConfig, resize};
use image::RgbImage;

use self::features::{Bins, hsv, lab, regions};
use self::group::{Similarity, group};
use self::segment::{segment, smooth};

/// Pictures whose longer side has more pixels are searched at this size: the time grows with the area, and the boxes that
/// are wanted are large.
const LONGEST_SIDE: u32 = 400;
/// The scales k of the segmentation, which are also the fewest pixels of a segment.
const SCALES: [u32; 2] = [50, 100];
/// Standard deviation of the blur before the segmentation, in pixels.
const SIGMA: f32 = 0.8;

/// The boxes of a picture within the limits, in its pixels: those of late joins, which are large, first.
pub(crate) fn search(picture: &RgbImage, limits: &InstanceConfig) -> Vec<CropBox> {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if width.min(height) < limits.min_side {
        return Vec::new();
    }
    if longest <= LONGEST_SIDE {
        return limits.choose(candidates(picture));
    }
    let side = |side: u32| (side * LONGEST_SIDE).div_ceil(longest).max(1);
    let [small_width, small_height] = [side(width), side(height)];
    let small = resize(picture, small_width, small_height);
    let found = candidates(&small).into_iter().map(|found| {
        // Outwards to whole pixels.
        let scaled = |start: u32, length: u32, from: u32, to: u32| {
            let first = u64::from(start) * u64::from(to) / u64::from(from);
            let end = (u64::from(start + length) * u64::from(to)).div_ceil(u64::from(from));
            (first as u32, (end - first) as u32)
        };
        let (left, width) = scaled(found.left, found.width, small_width, width);
        let (top, height) = scaled(found.top, found.height, small_height, height);
        CropBox {
            left,
            top,
            width,
            height,
        }
    });
    limits.choose(found)
}

/// All candidates of a picture, by their place in the hierarchy, the last join first; each once for each hierarchy.
fn candidates(picture: &RgbImage) -> Vec<CropBox> {
    let mut hierarchies = Vec::new();
    for planes in [hsv(picture), lab(picture)] {
        let bins = Bins::of(&planes);
        let smooth = smooth(&planes, SIGMA);
        for scale in SCALES {
            let segments = segment(&smooth, scale as f32, scale);
            let regions = regions(&segments, &bins, planes.width);
            for similarity in [Similarity::WithColour, Similarity::WithoutColour] {
                let pixels = planes.width * planes.height;
                hierarchies.push(group(regions.clone(), pixels, similarity));
            }
        }
    }
    let longest = hierarchies.iter().map(Vec::len).max().unwrap_or(0);
    let mut found = Vec::new();
    for rank in 0..longest {
        for hierarchy in &hierarchies {
            if let Some([left, top, right, bottom]) = hierarchy.iter().nth_back(rank) {
                found.push(CropBox {
                    left: *left,
                    top: *top,
                    width: right - left,
                    height: bottom - top,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use densecl::synthetic::{SceneConfig, scene_pair};
    use image::Rgb;

    use super::*;

    #[test]
    fn an_object_on_a_ground_is_found() {
        let picture = |width: u32, height: u32, scale: u32| {
            RgbImage::from_fn(width, height, |x, y| {
                let inside = (60..130).contains(&(x / scale)) && (30..110).contains(&(y / scale));
                if inside {
                    Rgb([200, 40 + ((x / scale + y / scale) % 7 * 3) as u8, 30])
                } else {
                    Rgb([40, 90, 60 + ((x / scale * 3 + y / scale) % 5 * 4) as u8])
                }
            })
        };
        let limits = InstanceConfig {
            min_side: 20,
            ..InstanceConfig::default()
        };
        // The second picture is larger than what is searched, so its box is found at half the size.
        for (picture, scale) in [(picture(200, 160, 1), 1), (picture(800, 640, 4), 4)] {
            let truth = CropBox {
                left: 60 * scale,
                top: 30 * scale,
                width: 70 * scale,
                height: 80 * scale,
            };
            let found = search(&picture, &limits);
            let best = found.iter().map(|found| found.rect().iou(&truth.rect()));
            let best = best.fold(0.0, f64::max);
            assert!(best > 0.85, "{best}: {found:?}");
        }
    }

    /// Many of the objects of the embedded scenes are covered by a box; random boxes cover few.
    #[test]
    fn objects_of_scenes_are_covered() {
        let limits = InstanceConfig {
            min_side: 12,
            ..InstanceConfig::default()
        };
        let (mut objects, mut covered) = (0, 0);
        for index in 0..6 {
            let frame = scene_pair(1, index, &SceneConfig::default()).a;
            let boxes = search(&frame.image, &limits);
            for (truth, _) in frame.objects(200) {
                objects += 1;
                covered += usize::from(boxes.iter().any(|found| found.rect().iou(&truth) > 0.5));
            }
        }
        assert!(
            objects > 15 && 2 * covered > objects,
            "{covered} of {objects}"
        );
    }

    #[test]
    fn boxes_lie_in_their_picture_and_keep_the_limits() {
        let limits = InstanceConfig {
            min_side: 16,
            ..InstanceConfig::default()
        };
        let picture = scene_pair(3, 0, &SceneConfig::default()).a.image;
        let found = search(&picture, &limits);
        assert!(!found.is_empty());
        assert_eq!(limits.choose(found.clone()), found);
        assert!(found.iter().all(|found| {
            found.left + found.width <= picture.width()
                && found.top + found.height <= picture.height()
        }));
        assert_eq!(search(&picture, &limits), found);
        // A picture that is too small for any box.
        assert_eq!(search(&RgbImage::new(15, 400), &limits), []);
        assert_eq!(search(&RgbImage::new(1, 1), &limits), []);
    }
}
