//! Average precision as COCO defines it, equal to `pycocotools.cocoeval.COCOeval` for boxes and for masks.

mod curve;

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use self::curve::{Curve, curve, linspace};
use crate::boxes::{Detection, Rect};
use crate::mask::Mask;

/// Number of detections that are evaluated per picture and class, those with the highest scores.
const MAX_DETECTIONS: usize = 100;
/// Number of IoU thresholds: 0.5, 0.55, …, 0.95.
const THRESHOLDS: usize = 10;
/// COCO's range of areas for objects of all sizes, in pixels².
const ALL_AREAS: [f64; 2] = [0.0, 1e10];

/// An annotated object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The box in pixels.
    pub rect: Rect,
    /// The index of the class.
    pub class: usize,
    /// The area in pixels² that decides whether the object is small, medium or large: the object's own
    /// area where it is annotated (COCO), else the box's.
    pub area: f64,
    /// Whether the box holds a group of objects. Any number of detections can match a group and count
    /// neither as correct nor as wrong; their overlap is the share of the *detection* inside the group.
    pub crowd: bool,
    /// Whether a detection of it counts neither as correct nor as wrong (VOC's `difficult`).
    pub difficult: bool,
}

impl Truth {
    /// An object that is neither a crowd nor difficult, with the box's area.
    pub fn new(rect: Rect, class: usize) -> Self {
        Self {
            rect,
            class,
            area: rect.area(),
            crowd: false,
            difficult: false,
        }
    }

    fn ignored(&self, areas: [f64; 2]) -> bool {
        self.crowd || self.difficult || self.area < areas[0] || self.area > areas[1]
    }

    /// The IoU with a detection; for a crowd, the intersection over the detection's area.
    fn overlap(&self, found: &Rect) -> f64 {
        if !self.crowd {
            return self.rect.iou(found);
        }
        let area = found.area();
        if area > 0.0 {
            self.rect.intersection(found) / area
        } else {
            0.0
        }
    }
}

/// The objects and the detections of one picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    /// The objects.
    pub truths: Vec<Truth>,
    /// The detections, in any order.
    pub found: Vec<Detection>,
}

/// The masks of a [`Scene`], in the order of its objects and detections.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SceneMasks {
    /// Those of the objects.
    pub truths: Vec<Mask>,
    /// Those of the detections.
    pub found: Vec<Mask>,
}

/// The objects and detections of one class in one picture, with their masks if these are compared instead of boxes.
#[derive(Default)]
struct OfClass<'a> {
    truths: Vec<(&'a Truth, Option<&'a Mask>)>,
    found: Vec<(&'a Detection, Option<&'a Mask>)>,
}

/// The overlap of an object and a detection: IoU, or for a crowd the intersection over the detection's area.
fn overlap(
    (truth, truth_mask): (&Truth, Option<&Mask>),
    (found, found_mask): (&Detection, Option<&Mask>),
) -> f64 {
    match (truth_mask, found_mask) {
        (Some(truth_mask), Some(found_mask)) if truth.crowd => {
            let area = found_mask.area();
            if area == 0 {
                return 0.0;
            }
            truth_mask.intersection(found_mask) as f64 / area as f64
        }
        (Some(truth_mask), Some(found_mask)) => truth_mask.iou(found_mask),
        _ => truth.overlap(&found.rect),
    }
}

/// Average precisions in [0, 1]; `None` where no class has an object that counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AveragePrecision {
    /// Mean over IoU 0.5, 0.55, …, 0.95 and over the classes: COCO's AP.
    pub ap: Option<f64>,
    /// AP at IoU 0.5, the metric of VOC.
    pub ap50: Option<f64>,
    /// AP at IoU 0.75.
    pub ap75: Option<f64>,
    /// AP of objects below 32² pixels.
    pub ap_small: Option<f64>,
    /// AP of objects from 32² to 96² pixels.
    pub ap_medium: Option<f64>,
    /// AP of objects above 96² pixels.
    pub ap_large: Option<f64>,
    /// AR₁₀₀: recall with 100 detections per picture, the mean over the same thresholds and classes.
    pub recall: Option<f64>,
    /// AP of each class.
    pub per_class: Vec<Option<f64>>,
}

/// Evaluates the detections in all `scenes` by their boxes; a class is an index below `classes`.
///
/// # Panics
/// When a class is not below `classes`.
pub fn average_precision(scenes: &[Scene], classes: usize) -> AveragePrecision {
    summary(scenes, None, classes)
}

/// The same by their masks, COCO's `segm`.
///
/// # Panics
/// When a class is not below `classes`, or there is not a mask for each object and detection.
pub fn mask_average_precision(
    scenes: &[Scene],
    masks: &[SceneMasks],
    classes: usize,
) -> AveragePrecision {
    summary(scenes, Some(masks), classes)
}

fn summary(scenes: &[Scene], masks: Option<&[SceneMasks]>, classes: usize) -> AveragePrecision {
    let judged = Judged::within(scenes, masks, classes, ALL_AREAS);
    let all = judged.curves(0..scenes.len());
    let sized = |areas| {
        let judged = Judged::within(scenes, masks, classes, areas);
        mean_precision(&judged.curves(0..scenes.len()), 0..THRESHOLDS)
    };
    AveragePrecision {
        ap: mean_precision(&all, 0..THRESHOLDS),
        ap50: mean_precision(&all, 0..1),
        ap75: mean_precision(&all, 5..6),
        ap_small: sized([0.0, 32f64.powi(2)]),
        ap_medium: sized([32f64.powi(2), 96f64.powi(2)]),
        ap_large: sized([96f64.powi(2), 1e10]),
        recall: mean(all.iter().flatten().flatten().map(|curve| curve.recall)),
        per_class: all
            .iter()
            .map(|of| mean_precision(std::slice::from_ref(of), 0..THRESHOLDS))
            .collect(),
    }
}

/// Whether each detection is correct, picture by picture. A bootstrap over pictures computes the average precision
/// of many draws, and boxes need not be matched again for each draw.
#[derive(Debug, Clone)]
pub struct Judged {
    classes: usize,
    scenes: Vec<Vec<ClassVerdicts>>,
}

/// The detections of one class in one picture.
#[derive(Debug, Clone)]
struct ClassVerdicts {
    class: usize,
    /// The number of objects that count.
    objects: usize,
    verdicts: Vec<Verdict>,
}

/// Whether one detection is correct, and whether it is ignored, with one bit per IoU threshold.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    score: f64,
    right: u16,
    ignored: u16,
}

impl Judged {
    /// Matches detections and objects in all `scenes`; a class is an index below `classes`.
    ///
    /// # Panics
    /// When a class is not below `classes`.
    pub fn new(scenes: &[Scene], classes: usize) -> Self {
        Self::within(scenes, None, classes, ALL_AREAS)
    }

    /// The same by their masks.
    ///
    /// # Panics
    /// As [`mask_average_precision`].
    pub fn by_masks(scenes: &[Scene], masks: &[SceneMasks], classes: usize) -> Self {
        Self::within(scenes, Some(masks), classes, ALL_AREAS)
    }

    /// AP, AP50 and AP75 of the pictures with the indices `drawn`; a repeated index counts as often as it occurs.
    pub fn precision(&self, drawn: &[usize]) -> [Option<f64>; 3] {
        let curves = self.curves(drawn.iter().copied());
        [0..THRESHOLDS, 0..1, 5..6].map(|at| mean_precision(&curves, at))
    }

    /// As [`Judged::new`], but objects with an area outside of `areas` are ignored.
    fn within(
        scenes: &[Scene],
        masks: Option<&[SceneMasks]>,
        classes: usize,
        areas: [f64; 2],
    ) -> Self {
        if let Some(masks) = masks {
            let fits = |(scene, masks): (&Scene, &SceneMasks)| {
                scene.truths.len() == masks.truths.len() && scene.found.len() == masks.found.len()
            };
            let all = scenes.len() == masks.len() && scenes.iter().zip(masks).all(fits);
            assert!(all, "a mask for each object and detection");
        }
        let judge_scene = |(at, scene): (usize, &Scene)| {
            let masks = masks.map(|masks| &masks[at]);
            let mut by_class: BTreeMap<usize, OfClass> = BTreeMap::new();
            for (i, truth) in scene.truths.iter().enumerate() {
                assert!(truth.class < classes, "class {}", truth.class);
                let own = by_class.entry(truth.class).or_default();
                own.truths
                    .push((truth, masks.map(|masks| &masks.truths[i])));
            }
            for (i, found) in scene.found.iter().enumerate() {
                assert!(found.class < classes, "class {}", found.class);
                let own = by_class.entry(found.class).or_default();
                own.found.push((found, masks.map(|masks| &masks.found[i])));
            }
            let judged = by_class.into_iter().map(|(class, mut own)| {
                own.found
                    .sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
                own.found.truncate(MAX_DETECTIONS);
                let counts = own.truths.iter().filter(|(truth, _)| !truth.ignored(areas));
                ClassVerdicts {
                    class,
                    objects: counts.count(),
                    verdicts: judge(&own, areas),
                }
            });
            judged.collect()
        };
        Self {
            classes,
            scenes: scenes.iter().enumerate().map(judge_scene).collect(),
        }
    }

    /// The precision–recall curve of each class at each threshold; `None` for a class without objects that count.
    fn curves(&self, drawn: impl Iterator<Item = usize>) -> Vec<Option<[Curve; THRESHOLDS]>> {
        let mut together: Vec<(usize, Vec<Verdict>)> = vec![(0, Vec::new()); self.classes];
        for of_class in drawn.flat_map(|scene| &self.scenes[scene]) {
            let (objects, verdicts) = &mut together[of_class.class];
            *objects += of_class.objects;
            verdicts.extend(&of_class.verdicts);
        }
        let curves = together.into_iter().map(|(objects, mut verdicts)| {
            verdicts.sort_by(|a, b| b.score.total_cmp(&a.score));
            (objects > 0).then(|| std::array::from_fn(|at| curve(&verdicts, at, objects)))
        });
        curves.collect()
    }
}

/// The mean precision over the classes and the thresholds `at`.
fn mean_precision(curves: &[Option<[Curve; THRESHOLDS]>], at: Range<usize>) -> Option<f64> {
    let found = curves.iter().flatten().flat_map(|of| &of[at.clone()]);
    mean(found.map(|curve| curve.precision))
}

/// Matches the detections of one picture and class with its objects. By descending score each detection
/// takes the unmatched object with the largest overlap, and an ignored object only if no other fits.
fn judge(own: &OfClass, areas: [f64; 2]) -> Vec<Verdict> {
    let mut sorted = own.truths.clone();
    sorted.sort_by_key(|(truth, _)| truth.ignored(areas));
    let truths: Vec<&Truth> = sorted.iter().map(|(truth, _)| *truth).collect();
    let mut taken: [Vec<bool>; THRESHOLDS] = std::array::from_fn(|_| vec![false; truths.len()]);
    let judged = own.found.iter().map(|&(found, mask)| {
        let overlaps: Vec<f64> = sorted.iter().map(|&t| overlap(t, (found, mask))).collect();
        let area = mask.map_or_else(|| found.rect.area(), |mask| mask.area() as f64);
        let outside = area < areas[0] || area > areas[1];
        let mut verdict = Verdict {
            score: found.score,
            right: 0,
            ignored: 0,
        };
        for (at, taken) in taken.iter_mut().enumerate() {
            let mut best = linspace(0.5, 0.95, THRESHOLDS, at);
            let mut chosen: Option<usize> = None;
            for (i, truth) in truths.iter().enumerate() {
                if taken[i] && !truth.crowd {
                    continue;
                }
                let settled = chosen.is_some_and(|c| !truths[c].ignored(areas));
                if settled && truth.ignored(areas) {
                    break;
                }
                if overlaps[i] >= best {
                    best = overlaps[i];
                    chosen = Some(i);
                }
            }
            let ignored = chosen.map_or(outside, |i| truths[i].ignored(areas));
            if let Some(i) = chosen {
                taken[i] = true;
                verdict.right |= 1 << at;
            }
            verdict.ignored |= u16::from(ignored) << at;
        }
        verdict
    });
    judged.collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests;
